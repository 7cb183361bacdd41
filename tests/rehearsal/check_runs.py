"""Whole runs: rendered data, training, diagnostics, evaluation, masks, predictions, checkpoints, spilling, graphs."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from benchmark.data import Storage, build_dataset
from benchmark.data.scenes import render
from benchmark.execution.executor import Note, Setup, work
from benchmark.runs.artifacts import OfMasks
from benchmark.training.checkpoint import Policy, Stopped
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from tests.rehearsal.cells import DEVICE, run_spec
from tests.rehearsal.pretending import Waits, device

GPU = Hardware(DEVICE, "fp32", 1)
ATTENDING = run_spec("mtan", "uncertainty", scale_crop="consistent")


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


@pytest.fixture(scope="module")
def attended(storage):
    """A run of a network that attends, with all that can be kept of one, and what it had to say."""
    notes = []
    watcher = Watcher(note=notes.append, keep_predictions=True, keep_model=True)
    return execute(ATTENDING, storage=storage, hardware=GPU, watcher=watcher), notes


def test_a_run_agrees_with_the_processor(storage, attended):
    """Diagnostics, evaluation, masks, predictions, and the network."""
    found, notes = attended
    watcher = Watcher(keep_predictions=True, keep_model=True)
    known = execute(ATTENDING, storage=storage, hardware=Hardware("cpu", "fp32", 1), watcher=watcher)
    assert (found.record.status, notes) == ("ok", [])
    assert found.record.cost.peak_bytes > 0
    assert found.record.provenance.device_type == "cuda"
    assert found.record.provenance.determinism["deterministic_algorithms"] is False
    assert any(isinstance(key, OfMasks) for key in found.predictions)
    assert found.record.curves[0].gradients is not None
    assert found.predictions.keys() == known.predictions.keys()
    for one, other in zip(found.record.curves, known.record.curves, strict=True):
        assert one.losses["train"] == pytest.approx(other.losses["train"], rel=0.05)
        assert (one.gradients is None) == (other.gradients is None)
    for name, values in found.predictions.items():
        assert values.shape == known.predictions[name].shape
        assert values.dtype.kind != "f" or np.isfinite(values).all()


def test_a_run_that_is_replayed_is_the_same(storage, attended):
    notes = []
    replayed = execute(
        ATTENDING, storage=storage, hardware=replace(GPU, graphs=True), watcher=Watcher(note=notes.append)
    )
    assert (replayed.record.status, notes) == ("ok", [])
    assert replayed.record.provenance.cuda_graphs is True
    assert numbers(replayed.record) == numbers(attended[0].record)


def test_a_run_waits_as_often_whatever_its_batches(storage, monkeypatch):
    """From loading to pictures: what is there per batch of training or of evaluation does not wait."""
    counted = []
    for batch, evaluated in ((4, 32), (2, 1)):
        monkeypatch.setattr("benchmark.training.evaluation.EVALUATION_BATCH", evaluated)
        monkeypatch.setattr("benchmark.training.diagnostics.INTERVAL", batch)
        with Waits() as waits:
            record = execute(run_spec("split", "dwa", batch_size=batch), storage=storage, hardware=GPU).record
        assert record.status == "ok"
        counted.append(waits.kinds["wait"] + waits.kinds["index of the host"])
    assert counted[0] == counted[1], waits.places


@pytest.mark.parametrize(("weighting", "graphs"), [("famo", False), ("moco", True)])
def test_a_run_that_is_stopped_goes_on_as_if_it_never_had(storage, tmp_path, weighting, graphs):
    hardware, spec = replace(GPU, graphs=graphs), run_spec("split", weighting)
    whole = execute(spec, storage=storage, hardware=hardware).record
    stops = 0
    while True:
        asked = count(1)
        watcher = Watcher(stop=lambda asked=asked: next(asked) >= 4, checkpoints=Policy(tmp_path, 1e9))
        try:
            record = execute(spec, storage=storage, hardware=hardware, watcher=watcher).record
            break
        except Stopped:
            stops += 1
    assert stops >= 1
    assert numbers(record) == numbers(whole)


def test_activations_that_wait_in_host_memory_change_nothing(storage):
    """Two passes backwards and more; that of a sum is looked at below."""
    spec = run_spec("split", "mgda")
    plain, spilled = (execute(spec, storage=storage, hardware=h).record for h in (GPU, GPU.spilling()))
    assert (plain.status, spilled.status) == ("ok", "ok")
    assert numbers(plain) == numbers(spilled)
    assert device.counts()["asynchronous copy"] > 0


def test_a_run_that_does_not_fit_is_tried_once_more(storage):
    spec, told = run_spec("split", "equal", batch_size=8), []
    plain = execute(spec, storage=storage, hardware=GPU).record
    spilled = execute(spec, storage=storage, hardware=GPU.spilling()).record
    assert numbers(plain) == numbers(spilled)
    assert spilled.cost.peak_bytes < plain.cost.peak_bytes
    device.set_limit(1, (plain.cost.peak_bytes + spilled.cost.peak_bytes) // 2)
    try:
        ended = work(spec, Setup(storage, GPU, spill=True), told.append, lambda: False)
    finally:
        device.set_limit(1, -1)
    assert any(isinstance(event, Note) for event in told)
    assert (ended.outcome.record.status, ended.outcome.record.cost.spilled) == ("ok", True)


@pytest.mark.filterwarnings("ignore:.* does not have a deterministic implementation")
def test_determinism_is_asked_of_torch_and_recorded(storage):
    record = execute(run_spec("split", "equal"), storage=storage, hardware=replace(GPU, deterministic=True)).record
    assert record.status == "ok", record.error
    assert record.provenance.determinism["deterministic_algorithms"] is True
    assert record.provenance.determinism["CUBLAS_WORKSPACE_CONFIG"]
