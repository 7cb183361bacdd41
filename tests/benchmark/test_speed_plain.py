"""The suite's own step against the plain one of the same network: the same numbers, in another layout.

Two things make a fresh network on noise a poor witness, and are taken out of the comparison:

- Batch norm before ReLU makes any difference grow by √(π/(π − 1)) ≈ 1.21 a layer at the start of training (Yang et
  al., "A Mean Field Theory of Batch Normalization", ICLR 2019): 142-fold over 26 layers, whatever the arithmetic. With
  biases of 2 in the batch norms most units are open, as if the network were linear, and rounding stays what it is.
- Where two pixels of a pooling window differ by less than rounding, either may be the maximum, and unpooling then puts
  a whole value elsewhere. Both networks here take the plain one's choices.

What is left of bf16, whose mantissa has 8 bits, is about 2⁻⁹ ≈ 0.2 % for each rounding, over up to 54 layers as many
independent ones: √54 · 0.2 % ≈ 1.4 %.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.spec import Component
from benchmark.speed import PlainStepper
from benchmark.speed.workload import Stepper, Workload
from benchmark.tasks import Task
from benchmark.training.hardware import Hardware

pytestmark = pytest.mark.slow

TASKS = (Task("semantic", "segmentation", 5), Task("depth", "depth", 1), Task("normals", "normals", 3))
NETWORKS = ("single-task", "stan", "split", "split-wide", "split-deep", "dense", "cross-stitch", "mtan")
FP32, BF16 = Hardware("cpu", "fp32", 1), Hardware("cpu", "bf16", 1)
#: Each way of connecting layers once.
KINDS = ("split", "dense", "cross-stitch", "mtan")
OPEN = 2.0


class SamePlaces:
    """Stands for ``max_pool2d``: the first network's maxima are where it finds them, the second's are there as well."""

    def __init__(self):
        self.pool, self.places, self.known = F.max_pool2d, [], None

    def repeat(self):
        self.known = iter(self.places)

    def __call__(self, x, size, return_indices=False):
        if self.known is None:
            found, places = self.pool(x, size, return_indices=True)
            self.places.append(places)
        else:
            places = next(self.known)
            found = x.contiguous().flatten(2).gather(2, places.flatten(2)).view(places.shape)
        return (found, places) if return_indices else found


def steppers(name, hardware):
    """Both, with the same parameters."""
    network = Component.from_registry(ARCHITECTURES, name, {"width": 8})
    equal = Component.from_registry(WEIGHTINGS, "equal") if ARCHITECTURES[name].factory.shares else None
    load = Workload(TASKS, (3, 64, 64), 3, hardware)
    return Stepper(network, equal, load), PlainStepper(network, load)


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def stepped(stepper, optimizer):
    """The predictions of one step and every parameter's gradient, by name; the optimiser does not move."""
    seen = {}
    stepper.model.register_forward_hook(lambda model, images, output: seen.update(output))
    optimizer.step = lambda: None
    stepper.step()
    return seen, {name: parameter.grad for name, parameter in stepper.model.named_parameters()}


def error(found, known):
    """‖found − known‖ / ‖known‖ of all tensors together."""
    assert list(found) == list(known)
    apart = sum((found[name].detach().double() - known[name].detach().double()).square().sum() for name in known)
    return (apart / sum(tensor.detach().double().square().sum() for tensor in known.values())).sqrt().item()


def errors(name, hardware, monkeypatch, frozen=False):
    """The largest error of a task's prediction, and that of the gradient."""
    own, plain = steppers(name, hardware)
    assert all(torch.equal(p, q) for p, q in zip(own.model.parameters(), plain.model.parameters(), strict=True))
    assert all(p.grad is None and p.dtype == torch.float32 for p in own.model.parameters())
    for model in (own.model, plain.model):
        for norm in norms(model):
            nn.init.constant_(norm.bias, OPEN)
    if frozen:
        for norm in norms(plain.model):
            norm.momentum = 1.0
        plain.losses(*plain.next_batch())
        own.model.load_state_dict(plain.model.state_dict())
        own.model.eval()
        plain.model.eval()
    pooling = SamePlaces()
    monkeypatch.setattr(F, "max_pool2d", pooling)
    known, slopes = stepped(plain, plain.optimizer)
    pooling.repeat()
    found, gradients = stepped(own, own.trainer.optimizer)
    assert next(pooling.known, None) is None
    assert all(torch.isfinite(gradient).all() and gradient.any() for gradient in slopes.values() if gradient.ndim == 4)
    return max(error({task: found[task]}, {task: known[task]}) for task in known), error(gradients, slopes)


@pytest.mark.parametrize("name", KINDS)
def test_in_float32_predictions_and_gradients_are_the_plain_ones(name, monkeypatch):
    """With fixed statistics: those of a batch are summed in another order in another layout, see below."""
    prediction, gradient = errors(name, FP32, monkeypatch, frozen=True)
    assert prediction < 1e-5
    assert gradient < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float32_a_training_step_is_the_plain_one(name, monkeypatch):
    """Torch sums a channel of a batch in float32, one pixel after the other where channels come last: 10⁻⁶ a layer."""
    prediction, gradient = errors(name, FP32, monkeypatch)
    assert prediction < 1e-5
    assert gradient < 1e-3  # units near zero open in one and not in the other


@pytest.mark.parametrize("name", KINDS)
def test_in_bf16_a_training_step_is_nearly_the_plain_one(name, monkeypatch):
    prediction, gradient = errors(name, BF16, monkeypatch)
    assert 1e-4 < prediction < 3e-2  # bf16 was computed in
    assert gradient < 2e-2


def test_the_plain_step_is_plain():
    """Nothing of what makes the suite's own step fast; and the optimiser moves as torch's own does."""
    own, plain = steppers("mtan", BF16)
    assert own.model.trunk[0].rest[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    types, layouts = set(), set()
    for module in plain.model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda m, i, o: types.add(o.dtype) or layouts.add(o.is_contiguous()))
    before = [p.detach().clone() for p in plain.model.parameters()]
    plain.step()
    assert types == {torch.float32}
    assert layouts == {True}
    group = plain.optimizer.param_groups[0]
    assert not any(group[word] for word in ("fused", "foreach", "capturable", "amsgrad"))
    assert group["lr"] == own.trainer.optimizer.param_groups[0]["lr"]
    moved = [(p - q).abs().max() for p, q in zip(plain.model.parameters(), before, strict=True)]
    assert all(0 < step <= 1.001 * group["lr"] for step in moved)


def test_samples_from_a_loader_are_the_batch_in_another_order():
    network = Component.from_registry(ARCHITECTURES, "split", {"width": 4})
    load = Workload(TASKS, (3, 32, 32), 3, FP32)
    loaded, at_hand = PlainStepper(network, load, loaded=True), PlainStepper(network, load)
    images, targets = loaded.next_batch()
    known, truth = at_hand.next_batch()
    for image, *values in zip(images, *targets.values(), strict=True):
        (place,) = [i for i, other in enumerate(known) if torch.equal(image, other)]
        assert all(torch.equal(value, true[place]) for value, true in zip(values, truth.values(), strict=True))
    assert len(images) == 3
    assert loaded.step() > 0
