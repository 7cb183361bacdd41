"""One memory layout for a whole network, by what is fast; the numbers are the same up to rounding in either."""

import functools
import math

import pytest
import torch
from torch import nn

from benchmark import ARCHITECTURES, WEIGHTINGS
from benchmark.data import Split
from benchmark.model import MultiTaskModel, build_model
from benchmark.runs.spec import Component
from benchmark.speed.workload import Stepper, Workload
from benchmark.tasks import Task
from benchmark.training import layout
from benchmark.training.evaluation import evaluate
from benchmark.training.hardware import Hardware
from benchmark.training.layout import lay_out, memory_format
from tests.architectures import LATER, shapes_only

LAST, FIRST = torch.channels_last, torch.contiguous_format
TASKS = (Task("semantic", "segmentation", 13), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("kind", "classification", 10),)
FP32, BF16 = Hardware("cpu", "fp32", 1), Hardware("cpu", "bf16", 1)
NETWORKS = ("single-task", "stan", "split", "dense", "cross-stitch", "mtan")


@functools.cache
def built(name, width, tasks=TASKS, **options):
    with shapes_only():
        return build_model(name, tasks, width=width, **options)


@pytest.fixture(params=["AVX2", "AVX512", "DEFAULT"])
def capability(request, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return request.param


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("width", "known"), [(8, LAST), (16, LAST), (64, FIRST)])
def test_portable_arithmetic_asks_the_network_alone(name, width, known, capability):
    model = built(name, width)
    for hardware in (FP32, BF16, Hardware("cuda", "fp32", 1)):
        assert memory_format(model, hardware, "portable") == known


@pytest.mark.parametrize(("width", "known"), [(8, LAST), (16, LAST), (64, FIRST)])
def test_natively_only_float32_with_avx2_leaves_channels_last(width, known, capability):
    model = built("mtan", width)
    assert memory_format(model, FP32, "native") == (known if capability == "AVX2" else LAST)
    assert memory_format(model, BF16, "native") == LAST
    assert memory_format(model, Hardware("cuda", "fp32", 1), "native") == LAST


@pytest.mark.parametrize(
    ("channels", "known"),
    [
        ([], LAST),
        ([128], FIRST),
        ([127], LAST),
        ([128, 1], LAST),
        ([128, 1, 128], FIRST),
        ([16, 32, 48, 64, 96], LAST),
    ],
)
def test_most_convolutions_decide(channels, known):
    model = nn.Sequential(*[nn.Conv2d(3, count, 1) for count in channels], nn.Linear(512, 512), nn.Conv1d(1, 256, 1))
    assert memory_format(model, FP32, "portable") == known


def test_a_wide_network_without_decoder_is_contiguous():
    assert memory_format(built("split", 16, WHOLE, backbone="wrn-28-4"), FP32, "portable") == FIRST
    assert memory_format(built("split", 16, WHOLE, backbone="wrn-28"), FP32, "portable") == LAST


@pytest.fixture(params=[LAST, FIRST], ids=["channels-last", "contiguous"])
def forced(request, monkeypatch):
    """The layout of every network in portable arithmetic."""
    monkeypatch.setattr(layout, "WIDE", math.inf if request.param == LAST else 0)
    return request.param


def test_a_network_keeps_its_numbers_and_gets_the_layout(forced):
    model = build_model("split", TASKS, width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lay_out(model, FP32, "portable")
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.is_contiguous(memory_format=forced) for p in model.parameters() if p.ndim == 4)
    assert not all(p.is_contiguous(memory_format=LAST if forced == FIRST else FIRST) for p in model.parameters())


class Witness(MultiTaskModel):
    """Keeps the strides of the pictures that it is given."""

    def __init__(self, layer):
        super().__init__((Task("depth", "depth", 1),))
        self.layer, self.seen = layer, []

    def forward(self, images, tasks=None):
        self.seen.append(images.stride())
        return {"depth": self.layer(images)}

    def task_parameters(self, task):
        return list(self.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_lie_as_the_network_does(channels, forced):
    model = Witness(nn.Conv2d(3, 1, 3, padding=1))
    lay_out(model, FP32, "portable")
    pictures = torch.randint(256, (2, channels, 4, 5), dtype=torch.uint8)
    evaluate(model, Split(pictures, {"depth": torch.rand(2, 1, 4, 5)}, range(2)), FP32)
    assert model.seen == [(60, 1, 15, 3) if forced == LAST else (60, 20, 5, 1)]


def stepper(name, weighting, hardware=FP32):
    small = {"backbone": "unet-1-1-2"} if name in LATER else {}  # unpooling, of three times the layers, in the others
    network = Component.from_registry(ARCHITECTURES, name, {"width": 4, **small})
    weights = Component.from_registry(WEIGHTINGS, weighting) if ARCHITECTURES[name].factory.shares else None
    return Stepper(network, weights, Workload(TASKS, (3, 32, 32), 3, hardware, arithmetic="portable"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hardware"), [*((name, FP32) for name in ARCHITECTURES), ("split", BF16), ("mtan", BF16)]
)
def test_every_architecture_trains_in_either_layout(name, hardware, forced):
    """Features keep the layout from the pictures to the heads, and the optimiser's moves reach every parameter."""
    own, strange = stepper(name, "equal", hardware), []

    def look(module, inputs, output):
        if not output.is_contiguous(memory_format=forced):
            strange.append(output.stride())

    for module in own.model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(look)
    before = [parameter.detach().clone() for parameter in own.model.parameters()]
    own.step()
    assert not strange
    for parameter, was in zip(own.model.parameters(), before, strict=True):
        if not parameter.requires_grad:
            assert torch.equal(parameter, was)
            continue
        assert parameter.grad.stride() == parameter.stride()
        assert torch.isfinite(parameter).all()
        # What stands behind a factor that starts at 0 has no gradient in the first step.
        assert torch.equal(parameter, was) == (not parameter.grad.any())


@pytest.mark.slow
@pytest.mark.parametrize(
    "weighting",
    ["equal", "uncertainty", "famo", "gradnorm", "auto-lambda", "mgda", "imtl", "graddrop", "modo", "mgda-ub"],
)
def test_every_kind_of_weighting_moves_the_network_alike_in_either_layout(weighting, monkeypatch):
    """Up to rounding, and to what GradDrop draws for each element as it lies in memory; mixed-up strides give 100 %."""
    gradients = []
    for wide in (math.inf, 0):
        monkeypatch.setattr(layout, "WIDE", wide)
        torch.manual_seed(5)  # of weightings that draw
        own = stepper("split", weighting)
        for module in own.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, 2.0)  # most units open, see test_speed_plain
        own.step()
        gradients.append(torch.cat([p.grad.flatten().double() for p in own.model.parameters()]))
    last, first = gradients
    assert 0 < (last - first).norm() < 5e-2 * first.norm()
