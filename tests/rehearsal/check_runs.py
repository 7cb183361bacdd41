"""Whole runs: rendered data, training, diagnostics, evaluation, masks, predictions, checkpoints, spilling, graphs."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from benchmark.data import Storage, build_dataset
from benchmark.data.scenes import render
from benchmark.execution.executor import Note, Setup, work
from benchmark.training.checkpoint import Policy, Stopped
from benchmark.training.hardware import Hardware
from benchmark.training.run import Watcher, execute
from tests.rehearsal.cells import DEVICE, run_spec
from tests.rehearsal.pretending import device

GPU = Hardware(DEVICE, "fp32", 1)


@pytest.fixture(scope="module")
def storage():
    spec = run_spec("split", "equal")
    build_dataset(spec.dataset.name, **spec.dataset.options).prepare(Storage.default())
    return Storage.default()


def numbers(record):
    """All that training and evaluation found."""
    return [(e.losses, e.weights, e.metrics, e.gradients) for e in record.curves]


def test_rooms_are_rendered_on_the_device():
    here, there = (render([1, 2], height=36, width=48, device=place) for place in ("cpu", DEVICE))
    for name, value in here.items():
        assert there[name].device == torch.device(DEVICE)
        assert (there[name].cpu() == value).float().mean() > 0.999


@pytest.mark.parametrize(
    ("architecture", "weighting", "graphs"),
    [
        ("mtan", "uncertainty", False),
        ("mtan", "uncertainty", True),
        ("single-task", None, False),
        ("split", "nash-mtl", True),
    ],
)
def test_a_run(storage, architecture, weighting, graphs):
    notes = []
    watcher = Watcher(note=notes.append, keep_predictions=True, keep_model=True)
    spec = run_spec(architecture, weighting, scale_crop="consistent")
    found = execute(spec, storage=storage, hardware=replace(GPU, graphs=graphs), watcher=watcher)
    known = execute(spec, storage=storage, hardware=Hardware("cpu", "fp32", 1), watcher=watcher)
    assert (found.record.status, notes) == ("ok", [])
    assert found.record.cost.peak_bytes > 0
    assert found.record.provenance.device_type == "cuda"
    assert found.predictions.keys() == known.predictions.keys()
    for one, other in zip(found.record.curves, known.record.curves, strict=True):
        assert one.losses["train"] == pytest.approx(other.losses["train"], rel=0.05)
        assert (one.gradients is None) == (other.gradients is None)
    for name, values in found.predictions.items():
        assert values.shape == known.predictions[name].shape
        assert values.dtype.kind != "f" or np.isfinite(values).all()


@pytest.mark.parametrize(("weighting", "graphs"), [("famo", False), ("moco", True)])
def test_a_run_that_is_stopped_goes_on_as_if_it_never_had(storage, tmp_path, weighting, graphs):
    hardware, spec = replace(GPU, graphs=graphs), run_spec("split", weighting)
    whole = execute(spec, storage=storage, hardware=hardware).record
    stops = 0
    while True:
        asked = count(1)
        watcher = Watcher(stop=lambda asked=asked: next(asked) >= 3, checkpoints=Policy(tmp_path, 1e9))
        try:
            record = execute(spec, storage=storage, hardware=hardware, watcher=watcher).record
            break
        except Stopped:
            stops += 1
    assert stops >= 2
    assert numbers(record) == numbers(whole)


@pytest.mark.parametrize("weighting", ["equal", "mgda"])
def test_activations_that_wait_in_host_memory_change_nothing(storage, weighting):
    spec = run_spec("split", weighting)
    plain, spilled = (execute(spec, storage=storage, hardware=h).record for h in (GPU, GPU.spilling()))
    assert (plain.status, spilled.status) == ("ok", "ok")
    assert numbers(plain) == numbers(spilled)
    assert device.counts()["asynchronous copy"] > 0


def test_a_run_that_does_not_fit_is_tried_once_more(storage):
    spec, told = run_spec("split", "equal", batch_size=8), []
    plain = execute(spec, storage=storage, hardware=GPU).record
    spilled = execute(spec, storage=storage, hardware=GPU.spilling()).record
    assert spilled.cost.peak_bytes < plain.cost.peak_bytes
    device.set_limit(1, (plain.cost.peak_bytes + spilled.cost.peak_bytes) // 2)
    try:
        ended = work(spec, Setup(storage, GPU, spill=True), told.append, lambda: False)
    finally:
        device.set_limit(1, -1)
    assert any(isinstance(happening, Note) for happening in told)
    assert (ended.outcome.record.status, ended.outcome.record.cost.spilled) == ("ok", True)


def test_determinism_is_asked_of_torch_and_recorded(storage):
    hardware = replace(GPU, deterministic=True)
    record = execute(run_spec("split", "equal"), storage=storage, hardware=hardware).record
    assert record.provenance.determinism["deterministic_algorithms"] is True
    plain = execute(run_spec("split", "equal"), storage=storage, hardware=GPU).record
    assert plain.provenance.determinism["deterministic_algorithms"] is False
