"""What all tests share: the toy plugin, a data cache of their own, no progress bars."""

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from benchmark.execution.inline import InlineExecutor
from benchmark.registry import PLUGIN_FILES, load_plugin_file

# No test judges a time: an example may take longer on a machine that does other things too.
# By hand every run looks for new counter-examples; a gate that others wait at gives one answer to one tree.
settings.register_profile("mtbench", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("mtbench")

TOY = Path(__file__).parent / "toy.py"
#: The rehearsal needs a process that has believed in its device from the start: ``python -m tests.rehearsal``.
collect_ignore = [] if "tests.rehearsal.pretending" in sys.modules else ["rehearsal"]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """A data cache that only this test session uses."""
    os.environ["MTBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _threads():
    torch.set_num_threads(1)


@pytest.fixture
def here(monkeypatch):
    """The command does its runs in this process: to start a worker takes many times as long as a tiny run.

    Portable ones, too, although this process computes natively: their bits are none of these tests' subjects.
    """
    threads = torch.get_num_threads()
    monkeypatch.setattr("benchmark.commands.execution.LocalExecutor", InlineExecutor)
    for user in ("benchmark.execution.apart", "benchmark.training.hardware", "benchmark.commands.speed"):
        monkeypatch.setattr(f"{user}.started_for", lambda arithmetic: True)
    yield
    torch.set_num_threads(threads)  # each run sets its own


@pytest.fixture(scope="session")
def toy():
    """The toy plugin's path, after it is loaded here."""
    load_plugin_file(TOY)
    return TOY


@pytest.fixture(scope="module", autouse=True)
def _plugin_files():
    """Records name every plugin file of their process: what one module's tests load is not in the records of another's.

    The toy plugin stays, once it is loaded.
    """
    before = {*PLUGIN_FILES, TOY.name}
    yield
    for name in PLUGIN_FILES.keys() - before:
        del PLUGIN_FILES[name]
