"""Sharing patterns beyond the first paper's: whose parameters are whose."""

import pytest
import torch
from torch import nn

from benchmark.model import trained
from tests.baselines.patterns import each_pattern, each_setting, made, whole_losses

pytestmark = pytest.mark.slow


@each_pattern
@each_setting
@pytest.mark.parametrize("count", [3, 1])
def test_parameters_are_divided_by_which_losses_reach_them(name, setting, count):
    # Positions to compare must be left, and no ReLU may be dead.
    options = {"reduction": 1} if name == "cross-task-attention" else {}
    model, images = made(name, setting, count, **options)
    for module in list(model.modules()):
        for child in [key for key, own in module.named_children() if isinstance(own, nn.ReLU)]:
            setattr(module, child, nn.SiLU())
    parameters = trained(model.parameters())
    reached = {}
    for task, loss in whole_losses(model, images).items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        assert all(g.any() for g in gradients if g is not None and g.ndim > 1)
        reached[task] = {id(p) for p, g in zip(parameters, gradients, strict=True) if g is not None}
    assert set().union(*reached.values()) == set(map(id, parameters))
    owned = {task.name: model.task_parameters(task.name) for task in model.tasks}
    shared = model.shared_parameters()
    assert sorted(map(id, sum(owned.values(), shared))) == sorted(map(id, model.parameters()))
    for task, own in owned.items():
        elsewhere = set().union(*(ids for other, ids in reached.items() if other != task))
        assert set(map(id, trained(own))) == reached[task] - elsewhere
    assert bool(shared) == (count > 1)
    if count > 1:
        last = model.last_shared_parameters()
        assert last
        assert set(map(id, last)) <= set(map(id, trained(shared)))
