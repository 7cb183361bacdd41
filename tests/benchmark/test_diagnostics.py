"""How the tasks' gradients meet: by hand, and without a trace in the run itself."""

import math

import pytest
import torch

import benchmark
from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.presence import Presence
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.training import diagnostics
from benchmark.training.diagnostics import GradientDiagnostics
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware

pytestmark = pytest.mark.slow

NAN = math.nan


def found(names, *gramians):
    kept = GradientDiagnostics(names)
    for gramian in gramians:
        kept.add(torch.tensor(gramian, dtype=torch.float64), Presence.everyone(len(kept.names)))
    return kept.take()


def test_lengths_cosines_and_conflicts_by_hand():
    # Rows (3, 4), (−3, 4)·2, (0, 1); then (1, 0), (2, 0), (0, 5).
    first = [[25.0, 14.0, 4.0], [14.0, 100.0, 8.0], [4.0, 8.0, 1.0]]
    second = [[1.0, -2.0, 0.0], [-2.0, 4.0, 0.0], [0.0, 0.0, 25.0]]
    record = found(["a", "b", "c"], first, second)
    assert record.steps == 2
    assert record.norms == {"a": 3.0, "b": 6.0, "c": 3.0}
    assert record.cosines == pytest.approx({"a|b": (0.28 - 1) / 2, "a|c": 0.4, "b|c": 0.4})
    # Of three pairs in two steps, one conflicts in one step; a right angle is no conflict.
    assert record.conflicts == pytest.approx(1 / 6)


def test_a_gradient_of_zero_has_no_cosine_and_no_conflict():
    record = found(["a", "b"], [[4.0, 0.0], [0.0, 0.0]])
    assert (record.norms, record.cosines, record.conflicts) == ({"a": 2.0, "b": 0.0}, {"a|b": None}, 0.0)
    # A step where it has one counts alone.
    record = found(["a", "b"], [[4.0, 0.0], [0.0, 0.0]], [[1.0, -0.5], [-0.5, 1.0]])
    assert (record.cosines, record.conflicts) == ({"a|b": -0.5}, 0.5)


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_what_is_no_number_is_not_recorded_as_one(bad):
    record = found(
        ["a", "b", "c"], [[bad, NAN, NAN], [NAN, 4.0, 2.0], [NAN, 2.0, 4.0]], [[1.0, 0, 0], [0, 0, 0], [0, 0, 1]]
    )
    assert record.norms == {"a": None, "b": 1.0, "c": 1.5}
    assert record.cosines == {"a|b": None, "a|c": 0.0, "b|c": 0.5}
    assert record.conflicts is None
    # Infinite and zero lengths meet without a warning.
    record = found(["a", "b"], [[bad, 0.0], [0.0, 0.0]])
    assert (record.norms, record.cosines) == ({"a": None, "b": 0.0}, {"a|b": None})


def test_rounding_does_not_leave_the_range_of_a_cosine():
    record = found(["a", "b"], [[1.0, 1.0 + 1e-9], [1.0 + 1e-9, 1.0]])
    assert record.cosines == {"a|b": 1.0}


def test_nothing_to_compare_is_nothing_to_record():
    assert found(["a", "b"]) is None
    assert found(["a"], [[4.0]]) is None
    kept = GradientDiagnostics(["a", "b"])
    kept.add(None, Presence.everyone(len(kept.names)))
    assert kept.take() is None
    kept.add(torch.eye(2), Presence.everyone(len(kept.names)))
    assert kept.take().steps == 1
    assert kept.take() is None  # taken once


def test_the_first_step_and_then_one_in_an_interval(monkeypatch):
    monkeypatch.setattr(diagnostics, "INTERVAL", 3)
    kept = GradientDiagnostics(["a", "b"])
    assert [kept.due() for _ in range(8)] == [True, False, False, True, False, False, True, False]


def curves(architecture, weighting, toy_splits, tasks):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = benchmark.build_model(architecture, tasks, backbone="segnet", width=2)
        built = benchmark.build_weighting(weighting, tasks) if weighting else None
        spec = RunSpec(
            dataset=Component.from_registry(DATASETS, "toy"),
            architecture=Component.from_registry(ARCHITECTURES, architecture),
            weighting=Component.from_registry(WEIGHTINGS, weighting) if weighting else None,
            seed=0,
            protocol=Protocol(epochs=2, batch_size=6, learning_rate=1e-2, evaluate_every=2),
        )
        kept = []
        Trainer(model, built, spec=spec, splits=toy_splits, hardware=Hardware("cpu", "fp32", 1)).fit(kept.append)
    return kept


@pytest.mark.parametrize(
    ("architecture", "weighting"),
    [
        ("split", "uncertainty"),
        ("stan", None),
    ],
)
def test_looking_changes_no_number_of_the_run(toy, monkeypatch, architecture, weighting):
    dataset = build_dataset("toy", train=12)
    dataset.prepare(Storage.default())
    splits = {split: dataset.load(split, Storage.default(), "cpu") for split in SPLITS}
    runs = []
    for interval in (1, 10**6):
        monkeypatch.setattr(diagnostics, "INTERVAL", interval)
        runs.append(curves(architecture, weighting, splits, dataset.tasks))
    for often, seldom in zip(*runs, strict=True):
        assert (often.losses, often.weights, often.metrics) == (seldom.losses, seldom.weights, seldom.metrics)
    recorded = [[epoch.gradients and epoch.gradients.steps for epoch in run] for run in runs]
    assert recorded == ([[2, 2], [1, None]] if weighting else [[None, None], [None, None]])
    if weighting:
        # What the first step saw does not depend on how many more are looked at.
        assert runs[0][0].gradients.norms.keys() == {task.name for task in dataset.tasks}
        assert all(norm > 0 for norm in runs[1][0].gradients.norms.values())
