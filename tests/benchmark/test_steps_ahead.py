"""Steps that look at a layer or ahead: against plain autograd, and the derivative of the whole bilevel problem."""

import pytest
import torch
from torch import nn

from benchmark import ARCHITECTURES, Task, build_model, build_weighting
from benchmark.model import MultiTaskModel
from benchmark.training.batch import Batch
from benchmark.training.hardware import Hardware
from benchmark.training.layer import LayerGradients
from benchmark.training.steps.choice import choose_step
from benchmark.training.steps.losses import LookaheadStep, NormStep
from benchmark.training.steps.step import StepContext
from benchmark.weighting import LookaheadWeighting, NormWeighting
from tests.architectures import FIRST

pytestmark = pytest.mark.slow

DENSE = (Task("semantic", "segmentation", 13), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("left", "classification", 10), Task("right", "classification", 7), Task("third", "classification", 2))
CPU = Hardware("cpu", "fp32", 1)
SIZE = (33, 35)

NAMES = sorted(n for n in ARCHITECTURES if ARCHITECTURES[n].factory.__module__.startswith("baselines."))
SHARING = [name for name in NAMES if ARCHITECTURES[name].factory.shares]

#: Steps of networks with a regulariser, and of those that draw, have tests of their own: test_auxiliary, test_patterns.
STEPPING = [name for name in NAMES if name not in ("dselect-k", "ltb")]
each_setting = pytest.mark.parametrize(
    ("backbone", "tasks"),
    [("segnet", DENSE), ("wrn-10", WHOLE), ("unet", DENSE)],
    ids=["segnet-dense", "wrn-whole", "unet-dense"],
)


class InDouble(MultiTaskModel):
    """Another model on double-precision pictures; the golden sides of a comparison should not be rounding."""

    def __init__(self, inner):
        super().__init__(inner.tasks)
        self.inner = inner.double()
        self.has_representation = inner.has_representation

    def forward(self, images, tasks=None):
        return self.inner(images.double(), tasks)

    def representation(self, images):
        return self.inner.representation(images.double())

    def predict(self, representation, tasks=None):
        return self.inner.predict(representation, tasks)

    def predict_at(self, representation, size):
        return self.inner.predict_at(representation, size)

    def task_parameters(self, task):
        return self.inner.task_parameters(task)

    def last_shared_parameters(self):
        return self.inner.last_shared_parameters()


def build(name, tasks=DENSE, backbone="segnet", width=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return InDouble(build_model(name, tasks, backbone=backbone, width=width)).train()


def batch(tasks=DENSE, seed=0, count=2):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, *SIZE), generator=generator, dtype=torch.uint8)
    targets = {}
    for task in tasks:
        if task.kind == "depth":
            targets[task.name] = 1 + torch.rand(count, 1, *SIZE, generator=generator)
        elif task.kind == "normals":
            raw = torch.randn(count, 3, *SIZE, generator=generator)
            targets[task.name] = nn.functional.normalize(raw, dim=1)
        else:
            shape = (count, *SIZE) if task.dense else (count,)
            targets[task.name] = torch.randint(0, task.channels, shape, generator=generator)
    return Batch(images, targets)


def surroundings(other=None, rate=0.1):
    return StepContext(lambda split: other, lambda: rate)


class Norms(NormWeighting):
    """Learned weights in an objective that is no weighted sum; remembers what it was shown."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.scales = nn.Parameter(torch.linspace(0.5, 2, len(self.tasks)))

    def weights(self, losses):
        return self.scales.exp()

    def objective(self, losses, weights):
        return (weights * losses.square()).sum() - self.scales.sum()

    def observe(self, norms, losses):
        self.seen = norms, losses


def close(found, expected):
    # The kinds of task judge in single precision.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * max(1e-3, expected.abs().max().item()))


def gradients_of(module):
    return {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


#: Unpooling is the first paper's networks'; the others' decoders are fed by skip connections, or there is none.
NORM_STEPS = [
    *((name, "segnet" if name in FIRST else "unet-1-1-2", DENSE) for name in STEPPING),
    *((name, "wrn-10", WHOLE) for name in STEPPING),
]


@pytest.mark.parametrize(("name", "backbone", "tasks"), NORM_STEPS)
def test_a_norm_step_is_the_plain_one_and_its_norms_are_autograds(name, backbone, tasks):
    model, weighting = build(name, tasks, backbone), Norms(tasks)
    step = choose_step(model, weighting, CPU, surroundings())
    assert isinstance(step, NormStep)
    losses = step.forward_losses(batch(tasks))
    layer = model.last_shared_parameters()
    flat = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, layer, retain_graph=True, materialize_grads=True)])
        if layer
        else torch.zeros(1)
        for loss in losses
    ]
    known = torch.stack(losses)
    weighting.objective(known, weighting.weights(known.detach())).backward()
    expected = gradients_of(model), weighting.scales.grad.clone()
    for diagnose in (False, True):
        for module in (model, weighting):
            module.zero_grad(set_to_none=True)
        result = step(batch(tasks), diagnose)
        check_norm_step(result, model, weighting, flat, known.detach(), expected)
        assert (result.gramian is None) is not (diagnose and name in SHARING)


def check_norm_step(result, model, weighting, flat, losses, expected):
    """Its gradients, norms and losses are those of autograd."""
    found, parameters = gradients_of(model), dict(model.named_parameters())
    for key, gradient in expected[0].items():
        if gradient is None:
            assert found[key] is None or not found[key].any()
        else:
            close(found[key], gradient)
            assert found[key].stride() == parameters[key].stride()
    close(weighting.scales.grad, expected[1])
    close(weighting.seen[0].double(), torch.stack([g.norm() for g in flat]).double())
    close(weighting.seen[1], losses)
    close(result.losses, losses)


def test_a_task_without_graph_has_length_zero_and_no_gradient():
    for name in ("split", "mtan"):
        model, weighting = build(name), Norms(DENSE)
        step = choose_step(model, weighting, CPU, surroundings())
        compute = step.compute_losses
        step.compute_losses = lambda predictions, b, part=0.0, compute=compute: [
            compute(predictions, b)[0],
            torch.ones(()).double(),
        ]
        step.gradients.own, losses = step.gradients.own[:2], None
        weighting.tasks, weighting.scales = DENSE[:2], nn.Parameter(torch.zeros(2))
        losses = step(batch(), False).losses
        assert losses[1] == 1
        assert weighting.seen[0][0] > 0
        assert weighting.seen[0][1] == 0
        assert all(p.grad is None for p in model.task_parameters("depth"))


@pytest.mark.parametrize("name", SHARING)
@each_setting
def test_more_than_one_task_reaches_the_last_shared_layer(name, backbone, tasks):
    model = build(name, tasks, backbone)
    layer = model.last_shared_parameters()
    assert layer
    shared = {id(p) for p in model.shared_parameters()}
    losses = choose_step(model, None, CPU, surroundings()).forward_losses(batch(tasks))
    for parameter in layer:
        assert id(parameter) in shared
        for loss in losses:  # not a row or an element each: every task reaches (nearly) every element
            (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
            assert (gradient != 0).double().mean() > 0.2


def test_which_layer_is_the_last():
    def names(architecture, tasks=DENSE, backbone="segnet"):
        model = build(architecture, tasks, backbone).inner
        known = {id(p): name for name, p in model.named_parameters()}
        return [known[id(p)] for p in model.last_shared_parameters()]

    assert names("split") == ["trunk.9.rest.0.0.weight"]
    assert names("mtan") == ["trunk.9.rest.0.0.weight"]
    assert names("mtan", WHOLE, "wrn-10") == ["transforms.3.0.weight"]
    assert names("mtan", backbone="unet") == ["trunk.8.first.0.weight"]
    assert names("dense") == ["shared.8.rest.0.0.weight"]
    assert names("cross-stitch") == [f"streams.{k}.8.rest.0.0.weight" for k in range(3)]
    assert names("single-task") == names("stan") == []
    for architecture in NAMES:
        assert names(architecture, DENSE[:1]) == []


class Seen(LookaheadWeighting):
    """Given weights; remembers the alignments."""

    def __init__(self, tasks, values):
        super().__init__(tasks)
        self.values = torch.tensor(values, dtype=torch.float64)

    def weights(self, losses):
        return self.values.to(losses)

    def observe(self, alignments, learning_rate):
        self.alignments, self.rate = alignments, learning_rate


def bilevel(model, step, here, there, weights, rate):
    """∂ Σ L_j(there; θ − lr ∇Σ w_k L_k(here; θ)) / ∂w by autograd through the virtual step."""
    parameters = dict(model.named_parameters())
    weights = weights.clone().requires_grad_()
    losses = torch.stack(step.forward_losses(here))
    ahead = torch.autograd.grad((weights * losses).sum(), list(parameters.values()), create_graph=True)
    moved = {name: p - rate * g for (name, p), g in zip(parameters.items(), ahead, strict=True)}
    predictions = torch.func.functional_call(model, moved, (there.images.double() / 255,))
    return torch.autograd.grad(torch.stack(step.compute_losses(predictions, there)).sum(), weights)[0]


class Smooth(MultiTaskModel):
    """One smooth shared layer, whose losses have no kinks near by."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.shared = nn.Linear(3, 6)
        self.heads = nn.ModuleDict({task.name: nn.Linear(6, task.channels) for task in tasks})

    def forward(self, images, tasks=None):
        feature = torch.tanh(self.shared(images.mean((2, 3))))
        return {task.name: self.heads[task.name](feature) for task in self.tasks}

    def task_parameters(self, task):
        return list(self.heads[task].parameters())


@pytest.mark.parametrize("rate", [1e-3, 0.5])
def test_alignments_are_the_bilevel_derivative(rate):
    torch.manual_seed(3)
    model = InDouble(Smooth(WHOLE))
    here, there = batch(WHOLE, 1, count=6), batch(WHOLE, 2, count=6)
    weighting = Seen(WHOLE, [0.1, 2.0, 3.0])
    step = choose_step(model, weighting, CPU, surroundings(there, rate))
    assert isinstance(step, LookaheadStep)
    expected = bilevel(model, step, here, there, weighting.values, rate)
    before = [p.detach().clone() for p in model.parameters()]
    step(here, False)
    assert weighting.rate == rate
    torch.testing.assert_close(-rate * weighting.alignments.double(), expected, rtol=1e-3, atol=1e-6 * rate)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_alignments_do_not_suffer_from_half_precision():
    # The central difference moves a weight by less than bfloat16 can tell.
    torch.manual_seed(3)
    model = Smooth(WHOLE)
    found = {}
    for precision in ("fp32", "bf16"):
        weighting = Seen(WHOLE, [0.1, 2.0, 3.0])
        around = surroundings(batch(WHOLE, 2, count=6), 0.1)
        choose_step(model, weighting, Hardware("cpu", precision, 1), around)(batch(WHOLE, 1, count=6), False)
        found[precision] = weighting.alignments
    torch.testing.assert_close(found["bf16"], found["fp32"], rtol=0.05, atol=0.02 * found["fp32"].abs().max().item())


def test_looking_ahead_leaves_statistics_as_one_plain_step_does():
    model, plain = build("split"), build("split")
    weighting = Seen(DENSE, [1.0, 1.0, 1.0])
    choose_step(model, weighting, CPU, surroundings(batch(seed=2), 0.1))(batch(seed=1), False)
    choose_step(plain, None, CPU, surroundings())(batch(seed=1), False)
    for (name, found), expected in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(found, expected), name
    for found, expected in zip(model.parameters(), plain.parameters(), strict=True):
        close(found.grad, expected.grad)


def test_layer_gradients_of_a_single_task():
    model = build("split", DENSE[:1])
    step = choose_step(model, build_weighting("gradnorm", DENSE[:1]), CPU, surroundings())
    result = step(batch(DENSE[:1]), False)
    assert result.weights.tolist() == [1.0]
    assert all(p.grad is not None for p in model.parameters())
    assert LayerGradients(model).layer == []


def test_the_second_look_sees_the_new_parameters_and_moves_no_statistics():
    model, weighting = build("split"), build_weighting("famo", DENSE)
    step = choose_step(model, weighting, CPU, surroundings())
    step(batch(), False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 * parameter.grad
    seen = []
    weighting.after_step = seen.append
    before = [buffer.clone() for buffer in model.buffers()]
    step.after(batch())
    assert all(torch.equal(found, kept) for found, kept in zip(model.buffers(), before, strict=True))
    assert not seen[0].requires_grad
    close(seen[0], torch.stack(step.forward_losses(batch())).detach())
    assert not torch.equal(seen[0].to(weighting.before), weighting.before)
