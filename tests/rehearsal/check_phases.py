"""Waits around steps: batches, an epoch's end, an evaluation."""

import tomllib
from pathlib import Path

import pytest
import torch

from benchmark.training.engine import Pass
from benchmark.training.evaluation import evaluate
from benchmark.training.hardware import Hardware
from tests.rehearsal.cells import COUNT, DEVICE, trainer
from tests.rehearsal.pretending import Waits, device

ALLOWED = tomllib.loads((Path(__file__).parent / "waits.toml").read_text())
GPU = Hardware(DEVICE, "fp32", 1)


def started(case="plain", weighting="equal"):
    built = trainer("split", weighting, GPU, case=case)
    built.model.train()
    return built, Pass.begun(len(built.model.tasks), torch.device(DEVICE))


@pytest.mark.parametrize("case", ALLOWED["batch"])
def test_batches(case):
    before = device.memory(0)["allocations"]
    built, current = started(case)
    for _ in range(2):
        with Waits() as waits:
            batch = built.batches.next()
        assert waits.count == ALLOWED["batch"][case], waits.places
        built._one_of(current, batch)
    assert current.sums.isfinite().all()
    assert device.memory(0)["allocations"] == before


def test_a_sampled_step():
    built, current = started()
    with Waits() as waits:
        built._one_of(current, built.batches.next())
    assert len(current.watches) == 1
    # It is the run's first step, too, which looks at the values of the weighting's weights.
    first = [place for place in waits.places if "contract.py" in place]
    assert waits.count - len(first) == ALLOWED["epoch"]["sampled"], waits.places
    assert len(first) == 3
    built.step._unseen = True
    with Waits() as again:
        built._one_of(current, built.batches.next())
    assert again.count == len(first), again.places  # no more than the first step's own
    with Waits() as again:
        built._one_of(current, built.batches.next())
    assert again.count == 0, again.places


@pytest.mark.parametrize("interval", [64, 1])
@pytest.mark.parametrize("weighting", ["dwa", "mgda"])
def test_an_epoch_s_end_however_many_steps_are_sampled(weighting, interval, monkeypatch):
    monkeypatch.setattr("benchmark.training.diagnostics.INTERVAL", interval)
    built, _ = started(weighting=weighting)
    built.protocol = built.protocol.model_copy(update={"evaluate_every": 2, "epochs": 3})
    current = built._train(lambda: None)
    assert len(current.watches) == (built.steps if interval == 1 else 1)
    built._train = lambda pause: current
    with Waits() as waits:
        built._epoch(1, lambda: None)
        built._check_parameters()
    expected = sum(ALLOWED["epoch"][name] for name in ("end", "diagnostics", "parameters"))
    assert waits.count == expected, waits.places


@pytest.mark.parametrize("size", [3, COUNT])
@pytest.mark.parametrize("case", ["plain", "streamed", "crops", "separate"])
def test_an_evaluation_whatever_its_size(case, size, monkeypatch):
    monkeypatch.setattr("benchmark.training.evaluation.EVALUATION_BATCH", size)
    built, _ = started(case)
    with Waits() as waits:
        found = evaluate(built.model, built.splits["test"], GPU)
    expected = ALLOWED["evaluation"]["dense" if case in ("plain", "streamed") else "whole"]
    assert waits.count == expected + (case == "separate"), waits.places
    here = trainer("split", "equal", Hardware("cpu", "fp32", 1), case=case)
    known = evaluate(here.model, here.splits["test"], here.hardware)
    for task, metrics in known.metrics.items():
        assert found.metrics[task] == pytest.approx(metrics, rel=1e-2, nan_ok=True)
