"""What tests of sharing patterns beyond the first paper's share: small networks in double precision, and a batch."""

import functools

import pytest
import torch
import torch.nn.functional as F

from benchmark import Task, build_model
from benchmark.model import Predictions
from benchmark.training.batch import Batch
from benchmark.training.hardware import Hardware

DENSE = (Task("semantic", "segmentation", 5), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("left", "classification", 4), Task("any.name", "classification", 3), Task("third", "classification", 2))
PATTERNS = (
    "mmoe", "cgc", "ple", "dselect-k", "nddr-cnn", "pad-net", "mti-net", "ltb", "branched", "cross-task-attention",
    "adapters", "lora",
)  # fmt: skip
#: The kinds of step that a weighting can need, and those of losses that differ in what they ask of a network.
KINDS = ("equal", "famo", "gradnorm", "auto-lambda", "mgda", "graddrop", "modo", "mgda-ub")
SETTINGS = {"dense": (DENSE, "unet-1-1-2", (10, 16)), "whole": (WHOLE, "wrn-10", (8, 12))}
CPU = Hardware("cpu", "fp32", 1)

each_pattern = pytest.mark.parametrize("name", PATTERNS)
each_setting = pytest.mark.parametrize("setting", SETTINGS)


def build(name, tasks, seed=0, disturbed=True, **options):
    """In float64; biases are not zero, batch norms not 1 and 0, adapters and updates not those of the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(name, tasks, **{"width": 3, **options}).double()
        if disturbed:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.1 * torch.randn(parameter.shape)
    return model


def made(name, setting, count=3, **options):
    tasks, backbone, size = SETTINGS[setting]
    return build(name, tasks[:count], backbone=backbone, **options), pictures(size)


def pictures(size, batch=3):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def same_predictions(model, images, expected):
    """The finished ``expected`` outputs of the heads, in the order of the tasks."""
    found = model(images)
    for task, output in zip(model.tasks, expected, strict=True):
        if task.dense:
            output = F.interpolate(output, images.shape[-2:], mode="bilinear")
        close(found[task.name], task.finish(output))
    return found


# Layers by hand, with a model's weights.


def convolve(layer, x):
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)


def normalise(layer, x):
    mean = x.mean((0, 2, 3), keepdim=True)
    deviation = (((x - mean) ** 2).mean((0, 2, 3), keepdim=True) + layer.eps).sqrt()
    return (x - mean) / deviation * layer.weight[:, None, None] + layer.bias[:, None, None]


def cbr(block, x):
    return normalise(block[1], convolve(block[0], x)).clamp(min=0)


def stage(module, x):
    for block in (module.first, *module.rest):
        x = cbr(block, x)
    return x


def joined(x, skip):
    return torch.cat((F.interpolate(x, skip.shape[-2:], mode="nearest"), skip), 1)


def head(module, x):
    return convolve(module[1], convolve(module[0], x))


# What trains them.


@functools.cache
def batch(setting):
    tasks, _, size = SETTINGS[setting]
    draw = torch.Generator().manual_seed(2)
    makers = {
        "segmentation": lambda t: torch.randint(t.channels, (6, *size), generator=draw).to(torch.int8),
        "depth": lambda t: torch.rand(6, 1, *size, generator=draw) + 0.5,
        "normals": lambda t: F.normalize(torch.randn(6, 3, *size, generator=draw), dim=1),
        "classification": lambda t: torch.randint(t.channels, (6,), generator=draw).to(torch.int16),
    }
    images = torch.randint(256, (6, 3, *size), generator=draw).to(torch.uint8)
    return Batch(images, {task.name: makers[task.kind](task) for task in tasks})


def whole_losses(model, images, seed=3):
    """By task: a random sum over its prediction and its auxiliary ones."""
    draw = torch.Generator().manual_seed(seed)
    found = Predictions.of(model(images))
    sums = {name: [value] for name, value in found.items()}
    for one in found.auxiliary:
        sums[one.task].append(one.prediction)
    return {
        name: sum((v * torch.randn(v.shape, generator=draw, dtype=v.dtype)).sum() for v in values)
        for name, values in sums.items()
    }
