"""PIVRG: priorities and weights by hand, the root of its equation, scores of epochs, absent tasks, state, options."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import benchmark
from benchmark.errors import UsageError
from benchmark.presence import Presence
from tests.baselines import gramians as on

MEANS = [2.0, 4.0, 1.0]
#: 100 (L/R − 1) against MEANS: −50, −25 and 0.
LATER = [1.0, 3.0, 1.0]


def built(*epochs, count=None, **options):
    """After epochs with these mean losses."""
    weighting = on.build("pivrg", count or len(epochs[0]), **options)
    for means in epochs:
        weighting.epoch_end(torch.tensor(means))
    return weighting


def with_scores(*scores, **options):
    weighting = on.build("pivrg", len(scores), **options)
    weighting.scores.copy_(torch.tensor(scores, dtype=torch.float64))
    return weighting


# Scores and priorities.


def test_scores_are_per_cent_of_the_first_epoch():
    weighting = built(MEANS)
    assert weighting.scores.tolist() == [0.0, 0.0, 0.0]
    weighting.epoch_end(torch.tensor(LATER))
    assert weighting.scores.tolist() == [-50.0, -25.0, 0.0]
    weighting.epoch_end(torch.tensor([1.0, 5.0, 0.75]))  # of the last epoch alone
    assert weighting.scores.tolist() == [-50.0, 25.0, -25.0]


def test_scores_are_per_cent_of_references_that_are_given():
    weighting = built([1.0, 3.0], references=[0.5, 4.0])
    assert weighting.scores.tolist() == [100.0, -25.0]
    weighting.epoch_end(torch.tensor([0.25, 3.0]))
    assert weighting.scores.tolist() == [-50.0, -25.0]
    assert weighting.reference.tolist() == [0.5, 4.0]


@pytest.mark.parametrize(
    ("scores", "options", "expected"),
    [
        # A range of 50 with the bound 2: T = 50/log 2, so that the ratio is 2.
        ([0.0, -50.0], {}, [4 / 3, 2 / 3]),
        ([200.0, -300.0], {"bound": 3}, [3 / 2, 1 / 2]),
        # 2^1, 2^½ and 2^0 of their sum, times 3.
        (
            [0.0, -25.0, -50.0],
            {},
            [6 / (3 + 2**0.5), 3 * 2**0.5 / (3 + 2**0.5), 3 / (3 + 2**0.5)],
        ),
        # A range of 3, less than 10 log 2: T = 10.
        ([3.0, 0.0], {}, [2 / (1 + math.exp(-0.3)), 2 / (1 + math.exp(0.3))]),
        ([3.0, 0.0], {"min_temperature": 3}, [2 / (1 + math.exp(-math.log(2))), 2 / (1 + math.exp(math.log(2)))]),
        ([7.0, 7.0, 7.0], {}, [1.0, 1.0, 1.0]),
        ([-80.0], {}, [1.0]),
        # Scores of 1e9 whose difference alone counts.
        ([1e9 + 3, 1e9], {}, [2 / (1 + math.exp(-0.3)), 2 / (1 + math.exp(0.3))]),
    ],
)
def test_priorities_by_hand(scores, options, expected):
    assert with_scores(*scores, **options).priorities().tolist() == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.floats(-100, 1e4), min_size=2, max_size=6), st.floats(1.01, 100), st.floats(0.1, 100))
def test_priorities_follow_the_scores_within_their_bound(scores, bound, least):
    found = with_scores(*scores, bound=bound, min_temperature=least).priorities()
    assert found.sum().item() == pytest.approx(len(scores), rel=1e-6)
    assert found.max() <= bound * found.min() * (1 + 1e-5)
    order = np.argsort(scores, kind="stable")
    assert (np.diff(found.numpy()[order]) >= 0).all()


@given(st.lists(st.integers(-20, 20), min_size=3, max_size=3))
def test_no_unit_of_loss_matters(exponents):
    units = torch.tensor(exponents, dtype=torch.float32).exp2()
    plain, scaled = built(MEANS, LATER), on.build("pivrg")
    for means in (MEANS, LATER):
        scaled.epoch_end(units * torch.tensor(means))
    assert torch.equal(scaled.scores, plain.scores)


# Weights.


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Orthogonal: ‖g‖² w = (ω/w)^½, so w = ω^⅓ ‖g‖^(−4/3); ω = (4/3, 2/3).
        ([[1.0, 0.0], [0.0, 8.0]], [(4 / 3) ** (1 / 3), (2 / 3) ** (1 / 3) / 16]),
        # The same gradient: w_1 + w_2 = (ω_k/w_k)^½ for both, so w = ω/(Σ w)² and Σ w = 2^⅓.
        ([[1.0, 0.0], [1.0, 0.0]], [4 / 3 / 2 ** (2 / 3), 2 / 3 / 2 ** (2 / 3)]),
        # The other's gradient is zero, and its priority is its own.
        ([[8.0, 0.0], [0.0, 0.0]], [(4 / 3) ** (1 / 3) / 16, 0.0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0.5, 0.5]),
    ],
)
def test_weights_by_hand(rows, expected):
    assert on.solve(with_scores(0.0, -50.0), rows).tolist() == pytest.approx(expected, rel=1e-6)


def test_a_direction_is_scaled_down_to_its_longest():
    # Orthogonal unit gradients: (ω_1^⅓, ω_2^⅓) has the length 1.40; scaled to ½, its parts keep their ratio.
    rows = np.eye(2)
    free, limited, wide = (on.solve(with_scores(0.0, -50.0, max_norm=m), rows) for m in (0, 0.5, 8))
    assert np.linalg.norm(limited) == pytest.approx(0.5)
    assert limited / limited[1] == pytest.approx(free / free[1])
    assert np.array_equal(wide, free)


@pytest.mark.parametrize("seed", range(4))
def test_before_scores_it_is_fairgrad_to_the_last_bit_or_nearly(seed):
    rows = on.random_rows(seed, 4, conflict=0.6)
    for weighting in (on.build("pivrg", 4), with_scores(5.0, 5.0, 5.0, 5.0), built([0.1, 2.0, 3.0, 5.0])):
        assert on.solve(weighting, rows) == pytest.approx(on.weights_of("fairgrad", rows), rel=1e-12)


@pytest.mark.parametrize(
    ("count", "conflict", "scaled"),
    [(2, 0.0, False), (2, 0.4, True), (3, 0.6, False), (3, 0.4, True), (10, 0.5, False)],
)
@pytest.mark.parametrize("bound", [2.0, 20.0])
def test_weights_are_the_root_of_the_equation(count, conflict, scaled, bound):
    rows = on.random_rows(0, count, 14, conflict)
    rows = rows * on.LENGTHS[:count, None] if scaled else rows
    weighting = with_scores(*np.linspace(0, 90, count).tolist(), bound=bound, min_temperature=1)
    # 90 per cent are the whole range: priorities from 1 to the bound in equal ratios.
    ratios = bound ** np.linspace(0, 1, count)
    priorities = count * ratios / ratios.sum()
    gramian = rows @ rows.T
    start = (priorities / gramian.diagonal() ** 2) ** (1 / 3)  # orthogonal gradients'
    logs = np.zeros(count)  # of w/start, so that every w is positive
    for share in np.linspace(0, 1, 41):  # from orthogonal gradients, one small step after another
        mixed = share * gramian + (1 - share) * np.diag(gramian.diagonal())

        def equation(logs, mixed=mixed):
            weights = start * np.exp(logs)
            return (weights / priorities) ** 0.5 * (mixed @ weights) - 1

        logs = optimize.root(equation, logs, tol=1e-13).x
    assert np.abs(equation(logs)).max() < 1e-9
    assert np.allclose(on.solve(weighting, rows), start * np.exp(logs), rtol=1e-5)
    assert int(weighting.fallbacks) == 0


@given(st.integers(0, 10**6), st.sampled_from([2, 3, 10]), st.sampled_from([0.0, 0.5]))
def test_the_largest_bound_has_a_solution_too(seed, count, conflict):
    rows = on.random_rows(seed, count, 40, conflict)
    weighting = with_scores(*np.linspace(0, 90, count).tolist(), bound=1e6)
    weights, priorities = on.solve(weighting, rows), weighting.priorities().numpy()
    assert int(weighting.fallbacks) == 0
    assert rows @ (weights @ rows) * np.sqrt(weights / priorities) == pytest.approx(1, rel=1e-6)


def test_the_task_that_is_behind_gains_most_of_two_alike():
    rows = np.array([[1.0, 0.3], [0.3, 1.0]])
    even, first = (rows @ (on.solve(with_scores(*s), rows) @ rows) for s in ([0.0, 0.0], [0.0, -50.0]))
    assert even[0] == pytest.approx(even[1])
    assert first[0] > even[0] > first[1]


@given(st.integers(0, 10**6), st.permutations(range(4)))
def test_the_order_of_the_tasks_does_not_matter(seed, order):
    rows, scores = on.random_rows(seed, 4, 20, 0.5), np.random.default_rng(seed).normal(0, 40, 4)
    first = on.solve(with_scores(*scores), rows)[list(order)]
    second = on.solve(with_scores(*scores[list(order)]), rows[list(order)])
    assert second == pytest.approx(first, rel=1e-5)


def test_opposite_gradients_have_no_solution_and_are_counted():
    weighting = with_scores(0.0, -50.0, 10.0)
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(on.solve(weighting, rows)).all()
    assert int(weighting.fallbacks) == 1


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e10, 1e18])
def test_gradients_near_the_ends_of_float32_give_finite_weights(scale):
    rows = on.random_rows(1, 3, 6, 0.8)
    for given_rows in (scale * rows, np.array([[1.0], [scale], [1.0]]) * rows):
        assert np.isfinite(on.solve(with_scores(0.0, -50.0, 10.0), given_rows)).all()


def test_a_step_changes_no_score():
    weighting = built(MEANS, LATER)
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    on.solve(weighting, on.random_rows(0, 3))
    assert all(torch.equal(value, before[key]) for key, value in weighting.state_dict().items())


# Absent tasks, and what is not finite.


def test_a_task_without_a_label_keeps_its_score_and_has_no_part_in_a_step():
    weighting = built(MEANS, LATER, [math.nan, 2.0, 0.5])
    assert weighting.scores.tolist() == [-50.0, -50.0, -50.0]
    weighting = with_scores(0.0, 1e6, -50.0)
    with weighting.facing(Presence.from_flags([True, False, True])) as shown:
        assert shown.places == (0, 2)
        assert weighting.priorities().tolist() == pytest.approx([4 / 3, 2 / 3])
        found = on.solve(weighting, np.eye(2)).tolist()
    assert found == pytest.approx([(4 / 3) ** (1 / 3), (2 / 3) ** (1 / 3)])
    assert weighting.scores.tolist() == [0.0, 1e6, -50.0]


def test_a_task_s_first_epoch_is_the_first_with_a_label_of_it():
    weighting = built([2.0, math.nan], [1.0, math.nan])
    assert weighting.scores.tolist() == [-50.0, 0.0]
    weighting.epoch_end(torch.tensor([1.0, 8.0]))
    assert weighting.scores.tolist() == [-50.0, 0.0]
    weighting.epoch_end(torch.tensor([math.nan, 2.0]))
    assert weighting.scores.tolist() == [-50.0, -75.0]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf])
def test_a_useless_reference_shows(bad):
    weighting = built([1.0, bad, 1.0], [1.0, 1.0, 1.0])
    assert np.isnan(on.solve(weighting, np.eye(3))).all()
    with weighting.facing(Presence.from_flags([True, False, True])):
        assert on.solve(weighting, np.eye(2)).tolist() == pytest.approx([1.0, 1.0])


def test_a_loss_that_is_not_finite_shows_until_it_is_again():
    weighting = built(MEANS, [1.0, math.inf, 1.0])
    assert np.isnan(on.solve(weighting, np.eye(3))).all()
    weighting.epoch_end(torch.tensor(LATER))
    assert np.isfinite(on.solve(weighting, np.eye(3))).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gramian_that_is_not_finite_gives_nan_and_changes_nothing(bad):
    weighting = built(MEANS, LATER)
    gramian = torch.eye(3, dtype=torch.float64)
    gramian[1, 1] = bad
    assert weighting.from_gramian(gramian, torch.ones(3, dtype=torch.float64)).isnan().all()
    assert int(weighting.fallbacks) == 0


# State and options.


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_restored_it_goes_on_as_if_it_had_never_stopped(stop):
    epochs = [MEANS, LATER, [0.5, math.nan, 0.9], [0.25, 2.0, 0.8]]
    weighting = built(*epochs[:stop], count=3)
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    twin = on.build("pivrg")
    twin.load_state_dict(torch.load(file, weights_only=True))
    for number, means in enumerate(epochs[stop:]):
        found = []
        for each in (weighting, twin):
            each.epoch_end(torch.tensor(means))
            found.append(on.solve(each, on.random_rows(number, 3)))
        assert np.array_equal(*found)
    assert not list(weighting.parameters())


def test_references_are_of_these_tasks_and_named_where_they_are_not():
    with pytest.raises(UsageError, match=r"'pivrg' needs 2 positive finite numbers as 'references' \(task0, task1\)"):
        on.build("pivrg", 2, references=[1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"references": [1.0, 0.0, 1.0]}, "positive finite numbers as 'references'"),
        ({"references": [1.0, math.nan, 1.0]}, "found [1.0, nan, 1.0]"),
        ({"references": [1.0, True, 1.0]}, "found [1.0, True, 1.0]"),
        ({"references": "abc"}, "found 'abc'"),
        ({"references": 1.0}, "found 1.0"),
        ({"bound": 1}, "'pivrg' needs a number above 1 and up to 1000000 as 'bound', found 1"),
        ({"bound": 2e6}, "found 2000000.0"),
        ({"bound": math.inf}, "'bound', found inf"),
        ({"bound": "2"}, "'bound', found '2'"),
        ({"min_temperature": 0}, "'pivrg' needs a positive finite number as 'min_temperature', found 0"),
        ({"max_norm": -1}, "'pivrg' needs a finite number of at least 0 as 'max_norm', found -1"),
        ({"on": "heads"}, "Unknown place of gradients ('on') 'heads'"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UsageError) as caught:
        on.build("pivrg", **options)
    assert message.lower() in str(caught.value).lower()


def test_a_run_s_options_are_those_that_a_grid_or_a_command_can_give():
    tasks = [benchmark.Task(f"t{k}", "depth", 1) for k in range(2)]
    given_options = {"references": [0.5, 2], "bound": 3}
    weighting = benchmark.build_weighting("pivrg", tasks, **given_options)
    assert weighting.reference.tolist() == [0.5, 2.0]
    assert weighting.reference.dtype == torch.float64
