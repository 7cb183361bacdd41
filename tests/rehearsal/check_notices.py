"""The pretended device notices faults: a check that nothing can fail would prove nothing."""

import gc

import pytest
import torch

from benchmark.training.graphs import replay
from benchmark.training.graphs.proof import cuda_graphs
from benchmark.training.hardware import Hardware
from tests.rehearsal.cells import DEVICE, trainer
from tests.rehearsal.check_steps import steps
from tests.rehearsal.pretending import Waits, device


def complaints():
    """The first words of what was reported, which is forgotten."""
    gc.collect()
    found = {text.split()[0] for text in device.reports()}
    device.clear()
    return found


def test_tensors_of_two_devices_do_not_mix():
    for other in ("cpu", "cuda:0"):
        with pytest.raises(RuntimeError, match="same device"):
            torch.ones(3, device=DEVICE) + torch.ones(3, device=other)


def test_waits_are_counted_where_they_are_caused():
    value = torch.ones(3, device=DEVICE)
    for wait in (
        lambda: value.sum().item(),
        lambda: value.cpu(),
        lambda: torch.ones(3).to(DEVICE),
        lambda: torch.ones(3).to(DEVICE, non_blocking=True),  # not from pinned memory
        lambda: value[value > 0],
        lambda: value[torch.tensor([0])],
        torch.cuda.synchronize,
    ):
        with Waits() as waits:
            wait()
        assert waits.count >= 1
    with Waits() as waits:
        torch.ones(3).pin_memory().to(DEVICE, non_blocking=True)
        value.add_(1)
    assert waits.count == 0


def test_memory_that_nobody_wrote_is_no_number():
    assert torch.empty(7, device=DEVICE).isnan().all()
    assert complaints() == {"UNWRITTEN"}
    torch.empty(7, device=DEVICE).fill_(1).sum()
    assert complaints() == set()


def test_a_graph_that_reads_memory_that_was_freed():
    with torch.cuda.device(DEVICE):
        graph, value = torch.cuda.CUDAGraph(), torch.ones(3, device=DEVICE)
        with torch.cuda.graph(graph):
            doubled = 2 * value
        graph.replay()
        assert complaints() == set()
        assert doubled.sum().item() == 6
        del value
        gc.collect()
        graph.replay()
        assert "FREED" in complaints()
        assert doubled.isnan().all()


def test_memory_runs_out(monkeypatch):
    device.set_limit(1, device.memory(1)["current"] + 2**20)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.zeros(2**20, device=DEVICE)
    finally:
        device.set_limit(1, -1)


def graphs(weighting="uncertainty"):
    built = trainer("split", weighting, Hardware(DEVICE, "fp32", 1, graphs=True))
    built.replays = cuda_graphs(built)
    return built


def test_streams_that_do_not_wait_for_each_other_race(monkeypatch):
    monkeypatch.setattr(replay._Aside, "__enter__", lambda self: self._context.__enter__())
    steps(graphs())
    assert "RACE" in complaints()


def test_a_graph_that_goes_takes_workspaces_along(monkeypatch):
    """As in torch 2.12 and 2.13: what is recorded anew must not be destroyed while others are replayed."""
    monkeypatch.setattr(replay.Replays, "forget", lambda self, name: self._pieces.pop(name, None) and None)
    built = graphs("mgda")
    steps(built)
    built._begin_phase()
    gc.collect()
    steps(built)
    assert "WORKSPACE" in complaints()


def test_a_wait_inside_a_recording_is_an_error(monkeypatch):
    built = graphs()
    original = built.step._forward

    def reading(batch):
        losses, known, regulariser = original(batch)
        float(known[0])
        return losses, known, regulariser

    monkeypatch.setattr(built.step, "_forward", reading)
    with pytest.raises(RuntimeError, match="during capture"):
        steps(built)
    complaints()


def test_inputs_that_are_not_brought_show_in_the_bits(monkeypatch):
    monkeypatch.setattr(replay._Piece, "take", lambda self, inputs, gradients: None)
    seen, _, _ = steps(graphs())
    monkeypatch.undo()
    expected, _, _ = steps(graphs())
    assert not torch.equal(torch.stack(seen), torch.stack(expected))
    complaints()
