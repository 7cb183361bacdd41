"""Each kind of step and each network: eager and as graphs, to the same bits, without a wait that is not allowed."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.registry import ARCHITECTURES
from benchmark.training.hardware import Hardware
from benchmark.training.proof import cuda_graphs, objection
from tests.rehearsal.cells import DEVICE, trainer
from tests.rehearsal.pretending import Waits, device

ALLOWED = tomllib.loads((Path(__file__).parent / "waits.toml").read_text())
NETWORKS = [name for name in ARCHITECTURES if ARCHITECTURES[name].factory.__module__.startswith("baselines.")]


def steps(built, count=4):
    """Losses and weights of some steps, of which the first is sampled; parameters; waits of the last."""
    built.model.train()
    torch.manual_seed(5)
    found = []
    for number in range(count):
        batch = built.batches.next()
        with Waits() as waits:
            result = built.advance(batch, diagnose=number == 0)
        found.append(torch.stack([result.losses, result.weights]).cpu())
    return found, [p.detach().cpu() for p in built.parameters()], waits


def both_ways(architecture, weighting, precision="fp32"):
    """A cell's waits; its bits are compared."""
    before = device.memory(0)["allocations"]
    seen, kept, waits = steps(trainer(architecture, weighting, Hardware(DEVICE, precision, 1)))
    graphs = Hardware(DEVICE, precision, 1, graphs=True)
    replayed = trainer(architecture, weighting, graphs)
    replayed.replays = cuda_graphs(replayed)
    again, moved, others = steps(replayed)
    for one, other in zip((*seen, *kept), (*again, *moved), strict=True):
        assert np.array_equal(one.numpy(), other.numpy(), equal_nan=True)
    assert torch.stack(seen)[:, 0].isfinite().all()
    assert others.kinds["replay"] >= 1
    assert device.memory(0)["allocations"] == before, "something went to the other device"
    assert waits.count == others.count
    return waits


@pytest.mark.parametrize("weighting", [name for name in ALLOWED["step"] if name != "none"])
def test_each_kind_of_step(weighting):
    waits = both_ways("split", weighting)
    assert waits.count == ALLOWED["step"][weighting], waits.places


@pytest.mark.parametrize("architecture", [name for name in NETWORKS if name != "split"])
def test_each_network(architecture):
    weighting = "equal" if ARCHITECTURES[architecture].factory.shares else None
    waits = both_ways(architecture, weighting)
    assert waits.count == ALLOWED["step"][weighting or "none"], waits.places


@pytest.mark.parametrize(("architecture", "weighting"), [("mtan", "equal"), ("split", "pcgrad")])
def test_half_precision(architecture, weighting):
    both_ways(architecture, weighting, "bf16")


@pytest.mark.parametrize("weighting", ["excessmtl", "db-mtl", "moco", "pcgrad"])
def test_weightings_of_networks_that_share_nothing(weighting):
    seen, _, _ = steps(trainer("single-task", weighting, Hardware(DEVICE, "fp32", 1)), count=2)
    assert torch.stack(seen)[:, 0].isfinite().all()


@pytest.mark.parametrize("weighting", ["equal", "mgda", "gradnorm"])
def test_the_first_steps_prove_the_graphs(weighting):
    hardware = Hardware(DEVICE, "fp32", 1, graphs=True)
    assert objection(lambda: trainer("split", weighting, hardware), cuda_graphs) is None


@pytest.mark.parametrize("weighting", ["equal", "mgda", "modo"])
def test_a_new_phase_leaves_the_other_graphs_what_they_were_recorded_with(weighting):
    built = trainer("split", weighting, Hardware(DEVICE, "fp32", 1, graphs=True))
    built.replays = cuda_graphs(built)
    steps(built)
    built._begin_phase()
    steps(built)


def test_agreement_with_the_processor():
    """The kernels are the same; memory that was never written, or was freed, is not."""
    here, _, _ = steps(trainer("mtan", "uncertainty", Hardware("cpu", "fp32", 1)), count=2)
    there, _, _ = steps(trainer("mtan", "uncertainty", Hardware(DEVICE, "fp32", 1)), count=2)
    torch.testing.assert_close(there[0], here[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(there[1], here[1], rtol=1e-2, atol=0)
