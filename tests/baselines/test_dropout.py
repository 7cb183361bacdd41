"""Dropout of the suite's own backbones: where it is, what it draws, and that a network without it is as it was."""

import pytest
import torch
from torch import nn

from benchmark import Task, build_model
from benchmark.analysis import boards
from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES
from benchmark.runs.spec import Component
from tests.benchmark.records import record

WHOLE = (Task("left", "classification", 4), Task("right", "classification", 3))
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def built(backbone, share, architecture="split"):
    torch.manual_seed(1)
    options = {} if share is None else {"dropout": share}
    return build_model(architecture, WHOLE, width=4, backbone=backbone, **options)


def predicted(model, seed=2):
    torch.manual_seed(seed)
    with torch.no_grad():
        return torch.cat(list(model(IMAGES).values()), 1)


@pytest.mark.parametrize(("backbone", "places"), [("segnet", 5), ("unet-1-2", 2), ("wrn-10", 3)])
def test_dropout_draws_in_training_alone_by_the_seed_and_changes_no_start(backbone, places):
    plain, dropped = built(backbone, None), built(backbone, 0.5)
    assert sum(isinstance(module, nn.Dropout) for module in dropped.modules()) == places
    for one, other in zip(plain.parameters(), dropped.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(predicted(plain.eval()), predicted(dropped.eval()))
    assert not torch.equal(predicted(plain.train()), predicted(dropped.train()))
    for norm in dropped.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.0
    assert torch.equal(predicted(dropped, 2), predicted(dropped, 2))
    assert not torch.equal(predicted(dropped, 2), predicted(dropped, 3))


def test_no_dropout_is_no_module_and_no_part_of_an_identity():
    assert built("unet-1-2", 0.0).state_dict().keys() == built("unet-1-2", None).state_dict().keys()
    assert not any(isinstance(module, nn.Dropout) for module in built("unet-1-2", 0.0).modules())
    plain, none, some = (
        Component.from_registry(ARCHITECTURES, "split", options) for options in ({}, {"dropout": 0.0}, {"dropout": 0.1})
    )
    assert plain == none != some


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_that_cannot_be_and_a_network_of_timm_are_refused(share):
    with pytest.raises(UsageError, match="from 0 to below 1"):
        built("wrn-10", share)
    with pytest.raises(UsageError, match="'dropout' is for segnet, unet and wrn; found it with 'timm:resnet18'"):
        built("timm:resnet18", 0.1)


def test_runs_with_dropout_stand_with_single_task_networks_that_have_it():
    runs = [record(name, weighting) for name, weighting in (("single-task", "none"), ("split", "equal"))]

    def with_dropout(one):
        component = one.spec.architecture
        spec = one.spec.model_copy(
            update={"architecture": component.model_copy(update={"options": {**component.options, "dropout": 0.1}})}
        )
        spec = type(spec)(**{name: getattr(spec, name) for name in type(spec).model_fields})
        return one.model_copy(update={"spec": spec, "id": spec.id})

    found = boards([*runs, *map(with_dropout, runs)])
    assert sorted(len(board.records) for board in found) == [2, 2]
    assert sorted(board.backbone.get("dropout", 0.0) for board in found) == [0.0, 0.1]
