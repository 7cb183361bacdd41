"""Data sets prepared chunk by chunk: what they hold, interruptions, and what may go wrong on the way."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data import Storage, build_dataset, prepared, streaming, workers
from benchmark.data.dataset import SPLITS
from benchmark.errors import UserError
from benchmark.registry import load_plugin_file
from tests.forked import Forked, until

PLUGIN = Path(__file__).parent / "numbers_plugin.py"


@pytest.fixture(scope="module", autouse=True)
def _plugin():
    load_plugin_file(PLUGIN)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(14):
        (folder / f"{number:02}.txt").write_text(str(number))
    return folder


@pytest.fixture
def storage(tmp_path, source):
    return Storage(tmp_path / "cache", {"numbers": source})


@pytest.fixture
def dataset():
    return build_dataset("numbers")


@pytest.fixture
def made(monkeypatch):
    """The ids of every sample that is made in this process, in order."""
    ids = []
    make = type(build_dataset("numbers")).make

    def counting(self, root, split, some):
        ids.extend(some)
        return make(self, root, split, some)

    monkeypatch.setattr(type(build_dataset("numbers")), "make", counting)
    return ids


def left_in(storage):
    return sorted(path.name for path in storage.cache.iterdir())


def stop_after(samples):
    """A ``Progress`` that interrupts once that many training samples are made."""

    def progress(split, done, total):
        if split == "train" and done >= samples:
            raise KeyboardInterrupt

    return progress


def test_what_is_made_is_loaded(dataset, storage, source):
    told = []
    dataset.prepare(storage, lambda *news: told.append(news))
    assert left_in(storage) == [dataset.folder(storage).name]
    for split, first, count in (("train", 0, 9), ("val", 9, 2), ("test", 11, 3)):
        loaded = dataset.load(split, storage)
        assert loaded.ids.tolist() == [f"{number:02}" for number in range(first, first + count)]
        assert loaded.images[:, 1, 2, 3].tolist() == list(range(first, first + count))
        assert loaded.targets["brightness"].dtype == torch.float16
        built = dataset.build(split, source, lambda *news: None)
        assert np.array_equal(built["image"], loaded.images.numpy())
        assert (split, count, count) in told


def test_the_manifest_says_what_the_arrays_are_and_what_they_were_made_from(dataset, storage, source):
    dataset.prepare(storage)
    manifest = dataset.manifest(storage)
    assert manifest["samples"] == {"train": 9, "val": 2, "test": 3}
    assert manifest["ids"]["val"] == ["09", "10"]
    assert manifest["fields"]["brightness"] == {
        "dtype": "float16", "shape": [1, 4, 4], "unit": "m", "low": 0, "high": None, "invalid": 0,
        "unit_vectors": False,
    }  # fmt: skip
    assert manifest["code"].keys() == {"mtbench", "numpy", "pillow", "torch"}
    assert manifest["sources"]["files"] == 14
    check = ["sha256sum", "--check", "--quiet", str(dataset.folder(storage) / "sources.sha256")]
    subprocess.run(check, cwd=source, check=True)


def test_the_content_hash_is_that_of_whole_arrays(dataset, storage):
    dataset.prepare(storage)
    folder = dataset.folder(storage)
    hashes = {file.stem: prepared.array_hash(np.load(file)) for file in folder.glob("*.npy")}
    assert set(hashes) == {f"{split}-{field}" for split in SPLITS for field in ("id", "image", "brightness")}
    assert dataset.content_hash(storage) == prepared.content_hash(hashes)


def test_large_arrays_are_mapped_and_no_different(dataset, storage, monkeypatch):
    dataset.prepare(storage)
    whole = dataset.load("train", storage)
    monkeypatch.setattr(prepared, "MAPPED_FROM", 1)
    mapped = dataset.load("train", storage)
    assert torch.equal(mapped.images, whole.images)
    file = dataset.folder(storage) / "train-image.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="cannot be used"):
        dataset.load("train", storage)


@pytest.mark.slow
def test_many_processes_make_the_same(dataset, storage, tmp_path, source, monkeypatch):
    dataset.prepare(storage)
    monkeypatch.setattr(streaming, "cores", lambda: 2)
    monkeypatch.setattr(workers, "JOBS_PER_WORKER", 1)
    many = Storage(tmp_path / "many", {"numbers": source})
    dataset.prepare(many)
    assert dataset.content_hash(many) == dataset.content_hash(storage)


@pytest.mark.slow
def test_an_error_in_another_process_is_one_line(dataset, storage, source, monkeypatch):
    (source / "05.txt").write_text("five")
    monkeypatch.setattr(streaming, "cores", lambda: 2)
    monkeypatch.setattr(workers, "JOBS_PER_WORKER", 1)
    with pytest.raises(UserError, match=r"05\.txt holds 'five', expected a number"):
        dataset.prepare(storage)
    assert not dataset.is_ready(storage)


# Interruptions.


def test_an_interrupted_preparation_goes_on_where_it_stopped(dataset, storage, tmp_path, source, made):
    with pytest.raises(KeyboardInterrupt):
        dataset.prepare(storage, stop_after(4))
    assert not dataset.is_ready(storage)
    assert dataset.share_done(storage) == pytest.approx(2 / 8)
    with pytest.raises(UserError, match="cannot be used"):
        dataset.load("train", storage)
    assert made == ["00", "01", "02", "03"]
    dataset.prepare(storage)
    assert made == [f"{number:02}" for number in range(14)]
    assert left_in(storage) == [dataset.folder(storage).name]
    dataset.prepare(fresh := Storage(tmp_path / "fresh", {"numbers": source}))
    assert dataset.content_hash(fresh) == dataset.content_hash(storage)


@pytest.mark.parametrize("damage", ["", "{}\n", "train 0\n", "\0" * 50, '{"making": 3, "chunks": 8}\ntrain 0\n'])
def test_a_damaged_journal_starts_it_again(dataset, storage, made, damage):
    with pytest.raises(KeyboardInterrupt):
        dataset.prepare(storage, stop_after(4))
    (dataset.partial(storage) / "journal").write_text(damage)
    made.clear()
    dataset.prepare(storage)
    assert len(made) == 14


def test_a_chunk_whose_line_was_cut_is_made_again(dataset, storage, made):
    with pytest.raises(KeyboardInterrupt):
        dataset.prepare(storage, stop_after(4))
    journal = dataset.partial(storage) / "journal"
    journal.write_text(journal.read_text()[:-1])
    made.clear()
    dataset.prepare(storage)
    assert made[0] == "02"


def test_changed_sources_start_it_again(dataset, storage, source, made):
    with pytest.raises(KeyboardInterrupt):
        dataset.prepare(storage, stop_after(4))
    (source / "00.txt").write_text("77")
    made.clear()
    dataset.prepare(storage)
    assert len(made) == 14
    assert dataset.load("train", storage).images[0, 0, 0, 0] == 77


def resting(seconds):
    """A ``Progress`` that rests once four training samples are made, after it has said so."""

    def progress(split, done, total):
        if split == "train" and done >= 4:
            sys.stdout.write("here\n")
            time.sleep(seconds)

    return progress


def test_a_killed_preparation_leaves_no_lock_and_goes_on(dataset, storage, source, made, tmp_path):
    process = Forked(tmp_path, dataset.prepare, storage, resting(60))
    until(lambda: "here" in process.out.read_text())
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    dataset.prepare(storage)
    assert made[0] == "04"


def test_a_second_process_waits_for_the_first(dataset, storage, source, made, tmp_path):
    process = Forked(tmp_path, dataset.prepare, storage, resting(0.2))
    until(lambda: "here" in process.out.read_text())
    dataset.prepare(storage)
    assert process.wait() == 0
    assert made == []
    assert left_in(storage) == [dataset.folder(storage).name]


# What may go wrong.


def test_without_its_files_it_says_how_to_name_them(dataset, storage):
    with pytest.raises(UserError, match=r"mtbench data prepare numbers --source DIR"):
        dataset.prepare(Storage(storage.cache))
    dataset.prepare(storage)
    dataset.prepare(Storage(storage.cache))  # made already: no files are needed


def test_a_refused_plan_leaves_nothing(dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    storage = Storage(tmp_path / "cache", {"numbers": tmp_path / "empty"})
    with pytest.raises(UserError, match=r"holds no \.txt file"):
        dataset.prepare(storage)
    assert left_in(storage) == []


def test_a_split_without_samples_is_named(dataset, storage, source):
    for file in sorted(source.iterdir())[5:]:
        file.unlink()
    with pytest.raises(UserError, match="no sample for the split 'train'"):
        dataset.prepare(storage)
    assert left_in(storage) == []


def test_a_broken_file_can_be_mended_and_nothing_else_is_made_again(dataset, storage, source, made):
    (source / "06.txt").write_text("six")
    with pytest.raises(UserError, match=r"06\.txt holds 'six'"):
        dataset.prepare(storage)
    assert not dataset.is_ready(storage)
    (source / "06.txt").write_text("6")
    dataset.prepare(storage)
    assert dataset.load("train", storage).images[:, 0, 0, 0].tolist() == list(range(9))


def test_too_little_disk_is_said_before_anything_is_made(dataset, storage, made, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 500})())
    with pytest.raises(UserError, match=r"needs 0\.0 MB of free disk, found 0\.0 MB; make room, or set MTBENCH_CACHE"):
        dataset.prepare(storage)
    assert made == []
    assert left_in(storage) == []


@pytest.mark.parametrize("where", ["reserving", "writing"])
def test_a_disk_that_fills_up_says_so(dataset, storage, monkeypatch, where):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = (os, "posix_fallocate") if where == "reserving" else (os, "fsync")
    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(UserError, match=r"cannot write the data cache .*No space left on device.*MTBENCH_CACHE"):
            dataset.prepare(storage)
    assert not dataset.is_ready(storage)
    dataset.prepare(storage)
    assert dataset.load("test", storage).images[:, 0, 0, 0].tolist() == [11, 12, 13]


def test_an_author_is_told_what_make_must_give(dataset, storage, monkeypatch):
    monkeypatch.setattr(type(dataset), "make", lambda *a: {"image": np.zeros(3), "brightness": np.zeros(3)})
    with pytest.raises(ValueError, match="numbers: 'image' must be uint8 of shape"):
        dataset.prepare(storage)


def test_a_manifest_of_the_first_schema_still_serves(dataset, storage):
    dataset.prepare(storage)
    file = dataset.folder(storage) / "manifest.json"
    manifest = json.loads(file.read_text())
    for new in ("fields", "ids", "sources", "code"):
        del manifest[new]
    file.write_text(json.dumps({**manifest, "schema": 1}))
    assert len(dataset.load("train", storage)) == 9
