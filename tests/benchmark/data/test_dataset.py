"""Preparation, cache and loading, which every data set shares."""

import inspect
import json
import re
import shutil
import threading
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.data.dataset import DataSet, register_dataset
from benchmark.data.prepared import scratch_prefix
from benchmark.errors import UsageError, UserError
from benchmark.registry import DATASETS, LATER, Registry
from tests.forked import Forked


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "cache")


@pytest.fixture
def dataset(toy):
    return build_dataset("toy", size=20, train=4, val=3, test=2)


def altered(dataset, change):
    """The same data set with ``change(split, arrays)`` done to what it builds."""
    build = dataset.build

    def changed(split, source, progress):
        arrays = build(split, source, progress)
        return change(split, arrays) or arrays

    dataset.build = changed
    return dataset


def left_in(storage):
    return sorted(path.name for path in storage.cache.iterdir())


# Prepared, then loaded.


def test_what_is_built_is_loaded(dataset, storage):
    assert not dataset.is_ready(storage)
    told = []
    dataset.prepare(storage, lambda *news: told.append(news))
    assert dataset.is_ready(storage)
    assert told == [("train", 4, 4), ("val", 3, 3), ("test", 2, 2)]
    for split in SPLITS:
        built, loaded = dataset.build(split, None, lambda *news: None), dataset.load(split, storage)
        assert len(loaded) == dataset.samples[split]
        assert np.array_equal(loaded.images.numpy(), built["image"])
        assert loaded.ids.tolist() == built["id"].tolist()
        assert list(loaded.targets) == [task.name for task in dataset.tasks]
        for name, target in loaded.targets.items():
            assert np.array_equal(target.numpy(), built[name])
            assert target.dtype == torch.from_numpy(built[name]).dtype


def test_prepared_once(dataset, storage):
    dataset.prepare(storage)

    def forbidden(split, arrays):
        raise AssertionError("built again")

    altered(dataset, forbidden).prepare(storage)


def test_options_and_version_have_their_own_folders(toy, storage):
    sets = [build_dataset("toy"), build_dataset("toy", size=20), build_dataset("toy-words")]
    assert len({dataset.folder(storage) for dataset in sets}) == 3
    assert build_dataset("toy", size=32).folder(storage) == sets[0].folder(storage)
    assert sets[1].options == {"size": 20, "train": 12, "val": 5, "test": 5}


def test_the_same_content_has_the_same_hash(toy, tmp_path):
    hashes = set()
    for name in ("one", "two"):
        storage = Storage(tmp_path / name)
        dataset = build_dataset("toy", size=20)
        dataset.prepare(storage)
        hashes.add(dataset.content_hash(storage))
    assert len(hashes) == 1
    assert re.fullmatch("[0-9a-f]{64}", hashes.pop())


@pytest.mark.parametrize(
    "change",
    [
        lambda split, arrays: arrays["image"].__setitem__((0, 0, 0, 0), arrays["image"][0, 0, 0, 0] ^ 1),
        lambda split, arrays: {**arrays, "id": np.array([f"x{name}" for name in arrays["id"]])},
        lambda split, arrays: {**arrays, "depth": arrays["depth"].astype(np.float32)},
        lambda split, arrays: {**arrays, "depth": arrays["depth"].reshape(len(arrays["depth"]), 1, 10, 40)},
    ],
    ids=["a pixel", "names", "a type", "a shape"],
)
def test_other_content_has_another_hash(dataset, tmp_path, change):
    dataset.prepare(Storage(tmp_path / "one"))
    first = dataset.content_hash(Storage(tmp_path / "one"))
    altered(dataset, change).prepare(Storage(tmp_path / "two"))
    assert dataset.content_hash(Storage(tmp_path / "two")) != first


def test_the_source_is_the_users_folder_for_this_set(dataset, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        dataset.prepare(Storage(tmp_path / "cache", {"toy": tmp_path / "nowhere"}))
    dataset.prepare(Storage(tmp_path / "cache", {"other": tmp_path / "nowhere", "toy": tmp_path}))


def test_another_source_than_the_prepared_one_is_refused(dataset, tmp_path):
    cache = tmp_path / "cache"
    dataset.prepare(Storage(cache, {"toy": tmp_path}))
    dataset.prepare(Storage(cache))
    dataset.prepare(Storage(cache, {"toy": tmp_path}))
    (tmp_path / "other").mkdir()
    with pytest.raises(
        UserError, match=r"was prepared from .*, not from .*other: which files .* not known; delete it"
    ) as caught:
        dataset.prepare(Storage(cache, {"toy": tmp_path / "other"}))
    assert "\n" not in str(caught.value)


def test_the_cache_can_be_moved(dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "here"))
    dataset.prepare(Storage.default())
    assert dataset.is_ready(Storage(tmp_path / "here"))
    monkeypatch.delenv("MTBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Storage.default().cache == tmp_path / "mtbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Storage.default({"toy": Path("x")}) == Storage(tmp_path / "home/.cache/mtbench", {"toy": Path("x")})


# Nothing half done.


def test_a_failed_build_leaves_nothing(dataset, storage):
    def fails(split, arrays):
        if split == "test":
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        altered(dataset, fails).prepare(storage)
    assert left_in(storage) == []
    assert not dataset.is_ready(storage)
    build_dataset("toy", size=20, train=4, val=3, test=2).prepare(storage)
    assert left_in(storage) == [dataset.folder(storage).name]


def test_two_at_once_both_succeed(toy, storage):
    # Each waits in its last split for the other, so that both are about to finish.
    together = threading.Barrier(2, timeout=30)
    errors = []

    def prepare():
        dataset = build_dataset("toy", size=20, train=4, val=3, test=2)
        try:
            altered(dataset, lambda split, arrays: split == "test" and together.wait() and None).prepare(storage)
            dataset.load("test", storage)
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(left_in(storage)) == 1


def test_processes_agree(dataset, storage, tmp_path):
    def prepared():
        dataset.prepare(storage)
        return dataset.content_hash(storage)

    running = [Forked(tmp_path, prepared) for _ in range(2)]
    assert len({process.printed() for process in running}) == 1
    assert len(left_in(storage)) == 1


def test_a_folder_that_is_in_the_way_is_named(dataset, storage):
    folder = dataset.folder(storage)
    folder.mkdir(parents=True)
    (folder / "leftover").touch()
    with pytest.raises(UserError, match="is in the way") as caught:
        dataset.prepare(storage)
    assert str(folder) in str(caught.value)
    assert left_in(storage) == [folder.name]


def test_a_cache_that_cannot_be_written_says_how_to_move_it(dataset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write the data cache .* MTBENCH_CACHE"):
        dataset.prepare(Storage(tmp_path / "file"))


def test_a_full_disk_says_so(dataset, storage, monkeypatch):
    def full(file, array, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match=r"cannot write the data cache .*No space left on device.*MTBENCH_CACHE"):
        dataset.prepare(storage)
    assert left_in(storage) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda split, arrays: {name: array for name, array in arrays.items() if name != "depth"}, "must hold"),
        (lambda split, arrays: {**arrays, "more": arrays["id"]}, "must hold"),
        (lambda split, arrays: {**arrays, "depth": arrays["depth"][1:]}, "must hold 4 samples"),
        (lambda split, arrays: {name: array[:1] for name, array in arrays.items()}, "must hold 4 samples"),
        (lambda split, arrays: {**arrays, "image": arrays["image"].astype(np.float32)}, "uint8"),
        (lambda split, arrays: {**arrays, "image": arrays["image"][:, :1]}, "of shape"),
    ],
)
def test_an_author_is_told_what_build_must_give(dataset, storage, change, message):
    with pytest.raises(ValueError, match=f"^toy: .*{message}"):
        altered(dataset, change).prepare(storage)
    assert left_in(storage) == []


# Damage.


def test_a_set_that_is_not_prepared_cannot_be_loaded(dataset, storage):
    with pytest.raises(UserError, match=r"manifest\.json cannot be used"):
        dataset.load("train", storage)


def test_an_unknown_split_lists_the_known(dataset, storage):
    dataset.prepare(storage)
    with pytest.raises(UsageError, match=r"unknown split 'tset'\. Did you mean 'test'"):
        dataset.load("tset", storage)


@pytest.fixture(scope="module")
def prepared(toy, tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("prepared"))
    dataset = build_dataset("toy", size=20, train=4, val=3, test=2)
    dataset.prepare(storage)
    return dataset, storage


DAMAGE = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "text": lambda file: file.write_text("hello"),
    "a zip's beginning": lambda file: file.write_bytes(b"PK\x03\x04" + bytes(100)),
    "one bit": lambda file: file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])),
    "other samples": lambda file: np.save(file, np.load(file)[::-1]),
    "fewer samples": lambda file: np.save(file, np.load(file)[1:]),
    "a number": lambda file: np.save(file, np.array(3)),
    "objects": lambda file: np.save(file, np.array([{}], dtype=object), allow_pickle=True),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["image", "semantic", "id"])
def test_a_damaged_file_is_named_and_nothing_of_it_is_used(prepared, tmp_path, damage, name):
    dataset, storage = prepared
    shutil.copytree(storage.cache, tmp_path / "copy")
    copy = Storage(tmp_path / "copy")
    file = dataset.folder(copy) / f"val-{name}.npy"
    DAMAGE[damage](file)
    with pytest.raises(UserError, match=r"cannot be used .*; delete its folder and run again") as caught:
        dataset.load("val", copy)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(dataset.load("train", copy)) == 4


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 200), st.integers(0, 255))
def test_any_byte_of_a_files_header_may_break(prepared, at, value):
    dataset, storage = prepared
    file = dataset.folder(storage) / "val-depth.npy"
    original = file.read_bytes()
    expected = dataset.load("val", storage).targets["depth"]
    file.write_bytes(original[:at] + bytes([value]) + original[at + 1 :])
    try:
        loaded = dataset.load("val", storage)
    except UserError:
        return
    finally:
        file.write_bytes(original)
    assert torch.equal(loaded.targets["depth"], expected)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"schema": 1}', '{"schema": 99}', '{"schema": 1, "arrays": 3}'],
)
def test_a_damaged_manifest_is_named(prepared, tmp_path, text):
    dataset, storage = prepared
    shutil.copytree(storage.cache, tmp_path / "copy")
    copy = Storage(tmp_path / "copy")
    file = dataset.folder(copy) / "manifest.json"
    file.write_text(text)
    for use in (dataset.content_hash, lambda storage: dataset.load("train", storage)):
        with pytest.raises(UserError, match="cannot be used") as caught:
            use(copy)
        assert str(file) in str(caught.value)


def test_an_edited_hash_is_found(prepared, tmp_path):
    dataset, storage = prepared
    shutil.copytree(storage.cache, tmp_path / "copy")
    copy = Storage(tmp_path / "copy")
    file = dataset.folder(copy) / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "content_hash": "0" * 64}))
    with pytest.raises(UserError, match="content hash does not fit"):
        dataset.content_hash(copy)


# Ways in.


def test_every_data_set_declares_what_it_makes():
    for name in DATASETS:
        if DATASETS[name].factory.__module__.startswith("benchmark."):
            dataset = build_dataset(name)
            assert dataset.name == name
            assert dataset.tasks
            assert len(dataset.image_shape) == 3
            assert set(dataset.samples) == set(dataset.splits) >= set(SPLITS)
            assert set(dataset.options) == set(DATASETS[name].defaults)
            assert DATASETS[name].version == dataset.version


def test_unknown_names_and_options_are_wrong_usage(toy):
    with pytest.raises(UsageError, match=r"unknown data set 'multi-fashoin'\. Did you mean 'multi-fashion'"):
        build_dataset("multi-fashoin")
    with pytest.raises(UsageError, match=r"unknown option of 'toy' 'sise'\. Did you mean 'size'"):
        build_dataset("toy", sise=3)


def test_a_class_is_registered_under_its_name_and_version(monkeypatch):
    sets = Registry("data set")
    monkeypatch.setattr("benchmark.data.dataset.DATASETS", sets)

    class Mine(DataSet):
        name = "mine"
        version = 7

    assert register_dataset(Mine) is Mine
    assert sets["mine"].version == 7


def test_an_option_that_was_added_later_names_no_new_folder(dataset, storage, monkeypatch):
    """While it has its default, what was prepared before it was there is still found."""
    before = dataset.folder(storage)
    kind = type(dataset)

    class Grown(kind):
        def __init__(self, *, tint: Annotated[int, LATER] = 0, **options):
            super().__init__(**options)
            self.tint = tint

    parameters = [p for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY]
    tint = inspect.signature(Grown).parameters["tint"]
    monkeypatch.setattr(Grown, "__signature__", inspect.Signature([*parameters, tint]), raising=False)
    registry = Registry("data set")
    registry.register("toy", version=DATASETS["toy"].version)(Grown)
    monkeypatch.setattr("benchmark.data.dataset.DATASETS", registry)
    options = {"size": 20, "train": 4, "val": 3, "test": 2}
    assert registry["toy"].build(**options).folder(storage) == before
    assert registry["toy"].build(**options, tint=0).folder(storage) == before
    assert registry["toy"].build(**options, tint=1).folder(storage) != before


def test_a_killed_preparation_leaves_nothing_for_long(toy, tmp_path):
    """Its folder goes with the next preparation; that of one that goes on, and of another machine's, stays."""
    gone = Forked(tmp_path, scratch_prefix, "toy").printed().strip()
    names = [f"{gone}abc", f"{scratch_prefix('other')}abc", gone.replace(gone.split("-")[1], "0" * 8) + "abc", ".toy-x"]
    for name in names:
        (tmp_path / name / "within").mkdir(parents=True)
    build_dataset("toy", size=20).prepare(Storage(tmp_path))
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert left == set(names[1:])
