"""Records that move into segments: every command reads them as before, and whatever happens none is lost."""

import hashlib
import itertools
import multiprocessing
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import benchmark.report as report_pages
from benchmark.cli import main
from benchmark.errors import UserError
from benchmark.execution.leases import Leases
from benchmark.execution.states import states
from benchmark.runs import packing
from benchmark.runs.files import write_atomically
from benchmark.runs.index import Index
from benchmark.runs.index.rows import COLUMNS as ROW
from benchmark.runs.index.summary import summarise
from benchmark.runs.record import record_bytes
from benchmark.runs.store import Store
from benchmark.runs.trust import Trust, keep_trust, standing, trust_bytes
from tests.benchmark import records as made

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parents[2] / "results"
#: What is packed already stays as it is, and the other seeds would say the same as the first.
LEFT_OUT = shutil.ignore_patterns(".*", "*_s1_*", "*_s2_*", "packs", "multi-fashion", "speed*", "toy*")
SHORT = {"epochs": 2}


def contents(root):
    """Every file below a folder but what is derived."""
    files = [path for path in root.rglob("*") if path.is_file() and ".mtbench" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def recorded(store):
    """All that a store says of its runs: records, pictures, masks, truths, who vouches for them."""
    found, problems = store.scan()
    assert problems == []
    pictures = [(store.predictions(r), store.masks(r), store.truth(r), store.has_predictions(r)) for r in found]
    return found, [frozen(kept) for kept in pictures], [standing(store, record) for record in found]


def frozen(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {name: frozen(array) for name, array in value.items()}
    return [frozen(part) for part in value] if isinstance(value, tuple) else value


@pytest.fixture
def store(tmp_path):
    """Runs that went well, with pictures and notes; one that diverged and one that failed."""
    runs = [made.record(a, w, **SHORT) for a, w in (("single-task", None), ("mtan", "dwa"), ("dense", "equal"))]
    store = made.fill(tmp_path / "results", runs)
    made.fill(store.root, [made.record("dense", "equal", seed=1, **SHORT)], pictures=False)
    made.fill(store.root, [made.record("mtan", "equal", dataset="fashion", tasks=made.FASHION, **SHORT)])
    foreign = made.record("mtan", "uncertainty", **SHORT)
    digest = "0" * 64
    store.put(foreign, note=trust_bytes(Trust(run=foreign.id, level="recomputed", record_sha256=digest)))
    store.put(made.failed(made.record("dense", "dwa", **SHORT), status="diverged", epochs=1))
    store.put(made.failed(made.record("stan", None, **SHORT)))
    return store


def test_records_come_back_from_segments_and_as_files(store):
    before, said = contents(store.root), recorded(store)
    moved = packing.pack(store)
    assert moved.records == 7
    assert len(moved.segments) == 2  # one of each data set
    left = [path.name for path in store.root.glob("*/*") if path.is_file()]
    assert sorted(name.split("_")[0] for name in left) == ["stan", "truth-0123456789ab.npz", "truth-0123456789ab.npz"]
    for known in (store, Store(store.root)):
        assert recorded(known) == said
    assert packing.damage(store) == []
    assert packing.unpack(store).records == 7
    assert contents(store.root) == before


def test_the_same_records_give_the_same_segment(store, tmp_path):
    shutil.copytree(store.root, tmp_path / "copy")
    packing.pack(store)
    packing.pack(Store(tmp_path / "copy"))
    assert contents(store.root) == contents(tmp_path / "copy")


def test_what_is_packed_once_is_never_written_again(store):
    packing.pack(store)
    before = contents(store.root)
    assert packing.pack(store) == packing.Moved()
    store.put(made.record("split-deep", "equal", **SHORT))
    assert packing.pack(store).records == 1
    assert before.items() <= contents(store.root).items()


def test_the_index_and_the_states_are_those_of_the_files(store):
    specs = [record.spec for record in store.scan()[0]] + [made.record("mtan", "dwa", seed=9).spec]
    before, known = Index(store), states(specs, store)
    packing.pack(store)
    for _ in range(2):  # one that reads the segments, one that has read its file
        index = Index(Store(store.root))
        pd.testing.assert_frame_equal(index.runs(), before.runs())
        assert list(index.records(status=["ok"])) == [r for r in store.scan()[0] if r.status == "ok"]
        assert states(specs, store) == known
    assert index.read == 1  # the file of the failure, which is too fresh
    packing.unpack(store)
    pd.testing.assert_frame_equal(Index(store).runs(), before.runs())


def test_pages_of_the_committed_records_are_the_same_bytes_when_they_are_packed(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results", ignore=LEFT_OUT)
    store = Store(tmp_path / "results")
    for path in store.root.glob("scenes/[cds]*_s0_*"):  # a few: single-task without pictures, MTAN with masks
        if not path.name.startswith("single-task") or path.suffix == ".npz":
            path.unlink()
    report_pages.build(store, tmp_path / "before")
    assert packing.pack(store).records == 4
    assert not list(store.root.glob("*/*_s0_*"))
    report_pages.build(store, tmp_path / "after")
    assert contents(tmp_path / "after") == contents(tmp_path / "before")


def test_a_file_counts_before_a_segment_but_a_failure_replaces_no_success(store):
    packing.pack(store)
    packed = made.record("dense", "equal", **SHORT)
    newer = packed.model_copy(update={"fallbacks": 7})
    store.put(made.failed(packed))
    assert store.get(packed.spec) == packed
    store.put(newer)
    assert store.get(packed.spec) == newer
    assert store.predictions(newer) is None  # those in the segment are of the older record
    assert not store.has_predictions(newer)
    assert newer in store.scan()[0]
    assert len(store.scan()[0]) == 8


def test_a_note_that_is_written_later_counts_and_stays_when_records_become_files(store):
    packing.pack(store)
    record = made.record("mtan", "uncertainty", **SHORT)
    assert standing(store, record).level == "self-reported"  # the note is about another state of the file
    digest = hashlib.sha256(store.content(f"scenes/{store.path(record.spec).name}")).hexdigest()
    keep_trust(store, record, Trust(run=record.id, level="rerun", record_sha256=digest))
    assert standing(store, record).level == "rerun"
    packing.unpack(store)
    assert standing(store, record).level == "rerun"


def test_records_of_the_first_schema_are_packed_as_they_are(tmp_path):
    name = "mtan_dwa_s0_19c8dcd76e2badc9.json"
    (tmp_path / "scenes").mkdir()
    shutil.copy(RESULTS / "scenes" / name, tmp_path / "scenes")
    store = Store(tmp_path)
    packing.pack(store)
    assert not (tmp_path / "scenes" / name).exists()
    assert store.content(f"scenes/{name}") == (RESULTS / "scenes" / name).read_bytes()
    assert store.read(f"scenes/{name}").id == "19c8dcd76e2badc9"


class Killed(BaseException):
    """What no handler of errors takes."""


def dying(monkeypatch, instant):
    """Let the process die before its ``instant``-th change of a folder; whether it would have been reached."""
    counter, reached = itertools.count(), []

    def counting(change):
        def changed(*args, **options):
            if next(counter) == instant:
                reached.append(True)
                raise Killed
            return change(*args, **options)

        return changed

    monkeypatch.setattr("benchmark.runs.packing.write_atomically", counting(write_atomically))
    monkeypatch.setattr(Path, "unlink", counting(Path.unlink))
    return reached


@pytest.mark.parametrize("command", [packing.pack, packing.unpack])
def test_whoever_dies_at_any_step_loses_nothing_and_the_same_command_goes_on(store, tmp_path, monkeypatch, command):
    said = recorded(store)
    if command is packing.unpack:
        packing.pack(store)
    beginning = tmp_path / "beginning"
    shutil.copytree(store.root, beginning)
    command(store)
    end = contents(store.root)
    for instant in itertools.count():
        shutil.rmtree(store.root)
        shutil.copytree(beginning, store.root)
        with monkeypatch.context() as patch:
            reached = dying(patch, instant)
            with suppress(Killed):
                command(Store(store.root))
        assert recorded(Store(store.root)) == said
        command(Store(store.root))
        assert contents(store.root) == end
        if not reached:
            break
    assert instant > 8


def packing_in_a_process(root):
    packing.pack(Store(root))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_two_at_once_of_which_one_is_killed_lose_nothing(tmp_path):
    runs = [made.record(a, w, seed=s, **SHORT) for a in ("mtan", "dense") for w in ("dwa", "equal") for s in range(6)]
    store = made.fill(tmp_path / "results", runs)
    said = recorded(store)
    fork = multiprocessing.get_context("fork")
    for victim in (True, False):
        both = [fork.Process(target=packing_in_a_process, args=(store.root,)) for _ in range(2)]
        for process in both:
            process.start()
        if victim:
            both[0].join(0.05)
            os.kill(both[0].pid, signal.SIGKILL)
        for process in both:
            process.join()
        assert both[1].exitcode == 0
        assert recorded(Store(store.root)) == said
    assert not list(store.root.glob("*/*.json"))
    packing.tidy(store)
    assert {path.suffix for path in store.root.rglob("*") if path.is_file() and ".mtbench" not in path.parts} == {
        ".pack", ".npz",
    }  # fmt: skip


def spoil(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_damaged_record_is_named_and_its_run_can_be_done_again(store, monkeypatch):
    monkeypatch.setattr("benchmark.runs.packs.segment.TOGETHER", 1)
    packing.pack(store)
    record = next(r for r in store.scan()[0] if r.spec.architecture.name == "single-task")
    (packed,) = store.shelf.find("scenes", store.path(record.spec).name)
    content = packed.segment.read_bytes()
    spoil(packed.segment, packed.block.texts.start + packed.block.texts.size // 2)
    store = Store(store.root)
    found, problems = store.scan()
    assert record not in found
    assert len(found) == 7
    assert [problem.path for problem in problems] == [store.path(record.spec)]
    assert f"{packed.segment} is damaged at {packed.name}" in problems[0].reason
    assert Index(store).problems == problems
    assert [state.state for state in states([record.spec], store)] == ["failed"]
    assert store.set_aside(record.spec) == packed.segment
    assert [problem.path for problem in packing.unpack(store).problems] == [packed.segment]
    assert packed.segment.exists()
    packed.segment.write_bytes(content)  # from a copy
    assert Index(Store(store.root)).problems == []
    spoil(packed.segment, packed.block.texts.start + packed.block.texts.size // 2)
    store.put(record)
    assert store.scan()[1] == []
    assert Index(store).problems == []


def test_a_segment_that_cannot_be_opened_is_named(store):
    packing.pack(store)
    segment = store.shelf.segments()[0]
    segment.write_bytes(segment.read_bytes()[:-10])
    store = Store(store.root)
    for problems in (store.scan()[1], Index(store).problems, packing.damage(store)):
        assert [problem.path for problem in problems] == [segment]
    result = CliRunner().invoke(main, ["store", "check", "--results", str(store.root)])
    assert result.exit_code == 1
    assert "no whole segment of records" in result.output
    status = CliRunner().invoke(main, ["status", "--grid", "quick", "--results", str(store.root)])
    assert "no whole segment of records" in status.stderr


def folders(tmp_path):
    """Two folders that share a run; each has one of its own, and one has as a failure what went well in the other."""
    shared, mine, theirs, turned = (made.record("mtan", w, **SHORT) for w in ("equal", "dwa", "uncertainty", "rlw"))
    here = made.fill(tmp_path / "here", [shared, mine, made.failed(turned)])
    there = made.fill(tmp_path / "there", [shared, theirs, turned])
    made.keep_card(there)
    return here, there, [mine, shared, turned, theirs]


def fitting(records):
    return sorted(records, key=lambda record: record.id)


@pytest.mark.parametrize("packed", [False, True])
def test_folders_that_overlap_become_one(tmp_path, packed):
    here, there, runs = folders(tmp_path)
    if packed:
        packing.pack(there)
    before = contents(there.root)
    moved = packing.merge(here, [there])
    assert moved.records == 2
    assert moved.problems == []
    assert fitting(here.scan()[0]) == fitting(runs)
    assert all(here.has_predictions(record) and here.truth(record) for record in runs)
    assert contents(there.root) == before
    assert (here.root / "scenes" / "cards" / f"{'d' * 16}.json").exists()
    after = contents(here.root)
    assert packing.merge(here, [there]) == packing.Moved()
    assert contents(here.root) == after


def test_a_segment_whose_records_are_all_new_is_taken_as_it_is(tmp_path):
    _, there, _ = folders(tmp_path)
    packing.pack(there)
    (segment,) = there.shelf.segments()
    new = Store(tmp_path / "new")
    assert packing.merge(new, [there]).records == 3
    assert [path.name for path in new.shelf.segments()] == [segment.name]
    assert new.shelf.segments()[0].read_bytes() == segment.read_bytes()


def better(summary):
    """Times that the records do not say."""
    place = ROW.index("seconds_per_step")
    summary["rows"] = [(*row[:place], 1e-9, *row[place + 1 :]) for row in summary["rows"]]


def exchanged(summary):
    """Rows under each other's numbers."""
    summary["rows"] = summary["rows"][::-1]


def senseless(summary):
    summary["rows"] = [row[:3] for row in summary["rows"]]


def cut_short(summary):
    del summary["rows"]


def of_another_index(summary):
    """What another version might believe."""
    summary["columns"] = ("problem", "run")


@pytest.mark.parametrize("lie", [better, exchanged, senseless, cut_short, of_another_index])
def test_a_summary_that_says_other_things_than_its_records_is_not_taken(tmp_path, monkeypatch, lie):
    def lying(records):
        found = summarise(records)
        lie(found)
        return found

    _, there, _ = folders(tmp_path)
    packing.merge(true := Store(tmp_path / "true"), [there])
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.runs.packing.summarise", lying)
        packing.pack(there)
    said = [problem.reason for problem in packing.damage(there)]
    assert len(said) == (lie is not of_another_index)
    assert all("says in its summary what its records do not say" in reason for reason in said)
    if lie in (senseless, cut_short, of_another_index):
        pd.testing.assert_frame_equal(Index(there).runs(), Index(true).runs())  # nobody believes it
    new = Store(tmp_path / "new")
    moved = packing.merge(new, [there])
    assert (moved.records, moved.problems) == (3, [])
    assert contents(new.root) == contents(true.root)
    assert packing.damage(new) == []
    assert there.scan()[0] == new.scan()[0]
    packing.unpack(there)
    packing.pack(there)
    assert packing.damage(there) == []


def test_whoever_dies_while_folders_become_one_loses_nothing_and_the_same_command_goes_on(tmp_path, monkeypatch):
    here, there, runs = folders(tmp_path)
    broken = made.failed(made.record("dense", "dwa", **SHORT))
    here.put(broken)
    there.put(made.record("dense", "dwa", **SHORT))
    packing.pack(there)
    before = {record.id: record for record in here.scan()[0] if record.status == "ok"}
    source, beginning = contents(there.root), tmp_path / "beginning"
    shutil.copytree(here.root, beginning)
    packing.merge(here, [there])
    end = contents(here.root)
    assert len(Store(here.root).scan()[0]) == len(runs) + 1
    for instant in itertools.count():
        shutil.rmtree(here.root)
        shutil.copytree(beginning, here.root)
        with monkeypatch.context() as patch:
            reached = dying(patch, instant)
            with suppress(Killed):
                packing.merge(Store(here.root), [there])
        found, problems = Store(here.root).scan()
        assert problems == []
        assert before.items() <= {record.id: record for record in found}.items()
        packing.merge(Store(here.root), [there])
        assert fitting(Store(here.root).scan()[0]) == fitting([*runs, made.record("dense", "dwa", **SHORT)])
        if not reached:
            break
    assert contents(here.root) == end
    assert contents(there.root) == source
    assert instant > 2


def test_a_run_with_other_numbers_elsewhere_stays_as_it_is_here(tmp_path):
    here, there, _ = folders(tmp_path)
    run = made.record("mtan", "equal", **SHORT)
    slower = run.model_copy(update={"cost": run.cost.model_copy(update={"wall_seconds": 1e6})})
    there.put(slower)
    assert packing.merge(here, [there]).problems == []  # times are not numbers
    there.put(made.edited(run, lambda *key: key[-1] + 1))
    (problem,) = packing.merge(here, [there]).problems
    assert "has other numbers" in problem.reason
    assert here.get(run.spec) == run
    result = CliRunner().invoke(main, ["store", "merge", "--from", str(there.root), "--results", str(here.root)])
    assert result.exit_code == 1


def test_segments_that_contradict_are_a_problem_and_one_always_counts(tmp_path):
    run = made.record("mtan", "equal", **SHORT)
    other = made.edited(run, lambda *key: key[-1] + 1)
    stores = [made.fill(tmp_path / name, [found]) for name, found in (("a", run), ("b", other))]
    for store in stores:
        packing.pack(store)
    for source, target in (stores, stores[::-1]):
        for segment in source.shelf.segments():
            shutil.copy(segment, target.segment_path("scenes", segment.name))
    (first, problems), (second, _) = (store.scan() for store in stores)
    assert first == second
    assert len(first) == 1
    assert "has other numbers" in problems[0].reason
    assert [problem.reason for problem in Index(stores[0]).problems] == [problem.reason for problem in problems]


def test_a_source_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no results folder"):
        packing.merge(Store(tmp_path / "here"), [Store(tmp_path / "nowhere")])


def test_the_commands(store):
    def mtbench(*words):
        return CliRunner().invoke(main, ["store", *words, "--results", str(store.root)], catch_exceptions=False)

    assert "7 records packed in 2 new segments" in mtbench("pack").output
    assert "7 records in 2 segments: as written" in mtbench("check").output
    with Leases(store.private / "claims") as other:
        assert other.take("segments")
        result = mtbench("pack")
        assert result.exit_code == 1
        assert "another command packs or merges" in result.stderr
    assert "7 records made files again, 2 segments removed" in mtbench("unpack").output


def test_a_file_that_cannot_be_read_costs_no_packed_record(store):
    """Nor the pictures that are packed with it: the file is set aside, and the record becomes a file again."""
    record = made.record("mtan", "dwa", **SHORT)
    path, said = store.path(record.spec), recorded(store)
    packing.pack(store)
    path.write_text('{"schema_version": 2, "id')
    assert packing.unpack(store).problems == []
    assert recorded(Store(store.root)) == said
    assert path.with_suffix(".json.unreadable").exists()


def test_a_failure_beside_its_packed_success_stays_none(store):
    record = made.record("mtan", "dwa", **SHORT)
    said = recorded(store)
    packing.pack(store)
    store.path(record.spec).write_bytes(record_bytes(made.failed(record)))
    packing.unpack(store)
    assert recorded(Store(store.root)) == said
