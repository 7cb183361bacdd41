"""Whatever happens: a finished run stays, an unfinished one goes on, a failed one is a record; none lost or doubled."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.data import Storage, build_dataset
from benchmark.errors import UserError
from benchmark.execution.executor import Note
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component, Protocol
from benchmark.runs.store import Store
from benchmark.training.run import execute
from tests import harness
from tests.forked import Forked, command, until

#: 50 in `make faults`.
INSTANTS = int(os.environ.get("MTBENCH_FAULTS", "6"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    # Python 3.12 and later: a process with threads forks. The children use none of them.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory):
    """What the grid gives when nobody disturbs it, by run; its number of file operations, and its seconds."""
    harness.prepared()
    ground = harness.Ground(tmp_path_factory.mktemp("undisturbed") / "results")
    operations, seconds = harness.count_operations(ground)
    records = {record.id: without_times(record) for record in ground.store.scan()[0]}
    assert len(records) == len(harness.CELLS)
    assert all(record.status == "ok" for record in records.values())
    return SimpleNamespace(records=records, operations=operations, seconds=seconds)


def test_killed_at_random_instants_and_finished(undisturbed, tmp_path):
    killed, ground, grids = 0, harness.Ground(tmp_path / "0"), 1
    for kill in harness.instants(7, undisturbed.operations, undisturbed.seconds):
        killed += harness.ended(ground.fork(kill)) == signal.SIGKILL
        ground.check_progress()
        if killed == INSTANTS:
            break
        if all(ground.store.peek(spec) for spec in ground.runs):
            ground.check_done(undisturbed.records)
            ground, grids = harness.Ground(tmp_path / str(grids)), grids + 1
    assert harness.ended(ground.fork()) is None
    ground.check_progress()
    ground.check_done(undisturbed.records)
    sys.stdout.write(f"{killed} kills in {grids} grids\n")


def test_runners_at_once_of_which_one_is_killed(undisturbed, tmp_path):
    runners = 3  # two are left, of which either may take over
    ground = harness.Ground(tmp_path / "results")
    children = [ground.fork() for _ in range(runners)]
    time.sleep(random.Random(runners).uniform(0.2, 0.8) * undisturbed.seconds / runners)
    os.kill(children[0], signal.SIGKILL)
    assert harness.ended(children[0]) in (signal.SIGKILL, None)
    assert [harness.ended(child) for child in children[1:]] == [None] * (runners - 1)
    ground.check_done(undisturbed.records)  # by those that were left, without another command
    assert max(ground.begun(without=children[0]).values()) == 1


def spec(architecture="tiny", weighting="equal", **protocol):
    """A run of the toy data."""
    first = harness.specs()[0]
    return first.model_validate(
        first.model_dump()
        | {
            "architecture": Component.from_registry(ARCHITECTURES, architecture, {"width": 4}),
            "weighting": Component.from_registry(WEIGHTINGS, weighting),
            "protocol": Protocol(**{"epochs": 2, "batch_size": 4, "learning_rate": 1e-2, **protocol}),
        }
    )


def test_memory_that_is_exhausted_is_a_record_and_the_next_run_goes_on(undisturbed, tmp_path):
    ground = harness.Ground(tmp_path / "results", [spec("hungry"), spec()])
    ground.work()
    hungry, tiny = (ground.store.get(run) for run in ground.runs)
    assert (hungry.status, tiny.status) == ("out-of-memory", "ok")
    assert "allocate" in hungry.error
    assert "batches of 4, a peak of" in hungry.error
    assert hungry.cost.peak_bytes


NOTE = "out of memory; tried once more with its activations off the device, which changes times only"


def test_a_run_that_does_not_fit_goes_on_off_the_device_to_the_same_record(undisturbed, tmp_path, monkeypatch):
    run = spec("swelling")  # three steps an epoch, of which the fifth is too large
    with monkeypatch.context() as patch:
        patch.setattr(ARCHITECTURES["swelling"].factory, "room", 10)
        whole = without_times(execute(run, storage=Storage.default(), hardware=harness.CPU).record)
    assert whole.status == "ok"
    # From its start, or from its last checkpoint.
    for interval, told in ((3600, [1, NOTE, 1, 2]), (0, [1, NOTE, 2])):
        ground = harness.Ground(tmp_path / str(interval), [run], spill=True)
        assert [h.text if isinstance(h, Note) else h.epoch.epoch for h in ground.work(interval).told] == told
        record = without_times(ground.store.get(run))
        assert (record.status, record.cost.spilled) == ("ok", True)
        assert record.model_copy(update={"cost": record.cost.model_copy(update={"spilled": False})}) == whole


def test_a_gradient_that_is_not_finite_ends_the_run_though_no_loss_has_seen_it(undisturbed):
    # Three steps an epoch: the third spoils the parameters, no step and no evaluation follows it in the epoch.
    run = spec(weighting="stumbling", epochs=4, evaluate_every=4)
    record = execute(run, storage=Storage.default(), hardware=harness.CPU).record
    assert record.status == "diverged"
    assert "is not finite after epoch 1: a gradient was not" in record.error
    assert [epoch.epoch for epoch in record.curves] == [1]
    assert all(loss is not None for loss in record.curves[0].losses["train"].values())


def full(*_):
    """What the file layer says of a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_full_disk_ends_the_command_in_one_line_and_loses_nothing(
    undisturbed, impatient, tmp_path, monkeypatch, after
):
    ground, left, fsync = harness.Ground(tmp_path / "results"), [after], os.fsync

    def filling(handle):
        left[0] -= 1
        return fsync(handle) if left[0] > 0 else full()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", filling)
        with pytest.raises(UserError, match=r"No space left on device.*make room or name another folder") as caught:
            ground.work(interval=3600)
    assert "\n" not in str(caught.value)
    ground.check_progress()
    ground.work()
    ground.check_progress()
    ground.check_done(undisturbed.records)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_file_system_loses_nothing(undisturbed, impatient, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "mtbench", place], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        ground = harness.Ground(place / "results")
        with pytest.raises(UserError, match="No space left on device"):
            ground.work()
        ground.check_progress()
        assert len(ground.kept) < len(ground.runs)
        subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
        ground.work()
        ground.check_progress()
        ground.check_done(undisturbed.records)
    finally:
        subprocess.run(["umount", place], check=True)


def truncated(path):
    path.write_bytes(path.read_bytes()[:300])


def a_folder(path):
    path.unlink()
    path.mkdir()


def of_another_run(path):
    others = [other for other in path.parent.glob("*.json") if other != path]
    shutil.copy(others[0], path)


@pytest.mark.parametrize("damage", [truncated, a_folder, of_another_run])
def test_a_record_that_cannot_be_used_is_set_aside_named_and_done_again(undisturbed, tmp_path, damage):
    ground = harness.Ground(tmp_path / "results")
    ground.work(interval=3600)
    path = ground.store.path(ground.runs[2])
    damage(path)
    (ground.root / "log").write_text("")
    notes = ground.work(interval=3600).notes
    assert len(notes) == 1
    assert f"kept as {path.name}.unreadable, done again" in notes[0]
    assert path.with_name(f"{path.name}.unreadable").exists()
    records, problems = Store(ground.root).scan()
    assert problems == []
    assert {record.id: without_times(record) for record in records} == undisturbed.records


def test_damaged_data_is_no_record_and_named(undisturbed, tmp_path):
    storage = Storage(tmp_path / "cache")
    dataset = build_dataset("toy")
    dataset.prepare(storage)
    file = dataset.folder(storage) / "val-depth.npy"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"val-depth.npy cannot be used .*delete its folder and run again"):
        execute(spec(), storage=storage, hardware=harness.CPU)


def test_clocks_that_jump_between_runs(undisturbed, tmp_path):
    ground = harness.Ground(tmp_path / "results")
    ground.work(interval=3600)
    for number, path in enumerate(sorted(ground.root.rglob("*"))):
        os.utime(path, (0, 0) if number % 2 else (2**33, 2**33))
    ground.check_progress()
    assert ground.work().done == []
    ground.check_done(undisturbed.records)


GRID = """
seeds = [0]
architectures = ["dawdling"]
weightings = ["dice"]
[architecture]
width = 4
backbone = "unet-1-1-2"
[protocol]
epochs = 4
batch_size = 4
learning_rate = 1e-2
[datasets.toy]
"""


def test_preemption_leaves_a_checkpoint_and_the_same_command_goes_on(request, undisturbed, toy, tmp_path, monkeypatch):
    (tmp_path / "grid.toml").write_text(GRID)
    words = ["run", "--grid", "grid.toml", "--plugin", str(toy), "--weighting", "dice", "--workers", "2"]
    words += [
        "--arithmetic",
        "native",
        "--precision",
        "fp32",
    ]  # in which a resumed run is promised to be the same, bit for bit
    process = Forked(tmp_path, command, *words)
    until((tmp_path / "dawdling").exists)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert "same command goes on" in process.err.read_text()
    run = spec("dawdling", "dice", epochs=4)
    store = Store(tmp_path / "results")
    checkpoint = store.private / "checkpoints" / f"{run.id}.ckpt"
    assert checkpoint.exists()
    assert store.get(run) is None
    request.getfixturevalue("here")
    monkeypatch.setenv("MTBENCH_TEST_NAP", "0")
    monkeypatch.chdir(tmp_path)  # where the network leaves its word
    again = CliRunner().invoke(main, words)
    assert again.exit_code == 0, again.output
    assert not checkpoint.exists()
    whole = execute(run, storage=Storage.default(), hardware=harness.CPU).record
    found = store.get(run)
    assert without_times(found).curves == whole.curves
    assert torch.equal(*(torch.tensor(list(r.curves[-1].losses["test"].values())) for r in (found, whole)))
