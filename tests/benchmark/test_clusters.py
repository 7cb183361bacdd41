"""Runs on Ray and Slurm give the records of runs here; what is lost there goes on."""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.execution.ray import RayExecutor
from benchmark.execution.remote import PackedPlugin, Parcel, packed_plugins, serve
from benchmark.execution.scheduler import run_all
from benchmark.execution.slurm import Element, SlurmExecutor
from benchmark.registry import ARCHITECTURES
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component
from benchmark.runs.store import Store
from benchmark.training.checkpoint import Policy
from benchmark.training.run import execute
from tests import harness

pytestmark = pytest.mark.slow


def run_of(architecture, **protocol):
    """A run of the toy data with another architecture."""
    base = harness.specs()[1].model_dump()
    component = Component.from_registry(ARCHITECTURES, architecture, {"width": 4})
    return harness.specs()[1].model_validate(
        base | {"architecture": component, "protocol": base["protocol"] | protocol}
    )


@pytest.fixture
def parcel(toy, tmp_path):
    """What workers need; the plugin travels by content."""
    harness.prepared()
    return Parcel("cpu", 1, plugins=packed_plugins([toy]), checkpoints=Policy(tmp_path / "checkpoints", 0.0))


@pytest.fixture
def bare(parcel):
    """The same for a worker in this process, which has the plugin."""
    return dataclasses.replace(parcel, plugins=())


def go(runs, store, executor, parcel, **options):
    observer = harness.Silent()
    run_all(
        runs,
        store=store,
        executor=executor,
        observer=observer,
        hardware=harness.CPU,
        checkpoints=parcel.checkpoints,
        **options,
    )
    return observer


def as_here(store, runs):
    """Whether the records are those of runs in this process, but for times and for where plugins lie."""
    for run in runs:
        found, here = store.get(run), execute(run, storage=Storage.default(), hardware=harness.CPU).record
        changed = found.provenance.model_copy(update={"workers": 1})
        assert without_times(found.model_copy(update={"provenance": changed})) == without_times(here)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ray_with_two_workers_one_of_which_is_killed(parcel, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at Ray's 15 workers hardly get on beside other tests
    monkeypatch.chdir(tmp_path)
    # The last two have one worker, the unlucky run's second try the other: each has imported all when they begin.
    store, runs = Store(tmp_path / "results"), [harness.specs()[0], run_of("explosive"), run_of("unlucky")]
    epochs = []
    observer = harness.Silent()
    observer.epoch = lambda spec, epoch: epochs.append((spec.id, epoch.epoch))
    run_all(
        runs,
        store=store,
        executor=RayExecutor(parcel, workers=2),
        observer=observer,
        hardware=harness.CPU,
        retries=1,
        checkpoints=parcel.checkpoints,
    )
    assert Path("unlucky").exists()
    assert {record.id: record.status for record in observer.done} == {
        run.id: "failed" if run.architecture.name == "explosive" else "ok" for run in runs
    }
    assert [epoch for run, epoch in epochs if run == runs[2].id] == [1, 2]  # it went on from its checkpoint
    as_here(store, [runs[0], runs[2]])
    assert "boom" in store.get(runs[1]).error


def test_slurm_elements_write_their_records_and_go_on_without_a_driver(parcel, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.execution.slurm.CHECK_INTERVAL", 0.05)
    store, runs = Store(tmp_path / "results"), [run_of("unlucky"), harness.specs()[2]]

    def executor():
        return SlurmExecutor(parcel, store=store, data_hashes={}, parameters={}, cluster="local")

    observer = go(runs, store, executor(), parcel, retries=1)
    assert Path("unlucky").exists()
    assert {record.status for record in observer.done} == {"ok"}
    as_here(store, runs)
    assert list((store.private / "claims").iterdir()) == []


def element(parcel, store, run, **changes):
    (store.private).mkdir(parents=True, exist_ok=True)
    values = {"parcel": parcel, "root": store.root, "progress": store.private / "progress", "data_hash": None} | changes
    return Element(run.model_dump_json(), **values)


def test_an_element_does_nothing_twice(bare, tmp_path):
    store, run = Store(tmp_path / "results"), harness.specs()[1]
    assert element(bare, store, run)() == {"Stored": run.id}
    before = store.path(run).read_bytes()
    assert len((store.private / "progress").read_text().splitlines()) == 2
    assert element(bare, store, run)() == {"Stored": run.id}
    assert store.path(run).read_bytes() == before


def test_an_element_that_is_preempted_goes_on_where_it_was(bare, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    store, run = Store(tmp_path / "results"), run_of("dawdling")
    first = element(bare, store, run)
    write, again = first._write, []

    def preempted(**what):
        write(**what)
        again.append(first.checkpoint())

    first._write = preempted
    assert "Lost" in first()
    monkeypatch.setenv("MTBENCH_TEST_NAP", "0")
    assert store.get(run) is None
    assert (tmp_path / "checkpoints" / f"{run.id}.ckpt").exists()
    assert element(bare, store, run)() == {"Stored": run.id}
    assert "epoch" in (store.private / "progress").read_text()
    as_here(store, [run])


def test_a_worker_with_other_code_or_data_refuses(bare, tmp_path):
    store, run = Store(tmp_path / "results"), harness.specs()[1]
    other = dataclasses.replace(bare, code="another")
    assert "install the same version" in element(other, store, run)()["Refused"]
    *_, last = serve(run, other)
    assert "install the same version" in last.reason
    assert "content hash" in element(bare, store, run, data_hash="e" * 64)()["Refused"]
    assert store.get(run) is None


def test_a_worker_elsewhere_spills_where_asked(bare, tmp_path):
    store, run = Store(tmp_path / "results"), run_of("greedy")
    asked = dataclasses.replace(bare, spill=True)
    assert element(asked, store, run)() == {"Stored": run.id}
    assert "tried once more" in (store.private / "progress").read_text()
    *_, note, last = serve(run, asked)
    assert "tried once more" in note.text
    assert last.outcome.record.status == store.get(run).status == "out-of-memory"


def test_a_plugin_s_name_leads_nowhere(parcel, tmp_path, toy):
    hostile = dataclasses.replace(parcel, plugins=(PackedPlugin("../../../evil.py", b"x = 1\n"),))
    (kept,) = hostile.unpack().plugins
    assert kept.name == "evil.py"
    assert kept.parent.name.startswith("mtbench-plugins-")
    beside = (PackedPlugin("mine.py", b"x = 1\n", (("../evil.py", b"x = 1\n"),)),)
    with pytest.raises(UserError, match=r"brings a file '../evil.py' that would lie outside its folder"):
        dataclasses.replace(parcel, plugins=beside).unpack()


def test_what_is_not_there_is_named(parcel, tmp_path, monkeypatch):
    store = Store(tmp_path / "results")
    with pytest.raises(UserError, match="Slurm cannot be used"):
        SlurmExecutor(parcel, store=store, data_hashes={}, parameters={"colour": "red"}, cluster="local")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'mtbench\[ray\]'"):
        RayExecutor(parcel)
    with pytest.raises(UserError, match=r"pip install 'mtbench\[slurm\]'"):
        SlurmExecutor(parcel, store=store, data_hashes={}, parameters={})


def test_an_element_that_is_told_to_end_writes_a_checkpoint_and_stays_for_its_end(bare, tmp_path, monkeypatch):
    """What Slurm preempts gets SIGTERM; what leaves before its grace is over is not queued again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.execution.slurm.STAY", 0.2)
    monkeypatch.setattr("benchmark.execution.slurm.CHECK_INTERVAL", 0.05)
    seldom = dataclasses.replace(bare, checkpoints=Policy(tmp_path / "checkpoints", 3600.0))
    store, run = Store(tmp_path / "results"), run_of("dawdling")
    first = element(seldom, store, run)
    write, told = first._write, []

    def preempted(**what):
        write(**what)
        told.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    first._write = preempted
    before = signal.getsignal(signal.SIGTERM)
    assert "told to end" in first()["Lost"]
    assert time.monotonic() - told[0] >= 0.2
    monkeypatch.setenv("MTBENCH_TEST_NAP", "0")
    assert signal.getsignal(signal.SIGTERM) is before
    assert store.get(run) is None
    assert (tmp_path / "checkpoints" / f"{run.id}.ckpt").exists()
    assert list((store.private / "claims").iterdir()) == []
    assert element(seldom, store, run)() == {"Stored": run.id}
    assert len((store.private / "progress").read_text().splitlines()) == run.protocol.epochs  # none was done twice
    as_here(store, [run])


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm without accounts, whose queue a test writes: it takes jobs, and does none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    said = {
        "srun": "exit 1",
        "sacct": "echo 'Slurm accounting storage is disabled' >&2; exit 1",
        "sbatch": "echo Submitted batch job 7",
        "squeue": f"cat {tmp_path}/queue",
    }
    for name, script in said.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    clock = [0.0]
    monkeypatch.setattr("benchmark.execution.slurm.monotonic", lambda: clock[0])
    monkeypatch.setattr("benchmark.execution.slurm.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    return tmp_path / "queue"


def test_a_job_without_result_is_lost_once_slurm_has_not_known_it_for_a_while(slurm, parcel, tmp_path):
    pytest.importorskip("submitit")
    store, runs = Store(tmp_path / "results"), harness.specs()[:2]
    executor = SlurmExecutor(parcel, store=store, data_hashes={}, parameters={})
    for run in runs:
        executor.submit(run)
    slurm.write_text("7_0\n7_1\n12\n")
    assert executor.events(600.0) == []  # both wait or run
    (tmp_path / "results" / ".mtbench" / "slurm" / "7_1" / "7_1_0_log.err").write_text("Killed\n")
    slurm.write_text("7_0\n")
    (lost,) = executor.events(600.0)
    assert (lost.run, lost.reason) == (runs[1].id, "job 7_1 ended without a result: Killed")
    slurm.unlink()  # it does not answer
    assert executor.events(6000.0) == []
