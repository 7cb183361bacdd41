"""A lab's folder of plugins that misbehave in every way that we know of, beside one whose numbers never change."""

from pathlib import Path
from time import monotonic

import pytest
import torch

from benchmark.data import Storage
from benchmark.execution.executor import Setup
from benchmark.execution.local import LocalExecutor
from benchmark.execution.scheduler import run_all
from benchmark.registry import TABLES, WEIGHTINGS, load_installed_plugins, load_plugin_files
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component
from benchmark.runs.store import Store
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from tests import harness

LAB = Path(__file__).parent.parent / "lab"

#: By weighting how its run ends, and what is said of it, in the record or in a note.
OUTCOMES = {
    "changes-dtype": ("ok", "torch's default dtype (torch.float32 to torch.float64)"),
    "patches-relu": ("ok", "torch.nn.modules.activation.ReLU.forward"),
    "sets-threads": ("ok", "torch's number of threads (1 to 2)"),
    "leaves": ("failed", "SystemExit: these losses are not for me (in leaves.py:"),
    "returns-list": ("failed", "'returns-list'"),
    "returns-none": ("failed", "'returns-none'"),
    "returns-shape": ("failed", "'returns-shape'"),
    "writes-gramian": ("ok", ""),
    "keeps-state": ("ok", "history"),
    "raises": ("failed", "KeyError: 'depth' (in raises.py:"),
    "prints": ("ok", ""),
}


@pytest.fixture(scope="module")
def lab(toy):
    """All plugins of the folder, loaded; afterwards nothing of them is known."""
    harness.prepared()
    load_installed_plugins()
    before = [dict(table) for table in TABLES]
    files = sorted(LAB.glob("*.py"))
    load_plugin_files(files)
    yield [toy, *files]
    for table, entries in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries)
    torch.set_num_threads(1)


def spec(weighting):
    base = harness.specs()[1]
    return base.model_copy(update={"weighting": Component.from_registry(WEIGHTINGS, weighting)})


def done(weighting):
    """The record of a run in this process, and the notes about it."""
    notes = []
    given = {"storage": Storage.default(), "hardware": harness.CPU, "watcher": Watcher(note=notes.append)}
    return execute(spec(weighting), **given).record, notes


@pytest.mark.slow
def test_whatever_the_others_do_the_numbers_of_the_innocent_never_change(lab):
    """In one process, where nothing but the care of the suite keeps them apart."""
    alone, notes = done("innocent")
    assert (alone.status, notes) == ("ok", [])
    for weighting, (status, said) in OUTCOMES.items():
        record, notes = done(weighting)
        assert record.status == status, (weighting, record.error)
        assert said in " ".join([record.error or "", *notes]), (weighting, record.error, notes)
        after, notes = done("innocent")
        assert without_times(after) == without_times(alone), weighting
        assert notes == []


@pytest.mark.slow
def test_one_that_hangs_is_ended_and_the_innocent_is_done(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    executor = LocalExecutor(Setup(Storage.default(), harness.CPU, tuple(lab), grace=0.1, time_limit=30.0))
    events = executor.events

    def late(timeout):
        for worker in executor.pool:
            if (tmp_path / "asleep").exists() and worker.run == spec("hangs").id:  # its time is over
                worker.begun = monotonic() - 60
        return events(timeout)

    executor.events = late
    observer, runs = harness.Silent(), [spec("hangs"), spec("innocent")]
    run_all(runs, store=Store(tmp_path / "results"), executor=executor, observer=observer, hardware=harness.CPU)
    assert [(record.spec.weighting_name, record.status) for record in observer.done] == [
        ("hangs", "failed"),
        ("innocent", "ok"),
    ]
    assert "longer than its time limit" in observer.done[0].error
