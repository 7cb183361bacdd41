"""Per-task gradients over the shared parameters: against autograd itself, for every registered architecture."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import ARCHITECTURES, Task, build_model
from benchmark.data import SPLITS, Split
from benchmark.model import MultiTaskModel
from benchmark.presence import Presence
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.training.engine import Trainer
from benchmark.training.gradients import BLOCK, TaskGradients
from benchmark.training.hardware import Hardware
from benchmark.training.steps.gradients import GramianStep
from benchmark.weighting import GramianWeighting
from tests.architectures import FIRST

pytestmark = pytest.mark.slow

DENSE = (Task("semantic", "segmentation", 13), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("left", "classification", 10), Task("right", "classification", 7), Task("third", "classification", 2))

NAMES = sorted(FIRST)
APART = [name for name in NAMES if not ARCHITECTURES[name].factory.shares]

each_architecture = pytest.mark.parametrize("name", NAMES)
each_setting = pytest.mark.parametrize(
    ("backbone", "tasks"),
    [("segnet", DENSE), ("wrn-10", WHOLE), ("unet", DENSE)],
    ids=["segnet-dense", "wrn-whole", "unet-dense"],
)
each_layout = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"]
)


class Fixed(GramianWeighting):
    """Weights that are given; remembers what it was shown."""

    def __init__(self, tasks, values):
        super().__init__(tasks)
        self.values = torch.tensor(values, dtype=torch.float64)

    def from_gramian(self, gramian, losses):
        self.seen = gramian, losses
        return self.values


def build(name, tasks, backbone="segnet", layout=torch.channels_last):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # In float64: the true gradient of a bias before a batch norm is zero, and float32 shows noise there.
        return build_model(name, tasks, backbone=backbone, width=4).double().to(memory_format=layout)


def probe(model, seed=1):
    """One loss per task, none zero anywhere, from random pictures."""
    generator = torch.Generator().manual_seed(seed)
    predictions = model(torch.rand(2, 3, 32, 32, generator=generator, dtype=torch.float64))
    return [
        (predictions[t.name] * torch.randn(predictions[t.name].shape, generator=generator)).sum() for t in model.tasks
    ]


class Labelled:
    """A batch in which every task has a label."""

    def presence(self, tasks):
        return Presence.everyone(len(tasks))


def backward(weighting, gradients, losses):
    """A step's own way from its losses to everybody's gradients; the weights (K,)."""
    step = object.__new__(GramianStep)
    step.weighting, step.gradients, step.forward_pass = weighting, gradients, lambda batch: (losses, None)
    step.model, step._unseen = SimpleNamespace(tasks=weighting.tasks), False
    step.on_device = lambda name, work, batch: work(batch)
    return step(Labelled(), diagnose=False).weights


def plain(model, loss):
    """The gradient of one loss at every parameter, by autograd; zeros where it does not reach."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {p: torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)}


def close(found, expected):
    # Sums may be taken in another order.
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7 * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize(
    ("name", "backbone", "tasks", "layout"),
    [
        *((name, "segnet", DENSE, torch.channels_last) for name in NAMES),
        # The gradients are told apart by which parameters a loss reaches: the same on every backbone.
        *((name, "segnet", DENSE, torch.contiguous_format) for name in ("split", "mtan")),
        *((name, "wrn-10", WHOLE, torch.channels_last) for name in ("split", "cross-stitch")),
        *((name, "unet", DENSE, torch.channels_last) for name in ("dense", "mtan")),
    ],
)
def test_every_gradient_is_autograds(name, backbone, tasks, layout):
    model = build(name, tasks, backbone, layout)
    losses = probe(model)
    expected = [plain(model, loss) for loss in losses]
    gradients = TaskGradients(model)
    weighting = Fixed(tasks, [0.3, -2.0, 5.0])
    used = backward(weighting, gradients, losses)
    assert used.tolist() == pytest.approx([0.3, -2.0, 5.0])
    shared = model.shared_parameters()
    for row, by_parameter in zip(gradients.rows, expected, strict=True):
        places = row.split([p.numel() for p in shared]) if shared else ()
        for place, parameter in zip(places, shared, strict=True):
            # A row's order of elements is its own affair; which ones they are is not.
            close(place.sort().values, by_parameter[parameter].flatten().sort().values)
    for parameter in shared:
        close(parameter.grad, 0.3 * expected[0][parameter] - 2 * expected[1][parameter] + 5 * expected[2][parameter])
    for task, by_parameter in zip(tasks, expected, strict=True):
        for parameter in model.task_parameters(task.name):
            close(parameter.grad, by_parameter[parameter])
    # Fused optimisers read memory as it lies.
    assert all(parameter.grad.stride() == parameter.stride() for parameter in model.parameters())
    gramian, seen = weighting.seen
    rows = [
        torch.cat([e[p].double().flatten() for p in shared]) if shared else torch.zeros(1).double() for e in expected
    ]
    exact = torch.tensor([[a @ b for b in rows] for a in rows], dtype=torch.float64)
    torch.testing.assert_close(gramian, exact, rtol=1e-7, atol=1e-7 * max(1.0, exact.abs().max().item()))
    assert seen.dtype == torch.float64
    assert seen.tolist() == pytest.approx([loss.item() for loss in losses])


@pytest.mark.parametrize("name", ["single-task", "split", "mtan"])
@each_layout
def test_a_fused_optimiser_takes_the_same_step(name, layout):
    stepped = []
    for ours in (True, False):
        model = build(name, DENSE, layout=layout)
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
        losses = probe(model)
        if ours:
            backward(Fixed(DENSE, [1.0, 1.0, 1.0]), TaskGradients(model), losses)
        else:
            sum(losses).backward()
        optimiser.step()
        stepped.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    close(*stepped)


@pytest.mark.parametrize("name", APART)
@each_setting
def test_where_nothing_is_shared_each_task_just_learns(name, backbone, tasks):
    model = build(name, tasks, backbone)
    gradients = TaskGradients(model)
    assert gradients.rows.shape == (3, 0)
    losses = probe(model)
    expected = [plain(model, loss) for loss in losses]
    weighting = Fixed(tasks, [0.0, 7.0, float("nan")])
    backward(weighting, gradients, losses)
    assert not weighting.seen[0].any()
    for task, by_parameter in zip(tasks, expected, strict=True):
        for parameter in model.task_parameters(task.name):
            close(parameter.grad, by_parameter[parameter])
    # No other task's pass needs these graphs, so that each is freed at once.
    for loss in losses:
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()


@pytest.mark.parametrize(
    ("name", "without"),
    [*((n, None) for n in NAMES if n not in APART), *(("mtan", k) for k in range(3)), ("split", 2)],
)
def test_the_last_pass_frees_the_graph(name, without):
    model = build(name, DENSE)
    losses = probe(model)
    kept = [loss if k != without else loss.detach() for k, loss in enumerate(losses)]
    TaskGradients(model).collect(kept)
    for k, loss in enumerate(losses):
        if k != without:
            with pytest.raises(RuntimeError, match="backward through the graph a second time"):
                loss.backward()


@pytest.mark.parametrize(
    ("name", "where", "graph"),
    [*((name, 0, True) for name in NAMES), ("mtan", 2, True), ("mtan", 0, False), ("mtan", 2, False)],
)
def test_a_loss_without_valid_pixels_has_a_gradient_of_zero(name, where, graph):
    """With a graph, as the kinds of task give it, or without."""
    model = build(name, DENSE)
    gradients = TaskGradients(model)
    gradients.collect(probe(model))  # something to forget
    losses = probe(model, seed=2)
    others = [k for k in range(3) if k != where]
    expected = {k: plain(model, losses[k]) for k in others}
    losses[where] = losses[where] * 0 if graph else torch.tensor(0.0)
    backward(Fixed(DENSE, [1.0, 1.0, 1.0]), gradients, losses)
    assert not gradients.rows[where].any()
    assert not any(p.grad is not None and p.grad.any() for p in model.task_parameters(DENSE[where].name))
    for parameter in model.shared_parameters():
        close(parameter.grad, expected[others[0]][parameter] + expected[others[1]][parameter])
    for k in others:
        for parameter in model.task_parameters(DENSE[k].name):
            close(parameter.grad, expected[k][parameter])


def test_no_loss_with_a_graph_at_all():
    model = build("split", DENSE)
    gradients = TaskGradients(model)
    backward(Fixed(DENSE, [1.0, 1.0, 1.0]), gradients, [torch.tensor(0.0)] * 3)
    assert not gradients.rows.any()
    assert not any(p.grad.any() for p in model.shared_parameters())


@each_architecture
def test_one_buffer_serves_all_steps(name):
    model = build(name, DENSE)
    gradients = TaskGradients(model)
    places = set()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for step in range(3):
        optimiser.zero_grad(set_to_none=True)
        losses = probe(model, seed=step)
        expected = plain(model, losses[0])
        backward(Fixed(DENSE, [1.0, 0.0, 0.0]), gradients, losses)
        places.add((gradients.rows.data_ptr(), *(p.grad.data_ptr() for p in model.shared_parameters())))
        for parameter in model.shared_parameters():
            close(parameter.grad, expected[parameter])
        optimiser.step()
    assert len(places) == 1


@each_architecture
@each_setting
def test_a_single_task_owns_everything_and_learns(name, backbone, tasks):
    model = build(name, tasks[:1], backbone)
    gradients = TaskGradients(model)
    losses = probe(model)
    expected = plain(model, losses[0])
    backward(Fixed(tasks[:1], [3.0]), gradients, losses)
    assert gradients.rows.shape == (1, 0)
    for parameter in model.parameters():
        close(parameter.grad, expected[parameter])


def test_a_pass_visits_its_own_tasks_head_only():
    """K passes through all K heads would cost most of what architectures with large heads spend."""
    model = build("split", DENSE)
    visits = []
    losses = probe(model)
    for k, loss in enumerate(losses):
        loss.grad_fn.register_hook(lambda *_, k=k: visits.append(k))
    TaskGradients(model).collect(losses)
    assert visits == [0, 1, 2]


def test_the_engine_keeps_the_losses_apart(monkeypatch):
    """Losses that have met in one tensor send every pass through every head."""
    visits = []
    loss = Task.loss

    def watched(task, prediction, target):
        value = loss(task, prediction, target)
        if value.requires_grad:
            value.grad_fn.register_hook(lambda *_: visits.append(task.name))
        return value

    monkeypatch.setattr(Task, "loss", watched)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 3, 32, 32), generator=draw).to(torch.uint8)
    targets = {task.name: torch.randint(2, (4,), generator=draw) for task in WHOLE}
    split = Split(images, targets, np.arange(4))
    spec = RunSpec(
        dataset=Component(name="none", version=1, options={}),
        architecture=Component(name="split", version=1, options={}),
        weighting=None,
        seed=0,
        protocol=Protocol(epochs=1, batch_size=4),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model("split", WHOLE, backbone="wrn-10", width=4)
    weighting = Fixed(WHOLE, [1.0, 1.0, 1.0])
    hardware = Hardware("cpu", "fp32", 1)
    Trainer(model, weighting, spec=spec, splits=dict.fromkeys(SPLITS, split), hardware=hardware).fit(lambda _: None)
    assert visits == [task.name for task in WHOLE]


class Line(MultiTaskModel):
    """Scalars from one shared vector; one head's gradient comes transposed, another's as a broadcast view."""

    def __init__(self, width):
        super().__init__([Task("a", "depth", 1), Task("b", "depth", 1)])
        self.trunk = nn.Parameter(torch.linspace(-1, 1, width))
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(3, 4))])

    def forward(self, images, tasks=None):
        wide = torch.arange(12.0).reshape(4, 3)
        return {"a": self.trunk.sum() + (self.heads[0].T * wide).sum(), "b": 2 * self.trunk.sum() + self.heads[1].sum()}

    def task_parameters(self, task):
        return [self.heads[0 if task == "a" else 1]]


def test_own_gradients_lie_in_memory_as_their_parameters_do():
    model = Line(5)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0, fused=True)
    predictions = model(None)
    backward(Fixed(model.tasks, [0.0, 0.0]), TaskGradients(model), [predictions["a"], predictions["b"]])
    optimiser.step()
    assert torch.equal(model.heads[0], -torch.arange(12.0).reshape(4, 3).T)
    assert torch.equal(model.heads[1], -torch.ones(3, 4))


@pytest.mark.parametrize("width", [1, BLOCK - 1, BLOCK, BLOCK + 1, 20_000_000])
def test_inner_products_are_exact_over_any_number_of_parameters(width):
    """A plain float32 sum of so many equal squares would stop growing at 2^24."""
    model = Line(width)
    gradients = TaskGradients(model)
    predictions = model(None)
    gradients.collect([predictions["a"], predictions["b"]])
    assert gradients.rows.shape == (2, width)
    expected = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64) * width
    assert torch.equal(gradients.gramian(), expected)


@pytest.mark.parametrize("name", APART)
def test_rows_without_columns_lie_on_the_model_s_device(name):
    """Where nothing is shared, there is no gradient that would tell it."""
    gradients = TaskGradients(build(name, DENSE).to("meta"))
    assert (gradients.rows.shape, gradients.rows.device.type) == ((len(DENSE), 0), "meta")
