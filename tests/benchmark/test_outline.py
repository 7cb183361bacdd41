"""What a network consists of, as ``mtbench model`` tells it."""

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmark import ARCHITECTURES, build_model
from benchmark.cli import main
from benchmark.commands.model import grouped
from benchmark.data import build_dataset
from benchmark.registry import DATASETS
from benchmark.runs.spec import Component
from benchmark.speed.outline import ELSEWHERE, PartCost, outline
from benchmark.training.forward import forward_flops

SCENES = {"height": 36, "width": 48}


def told(architecture, batch=2, dataset="scenes", options=SCENES, **network):
    component = Component.from_registry(ARCHITECTURES, architecture, network)
    return outline(component, Component.from_registry(DATASETS, dataset, options), batch)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["single-task", "dense", "mtan"])
def test_parts_add_up_to_the_network(architecture):
    found, data = told(architecture, backbone="unet", width=4), build_dataset("scenes", **SCENES)
    with torch.device("meta"):
        model = build_model(architecture, data.tasks, backbone="unet", width=4)
        flops = forward_flops(model, torch.randint(256, (1, 3, 36, 48), dtype=torch.uint8))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.total.shared == sum(p.numel() for p in model.shared_parameters())
    for task in data.tasks:
        assert found.total.own[task.name] == sum(p.numel() for p in model.task_parameters(task.name))
    assert found.total.flops == flops
    assert all(part.shape for part in found.parts)


def test_shapes_and_activations_of_a_network_worked_out_by_hand():
    """A WRN's first stage keeps its input for the gradient of its weights, and nothing else."""
    parts = {
        part.name: part for part in told("split", dataset="multi-fashion", options={}, backbone="wrn", width=4).parts
    }
    assert [part.shape for part in parts.values()][:4] == [(4, 36, 36), (4, 18, 18), (8, 9, 9), (16, 5, 5)]
    assert parts["trunk.0"].activation_bytes == 4 * 2 * 3 * 36 * 36
    assert parts["trunk.0"].shared == 4 * (9 * 3 + 1)
    assert parts["trunk.0"].flops == 2 * 9 * 3 * 4 * 36 * 36
    assert parts["heads.0"].own == {"top-left": 16 * 10 + 10}
    more = {part.name: part for part in told("split", 6, "multi-fashion", {}, backbone="wrn", width=4).parts}
    assert more["trunk.0"].activation_bytes == 3 * parts["trunk.0"].activation_bytes
    assert more["trunk.0"].flops == parts["trunk.0"].flops


@pytest.mark.slow
def test_a_task_with_its_own_pictures_and_numbers_of_the_network_itself(monkeypatch):
    found = told("split", dataset="decathlon", options={}, backbone="wrn-10", width=4)
    assert found.tasks == tuple(task.name for task in build_dataset("decathlon").tasks)
    assert ELSEWHERE not in [part.name for part in found.parts] or found.parts[-1].shared == 0

    original = ARCHITECTURES["split"].factory.__init__

    def extended(self, tasks, **options):
        original(self, tasks, **options)
        self.scale = nn.Parameter(torch.ones(3))

    monkeypatch.setattr(ARCHITECTURES["split"].factory, "__init__", extended)
    assert {part.name: part for part in told("split", width=4).parts}[ELSEWHERE].shared == 3


def test_rows_that_differ_in_one_number_become_one():
    parts = [PartCost(f"streams.{k}.{s}", (s, 1, 1), 5) for s in (7, 8) for k in range(3)]
    rows = grouped([*parts, PartCost("streams.0.9", (9, 1, 1), 1), PartCost("heads.0", (9, 1, 1), 1)])
    assert [(row.name, row.shared) for row in rows] == [
        ("streams.*.7 (3 ×)", 15),
        ("streams.*.8 (3 ×)", 15),
        ("streams.0.9", 1),
        ("heads.0", 1),
    ]


@pytest.mark.slow
def test_the_command_tells_it_in_a_table_and_in_json():
    words = ["model", "mtan:width=4", "--backbone", "unet", "--dataset", "scenes:height=36,width=48", "--batch", "3"]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 0, shown.output
    assert "trunk.0" in shown.output
    assert "parameters: " in shown.output
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)
    assert found["batch"] == 3
    assert found["architecture"]["options"]["backbone"] == "unet"
    assert found["total"]["parameters"] == found["total"]["shared"] + sum(found["total"]["own"].values())
    assert sum(stage["flops"] for stage in found["stages"]) == found["total"]["flops"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["mtn"], "unknown architecture 'mtn'. Did you mean 'mtan'"),
        (["mtan", "--backbone", "segnett"], "unknown backbone 'segnett'"),
        (["mtan:backbone=wrn", "--backbone", "unet"], "'backbone' is given twice"),
        (["mtan", "--backbone", "wrn"], "this backbone has no decoder"),
        (["mtan", "--dataset", "scene"], "unknown data set 'scene'"),
    ],
)
def test_wrong_words_are_one_line(words, line):
    shown = CliRunner().invoke(main, ["model", *words])
    assert shown.exit_code == 2
    assert line in " ".join(shown.output.split())
