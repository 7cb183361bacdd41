"""The loop of a grid over any executor, and the local executor's processes."""

import dataclasses
import errno
import os
import tempfile
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.execution.display import losses
from benchmark.execution.executor import Began, Ended, EpochDone, Lost, Note, Refused, Setup
from benchmark.execution.leases import Leases
from benchmark.execution.local import LocalExecutor
from benchmark.execution.scheduler import run_all
from benchmark.registry import ARCHITECTURES
from benchmark.runs import packing
from benchmark.runs.artifacts import OfMasks, OfSplit
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component
from benchmark.runs.store import Store
from benchmark.training.checkpoint import Policy
from benchmark.training.progress import Outcome
from benchmark.training.run import execute
from tests import harness
from tests.benchmark import records as made

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(toy):
    """The outcome of the first run."""
    harness.prepared()
    return execute(harness.specs()[1], storage=Storage.default(), hardware=harness.CPU)


def outcomes(outcome, runs):
    """The same for runs that differ in their seed only: nobody looks at the numbers here."""
    return {
        run.id: Outcome(
            outcome.record.model_copy(update={"id": run.id, "spec": run}), outcome.predictions, outcome.truth
        )
        for run in runs
    }


def seeds(count):
    return [harness.specs((seed,))[1] for seed in range(count)]


class Scripted:
    """An executor that says what a test wants it to."""

    stores = False

    def __init__(self, *script, slots=1, last=()):
        self.script, self.last = deque(script), list(last)
        self.slots = slots
        self.busy, self.submitted, self.cancelled, self.most, self.closed = set(), [], [], 0, False

    def free(self):
        return self.slots - len(self.busy)

    def submit(self, spec):
        assert self.free() > 0
        self.busy.add(spec.id)
        self.submitted.append(spec.id)
        self.most = max(self.most, len(self.busy))

    def events(self, timeout):
        found = self.script.popleft()
        found = found() if callable(found) else found
        self.busy -= {h.run for h in found if isinstance(h, (Ended, Refused, Lost))}
        return found

    def cancel(self, run):
        self.busy.discard(run)
        self.cancelled.append(run)

    def close(self):
        self.closed = True
        return self.last


def go(runs, store, executor, **options):
    observer = harness.Silent()
    run_all(runs, store=store, executor=executor, observer=observer, hardware=harness.CPU, **options)
    return observer


def test_no_more_runs_are_given_out_than_there_are_places(outcome, tmp_path):
    runs = seeds(5)
    ends = outcomes(outcome, runs)
    executor = Scripted(slots=2)
    executor.script.extend([lambda: [Ended(run, ends[run]) for run in sorted(executor.busy)[:1]]] * 5)
    observer = go(runs, Store(tmp_path), executor)
    assert executor.most == 2
    assert len(observer.done) == 5
    assert executor.closed
    assert len(Store(tmp_path).scan()[0]) == 5
    assert list((tmp_path / ".mtbench" / "claims").iterdir()) == []


def test_a_lost_run_is_given_out_again_as_often_as_asked(outcome, tmp_path):
    (run,) = seeds(1)
    gone, end = [Lost(run.id, "the node went away")], [Ended(run.id, outcomes(outcome, [run])[run.id])]
    executor = Scripted(gone, [Began(run.id), Note(run.id, "hm")], gone, end)
    observer = go([run], Store(tmp_path), executor, retries=2)
    assert [record.status for record in observer.done] == ["ok"]
    assert len(executor.submitted) == 3
    assert observer.notes == ["hm"]
    observer = go(seeds(2)[1:], Store(tmp_path), Scripted([Lost(seeds(2)[1].id, "the node went away")]))
    assert [(record.status, record.error) for record in observer.done] == [("failed", "the node went away")]


def test_a_record_from_other_data_is_not_kept(outcome, tmp_path):
    (run,) = seeds(1)
    executor = Scripted([Ended(run.id, outcomes(outcome, [run])[run.id])])
    observer = go([run], Store(tmp_path), executor, data_hashes={run.id: "e" * 64})
    assert "has the content hash" in observer.reasons[0]
    assert Store(tmp_path).scan()[0] == []


def test_a_run_that_another_runner_does_is_waited_for(outcome, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.execution.scheduler.RETRY_INTERVAL", 0.01)
    mine, theirs = seeds(2)
    ends, store = outcomes(outcome, [mine, theirs]), Store(tmp_path)
    other = Leases(store.private / "claims")
    lease = other.take(theirs.id)

    def meanwhile():
        store.put(ends[theirs.id].record)
        other.release(lease)
        return [Ended(mine.id, ends[mine.id])]

    executor = Scripted(meanwhile, slots=2)
    observer = go([theirs, mine], store, executor)
    assert executor.submitted == [mine.id]
    assert {record.id for record in observer.done} == {mine.id, theirs.id}


def test_a_run_that_another_runner_has_finished_meanwhile_is_not_done_again(outcome, tmp_path):
    runs = seeds(2)
    ends, store = outcomes(outcome, runs), Store(tmp_path)

    def meanwhile():
        store.put(ends[runs[1].id].record)
        return [Ended(runs[0].id, ends[runs[0].id])]

    executor = Scripted(meanwhile)
    observer = go(runs, store, executor)
    assert executor.submitted == [runs[0].id]
    assert len(observer.done) == 2


def test_a_run_that_was_taken_over_is_left_to_the_other(outcome, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.execution.scheduler.RETRY_INTERVAL", 0.01)
    (run,) = seeds(1)
    end, store = outcomes(outcome, [run])[run.id], Store(tmp_path)
    folder = store.private / "claims"
    epoch = end.record.curves[0]

    def usurped():  # this process was silent for longer than the expiry
        (folder / f"{run.id}.2").write_text("{}")
        return [EpochDone(run.id, epoch)]

    def elsewhere(spec):
        store.put(end.record)
        harness.Silent.handed_over(observer, spec)

    observer = harness.Silent()
    observer.handed_over = elsewhere
    executor = Scripted(usurped)
    run_all([run], store=store, executor=executor, observer=observer, hardware=harness.CPU)
    assert executor.cancelled == [run.id]
    assert [record.id for record in observer.done] == [run.id]


def test_a_result_of_a_run_that_was_taken_over_is_not_written(outcome, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.execution.scheduler.RETRY_INTERVAL", 0.01)
    (run,) = seeds(1)
    end, store = outcomes(outcome, [run])[run.id], Store(tmp_path)
    theirs = end.record.model_copy(update={"error": "theirs"})

    def usurped():
        (store.private / "claims" / f"{run.id}.2").write_text("{}")
        store.put(theirs)
        return [Ended(run.id, end)]

    observer = go([run], store, Scripted(usurped))
    assert observer.done == [theirs]


def test_an_interruption_closes_the_executor_and_frees_the_claims(outcome, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    executor = Scripted(interrupt)
    with pytest.raises(KeyboardInterrupt):
        go(seeds(2), Store(tmp_path), executor)
    assert executor.closed
    assert list((tmp_path / ".mtbench" / "claims").iterdir()) == []


def test_a_worker_that_is_killed_is_replaced_and_the_run_goes_on_from_its_checkpoint(
    outcome, toy, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    base = harness.specs()[1]
    component = Component.from_registry(ARCHITECTURES, "unlucky", {"width": 4})
    run = base.model_validate(base.model_dump() | {"architecture": component})
    setup = Setup(Storage.default(), harness.CPU, (toy,), Policy(tmp_path / "checkpoints", 0.0))
    store = Store(tmp_path / "results")
    observer = harness.Silent()
    epochs = []
    observer.epoch = lambda spec, epoch: epochs.append(epoch.epoch)
    run_all(
        [run],
        store=store,
        executor=LocalExecutor(setup),
        observer=observer,
        hardware=harness.CPU,
        retries=1,
        checkpoints=setup.checkpoints,
    )
    assert Path("unlucky").exists()
    assert epochs == [1, 2]  # the first was not done twice
    assert (
        without_times(store.get(run)).curves
        == execute(run, storage=Storage.default(), hardware=harness.CPU).record.curves
    )
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_checkpoints_are_kept_where_asked(outcome, tmp_path):
    (run,) = seeds(1)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for keep in (True, False):
        (folder / f"{run.id}.ckpt").touch()
        end = [Ended(run.id, outcomes(outcome, [run])[run.id])]
        go([run], Store(tmp_path / str(keep)), Scripted(end), checkpoints=Policy(folder, keep=keep))
        assert (folder / f"{run.id}.ckpt").exists() == keep


class Filling(Store):
    """A store on a disk that is full for some writes."""

    refusals = 0

    def put(self, *given, **options):
        if self.refusals:
            self.refusals -= 1
            raise UserError(f"cannot write {self.root}") from OSError(errno.ENOSPC, "No space left on device")
        super().put(*given, **options)


def test_a_run_that_cannot_be_written_is_written_when_there_is_room(outcome, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.execution.scheduler.RETRY_INTERVAL", 0.0)
    (run,) = seeds(1)
    store = Filling(tmp_path)
    store.refusals = 2
    observer = go([run], store, Scripted([Ended(run.id, outcomes(outcome, [run])[run.id])]))
    assert [record.id for record in store.scan()[0]] == [run.id]
    (note,) = observer.notes
    assert "its numbers are kept" in note


def test_where_no_room_is_made_all_that_is_finished_is_elsewhere(outcome, impatient, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, two = seeds(2)
    ends = outcomes(outcome, [one, two])
    store = Filling(tmp_path / "results")
    store.refusals = 99
    executor = Scripted([Ended(one.id, ends[one.id])], slots=2, last=[Ended(two.id, ends[two.id])])
    with pytest.raises(UserError, match=r"cannot write .*mtbench store merge --from ") as caught:
        go([one, two], store, executor)
    (refuge,) = tmp_path.glob("mtbench-results-*")
    assert str(refuge) in str(caught.value)
    assert {record.id for record in Store(refuge).scan()[0]} == {one.id, two.id}
    store.refusals = 0
    packing.merge(store, [Store(refuge)])
    assert len(store.scan()[0]) == 2


def test_all_stops_at_the_first_failure_where_asked(outcome, tmp_path):
    runs = seeds(3)
    bad = outcomes(outcome, runs[:1])[runs[0].id]
    bad = dataclasses.replace(bad, record=made.failed(bad.record))
    executor = Scripted([Ended(runs[0].id, bad)])
    observer = harness.Silent()
    left = run_all(
        runs, store=Store(tmp_path), executor=executor, observer=observer, hardware=harness.CPU, fail_fast=True
    )
    assert (left, executor.submitted, executor.closed) == (2, [runs[0].id], True)


def test_a_run_that_would_be_lost_again_is_not_given_out_again(outcome, tmp_path):
    (run,) = seeds(1)
    executor = Scripted([Lost(run.id, "it took longer than its time limit", final=True)])
    observer = go([run], Store(tmp_path), executor, retries=2)
    assert [record.error for record in observer.done] == ["it took longer than its time limit"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_one_line(outcome, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        go(seeds(1), Store(tmp_path), Scripted())


def test_time_is_up(outcome, tmp_path, monkeypatch):
    """Runs in progress are stopped, no other is given out, and the next command does what is left."""
    clock = [0.0]
    monkeypatch.setattr("benchmark.execution.scheduler.monotonic", lambda: clock[0])
    runs = seeds(4)
    ends, store = outcomes(outcome, runs), Store(tmp_path)

    def late():
        clock[0] = 60.0
        return [Ended(runs[0].id, ends[runs[0].id])]

    executor, observer = Scripted([Began(runs[0].id)], late, slots=2), harness.Silent()
    given = {"store": store, "observer": observer, "hardware": harness.CPU}
    assert run_all(runs, executor=executor, deadline=50.0, **given) == 3
    assert executor.submitted == [run.id for run in runs[:2]]
    assert executor.closed
    assert [record.id for record in observer.done] == [runs[0].id]
    assert list((tmp_path / ".mtbench" / "claims").iterdir()) == []
    rest = Scripted(*([Ended(run.id, ends[run.id])] for run in runs[1:]))
    assert run_all(runs[1:], executor=rest, deadline=1e9, **given) == 0
    assert {record.id for record in store.scan()[0]} == {run.id for run in runs}


def test_a_run_that_ends_while_all_is_stopped_has_its_record(outcome, tmp_path, monkeypatch):
    clock = iter([0.0, 60.0])
    monkeypatch.setattr("benchmark.execution.scheduler.monotonic", lambda: next(clock))
    runs = seeds(3)
    ends, store, observer = outcomes(outcome, runs), Store(tmp_path), harness.Silent()
    executor = Scripted([Began(runs[0].id)], slots=2, last=[Ended(runs[1].id, ends[runs[1].id])])
    left = run_all(runs, store=store, executor=executor, observer=observer, hardware=harness.CPU, deadline=50.0)
    assert left == 2
    assert [record.id for record in store.scan()[0]] == [record.id for record in observer.done] == [runs[1].id]
    assert list((tmp_path / ".mtbench" / "claims").iterdir()) == []


def test_no_run_is_begun_when_time_is_up_before(outcome, tmp_path):
    executor = Scripted()
    observer = harness.Silent()
    given = {"executor": executor, "observer": observer, "hardware": harness.CPU, "deadline": 0.0}
    assert run_all(seeds(2), store=Store(tmp_path), **given) == 2
    assert executor.submitted == []


def test_pictures_are_kept_of_the_runs_that_are_pictured(outcome, tmp_path):
    one, other = seeds(2)
    challenge = OfSplit("challenge", "depth")
    masks = {OfMasks("depth"): np.zeros((4, 1, 2, 2), np.uint8), OfSplit("test", "depth"): np.ones(3)}
    masks[challenge] = np.ones(2)
    ends = outcomes(outcome, [one, other])
    store = Store(tmp_path)
    for run, unpictured in ((one, {other.id}), (other, {other.id})):
        kept = Outcome(ends[run.id].record, {**outcome.predictions, **masks}, outcome.truth)
        go([run], store, Scripted([Ended(run.id, kept)]), unpictured=unpictured)
    first, second = (store.get(run) for run in (one, other))
    assert set(store.predictions(first)) == {"semantic", "depth", "normals", OfMasks("depth"), challenge}
    assert set(store.predictions(second)) == {challenge}
    assert store.masks(second) == {}
    assert store.whole_test(second) is not None  # these are no pictures
    assert store.truth(second).keys() == store.truth(first).keys()


def test_a_run_that_another_runner_has_finished_and_packed_meanwhile_is_not_done_again(outcome, tmp_path):
    runs = seeds(2)
    ends, store = outcomes(outcome, runs), Store(tmp_path)

    def meanwhile():
        store.put(ends[runs[1].id].record)
        assert packing.pack(Store(tmp_path)).records == 1
        return [Ended(runs[0].id, ends[runs[0].id])]

    executor = Scripted(meanwhile)
    observer = go(runs, store, executor)
    assert executor.submitted == [runs[0].id]
    assert len(observer.done) == 2


def test_a_damaged_packed_record_is_done_again(outcome, tmp_path):
    (run,) = seeds(1)
    end, store = outcomes(outcome, [run])[run.id], Store(tmp_path)
    store.put(end.record)
    (segment,) = packing.pack(store).segments
    content = bytearray(segment.read_bytes())
    content[100] ^= 1
    segment.write_bytes(content)
    observer = go([run], Store(tmp_path), Scripted([Ended(run.id, end)]))
    assert "has another checksum; kept as" in observer.notes[0]
    assert Store(tmp_path).scan() == ([end.record], [])


def test_losses_of_many_tasks_are_told_by_mean_and_ends():
    tasks = {f"task{k}": None if k == 3 else float(k) for k in range(12)}
    (epoch,) = made.record(epochs=1).curves
    few, many = ({"train": dict(list(tasks.items())[:count]), "val": {}} for count in (4, 12))
    told = losses(epoch.model_copy(update={"losses": few}))
    assert told == "task0 0.000, task1 1.000, task2 2.000, task3 without a value"
    told = losses(epoch.model_copy(update={"losses": many}))
    assert told == "mean of 11 losses 5.727, task0 0.000 to task11 11.000"
