"""The weightings that see losses only: golden values, independent gradients, invariances, and complete state."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import benchmark
from benchmark.errors import UsageError

KINDS = ("segmentation", "depth", "normals", "classification", "depth", "segmentation")
SIMPLEX = [0.5, 0.125, 0.375]

#: Every weighting with options, for three tasks; an epoch's end has passed for '…-after', whose warm-up is over.
BUILT = {
    "constant": ("constant", {"weights": SIMPLEX}),
    "uncertainty-kendall": ("uncertainty-kendall", {}),
    "gls": ("gls", {}),
    "rlw": ("rlw", {}),
    "rlw-dirichlet": ("rlw", {"distribution": "dirichlet"}),
    "si": ("si", {}),
    "imtl-l": ("imtl-l", {}),
    "stch": ("stch", {}),
    "stch-after": ("stch", {"warmup_epochs": 1, "mu": 0.5}),
    "uw-so": ("uw-so", {"temperature": 0.5}),
    "igb": ("igb", {}),
    "igb-after": ("igb", {"warmup_epochs": 1}),
    "go4align": ("go4align", {}),
    "ldc-mtl": ("ldc-mtl", {"penalty": 0.3}),
}
WITH_LOGARITHM = ("gls", "si", "stch", "stch-after", "uw-so", "igb", "igb-after", "go4align")
REFERENCE = [2.0, 0.1, 7.0]

losses_of_a_step = st.floats(2.0**-20, 2.0**20, width=32)
rows_of_losses = st.lists(losses_of_a_step, min_size=1, max_size=6)


def tasks(count):
    return [benchmark.Task(f"task{k}", kind, 1) for k, kind in enumerate(KINDS[:count])]


def build(name, count=3, **options):
    return benchmark.build_weighting(name, tasks(count), **options)


def built(case):
    """The case's weighting; what it learns is moved away from its start."""
    name, options = BUILT[case]
    weighting = build(name, **options)
    with torch.no_grad():
        for parameter in weighting.parameters():
            parameter.copy_(torch.tensor([0.3, -1.2, 2.0]))
    if case.endswith("-after"):
        weighting.epoch_end(torch.tensor(REFERENCE))
    return weighting


def step(weighting, losses):
    """Objective, its gradient and the weights of one step."""
    losses = torch.tensor(losses, requires_grad=True)
    weights = weighting.weights(losses.detach())
    value = weighting.objective(losses, weights)
    value.backward()
    return value.item(), losses.grad.tolist(), weights.detach()


def restored(weighting, case):
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    name, options = BUILT[case]
    twin = build(name, **options)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin


# Golden values, each worked out by hand.


def test_constant_multiplies_the_simplex_by_the_number_of_tasks():
    # 3 · (0.5, 0.125, 0.375) = (1.5, 0.375, 1.125); value 1.5 · 2 + 0.375 · 8 + 1.125 · 4 = 10.5
    value, gradient, weights = step(built("constant"), [2.0, 8.0, 4.0])
    assert value == 10.5
    assert gradient == weights.tolist() == [1.5, 0.375, 1.125]


@pytest.mark.parametrize("count", range(1, 7))
def test_constant_equal_weights_are_those_of_equal(count):
    losses = torch.linspace(0.1, 3, count)
    weighting = build("constant", count, weights=[1 / count] * count)
    assert torch.equal(weighting.weights(losses), build("equal", count).weights(losses))


def test_kendall_by_kind_of_task():
    # s = −0.5, e^0.5 = 1.6487213; segmentation and classification have that weight, depth and normals half of it.
    # Value: 1.6487213 · (0.5 + 1) + 0.8243606 · (2 + 4) + 4 · (−0.25) = 2.4730819 + 4.9461638 − 1
    weighting = build("uncertainty-kendall", 4)
    value, gradient, weights = step(weighting, [0.5, 2.0, 4.0, 1.0])
    assert value == pytest.approx(6.4192457)
    assert gradient == pytest.approx([1.6487213, 0.8243606, 0.8243606, 1.6487213]) == weights.tolist()
    # d/ds = 1/2 − c L e^−s: 0.5 − 0.8243606; 0.5 − 1.6487213; 0.5 − 3.2974425; 0.5 − 1.6487213
    expected = [-0.3243606, -1.1487213, -2.7974425, -1.1487213]
    assert weighting.log_variances.grad.tolist() == pytest.approx(expected)


def test_kendall_from_another_start():
    # s = 0, σ = 1: segmentation L, depth L / 2
    assert step(build("uncertainty-kendall", 2, start=0), [0.5, 3.0])[0] == pytest.approx(2.0)


def test_gls_by_hand():
    # (1 · 8 · 27)^(1/3) = 6; weights 6 / (3 L) = 2, 1/4, 2/27
    value, gradient, weights = step(build("gls"), [1.0, 8.0, 27.0])
    assert value == pytest.approx(6)
    assert gradient == pytest.approx([2, 1 / 4, 2 / 27]) == weights.tolist()


def test_gls_does_not_leave_the_range_of_float32():
    # Each product is far outside, each mean inside: (10^−30)^6 and (10^30)^6.
    for loss in (1e-30, 1e30):
        value, _, weights = step(build("gls", 6), [loss] * 6)
        assert value == pytest.approx(loss, rel=1e-5)
        assert weights.tolist() == pytest.approx([1 / 6] * 6)


def test_si_by_hand():
    # log 0.5 + log 4 + log 1 = log 2
    value, gradient, weights = step(build("si"), [0.5, 4.0, 1.0])
    assert value == pytest.approx(math.log(2))
    assert gradient == weights.tolist() == [2.0, 0.25, 1.0]


def test_imtl_l_starts_as_the_plain_sum():
    # s = 0: value Σ L, weights 1, d/ds (e^s L − s) = L − 1
    weighting = build("imtl-l")
    value, gradient, weights = step(weighting, [0.5, 4.0, 1.0])
    assert value == 5.5
    assert gradient == weights.tolist() == [1.0, 1.0, 1.0]
    assert weighting.log_scales.grad.tolist() == [-0.5, 3.0, 0.0]


def test_imtl_l_at_other_scales():
    # s = (0.3, −1.2, 2): e^s = 1.3498588, 0.3011942, 7.3890561
    # Value at L = (2, 10, 1): 2.6997176 + 3.0119421 + 7.3890561 − 1.1
    value, gradient, weights = step(built("imtl-l"), [2.0, 10.0, 1.0])
    assert value == pytest.approx(12.0007158)
    assert gradient == pytest.approx([1.3498588, 0.3011942, 7.3890561]) == weights.tolist()


def test_stch_in_warm_up_is_the_sum_of_log_losses():
    # log 0.5 + log 4 + log 1
    value, gradient, weights = step(build("stch"), [0.5, 4.0, 1.0])
    assert value == pytest.approx(math.log(2))
    assert gradient == weights.tolist() == [2.0, 0.25, 1.0]


def test_stch_after_warm_up_by_hand():
    # L / z = (1/2, 1, 5/2), μ = 1: value 3 log 4; shares (1/8, 1/4, 5/8), weights 3 · share / L
    weighting = build("stch", warmup_epochs=1)
    weighting.epoch_end(torch.tensor([2.0, 4.0, 0.4]))
    value, gradient, weights = step(weighting, [1.0, 4.0, 1.0])
    assert value == pytest.approx(3 * math.log(4))
    assert gradient == pytest.approx([3 / 8, 3 / 16, 15 / 8]) == weights.tolist()
    # μ = 1/2 squares the ratios: 1/4, 1, 25/4 of sum 15/2
    weighting = build("stch", warmup_epochs=1, mu=0.5)
    weighting.epoch_end(torch.tensor([2.0, 4.0, 0.4]))
    value, gradient, weights = step(weighting, [1.0, 4.0, 1.0])
    assert value == pytest.approx(1.5 * math.log(7.5))
    assert gradient == pytest.approx([3 / 30, 3 * 4 / 30 / 4, 3 * 25 / 30]) == weights.tolist()


def test_stch_takes_the_last_epoch_of_warm_up_as_reference_and_keeps_it():
    # Five epochs: the fifth has the means (1, 2, 4), so at these losses every ratio is 1 and the weights are 1 / L.
    weighting = build("stch")
    losses = [1.0, 6.0, 4.0]
    for means in ([9.0, 1.0, 1.0], [8.0, 1.0, 1.0], [7.0, 1.0, 1.0], [6.0, 1.0, 1.0]):
        weighting.epoch_end(torch.tensor(means))
        assert step(weighting, losses)[1] == pytest.approx([1, 1 / 6, 1 / 4])
    for means in ([1.0, 2.0, 4.0], [5.0, 5.0, 5.0], [0.1, 0.2, 0.3]):
        weighting.epoch_end(torch.tensor(means))
        # Ratios 1, 3, 1: shares 1/5, 3/5, 1/5
        assert step(weighting, losses)[1] == pytest.approx([3 / 5, 3 / 10, 3 / 20])


def test_igb_in_warm_up_is_the_sum_of_log_losses():
    # Two epochs by default: in both log 0.5 + log 4 + log 1
    weighting = build("igb")
    for _ in range(2):
        value, gradient, weights = step(weighting, [0.5, 4.0, 1.0])
        assert value == pytest.approx(math.log(2))
        assert gradient == weights.tolist() == [2.0, 0.25, 1.0]
        weighting.epoch_end(torch.tensor([1.0, 2.0, 3.0]))
    assert step(weighting, [0.5, 4.0, 1.0])[1] != [2.0, 0.25, 1.0]


def test_igb_after_warm_up_by_hand():
    # L / z = (1/2, 1, 5/2): e^½, e, e^(5/2) = 1.6487213, 2.7182818, 12.1824940 of sum 16.5494971, times 3
    weighting = build("igb", warmup_epochs=1)
    weighting.epoch_end(torch.tensor([2.0, 4.0, 0.4]))
    value, gradient, weights = step(weighting, [1.0, 4.0, 1.0])
    balance = [3 * e / 16.5494971 for e in (1.6487213, 2.7182818, 12.1824940)]
    assert value == pytest.approx(balance[1] * math.log(4))
    assert gradient == pytest.approx([balance[0], balance[1] / 4, balance[2]]) == weights.tolist()


def test_igb_keeps_the_reference_of_its_last_epoch_of_warm_up():
    weighting = build("igb")
    for means in ([9.0, 1.0, 1.0], [1.0, 2.0, 4.0], [5.0, 5.0, 5.0]):
        weighting.epoch_end(torch.tensor(means))
    # Gaps 1, 1, 2: shares 1, 1, e
    shares = [3 / (2 + math.e), 3 / (2 + math.e), 3 * math.e / (2 + math.e)]
    assert step(weighting, [1.0, 2.0, 8.0])[1] == pytest.approx([shares[0], shares[1] / 2, shares[2] / 8])


def test_igb_does_not_leave_the_range_of_float32():
    weighting = build("igb", 2, warmup_epochs=1)
    weighting.epoch_end(torch.tensor([1.0, 1.0]))
    assert step(weighting, [1e30, 1e-30])[2].tolist() == pytest.approx([2e-30, 0.0])
    # 1e6 + 1/16 and 1e6: float32 knows both exactly; their difference decides.
    assert step(weighting, [1e6 + 1 / 16, 1e6])[2][0].item() == pytest.approx(2e-6 / (1 + math.exp(-1 / 16)), rel=1e-5)


def test_go4align_by_hand_over_two_steps():
    # η = log 2: p ∝ (½, ½, ¼), so (2, 2, 1)/5; Σ L = 4, v = (4 · 2/5, 4 · 2/5, 2 · 1/5)
    weighting = build("go4align", step_size=math.log(2))
    value, gradient, weights = step(weighting, [1.0, 1.0, 2.0])
    assert gradient == pytest.approx([1.6, 1.6, 0.4]) == weights.tolist()
    assert value == pytest.approx(4.0)
    # p ∝ (¼, ¼, 1/16), so (4, 4, 1)/9
    assert step(weighting, [1.0, 1.0, 2.0])[1] == pytest.approx([16 / 9, 16 / 9, 2 / 9])


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        # v = 7/3 (1, ½, ¼): the mean is 7/12; of the two divisions, ½ with ¼ has squares 1/32, 1 with ½ has 1/8.
        (1, [49 / 36] * 3),
        (2, [7 / 3, 7 / 8, 7 / 8]),
        (3, [7 / 3, 7 / 6, 7 / 12]),
        (7, [7 / 3, 7 / 6, 7 / 12]),
    ],
)
def test_go4align_groups_by_hand(groups, expected):
    assert step(build("go4align", groups=groups, step_size=0), [1.0, 2.0, 4.0])[1] == pytest.approx(expected)


def test_ldc_mtl_by_hand():
    # σ = 0.7310586 each; weighted losses rise, so that the differences' signs are −, −: Σ w L = 7/3 + ½ σ (1 + 2)
    weighting, scale = build("ldc-mtl", penalty=0.5), 1 / (1 + math.exp(-1))
    value, gradient, weights = step(weighting, [1.0, 2.0, 4.0])
    assert value == pytest.approx(7 / 3 + 1.5 * scale)
    assert gradient == pytest.approx([1 / 3 - scale / 2, 1 / 3, 1 / 3 + scale / 2]) == weights.tolist()
    # d/ds = σ (1 − σ) L_k (1/(3σ) + ½ (−1, 0, 1)): the sum of the scales is held constant
    outer = [(1 - scale) * scale * loss for loss in (1.0, 2.0, 4.0)]
    expected = [o * (1 / (3 * scale) + pull / 2) for o, pull in zip(outer, (-1, 0, 1), strict=True)]
    assert weighting.logits.grad.tolist() == pytest.approx(expected)


def test_ldc_mtl_depends_on_the_order_of_three_tasks():
    # 2, 1, 4: the differences' signs are +, −, and the middle task is in both.
    scale = 1 / (1 + math.exp(-1))
    found = step(build("ldc-mtl", penalty=0.5), [2.0, 1.0, 4.0])[1]
    assert found == pytest.approx([1 / 3 + scale / 2, 1 / 3 - scale, 1 / 3 + scale / 2])
    assert found[1] < 0  # λ is above 1/(2 Σσ) = 0.228
    two = [step(build("ldc-mtl", 2), losses)[1] for losses in ([1.0, 3.0], [3.0, 1.0])]
    assert two[0] == pytest.approx(two[1][::-1])


def test_ldc_mtl_of_equal_weighted_losses_has_no_penalty():
    value, gradient, _ = step(build("ldc-mtl"), [2.0, 2.0, 2.0])
    assert value == pytest.approx(2.0)
    assert gradient == pytest.approx([1 / 3] * 3)
    assert step(build("ldc-mtl", 1), [3.0])[:2] == (pytest.approx(3.0), pytest.approx([1.0]))


# Random weights.


def test_rlw_draws_from_splitmix64():
    # The generator's published first outputs from 1234567; u = (the upper 52 bits + ½) / 2^52.
    bits = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    uniform = [((b >> 12) + 0.5) / 2**52 for b in bits]
    weighting = build("rlw", distribution="dirichlet")
    weighting.position.fill_(1234567)
    exponential = [-math.log(u) for u in uniform]
    expected = [e / sum(exponential) for e in exponential]
    assert weighting.weights(torch.ones(3)).tolist() == pytest.approx(expected)
    weighting = build("rlw")
    weighting.position.fill_(1234567)
    normal = [math.exp(stats.norm.ppf(u)) for u in uniform]
    assert weighting.weights(torch.ones(3)).tolist() == pytest.approx([e / sum(normal) for e in normal])


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_rlw_has_the_distribution_that_it_names(distribution):
    torch.manual_seed(0)
    weighting = build("rlw", distribution=distribution)
    drawn = torch.stack([weighting.weights(torch.ones(3, dtype=torch.float64)) for _ in range(4000)])
    assert drawn.sum(1).sub(1).abs().max() < 1e-12
    assert (drawn > 0).all()
    if distribution == "normal":
        # log w_i − log w_j is the difference of two standard normals: N(0, 2).
        seen, law = (drawn[:, 0] / drawn[:, 1]).log(), stats.norm(scale=2**0.5)
    else:
        # A coordinate of the flat Dirichlet distribution on three is Beta(1, 2).
        seen, law = drawn[:, 2], stats.beta(1, 2)
    assert stats.kstest(seen.numpy(), law.cdf).pvalue > 1e-3
    # Neither do the tasks nor successive steps know of each other.
    first, second = drawn[:-1, 0], drawn[1:, 0]
    assert abs(stats.spearmanr(first, second).statistic) < 0.06


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_rlw_depends_on_the_seed_at_construction_and_on_nothing_later(distribution):
    def draws(seed):
        torch.manual_seed(seed)
        weighting = build("rlw", distribution=distribution)
        torch.manual_seed(99)
        found = torch.stack([weighting.weights(torch.ones(3)) for _ in range(5)])
        assert torch.initial_seed() == 99
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(99)))
        return found

    assert torch.equal(draws(1), draws(1))
    assert not torch.equal(draws(1), draws(2))
    assert len(draws(1).unique(dim=0)) == 5


def test_uw_so_by_hand():
    # T = 2: 1/(T L) = 1, 1/2, 1/4; e^1, e^½, e^¼ = 2.7182818, 1.6487213, 1.2840254, of sum 5.6510285
    value, gradient, weights = step(build("uw-so", temperature=2), [0.5, 1.0, 2.0])
    assert weights.tolist() == pytest.approx([0.4810242, 0.2917559, 0.2272199])
    assert gradient == weights.tolist()
    assert value == pytest.approx(0.5 * 0.4810242 + 0.2917559 + 2 * 0.2272199)


def test_uw_so_tells_small_losses_apart_and_takes_large_ones_as_even():
    # 1/1e-6 − 1/(1e-6 + 1e-12) = 1: e/(1 + e), though float32 knows the inverses to a tenth
    close = torch.tensor([1e-6, 1e-6 * (1 + 2.0**-20)])
    apart = float(1 / close[0].double() - 1 / close[1].double())
    assert build("uw-so", 2).weights(close)[0].item() == pytest.approx(1 / (1 + math.exp(-apart)), rel=1e-6)
    assert build("uw-so").weights(torch.tensor([1e-45, 1.0, 1e30])).tolist() == [1, 0, 0]
    assert build("uw-so").weights(torch.tensor([1e15, 2e20, 3e38])).tolist() == pytest.approx([1 / 3] * 3)


# Gradients against float64 computations of the published formulas.


def published(case, losses, learned):
    """The objective of a case as its paper writes it. (K,) float64 -> scalar."""
    ratios = losses / torch.tensor(REFERENCE, dtype=torch.float64)
    sigma = (learned / 2).exp() if learned is not None else None
    return {
        "constant": lambda: 3 * (torch.tensor(SIMPLEX, dtype=torch.float64) * losses).sum(),
        "uncertainty-kendall": lambda: (
            losses[0] / sigma[0] ** 2 + (losses[1:] / (2 * sigma[1:] ** 2)).sum() + sigma.log().sum()
        ),
        "gls": lambda: losses.prod() ** (1 / 3),
        "si": lambda: losses.prod().log(),
        "imtl-l": lambda: (learned.exp() * losses - learned).sum(),
        "stch": lambda: losses.prod().log(),
        "stch-after": lambda: 3 * 0.5 * (ratios**2).sum().log(),
        "uw-so": lambda: (torch.softmax(2 / losses.detach(), 0) * losses).sum(),
        "igb": lambda: losses.prod().log(),
        "igb-after": lambda: 3 * (torch.softmax(ratios.detach(), 0) * losses.log()).sum(),
        "go4align": lambda: (in_two_groups(losses.detach(), 1e-4) * losses).sum(),
        "ldc-mtl": lambda: (
            (learned.sigmoid() * losses).sum() / learned.detach().sigmoid().sum()
            + 0.3 * (learned.sigmoid() * losses).diff().abs().sum()
        ),
    }[case]()


def in_two_groups(losses, rate):
    """GO4Align's weights of a first step: of all splits of the three tasks in two that of least squared distances."""
    shares = torch.softmax(-rate * losses, 0)
    values = losses.sum() / losses * shares
    best, least = None, math.inf
    for alone in range(3):
        rest = [k for k in range(3) if k != alone]
        centre = values[rest].mean()
        squares = (values[rest] - centre).square().sum().item()
        if squares < least:
            best, least = torch.full_like(values, centre.item()), squares
            best[alone] = values[alone]
    return best


@pytest.mark.parametrize("case", [case for case in BUILT if not case.startswith("rlw")])
@given(values=st.lists(losses_of_a_step, min_size=3, max_size=3))
def test_value_and_gradients_are_those_of_the_published_formula(case, values):
    weighting = built(case)
    value, gradient, weights = step(weighting, values)
    losses = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    learned = [p.detach().double().requires_grad_() for p in weighting.parameters()]
    exact = published(case, losses, learned[0] if learned else None)
    exact.backward()
    assert value == pytest.approx(exact.item(), rel=1e-4, abs=1e-4)
    assert gradient == pytest.approx(losses.grad.tolist(), rel=1e-4)
    assert weights.tolist() == pytest.approx(gradient, rel=1e-5)
    for ours, theirs in zip(weighting.parameters(), learned, strict=True):
        assert ours.grad.tolist() == pytest.approx(theirs.grad.tolist(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("case", BUILT)
def test_the_weights_are_the_objectives_gradient(case):
    _, gradient, weights = step(built(case), [0.3, 1e-4, 70.0])
    assert gradient == pytest.approx(weights.tolist(), rel=1e-5)


@pytest.mark.parametrize(("name", "factor"), [("uncertainty-kendall", 1 / 2), ("imtl-l", 1)])
def test_learned_weights_settle_where_the_theory_says(name, factor):
    # At constant losses the weight is 1 / (2 L) for both forms of uncertainty, 1 / L for IMTL-L.
    weighting = build(name)
    losses = torch.tensor([0.2, 1.0, 5.0])
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        weighting.objective(losses, weighting.weights(losses)).backward()
        optimiser.step()
    assert torch.allclose(weighting.weights(losses), factor / losses, rtol=1e-2)


# TorchJD, where it has the published definition.


def scalarization():
    return pytest.importorskip("torchjd.scalarization")


def assert_same(weighting, scalarizer, values, *, learned=None):
    value, gradient, _ = step(weighting, values)
    losses = torch.tensor(values, requires_grad=True)
    theirs = scalarizer(losses)
    theirs.backward()
    assert value == pytest.approx(theirs.item(), rel=1e-5)
    assert gradient == pytest.approx(losses.grad.tolist(), rel=1e-5)
    if learned is not None:
        (ours,) = weighting.parameters()
        assert ours.grad.tolist() == pytest.approx(learned.grad.tolist(), rel=1e-5)


def test_torchjd_agrees_on_constant_and_gls():
    losses = [0.3, 1e-2, 70.0]
    assert_same(built("constant"), scalarization().Constant(3 * torch.tensor(SIMPLEX)), losses)
    assert_same(built("gls"), scalarization().GeometricMean(), losses)


def test_torchjd_agrees_on_si_and_stch():
    module, losses, reference = scalarization(), [0.3, 1e-2, 70.0], torch.tensor(REFERENCE)
    assert_same(built("si"), lambda values: 3 * module.GeometricMean()(values).log(), losses)
    smooth = module.STCH(0.5, weights=torch.ones(3))
    assert_same(built("stch-after"), lambda values: 3 * smooth((values / reference).log()), losses)


def test_torchjd_agrees_on_imtl_l():
    weighting, theirs = built("imtl-l"), scalarization().IMTLL(3)
    theirs.load_state_dict({"log_scale": weighting.log_scales})
    assert_same(weighting, theirs, [0.3, 1e-2, 70.0], learned=theirs.log_scale)


def test_torchjd_agrees_on_kendalls_form_for_regression():
    weighting = benchmark.build_weighting(
        "uncertainty-kendall", [benchmark.Task(f"d{k}", "depth", 1) for k in range(3)]
    )
    theirs = scalarization().UW(3)
    theirs.load_state_dict({"log_var": torch.full((3,), -0.5)})
    assert_same(weighting, theirs, [0.3, 1e-2, 70.0], learned=theirs.log_var)


# Properties.


@pytest.mark.parametrize("name", ["si", "stch", "igb"])
@given(rows=st.lists(st.tuples(losses_of_a_step, st.integers(-30, 30)), min_size=1, max_size=6), after=st.booleans())
def test_no_unit_of_loss_changes_a_tasks_contribution(name, rows, after):
    # A contribution is w_k ∇L_k, so w_k L_k must stay. Powers of two scale without rounding.
    values, exponents = zip(*rows, strict=True)

    def contributions(units):
        weighting = build(name, len(rows))
        for _ in range(5 if after else 0):
            weighting.epoch_end(torch.tensor([3.0 * unit for unit in units]))
        losses = torch.tensor([value * unit for value, unit in zip(values, units, strict=True)])
        return weighting.weights(losses) * losses

    units = [2.0**e for e in exponents]
    assert torch.allclose(contributions(units), contributions([1.0] * len(rows)), rtol=1e-5)
    assert contributions(units).sum().item() == pytest.approx(len(rows), rel=1e-5)


@given(rows=st.lists(st.tuples(losses_of_a_step, st.integers(-30, 30)), min_size=1, max_size=6))
def test_gls_units_change_the_length_of_the_step_only(rows):
    values, exponents = zip(*rows, strict=True)
    losses, units = torch.tensor(values), torch.tensor([2.0**e for e in exponents])
    weighting = build("gls", len(rows))
    plain, scaled = weighting.weights(losses) * losses, weighting.weights(losses * units) * losses * units
    factor = 2 ** (sum(exponents) / len(rows))
    assert torch.allclose(scaled, factor * plain, rtol=1e-4)
    assert weighting.weights(losses).sum() >= 1 - 1e-4


@pytest.mark.parametrize("name", ["gls", "si", "stch", "imtl-l", "uw-so", "igb", "go4align"])
@given(values=rows_of_losses, data=st.data())
def test_the_tasks_order_does_not_matter(name, values, data):
    order = data.draw(st.permutations(range(len(values))))

    def weights(losses):
        weighting = build(name, len(losses))
        for _ in range(5):
            weighting.epoch_end(2 + losses.sqrt())
        return weighting.weights(losses)

    losses = torch.tensor(values)
    assert torch.allclose(weights(losses[order]), weights(losses)[order], rtol=1e-5)


def test_the_kinds_of_the_tasks_go_with_their_order():
    given_order, reverse = tasks(4), tasks(4)[::-1]
    weights = [
        benchmark.build_weighting("uncertainty-kendall", chosen).weights(torch.ones(4))
        for chosen in (given_order, reverse)
    ]
    assert torch.equal(weights[0], weights[1].flip(0))


@given(values=st.lists(losses_of_a_step, min_size=2, max_size=6))
def test_stch_gives_most_to_the_task_that_has_improved_least(values):
    weighting = build("stch", len(values), warmup_epochs=1)
    weighting.epoch_end(torch.full((len(values),), 3.0))
    losses = torch.tensor(values)
    shares = weighting.weights(losses) * losses
    assert (shares[losses.argsort()].diff() >= -1e-5).all()


@pytest.mark.parametrize("case", WITH_LOGARITHM)
@pytest.mark.parametrize("bad", [-1.0, -1e-30, math.nan])
@pytest.mark.parametrize("others", [(2.0, 3.0), (-2.0, 3.0)])
def test_a_loss_without_logarithm_shows_in_objective_and_gradient(case, bad, others):
    value, gradient, _ = step(built(case), [others[0], bad, others[1]])
    assert not math.isfinite(value)
    assert not math.isfinite(gradient[1])


@pytest.mark.parametrize("case", WITH_LOGARITHM)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_task_without_a_valid_target_sits_the_step_out(case, zero):
    """Its loss is exactly 0; the others learn as if it were not there (`stch`: up to its factor K)."""
    value, gradient, weights = step(built(case), [2.0, zero, 3.0])
    assert math.isfinite(value)
    assert gradient[1] == 0
    assert weights[1] == 0
    alone = built(case)
    if case == "gls":
        assert gradient[0] == pytest.approx(math.sqrt(6) / 2 / 2)  # of √(L_1 L_3), by L_1
    elif case == "si":
        assert gradient[0] == pytest.approx(1 / 2)
    elif case == "uw-so":
        assert gradient[0] == pytest.approx(1 / (1 + math.exp(-1 / 3)))  # 1/(T L) = 1 and 2/3
    elif case == "igb":
        assert gradient[0] == pytest.approx(1 / 2)
    elif case == "igb-after":  # gaps 1 and 3/7, of a factor 3
        assert gradient[0] == pytest.approx(3 / (1 + math.exp(3 / 7 - 1)) / 2)
    elif case == "go4align":  # Σ L / L = 5/2, p = 1/(1 + e^−1e-4)
        assert gradient[0] == pytest.approx(5 / 2 / (1 + math.exp(-1e-4)))
    else:
        assert gradient[0] > 0
        assert gradient[0] == pytest.approx(float(alone.weights(torch.tensor([2.0, zero, 3.0]))[0]))


@pytest.mark.parametrize("case", BUILT)
def test_zero_losses_are_no_trouble(case):
    weighting = built(case)
    value, gradient, _ = step(weighting, [0.0, 0.0, 0.0])
    assert math.isfinite(value)
    assert all(map(math.isfinite, gradient))
    assert all(p.grad.isfinite().all() for p in weighting.parameters())


@pytest.mark.parametrize("case", BUILT)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_shows_in_the_objective(case, bad):
    assert not math.isfinite(step(built(case), [1.0, bad, 1.0])[0])


@pytest.mark.parametrize("name", ["stch", "igb"])
@pytest.mark.parametrize("bad", [0.0, -0.0, -1.0, math.inf, -math.inf, 1e300, 1e-300])
def test_a_useless_reference_shows(name, bad):
    # The last two leave the range of float32.
    weighting = build(name, warmup_epochs=1)
    weighting.epoch_end(torch.tensor([1.0, bad, 1.0], dtype=torch.float64))
    value, gradient, weights = step(weighting, [1.0, 2.0, 3.0])
    assert math.isnan(value)
    assert all(map(math.isnan, [*gradient, *weights.tolist()]))


@pytest.mark.parametrize("name", ["stch", "igb"])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf])
def test_a_mean_of_warm_up_that_is_no_reference_harms_nothing(name, bad):
    weighting = build(name, warmup_epochs=2)
    weighting.epoch_end(torch.tensor([1.0, bad, 1.0]))
    assert step(weighting, [0.5, 4.0, 1.0])[1] == [2.0, 0.25, 1.0]
    weighting.epoch_end(torch.tensor([1.0, 2.0, 3.0]))
    twin = build(name, warmup_epochs=1)
    twin.epoch_end(torch.tensor([1.0, 2.0, 3.0]))
    assert step(weighting, [0.5, 4.0, 1.0])[:2] == step(twin, [0.5, 4.0, 1.0])[:2]


# State.


@pytest.mark.parametrize("case", BUILT)
def test_a_restored_weighting_goes_on_as_if_it_had_never_stopped(case):
    weighting = built(case)
    for means in ([3.0, 1.9, 0.2], [1.0, 1.8, 0.1]):
        step(weighting, means)
        weighting.epoch_end(torch.tensor(means))
    twin = restored(weighting, case)
    for means in ([0.9, 0.3, 0.1], [0.8, 0.3, 0.1], [0.7, 0.2, 0.1], [0.6, 0.1, 0.2]):
        ours, theirs = step(weighting, means), step(twin, means)
        assert ours[:2] == theirs[:2]
        assert torch.equal(ours[2], theirs[2])
        weighting.epoch_end(torch.tensor(means))
        twin.epoch_end(torch.tensor(means))


@pytest.mark.parametrize("case", BUILT)
def test_moving_changes_nothing(case):
    weighting, device = built(case), "cuda" if torch.cuda.is_available() else "cpu"
    twin = restored(weighting, case).to(device)
    for _ in range(3):
        here = weighting.weights(torch.tensor([0.9, 0.3, 0.1]))
        there = twin.weights(torch.tensor([0.9, 0.3, 0.1], device=device))
        assert torch.allclose(here, there.cpu(), rtol=1e-6)


def test_what_the_optimiser_gets():
    assert {case: sum(p.numel() for p in built(case).parameters()) for case in BUILT} == {
        **dict.fromkeys(BUILT, 0),
        "uncertainty-kendall": 3,
        "imtl-l": 3,
        "ldc-mtl": 3,
    }


@pytest.mark.parametrize("case", BUILT)
def test_recorded_weights_do_not_change_later(case):
    weighting = built(case)
    losses = torch.tensor([4.0, 2.0, 1.0])
    first = weighting.weights(losses)
    kept = first.clone()
    weighting.weights(losses).detach().mul_(2)
    for _ in range(6):
        weighting.epoch_end(losses)
    with torch.no_grad():
        for parameter in weighting.parameters():
            parameter.add_(1)
    assert torch.equal(first, kept)
    if case == "constant":
        assert torch.equal(weighting.weights(losses), kept)


@pytest.mark.parametrize("case", BUILT)
def test_nothing_waits_for_the_device(case):
    # Tensors without data raise where a value is asked for.
    weighting = built(case).to("meta")
    losses = torch.ones(3, device="meta", requires_grad=True)
    weights = weighting.weights(losses.detach())
    weighting.objective(losses, weights).backward()
    weighting.epoch_end(losses.detach().double())
    assert weights.shape == (3,)
    assert weights.dtype == torch.float32


# Options.


@pytest.mark.parametrize(
    "weights",
    [
        [0.5, 0.5],
        [0.25] * 4,
        [],
        [1.5, -0.5, 0.0],
        [0.5, 0.5, math.nan],
        [math.inf, 0, 0],
        [True, 0, 0],
        ["1", 0, 0],
        1,
        "100",
    ],
)
def test_constant_wants_one_weight_for_each_task(weights):
    with pytest.raises(UsageError, match=r"'constant' needs 3 finite numbers, .*\(task0, task1, task2\)"):
        build("constant", weights=weights)


@pytest.mark.parametrize("weights", [[1, 1, 1], [0.3, 0.3, 0.3], [0, 0, 0]])
def test_constant_wants_a_sum_of_one(weights):
    with pytest.raises(UsageError, match=r"'constant' needs 'weights' that sum to 1, .* which sum to"):
        build("constant", weights=weights)


def test_constant_has_no_default():
    with pytest.raises(UsageError, match="'constant' needs the option 'weights'"):
        build("constant")


def test_a_corner_of_the_simplex_trains_one_task():
    assert step(build("constant", weights=(0, 1, 0)), [2.0, 8.0, 4.0])[:2] == (24.0, [0.0, 3.0, 0.0])


@pytest.mark.parametrize("start", [math.nan, math.inf, "0", False, None])
def test_kendall_wants_a_finite_start(start):
    with pytest.raises(UsageError, match="'uncertainty-kendall' needs a finite number as 'start'"):
        build("uncertainty-kendall", start=start)


@pytest.mark.parametrize("distribution", ["uniform", "", None, 1, ["normal"]])
def test_rlw_wants_a_distribution_that_it_knows(distribution):
    with pytest.raises(UsageError, match="'rlw' needs 'normal' or 'dirichlet' as 'distribution'"):
        build("rlw", distribution=distribution)


@pytest.mark.parametrize("mu", [0, -1.0, math.nan, math.inf, "2", True, None])
def test_stch_wants_a_positive_mu(mu):
    with pytest.raises(UsageError, match="'stch' needs a positive finite number as 'mu'"):
        build("stch", mu=mu)


@pytest.mark.parametrize("name", ["stch", "igb"])
@pytest.mark.parametrize("epochs", [0, -1, 1.5, "5", True, None])
def test_warm_up_is_of_an_epoch_at_least(name, epochs):
    with pytest.raises(UsageError, match=f"'{name}' needs a whole number from 1 as 'warmup_epochs'"):
        build(name, warmup_epochs=epochs)


@pytest.mark.parametrize(("name", "least"), [("stch", 1), ("igb", 1), ("excessmtl", 0)])
@pytest.mark.parametrize("epochs", [2**63, 10**30])
def test_warm_up_is_of_no_more_epochs_than_are_counted(name, least, epochs):
    expected = rf"'{name}' needs a whole number from {least} and below 2\^63 \(9223372036854775808\) as"
    with pytest.raises(UsageError, match=f"{expected} 'warmup_epochs', found {epochs}"):
        build(name, warmup_epochs=epochs)


@pytest.mark.parametrize("name", ["stch", "igb"])
def test_warm_up_may_be_as_long_as_epochs_are_counted(name):
    weighting = build(name, warmup_epochs=2**63 - 1)
    weighting.epoch_end(torch.tensor([1.0, 2.0, 3.0]))
    assert step(weighting, [0.5, 4.0, 1.0])[1] == [2.0, 0.25, 1.0]


@pytest.mark.parametrize("groups", [0, -1, 1.5, "2", True, None])
def test_go4align_wants_a_group(groups):
    with pytest.raises(UsageError, match="'go4align' needs a whole number from 1 as 'groups', found"):
        build("go4align", groups=groups)


@pytest.mark.parametrize(("name", "option"), [("go4align", "step_size"), ("ldc-mtl", "penalty")])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "2", True, None])
def test_rates_and_penalties_are_finite_and_not_negative(name, option, value):
    with pytest.raises(UsageError, match=f"'{name}' needs a finite number of at least 0 as '{option}'"):
        build(name, **{option: value})


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, "2", True, None])
def test_uw_so_wants_a_positive_temperature(temperature):
    with pytest.raises(UsageError, match="'uw-so' needs a positive finite number as 'temperature'"):
        build("uw-so", temperature=temperature)
