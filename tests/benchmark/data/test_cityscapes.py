"""Cityscapes from folders in the official format: values, the split, and broken files."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.data.cityscapes import DISPARITY_UNIT, OFFICIAL, SAMPLES
from benchmark.data.cityscapes.classes import class_names, class_table
from benchmark.errors import UsageError, UserError

NAMES = {
    "train": [f"{town}_000000_0000{i}_000019" for town in ("aachen", "ulm", "zurich", "krefeld") for i in (1, 2)],
    "val": [f"{town}_000000_0000{i}_000019" for town in ("frankfurt", "munster") for i in (4, 5)],
}
IDS = {
    "train": ["aachen_000000_00001_000019", "aachen_000000_00002_000019", "zurich_000000_00001_000019",
              "zurich_000000_00002_000019"],
    "val": ["krefeld_000000_00001_000019", "krefeld_000000_00002_000019", "ulm_000000_00001_000019",
            "ulm_000000_00002_000019"],
    "test": NAMES["val"],
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures():
    """Blocks of 16 pixels, each of one colour, label and disparity; every label and some unknown disparity occurs."""
    draw = np.random.default_rng(0)

    def blocks(high, dtype, *channels):
        array = draw.integers(0, high, (64, 128, *channels)).astype(dtype)
        return array.repeat(16, 0).repeat(16, 1)

    made = {}
    for half, names in NAMES.items():
        for name in names:
            disparity = blocks(32258, np.uint16)
            disparity[:32] = 0
            disparity[32:64, :64] = 1
            made[half, name] = blocks(256, np.uint8, 3), blocks(34, np.uint8), disparity
    return made


@pytest.fixture(scope="module")
def source(pictures, cityscapes_writer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cityscapes")
    cityscapes_writer(folder, pictures)
    return folder


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("cache"), {"cityscapes": source})
    dataset = build_dataset("cityscapes", limit=100)
    dataset.prepare(storage)
    return dataset, storage


def loaded_with_truth(prepared, pictures):
    dataset, storage = prepared
    for split in SPLITS:
        loaded = dataset.load(split, storage)
        truth = [pictures["val" if split == "test" else "train", name] for name in loaded.ids]
        yield loaded, [np.stack([arrays[i] for arrays in truth]) for i in range(3)]


@pytest.mark.slow
def test_whole_cities_are_held_out(prepared):
    dataset, storage = prepared
    assert {split: dataset.load(split, storage).ids.tolist() for split in SPLITS} == IDS


def test_the_official_numbers_add_up():
    assert sum(SAMPLES.values()) == sum(OFFICIAL.values())
    assert build_dataset("cityscapes").samples == SAMPLES


def test_pictures_are_means_of_areas_and_targets_those_of_the_middle(prepared, pictures):
    for loaded, (image, labels, disparity) in loaded_with_truth(prepared, pictures):
        # The blocks are twice as large as the areas, so that a mean is the block's own colour.
        assert np.array_equal(loaded.images.numpy(), image[:, ::8, ::8].transpose(0, 3, 1, 2))
        assert np.array_equal(loaded.targets["semantic"].numpy(), class_table(7)[labels[:, 4::8, 4::8]])
        pixels = np.maximum(disparity[:, 4::8, 4::8].astype(np.float64) - 1, 0) / 256
        found = loaded.targets["disparity"].numpy()[:, 0].astype(np.float64) * 256
        assert np.allclose(found, pixels, rtol=5e-4, atol=0)
        assert np.array_equal(found == 0, disparity[:, 4::8, 4::8] <= 1)


def test_no_disparity_loses_more_than_half_precision_says():
    stored = np.arange(2, 65536)
    pixels = (stored - 1) / 256
    half = (pixels / DISPARITY_UNIT).astype(np.float16).astype(np.float64) * DISPARITY_UNIT
    assert (abs(half - pixels) <= 2.0**-11 * pixels).all()
    assert (half == pixels)[pixels <= 8].all()


@pytest.mark.slow
def test_a_mean_is_a_mean(cityscapes_writer, pictures, tmp_path):
    draw = np.random.default_rng(1)
    noise = draw.integers(0, 256, (1024, 2048, 3)).astype(np.uint8)
    few = [("train", IDS["train"][0]), ("train", IDS["val"][0]), ("val", IDS["test"][0])]
    cityscapes_writer(tmp_path / "source", {key: (noise, *pictures[key][1:]) for key in few})
    dataset = build_dataset("cityscapes", height=256, limit=1)
    dataset.prepare(storage := Storage(tmp_path / "cache", {"cityscapes": tmp_path / "source"}))
    loaded = dataset.load("train", storage)
    truth = noise.reshape(256, 4, 512, 4, 3).mean((1, 3)).transpose(2, 0, 1)
    assert abs(loaded.images[0].numpy() - truth).max() <= 1


def test_the_tables_are_whole():
    assert class_names(7) == ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
    assert class_names(19)[:3] == ("road", "sidewalk", "building")
    assert class_names(19)[18] == "bicycle"
    for classes in (19, 7, 2):
        table = class_table(classes)
        assert set(table[:34].tolist()) == set(range(classes)) | ({-1} if classes != 2 else set())
        assert (table[34:] == -2).all()
    # road, parking, caravan, void
    assert [class_table(19)[i] for i in (7, 9, 29, 0)] == [0, -1, -1, -1]
    assert [class_table(7)[i] for i in (7, 9, 29, 0)] == [0, 0, 6, -1]
    assert [class_table(2)[i] for i in (7, 9, 29, 0)] == [0, 0, 1, 0]


@pytest.fixture
def copy(source, tmp_path):
    shutil.copytree(source, tmp_path / "source")
    return tmp_path / "source"


def first(copy, folder):
    return sorted(copy.glob(f"{folder}/train/aachen/*.png"))[0]


def damaged_middle(file):
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    file.write_bytes(content)


def relabelled(file):
    labels = np.array(Image.open(file))
    labels[70, 90] = 34
    Image.fromarray(labels).save(file)


BAD = {
    "cut off": ("leftImg8bit", lambda file: file.write_bytes(file.read_bytes()[:5000]), r"cannot be read as PNG"),
    "damaged": ("leftImg8bit", damaged_middle, r"PNG"),
    "empty": ("disparity", lambda file: file.write_bytes(b""), r"cannot be read as PNG"),
    "no picture": ("gtFine", lambda file: file.write_text("<html>"), r"cannot be read as PNG"),
    "grey": ("leftImg8bit", lambda f: Image.fromarray(np.zeros((1024, 2048), np.uint8)).save(f), r"is uint8 of shape"),
    "small": ("disparity", lambda f: Image.fromarray(np.zeros((512, 1024), np.uint16)).save(f), r"\(512, 1024\), expe"),
    "8 bits": ("disparity", lambda f: Image.fromarray(np.zeros((1024, 2048), np.uint8)).save(f), r"is uint8 of shape"),
    "a label beyond the table": ("gtFine", relabelled, r"holds the label 34, expected 0 to 33"),
    "missing labels": ("gtFine", lambda file: file.unlink(), r"there is no file .*gtFine_labelIds\.png"),
    "missing disparity": ("disparity", lambda file: file.unlink(), r"there is no file .*disparity\.png"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_broken_file_is_one_clear_line(copy, tmp_path, what):
    folder, damage, message = BAD[what]
    damage(file := first(copy, folder))
    dataset = build_dataset("cityscapes", height=32, limit=2)
    storage = Storage(tmp_path / "cache", {"cityscapes": copy})
    with pytest.raises(UserError, match=message) as caught:
        dataset.prepare(storage)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not dataset.is_ready(storage)


def test_an_empty_folder_and_a_missing_split_are_named(copy, tmp_path):
    (tmp_path / "empty").mkdir()
    dataset = build_dataset("cityscapes")
    with pytest.raises(UserError, match=r"holds 0 pictures in its cities' folders, expected 2975"):
        dataset.prepare(Storage(tmp_path / "cache", {"cityscapes": tmp_path / "empty"}))
    with pytest.raises(UserError, match=r"train holds 8 pictures .* expected 2975"):
        dataset.prepare(Storage(tmp_path / "cache", {"cityscapes": copy}))
    shutil.rmtree(copy / "leftImg8bit" / "val")
    with pytest.raises(UserError, match="no sample for the split 'test'"):
        build_dataset("cityscapes", limit=4).prepare(Storage(tmp_path / "cache", {"cityscapes": copy}))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("options", [{"classes": 20}, {"height": 512}, {"height": True}, {"limit": 1.5}])
def test_other_options_are_wrong_usage(options):
    with pytest.raises(UsageError, match=f"cityscapes: {next(iter(options))} must be"):
        build_dataset("cityscapes", **options)


def test_a_disparity_is_drawn(prepared):
    dataset, storage = prepared
    values = dataset.load("train", storage).targets["disparity"][0]
    drawn = dataset.tasks[1].definition.draw(values.numpy())
    assert drawn.shape == (128, 256, 3)
    assert (drawn[(values[0] == 0).numpy()] == 0).all()
    assert torch.equal(values, values.clamp(0, 1))
