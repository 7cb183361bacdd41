"""Augmentation: geometry against rendered rooms, and the same for all cells, batches and orders."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from benchmark.data import Split, build_dataset
from benchmark.data.scenes import render
from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.speed.estimate import run_flops
from benchmark.tasks import Intrinsics, Task, Zoom
from benchmark.training.augmentation import SCALES, Augmentation, check
from benchmark.training.batch import TrainingBatches

HEIGHT, WIDTH = 192, 256
SCENES = build_dataset("scenes", height=HEIGHT, width=WIDTH)
#: Enlargements of every scale, in the middle and in all corners.
CORNERS = [(s, v, u) for s in SCALES[1:] for v, u in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))]


def spec(dataset="scenes", seed=0, **protocol):
    return RunSpec(
        dataset=Component.from_registry(DATASETS, dataset),
        architecture=Component.from_registry(ARCHITECTURES, "mtan"),
        weighting=Component.from_registry(WEIGHTINGS, "equal"),
        seed=seed,
        protocol=Protocol(**{"epochs": 1, "batch_size": 4, **protocol}),
    )


@pytest.fixture(scope="module")
def rooms():
    return render(range(4), height=HEIGHT, width=WIDTH)


def zooms(count, camera):
    """Every sample of ``count`` under every entry of ``CORNERS``, in the order of ``repeat_interleave``."""
    scale, row, column = torch.tensor(CORNERS, dtype=torch.float64).unbind(1)
    part = 1 - 1 / scale
    one = Zoom(scale, (row * part * HEIGHT).floor(), (column * part * WIDTH).floor(), camera)
    return Zoom(*(values.repeat(count) for values in (one.scale, one.row, one.column)), camera)


#: Pixels to either side over which slopes are measured; the nearest pixel's depth may be half a pixel off.
REACH = 8


def angles(normals, depth, camera):
    """Angle in degrees between normals and those of the surface that the depth describes, and where it is one.

    Tangents are differences of points ``REACH`` pixels to either side. A pixel counts if depth is known all around it
    and the surface is flat there: 1/z, which is linear over a plane, is at most 1 % off its neighbours' mean.
    """
    z = depth[:, 0].double()
    v, u = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    points = torch.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], 1)
    inverse = 1 / z.clamp(min=1e-3)[:, None]

    def beside(values, rows, columns):
        return values[..., REACH + rows : HEIGHT - REACH + rows, REACH + columns : WIDTH - REACH + columns]

    across = beside(points, 0, REACH) - beside(points, 0, -REACH)
    down = beside(points, REACH, 0) - beside(points, -REACH, 0)
    surface = torch.linalg.cross(across, down, dim=1)
    surface = F.normalize(-surface * (surface * beside(points, 0, 0)).sum(1, keepdim=True).sign(), dim=1)
    width = 2 * REACH + 1
    flat = -F.max_pool2d(-(z > 0).double()[:, None], width, 1)[:, 0] > 0
    middle = beside(inverse, 0, 0)
    for rows, columns in ((0, REACH), (REACH, 0), (REACH, REACH), (REACH, -REACH), (0, REACH // 2), (REACH // 2, 0)):
        mean = (beside(inverse, rows, columns) + beside(inverse, -rows, -columns)) / 2
        flat &= ((mean - middle).abs() < 0.01 * middle)[:, 0]
    there = beside(normals.double(), 0, 0)
    flat &= (there != 0).any(1)
    return (there * surface).sum(1).clamp(-1, 1).arccos().rad2deg(), flat


def zoomed(rooms, camera):
    """Depth and normals of all rooms under all enlargements."""
    count = len(rooms["depth"])
    zoom = zooms(count, camera)
    many = {name: rooms[name].repeat_interleave(len(CORNERS), 0) for name in ("depth", "normals")}
    depth, normals = (Task(name, name, 1).definition for name in ("depth", "normals"))
    return depth.zoom(many["depth"], zoom), normals.zoom(many["normals"], zoom), zoom


# Geometry.


@pytest.mark.slow
def test_the_measure_itself_agrees_with_the_renderer(rooms):
    found, flat = angles(rooms["normals"], rooms["depth"], SCENES.intrinsics)
    assert flat.float().mean() > 0.15
    assert found[flat].median() < 1.5


def test_after_a_flip_normals_are_those_of_the_depth(rooms):
    depth, normals = (Task(name, name, 1).definition for name in ("depth", "normals"))
    found, flat = angles(normals.flip(rooms["normals"]), depth.flip(rooms["depth"]), SCENES.intrinsics)
    assert found[flat].median() < 1.5
    kept, flat = angles(rooms["normals"].flip(-1), depth.flip(rooms["depth"]), SCENES.intrinsics)
    assert kept[flat].mean() > 20  # x not negated: the measure would see it


@pytest.mark.slow
def test_consistent_normals_are_those_of_the_transformed_depth(rooms):
    depth, consistent, _ = zoomed(rooms, SCENES.intrinsics)
    _, literature, _ = zoomed(rooms, None)
    for s, v, u in CORNERS:
        place = torch.arange(len(depth)) % len(CORNERS) == CORNERS.index((s, v, u))
        found, flat = angles(consistent[place], depth[place], SCENES.intrinsics)
        assert flat.float().mean() > 0.15
        median = found[flat].median()
        assert median < 2
        kept, flat = angles(literature[place], depth[place], SCENES.intrinsics)
        assert kept[flat].median() > (2 if s == SCALES[1] else 4) * median


def test_consistent_normals_of_a_tilted_plane_by_hand():
    # The plane z = 2 + x has the normal (1, 0, −1)/√2. Its right half, enlarged by 1.5 from the corner (0, 0.2 W),
    # with a camera of focal length W and its principal point at W/2: a = (0.5 / 3 − 0.2) = −1/30.
    # X' = X − Z/30, Z' = Z/1.5. Points (0, 0, 2) and (1, 0, 3) go to (−1/15, 0, 4/3) and (0.9, 0, 2): a direction of
    # (29/30, 0, 2/3), and the normal turned by 90° from it: ∝ (2/3, 0, −29/30).
    camera = Intrinsics(100, 100, 50, 50)
    zoom = Zoom(torch.tensor([1.5]), torch.tensor([0.0]), torch.tensor([20.0]), camera)
    normals = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 100, 100) / 2**0.5
    expected = F.normalize(torch.tensor([2 / 3, 0, -29 / 30]), dim=0)
    found = Task("normals", "normals", 3).definition.zoom(normals, zoom)
    assert torch.allclose(found, expected.view(1, 3, 1, 1).expand_as(found), atol=1e-6)


@pytest.mark.slow
def test_unknown_pixels_stay_unknown_and_known_ones_known(rooms):
    depth, normals, zoom = zoomed(rooms, SCENES.intrinsics)
    for name, values in (("depth", depth), ("normals", normals)):
        before = zoom.nearest(rooms[name].repeat_interleave(len(CORNERS), 0))
        assert torch.equal((values != 0).any(1), (before != 0).any(1))
        assert values.dtype == torch.float16
    lengths = normals.float().norm(dim=1)
    assert ((lengths == 0) | ((lengths - 1).abs() < 2e-3)).all()
    labels = Task("semantic", "segmentation", 13).definition.zoom(
        rooms["semantic"].repeat_interleave(len(CORNERS), 0), zoom
    )
    assert set(labels.unique().tolist()) <= set(rooms["semantic"].unique().tolist())


def test_pictures_and_labels_move_together():
    # A picture that is white where the label is 1: its zoomed form is bright where the zoomed label is 1.
    label = (torch.arange(HEIGHT)[:, None] // 12 + torch.arange(WIDTH) // 16) % 2
    zoom = zooms(1, None)
    many = label.expand(len(CORNERS), -1, -1).to(torch.int8)
    images = zoom.bilinear((255 * many[:, None]).to(torch.uint8).expand(-1, 3, -1, -1))
    seen = (images[:, 0] > 127).to(torch.int8)
    assert (seen == zoom.nearest(many)).float().mean() > 0.99


def test_a_linear_picture_is_interpolated_exactly():
    # Grey rises by 2 a column; enlarged by 1.5 from column 6 on, column j's middle shows the place 6 + (j + ½)/1.5.
    picture = (2 * torch.arange(120)).to(torch.uint8).expand(1, 1, 90, 120)
    zoom = Zoom(torch.tensor([1.5]), torch.tensor([10.0]), torch.tensor([6.0]))
    expected = 2 * (6 + (torch.arange(120) + 0.5) / 1.5 - 0.5)
    assert (zoom.bilinear(picture).float() - expected).abs().max() <= 0.51


@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 2**32))
def test_scale_one_changes_no_bit(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (2, 3, height, width), dtype=torch.uint8, generator=generator)
    normals = F.normalize(torch.randn(2, 3, height, width, generator=generator), dim=1).half()
    zoom = Zoom(torch.ones(2), torch.zeros(2), torch.zeros(2), Intrinsics(50, 50, width / 2, height / 3))
    assert torch.equal(zoom.bilinear(images), images)
    assert torch.equal(Task("normals", "normals", 3).definition.zoom(normals, zoom), normals)
    assert torch.equal(Task("depth", "depth", 1).definition.zoom(normals[:, :1], zoom), normals[:, :1])


# Random choice.


def numbered(count=24, size=24):
    """A split whose pictures and depths tell which sample they are, with a class for the whole picture."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    targets = {"depth": images[:, :1].half() + 1, "class": torch.arange(count, dtype=torch.int16)}
    return Split(images, targets, torch.arange(count).numpy())


TASKS = (Task("depth", "depth", 1), Task("class", "classification", 99))
BOTH = {"flip": True, "scale_crop": "literature"}


def augmented(split, batch_size, seed=0, **protocol):
    """By class every sample of one pass: picture and depth."""
    run = spec(seed=seed, batch_size=batch_size, **protocol)
    batches = TrainingBatches(split, run, Augmentation(run, TASKS, count=len(split)))
    return {
        int(number): (image, depth)
        for batch in batches
        for number, image, depth in zip(batch.targets["class"], batch.images, batch.targets["depth"], strict=True)
    }


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(a, b) for key in one for a, b in zip(one[key], other[key], strict=True)
    )


def test_a_sample_is_changed_the_same_way_in_any_batch():
    split = numbered()
    assert equal(augmented(split, 4, **BOTH), augmented(split, 6, **BOTH))
    assert equal(augmented(split, 24, **BOTH), augmented(split, 1, **BOTH))


def test_seeds_and_passes_differ():
    split = numbered()
    assert not equal(augmented(split, 4, **BOTH), augmented(split, 4, seed=1, **BOTH))
    run = spec(**BOTH)
    batches = TrainingBatches(split, run, Augmentation(run, TASKS, count=len(split)))
    first, second = (torch.cat([b.images.double().mean((1, 2, 3)) for b in batches]).sort().values for _ in range(2))
    assert not torch.equal(first, second)


def test_labels_of_whole_pictures_stay():
    assert sorted(augmented(numbered(), 4, **BOTH)) == list(range(24))


def test_each_augmentation_alone_does_what_it_says():
    split = numbered(count=400, size=12)
    flips = augmented(split, 100, flip=True)
    mirrored = 0
    for number, (image, depth) in flips.items():
        turned = torch.equal(image, split.images[number].flip(-1))
        assert turned or torch.equal(image, split.images[number])
        assert torch.equal(depth, split.targets["depth"][number].flip(-1) if turned else split.targets["depth"][number])
        mirrored += turned
    assert 150 < mirrored < 250
    same = sum(
        torch.equal(image, split.images[number])
        for number, (image, _) in augmented(split, 100, scale_crop="literature").items()
    )
    assert 90 < same < 180  # one scale of three is 1


def test_every_corner_is_drawn():
    run = spec(scale_crop="literature")
    augmentation = Augmentation(run, TASKS, count=2000)
    augmentation.draw(torch.device("cpu"))
    zoom = augmentation._zoom(*augmentation.numbers.unbind(1)[2:], height=12, width=24)
    for scale, rows, columns in ((1.0, 0, 0), (1.2, 2, 4), (1.5, 4, 8)):
        chosen = zoom.scale == scale
        assert sorted(zoom.row[chosen].unique().tolist()) == list(range(rows + 1))
        assert sorted(zoom.column[chosen].unique().tolist()) == list(range(columns + 1))
        assert 550 < chosen.sum() < 790


def test_without_augmentation_nothing_changes():
    split = numbered()
    plain = augmented(split, 4)
    assert all(torch.equal(image, split.images[number]) for number, (image, _) in plain.items())


# What does not fit.


def test_a_data_set_may_forbid_augmentations():
    for protocol, name in (({"flip": True}, "flip"), ({"scale_crop": "literature"}, "scale_crop")):
        with pytest.raises(UsageError, match=f"'multi-fashion' does not take the augmentation {name}.*it takes none"):
            run_flops([spec("multi-fashion", **protocol)])


def test_consistent_needs_a_camera_only_where_there_are_normals(toy):
    protocol = Protocol(epochs=1, batch_size=1, scale_crop="consistent")
    with pytest.raises(UsageError, match="needs the camera of 'toy' for normals"):
        check(protocol, build_dataset("toy"))
    check(protocol, SCENES)
    blind = SimpleNamespace(name="x", augmentations=frozenset({"scale_crop"}), intrinsics=None, tasks=TASKS)
    blind.pieces = (blind,)
    check(protocol, blind)


def test_nyuv2s_camera_is_that_of_its_cut_and_resampled_frames():
    # A point straight ahead of the official camera lies at column 324.58 of the frame, 283.58 of what is left of it
    # (560 columns, 384 stored), and half a pixel further where the first pixel's middle is at ½.
    camera = build_dataset("nyuv2").intrinsics
    assert camera.cx == pytest.approx((324.58244941119034 - 41 + 0.5) * 384 / 560)
    assert camera.cy == pytest.approx((252.73616633400465 - 45 + 0.5) * 288 / 426)
    assert camera.fx == pytest.approx(518.85790117450188 * 384 / 560)
    half = build_dataset("nyuv2", height=144).intrinsics
    assert (half.fx, half.cx) == pytest.approx((camera.fx / 2, camera.cx / 2))


def test_disparity_grows_where_depth_shrinks():
    zoom = Zoom(torch.tensor([1.5]), torch.tensor([3.0]), torch.tensor([2.0]))
    depth = torch.rand(1, 1, 12, 12) + 0.5
    depth[..., 5] = 0
    near = Task("d", "depth", 1).definition.zoom(depth, zoom)
    inverse = Task("d", "disparity", 1).definition.zoom(torch.where(depth > 0, 1 / depth, 0), zoom)
    assert torch.allclose(torch.where(near > 0, 1 / near, 0), inverse)
