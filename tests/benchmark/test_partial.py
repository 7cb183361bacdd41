"""Training pictures that keep the labels of some tasks alone."""

import numpy as np
import pytest
import torch

from benchmark.data import PerTaskInputSplit, Split
from benchmark.errors import UsageError
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.tasks import KINDS, Task
from benchmark.training.batch import labelled_samples
from benchmark.training.partial import kept_labels, with_kept_labels
from benchmark.training.run import execute
from tests.benchmark.test_absent import without
from tests.benchmark.test_checkpoint import CPU, small_spec, storage  # noqa: F401 - a fixture
from tests.benchmark.test_steps import TASKS, a_batch, a_model


def spec(labels="one", seed=0, architecture="split", weighting="equal"):
    return RunSpec(
        dataset=Component(name="a-set", version=1, options={}),
        architecture=Component(name=architecture, version=1, options={}),
        weighting=Component(name=weighting, version=1, options={}),
        seed=seed,
        protocol=Protocol(epochs=1, batch_size=2, labels=labels),
    )


def a_split(count=30, seed=0):
    batch = a_batch(count, seed)
    return Split(batch.images, batch.targets, np.arange(count))


def test_one_label_each_as_often_as_any_other():
    kept = kept_labels(32, 3, spec("one"))
    assert kept.sum(1).tolist() == [1] * 32
    assert sorted(kept.sum(0).tolist()) == [10, 11, 11]


def test_random_labels_are_neither_none_nor_all():
    kept = kept_labels(400, 4, spec("random"))
    # Of each number from 1 to 3 a third, of which a task has 1/4, 2/4 and 3/4: half of the pictures.
    counts = kept.sum(1).bincount(minlength=5)
    assert counts[0] == counts[4] == 0
    assert counts[1:4].min() > 100
    assert (kept.float().mean(0) - 0.5).abs().max() < 0.1
    assert torch.equal(kept_labels(9, 2, spec("random")).sum(1), torch.ones(9, dtype=torch.long))


def test_all_cells_of_a_seed_keep_the_same_labels():
    kept = kept_labels(64, 3, spec())
    assert torch.equal(kept, kept_labels(64, 3, spec(architecture="single-task", weighting="rlw")))
    assert not torch.equal(kept, kept_labels(64, 3, spec(seed=1)))


def test_what_is_not_kept_is_unknown_and_all_else_stays():
    train, val = a_split(), a_split(6, 1)
    found = with_kept_labels({"train": train, "val": val, "test": val}, spec(), TASKS)
    assert found["val"] is found["test"] is val
    kept = kept_labels(30, 3, spec())
    flags = labelled_samples(found["train"], TASKS)
    for k, task in enumerate(TASKS):
        assert flags[task.name].tolist() == kept[:, k].tolist()
        own = found["train"].targets[task.name]
        assert own.dtype == train.targets[task.name].dtype
        assert torch.equal(own[kept[:, k]], train.targets[task.name][kept[:, k]])
    assert found["train"].images is train.images
    assert with_kept_labels({"train": train}, spec("all"), TASKS)["train"] is train


def test_a_missing_label_changes_no_other_tasks_gradient():
    model, batch = a_model().eval(), a_batch()

    def gradients(targets):
        predictions = model(batch.images / 255)
        return {
            task.name: torch.autograd.grad(
                task.loss(predictions[task.name], targets[task.name]), list(model.trunk.parameters()), retain_graph=True
            )
            for task in TASKS
        }

    whole, part = gradients(batch.targets), gradients(without(batch, "depth").targets)
    for name in ("semantic", "normals"):
        assert all(torch.equal(one, other) for one, other in zip(whole[name], part[name], strict=True))
    assert all(not gradient.any() for gradient in part["depth"])


def test_where_labels_cannot_be_left_out():
    train = a_split()
    apart = PerTaskInputSplit({"depth": train})
    with pytest.raises(UsageError, match="here every task has its own pictures"):
        with_kept_labels({"train": apart}, spec(), TASKS)
    with pytest.raises(UsageError, match="here there is one task"):
        with_kept_labels({"train": train}, spec(), TASKS[:1])


def test_a_kind_must_say_how_an_unknown_target_is_stored(monkeypatch):
    monkeypatch.setattr(type(KINDS["depth"]), "stored", lambda self, channels, size: None)
    with pytest.raises(UsageError, match="its kind 'depth' does not say how an unknown target is stored"):
        with_kept_labels({"train": a_split()}, spec(), (Task("depth", "depth", 1), TASKS[0]))


def test_runs_with_all_labels_are_the_runs_that_they_were():
    assert Protocol(epochs=1, batch_size=2, labels="all").identity() == Protocol(epochs=1, batch_size=2).identity()
    assert spec("one").id != spec("all").id != spec("random").id


@pytest.mark.slow
def test_a_run_trains_on_what_is_kept(storage):  # noqa: F811
    records = {
        labels: execute(small_spec("split", "equal", labels=labels), storage=storage, hardware=CPU).record
        for labels in ("all", "one")
    }
    assert {record.status for record in records.values()} == {"ok"}
    first = {labels: record.curves[0].losses["train"] for labels, record in records.items()}
    assert all(np.isfinite(list(losses.values())).all() for losses in first.values())
    assert first["all"] != first["one"]
