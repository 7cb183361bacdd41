"""The literature's folders of .npy files: values, the split, and broken files."""

import os
import shutil

import numpy as np
import pytest

from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.data.arrays import middle_blocks
from benchmark.errors import UsageError, UserError

TRAIN, VAL = 13, 5


def made(names, seed=0, size=(288, 384), classes=13):
    """Arrays as the release has them, in float64."""
    draw = np.random.default_rng(seed)
    fields = {}
    for half, count in (("train", TRAIN), ("val", VAL)):
        normal = draw.normal(size=(count, *size, 3))
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        normal[:, :9] = 0
        every = {
            "image": draw.integers(0, 256, (count, *size, 3)) / 255,
            "label": draw.integers(-1, classes, (count, *size)).astype(float),
            "depth": draw.uniform(0, 1 if "normal" not in names else 9.99, (count, *size, 1)),
            "normal": normal,
        }
        every |= {f"label_{classes}": every["label"]}
        fields[half] = {name: every[name] for name in names}
    return fields


NYUV2 = ("image", "label", "depth", "normal")
CITYSCAPES = ("image", "label_7", "depth")


@pytest.fixture(scope="module")
def fields():
    return made(NYUV2)


@pytest.fixture(scope="module")
def files(fields, arrays_writer, tmp_path_factory):
    """A folder of which no file may be changed."""
    folder = tmp_path_factory.mktemp("arrays") / "source"
    arrays_writer(folder, fields)
    return folder


@pytest.fixture
def source(files, tmp_path):
    """A folder whose files are links to those, which may be moved and replaced."""
    return shutil.copytree(files, tmp_path / "source", copy_function=os.link)


@pytest.mark.slow
def test_files_are_taken_as_they_are(fields, source, tmp_path):
    dataset = build_dataset("nyuv2-npy", limit=100)
    dataset.prepare(storage := Storage(tmp_path / "cache", {"nyuv2-npy": source}))
    seen = []
    for split in SPLITS:
        loaded = dataset.load(split, storage)
        half = "val" if split == "test" else "train"
        numbers = [int(name.removeprefix(f"{half}/")) for name in loaded.ids]
        seen += loaded.ids.tolist()
        truth = {name: array[numbers] for name, array in fields[half].items()}
        assert np.array_equal(loaded.images.numpy() / 255, truth["image"].transpose(0, 3, 1, 2))
        assert np.array_equal(loaded.targets["semantic"].numpy(), truth["label"])
        depth, normal = (loaded.targets[name].numpy().astype(float) for name in ("depth", "normals"))
        assert np.allclose(depth, truth["depth"].transpose(0, 3, 1, 2), rtol=5e-4, atol=1e-6)
        assert np.allclose(normal, truth["normal"].transpose(0, 3, 1, 2), atol=5e-4)
        assert (normal[:, :, :9] == 0).all()
    assert sorted(seen) == sorted([f"train/{n}" for n in range(TRAIN)] + [f"val/{n}" for n in range(VAL)])


@pytest.mark.slow
@pytest.mark.parametrize("convert", [lambda a: a.astype(np.float32), lambda a: np.rint(a * 255).astype(np.uint8)])
def test_other_types_give_the_same_pictures(fields, arrays_writer, source, tmp_path, convert):
    other = {
        half: {name: convert(array) if name == "image" else array.astype(np.float32) for name, array in arrays.items()}
        for half, arrays in fields.items()
    }
    arrays_writer(tmp_path / "other", other)
    dataset = build_dataset("nyuv2-npy", limit=2)
    dataset.prepare(one := Storage(tmp_path / "one", {"nyuv2-npy": source}))
    dataset.prepare(two := Storage(tmp_path / "two", {"nyuv2-npy": tmp_path / "other"}))
    assert np.array_equal(dataset.load("train", one).images, dataset.load("train", two).images)


@pytest.mark.parametrize("folder", ["label_7", "label"])
def test_cityscapes(arrays_writer, tmp_path, folder):
    fields = made(("image", "label_7", "depth"), size=(128, 256), classes=7)
    for arrays in fields.values():
        arrays[folder] = arrays.pop("label_7")
    arrays_writer(tmp_path / "source", fields)
    dataset = build_dataset("cityscapes-npy", limit=100)
    dataset.prepare(storage := Storage(tmp_path / "cache", {"cityscapes-npy": tmp_path / "source"}))
    loaded = dataset.load("test", storage)
    assert loaded.images.shape == (VAL, 3, 128, 256)
    assert np.array_equal(loaded.targets["semantic"].numpy(), fields["val"][folder])
    depth = loaded.targets["disparity"].numpy().astype(float)
    assert np.allclose(depth, fields["val"]["depth"].transpose(0, 3, 1, 2), rtol=5e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "period"),
    [(795, 100), (2975, 500), (12, 100), (8, 100), (6, 100), (4, 100), (3, 100), (2, 100), (1, 100)],
)
def test_about_a_tenth_is_held_out_in_blocks(count, period):
    held_out = middle_blocks(count, period)
    assert held_out.any()
    assert held_out.sum() == pytest.approx(count / 10, abs=1.5) or count < 20
    starts = (np.diff(np.concatenate([[False], held_out]).astype(int)) == 1).sum()
    assert starts == max(1, round(count / period))


def test_the_official_numbers():
    assert build_dataset("nyuv2-npy").samples == {"train": 715, "val": 80, "test": 654}
    assert build_dataset("cityscapes-npy").samples == {"train": 2677, "val": 298, "test": 500}
    first = np.flatnonzero(middle_blocks(795, 100))[:12]
    assert first.tolist() == [*range(45, 55), 144, 145]


def saved(at, value):
    def change(file):
        array = np.load(file)
        array[at] = value
        np.save(file, array)

    return change


BAD = {
    "cut off": ("image", lambda file: file.write_bytes(file.read_bytes()[:999]), r"cannot be read as \.npy"),
    "empty": ("depth", lambda file: file.write_bytes(b""), r"cannot be read as \.npy"),
    "text": ("label", lambda file: file.write_text("x" * 99), r"cannot be read as \.npy"),
    "another shape": (
        "normal",
        lambda f: np.save(f, np.load(f)[..., :2]),
        r"384, 2\), expected .* 384, 3",
    ),
    "words": ("label", lambda f: np.save(f, np.full((288, 384), "a")), r"expected numbers of shape"),
    "a label beyond the table": ("label", saved((3, 4), 13), r"from -1 to 13, expected -1 to 12"),
    "half a class": ("label", saved((3, 4), 2.5), r"classes that are no whole numbers"),
    "pictures beyond 1": ("image", saved((3, 4, 1), 1.5), r"to 1\.5, expected 0 to 1"),
    "millimetres": ("depth", saved((3, 4, 0), 3000), r"to 3000, expected 0 to 10"),
    "not a number": ("normal", saved((3, 4, 0), np.nan), r"nan"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_broken_file_is_one_clear_line(source, tmp_path, what):
    folder, damage, message = BAD[what]
    file = source / "train" / folder / "1.npy"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    damage(file)
    dataset = build_dataset("nyuv2-npy", height=36, limit=4)
    storage = Storage(tmp_path / "cache", {"nyuv2-npy": source})
    with pytest.raises(UserError, match=message) as caught:
        dataset.prepare(storage)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not dataset.is_ready(storage)


MISSING = {
    "an empty folder": (lambda s: s.rename(s.with_name("x")) and s.mkdir(), r"there is no folder .*train/image"),
    "no val": (lambda source: (source / "val").rename(source / "test"), r"there is no folder .*val/image"),
    "no normals": (lambda source: (source / "train/normal").rename(source / "n"), r"there is no folder .*train/normal"),
    "a gap": (lambda source: (source / "train/depth/3.npy").unlink(), r"holds 12 files but no 3\.npy"),
    "fewer of one": (
        lambda source: (source / "train/depth/12.npy").unlink(),
        r"different numbers of files, .*12 in 'depth'",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_missing_files_are_named(source, tmp_path, what):
    damage, message = MISSING[what]
    damage(source)
    storage = Storage(tmp_path / "cache", {"nyuv2-npy": source})
    with pytest.raises(UserError, match=message):
        build_dataset("nyuv2-npy", height=36, limit=4).prepare(storage)
    assert list(storage.cache.iterdir()) == []


def test_without_limit_all_files_are_needed(source, tmp_path):
    with pytest.raises(UserError, match=r"train holds 13 files of each field, expected 795"):
        build_dataset("nyuv2-npy").prepare(Storage(tmp_path, {"nyuv2-npy": source}))


@pytest.mark.parametrize("options", [{"classes": 3}, {"stored": 100}, {"height": 256}, {"limit": -3}])
def test_other_options_are_wrong_usage(options):
    with pytest.raises(UsageError, match=f"cityscapes-npy: {next(iter(options))} must be"):
        build_dataset("cityscapes-npy", **options)
