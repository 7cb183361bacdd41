"""Between two epochs nothing reads a value from the device, so that a GPU would never wait for the processor.

Shown on the CPU: torch dispatches every such read as an operation of its own. (Weightings that look at gradients solve
their K×K problem on the processor, and do wait.)
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.spec import Component
from benchmark.speed.workload import Stepper, Workload, cost_class
from benchmark.tasks import Task
from benchmark.training.engine import Pass
from benchmark.training.hardware import Hardware
from benchmark.weighting import build_weighting

TASKS = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))
LOAD = Workload(TASKS, (3, 32, 32), 4, Hardware("cpu", "fp32", 1))
_OPS = torch.ops.aten
READS = (_OPS._local_scalar_dense.default, _OPS.nonzero.default, _OPS.equal.default, _OPS.masked_select.default)
#: Those of the places where a mask is true have to know how many there are.
CHOICES = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)


def _is_mask(index):
    return index.dtype in (torch.bool, torch.uint8)


class Reads(TorchDispatchMode):
    """Counts operations whose result the processor has to know."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in READS or (function in CHOICES and any(_is_mask(a) for a in args[1] if a is not None))
        return function(*args, **(kwargs or {}))


def reads(architecture, weighting, backbone="unet-1-1-2"):
    """Reads in a batch, a step and its sums, after a first step."""
    method = Component.from_registry(WEIGHTINGS, weighting) if weighting else None
    network = Component.from_registry(ARCHITECTURES, architecture, {"backbone": backbone, "width": 4})
    trainer = Stepper(network, method, LOAD).trainer
    current = Pass.begun(len(TASKS), torch.device("cpu"))
    trainer.diagnostics.due()  # the run's first step is sampled
    trainer._one_of(current, trainer.batches.next())
    with Reads() as counted:
        trainer._one_of(current, trainer.batches.next())
    return counted.count


def test_a_read_is_seen():
    value = torch.ones(())
    with Reads() as counted:
        value.item()
        bool(value > 0)
        torch.ones(3)[torch.ones(3) > 0]
    assert counted.count >= 3


def seen_losses_only():
    return [
        name
        for name in WEIGHTINGS
        if not WEIGHTINGS[name].required and cost_class(build_weighting(name, TASKS)) in ("losses", "again")
    ]


@pytest.mark.parametrize("weighting", [*seen_losses_only(), None])
def test_a_step_on_losses_reads_nothing(weighting):
    assert reads("split", weighting) == 0


@pytest.mark.parametrize(
    ("architecture", "backbone"),
    # SegNet, which unpools, once of a single stream and once with all that a pattern adds.
    [
        *((name, "unet-1-1-2") for name in ("single-task", "stan", "dense", "cross-stitch")),
        *((name, "segnet") for name in ("split-deep", "mtan")),
    ],
)
def test_no_network_reads_anything(architecture, backbone):
    assert reads(architecture, None, backbone) == 0


def test_the_end_of_an_epoch_reads_as_often_whatever_the_network():
    """116 parameters in one look: not one for each."""
    counts = {}
    for width, architecture in ((4, "split"), (4, "mtan")):
        method = Component.from_registry(WEIGHTINGS, "equal")
        trainer = Stepper(Component.from_registry(ARCHITECTURES, architecture, {"width": width}), method, LOAD).trainer
        with Reads() as counted:
            trainer._check_parameters()
        counts[len(list(trainer.model.parameters()))] = counted.count
    assert len(counts) == 2
    assert set(counts.values()) == {0}
