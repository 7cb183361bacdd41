"""The weightings that see losses only: invariances, useless losses, and complete state."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import benchmark
from tests.baselines.losses import (
    BUILT,
    WITH_LOGARITHM,
    build,
    built,
    losses_of_a_step,
    restored,
    rows_of_losses,
    step,
    tasks,
)


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
