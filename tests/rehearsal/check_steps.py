"""Each weighting and each network: eager and as graphs, to the same bits, without a wait that is not allowed."""

import gc
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.training.graphs.proof import cuda_graphs, objection
from benchmark.training.hardware import Hardware
from benchmark.weighting import build_weighting
from tests.architectures import FIRST, LATER
from tests.options import REQUIRED
from tests.rehearsal.cells import DENSE, DEVICE, trainer
from tests.rehearsal.pretending import Waits, device

ALLOWED = tomllib.loads((Path(__file__).parent / "waits.toml").read_text())
GPU = Hardware(DEVICE, "fp32", 1)
#: Of losses, lengths, a look ahead, a Gramian, gradients themselves, and parts of the batch.
KINDS = ("equal", "gradnorm", "auto-lambda", "mgda", "excessmtl", "modo")
CELLS = [
    *(
        (network, kind)
        for network in FIRST
        if network != "split"
        for kind in (KINDS if ARCHITECTURES[network].factory.shares else (None,))
    ),
    *((network, "equal") for network in LATER if network != "ltb"),
    # A regulariser.
    *(("dselect-k", kind) for kind in ("gradnorm", "mgda", "modo")),
]


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


def told(built, cell, record_property):
    """What ``steps`` gives, whose waits and memory are kept for the table at the end."""
    gc.collect()
    device.reset_peak(1)
    found = steps(built)
    record_property("cell", (cell, found[2].count, device.memory(1)["peak"]))
    assert torch.stack(found[0])[:, 0].isfinite().all()
    return found


def both_ways(architecture, weighting, record_property, precision="fp32"):
    """A cell's waits; its bits are compared."""
    before = device.memory(0)["allocations"]
    cell = f"{architecture} · {weighting or '–'} · {precision}"
    options = REQUIRED.get(weighting, {})
    plain = Hardware(DEVICE, precision, 1)
    seen, kept, waits = told(trainer(architecture, weighting, plain, options=options), cell, record_property)
    replayed = trainer(architecture, weighting, replace(plain, graphs=True), options=options)
    replayed.replays = cuda_graphs(replayed)
    again, moved, others = told(replayed, f"{cell}, replayed", record_property)
    for one, other in zip((*seen, *kept), (*again, *moved), strict=True):
        assert np.array_equal(one.numpy(), other.numpy(), equal_nan=True)
    assert others.kinds["replay"] >= 1
    assert device.memory(0)["allocations"] == before, "something went to the other device"
    assert waits.count == others.count
    return waits


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_each_weighting(weighting, record_property):
    waits = both_ways("split", weighting, record_property)
    assert waits.count == ALLOWED["step"][weighting], waits.places


@pytest.mark.parametrize(("architecture", "weighting"), CELLS)
def test_each_network(architecture, weighting, record_property):
    waits = both_ways(architecture, weighting, record_property)
    assert waits.count == ALLOWED["step"][weighting or "none"], waits.places


def test_a_network_that_draws(record_property):
    """Its bits are not compared: the pretended device draws while it records, which a GPU does not."""
    _, _, waits = told(trainer("ltb", "mgda", GPU), "ltb · mgda · fp32", record_property)
    assert waits.count == ALLOWED["step"]["mgda"], waits.places


@pytest.mark.parametrize(("architecture", "weighting"), [("mtan", "equal"), ("split", "pcgrad")])
def test_half_precision(architecture, weighting, record_property):
    both_ways(architecture, weighting, record_property, "bf16")


@pytest.mark.parametrize("weighting", ["excessmtl", "db-mtl", "moco", "pcgrad"])
def test_weightings_of_networks_that_share_nothing(weighting):
    seen, _, _ = steps(trainer("single-task", weighting, GPU), count=2)
    assert torch.stack(seen)[:, 0].isfinite().all()


@pytest.mark.parametrize("weighting", ["db-mtl", "excessmtl", "moco", "graddrop"])
def test_gradients_that_are_not_finite_leave_the_state_as_it_was(weighting):
    """Also where nobody waits to learn of it."""
    built = build_weighting(weighting, DENSE).to(DEVICE)
    built.allocate(5000)
    for broken in (False, True, False):
        before = {name: value.clone() for name, value in built.state_dict().items()}
        gradients = torch.linspace(-1, 1, 15000, device=DEVICE).view(3, -1).clone()
        gradients[1, 7] = torch.inf if broken else 0.5
        direction = built.from_gradients(gradients, torch.ones(3, device=DEVICE))
        assert direction.vector.isfinite().all() == (not broken)
        same = [torch.equal(value, before[name]) for name, value in built.state_dict().items()]
        assert all(same) == broken
    assert direction.vector.isfinite().all()


@pytest.mark.parametrize("weighting", ["gradnorm", "mgda"])
def test_the_first_steps_prove_the_graphs(weighting):
    hardware = Hardware(DEVICE, "fp32", 1, graphs=True)
    assert objection(lambda: trainer("split", weighting, hardware), cuda_graphs) is None


@pytest.mark.parametrize("weighting", ["mgda", "modo"])
def test_a_new_phase_leaves_the_other_graphs_what_they_were_recorded_with(weighting):
    built = trainer("split", weighting, Hardware(DEVICE, "fp32", 1, graphs=True))
    built.replays = cuda_graphs(built)
    steps(built)
    built._begin_phase()
    steps(built)


def test_agreement_with_the_processor():
    """The kernels are the same; memory that was never written, or was freed, is not."""
    here, _, _ = steps(trainer("mtan", "uncertainty", Hardware("cpu", "fp32", 1)), count=2)
    there, _, _ = steps(trainer("mtan", "uncertainty", GPU), count=2)
    torch.testing.assert_close(there[0], here[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(there[1], here[1], rtol=1e-2, atol=0)
