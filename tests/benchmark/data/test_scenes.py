"""The rendered rooms: determinism, ranges, holes, classes, geometry, options."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from benchmark import build_dataset
from benchmark.cli import main
from benchmark.data import SPLITS, Storage
from benchmark.data.check import check
from benchmark.data.dataset import silent
from benchmark.data.prepared import array_hash, content_hash
from benchmark.data.scenes import CLASSES, FOCAL, Scenes, render
from benchmark.data.scenes.layout import make_scene
from benchmark.data.scenes.model import MAX_LIGHTS, MAX_SOLIDS
from benchmark.errors import UsageError, UserError
from benchmark.execution.apart import call_in

HEIGHT, WIDTH = 48, 64
SEEDS = range(40, 61)

DIGEST = """
import hashlib
import torch
from benchmark.data.scenes import render
print(torch.backends.cpu.get_cpu_capability())
rooms = render([40, 47], height=48, width=64)
for i in range(2):
    print(hashlib.sha256(b"".join(rooms[name][i].numpy().tobytes() for name in sorted(rooms))).hexdigest())
"""


def digests(rooms):
    """One hash per sample over all its arrays."""
    count = len(rooms["image"])
    return [
        hashlib.sha256(b"".join(rooms[name][i].numpy().tobytes() for name in sorted(rooms))).hexdigest()
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def rooms():
    return render(SEEDS, height=HEIGHT, width=WIDTH)


@pytest.fixture(scope="module")
def many():
    """Labels of enough rooms for statistics."""
    return render(range(200), height=HEIGHT, width=WIDTH)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3, 7])
def test_batch_size_changes_no_byte(rooms, batch):
    parts = [SEEDS[i : i + batch] for i in range(0, len(SEEDS), batch)]
    assert [one for part in parts for one in digests(render(part, height=HEIGHT, width=WIDTH))] == digests(rooms)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_number_of_threads_changes_no_byte_and_is_kept(rooms, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # Large enough that torch would share single operations among its threads, if it were let.
        assert digests(render(SEEDS, height=HEIGHT, width=WIDTH)) == digests(rooms)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def rendered_there():
    """The kernels of another process, and hashes of two rooms."""
    return torch.backends.cpu.get_cpu_capability(), digests(render([SEEDS[0], SEEDS[7]], height=HEIGHT, width=WIDTH))


@pytest.mark.slow
def test_another_process_and_other_vector_widths_change_no_byte(rooms, monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    done = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
    all_digests = digests(rooms)
    expected = [all_digests[0], all_digests[7]]
    assert done.stdout.split() == ["DEFAULT", *expected]
    assert call_in("portable", (), rendered_there) == ("AVX2", expected)


def test_order_of_seeds_does_not_matter(rooms):
    backwards = render(list(SEEDS)[::-1], height=HEIGHT, width=WIDTH)
    assert digests(backwards)[::-1] == digests(rooms)


def test_seeds_may_be_a_tensor_and_differ_from_each_other(rooms):
    again = render(torch.tensor([40, 41]), height=HEIGHT, width=WIDTH)
    assert digests(again) == digests(rooms)[:2]
    assert len(set(digests(rooms))) == len(SEEDS)


def test_no_seed_at_all_is_an_error():
    with pytest.raises(ValueError, match="at least one seed"):
        render([], height=HEIGHT, width=WIDTH)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device to compare with the CPU")
def test_cpu_and_gpu_agree(rooms):
    there = {name: tensor.cpu() for name, tensor in render(SEEDS, height=HEIGHT, width=WIDTH, device="cuda").items()}
    assert (there["semantic"] == rooms["semantic"]).float().mean() >= 0.999
    assert ((there["depth"] - rooms["depth"]).abs() < 0.01).float().mean() >= 0.999
    assert ((there["normals"] - rooms["normals"]).abs() < 0.01).all(1).float().mean() >= 0.999
    assert ((there["image"].int() - rooms["image"].int()).abs() <= 1).float().mean() >= 0.999


@pytest.mark.slow
def test_same_rooms_at_another_size(rooms):
    large = render(SEEDS, height=2 * HEIGHT, width=2 * WIDTH)
    small, shrunk = rooms["depth"].float(), large["depth"][..., ::2, ::2].float()
    both = (small > 0) & (shrunk > 0)
    assert ((small - shrunk).abs()[both] / small[both]).median() < 0.03


def test_a_taller_picture_holds_the_lower_one(rooms):
    """Its rays meet other tiles: whatever a tile leaves out by mistake would show as a difference."""
    taller = render(SEEDS, height=HEIGHT + 6, width=WIDTH)["depth"][:, :, 3:-3]
    both = (rooms["depth"] > 0) & (taller > 0)
    assert both.float().mean() > 0.8
    assert torch.equal(rooms["depth"][both], taller[both])


@pytest.mark.parametrize(("height", "width"), [(50, 61), (16, 16), (48, 100)])
def test_sizes_that_tiles_do_not_divide(height, width):
    rooms = render([3], height=height, width=width)
    assert rooms["image"].shape == (1, 3, height, width)
    assert rooms["semantic"].shape == (1, height, width)
    assert (rooms["depth"] > 0).float().mean() > 0.5


def test_types_and_ranges(rooms):
    n = len(SEEDS)
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in rooms.items()}
    assert shapes == {
        "image": ((n, 3, HEIGHT, WIDTH), torch.uint8),
        "semantic": ((n, HEIGHT, WIDTH), torch.int8),
        "depth": ((n, 1, HEIGHT, WIDTH), torch.float16),
        "normals": ((n, 3, HEIGHT, WIDTH), torch.float16),
    }
    assert rooms["semantic"].min() == -1
    assert rooms["semantic"].max() < len(CLASSES)
    depth = rooms["depth"][rooms["depth"] > 0]
    assert depth.min() >= 0.39
    assert depth.max() <= 8.01
    assert all(tensor.isfinite().all() for tensor in rooms.values())


def test_normals_have_unit_length_and_face_the_camera(rooms):
    normals = rooms["normals"].float()
    known = (normals != 0).any(1)
    assert (normals.norm(dim=1)[known] - 1).abs().max() < 2e-3
    towards = (normals * pixel_rays(HEIGHT, WIDTH)).sum(1)[known]
    assert (towards < 2e-3).all()


@pytest.mark.slow
def test_holes_are_consistent_and_neither_rare_nor_common(many):
    hole = many["depth"][:, 0] == 0
    unknown = (many["normals"] == 0).all(1)
    assert (unknown | ~hole).all()
    assert 0.03 < hole.float().mean() < 0.25
    assert 0.05 < unknown.float().mean() < 0.35
    assert 0.005 < (many["semantic"] == -1).float().mean() < 0.1
    # Glass is where sensors fail.
    window = many["semantic"] == CLASSES.index("window")
    assert hole[window].float().mean() > 2 * hole[~window].float().mean()


@pytest.mark.slow
def test_every_class_is_seen_often_enough(many):
    label = many["semantic"].flatten().long()
    share = torch.bincount(label[label >= 0], minlength=len(CLASSES)) / len(label)
    assert share.min() >= 0.003, dict(zip(CLASSES, share.tolist(), strict=True))
    assert share.max() < 0.5


def pixel_rays(height, width):
    """Directions of pixels in camera coordinates, 1 along z. (3, H, W)"""
    focal = FOCAL * width
    x = ((torch.arange(width) + 0.5 - width / 2) / focal).expand(height, width)
    y = ((torch.arange(height) + 0.5 - height / 2) / focal)[:, None].expand(height, width)
    return torch.stack([x, y, torch.ones_like(x)])


@pytest.mark.slow
def test_normals_agree_with_the_gradient_of_depth():
    height, width = 96, 128
    rooms = render(range(70, 90), height=height, width=width)
    depth = rooms["depth"].float()
    points = depth * pixel_rays(height, width)  # (N, 3, H, W)
    across = points[..., 2:-2, 4:] - points[..., 2:-2, :-4]
    down = points[..., 4:, 2:-2] - points[..., :-4, 2:-2]
    measured = F.normalize(torch.linalg.cross(down, across, dim=1), dim=1)
    truth = rooms["normals"].float()[..., 2:-2, 2:-2]
    # Away from edges: the normal is known and the same all around.
    around = rooms["normals"].float().unfold(2, 5, 1).unfold(3, 5, 1)  # (N, 3, H', W', 5, 5)
    flat = ((around - truth[..., None, None]).abs().amax(dim=(1, 4, 5)) < 0.02) & (truth != 0).any(1)
    known = (depth > 0).float()
    flat &= F.max_pool2d(1 - known, 5, 1)[:, 0] == 0
    # Parallel surfaces at different depths: the middle must lie between its neighbours.
    middle = depth[..., 2:-2, 2:-2]
    for a, b in (
        (depth[..., 2:-2, 4:], depth[..., 2:-2, :-4]),
        (depth[..., 4:, 2:-2], depth[..., :-4, 2:-2]),
    ):
        flat &= ((a + b - 2 * middle).abs() < 0.02 * middle)[:, 0]
    assert flat.float().mean() > 0.3
    angle = torch.rad2deg(torch.acos((measured * truth).sum(1).clamp(-1, 1)))[flat]
    assert angle.median() < 2
    assert angle.quantile(0.9) < 6


@pytest.mark.slow
def test_rooms_fit_the_renderer():
    for seed in range(200):
        scene = make_scene(seed)
        assert 8 <= len(scene.solids) < MAX_SOLIDS - len(scene.shell), seed
        assert 1 <= len(scene.lights) <= MAX_LIGHTS, seed
        width, depth, height = scene.size
        x, y, z = scene.camera.position
        assert 0 < x < width, seed
        assert 0 < y < depth, seed
        assert 0 < z < height, seed


def test_prepared_once_and_loaded_with_its_hash(tmp_path):
    scenes = build_dataset("scenes", height=24, width=32, train=5, val=3, test=2)
    storage = Storage(tmp_path)
    told = []
    scenes.prepare(storage, lambda *what: told.append(what))
    assert ("train", 5, 5) in told
    again = Scenes(height=24, width=32, train=5, val=3, test=2)
    assert again.is_ready(storage)
    assert len(again.content_hash(storage)) == 64
    loaded = again.load("val", storage)
    assert loaded.images.shape == (3, 3, 24, 32)
    expected = render(again.seeds("val"), height=24, width=32)
    assert torch.equal(loaded.targets["normals"], expected["normals"])
    assert loaded.ids.tolist() == list(again.seeds("val"))


SMALL = {"height": 24, "width": 32, "train": 5, "val": 3, "test": 2}


@pytest.fixture
def inexact(tmp_path):
    """A folder as an earlier renderer left it on a processor whose roots were off, and the hash that it should have."""
    scenes, storage = Scenes(**SMALL), Storage(tmp_path)
    scenes.prepare(storage)
    good = scenes.content_hash(storage)
    folder = scenes.folder(storage)
    images = np.load(folder / "val-image.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(folder / "val-image.npy", images)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["revision"]
    manifest["arrays"]["val-image"] = array_hash(images)
    manifest["content_hash"] = content_hash(manifest["arrays"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return scenes, storage, good, manifest["content_hash"]


def test_a_folder_of_an_inexact_renderer_is_never_used(inexact):
    scenes, storage, _, bad = inexact
    assert not scenes.is_ready(storage)
    for use in (scenes.content_hash, scenes.manifest, lambda storage: scenes.load("val", storage)):
        with pytest.raises(UserError, match=f"content hash {bad[:12]}.*mtbench data prepare scenes") as caught:
            use(storage)
        assert str(scenes.folder(storage)) in str(caught.value)
    (problem,) = check(scenes, storage)
    assert "earlier version, whose bytes depended on the processor" in problem


def test_a_folder_of_an_inexact_renderer_is_named_and_made_again(inexact, monkeypatch):
    scenes, storage, good, bad = inexact
    monkeypatch.setenv("MTBENCH_CACHE", str(storage.cache))
    listed = CliRunner().invoke(main, ["data", "list"])
    assert "outdated" in listed.output
    words = [f"--option={name}={value}" for name, value in SMALL.items()]
    told = CliRunner().invoke(main, ["data", "prepare", "scenes", *words])
    assert told.exit_code == 0, told.output
    assert f"{scenes.folder(storage)} (content hash {bad[:12]})" in told.output
    assert "it is made again" in told.output
    assert scenes.content_hash(storage) == good
    assert [path.name for path in storage.cache.iterdir()] == [scenes.folder(storage).name]
    again = CliRunner().invoke(main, ["data", "prepare", "scenes", *words])
    assert "made again" not in again.output


def test_two_processes_may_make_an_outdated_folder_again_at_once(inexact, monkeypatch):
    scenes, storage, good, _ = inexact
    publish = Scenes.publish

    def second(self, made, storage):
        monkeypatch.setattr(Scenes, "publish", publish)
        Scenes(**SMALL).prepare(storage)  # another one begins later and is first
        publish(self, made, storage)

    monkeypatch.setattr(Scenes, "publish", second)
    scenes.prepare(storage)
    assert scenes.content_hash(storage) == good
    assert [path.name for path in storage.cache.iterdir()] == [scenes.folder(storage).name]


def test_splits_share_no_seed():
    scenes = Scenes(train=1_000_000, val=1_000_000, test=1_000_000)
    spans = [scenes.seeds(split) for split in SPLITS]
    assert [len(span) for span in spans] == [1_000_000] * 3
    assert spans[0][-1] < spans[1][0]
    assert spans[1][-1] < spans[2][0]


def test_more_samples_keep_the_first_ones():
    few, more = (Scenes(height=24, width=32, train=n).build("train", None, silent) for n in (3, 6))
    assert all(np.array_equal(few[name], more[name][:3]) for name in few)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"height": 8}, "height must be a whole number from 16 to 1024, not 8"),
        ({"width": 5000}, "width"),
        ({"train": 0}, "train"),
        ({"val": -1}, "val"),
        ({"test": 2_000_000}, "test"),
        ({"train": 2.5}, "not 2.5"),
        ({"train": True}, "not True"),
        ({"height": "96"}, "not '96'"),
        ({"depth": 1}, "unknown option"),
    ],
)
def test_wrong_options(options, word):
    with pytest.raises(UsageError, match=word) as caught:
        build_dataset("scenes", **options)
    assert "\n" not in str(caught.value)


def test_options_are_the_identity():
    assert Scenes().options == {"height": 96, "width": 128, "train": 800, "val": 100, "test": 100}
    assert Scenes().identity == Scenes(train=800).identity != Scenes(train=801).identity
