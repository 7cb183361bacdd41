"""The loss-based weightings: golden values, properties over extreme losses, and state that survives a restart."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import benchmark
from benchmark.errors import UsageError

NAMES = ("equal", "uncertainty", "dwa")

losses_of_an_epoch = st.floats(2.0**-20, 2.0**20, width=32)
any_loss = st.one_of(losses_of_an_epoch, st.sampled_from([0.0, math.nan, math.inf, 1e-38, 3e38]))


def tasks(count):
    return [benchmark.Task(f"task{k}", "classification", 4) for k in range(count)]


def build(name, count=3, **options):
    return benchmark.build_weighting(name, tasks(count), **options)


def direction(weighting, losses):
    return weighting.objective(losses, weighting.weights(losses.detach()))


def weights_after(weighting, *epochs):
    for means in epochs:
        weighting.epoch_end(torch.tensor(means))
    return weighting.weights(torch.ones(len(weighting.tasks)))


def restored(weighting, name, count=3):
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    twin = build(name, count)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin


# Golden values, each worked out by hand.


def test_equal_is_the_plain_sum():
    weighting = build("equal")
    losses = torch.tensor([0.5, 2.0, 4.0], requires_grad=True)
    value = direction(weighting, losses)
    value.backward()
    assert value.item() == 6.5
    assert losses.grad.tolist() == [1.0, 1.0, 1.0]


def test_uncertainty_starts_with_the_authors_constants():
    # s = −0.5: weight e^0.5 / 2 = 0.8243606; Σ w L + s/2 = 0.8243606 · 3.5 − 2 · 0.25 = 2.3852622
    weighting = build("uncertainty", 2)
    losses = torch.tensor([0.5, 3.0], requires_grad=True)
    value = direction(weighting, losses)
    value.backward()
    assert weighting.weights(losses).tolist() == pytest.approx([0.8243606] * 2)
    assert value.item() == pytest.approx(2.3852622)
    assert losses.grad.tolist() == pytest.approx([0.8243606] * 2)
    # d/ds (L e^−s / 2 + s / 2) = (1 − L e^−s) / 2: (1 − 0.5 · 1.6487213) / 2 and (1 − 3 · 1.6487213) / 2
    assert weighting.log_variances.grad.tolist() == pytest.approx([0.0878197, -1.9730819])


def test_uncertainty_from_another_start():
    # s = 0: L / 2 + 0
    assert direction(build("uncertainty", 2, start=0), torch.tensor([0.5, 3.0])).item() == pytest.approx(1.75)


def test_dwa_by_hand():
    # Ratios 0.5 and 1 at T = 2: w_1 = 2 / (1 + e^0.25) = 0.8756470, w_2 = 2 − w_1
    assert weights_after(build("dwa", 2), [4.0, 1.0], [2.0, 1.0]).tolist() == pytest.approx([0.8756470, 1.1243530])
    # Three tasks, ratios 0, 1, 2 at T = 1: 3 (1, e, e²) / 11.1073379
    weights = weights_after(build("dwa", 3, temperature=1), [1.0, 1.0, 2.0], [0.0, 1.0, 4.0])
    assert weights.tolist() == pytest.approx([0.2700917, 0.7341855, 1.9957228])


def test_dwa_looks_at_the_last_two_epochs_only():
    late = weights_after(build("dwa", 2), [9.0, 7.0], [100.0, 0.1], [4.0, 1.0], [2.0, 1.0])
    assert torch.equal(late, weights_after(build("dwa", 2), [4.0, 1.0], [2.0, 1.0]))


@pytest.mark.parametrize("count", range(1, 11))
def test_dwa_is_equal_in_the_first_two_epochs(count):
    weighting = build("dwa", count)
    assert weights_after(weighting).tolist() == [1.0] * count
    assert weights_after(weighting, [3.0 + k for k in range(count)]).tolist() == [1.0] * count
    assert weights_after(weighting, [1.0 + k * k for k in range(count)]).tolist() != [1.0] * count or count == 1


# Half precision.


@pytest.mark.parametrize("name", list(benchmark.WEIGHTINGS))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_gradients_in_half_precision_are_computed_in_single(name, dtype):
    draw = torch.Generator().manual_seed(0)
    rows = (2000 * torch.randn(3, 5000, generator=draw)).to(dtype)
    required = {"weights": [0.25, 0.5, 0.25], "of": "fairgrad"}
    options = {option: required[option] for option in benchmark.WEIGHTINGS[name].required}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = benchmark.aggregate(name, rows.float(), **options)
        torch.manual_seed(0)
        found = benchmark.aggregate(name, rows, losses=torch.ones(3, dtype=dtype), **options)
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert torch.equal(found, expected.to(dtype))


# Properties.


@given(st.data(), st.integers(1, 6))
def test_dwa_weights_are_finite_and_sum_to_the_number_of_tasks(data, count):
    epoch = st.lists(any_loss, min_size=count, max_size=count)
    weighting = build("dwa", count)
    for means in data.draw(st.lists(epoch, min_size=1, max_size=5)):
        weights = weights_after(weighting, means)
        assert weights.isfinite().all()
        assert (weights >= 0).all()
        assert weights.sum().item() == pytest.approx(count, rel=1e-5)


@given(
    st.lists(st.tuples(losses_of_an_epoch, losses_of_an_epoch, st.integers(-40, 40)), min_size=2, max_size=6),
)
def test_dwa_does_not_see_a_tasks_unit(rows):
    before, after, exponents = zip(*rows, strict=True)
    scaled = [[loss * 2.0**e for loss, e in zip(means, exponents, strict=True)] for means in (before, after)]
    count = len(rows)
    assert torch.equal(weights_after(build("dwa", count), before, after), weights_after(build("dwa", count), *scaled))


@given(st.lists(st.tuples(losses_of_an_epoch, losses_of_an_epoch), min_size=2, max_size=6))
def test_dwa_gives_more_to_the_task_that_improves_less(rows):
    before, after = zip(*rows, strict=True)
    weights = weights_after(build("dwa", len(rows)), before, after)
    ratios = torch.tensor(after) / torch.tensor(before)
    assert (weights[ratios.argsort()].diff() >= 0).all()


@pytest.mark.parametrize(
    ("before", "after"),
    [(0.0, 0.0), (0.0, 3.0), (math.nan, 3.0), (3.0, math.nan), (3.0, math.inf), (math.inf, 3.0), (math.inf, math.inf)],
)
def test_dwa_treats_an_undefined_ratio_as_no_change(before, after):
    # The others have ratios 1 and 0.5; the first must stand where the second stands.
    weights = weights_after(build("dwa"), [before, 4.0, 4.0], [after, 4.0, 2.0])
    assert torch.equal(weights, weights_after(build("dwa"), [1.0, 4.0, 4.0], [1.0, 4.0, 2.0]))


def test_dwa_recovers_after_a_bad_epoch():
    weighting = build("dwa", 2)
    weights_after(weighting, [4.0, 1.0], [math.nan, 0.0], [4.0, 1.0])
    assert torch.equal(weights_after(weighting, [2.0, 1.0]), weights_after(build("dwa", 2), [4.0, 1.0], [2.0, 1.0]))


@pytest.mark.parametrize("name", NAMES)
def test_the_objectives_gradient_is_the_weights(name):
    weighting = build(name)
    weights_after(weighting, [1.0, 2.0, 3.0], [0.5, 1.9, 0.1])
    losses = torch.tensor([0.3, 1e-4, 70.0], requires_grad=True)
    direction(weighting, losses).backward()
    assert torch.allclose(losses.grad, weighting.weights(losses))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_shows_in_the_objective_and_not_in_the_weights(name, bad):
    weighting = build(name)
    losses = torch.tensor([1.0, bad, 1.0])
    assert not direction(weighting, losses).isfinite()
    assert weighting.weights(losses).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_zero_losses_are_no_trouble(name):
    weighting = build(name)
    losses = torch.zeros(3, requires_grad=True)
    direction(weighting, losses).backward()
    assert losses.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in weighting.parameters())


def test_uncertainty_settles_where_the_theory_says():
    # At constant losses the optimum is s = log L, where the weight is 1 / (2 L).
    weighting = build("uncertainty")
    losses = torch.tensor([0.2, 1.0, 5.0])
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        direction(weighting, losses).backward()
        optimiser.step()
    assert torch.allclose(weighting.weights(losses), 1 / (2 * losses), rtol=1e-2)


# State.


def test_only_uncertainty_has_something_for_the_optimiser():
    assert {name: sum(p.numel() for p in build(name).parameters()) for name in NAMES} == {
        "equal": 0,
        "uncertainty": 3,
        "dwa": 0,
    }


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_a_restored_dwa_goes_on_as_if_it_had_never_stopped(stop):
    epochs = [[4.0, 2.0, 1.0], [3.0, 1.9, 0.2], [1.0, 1.8, 0.1], [0.9, 0.3, 0.1]]
    weighting = build("dwa")
    weights_after(weighting, *epochs[:stop])
    twin = restored(weighting, "dwa")
    assert torch.equal(weights_after(twin), weights_after(weighting))
    for means in epochs[stop:]:
        assert torch.equal(weights_after(twin, means), weights_after(weighting, means))


def test_a_restored_uncertainty_has_its_variances():
    weighting = build("uncertainty")
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor([0.1, -2.0, 3.0]))
    losses = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(direction(restored(weighting, "uncertainty"), losses), direction(weighting, losses))


@pytest.mark.parametrize("name", NAMES)
def test_recorded_weights_do_not_change_later(name):
    weighting = build(name)
    first = weights_after(weighting, [4.0, 2.0, 1.0])
    kept = first.clone()
    weights_after(weighting, [1.0, 1.9, 0.9])
    with torch.no_grad():
        for parameter in weighting.parameters():
            parameter.add_(1)
    assert torch.equal(first, kept)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_waits_for_the_device(name):
    # Tensors without data raise where a value is asked for.
    weighting = build(name).to("meta")
    losses = torch.ones(3, device="meta")
    direction(weighting, losses)
    weighting.weights(losses)
    weighting.epoch_end(losses.double())
    assert weighting.weights(losses).shape == (3,)


# Options.


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, "2", True, None])
def test_dwa_wants_a_positive_temperature(temperature):
    with pytest.raises(UsageError, match="'dwa' needs a positive finite number as 'temperature'"):
        build("dwa", temperature=temperature)


@pytest.mark.parametrize("start", [math.nan, math.inf, "0", False])
def test_uncertainty_wants_a_finite_start(start):
    with pytest.raises(UsageError, match="'uncertainty' needs a finite number as 'start'"):
        build("uncertainty", start=start)


def test_an_unknown_option_names_the_known_one():
    with pytest.raises(UsageError, match="Did you mean 'temperature'"):
        build("dwa", temprature=2.0)
