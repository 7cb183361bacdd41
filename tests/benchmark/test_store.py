"""Records: whole or not there, and never silently wrong."""

import json

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.runs.files import pack, write_atomically
from benchmark.runs.record import Cost, EpochRecord, Provenance, RunRecord, TaskInfo
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.runs.store import Store


def record(seed=0, **changes):
    spec = RunSpec(
        dataset=Component(name="toy", version=1, options={}),
        architecture=Component(name="mtan", version=1, options={"width": 4}),
        weighting=Component(name="dwa", version=1, options={}),
        seed=seed,
        protocol=Protocol(epochs=1, batch_size=2),
    )
    values = {
        "id": spec.id,
        "spec": spec,
        "reference": False,
        "status": "ok",
        "tasks": (TaskInfo(name="depth", kind="depth", channels=1),),
        "curves": (
            EpochRecord(
                epoch=1,
                learning_rate=0.1,
                losses={"train": {"depth": 0.1 + 0.2}},
                weights={"depth": 1.0},
                metrics={"val": {"depth": {"abs_error": None}}},
            ),
        ),
        "cost": Cost(parameters=3),
        "provenance": Provenance(
            suite_version="0", git_commit=None, git_dirty=None, packages={}, python="3", platform="p", device="cpu",
            precision="fp32", threads=1, workers=1, plugins={}, data_hash="ab", started="2026-01-01T00:00:00+00:00",
        ),
        "truth": "truth-ab.npz",
    }  # fmt: skip
    return RunRecord(**{**values, **changes})


def test_a_record_comes_back_as_it_was(tmp_path):
    store, kept = Store(tmp_path), record()
    store.put(kept, {"depth": np.ones((2, 1, 3, 3), np.float16)}, {"image": np.zeros((2, 3, 3, 3), np.uint8)})
    assert store.get(kept.spec) == kept
    assert store.scan() == ([kept], [])
    assert store.predictions(kept)["depth"].dtype == np.float16
    assert store.truth(kept)["image"].shape == (2, 3, 3, 3)


def test_what_is_not_there_is_none(tmp_path):
    store = Store(tmp_path)
    assert store.get(record().spec) is None
    assert store.predictions(record()) is None
    assert store.truth(record(truth=None)) is None
    assert store.truth(record(truth="../secret.npz")) is None


def test_no_folder_is_an_error_that_helps(tmp_path):
    with pytest.raises(UserError, match=r"no results folder.*mtbench run"):
        Store(tmp_path / "missing").scan()


def test_a_failure_does_not_replace_a_run_that_went_well(tmp_path):
    store, good = Store(tmp_path), record()
    store.put(good, {"depth": np.ones(2)})
    store.put(record(status="failed", error="killed", truth=None))
    assert store.get(good.spec) == good
    assert store.predictions(good) is not None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "toy").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*--results"):
        Store(tmp_path).put(record())


def test_a_failed_write_leaves_the_old_file_and_no_scrap(tmp_path, monkeypatch):
    file = tmp_path / "a"
    write_atomically(file, b"old")
    monkeypatch.setattr("benchmark.runs.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def spoil_truncated(text):
    return text[: len(text) // 2]


def spoil_schema(text):
    return text.replace('"schema_version": 2', '"schema_version": 7')


def spoil_key(text):
    return text.replace('"status"', '"statuss"')


def spoil_spec(text):
    return text.replace('"seed": 0', '"seed": 5')


def spoil_list(text):
    return "[1, 2]"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_truncated, "not whole JSON"),
        (spoil_schema, "record schema 7; this suite reads 1"),
        (spoil_key, "no valid record: 'status' is missing"),
        (spoil_spec, "it was edited"),
        (spoil_list, "record schema None"),
    ],
)
def test_a_spoilt_record_is_named_and_the_others_still_read(tmp_path, spoil, message):
    store, good, bad = Store(tmp_path), record(seed=1), record()
    store.put(good)
    store.put(bad)
    path = store.path(bad.spec)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(UserError, match=message) as caught:
        store.get(bad.spec)
    assert "\n" not in str(caught.value)
    records, problems = store.scan()
    assert records == [good]
    assert [problem.path for problem in problems] == [path]
    first = store.set_aside(bad.spec)
    assert store.get(bad.spec) is None
    path.write_text("spoilt again")
    second = store.set_aside(bad.spec)
    assert first.read_text() != second.read_text() == "spoilt again"


def test_a_record_under_another_name_is_a_problem(tmp_path):
    store = Store(tmp_path)
    store.put(record())
    path = store.path(record().spec)
    path.rename(path.with_name("other.json"))
    records, problems = store.scan()
    assert not records
    assert "whose file is" in problems[0].reason


def test_binary_rubbish_is_a_problem(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "x.json").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in Store(tmp_path).scan()[1][0].reason


def test_damaged_pictures_are_left_out(tmp_path):
    store = Store(tmp_path)
    store.put(record(), {"depth": np.ones(3)})
    path = store.path(record().spec).with_suffix(".npz")
    path.write_bytes(path.read_bytes()[:40])
    assert store.predictions(record()) is None


def test_pickles_are_never_loaded(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        pack({"x": np.array([{}], dtype=object)})


def test_the_same_arrays_give_the_same_bytes():
    assert pack({"x": np.arange(5)}) == pack({"x": np.arange(5)})


def test_numbers_keep_every_digit_and_null_is_not_finite(tmp_path):
    store = Store(tmp_path)
    store.put(record())
    raw = json.loads(store.path(record().spec).read_text())
    assert raw["curves"][0]["losses"]["train"]["depth"] == 0.1 + 0.2
    assert raw["curves"][0]["metrics"]["val"]["depth"]["abs_error"] is None


def test_a_results_folder_that_is_a_file(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match=r"cannot write the results folder .*--results"):
        Store(tmp_path / "results").check_writable()
