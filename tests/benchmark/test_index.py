"""The derived index: it says what the records say, and whatever happens to it costs time only."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from benchmark.data.workers import Pool
from benchmark.errors import UserError
from benchmark.runs import packing
from benchmark.runs.index import Index, summary
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from tests.benchmark import records as made

RESULTS = Path(__file__).parents[2] / "results"


def settle(store):
    """Make every file look an hour old, so that it is past its clock's tick."""
    for path in store.root.glob("*/*.json"):
        state = path.stat()
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - 3600 * 10**9))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store's folder, which nobody changes."""
    store = Store(tmp_path_factory.mktemp("filled") / "results")
    for record in [
        *made.grid(seeds=(0, 1), epochs=3),
        made.record("mtan", "dwa", dataset="fashion", tasks=made.FASHION),
    ]:
        store.put(record)
    store.put(made.failed(made.record("dense", "dwa", seed=7), epochs=1))
    settle(store)
    return store.root


@pytest.fixture
def store(filled, tmp_path):
    return Store(shutil.copytree(filled, tmp_path / "results"))


def same(table, records):
    """Whether the rows say what the records themselves do."""
    expected = [
        (
            record.id,
            record.spec.dataset.name,
            record.spec.architecture.name,
            record.spec.weighting.name if record.spec.weighting else "none",
            record.spec.seed,
            record.reference,
            record.status,
            record.error,
            len(record.curves),
            record.provenance.data_hash,
            record.provenance.started,
            record.cost.parameters,
            record.cost.wall_seconds,
        )
        for record in records
    ]
    columns = ["run", "dataset", "architecture", "weighting", "seed", "reference", "status", "error", "epochs"]
    columns += ["data_hash", "started", "parameters", "wall_seconds"]
    found = table[columns].astype(object).where(table[columns].notna(), None)
    assert [tuple(row) for row in found.values.tolist()] == expected
    assert [RunSpec.model_validate_json(spec) for spec in table["spec"]] == [record.spec for record in records]


def test_the_rows_are_those_of_the_records(store):
    same(Index(store).runs(), store.scan()[0])


@pytest.mark.slow
def test_the_rows_of_the_committed_records(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("*.npz", ".*"))
    store = Store(tmp_path / "results")
    same(Index(store).runs(), store.scan()[0])


def test_whole_numbers_that_need_64_bits_keep_them(store):
    store.put(made.record("mtan", "equal", seed=2**40))
    same(Index(store).runs(), store.scan()[0])


def test_rows_and_records_are_chosen_by_what_they_are(store):
    index = Index(store)
    chosen = [r for r in store.scan()[0] if r.spec.architecture.name == "mtan" and r.spec.seed == 1]
    same(index.runs(architecture=["mtan"], seed=[1]), chosen)
    assert list(index.records(architecture=["mtan"], seed=[1])) == chosen
    failed = index.runs(status=["failed"])
    assert failed[["architecture", "seed", "epochs"]].values.tolist() == [["dense", 7, 1]]
    assert index.runs(status=[]).empty
    with pytest.raises(ValueError, match="are chosen by"):
        index.runs(colour=["red"])


@pytest.fixture
def many(store, monkeypatch):
    """The store, of which a few files count as so many that several processes are worth it; one is no record."""
    broken = store.path(made.record("mtan", "dwa", seed=0, epochs=3).spec)
    broken.write_bytes(broken.read_bytes()[:200])
    monkeypatch.setattr("benchmark.runs.index.reading.TOGETHER", 2)
    monkeypatch.setattr("benchmark.data.workers.JOBS_PER_WORKER", 1)
    return store


def same_index(found, expected):
    """Whether two indices say the same, and keep it in the same way."""
    assert list(found._base.iterdump()) == list(expected._base.iterdump())
    pd.testing.assert_frame_equal(found.runs(), expected.runs())


@pytest.mark.slow
def test_several_processes_read_what_one_does(many):
    packing.pack(many)  # a few stay files
    alone = Index(many)
    shutil.rmtree(many.private)
    several = Index(many, workers=2)
    assert several.read == alone.read > 0
    assert len(several.problems) == 1
    same_index(several, alone)
    same(several.runs(), many.scan()[0])


@pytest.mark.parametrize("batches", [None, slice(0), slice(3), slice(1, 3)])
def test_where_processes_fail_one_reads_all(many, monkeypatch, batches):
    """They cannot be made, or die after some batches, which come in any order."""

    class Failing(Pool):
        def __init__(self, workers, jobs):
            super().__init__(1, jobs)
            if batches is None:
                raise PermissionError(errno.EPERM, "no process may be made")

        def run(self, work, jobs):
            for job in jobs[batches][::-1]:
                yield job, work(job)
            raise UserError("a worker process was killed")

    alone = Index(many)
    shutil.rmtree(many.private)
    monkeypatch.setattr("benchmark.runs.index.reading.Pool", Failing)
    same_index(Index(many, workers=2), alone)


def test_what_has_not_changed_is_not_read_again(store):
    assert Index(store).read == len(store.scan()[0])
    assert Index(store).read == 0


def test_a_new_a_changed_and_a_removed_record_are_seen(store):
    Index(store)
    new, changed = made.record("mtan", "equal", seed=9), made.record("mtan", "equal", seed=0, epochs=3)
    store.put(new)
    store.path(changed.spec).write_text(made.failed(changed).model_dump_json())
    store.path(made.record("mtan", "equal", seed=1, epochs=3).spec).unlink()
    index = Index(store)
    same(index.runs(), store.scan()[0])
    assert index.statuses() == {record.id: (record.status, record.error) for record in store.scan()[0]}


def test_a_change_within_one_tick_of_the_clock_is_seen(store):
    record = made.record("mtan", "equal", seed=9)
    path = store.path(record.spec)
    store.put(record)
    state = path.stat()
    assert Index(store).statuses()[record.id] == ("ok", None)
    with path.open("r+") as file:  # the same size, the same inode, and then the same time
        text = file.read()
        file.seek(text.index('"ok"'))
        file.write('"no"')
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    index = Index(store)
    assert record.id not in index.statuses()
    assert [problem.path for problem in index.problems] == [path]


def test_a_file_from_the_future_of_a_clock_that_jumped_is_read_each_time(store):
    Index(store)
    path = next(store.root.glob("*/*.json"))
    os.utime(path, (2**33, 2**33))
    assert Index(store).read == 1
    assert Index(store).read == 1


def test_unusable_files_are_named_with_their_reason(store):
    broken = store.path(made.record("mtan", "dwa", seed=0, epochs=3).spec)
    broken.write_bytes(broken.read_bytes()[:200])
    (broken.parent / os.fsdecode(b"odd\xff.json")).write_text("{}")
    found = {problem.path.name: problem.reason for problem in Index(store).problems}
    assert set(found) == {broken.name, "odd\\xff.json"}
    assert "not whole JSON" in found[broken.name]
    assert {problem.path.name for problem in Index(store).problems} == set(found)  # remembered, not dropped


def truncated(path):
    path.write_bytes(path.read_bytes()[:-4096])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not a database" * 1000)


def a_folder(path):
    path.unlink()
    path.mkdir()


def another_database(path):
    path.unlink()
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE files (name)")
    base.close()


@pytest.mark.parametrize(
    "damage",
    [truncated, flipped, emptied, text, a_folder, another_database, Path.unlink],
)
def test_a_damaged_index_is_made_again(store, damage):
    path = Index(store).path
    damage(path)
    index = Index(store)
    same(index.runs(), store.scan()[0])
    assert index.read == len(store.scan()[0])
    if damage is not a_folder:  # which stays in the way
        assert Index(store).read == 0


def test_an_index_of_another_store_is_not_believed(store, tmp_path):
    other = Store(tmp_path / "other")
    for record in store.scan()[0]:
        other.put(made.failed(record))
    settle(other)
    path = Index(other).path
    store.private.mkdir()
    for file in path.parent.iterdir():
        shutil.copy(file, store.private)
    assert Index(store).statuses() == {record.id: (record.status, record.error) for record in store.scan()[0]}


def test_a_folder_that_cannot_be_written_costs_the_index_only(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmark.runs.index.write_atomically", full)
    same(Index(store).runs(), store.scan()[0])
    assert not (store.private / "index.sqlite").exists()


def test_a_store_without_records(tmp_path):
    index = Index(Store(tmp_path / "none"))
    assert index.runs().empty
    assert index.problems == []


def unread(monkeypatch):
    """Let no record's text be read."""

    def refuse(*_):
        raise AssertionError("a text was read")

    monkeypatch.setattr("benchmark.runs.index.reading.parse_record", refuse)


def test_packed_records_are_indexed_from_their_segments_summary(store, monkeypatch):
    before = Index(store)
    shutil.rmtree(store.private)
    store.path(made.record("dense", "dwa", seed=7).spec).unlink()  # the failure, which is not packed
    packing.pack(store)
    with monkeypatch.context() as patch:
        unread(patch)
        index = Index(store)
    assert index.read == len(store.scan()[0]) > 30
    pd.testing.assert_frame_equal(index.runs(), before.runs(status=["ok"]))
    pd.testing.assert_frame_equal(index.runs(), before.runs(status=["ok"]))


def stranger(store, patch):
    """A segment whose writer's index had other columns."""
    patch.setattr("benchmark.runs.index.summary.COLUMNS", ("problem", "run"))


def absent(store, patch):
    patch.setattr("benchmark.runs.packing.summarise", lambda _: None)


@pytest.mark.parametrize("writer", [stranger, absent])
def test_segments_without_a_summary_of_this_index_are_read(store, monkeypatch, writer):
    before = Index(store)
    with monkeypatch.context() as patch:
        writer(store, patch)
        packing.pack(store)
    index = Index(store)
    pd.testing.assert_frame_equal(index.runs(), before.runs())


def first_columns(store, patch):
    """As the first suites wrote summaries: a null before each row, and where the metrics are among the decimals."""

    def summarise(records):
        rows = [(None, *row[:-1]) for row in summary.summarise(records)["rows"]]
        return {"columns": summary.FIRST_COLUMNS, "layouts": [], "rows": rows, "places": [0] * len(rows)}

    patch.setattr("benchmark.runs.packing.summarise", summarise)


def test_summaries_of_the_first_suites_are_read(store, monkeypatch):
    before = Index(store)
    shutil.rmtree(store.private)
    store.path(made.record("dense", "dwa", seed=7).spec).unlink()
    with monkeypatch.context() as patch:
        first_columns(store, patch)
        packing.pack(store)
        unread(patch)
        index = Index(store)
    pd.testing.assert_frame_equal(index.runs(), before.runs(status=["ok"]))


def test_a_summary_with_a_seed_beyond_64_bits_is_not_believed(tmp_path, monkeypatch):
    store = Store(tmp_path / "results")
    store.put(made.record("mtan", "equal", seed=3))

    def summarise(records):
        found = summary.summarise(records)
        return found | {"rows": [[2**64 if value == 3 else value for value in row] for row in found["rows"]]}

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.runs.packing.summarise", summarise)
        packing.pack(store)
    same(Index(store).runs(), store.scan()[0])
