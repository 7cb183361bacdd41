"""What a method changes of its process does not reach the runs that follow."""

import os
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.execution.apart import work_in_arithmetic
from benchmark.execution.executor import Setup
from benchmark.execution.local import LocalExecutor
from benchmark.process_state import ProcessState
from benchmark.registry import WEIGHTINGS, load_plugin_file
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from benchmark.weighting import Weighting
from tests import harness


def _patch_relu():
    nn.ReLU.forward = lambda self, images: images.clamp(min=0.1)


def _hide_inherited():
    nn.BatchNorm2d.forward = lambda self, images: images


def _patch_functional():
    nn.functional.relu = nn.functional.gelu


def _hook():
    nn.modules.module.register_module_forward_hook(lambda module, given, result: None)


def _set_variable():
    os.environ["SURPRISE"] = "1"


def _patch_suite():
    Weighting.objective = lambda self, losses, weights: losses.sum()


#: What a method may do, and what of it the note names.
DEEDS = {
    "dtype": (lambda: torch.set_default_dtype(torch.float64), "torch's default dtype (torch.float32 to torch.float64)"),
    "relu": (_patch_relu, "torch.nn.modules.activation.ReLU.forward"),
    "batch norm": (_hide_inherited, "torch.nn.modules.batchnorm.BatchNorm2d.forward"),
    "functional": (_patch_functional, "torch.nn.functional.relu"),
    "suite": (_patch_suite, "benchmark.weighting.base.Weighting.objective"),
    "hook": (_hook, "torch's hooks of all modules"),
    "threads": (lambda: torch.set_num_threads(2), "torch's number of threads (1 to 2)"),
    "device": (lambda: torch.set_default_device("meta"), "torch's default device (cpu to meta)"),
    "grad": (lambda: torch.set_grad_enabled(False), "torch's grad mode (True to False)"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "autocast of cpu"),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True), "torch.use_deterministic_algorithms"),
    "precision": (lambda: torch.set_float32_matmul_precision("medium"), "torch's float32 matmul precision"),
    "anomalies": (lambda: torch.autograd.set_detect_anomaly(True), "torch's anomaly detection"),
    "denormals": (lambda: torch.set_flush_denormal(True), "torch's flushing of denormal numbers"),
    "mkldnn": (lambda: setattr(torch.backends.mkldnn, "enabled", False), "torch.backends.mkldnn.enabled"),
    "cudnn": (lambda: setattr(torch.backends.cudnn, "benchmark", True), "torch.backends.cudnn.benchmark"),
    "variable": (_set_variable, "the environment's variables"),
    "folder": (lambda: os.chdir("/"), "the working folder"),
}


@pytest.fixture
def watched():
    """Everything is as it was after the test, whatever the code did."""
    state = ProcessState(["benchmark"])
    yield state
    state.undo()


@pytest.mark.parametrize("deed", DEEDS)
def test_what_changes_is_named_and_put_back(watched, deed):
    do, name = DEEDS[deed]
    do()
    assert [found for found in watched.undo() if name in found]
    assert watched.undo() == []


def test_filters_of_warnings_are_put_back_without_a_word():
    before, state = list(warnings.filters), ProcessState([])
    warnings.simplefilter("ignore")
    assert state.undo() == []
    assert list(warnings.filters) == before


def test_random_numbers_are_put_back_without_a_word():
    """Drawing is what they are there for, and a library's threads may do it at any time."""
    state = ProcessState([])
    before = random.getstate(), np.random.get_state()[1].tolist()
    random.seed(3)
    np.random.seed(3)
    assert state.undo() == []
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


PLUGIN = """
import torch
from torch import nn

from benchmark import WEIGHTINGS, Weighting


class Careless(Weighting):
    def weights(self, losses):
        torch.set_default_dtype(torch.float64)
        nn.ReLU.forward = lambda self, images: images.clamp(min=0.1)
        return torch.ones_like(losses)
"""


def spec(weighting="equal"):
    """A run of the toy data."""
    base = harness.specs()[1]
    return base.model_validate(base.model_dump() | {"weighting": Component.from_registry(WEIGHTINGS, weighting)})


@pytest.fixture
def careless(toy, tmp_path, own_methods):
    """The name of a weighting that changes torch, and the plugin file of it."""
    harness.prepared()
    file = tmp_path / "careless.py"
    file.write_text(PLUGIN.replace("class Careless", '@WEIGHTINGS.register("careless")\nclass Careless'))
    load_plugin_file(file)
    return file


def run(given, notes=None):
    return execute(
        given,
        storage=Storage.default(),
        hardware=harness.CPU,
        watcher=Watcher(note=(notes if notes is not None else []).append),
    )


@pytest.mark.slow
def test_a_run_after_one_that_changed_torch_has_the_numbers_of_one_alone(careless, watched):
    alone, notes = run(spec()), []
    outcome = run(spec("careless"), notes)
    assert not outcome.sound
    (note,) = notes
    assert "torch's default dtype (torch.float32 to torch.float64)" in note
    assert "ReLU.forward" in note
    after = run(spec(), notes := [])
    assert without_times(after.record) == without_times(alone.record)
    assert (after.sound, notes) == (True, [])


@pytest.mark.slow
def test_a_process_that_a_run_has_changed_does_no_other(careless, watched, monkeypatch):
    monkeypatch.setattr("benchmark.execution.apart._changed", False)
    setup, told = Setup(Storage.default(), harness.CPU, (careless,)), []
    here = []
    monkeypatch.setattr("benchmark.execution.apart.work", lambda *given: here.append(1) or work(*given))
    from benchmark.execution.executor import work

    for name, count in (("careless", 1), ("equal", 1)):
        work_in_arithmetic(spec(name), setup, told.append, lambda: False)
        assert len(here) == count


@pytest.mark.slow
def test_with_plugins_every_run_gets_a_process_of_its_own(careless, toy):
    executor = LocalExecutor(Setup(Storage.default(), harness.CPU, (toy, careless)))
    try:
        numbers = []
        for _ in range(2):
            executor.submit(spec())
            numbers.append(executor.pool[0].process.pid)
            while executor.free() == 0:
                executor.events(1.0)
        assert numbers[0] != numbers[1]
    finally:
        executor.close()


@pytest.mark.parametrize("line", ["torch.set_default_dtype(torch.float64)", "torch.nn.ReLU.forward = print"])
def test_a_plugin_that_changes_torch_when_it_is_imported_is_refused(watched, tmp_path, line):
    file = tmp_path / "global.py"
    file.write_text(f"import torch\n{line}\n")
    with pytest.raises(UserError, match=r"global\.py cannot be imported: it changes torch"):
        load_plugin_file(file)
    assert torch.get_default_dtype() == torch.float32
    assert nn.ReLU.forward is not print


def test_a_plugin_may_seed_when_it_is_imported(watched, tmp_path):
    file = tmp_path / "seeded.py"
    file.write_text("import random, torch, numpy\nrandom.seed(1)\nnumpy.random.seed(1)\ntorch.manual_seed(1)\n")
    load_plugin_file(file)
