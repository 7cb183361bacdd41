"""Stored forms and decisions hold every class number and every distance; heads that start at zero learn."""

import pytest
import torch
from torch import nn

from benchmark.data.streaming import bounded
from benchmark.tasks import Task

#: Numbers of classes, and the narrowest type that holds them all and −1.
WIDTHS = {
    "segmentation": {2: "int8", 128: "int8", 129: "int16", 32768: "int16", 32769: "int32"},
    "classification": {2: "int16", 128: "int16", 129: "int16", 32768: "int16", 32769: "int32"},
}


@pytest.mark.parametrize(("kind", "classes"), [(kind, n) for kind, widths in WIDTHS.items() for n in widths])
def test_the_last_class_is_stored_and_decided_as_itself(kind, classes):
    task = Task("label", kind, classes)
    stored = task.stored((1, 1))
    assert stored.dtype == WIDTHS[kind][classes]
    logits = torch.zeros(1, classes, *stored.shape)
    logits[:, -1] = 1
    decided = task.definition.decide(logits)
    assert (decided.flatten().tolist(), str(decided.dtype)) == ([classes - 1], f"torch.{stored.dtype}")
    assert task.definition.undecide(decided, classes).argmax(1).flatten().tolist() == [classes - 1]


@pytest.mark.parametrize("kind", ["depth", "disparity"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_far_predictions_are_kept_as_they_are(kind, dtype):
    definition = Task("far", kind, 1).definition
    near = torch.tensor([[[[1.0, 65280.0]]]], dtype=dtype)
    assert torch.equal(definition.decide(near), near.half())
    far = torch.tensor([[[[1.0, 100_000.0]]]], dtype=dtype)
    assert torch.equal(definition.decide(far).double(), far.double())
    diverged = torch.tensor([[[[torch.nan, torch.inf, 2.0]]]], dtype=dtype)
    assert definition.decide(diverged).dtype == torch.float16


def test_a_field_with_far_values_is_stored_in_single_precision():
    fields = {"depth": Task("depth", "depth", 1).stored((2, 3))}
    assert bounded(fields, depth=80.0)["depth"].dtype == "float16"
    assert bounded(fields, depth=65504.0)["depth"].dtype == "float16"
    assert bounded(fields, depth=80_000.0)["depth"].dtype == "float32"


def head(start):
    layer = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(start)
    return layer


@pytest.mark.parametrize("start", [0.0, 1e-20, 1e-9])
def test_a_normals_head_that_starts_at_nearly_nothing_learns(start):
    task, layer = Task("normals", "normals", 3), head(start)
    features = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0.6, 0.0, -0.8]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-2)
    for step in range(40):
        optimiser.zero_grad()
        loss = task.loss(task.finish(layer(features)), target)
        loss.backward()
        if step == 0:
            assert max(p.grad.abs().max().item() for p in layer.parameters()) <= 1
        optimiser.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize("dead", [False, True])
def test_gradients_of_vectors_of_any_length_are_those_of_the_quotient(dead):
    """Bit for bit, also at single vectors that are 0: records come back."""
    task = Task("normals", "normals", 3)
    raw = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 1e-4
    if dead:
        raw[:, :, 0] = 0
    found, expected = raw.clone().requires_grad_(), raw.clone().requires_grad_()
    upstream = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    unit, quotient = task.finish(found), nn.functional.normalize(expected, dim=1)
    assert torch.equal(unit, quotient)
    unit.backward(upstream)
    quotient.backward(upstream)
    assert torch.equal(found.grad, expected.grad)
