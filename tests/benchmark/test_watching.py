"""Watching changes nothing: no sampled step, no evaluation and nothing that is kept of a run moves a bit of it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmark.data import SPLITS, Split, Storage, build_dataset
from benchmark.model import MultiTaskModel, build_model
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.artifacts import OfNetwork, OfSplit
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.tasks import Task
from benchmark.training import diagnostics
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware
from benchmark.training.per_task_input import PerTaskInputModel
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from benchmark.weighting import Direction, GramianWeighting, MatrixWeighting, build_weighting
from tests.options import REQUIRED

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)
TASKS = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))
BATCH, STEPS, EPOCHS = 6, 2, 2
#: Of pictures, and of those for networks that halve them five times.
SIZE, LARGE = 16, 32
NEVER, EVERY, SOME = 0, 1, 3
OURS = [name for name in WEIGHTINGS if WEIGHTINGS[name].factory.__module__.startswith("baselines.")]
#: One weighting for each kind of step.
KINDS = ("equal", "uncertainty", "famo", "gradnorm", "auto-lambda", "mgda", "graddrop", "modo")


class Plugged(MultiTaskModel):
    """A network as plugins write them.

    Args:
        feature: makes of this model and pictures the feature.
        known: whether the engine knows of the feature.
    """

    def __init__(self, tasks, feature, known=True):
        super().__init__(tasks)
        self.trunk = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3))
        self.heads = nn.ModuleDict({task.name: nn.Conv2d(4, task.channels, 3, padding=2) for task in tasks})
        self.register_buffer("passes", torch.zeros(()))
        self.feature = feature
        self.has_representation = known

    def representation(self, images):
        return self.feature(self, images)

    def predict(self, representation, tasks=None):
        return {task.name: task.finish(self.heads[task.name](representation)) for task in self.tasks}

    def forward(self, images, tasks=None):
        return self.predict(self.representation(images), tasks)

    def task_parameters(self, task):
        return list(self.heads[task].parameters())

    def last_shared_parameters(self):
        return [self.trunk[-1].weight]


def plain(model, images):
    return model.trunk(images)


def dropping(model, images):
    return nn.functional.dropout(model.trunk(images), 0.3, model.training)


def recomputing(model, images):
    """Forgets features and makes them again in each backward pass, where batch norm counts them once more."""
    return checkpoint(lambda x: dropping(model, x), images, use_reentrant=False)


def drawing_backwards(model, images):
    feature = model.trunk(images)
    if feature.requires_grad:
        feature.register_hook(lambda gradient: gradient * (1 + 0.1 * torch.rand(())))
    return feature


def drawing_always(model, images):
    """Draws and counts in evaluation mode too; the count is another tensor each time."""
    model.passes = model.passes + 1
    return nn.functional.dropout(model.trunk(images), 0.3) * (1 + 0.01 * model.passes)


def partly_frozen(model, images):
    model.trunk[0].requires_grad_(False)
    return model.trunk(images)


FEATURES = (dropping, recomputing, drawing_backwards, drawing_always)


class Guessing(GramianWeighting):
    """Differentiates losses times what it draws, and remembers how often it was asked."""

    def __init__(self, tasks, *, on="parameters"):
        super().__init__(tasks, on=on)
        self.register_buffer("asked", torch.zeros(()))

    def task_losses(self, losses):
        self.asked = self.asked + 1
        return [(1 + torch.rand(()) + 0.1 * self.asked) * loss for loss in losses]

    def from_gramian(self, gramian, losses):
        return 1 / gramian.diagonal().sqrt()


class GuessingMatrix(MatrixWeighting):
    """The same with a direction."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.register_buffer("asked", torch.zeros(()))

    task_losses = Guessing.task_losses

    def from_gradients(self, gradients, losses):
        weights = 1 / gradients.norm(dim=1)
        return Direction(weights @ gradients, weights)


def made_up(size=SIZE):
    count, draw = BATCH * STEPS, torch.Generator().manual_seed(0)
    normals = torch.randn(count, 3, size, size, generator=draw)
    targets = {
        "semantic": torch.randint(-1, 3, (count, size, size), generator=draw).to(torch.int8),
        "depth": (torch.rand(count, 1, size, size, generator=draw) + 0.5).half(),
        "normals": (normals / normals.norm(dim=1, keepdim=True)).half(),
    }
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=draw)
    few = Split(images[:2], {name: values[:2] for name, values in targets.items()}, np.arange(2))
    return {"train": Split(images, targets, np.arange(count)), "val": few, "test": few}


def trained(interval, build, weigh, splits, monkeypatch, hardware=CPU, batch=BATCH, epochs=EPOCHS):
    """Epochs without what was sampled, and every tensor that training leaves.

    Args:
        build, weigh: make the model and the weighting.
        batch: pictures in each.
    """
    monkeypatch.setattr(diagnostics, "INTERVAL", interval or 10**6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model, weighting = build().to(memory_format=torch.channels_last), weigh()
        spec = RunSpec(
            dataset=Component(name="made-up", version=1, options={}),
            architecture=Component(name="made-up", version=1, options={}),
            weighting=Component(name="made-up", version=1, options={}),
            seed=0,
            protocol=Protocol(epochs=epochs, batch_size=batch, learning_rate=1e-2, evaluate_every=epochs),
        )
        trainer = Trainer(model, weighting, spec=spec, splits=splits, hardware=hardware)
        if interval == NEVER:
            monkeypatch.setattr(trainer.diagnostics, "due", lambda: False)
        done = []
        trainer.fit(done.append)
        left = torch.rand(4)  # what the generator would go on with
    sampled = sum(epoch.gradients.steps for epoch in done if epoch.gradients)
    state = {**model.state_dict(), **{f"weighting.{n}": v for n, v in weighting.state_dict().items()}, "left": left}
    return sampled, [epoch.model_copy(update={"gradients": None}) for epoch in done], state


def check_unseen(build, weigh, splits, monkeypatch, hardware=CPU, **options):
    never, expected, state = trained(NEVER, build, weigh, splits, monkeypatch, hardware, **options)
    assert never == 0
    for interval in (EVERY, SOME):
        sampled, epochs, found = trained(interval, build, weigh, splits, monkeypatch, hardware, **options)
        assert sampled > 0
        assert epochs == expected
        assert found.keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize("weighting", OURS)
def test_a_sampled_step_is_as_any_other_whatever_the_weighting(monkeypatch, weighting):
    check_unseen(
        lambda: Plugged(TASKS, plain),
        lambda: build_weighting(weighting, TASKS, **REQUIRED.get(weighting, {})),
        made_up(),
        monkeypatch,
    )


@pytest.mark.parametrize("weighting", ["mgda", "nash-mtl", "graddrop", "aligned-mtl"])
def test_a_sampled_step_is_as_any_other_at_the_representation(monkeypatch, weighting):
    check_unseen(
        lambda: Plugged(TASKS, plain),
        lambda: build_weighting(weighting, TASKS, on="representation"),
        made_up(),
        monkeypatch,
    )


@pytest.mark.parametrize(
    ("architecture", "weighting"),
    # Each kind of step is tried on the small network below; what an architecture adds, with one that sees gradients.
    [("split", "mgda"), ("split-deep", "gradnorm"), ("mtan", "mgda"), ("dense", "gradnorm"), ("cross-stitch", "mgda")],
)
def test_a_sampled_step_is_as_any_other_whatever_the_network(monkeypatch, architecture, weighting):
    backbone, size = ("segnet", LARGE) if architecture == "mtan" else ("unet-1-1-2", SIZE)  # a third of the layers
    check_unseen(
        lambda: build_model(architecture, TASKS, backbone=backbone, width=2),
        lambda: build_weighting(weighting, TASKS),
        made_up(size),
        monkeypatch,
    )


@pytest.mark.parametrize(
    ("feature", "weighting", "known"),
    [
        *((dropping, w, True) for w in (*KINDS, "mgda-ub")),
        *((f, w, True) for f in FEATURES if f is not dropping for w in ("mgda", "modo", "mgda-ub")),
        *((dropping, w, False) for w in ("equal", "famo", "mgda", "auto-lambda")),
        *((f, "mgda", False) for f in FEATURES if f is not dropping),
    ],
)
def test_a_sampled_step_is_as_any_other_in_networks_that_draw_and_recompute(monkeypatch, feature, known, weighting):
    check_unseen(
        lambda: Plugged(TASKS, feature, known), lambda: build_weighting(weighting, TASKS), made_up(), monkeypatch
    )


@pytest.mark.parametrize("weighting", ["equal", "famo"])
@pytest.mark.parametrize("known", [True, False])
def test_a_network_with_frozen_parameters_can_be_watched(monkeypatch, known, weighting):
    check_unseen(
        lambda: Plugged(TASKS, partly_frozen, known), lambda: build_weighting(weighting, TASKS), made_up(), monkeypatch
    )


@pytest.mark.parametrize(
    "weigh",
    [lambda: Guessing(TASKS), lambda: Guessing(TASKS, on="representation"), lambda: GuessingMatrix(TASKS)],
    ids=["parameters", "representation", "matrix"],
)
def test_a_weighting_that_draws_and_counts_is_not_asked_once_more(monkeypatch, weigh):
    check_unseen(lambda: Plugged(TASKS, dropping), weigh, made_up(), monkeypatch)


@pytest.mark.parametrize("hardware", [Hardware("cpu", "bf16", 1), Hardware("cpu", "fp32", 1, spills=True)])
@pytest.mark.parametrize("weighting", ["equal", "gradnorm", "mgda", "graddrop", "mgda-ub"])
def test_a_sampled_step_is_as_any_other_in_half_precision_and_with_spilled_activations(
    monkeypatch, hardware, weighting
):
    check_unseen(
        lambda: Plugged(TASKS, dropping), lambda: build_weighting(weighting, TASKS), made_up(), monkeypatch, hardware
    )


@pytest.mark.parametrize(
    ("architecture", "weighting"), [*(("split", name) for name in KINDS if name != "mgda"), ("mtan", "mgda")]
)
def test_a_sampled_step_is_as_any_other_where_tasks_have_their_own_pictures(toy, monkeypatch, architecture, weighting):
    dataset = build_dataset("toy-pair")
    dataset.prepare(Storage.default())
    splits = {split: dataset.load(split, Storage.default(), "cpu") for split in SPLITS}
    check_unseen(
        lambda: PerTaskInputModel(
            build_model(architecture, dataset.tasks, backbone="wrn-10", width=4), dataset.colours
        ),
        lambda: build_weighting(weighting, dataset.tasks),
        splits,
        monkeypatch,
        batch=12,  # two batches of one task's pictures, four of the other's
        epochs=1,
    )


# Evaluations, and what is kept of a run.


def outcome(architecture, *, every=1, keep=False, dataset="toy", **options):
    """Train losses and weights of each epoch, the last epoch's metrics, and the network that a run leaves."""
    build_dataset(dataset).prepare(Storage.default())
    spec = RunSpec(
        dataset=Component.from_registry(DATASETS, dataset),
        architecture=Component.from_registry(ARCHITECTURES, architecture, options),
        weighting=Component.from_registry(WEIGHTINGS, "rlw"),
        seed=0,
        protocol=Protocol(epochs=3, batch_size=6, learning_rate=1e-2, evaluate_every=every),
    )
    found = execute(
        spec, storage=Storage.default(), hardware=CPU, watcher=Watcher(keep_predictions=keep, keep_model=True)
    )
    assert found.record.status == "ok", found.record.error
    curves = [(epoch.losses["train"], epoch.weights) for epoch in found.record.curves]
    network = {name: value for name, value in found.predictions.items() if isinstance(name, OfNetwork)}
    return found, (curves, found.record.curves[-1].metrics, network)


def check_equal(one, other):
    assert one[:2] == other[:2]
    assert one[2].keys() == other[2].keys()
    for name, value in one[2].items():
        assert np.array_equal(value, other[2][name]), name


NETWORKS = [("mtan", {"backbone": "unet-1-2", "width": 2}), ("forgetful", {}), ("restless", {})]


@pytest.mark.parametrize(("architecture", "options"), NETWORKS[1:])
def test_evaluations_change_nothing(toy, architecture, options):
    _, often = outcome(architecture, every=1, **options)
    for every in (2, 3):
        check_equal(often, outcome(architecture, every=every, **options)[1])


@pytest.mark.parametrize(("architecture", "options"), NETWORKS)
def test_what_is_kept_of_a_run_changes_nothing(toy, monkeypatch, architecture, options):
    _, plain = outcome(architecture, **options)
    check_equal(plain, outcome(architecture, keep=True, **options)[1])
    # Neither operations counted, nor pictures, nor masks.
    monkeypatch.setattr("benchmark.training.run.forward_flops", lambda model, pictures: 0)
    monkeypatch.setattr("benchmark.training.run.pictured", lambda *arguments, **options: None)
    check_equal(plain, outcome(architecture, **options)[1])


def test_kept_predictions_are_those_that_were_judged(toy):
    """Also of a network that draws when it is judged: whoever recomputes its metrics finds them."""
    found, (_, metrics, _) = outcome("restless", keep=True)
    dataset = build_dataset("toy")
    test = dataset.load("test", Storage.default(), "cpu")
    (task,) = [task for task in dataset.tasks if task.name == "semantic"]
    accumulator = task.accumulator(torch.device("cpu"))
    decided = torch.from_numpy(found.predictions[OfSplit("test", "semantic")])
    accumulator.update(task.definition.undecide(decided, task.channels), test.targets["semantic"])
    assert accumulator.compute() == metrics["test"]["semantic"]
