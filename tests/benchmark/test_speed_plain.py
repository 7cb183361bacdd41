"""The suite's own step against the plain one of the same network: the same numbers, whatever the layout.

bf16 has eight bits of mantissa. Over the deepest of these networks, 44 layers, rounding of 2⁻⁹ at each adds up to
√44 · 2⁻⁹ ≈ 1.3 % where errors are independent; batch norms and maxima that choose another pixel enlarge that. Bounds are
stated for the relative error of a whole output, and for that of the gradient of all parameters together.
"""

import pytest
import torch

from benchmark import ARCHITECTURES, WEIGHTINGS
from benchmark.spec import Component
from benchmark.speed import PlainStepper
from benchmark.tasks import Task
from benchmark.training.evaluation import predict
from benchmark.training.hardware import Hardware
from benchmark.training.workload import Stepper, Workload

TASKS = (Task("semantic", "segmentation", 5), Task("depth", "depth", 1), Task("normals", "normals", 3))
NETWORKS = ("single-task", "stan", "split", "split-wide", "split-deep", "dense", "cross-stitch", "mtan")
FP32, BF16 = Hardware("cpu", "fp32", 1), Hardware("cpu", "bf16", 1)


def load(hardware, size=(3, 64, 64), batch=3):
    return Workload(TASKS, size, batch, hardware)


def steppers(name, hardware, width=8):
    """Both, with the same parameters, and the shared batch."""
    network = Component.of(ARCHITECTURES, name, {"width": width})
    equal = Component.of(WEIGHTINGS, "equal") if ARCHITECTURES[name].factory.shares else None
    return Stepper(network, equal, load(hardware)), PlainStepper(network, load(hardware))


def error(found, known):
    """‖found − known‖ / ‖known‖, over all tensors together."""
    apart = sum((f.detach().double() - k.detach().double()).square().sum() for f, k in zip(found, known, strict=True))
    return (apart / sum(k.detach().double().square().sum() for k in known)).sqrt().item()


def outputs(own, plain):
    images = own.batch.images
    with own.load.hardware.autocast():
        mine = predict(own.model, images)
    theirs = plain.model(images.contiguous().float() / 255)
    return [[prediction[task.name].float() for task in TASKS] for prediction in (mine, theirs)]


def gradients(own, plain):
    """Gradients of one step by parameter name; the optimisers do not move."""
    for stepper, optimizer in ((own, own.trainer.optimizer), (plain, plain.optimizer)):
        optimizer.step = lambda: None
        stepper.step()
    mine, theirs = (dict(s.model.named_parameters()) for s in (own, plain))
    assert list(mine) == list(theirs)
    return [[parameters[name].grad for name in mine] for parameters in (mine, theirs)]


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float32_outputs_and_gradients_are_the_plain_ones(name):
    own, plain = steppers(name, FP32)
    assert all(torch.equal(p, q) for p, q in zip(own.model.parameters(), plain.model.parameters(), strict=True))
    for mine, theirs in zip(*outputs(own, plain), strict=True):
        assert error([mine], [theirs]) < 1e-5
    own, plain = steppers(name, FP32)
    mine, theirs = gradients(own, plain)
    assert error(mine, theirs) < 1e-4
