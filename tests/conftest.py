"""What all tests share: the toy plugin, a data cache of their own, no progress bars."""

import gc
import importlib
import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

import pytest
from hypothesis import settings
from jinja2 import BytecodeCache, Environment

# torch and the suite are imported where they are used: the process that only hands out tests needs neither.

# No test judges a time: an example may take longer on a machine that does other things too.
# By hand every run looks for new counter-examples; a gate that others wait at gives one answer to one tree.
# Twenty-five examples find what is simply wrong; for what takes luck, --hypothesis-profile thorough.
settings.register_profile("mtbench", deadline=None, max_examples=25, derandomize="CI" in os.environ)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("mtbench")

gc.disable()  # until the first test: nearly all that is imported before stays, and would be looked through many times
TOY = Path(__file__).parent / "toy.py"
#: The rehearsal needs a process that has believed in its device from the start: ``python -m tests.rehearsal``.
collect_ignore = [] if "tests.rehearsal.pretending" in sys.modules else ["rehearsal"]


def pytest_ignore_collect(collection_path, config):
    """Without slow tests, a file of nothing else is not imported."""
    if config.option.markexpr == "not slow" and collection_path.match("test_*.py"):
        return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() or None
    return None


def pytest_collection_modifyitems(items):
    """Slow files come first: short ones fill up what is left, so that all processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish(session):
    """Every run collects garbage before it begins: what is imported by now, and stays, is not looked through again."""
    if len(session.items) > 40 or any(item.get_closest_marker("slow") for item in session.items):
        importlib.import_module("torch._dynamo")  # runs do, with a hundred thousand objects
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # hypothesis and pytest make many objects that soon go
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _heap():
    """Runs, which collect garbage before they begin, need not look through what earlier files imported and left.

    What earlier files left as garbage goes first: frozen, it would stay, and its finalisers would never complain.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """A data cache that only this test session uses."""
    os.environ["MTBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _threads():
    import torch

    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        # torch.manual_seed keeps the stack of its caller for the day when a device begins; pytest's stacks are deep.
        for device in (torch.cuda, torch.xpu, torch.mtia):
            device.manual_seed_all = lambda seed: None


@pytest.fixture
def own_methods():
    """What a test registers, methods and data sets, is gone after it."""
    from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS

    kept = [(registry._entries, dict(registry._entries)) for registry in (ARCHITECTURES, DATASETS, WEIGHTINGS)]
    yield
    for entries, before in kept:
        entries.clear()
        entries.update(before)


class Compiled(BytecodeCache):
    """Templates that were compiled in this process."""

    def __init__(self):
        self.code = {}

    def load_bytecode(self, bucket):
        if bucket.key in self.code:
            bucket.bytecode_from_string(self.code[bucket.key])

    def dump_bytecode(self, bucket):
        self.code[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def _reports():
    """Reports share what no record changes: compiled templates, and what is computed of published tables.

    Both are half of the time that a small report takes, and one process makes one report outside of tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "benchmark.report.pages" in sys.modules:
            patch.setattr("benchmark.report.pages.Environment", partial(Environment, bytecode_cache=Compiled()))
            for part in ("_lines", "published.claims", "published.standings"):
                name = f"benchmark.report.reported.{part}"
                patch.setattr(name, once(resolve_name(name)))
        yield


def once(function):
    """The function, which computes what it gives for an object once."""
    known = {}

    def remembered(table):
        if id(table) not in known:
            known[id(table)] = table, function(table)  # the table stays, and its number with it
        return known[id(table)][1]

    return remembered


@pytest.fixture
def here():
    """The command does its runs in this process: to start a worker takes many times as long as a tiny run.

    Portable ones, too, although this process computes natively: their bits are none of these tests' subjects.
    """
    with _runs_here():
        yield


@pytest.fixture(scope="module")
def here_throughout():
    """The same for a whole file, whose tests share what a command leaves."""
    with _runs_here():
        yield


@contextmanager
def _runs_here():
    import torch

    from benchmark.execution.inline import InlineExecutor

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.commands.execution.LocalExecutor", InlineExecutor)
        for user in ("benchmark.execution.apart", "benchmark.training.hardware", "benchmark.commands.speed"):
            patch.setattr(f"{user}.started_for", lambda arithmetic: True)
        yield
    torch.set_num_threads(threads)  # each run sets its own


@pytest.fixture(scope="session")
def toy():
    """The toy plugin's path, after it is loaded here."""
    from benchmark.registry import load_plugin_file

    load_plugin_file(TOY)
    return TOY


@pytest.fixture(scope="module", autouse=True)
def _plugin_files():
    """Records name every plugin file of their process: what one module's tests load is not in the records of another's.

    The toy plugin stays, once it is loaded.
    """
    from benchmark.registry import PLUGIN_FILES

    before = {*PLUGIN_FILES, TOY.name}
    yield
    for name in PLUGIN_FILES.keys() - before:
        del PLUGIN_FILES[name]
