"""The weightings that see losses only: golden values, the published gradients, and TorchJD's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import benchmark
from tests.baselines.losses import BUILT, REFERENCE, SIMPLEX, build, built, losses_of_a_step, step

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


@pytest.mark.slow
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
