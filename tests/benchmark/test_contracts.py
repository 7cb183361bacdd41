"""What the training loop promises foreign methods, and what it asks of them before it believes them."""

import pytest
import torch
from torch import nn

from benchmark import WEIGHTINGS
from benchmark.data import SPLITS, PerTaskInputSplit, Split, build_dataset
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.tasks import KINDS
from benchmark.training.engine import Trainer
from benchmark.training.forward import check_channels
from benchmark.training.optimizer import parameter_groups
from benchmark.training.steps.choice import choose_step
from benchmark.weighting import (
    Direction,
    GramianWeighting,
    MatrixWeighting,
    NormWeighting,
    SampledWeighting,
    Weighting,
    aggregate,
)
from tests.benchmark.test_steps import (
    AROUND,
    CPU,
    TASKS,
    Sampled,
    Signs,
    a_batch,
    a_model,
    built,
    gradients_of,
    plain_losses,
    take,
)
from tests.options import REQUIRED

SPEC = RunSpec(
    dataset=Component(name="workload", version=1, options={}),
    architecture=Component(name="small", version=1, options={}),
    weighting=None,
    seed=0,
    protocol=Protocol(epochs=1, batch_size=6),
)
#: What of a network is frozen: some of what is shared, a head, both, or a task with all that only it has.
FROZEN = {
    "a shared layer": ("trunk.0.weight", "trunk.0.bias"),
    "the last shared layer": ("trunk.2.weight", "trunk.2.bias"),
    "a head": ("heads.depth.weight", "heads.depth.bias"),
    "layer and head": ("trunk.0.weight", "trunk.2.bias", "heads.normals.weight"),
    "all heads": tuple(f"heads.{task.name}.{what}" for task in TASKS for what in ("weight", "bias")),
}
BACKBONE = ("trunk.0.weight", "trunk.0.bias", "trunk.2.weight", "trunk.2.bias")


class Branched(MultiTaskModel):
    """``Small`` without a single feature."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.inner = a_model(tasks)

    def forward(self, images, tasks=None):
        return self.inner(images, tasks)

    def task_parameters(self, task):
        return self.inner.task_parameters(task)

    def named_parameters(self, *arguments, **options):
        return self.inner.named_parameters(*arguments, **options)


def frozen(names, kind=a_model):
    model = kind(TASKS)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    return model


def a_split(batch=None):
    batch = batch or a_batch()
    return Split(batch.images, dict(batch.targets), torch.arange(len(batch)).numpy())


def a_trainer(model, weighting):
    return Trainer(model, weighting, spec=SPEC, splits=dict.fromkeys(SPLITS, a_split()), hardware=CPU)


def bits(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


#: A weighting of each kind of step.
STEPS = [
    (None, {}),
    ("uncertainty", {}),
    ("famo", {}),
    ("gradnorm", {}),
    ("auto-lambda", {}),
    ("mgda", {}),
    ("graddrop", {}),
    ("modo", {}),
    ("imtl", {}),
    ("mgda", {"on": "representation"}),
]


def check_training(model, weighting, names):
    before = bits(model)
    trainer = a_trainer(model, weighting)
    for diagnose in (True, False, False):
        trainer.advance(trainer.batches.next(), diagnose)
    for key, value in bits(model).items():
        assert torch.equal(value, before[key]) == (key in names), key
    assert all(parameter.requires_grad for parameter in trainer.parameters())
    trained = sum(value.numel() for key, value in before.items() if key not in names)
    assert parameter_groups(trainer.optimizer, SPEC.protocol)[0].parameters == trained


@pytest.mark.parametrize("kind", [a_model, Branched])
@pytest.mark.parametrize("names", FROZEN.values(), ids=FROZEN)
@pytest.mark.parametrize(("name", "options"), STEPS)
def test_what_requires_gradients_is_trained_and_nothing_else(name, options, names, kind):
    if kind is Branched and options:
        pytest.skip("takes gradients at the representation, and there is none")
    check_training(frozen(names, kind), built(name, **options) if name else None, names)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_every_weighting_trains_a_network_that_is_frozen_in_part(name):
    names = FROZEN["layer and head"]
    check_training(frozen(names), built(name, **REQUIRED.get(name, {})), names)


@pytest.mark.parametrize("names", FROZEN.values(), ids=FROZEN)
@pytest.mark.parametrize("weighting", [None, "equal", "gradnorm", "mgda", Signs, Sampled])
def test_gradients_are_those_of_autograd_where_something_is_frozen(weighting, names):
    """Each kind of step: the gradients of a network that is trained as a whole, at what is trained."""
    free, model = a_model(), frozen(names)
    for one in (free, model):
        torch.manual_seed(0)
        method = built(weighting) if isinstance(weighting, str) else weighting and weighting(TASKS)
        take(one, method)
    expected = dict(free.named_parameters())
    for key, parameter in model.named_parameters():
        if key in names:
            assert parameter.grad is None
        elif weighting not in ("gradnorm", "mgda") or key.startswith("heads"):  # what is frozen changes their weights
            scale = expected[key].grad.norm()
            assert torch.allclose(parameter.grad, expected[key].grad, atol=1e-5 * float(scale)), key


@pytest.mark.parametrize("name", ["equal", "uncertainty", "dwa", "famo", "auto-lambda"])
def test_heads_alone_are_trained_by_losses(name):
    check_training(frozen(BACKBONE), built(name), BACKBONE)


@pytest.mark.parametrize(
    ("name", "options"),
    [("gradnorm", {}), ("mgda", {}), ("mgda", {"on": "representation"}), ("graddrop", {}), ("modo", {})],
)
def test_gradients_of_a_frozen_backbone_are_refused_in_one_line(name, options):
    with pytest.raises(UsageError, match=r"shared parameter.* frozen.*losses"):
        a_trainer(frozen(BACKBONE), built(name, **options))


def test_a_network_that_is_frozen_as_a_whole_is_refused():
    names = [name for name, _ in a_model().named_parameters()]
    with pytest.raises(UsageError, match="nothing to train"):
        a_trainer(frozen(names), built("equal"))


def test_the_norms_are_those_at_the_last_shared_layer_that_is_trained():
    class Norms(NormWeighting):
        def weights(self, losses):
            return torch.ones_like(losses)

        def observe(self, norms, losses):
            self.norms = norms

    for kind in (a_model, Branched):
        model, batch, weighting = frozen(FROZEN["the last shared layer"], kind), a_batch(), Norms(TASKS)
        layer = dict(model.named_parameters())["trunk.0.weight"]
        take(model, weighting, batch)
        lengths = [gradients_of(loss, [layer])[0].norm() for loss in plain_losses(model, batch)]
        assert torch.allclose(weighting.norms, torch.stack(lengths), rtol=1e-4)


class Writes:
    """A rule that writes into whatever it is given."""

    def spoil(self, *given):
        for tensor in given:
            with torch.no_grad():
                tensor.mul_(-7)


class WritesLosses(Writes, Weighting):
    evaluates_again = True

    def weights(self, losses):
        found = torch.ones_like(losses)
        self.spoil(losses)
        return found

    def objective(self, losses, weights):
        found = (weights * losses).sum()
        self.spoil(losses.detach())
        return found

    def after_step(self, losses):
        self.spoil(losses)


class WritesNorms(Writes, NormWeighting):
    def weights(self, losses):
        self.shown = torch.ones_like(losses)
        return self.shown

    def observe(self, norms, losses):
        self.spoil(norms, losses, self.shown)


class WritesGramian(Writes, GramianWeighting):
    def from_gramian(self, gramian, losses):
        self.spoil(gramian, losses)
        return torch.ones(len(losses), dtype=torch.float64)

    def task_losses(self, losses):
        found = [2 * loss for loss in losses]
        self.spoil(*(loss.detach() for loss in losses))
        losses.clear()
        return found


class WritesMatrix(Writes, MatrixWeighting):
    def from_gradients(self, gradients, losses):
        found = gradients.sum(0)
        self.spoil(gradients, losses)
        return Direction(found, torch.ones_like(losses))


class WritesProducts(Writes, SampledWeighting):
    def from_products(self, products, losses):
        self.spoil(products, losses)
        return torch.ones(len(losses), dtype=torch.float64)


@pytest.mark.parametrize("kind", [WritesLosses, WritesNorms, WritesGramian, WritesMatrix, WritesProducts])
@pytest.mark.parametrize("on", ["parameters", "representation"])
def test_what_a_method_is_given_is_its_own(kind, on):
    """What it writes there changes neither what is recorded nor what is trained."""
    if on == "representation" and kind not in (WritesGramian, WritesMatrix):
        pytest.skip("takes no gradients at the representation")

    class Reads(kind):
        def spoil(self, *given):
            pass

    found = []
    for method in (kind, Reads):
        model, weighting = a_model(), method(TASKS)
        weighting.on = on
        batch = a_batch()
        step = choose_step(model, weighting, CPU, AROUND)
        results = [step(batch, True)]
        step.after(batch)
        found.append((results[0], [p.grad.clone() for p in model.parameters()], batch))
    (one, gradients, batch), (other, expected, _) = found
    assert torch.equal(one.losses, other.losses)
    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.gramian, other.gramian)
    assert all(map(torch.equal, gradients, expected))
    assert all(map(torch.equal, batch.tensors(), a_batch().tensors()))


def test_the_former_name_of_allocate_works():
    class Former(Signs):
        allocate = MatrixWeighting.allocate

        def sized(self, columns):
            super().sized(columns)
            self.columns = columns

    weighting = Former(TASKS)
    with pytest.warns(DeprecationWarning, match="'allocate' now"):
        take(a_model(), weighting)
    assert weighting.columns > 0
    with pytest.warns(DeprecationWarning, match="'allocate' now"):
        (signs := Signs(TASKS)).sized(3)
    assert signs.columns == 3


@pytest.mark.usefixtures("own_methods")
def test_aggregate_leaves_what_it_is_given():
    WEIGHTINGS.register("writes-losses-of-aggregate")(WritesLosses)
    gradients, losses = torch.eye(2, 3, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    aggregate("writes-losses-of-aggregate", gradients, losses=losses)
    assert losses.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("what", ["loss", "accumulator"])
def test_a_kind_of_task_that_writes_into_targets_is_named(monkeypatch, what):
    kind = type(KINDS["depth"])
    if what == "loss":
        plain = kind.loss

        def loss(self, prediction, target):
            target.clamp_(max=1)
            return plain(self, prediction, target)

        monkeypatch.setattr(kind, "loss", loss)
    else:
        accumulator = kind.accumulator

        def spoiling(self, channels, device):
            found = accumulator(self, channels, device)
            update = found.update

            def spoiled(prediction, target):
                update(prediction, target)
                prediction.zero_()

            found.update = spoiled
            return found

        monkeypatch.setattr(kind, "accumulator", spoiling)
    trainer = a_trainer(a_model(), built("equal"))
    with pytest.raises(UsageError, match="'depth' writes into"):
        trainer.fit(lambda _: None)


class Misdeclared(MultiTaskModel):
    """A shared trunk that is declared as one task's."""

    def __init__(self, tasks, wrong="trunk"):
        super().__init__(tasks)
        self.inner, self.wrong = a_model(tasks), wrong

    def forward(self, images, tasks=None):
        found = self.inner(images, tasks)
        return {name: value for name, value in found.items() if tasks is None or name in tasks}

    def task_parameters(self, task):
        own = list(self.inner.heads[task].parameters())
        match self.wrong:
            case "trunk" if task == "semantic":
                return own + list(self.inner.trunk.parameters())
            case "twice" if task != "semantic":
                return own + list(self.inner.heads["semantic"].parameters())
            case "foreign" if task == "depth":
                return [*own, nn.Parameter(torch.zeros(2))]
        return own


@pytest.mark.parametrize("name", [None, "equal", "gradnorm", "auto-lambda", "mgda", "graddrop", "modo"])
def test_a_trunk_that_is_said_to_be_one_tasks_is_refused(name):
    model = Misdeclared(TASKS)
    trainer = a_trainer(model, built(name) if name else None)
    with pytest.raises(UsageError, match=r"inner\.trunk\.0\.weight.*task_parameters\('semantic'\).*'depth'"):
        trainer.advance(trainer.batches.next())


@pytest.mark.parametrize(
    ("wrong", "words"), [("twice", r"inner\.heads\.semantic\.weight.*two tasks"), ("foreign", "not among")]
)
def test_a_parameter_belongs_to_one_task_and_to_the_network(wrong, words):
    with pytest.raises(UsageError, match=words):
        a_trainer(Misdeclared(TASKS, wrong), built("equal"))


def test_a_feature_that_is_passed_by_is_found():
    """Shared parameters that reach losses beside the one feature would get no gradient."""

    class Bypassed(type(a_model())):
        def __init__(self, tasks):
            super().__init__(tasks)
            self.scale = nn.Parameter(torch.ones(()))

        def predict(self, representation, tasks=None):
            found = super().predict(representation, tasks)
            return {name: value * self.scale if name != "normals" else value for name, value in found.items()}

    trainer = a_trainer(Bypassed(TASKS), built("mgda", on="representation"))
    with pytest.raises(UsageError, match=r"'scale'.*representation"):
        trainer.advance(trainer.batches.next())
    trainer = a_trainer(Bypassed(TASKS), built("mgda"))
    trainer.advance(trainer.batches.next())


def test_the_check_of_a_declaration_works_where_tasks_have_their_own_pictures():
    batch = a_batch()
    parts = {name: Split(batch.images, {name: t}, torch.arange(6).numpy()) for name, t in batch.targets.items()}
    split = PerTaskInputSplit(parts)
    for wrong, refused in (("trunk", True), ("", False)):
        model = Misdeclared(TASKS, wrong)
        trainer = Trainer(model, built("equal"), spec=SPEC, splits=dict.fromkeys(SPLITS, split), hardware=CPU)
        if refused:
            with pytest.raises(UsageError, match=r"inner\.trunk"):
                trainer.advance(trainer.batches.next())
        else:
            trainer.advance(trainer.batches.next())


@pytest.mark.parametrize("channels", [2, 4])
def test_pictures_of_other_channels_are_refused_before_the_start(channels, monkeypatch, toy):
    dataset = build_dataset("toy")
    monkeypatch.setattr(type(dataset), "image_shape", (channels, 32, 32))
    with pytest.raises(UsageError, match=rf"'toy' has pictures of {channels} channels.*1.*3"):
        check_channels(build_dataset("toy"))


def test_grey_and_coloured_pictures_are_taken(toy):
    for name in ("toy", "toy-words", "toy-pair"):
        check_channels(build_dataset(name))
