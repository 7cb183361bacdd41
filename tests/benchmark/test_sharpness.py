"""The step that takes each task's gradient where its loss is higher: against copies of the network, and its traces."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmark.data import Storage
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel, trained
from benchmark.registry import WEIGHTINGS
from benchmark.runs.spec import derive_seed
from benchmark.speed.workload import cost_class, step_forward_passes
from benchmark.toyproblem.exact import ExactSteps
from benchmark.training.forward import scaled
from benchmark.training.hardware import Hardware
from benchmark.training.steps.choice import choose_step
from benchmark.training.steps.sharpness import SharpnessStep
from benchmark.weighting import SharpnessWeighting, build_weighting
from tests.benchmark.test_absent import without
from tests.benchmark.test_steps import AROUND, CPU, TASKS, a_batch
from tests.portable.runs import spec_of, trainer_of

WEIGHTS = (0.5, -2.0, 3.0)


class Drawing(MultiTaskModel):
    """Batch norm and dropout in what is shared and in what is not."""

    def __init__(self, tasks=TASKS):
        super().__init__(tasks)
        self.trunk = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Tanh(), nn.Dropout(0.2))
        self.heads = nn.ModuleDict(
            {task.name: nn.Sequential(nn.Dropout(0.2), nn.Conv2d(5, task.channels, 1)) for task in tasks}
        )

    def forward(self, images, tasks=None):
        feature = self.trunk(images)
        return {task.name: task.finish(self.heads[task.name](feature)) for task in self.tasks}

    def task_parameters(self, task):
        return list(self.heads[task].parameters())


class Uphill(SharpnessWeighting):
    """Given weights; remembers what it was shown."""

    def __init__(self, tasks=TASKS, *, radius=0.3, local=0.5, reach=0.01):
        super().__init__(tasks, radius=radius, local=local, reach=reach)

    def from_gramian(self, gramian, losses):
        self.shown = gramian, losses
        return torch.tensor(WEIGHTS[: len(losses)], dtype=torch.float64)


def a_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Drawing().train()


def built(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return Uphill(**options)


def stepped(model, weighting, batch, diagnose=False, hardware=CPU):
    """A step's result, with the same random numbers each time."""
    torch.manual_seed(7)
    return choose_step(model, weighting, hardware, AROUND)(batch, diagnose)


def losses_at(model, moves, batch):
    """Parameters and losses of a copy that is moved, by name of the parameter."""
    twin = copy.deepcopy(model)
    parameters = dict(twin.named_parameters())
    with torch.no_grad():
        for name, move in moves.items():
            parameters[name] += move
    torch.manual_seed(7)
    found = twin(scaled(batch.images, model.memory_format))
    return parameters, [task.loss(found[task.name], batch.targets[task.name]) for task in TASKS]


def gradients(value, parameters):
    found = torch.autograd.grad(value, list(parameters.values()), retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(parameters.items(), found, strict=True)}


def of_length(moves, length):
    whole = sum(m.square().sum() for m in moves.values()) ** 0.5
    return {name: length / whole * move for name, move in moves.items()}


def points(model, batch, position, *, radius, local, reach):
    """By task the moves to its point, as the paper's algorithm has them."""
    parameters, losses = losses_at(model, {}, batch)
    uphill = gradients(sum(losses), parameters)
    for k, task in enumerate(TASKS):
        own = {n: g for n, g in uphill.items() if n.startswith(f"heads.{task.name}.")}
        shared = {n: g for n, g in uphill.items() if n.startswith("trunk.")}
        draw = torch.Generator().manual_seed(derive_seed("sharpness", position, task.name))
        probe = {n: torch.randn(g.shape, generator=draw) for n, g in shared.items()}
        higher, lower = (losses_at(model, {n: s * z for n, z in probe.items()}, batch)[1][k] for s in (reach, -reach))
        estimate = {n: (higher - lower) / (2 * reach) * z for n, z in probe.items()}
        mixed = {n: (1 - local) * g + local * g.norm() * estimate[n] / estimate[n].norm() for n, g in shared.items()}
        yield {n: m.detach() for n, m in (of_length(mixed, radius) | of_length(own, radius)).items()}


@pytest.mark.parametrize(
    "options", [{}, {"local": 0.0}, {"local": 1.0}, {"radius": 0.01}, {"local": 0.25, "reach": 0.3}]
)
def test_gradients_are_those_of_copies_of_the_network_at_their_points(options):
    model, weighting, batch = a_model(), built(**options), a_batch()
    asked = {"radius": 0.3, "local": 0.5, "reach": 0.01, **options}
    position = int(weighting.position)
    rows, own = [], {}
    for k, moves in enumerate(points(model, batch, position, **asked)):
        parameters, losses = losses_at(model, moves, batch)
        found = gradients(losses[k], parameters)
        own |= {n: g for n, g in found.items() if n.startswith(f"heads.{TASKS[k].name}.")}
        rows.append({n: g for n, g in found.items() if n.startswith("trunk.")})
    result = stepped(model, weighting, batch)
    assert isinstance(choose_step(model, weighting, CPU, AROUND), SharpnessStep)
    for name, parameter in model.named_parameters():
        expected = own.get(name)
        if expected is None:
            expected = sum(weight * row[name] for weight, row in zip(WEIGHTS, rows, strict=True))
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6, msg=name)
    flat = torch.stack([torch.cat([g.flatten() for g in row.values()]) for row in rows]).double()
    torch.testing.assert_close(weighting.shown[0], flat @ flat.T, rtol=1e-4, atol=1e-8)
    at_start = torch.stack(losses_at(model, {}, batch)[1])
    torch.testing.assert_close(result.losses, at_start, rtol=1e-6, atol=0)
    torch.testing.assert_close(weighting.shown[1], at_start.double(), rtol=1e-6, atol=0)


class Passes:
    """What each forward pass of a network saw."""

    def __init__(self, model):
        self.seen = []
        model.register_forward_pre_hook(lambda module, images: self.seen.append(self._state(module)))

    def _state(self, model):
        return {
            "training": model.training and all(module.training for module in model.modules()),
            "graph": torch.is_grad_enabled(),
            "autocast": torch.is_autocast_enabled("cpu"),
            "generator": torch.random.get_rng_state(),
            "parameters": {n: p.detach().clone() for n, p in model.named_parameters()},
        }

    def moved(self, number, model):
        """By name the length of the move of each parameter that is elsewhere in this pass."""
        now = dict(model.named_parameters())
        moves = {n: p - now[n].detach() for n, p in self.seen[number]["parameters"].items()}
        return {n: move for n, move in moves.items() if move.any()}


def length(moves, beginning):
    return sum(m.square().sum() for n, m in moves.items() if n.startswith(beginning)).item() ** 0.5


def test_the_passes_are_as_many_as_the_cost_says_and_see_the_same_random_numbers():
    model, weighting = a_model(), built()
    passes = Passes(model)
    stepped(model, weighting, a_batch())
    # At θ; then of each task the two sides, and its gradient.
    assert [one["graph"] for one in passes.seen] == [True, *[False, False, True] * 3]
    assert all(one["training"] for one in passes.seen)
    assert all(torch.equal(one["generator"], passes.seen[0]["generator"]) for one in passes.seen)
    assert "1 forward, 1 backward, and for each task 3 forward, 1 backward" in weighting.cost({})
    # A backward pass counts as two.
    assert step_forward_passes(cost_class(weighting), 3) == len(passes.seen) + 2 * (1 + 3) == 18
    passes.seen.clear()
    stepped(model, built(local=0.0), a_batch())
    assert [one["graph"] for one in passes.seen] == [True] * 4


def test_a_step_draws_what_one_pass_draws():
    model, states = a_model(), []
    for weighting in (built(), build_weighting("fairgrad", TASKS)):
        stepped(model, weighting, a_batch(), diagnose=True)
        states.append(torch.random.get_rng_state())
    assert torch.equal(*states)


def test_each_pass_moves_what_it_is_to_move_as_far_as_it_is_to():
    model, weighting = a_model(), built(radius=0.07)
    passes = Passes(model)
    stepped(model, weighting, a_batch())
    assert passes.moved(0, model) == {}
    for k, task in enumerate(TASKS):
        one, other, point = (passes.moved(1 + 3 * k + i, model) for i in range(3))
        assert all(name.startswith("trunk.") for name in (*one, *other))
        assert all(torch.allclose(one[name], -other[name], atol=1e-6) for name in one)
        assert {name.split(".")[0] for name in point} == {"trunk", "heads"}
        assert all(name.startswith((f"heads.{task.name}.", "trunk.")) for name in point)
        for beginning in ("trunk.", "heads."):
            assert length(point, beginning) == pytest.approx(0.07, rel=1e-4)


def test_only_the_first_pass_changes_buffers_and_nothing_changes_parameters():
    model, plain, batch = a_model(), a_model(), a_batch()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stepped(model, built(), batch)
    stepped(plain, build_weighting("fairgrad", TASKS), batch)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    for (name, one), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert int(dict(model.named_buffers())["trunk.1.num_batches_tracked"]) == 1


def test_what_is_frozen_stays_where_it_is_in_every_pass():
    model = a_model()
    frozen = ["trunk.0.weight", "heads.depth.1.bias"]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    passes = Passes(model)
    stepped(model, built(), a_batch())
    assert len(passes.seen) == 10
    assert not any(name in passes.moved(number, model) for name in frozen for number in range(10))
    assert all(model.get_parameter(name).grad is None for name in frozen)
    assert all(p.grad.any() for p in trained(model.parameters()))


def test_a_task_without_a_trained_parameter_of_its_own_is_no_trouble():
    model = a_model()
    for parameter in model.task_parameters("depth"):
        parameter.requires_grad_(False)
    stepped(model, built(), a_batch())
    assert all(p.grad.isfinite().all() for p in trained(model.parameters()))


def test_the_gramian_of_diagnostics_is_that_of_the_parameters_themselves():
    model, batch = a_model(), a_batch()
    found = stepped(model, built(), batch, diagnose=True).gramian
    assert torch.equal(found, stepped(model, build_weighting("fairgrad", TASKS), batch, diagnose=True).gramian)


def test_half_precision_sees_the_moves_in_full():
    model, batch = a_model(), a_batch()
    passes = Passes(model)
    stepped(model, built(radius=1e-5), batch, hardware=Hardware("cpu", "bf16", 1))
    assert [one["autocast"] for one in passes.seen] == [True] + [False] * 9
    half = {name: p.grad.clone() for name, p in model.named_parameters()}
    # Of gradients of the same points, which bf16 would not tell from θ, in the usual digits.
    model.zero_grad()
    stepped(model, built(radius=1e-5), batch)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, half[name], rtol=1e-3, atol=1e-4)


def test_an_absent_task_costs_no_pass_and_changes_no_other_point():
    model, weighting, batch = a_model(), built(), a_batch()
    passes = Passes(model)
    stepped(model, weighting, batch)
    whole = list(passes.seen)
    passes.seen.clear()
    twin = built()
    stepped(model, twin, without(batch, "depth"))
    assert len(passes.seen) == 7
    for name in ("trunk.0.weight", "trunk.1.bias"):  # the same probes for the first and the last task
        for one, other in ((1, 1), (7, 4)):
            assert torch.equal(whole[one]["parameters"][name], passes.seen[other]["parameters"][name])
    assert not any(p.grad.any() for p in model.task_parameters("depth") if p.grad is not None)
    passes.seen.clear()
    position = int(twin.position)
    stepped(model, twin, without(batch, *(task.name for task in TASKS)))
    assert len(passes.seen) == 1
    assert int(twin.position) == position


def test_every_step_has_probes_of_its_own():
    model, weighting = a_model(), built()
    position, seen = int(weighting.position), []
    for _ in range(2):
        passes = Passes(model)
        stepped(model, weighting, a_batch())
        seen.append(passes.seen[1]["parameters"]["trunk.0.weight"])
    assert int(weighting.position) == position + 2
    assert not torch.equal(*seen)


class Flat(MultiTaskModel):
    """Predictions that nothing of the network changes but what is a task's own; the shared gradient is zero."""

    def __init__(self):
        super().__init__(TASKS)
        self.trunk = nn.Conv2d(3, 2, 1)
        self.heads = nn.ModuleDict({task.name: nn.Conv2d(2, task.channels, 1) for task in TASKS})

    def forward(self, images, tasks=None):
        feature = 0 * self.trunk(images)
        return {task.name: task.finish(self.heads[task.name](feature)) for task in self.tasks}

    def task_parameters(self, task):
        return list(self.heads[task].parameters())


def test_where_nothing_is_uphill_the_points_are_the_parameters():
    model = Flat().train()
    passes = Passes(model)
    stepped(model, built(), a_batch())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    for number in (3, 6, 9):
        assert not any(name.startswith("trunk.") for name in passes.moved(number, model))


# With the radius 0 it is the step of the same rule on the Gramian.


class Still(Uphill):
    """FairGrad's weights on gradients at the parameters, with passes of their own."""

    def __init__(self, tasks):
        super().__init__(tasks, radius=0.0)
        self.inner = build_weighting("fairgrad", tasks)

    def from_gramian(self, gramian, losses):
        return self.inner.from_gramian(gramian, losses)


@pytest.fixture
def still(own_methods):
    WEIGHTINGS.register("still")(Still)


@pytest.fixture(scope="module")
def storage(toy):
    return Storage.default()


TOY = ("toy", {"size": 36, "train": 6, "val": 3, "test": 2})
CELLS = {
    "dropout": (TOY, "split", {"dropout": 0.3}),
    "mtan": (TOY, "mtan", {}),
    "a regulariser": (TOY, "dselect-k", {}),
    "auxiliary predictions": (TOY, "pad-net", {}),
    "pictures of their own": (("toy-pair", {}), "split", {}),
    "nothing shared": (TOY, "single-task", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_without_a_radius_it_is_the_step_on_the_gramian_to_the_last_bit(cell, still, storage):
    data, architecture, options = CELLS[cell]
    shape = {"width": 4, "backbone": "wrn-10" if data[0] == "toy-pair" else "unet-1-2", **options}
    kept = []
    for weighting in ("still", "fairgrad"):
        trainer = trainer_of(spec_of(data, architecture, weighting, options=shape), storage)
        trainer.model.train()
        torch.manual_seed(5)
        results = [trainer.advance(trainer.batches.next(), diagnose) for diagnose in (True, False, False)]
        numbers = [r.losses for r in results] + [r.weights for r in results]
        numbers += [] if results[0].gramian is None else [results[0].gramian]
        auxiliary = trainer.step.auxiliary.values
        numbers += [] if auxiliary is None else [auxiliary]
        kept.append([*numbers, *trainer.model.state_dict().values()])
    assert len(kept[0]) == len(kept[1])
    assert all(torch.equal(one, other) for one, other in zip(*kept, strict=True))


# Where no network is there.


def test_exact_problems_have_no_other_points():
    steps = ExactSteps(built(), 4, 0.1)
    with pytest.raises(UsageError, match="Uphill takes each gradient where its task's loss is higher, which training"):
        steps(torch.ones(3), torch.ones(3, 4), lambda ahead: torch.zeros(3))


def test_a_batch_is_what_the_step_leaves_it():
    batch = a_batch()
    kept = replace(batch, images=batch.images.clone(), targets={n: t.clone() for n, t in batch.targets.items()})
    stepped(a_model(), built(), batch)
    assert torch.equal(batch.images, kept.images)
    assert all(torch.equal(batch.targets[name], kept.targets[name]) for name in kept.targets)
