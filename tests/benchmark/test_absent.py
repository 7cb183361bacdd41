"""Tasks without a label in a batch: no method sees them, and no mean counts them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import benchmark
from benchmark.data import SPLITS, Split
from benchmark.presence import Presence
from benchmark.registry import WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.tasks import Task
from benchmark.training.batch import labelled_samples, training_batches
from benchmark.training.checkpoint import restore, snapshot
from benchmark.training.diagnostics import GradientDiagnostics
from benchmark.training.engine import Pass, Trainer
from benchmark.training.evaluation import evaluate
from benchmark.training.steps.choice import choose_step
from benchmark.training.steps.step import StepContext
from benchmark.weighting import GramianWeighting, Weighting
from tests.benchmark.test_steps import AROUND, CPU, TASKS, Small, a_batch, a_model, close
from tests.benchmark.test_waiting import Reads

PRESENT = (TASKS[0], TASKS[2])
GONE = "depth"
NAMES = [n for n in WEIGHTINGS if WEIGHTINGS[n].factory.__module__.startswith("baselines.")]
PLACES = [n for n in NAMES if "on" in WEIGHTINGS[n].defaults]
CASES = [(n, {}) for n in NAMES] + [(n, {"on": "representation"}) for n in PLACES]
#: With the weight 1 for each task, however many there are.
EVEN = {"constant": lambda count: {"weights": [1 / count] * count}, "samo": lambda count: {"of": "fairgrad"}}


def built(name, tasks, options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return benchmark.build_weighting(name, tasks, **options, **EVEN.get(name, lambda count: {})(len(tasks)))


def without(batch, *names):
    """The batch with no label of these tasks."""
    unknown = {"semantic": -1, "depth": 0, "normals": 0}
    targets = {n: torch.full_like(t, unknown[n]) if n in names else t for n, t in batch.targets.items()}
    return replace(batch, targets=targets, labelled={n: np.zeros(len(batch), bool) for n in names})


def part_of(model):
    """A network of the present tasks alone, with the same numbers."""
    small = Small(PRESENT)
    small.load_state_dict({n: v for n, v in model.state_dict().items() if f"heads.{GONE}" not in n})
    return small


class Runner:
    """Plain gradient descent on batches of a seed."""

    def __init__(self, model, weighting, other):
        self.model, self.weighting = model, weighting
        self.step = choose_step(model, weighting, CPU, StepContext(lambda split: other, lambda: 0.1))

    def __call__(self, batch):
        self.model.zero_grad()
        self.weighting.zero_grad()
        result = self.step(batch, False)
        with torch.no_grad():
            for parameter in (*self.model.parameters(), *self.weighting.parameters()):
                if parameter.grad is not None:
                    parameter -= 0.05 * parameter.grad
        self.step.after(batch)
        return result


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_step_is_what_it_would_be_without_the_absent_task(name, options):
    whole = a_model()
    part = part_of(whole)
    head = [p.detach().clone() for p in whole.task_parameters(GONE)]
    one = Runner(whole, built(name, TASKS, options), without(a_batch(seed=9), GONE))
    other = Runner(part, built(name, PRESENT, options), a_batch(seed=9))
    for seed in range(3):
        batch = a_batch(seed=seed)
        found, expected = one(without(batch, GONE)), other(batch)
        close(found.losses[[0, 2]], expected.losses)
        torch.testing.assert_close(found.weights[[0, 2]], expected.weights, rtol=1e-3, atol=1e-6, equal_nan=True)
        assert found.losses[1] == found.weights[1] == 0
        assert found.present.places == (0, 2)
    kept = whole.state_dict()
    for place, value in part.state_dict().items():
        torch.testing.assert_close(kept[place], value, rtol=1e-3, atol=1e-5)
    for parameter, before in zip(whole.task_parameters(GONE), head, strict=True):
        assert torch.equal(parameter, before)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_method_keeps_of_an_absent_task_stays(name):
    weighting = built(name, TASKS, {})
    run = Runner(a_model(), weighting, a_batch(seed=9))
    run(a_batch())
    before = {n: t.detach().clone() for n, t in weighting.state_dict().items()}
    run(without(a_batch(seed=1), GONE))
    for place, tensor in weighting.state_dict().items():
        if tensor.dim() and len(tensor) == len(TASKS):
            torch.testing.assert_close(tensor[1], before[place][1], rtol=0, atol=0, equal_nan=True, msg=place)
    assert weighting.present == Presence.everyone(3)
    assert weighting.tasks == TASKS


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_batch_without_any_label_moves_nothing(name, options):
    weighting, model = built(name, TASKS, options), a_model()
    run = Runner(model, weighting, a_batch(seed=9))
    before = [t.detach().clone() for t in (*model.parameters(), *weighting.state_dict().values())]
    result = run(without(a_batch(), *(task.name for task in TASKS)))
    assert result.weights.tolist() == [0, 0, 0]
    for tensor, old in zip((*model.parameters(), *weighting.state_dict().values()), before, strict=True):
        torch.testing.assert_close(tensor.detach(), old, rtol=0, atol=0, equal_nan=True)


class Product(Weighting):
    """A plugin's: no weighted sum, and nothing known of absent tasks."""

    def weights(self, losses):
        return losses.log().exp() / len(self.tasks)

    def objective(self, losses, weights):
        return losses.log().mean().exp()


class Scales(Weighting):
    """A plugin's that learns a number for each task."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.scales = nn.Parameter(torch.zeros(len(tasks)))

    def weights(self, losses):
        return self.scales.exp()

    def objective(self, losses, weights):
        return (weights * losses).sum() - self.scales.sum()


class Shortest(GramianWeighting):
    """A plugin's that gives all weight to the shortest gradient."""

    def from_gramian(self, gramian, losses):
        return (gramian.diagonal() == gramian.diagonal().min()).double() / len(self.tasks)


class Counting(GramianWeighting):
    """A plugin's with a number for each task."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.register_buffer("counts", torch.zeros(len(tasks), dtype=torch.float64))

    def from_gramian(self, gramian, losses):
        self.counts += 1
        return self.counts / len(self.counts)


@pytest.mark.parametrize("factory", [Product, Scales, Shortest])
def test_a_method_that_knows_nothing_of_it_sees_the_present_tasks(factory):
    whole = a_model()
    part = part_of(whole)
    one, other = Runner(whole, factory(TASKS), None), Runner(part, factory(PRESENT), None)
    for seed in range(2):
        batch = a_batch(seed=seed)
        found, expected = one(without(batch, GONE)), other(batch)
        close(found.weights[[0, 2]], expected.weights)
        assert found.weights[1] == 0
    for place, value in part.state_dict().items():
        torch.testing.assert_close(whole.state_dict()[place], value, rtol=1e-4, atol=1e-6)
    for learned in one.weighting.parameters():
        assert learned[1] == 0


def test_a_method_that_keeps_something_by_task_and_knows_nothing_of_it_sees_all():
    run = Runner(a_model(), Counting(TASKS), None)
    assert run(without(a_batch(), GONE)).weights.tolist() == pytest.approx([1 / 3, 0, 1 / 3])


def test_a_sampled_step_takes_the_tasks_that_every_part_has_a_label_of():
    batch = a_batch()
    batch.targets["depth"][2:] = 0
    batch = replace(batch, labelled={"depth": np.arange(6) < 2})
    model, plain = a_model(), a_model()
    result = choose_step(model, built("modo", TASKS, {}), CPU, AROUND)(batch, False)
    assert result.weights[1] == 0
    assert result.weights.sum() == pytest.approx(1)
    assert result.present.all
    # The loss and the head's gradient are means over the pictures that have a label: the first part's.
    loss = TASKS[1].loss(plain(batch.images / 255)["depth"][:2], batch.targets["depth"][:2])
    close(result.losses[1], loss.detach())
    for found, parameter in zip(model.task_parameters("depth"), plain.task_parameters("depth"), strict=True):
        close(found.grad, torch.autograd.grad(loss, parameter, retain_graph=True)[0])


# What a batch knows.


def test_each_kind_of_task_knows_which_samples_are_labelled():
    some = torch.zeros(3, 3, 2, 2).half()
    some[1, 2, 0, 1] = -1
    assert TASKS[2].definition.labelled(some, 3).tolist() == [False, True, False]
    depth = torch.tensor([0.0, -1, 2, torch.nan]).view(4, 1, 1, 1)
    assert TASKS[1].definition.labelled(depth, 1).tolist() == [False, False, True, False]
    classes = torch.tensor([[[-1, -1]], [[-1, 0]]]).to(torch.int8)
    assert TASKS[0].definition.labelled(classes, 3).tolist() == [False, True]
    word = Task("word", "classification", 2)
    assert word.definition.labelled(torch.tensor([1, -1, 0]).to(torch.int16), 2).tolist() == [True, False, True]


COUNT = 12


def a_split(labelled):
    """Depth is known of the given pictures alone."""
    batch = a_batch(COUNT)
    batch.targets["depth"][~torch.tensor(labelled)] = 0
    return Split(batch.images, batch.targets, np.arange(COUNT))


def a_spec(**protocol):
    return RunSpec(
        dataset=Component(name="made-up", version=1, options={}),
        architecture=Component(name="small", version=1, options={}),
        weighting=None,
        seed=0,
        protocol=Protocol(epochs=1, batch_size=2, **protocol),
    )


def test_a_batch_knows_its_labels():
    split = a_split(np.arange(COUNT) < 5)
    batches = training_batches(split, a_spec(), labels=labelled_samples(split, TASKS))
    found = list(batches)
    for batch in found:
        assert (1 in batch.presence(TASKS).places) == bool((batch.targets["depth"] > 0).any())
    assert 0 < sum(batch.presence(TASKS).all for batch in found) < len(found)
    assert labelled_samples(a_split(np.ones(COUNT, bool)), TASKS) == {}


# Means.


class Watching(Weighting):
    """Ones; remembers what it is told."""

    def weights(self, losses):
        return torch.ones_like(losses)

    def epoch_end(self, train_losses):
        self.told = train_losses


def trained(monkeypatch, labelled, weighting, **protocol):
    split = a_split(labelled)
    trainer = Trainer(a_model(), weighting, spec=a_spec(**protocol), splits=dict.fromkeys(SPLITS, split), hardware=CPU)
    records, steps = [], []
    add = Pass.add

    def kept(self, result, *auxiliary):
        steps.append(result)
        add(self, result, *auxiliary)

    monkeypatch.setattr(Pass, "add", kept)
    trainer.fit(records.append)
    return records, steps


def test_means_are_over_the_steps_with_a_label(monkeypatch):
    labelled = np.arange(COUNT) < 3
    weighting = Watching(TASKS)
    (record,), steps = trained(monkeypatch, labelled, weighting)
    own = [step.losses[1].item() for step in steps if step.present.all]
    assert 0 < len(own) < len(steps)
    assert record.losses["train"]["depth"] == pytest.approx(np.mean(own))
    assert weighting.told[1].item() == pytest.approx(np.mean(own))
    assert record.losses["train"]["semantic"] == pytest.approx(np.mean([step.losses[0].item() for step in steps]))
    assert record.weights == {"semantic": 1, "depth": 1, "normals": 1}


def test_a_task_that_never_comes_has_no_mean_and_ends_no_run(monkeypatch):
    weighting = Watching(TASKS)
    records, _ = trained(monkeypatch, np.zeros(COUNT, bool), weighting)
    assert len(records) == 1
    assert records[0].losses["train"]["depth"] is records[0].weights["depth"] is None
    assert weighting.told.isnan().tolist() == [False, True, False]


def test_means_go_on_from_where_a_run_stopped():
    split = a_split(np.arange(COUNT) < 3)

    def made():
        return Trainer(a_model(), None, spec=a_spec(), splits=dict.fromkeys(SPLITS, split), hardware=CPU)

    whole, first, second = made(), made(), made()

    class Stop(Exception):
        pass

    def stop():
        if first.under_way is not None and first.under_way.done == 3:
            raise Stop

    records = []
    with pytest.raises(Stop):
        first.fit(records.append, stop)
    restore(second, snapshot(first))
    whole.fit(records.append)
    second.fit(records.append)
    assert records[0].losses == records[1].losses
    assert records[0].gradients == records[1].gradients


def test_dwa_takes_constant_losses_as_constant():
    weighting = benchmark.build_weighting("dwa", TASKS)
    for means in ([1.0, 2.0, 3.0], [1.0, float("nan"), 3.0], [1.0, 2.0, 3.0]):
        weighting.epoch_end(torch.tensor(means))
        assert weighting.weights(torch.ones(3)).tolist() == [1, 1, 1]
    weighting.epoch_end(torch.tensor([1.0, 1.0, 3.0]))
    assert weighting.weights(torch.ones(3))[1] < 1


def test_stch_refers_to_means_over_labelled_steps():
    weighting = benchmark.build_weighting("stch", TASKS, warmup_epochs=2)
    nan = float("nan")
    weighting.epoch_end(torch.tensor([2.0, 4.0, nan]))
    weighting.epoch_end(torch.tensor([1.0, nan, nan]))
    # Ratios 1, 1, and 1 for want of a reference: 3 softmax / L.
    assert weighting.weights(torch.tensor([1.0, 4.0, 5.0])).tolist() == pytest.approx([1, 1 / 4, 1 / 5])
    weighting.epoch_end(torch.tensor([9.0, 9.0, 5.0]))
    assert weighting.weights(torch.tensor([1.0, 4.0, 10.0])).tolist() == pytest.approx([3 / 4, 3 / 16, 3 / 20])


def test_diagnostics_are_over_steps_with_both_tasks():
    kept = GradientDiagnostics(["a", "b"])
    kept.add(torch.tensor([[4.0, -1.0], [-1.0, 1.0]]), Presence.everyone(2))
    kept.add(torch.tensor([[16.0, float("nan")], [float("nan"), 0.0]]), Presence(2, (0,)))
    found = kept.take()
    assert found.norms == {"a": 3, "b": 1}
    assert found.conflicts == 1
    assert found.cosines == {"a|b": -0.5}


@pytest.mark.parametrize("name", ["equal", "uncertainty", "dwa", "famo", "stch", "gradnorm", "db-mtl", "excessmtl"])
def test_no_step_reads_a_value_to_know_it(name):
    """On a GPU the host would wait for it."""
    run = Runner(a_model(), built(name, TASKS, {}), None)
    plain, absent = a_batch(), without(a_batch(), GONE)
    counts = []
    for batch in (plain, absent):
        run(batch)
        with Reads() as counted:
            run(batch)
        counts.append(counted.count)
    assert counts[0] == counts[1]


def test_losses_of_an_evaluation_are_over_batches_with_a_label(monkeypatch):
    monkeypatch.setattr("benchmark.training.evaluation.EVALUATION_BATCH", 4)
    found = evaluate(a_model(), a_split(np.arange(COUNT) < 4), CPU).losses
    batch = a_batch(COUNT)
    with torch.no_grad():
        expected = TASKS[1].loss(a_model()(batch.images[:4] / 255)["depth"], batch.targets["depth"][:4])
    assert found["depth"] == pytest.approx(expected.item(), rel=1e-5)
    assert evaluate(a_model(), a_split(np.zeros(COUNT, bool)), CPU).losses["depth"] == 0
