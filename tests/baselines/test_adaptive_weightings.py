"""FAMO, GradNorm and Auto-Lambda: golden values, independent recursions in NumPy, properties, and complete state."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import benchmark
from baselines.adam import Adam
from benchmark.errors import UsageError

NAMES = ("famo", "gradnorm", "auto-lambda")
a_loss = st.floats(2.0**-10, 2.0**10, width=32)


def build(name, count=3, **options):
    return benchmark.build_weighting(name, [benchmark.Task(f"task{k}", "depth", 1) for k in range(count)], **options)


def step(weighting, losses, extra):
    """One step as the engine takes it; the objective, its gradient and the weights.

    ``extra``: losses after the step, lengths of the gradients, or alignments.
    """
    losses, extra = torch.tensor(losses), torch.tensor(extra)
    name = type(weighting).__name__
    if name == "AutoLambda":
        weighting.observe(extra, 0.1)
    leaf = losses.clone().requires_grad_()
    weights = weighting.weights(losses)
    if name == "GradNorm":
        weighting.observe(extra, losses)
    value = weighting.objective(leaf, weights)
    value.backward()
    if name == "FAMO":
        weighting.after_step(extra)
    return value.item(), leaf.grad.tolist(), weights.detach()


def next_weights(weighting, count=3):
    return weighting.weights(torch.ones(count)).tolist()


class AdamByHand:
    """Adam as its paper writes it, in float64."""

    def __init__(self, lr, decay=0.0):
        self.lr, self.decay, self.m, self.v, self.t = lr, decay, 0.0, 0.0, 0

    def __call__(self, x, g):
        g = g + self.decay * x
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        return x - self.lr * (self.m / (1 - 0.9**self.t)) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)


# Adam.


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_adam_is_torchs(decay, scale):
    numbers, ours = torch.tensor([1.0, -2.0, 0.0]), Adam(3, lr=0.03, weight_decay=decay)
    theirs = torch.nn.Parameter(numbers.clone())
    optimizer = torch.optim.Adam([theirs], lr=0.03, weight_decay=decay)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        gradient = scale * torch.randn(3, generator=generator)
        ours.step(numbers, gradient)
        theirs.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(numbers, theirs.detach(), rtol=1e-5, atol=1e-6)


# FAMO.


def test_famo_by_hand():
    # z = 1/3; 1/D = (2, 1/4, 1), of sum 13/4: weights (8, 1, 4)/13, c = 3 · 4/13; value c/3 · log(0.5 · 4 · 1)
    weighting = build("famo", weight_decay=0)
    value, gradient, weights = step(weighting, [0.5, 4.0, 1.0], [0.25, 4.0, 1.0])
    assert weights.tolist() == pytest.approx([8 / 13, 1 / 13, 4 / 13])
    assert gradient == pytest.approx(weights.tolist())
    assert value == pytest.approx(4 / 13 * math.log(2))
    # δ = (log 2, 0, 0), its mean log 2/3: the gradient is positive for the first task and negative for the others.
    # Adam's first step is 0.025 against its sign: ξ = (−1, 1, 1)/40, z ∝ (e^−0.05, 1, 1); at equal losses w = z.
    total = math.exp(-0.05) + 2
    assert next_weights(weighting) == pytest.approx([math.exp(-0.05) / total, 1 / total, 1 / total], rel=1e-5)


def test_famo_with_minima():
    # D = (1, 3, 0.5): 1/D of sum 10/3
    weights = step(build("famo", minima=[1, 1.0, 0.5]), [2.0, 4.0, 1.0], [1.5, 3.0, 0.9])[2]
    assert weights.tolist() == pytest.approx([0.3, 0.1, 0.6])


@pytest.mark.parametrize("minima", [[0.0, 0.0, 0.0], [0.01, 0.0, 1e-3]])
def test_famo_follows_its_recursion(minima):
    draw = np.random.default_rng(0)
    weighting, logits, adam = build("famo", minima=minima), np.zeros(3), AdamByHand(0.025, 1e-3)
    for _ in range(60):
        before = draw.uniform(0.1, 3, 3).astype(np.float32).tolist()
        after = (np.array(before) * draw.uniform(0.8, 1.1, 3)).astype(np.float32).tolist()
        _, gradient, weights = step(weighting, before, after)
        z = np.exp(logits) / np.exp(logits).sum()
        gaps = np.array(before) - minima + 1e-8
        assert weights.tolist() == pytest.approx((z / gaps / (z / gaps).sum()).tolist(), rel=1e-4)
        assert gradient == pytest.approx(weights.tolist(), rel=1e-5)
        jacobian = np.diag(z) - np.outer(z, z)
        logits = adam(logits, jacobian @ (np.log(gaps) - np.log(np.array(after) - minima + 1e-8)))


def test_torchjd_agrees_on_famo():
    theirs = pytest.importorskip("torchjd.scalarization").FAMO(3, lr=0.025, weight_decay=1e-3)
    weighting, generator = build("famo"), torch.Generator().manual_seed(0)
    for _ in range(50):
        losses = torch.rand(3, generator=generator) + 0.1
        after = losses * (0.9 + 0.1 * torch.rand(3, generator=generator))
        value, gradient, _ = step(weighting, losses.tolist(), after.tolist())
        leaf = losses.clone().requires_grad_()
        expected = theirs(leaf)
        expected.backward()
        theirs.update(after)
        assert value == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
        assert gradient == pytest.approx(leaf.grad.tolist(), rel=1e-4)


# Units small enough that the rule's 1e-8 is not seen.
@given(rows=st.lists(st.tuples(a_loss, st.integers(-4, 8)), min_size=1, max_size=5), steps=st.integers(1, 4))
def test_famo_does_not_see_units(rows, steps):
    values, exponents = (torch.tensor(column) for column in zip(*rows, strict=True))
    # No two tasks come equally far: Adam's first steps would make much of the rounding between them.
    factors = torch.tensor([0.5, 0.6, 1.5, 1.9, 3.5])[: len(rows)]
    units, plain, other = 2.0**exponents, build("famo", len(rows)), build("famo", len(rows))
    for _ in range(steps):
        first = step(plain, values.tolist(), (values * factors).tolist())
        second = step(other, (values * units).tolist(), (values * units * factors).tolist())
    # Up to c, the length of the step.
    shares = [torch.tensor(g) * v for (_, g, _), v in ((first, values), (second, values * units))]
    torch.testing.assert_close(shares[0] / shares[0].sum(), shares[1] / shares[1].sum(), rtol=2e-3, atol=1e-5)
    assert first[2].sum().item() == pytest.approx(1, rel=1e-5)


def test_famo_favours_who_came_less_far():
    weighting = build("famo")
    for _ in range(20):
        step(weighting, [1.0, 1.0, 1.0], [0.5, 0.9, 1.1])
    weights = next_weights(weighting)
    assert weights[0] < weights[1] < weights[2]


def test_famo_at_a_loss_of_zero():
    value, gradient, weights = step(build("famo"), [1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert weights[1].item() == pytest.approx(1)
    assert all(map(math.isfinite, [value, *gradient]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_famo_shows_a_bad_loss(bad):
    value, gradient, _ = step(build("famo"), [1.0, bad, 1.0], [1.0, 1.0, 1.0])
    assert not math.isfinite(value)
    assert not math.isfinite(gradient[1])
    weighting = build("famo")
    step(weighting, [1.0, 1.0, 1.0], [1.0, bad, 1.0])
    assert all(map(math.isnan, next_weights(weighting)))


# GradNorm.


def test_gradnorm_by_hand():
    weighting = build("gradnorm", 2)
    # First step: r = 1; lengths (1, 3), mean 2: |1 − 2| + |3 − 2| has the gradient (−1, 3), and Adam steps 0.025
    # against its signs: (1.025, 0.975), of sum 2 already. The step itself has weights 1.
    value, gradient, _ = step(weighting, [2.0, 4.0], [1.0, 3.0])
    assert (value, gradient) == (6.0, [1.0, 1.0])
    assert next_weights(weighting, 2) == pytest.approx([1.025, 0.975])
    # Second step: L/L(0) = (1/2, 1), r = (2/3, 4/3); lengths (4.1, 3.9), mean 4, targets 4 r^1.5 = (2.18, 6.16): the
    # gradient is (4, −4). Adam's moments: m = 0.9 · (−0.1, 0.3) + (0.4, −0.4) = (0.31, −0.13), over 1 − 0.81; v =
    # 0.999 · (0.001, 0.009) + 0.016 = (0.016999, 0.024991), over 1 − 0.998001
    _, gradient, _ = step(weighting, [1.0, 4.0], [4.0, 4.0])
    assert gradient == pytest.approx([1.025, 0.975])
    moved = [
        1.025 - 0.025 * (0.31 / 0.19) / math.sqrt(0.016999 / 0.001999),
        0.975 + 0.025 * (0.13 / 0.19) / math.sqrt(0.024991 / 0.001999),
    ]
    assert next_weights(weighting, 2) == pytest.approx([2 * w / sum(moved) for w in moved], rel=1e-5)


def test_gradnorm_follows_its_objective():
    # The gradient of Σ |w n − c| by automatic differentiation in float64, the rest as the paper's algorithm.
    draw = np.random.default_rng(1)
    weighting, w, adam, first = build("gradnorm", alpha=0.7, lr=0.01), np.ones(3), AdamByHand(0.01), None
    for _ in range(80):
        losses = draw.uniform(0.2, 3, 3).astype(np.float32).tolist()
        norms = draw.uniform(0.01, 5, 3).astype(np.float32).tolist()
        _, _, weights = step(weighting, losses, norms)
        assert weights.tolist() == pytest.approx(w.tolist(), rel=1e-4)
        first = np.array(losses) if first is None else first
        ratios = np.array(losses) / first
        leaf, n = torch.tensor(w, requires_grad=True), torch.tensor(norms).double()
        targets = (leaf * n).mean().detach() * torch.tensor(ratios / ratios.mean()) ** 0.7
        (leaf * n - targets).abs().sum().backward()
        w = np.maximum(adam(w, leaf.grad.numpy()), 1e-3)
        w *= 3 / w.sum()


@pytest.mark.slow
def test_gradnorm_evens_out_lengths_without_asymmetry():
    # α = 0, lengths in the ratio 100 : 10 : 1: the weights end near the inverse ratio.
    weighting = build("gradnorm", alpha=0, lr=0.003)
    for _ in range(3000):
        step(weighting, [1.0, 1.0, 1.0], [100.0, 10.0, 1.0])
    lengths = np.array(next_weights(weighting)) * [100, 10, 1]
    assert next_weights(weighting)[2] > 2.5
    assert lengths[0] < 5 * lengths[2]


def test_gradnorm_lengthens_the_gradient_of_the_slow_task():
    weighting = build("gradnorm", 2)
    for loss in np.linspace(1, 0.2, 20):
        step(weighting, [float(loss), 1.0], [1.0, 1.0])
    fast, slow = next_weights(weighting, 2)
    assert slow > 1.2 > 0.8 > fast > 0


@given(
    rows=st.lists(st.tuples(a_loss, a_loss, st.floats(2.0**-10, 2.0**10, width=32)), min_size=2, max_size=5),
    exponent=st.integers(-10, 10),
)
def test_gradnorm_does_not_see_a_common_unit(rows, exponent):
    plain, other, unit = build("gradnorm", len(rows)), build("gradnorm", len(rows)), 2.0**exponent
    for column in (0, 1):
        losses, norms = [row[column] for row in rows], [row[2] for row in rows]
        step(plain, losses, norms)
        step(other, [unit * x for x in losses], [unit * x for x in norms])
    assert next_weights(other, len(rows)) == pytest.approx(next_weights(plain, len(rows)), rel=1e-3)


def test_gradnorm_keeps_weights_positive_and_their_sum():
    weighting = build("gradnorm", lr=0.5)
    for k in range(50):
        step(weighting, [1.0, 1.0 + k, 1.0], [100.0, 1.0, 1.0])
        weights = next_weights(weighting)
        assert min(weights) > 0
        assert sum(weights) == pytest.approx(3)


def test_gradnorm_waits_for_the_first_loss_that_is_not_zero():
    # A first batch without valid pixels for the first task; from then on it counts from its second loss.
    late, plain = build("gradnorm", 2), build("gradnorm", 2)
    step(late, [0.0, 1.0], [0.0, 0.0])
    step(plain, [2.0, 1.0], [0.0, 0.0])
    for weighting in (late, plain):
        step(weighting, [2.0, 1.0], [1.0, 2.0])
    assert next_weights(late, 2) == next_weights(plain, 2) != [1.0, 1.0]


def test_gradnorm_with_losses_or_lengths_of_zero():
    weighting = build("gradnorm")
    step(weighting, [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert next_weights(weighting) == [1.0, 1.0, 1.0]
    step(weighting, [0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert all(map(math.isfinite, next_weights(weighting)))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", ["losses", "norms"])
def test_gradnorm_shows_what_is_not_finite(bad, at):
    weighting = build("gradnorm")
    step(weighting, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    step(weighting, [1.0, bad if at == "losses" else 2.0, 3.0], [1.0, bad if at == "norms" else 2.0, 3.0])
    assert all(map(math.isnan, next_weights(weighting)))


# Auto-Lambda.


def test_auto_lambda_by_hand():
    # Gradient −lr · (2, −1, 0): Adam's first step is 1e-4 against its sign.
    weighting = build("auto-lambda")
    value, gradient, weights = step(weighting, [1.0, 2.0, 3.0], [2.0, -1.0, 0.0])
    assert weights.tolist() == pytest.approx([0.1001, 0.0999, 0.1], abs=1e-8)
    assert gradient == weights.tolist()
    assert value == pytest.approx(0.1001 + 2 * 0.0999 + 0.3)


def test_auto_lambda_follows_adam_and_may_pass_zero():
    draw = np.random.default_rng(2)
    weighting, w, adam = build("auto-lambda", lr=0.01, start=0.05), np.full(3, 0.05), AdamByHand(0.01)
    for _ in range(60):
        alignments = draw.normal([1, -1, 0]).astype(np.float32).tolist()
        w = adam(w, -0.1 * np.array(alignments))
        assert step(weighting, [1.0, 1.0, 1.0], alignments)[2].tolist() == pytest.approx(w.tolist(), rel=1e-3, abs=1e-5)
    assert w[1] < 0 < w[0]


def test_auto_lambda_shows_what_is_not_finite():
    weighting = build("auto-lambda")
    step(weighting, [1.0, 1.0, 1.0], [1.0, math.nan, 0.0])
    assert math.isnan(next_weights(weighting)[1])


def test_auto_lambda_looks_at_the_split_that_it_is_told():
    assert build("auto-lambda").split == "val"
    assert build("auto-lambda", split="train").split == "train"


# All three.

STEPS = [([1.0, 0.5, 3.0], [0.9, 0.6, 2.0]), ([0.9, 0.4, 2.0], [0.8, 0.3, 2.5]), ([0.7, 0.6, 1.0], [0.7, 0.1, 0.9])]


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_weighting_goes_on_as_if_it_had_never_stopped(name):
    weighting = build(name)
    for losses, extra in STEPS:
        step(weighting, losses, extra)
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    twin = build(name)
    twin.load_state_dict(torch.load(file, weights_only=True))
    for losses, extra in STEPS * 2:
        ours, theirs = step(weighting, losses, extra), step(twin, losses, extra)
        assert ours[:2] == theirs[:2]
        assert torch.equal(ours[2], theirs[2])
    assert not list(weighting.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_tasks_order_does_not_matter(name):
    order = [2, 0, 1]
    plain, other = build(name), build(name)
    for losses, extra in STEPS:
        first = step(plain, losses, extra)[2]
        second = step(other, [losses[k] for k in order], [extra[k] for k in order])[2]
        torch.testing.assert_close(second, first[order])


@pytest.mark.parametrize(("name", "weight"), [("famo", 1.0), ("gradnorm", 1.0)])
def test_a_single_task_keeps_its_weight(name, weight):
    weighting = build(name, 1)
    for losses, extra in STEPS:
        assert step(weighting, losses[:1], extra[:1])[2].tolist() == [weight]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_weights_do_not_change_later(name):
    weighting = build(name)
    kept = step(weighting, *STEPS[0])[2]
    copy = kept.clone()
    step(weighting, *STEPS[1])
    assert torch.equal(kept, copy)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_waits_for_the_device(name):
    # Tensors without data raise where a value is asked for.
    weighting = build(name).to("meta")
    losses = torch.ones(3, device="meta", requires_grad=True)
    weighting.objective(losses, weighting.weights(losses.detach())).backward()
    if name == "famo":
        weighting.after_step(losses.detach())
    else:
        weighting.observe(losses.detach(), losses.detach() if name == "gradnorm" else 0.1)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("famo", {"lr": 0}, "'famo' needs a positive finite number as 'lr'"),
        ("famo", {"weight_decay": -1.0}, "'famo' needs a finite number of at least 0 as 'weight_decay'"),
        ("famo", {"minima": [0, 0]}, "'famo' needs 3 finite numbers as 'minima'"),
        ("famo", {"minima": [0, math.nan, 0]}, "'famo' needs 3 finite numbers as 'minima'"),
        ("famo", {"minima": "000"}, "'famo' needs 3 finite numbers as 'minima'"),
        ("gradnorm", {"alpha": -0.1}, "'gradnorm' needs a finite number of at least 0 as 'alpha'"),
        ("gradnorm", {"lr": math.inf}, "'gradnorm' needs a positive finite number as 'lr'"),
        ("auto-lambda", {"start": True}, "'auto-lambda' needs a positive finite number as 'start'"),
        ("auto-lambda", {"lr": "1"}, "'auto-lambda' needs a positive finite number as 'lr'"),
        ("auto-lambda", {"split": "test"}, "unknown split of 'auto-lambda' 'test'. .*Known: train, val"),
    ],
)
def test_options_are_checked(name, options, words):
    with pytest.raises(UsageError, match=words):
        build(name, **options)
