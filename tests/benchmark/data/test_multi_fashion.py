"""Multi-Fashion: what the composed samples hold, that they are always the same, and broken files."""

import gzip
import hashlib
import random
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.data import Storage, build_dataset
from benchmark.data.dataset import silent
from benchmark.data.multi_fashion import DEBIAN_FOLDER
from benchmark.errors import UsageError, UserError
from benchmark.execution.apart import call_in

FILES = {
    "train-images-idx3-ubyte.gz": ("train", 2051),
    "train-labels-idx1-ubyte.gz": ("train", 2049),
    "t10k-images-idx3-ubyte.gz": ("t10k", 2051),
    "t10k-labels-idx1-ubyte.gz": ("t10k", 2049),
}


def write_idx(file, magic, array):
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    file.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), 1, mtime=0))


def write_articles(folder, train=120, test=40):
    """Files whose pictures are told apart by every pixel: a frame-filling noise that starts with the position."""
    folder.mkdir(exist_ok=True)
    random = np.random.RandomState(0)
    articles = {}
    for prefix, count in (("train", train), ("t10k", test)):
        images = random.randint(1, 256, (count, 28, 28))
        labels = random.permutation(np.arange(count) % 10)
        articles[prefix] = images, labels
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", 2051, images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 2049, labels)
    return articles


@pytest.fixture(scope="module", autouse=True)
def _any_content():
    """Tiny files stand for the official ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.data.multi_fashion.OFFICIAL", {})
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashion")
    return folder, write_articles(folder)


def build(split, folder, **counts):
    return build_dataset("multi-fashion", **{"train": 200, "val": 60, "test": 70, **counts}).build(
        split, folder, silent
    )


def digest_of(arrays):
    names = ("image", "top-left", "bottom-right")
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in names)).hexdigest()[:16]


def positions(ids):
    return np.array([[int(part) for part in name.split("-")] for name in ids.tolist()])


@pytest.mark.parametrize(
    ("split", "prefix", "count"), [("train", "train", 200), ("val", "train", 60), ("test", "t10k", 70)]
)
def test_a_sample_is_the_maximum_of_the_two_articles_that_its_id_names(source, split, prefix, count):
    folder, articles = source
    images, labels = articles[prefix]
    arrays = build(split, folder)
    assert arrays["image"].shape == (count, 1, 36, 36)
    assert arrays["image"].dtype == np.uint8
    seen = set()
    for picture, (first, second), a, b in zip(
        arrays["image"][:, 0], positions(arrays["id"]), arrays["top-left"], arrays["bottom-right"], strict=True
    ):
        assert (a, b) == (labels[first], labels[second])
        assert a != b
        filled = np.argwhere(picture)
        top, left = filled.min(0)
        bottom, right = filled.max(0)
        canvas = np.zeros((2, 36, 36))
        canvas[0, top : top + 28, left : left + 28] = images[first]
        canvas[1, bottom - 27 : bottom + 1, right - 27 : right + 1] = images[second]
        assert np.array_equal(picture, canvas.max(0))
        seen.add(("first", top, left))
        seen.add(("second", bottom - 27, right - 27))
    rows_and_columns = {who: {(r, c) for w, r, c in seen if w == who} for who in ("first", "second")}
    assert rows_and_columns["first"] <= {(r, c) for r in range(5) for c in range(5)}
    assert rows_and_columns["second"] <= {(r, c) for r in range(4, 9) for c in range(4, 9)}
    if split == "train":  # enough samples for every place to occur
        assert [len(places) for places in rows_and_columns.values()] == [25, 25]


def test_train_and_val_share_no_article(source):
    folder, _ = source
    train, val = (
        set(positions(build(split, folder, **{split: 3000})["id"]).ravel().tolist()) for split in ("train", "val")
    )
    assert not train & val
    assert (len(train), len(val)) == (100, 20)  # every article of the 120 is used


def test_every_pair_of_classes_occurs_about_equally_often(source):
    folder, _ = source
    arrays = build("train", folder, train=18_000)
    counts = np.zeros((10, 10))
    np.add.at(counts, (arrays["top-left"], arrays["bottom-right"]), 1)
    assert counts.diagonal().sum() == 0
    assert counts[~np.eye(10, dtype=bool)].min() > 80  # 200 on average; the small pools of articles are uneven
    assert abs(counts.sum(0) - counts.sum(1)).max() < 400


def composed(folder):
    """A hash of what is built of a folder's files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.data.multi_fashion.OFFICIAL", {})
        arrays = build("train", folder)
    return hashlib.sha256(arrays["image"].tobytes() + " ".join(arrays["id"]).encode()).hexdigest()


@pytest.mark.slow
def test_the_same_in_another_process(source):
    folder, _ = source
    assert call_in("portable", (), composed, folder) == composed(folder)


def test_the_composition_is_fixed_for_ever(source):
    # A change here is a new version of the data set: records of the old one do not compare.
    folder, _ = source
    arrays = {split: build(split, folder) for split in ("train", "val", "test")}
    assert {split: arrays[split]["id"][:4].tolist() for split in arrays} == {
        "train": ["114-8", "32-59", "79-106", "97-46"],
        "val": ["74-87", "113-12", "100-17", "37-11"],
        "test": ["27-12", "5-28", "21-6", "19-37"],
    }
    assert digest_of(arrays["train"]) == "977c1ec585750905"


def test_the_rest_of_the_process_does_not_matter(source):
    folder, _ = source
    once = build("test", folder)
    np.random.seed(1)
    random.seed(1)
    build("train", folder)
    again = build("test", folder)
    assert all(np.array_equal(once[name], again[name]) for name in once)


def test_a_smaller_split_is_the_beginning_of_a_larger_one(source):
    folder, _ = source
    large, small = build("train", folder, train=150), build("train", folder, train=40)
    assert all(np.array_equal(large[name][:40], small[name]) for name in large)


def test_prepares_and_loads(source, tmp_path):
    folder, _ = source
    dataset = build_dataset("multi-fashion", train=20, val=6, test=7)
    storage = Storage(tmp_path, {"multi-fashion": folder})
    told = []
    dataset.prepare(storage, lambda split, done, total: told.append((split, done, total)))
    assert told == [("train", 20, 20), ("val", 6, 6), ("test", 7, 7)]
    split = dataset.load("val", storage)
    assert (len(split), set(split.targets)) == (6, {"top-left", "bottom-right"})
    assert np.array_equal(split.ids, build("val", folder)["id"][:6])
    assert [task.classes[9] for task in dataset.tasks] == ["Ankle boot", "Ankle boot"]


@pytest.mark.parametrize("option", ["train", "val", "test"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "100", True, None, 10**7])
def test_counts_are_checked(option, value):
    with pytest.raises(UsageError, match=f"whole number from 1 to 1000000 as '{option}', found"):
        build_dataset("multi-fashion", **{option: value})


# Broken sources.


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_with_the_package_and_the_option(tmp_path, name):
    write_articles(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError) as caught:
        build("test" if name.startswith("t10k") else "train", tmp_path)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert "dataset-fashion-mnist" in message
    assert "--source multi-fashion=DIR" in message
    assert "\n" not in message


def test_a_missing_folder_is_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        build("val", tmp_path / "nowhere")


def rewritten(name, change):
    def damage(folder):
        file = folder / name
        file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes())), 1))

    return damage


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
DAMAGE = {
    "not gzip": (lambda d: (d / IMAGES).write_bytes(b"\x00\x00\x08\x03" * 100), "cannot be read as gzip"),
    "empty file": (lambda d: (d / IMAGES).write_bytes(b""), "ends within its header"),
    "a folder": (lambda d: ((d / IMAGES).unlink(), (d / IMAGES).mkdir()), "cannot be read as gzip"),
    "gzip cut short": (
        lambda d: (d / IMAGES).write_bytes((d / IMAGES).read_bytes()[:-3000]),
        "cannot be read as gzip",
    ),
    "check sum": (
        lambda d: (d / IMAGES).write_bytes((d / IMAGES).read_bytes()[:-8] + b"\0" * 8),
        "cannot be read as gzip",
    ),
    "labels as pictures": (lambda d: (d / IMAGES).write_bytes((d / LABELS).read_bytes()), "expected 2051"),
    "pictures as labels": (lambda d: (d / LABELS).write_bytes((d / IMAGES).read_bytes()), "expected 2049"),
    "a cut header": (rewritten(IMAGES, lambda raw: raw[:7]), "ends within its header of 16 bytes"),
    "another size": (
        rewritten(IMAGES, lambda raw: raw[:8] + struct.pack(">2I", 14, 56) + raw[16:]),
        r"\[120, 14, 56\]",
    ),
    "a count beyond memory": (rewritten(IMAGES, lambda raw: raw[:4] + b"\xff" * 4 + raw[8:]), "4294967295"),
    "one byte short": (rewritten(IMAGES, lambda raw: raw[:-1]), "holds only 94079 bytes"),
    "one byte long": (rewritten(IMAGES, lambda raw: raw + b"\0"), "holds more bytes"),
    "fewer labels": (rewritten(LABELS, lambda raw: raw[:4] + struct.pack(">I", 119) + raw[8:-1]), "119 labels for 120"),
    "a label out of range": (rewritten(LABELS, lambda raw: raw[:-1] + b"\x0a"), "the label 10"),
    "no articles": (
        lambda d: (write_idx(d / IMAGES, 2051, np.zeros((0, 28, 28))), write_idx(d / LABELS, 2049, np.zeros(0))),
        "too few articles",
    ),
    "one class": (lambda d: write_idx(d / LABELS, 2049, np.full(120, 3)), "too few articles"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_broken_file_is_one_clear_line_that_names_it(tmp_path, case):
    damage, message = DAMAGE[case]
    write_articles(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        build("train", tmp_path)
    assert str(tmp_path / "train-") in str(caught.value)
    assert "\n" not in str(caught.value)


edit = st.tuples(st.sampled_from(["flip", "cut", "insert"]), st.floats(0, 1, exclude_max=True), st.integers(1, 255))


def edited(data, edits):
    data = bytearray(data)
    for how, where, value in edits:
        # Squared, so that the headers at the beginning are hit often.
        at = int(where**2 * len(data))
        if how == "flip" and data:
            data[at] ^= value
        elif how == "insert":
            data.insert(at, value)
        else:
            del data[at:]
    return bytes(data)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    write_articles(folder, train=30, test=20)
    return folder, {name: (folder / name).read_bytes() for name in FILES}, build("test", folder, test=10)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]),
    inside=st.booleans(),
    edits=st.lists(edit, min_size=1, max_size=3),
)
def test_damaged_bytes_give_an_error_or_data(small, name, inside, edits):
    folder, originals, expected = small
    original = originals[name]
    data = gzip.compress(edited(gzip.decompress(original), edits), 1) if inside else edited(original, edits)
    (folder / name).write_bytes(data)
    try:
        arrays = build("test", folder, test=10)
    except UserError:
        return
    finally:
        (folder / name).write_bytes(original)
    assert arrays["image"].shape == (10, 1, 36, 36)
    assert (arrays["top-left"] != arrays["bottom-right"]).all()
    # gzip's check sum finds what hits the stored bytes; what hits the values themselves nobody can see.
    assert inside or all(np.array_equal(arrays[key], expected[key]) for key in expected)


@pytest.mark.skipif(
    not (DEBIAN_FOLDER / "train-images-idx3-ubyte.gz").is_file(),
    reason=f"Fashion-MNIST is not in {DEBIAN_FOLDER} (Debian's package dataset-fashion-mnist)",
)
def test_the_official_files():
    dataset = build_dataset("multi-fashion", train=2000, val=500, test=500)
    digests = []
    for split in ("train", "val", "test"):
        arrays = dataset.build(split, None, silent)
        assert set(arrays["top-left"]) == set(arrays["bottom-right"]) == set(range(10))
        assert positions(arrays["id"]).max() < (10_000 if split == "test" else 60_000)
        digests.append(digest_of(arrays))
    assert digests == ["51f41ee4436b9d6b", "3301b6dd6949d40a", "0e5023d18c21dd95"]
