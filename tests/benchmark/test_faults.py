"""Whatever happens: a finished run stays, an unfinished one goes on, a failed one is a record; none lost, none doubled."""

import os
import random
import runpy
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

harness = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "harness.py")))
#: 50 in `make faults`.
INSTANTS = int(os.environ.get("MTBENCH_FAULTS", "6"))

pytestmark = [
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
    records = {record.id: harness.plain(record) for record in ground.store.scan()[0]}
    assert len(records) == len(harness.CELLS)
    assert all(record.status == "ok" for record in records.values())
    return SimpleNamespace(records=records, operations=operations, seconds=seconds)


def test_killed_at_random_instants_and_finished(undisturbed, tmp_path, record_property):
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
    record_property("kills, in so many grids", (killed, grids))


@pytest.mark.parametrize("runners", [2, 4])
def test_runners_at_once_of_which_one_is_killed(undisturbed, tmp_path, runners):
    ground = harness.Ground(tmp_path / "results")
    children = [ground.fork() for _ in range(runners)]
    time.sleep(random.Random(runners).uniform(0.2, 0.8) * undisturbed.seconds / runners)
    os.kill(children[0], signal.SIGKILL)
    assert harness.ended(children[0]) in (signal.SIGKILL, None)
    assert [harness.ended(child) for child in children[1:]] == [None] * (runners - 1)
    ground.check_done(undisturbed.records)  # by those that were left, without another command
