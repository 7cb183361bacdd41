"""What a network may give beside its predictions: auxiliary ones, a regulariser, and a schedule told by epoch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.errors import UsageError
from benchmark.model import Auxiliary, MultiTaskModel, Predictions
from benchmark.training.contract import begin_epoch
from benchmark.training.forward import losses_of, predict, scaled
from benchmark.training.hardware import Hardware
from benchmark.training.steps.choice import choose_step
from benchmark.training.steps.step import StepContext
from tests.benchmark.test_steps import TASKS, Sampled, Small, a_batch, built, close, gradients_of, rows_of

CPU = Hardware("cpu", "fp32", 1)
AROUND = StepContext(lambda split: a_batch(seed=1), lambda: 0.1)
#: One weighting for each kind of step.
KINDS = (None, "equal", "uncertainty", "famo", "gradnorm", "auto-lambda", "mgda", "graddrop", "sampled", "mgda-ub")
WEIGHT = 0.3


class Rich(Small):
    """Small with a coarse further prediction a task, and a regulariser over shared and own parameters and pictures."""

    regularised = True

    def __init__(self, tasks, has_representation):
        super().__init__(tasks)
        self.has_representation = has_representation
        self.further = nn.ModuleDict({task.name: nn.Conv2d(4, task.channels, 1) for task in tasks})

    def predict(self, representation, tasks=None):
        found = super().predict(representation, tasks)
        if not self.training:
            return found
        further = [Auxiliary("coarse", t.name, self.coarse(t, representation), WEIGHT) for t in self.tasks]
        return Predictions(found, further, self.term(representation) if self.regularised else None)

    def coarse(self, task, feature):
        """Nothing but the feature is common to two tasks."""
        return self.further[task.name](F.avg_pool2d(feature, 2))

    def term(self, feature):
        heads = sum(head.weight.square().sum() for head in self.heads.values())
        return 0.1 * heads + 0.5 * feature.square().mean()

    def task_parameters(self, task):
        return [*super().task_parameters(task), *self.further[task].parameters()]


def a_model(has_representation=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Rich(TASKS, has_representation)


def taken(kind, regularised, has_representation):
    """A model with the gradients of one step, and what the step left."""
    model = a_model(has_representation)
    model.regularised = regularised
    weighting = Sampled(TASKS) if kind == "sampled" else kind and built(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return model, choose_step(model, weighting, CPU, AROUND)(a_batch(), diagnose=True)


def by_hand(model):
    """The tasks' losses, and the regulariser."""
    batch = a_batch()
    feature = model.representation(scaled(batch.images, model.memory_format))
    losses = []
    for task in TASKS:
        target = batch.targets[task.name]
        coarse = F.interpolate(model.coarse(task, feature), (8, 8), mode="bilinear")
        main = task.loss(task.finish(model.heads[task.name](feature)), target)
        losses.append(main + WEIGHT * task.loss(task.finish(coarse), target))
    return losses, model.term(feature)


def main_losses(model):
    """Without the further predictions."""
    batch = a_batch()
    found = Small.predict(model, model.representation(scaled(batch.images, model.memory_format)))
    return [task.loss(found[task.name], batch.targets[task.name]) for task in TASKS]


@pytest.mark.parametrize("has_representation", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_regulariser_enters_every_gradient_once_and_no_loss(kind, has_representation):
    if kind == "mgda-ub" and not has_representation:
        pytest.skip("it needs a representation")
    model, result = taken(kind, True, has_representation)
    plain, expected = taken(kind, False, has_representation)
    losses, term = by_hand(plain)
    extra = gradients_of(term, list(plain.parameters()))
    assert sum(bool(g.any()) for g in extra) == 7  # two layers of the trunk, and three heads' weights
    close(result.losses, expected.losses)
    if kind:
        close(result.gramian, expected.gramian)
    if kind == "auto-lambda":  # which looks at where the step leads
        total = sum(w * loss for w, loss in zip(result.weights, losses, strict=True))
        wanted = gradients_of(total, list(plain.parameters()))
    else:
        close(result.weights.nan_to_num(), expected.weights.nan_to_num())
        wanted = [p.grad for p in plain.parameters()]
    for parameter, gradient, more in zip(model.parameters(), wanted, extra, strict=True):
        close(parameter.grad, gradient + more)


@pytest.mark.parametrize("kind", KINDS)
def test_auxiliary_losses_are_kept_of_the_steps_own_pass_alone(kind):
    """Also of a step that looks at a part of its batch at a time, or at another batch, or again."""
    model = a_model()
    weighting = Sampled(TASKS) if kind == "sampled" else kind and built(kind)
    step = choose_step(model, weighting, CPU, AROUND)
    expected = [(whole - main) / WEIGHT for whole, main in zip(by_hand(model)[0], main_losses(model), strict=True)]
    for _ in range(2):
        step.auxiliary.begin()
        step(a_batch(), diagnose=True)
        if weighting is not None:
            step.after(a_batch())
        assert step.auxiliary.keys == [("coarse", task.name) for task in TASKS]
        close(step.auxiliary.values, torch.stack(expected).detach())


@pytest.mark.parametrize("kind", ["equal", "mgda", "mgda-ub"])
def test_auxiliary_losses_are_part_of_their_tasks_loss(kind):
    model, result = taken(kind, True, True)
    losses, _ = by_hand(model)
    close(result.losses, torch.stack(losses).detach())
    rows = rows_of(losses, list(model.trunk.parameters()))
    close(result.gramian, rows @ rows.T)
    for task, loss in zip(TASKS, losses, strict=True):
        own = list(model.further[task.name].parameters())
        for parameter, gradient in zip(own, gradients_of(loss, own), strict=True):
            close(parameter.grad, gradient)


def test_evaluation_sees_the_tasks_own_predictions_alone():
    model, batch = a_model(), a_batch()
    assert type(predict(model.eval(), batch.images)) is dict


def test_where_tasks_have_their_own_pictures_all_is_gathered():
    class OneByOne(Rich):
        def predict(self, representation, tasks=None):
            found = super().predict(representation)
            (name,) = tasks
            further = [one for one in found.auxiliary if one.task == name]
            return Predictions({name: found[name]}, further, self.heads[name].weight.square().sum())

    model = OneByOne(TASKS, has_representation=False)
    batches = {task.name: a_batch(seed=k) for k, task in enumerate(TASKS)}
    found = predict(model, {name: batch.images for name, batch in batches.items()})
    targets = {name: batch.targets[name] for name, batch in batches.items()}
    assert [one.task for one in found.auxiliary] == list(found) == list(targets)
    close(found.regulariser.detach(), sum(h.weight.detach().square().sum() for h in model.heads.values()))
    apart = [
        losses_of([task], Predictions({task.name: found[task.name]}, [one]), targets)[0][0]
        for task, one in zip(TASKS, found.auxiliary, strict=True)
    ]
    close(torch.stack(losses_of(TASKS, found, targets)[0]).detach(), torch.stack(apart).detach())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda x: {"auxiliary": [Auxiliary("low", "dept", x[:, :1])]},
            r"'low' must be of one of the tasks 'semantic'",
        ),
        (lambda x: {"auxiliary": [Auxiliary("low", "depth", x)]}, r"'low' of 'depth' must be .* \(6, 1, h, w\); found"),
        (lambda x: {"auxiliary": [Auxiliary("low", "depth", x[:, :1], -1.0)]}, r"a finite weight from 0; found -1"),
        (lambda x: {"regulariser": x}, "the regulariser must be a scalar with graph; found a tensor of shape"),
    ],
)
def test_what_breaks_the_contract_is_told(made, message):
    class Wrong(Small):
        def forward(self, images, tasks=None):
            feature = self.representation(images)
            return Predictions(self.predict(feature), **made(feature))

    with pytest.raises(UsageError, match=message):
        choose_step(Wrong(TASKS), built("equal"), CPU, AROUND)(a_batch(), diagnose=False)


class Annealed(MultiTaskModel):
    """A temperature that is written where it lies, or not."""

    def __init__(self, in_place):
        super().__init__(TASKS)
        self.in_place = in_place
        self.register_buffer("temperature", torch.ones(()))

    def begin_epoch(self, epoch, epochs):
        value = 1 - epoch / epochs
        if self.in_place:
            self.temperature.fill_(value)
        else:
            self.temperature = torch.tensor(value)

    def forward(self, images, tasks=None):
        return {}

    def task_parameters(self, task):
        return []


def test_a_schedule_is_told_by_epoch():
    model = Annealed(in_place=True)
    begin_epoch(model, 3, 4)
    assert model.temperature == 0.25


def test_a_schedule_that_recorded_steps_would_not_see_is_refused():
    with pytest.raises(UsageError, match=r"must write into its buffers in place, .* 'temperature' is a new one"):
        begin_epoch(Annealed(in_place=False), 1, 4)
