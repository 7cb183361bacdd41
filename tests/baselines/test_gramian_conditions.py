"""The weightings that solve a problem on the Gramian: optimality conditions, and identities between methods."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import optimize

from tests.baselines import gramians as on

pytestmark = pytest.mark.slow

# Properties. Small integers make zero, equal, parallel, opposite and dependent gradients common.

integer_rows = st.integers(1, 5).flatmap(
    lambda count: st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=count, max_size=count).map(
        lambda rows: np.array(rows, dtype=float)
    )
)
generic_rows = st.builds(
    on.random_rows, st.integers(0, 10**6), st.sampled_from([1, 2, 3, 10]), st.integers(2, 20), st.sampled_from([0, 0.9])
)
any_rows = st.builds(
    lambda rows, exponents: rows * 10.0 ** np.array(exponents[: len(rows)])[:, None],
    st.one_of(integer_rows, generic_rows),
    st.one_of(
        st.sampled_from([[0] * 10, [-6] * 10, [6] * 10, [2, 0, -2] * 4]),
        st.lists(st.integers(-3, 3), min_size=10, max_size=10),
    ),
)


def lengths_of(rows):
    return np.linalg.norm(rows, axis=1)


def units_of(rows):
    present = lengths_of(rows) > 0
    return rows[present] / lengths_of(rows)[present, None], present


# Long rows whose combination must vanish beside a short one: it does so to the rounding of the long ones.
@example(np.array([[0, 0, 1.0], [0, 0, 1e-3], [3, -1, 0], [-30, 10, 0]]), "none", [1.0] * 10)
@given(any_rows, st.sampled_from(on.NORMALISATIONS), st.lists(st.floats(0.01, 100), min_size=10, max_size=10))
def test_mgda_meets_its_optimality_conditions(rows, normalisation, losses):
    losses = np.array(losses[: len(rows)])
    weights = on.weights_of("mgda", rows, losses.tolist(), normalisation=normalisation)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    _, present = units_of(rows)
    if not present.all():
        assert np.abs(weights @ rows).max() == 0
        return
    lengths = lengths_of(rows)
    factor = {"none": 1.0, "l2": lengths, "loss": losses, "loss+": losses * lengths}[normalisation]
    own = weights * factor  # of the normalised gradients, up to a factor
    scaled = rows / np.reshape(factor, (-1, 1))
    direction = own / own.sum() @ scaled
    # No worse to first order: ⟨d, g_k⟩ ≥ ‖d‖², with equality where the weight is not zero.
    shortest = lengths_of(scaled).min()
    slack = (scaled @ direction - direction @ direction) / lengths_of(scaled)
    parts = own / own.sum() * lengths_of(scaled)
    rounding = 1e-14 * parts.max()
    assert slack.min() >= -1e-9 * shortest - rounding
    assert np.abs(parts * slack).max() <= 1e-9 * shortest**2 + rounding * parts.max()


@given(any_rows)
def test_projections_never_conflict_and_go_no_further_than_they_must(rows):
    units, _ = units_of(rows)
    longest = max(lengths_of(rows).max(), 1e-300)
    mean = rows.mean(0)
    for name in ("upgrad", "dualproj"):
        weights = on.weights_of(name, rows)
        assert weights.min() >= 1 / len(rows)
        assert (units @ (weights @ rows) >= -1e-9 * longest).all()
        if len(units) and (units @ units.T).min() >= 0:
            assert np.allclose(weights, 1 / len(rows))
    added = on.weights_of("dualproj", rows) @ rows - mean
    assert abs(added @ (mean + added)) <= 1e-9 * longest**2


@given(integer_rows)
def test_projections_of_dependent_gradients_are_the_nearest_points(rows):
    units, present = units_of(rows)
    if not present.any():
        return
    each = sum(on.projected_by_enumeration(units, row) for row in rows[present]) / len(rows)
    assert np.allclose(on.direction_of("upgrad", rows), each, atol=1e-8)
    assert np.allclose(on.direction_of("dualproj", rows), on.projected_by_enumeration(units, rows.mean(0)), atol=1e-8)


@given(any_rows, st.sampled_from([0.1, 0.4, 0.9, 1.5]))
def test_cagrad_meets_its_optimality_conditions(rows, c):
    weighting = on.build("cagrad", len(rows), c=c, rescale=0)
    weights = on.solve(weighting, rows)
    assert int(weighting.fallbacks) == 0
    mean, (_, present) = rows.mean(0), units_of(rows)
    radius = c * np.linalg.norm(mean)
    lengths = lengths_of(rows)[present]
    if radius <= 1e-4 * lengths_of(rows).max():  # squares of such a mean are little more than rounding
        return
    added = weights[present] - 1 / len(rows)
    reach = np.linalg.norm(added @ rows[present])
    assert reach <= radius * (1 + 1e-7)
    gains = rows[present] @ (weights @ rows)
    # Only those with the least gain pull, and they pull as far as they can, unless they cancel.
    assert np.abs(added * (gains - gains.min())).max() <= 1e-6 * radius * np.linalg.norm(mean)
    if reach < radius * (1 - 1e-7):
        assert abs(gains.min()) <= 1e-6 * radius * lengths.max()
    else:
        assert added.min() >= -1e-12 * np.abs(weights).max()


def has_solution(units):
    """Whether no convex combination of the gradients is zero, by linear programming; None where it is close."""
    margin = optimize.linprog(
        np.append(np.zeros(units.shape[1]), -1.0),
        A_ub=np.c_[-units, np.ones(len(units))],
        b_ub=np.zeros(len(units)),
        bounds=[(-1, 1)] * units.shape[1] + [(None, None)],
    ).x[-1]
    return True if margin > 1e-3 else False if margin < 1e-9 else None


@given(any_rows, st.sampled_from(["nash-mtl", 0.5, 1.0, 2.0, 4.0]))
def test_bargains_satisfy_their_equation_or_are_counted(rows, method):
    alpha = 1.0 if method == "nash-mtl" else method
    options = {"max_norm": 0} if method == "nash-mtl" else {"alpha": alpha}
    weighting = on.build("nash-mtl" if method == "nash-mtl" else "fairgrad", len(rows), **options)
    weights = on.solve(weighting, rows)
    units, present = units_of(rows)
    assert np.isfinite(weights).all()
    if not present.any():
        return
    assert weights.min() >= 0
    assert (weights[present] > 0).all()
    solvable = has_solution(units)
    if solvable is not None:
        assert int(weighting.fallbacks) == (not solvable)
    if not int(weighting.fallbacks):
        inside = weights[present] * lengths_of(rows)[present]
        gains = lengths_of(rows)[present] * (units @ units.T @ inside)
        assert np.allclose(gains * weights[present] ** (1 / alpha), 1, rtol=1e-5)


@given(any_rows)
def test_nash_has_length_one_by_default(rows):
    length = np.linalg.norm(on.direction_of("nash-mtl", rows))
    assert length <= 1 + 1e-5
    units, present = units_of(rows)
    if present.any() and has_solution(units):
        assert length == pytest.approx(1, rel=1e-5)


@given(any_rows, st.sampled_from(on.NAMES), st.randoms(use_true_random=False))
def test_the_order_of_the_tasks_does_not_matter(rows, name, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    first, second = on.direction_of(name, rows), on.direction_of(name, rows[order])
    # mgda's direction is at most as long as the shortest row, the others' up to the longest.
    assert np.allclose(first, second, atol=1e-6 * max(np.linalg.norm(first), lengths_of(rows).max()))


@given(generic_rows, st.sampled_from(on.NAMES), st.sampled_from([1e-12, 1e-6, 1e-3, 1e3, 1e6, 1e15]))
def test_a_common_scale_changes_no_weights_but_as_stated(rows, name, scale):
    options = {"max_norm": 0} if name == "nash-mtl" else {}
    power = {"nash-mtl": -1, "fairgrad": -4 / 3}.get(name, 0)
    weights, scaled = on.weights_of(name, rows, **options), on.weights_of(name, scale * rows, **options)
    first, second = (weights @ rows), (scaled / scale**power) @ rows
    assert np.allclose(first, second, rtol=1e-5, atol=1e-6 * max(np.linalg.norm(first), 1.0))


@given(generic_rows, st.lists(st.integers(-4, 4), min_size=10, max_size=10))
def test_nash_and_mgda_on_unit_gradients_see_no_tasks_scale(rows, exponents):
    scales = 10.0 ** np.array(exponents[: len(rows)])
    nash = on.direction_of("nash-mtl", rows), on.direction_of("nash-mtl", scales[:, None] * rows)
    assert np.allclose(*nash, atol=1e-5)
    mgda = [
        on.weights_of("mgda", rows, normalisation="l2") * lengths_of(rows),
        on.weights_of("mgda", scales[:, None] * rows, normalisation="l2") * scales * lengths_of(rows),
    ]
    first, second = ((part / part.sum()) @ units_of(rows)[0] for part in mgda)
    assert np.allclose(first, second, atol=1e-8)


# Identities between methods.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_nash_is_fairgrad_of_one_before_clipping(seed, count):
    rows = on.random_rows(seed, count, conflict=0.6)
    assert np.allclose(on.weights_of("nash-mtl", rows, max_norm=0), on.weights_of("fairgrad", rows, alpha=1))
    assert np.allclose(on.weights_of("nash-mtl", rows), on.weights_of("fairgrad", rows, alpha=1, max_norm=1))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3, 10])
def test_mgda_on_unit_gradients_has_equal_projections_where_all_weights_are_positive(seed, count):
    rows = on.random_rows(seed, count, 60) * np.arange(1, count + 1)[:, None]
    equal = np.linalg.solve(rows @ rows.T, lengths_of(rows))  # imtl-g's closed form
    assert equal.min() > 0
    assert np.allclose(on.weights_of("mgda", rows, normalisation="l2"), equal / equal.sum())


@pytest.mark.parametrize("seed", range(5))
def test_cagrad_is_parallel_to_mgda_where_all_tasks_pull_in_both(seed):
    rows = on.random_rows(seed, 3, 60)
    assert on.weights_of("mgda", rows).min() > 0
    assert on.weights_of("cagrad", rows, rescale=0).min() > 1 / 3
    assert on.cosine(on.direction_of("cagrad", rows), on.direction_of("mgda", rows)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_of_two_tasks_nash_and_mgda_on_unit_gradients_take_the_bisector(seed):
    rows = on.random_rows(seed, 2, 3) * [[1.0], [7.0]]
    bisector = units_of(rows)[0].sum(0)
    for name, options in (("nash-mtl", {}), ("fairgrad", {"alpha": 1}), ("mgda", {"normalisation": "l2"})):
        assert on.cosine(on.direction_of(name, rows, **options), bisector) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_of_two_tasks_upgrad_is_half_of_pcgrad(seed):
    rows = on.random_rows(seed, 2, 3, conflict=0.9)
    first, second = rows
    assert first @ second < 0
    pcgrad = first - first @ second / (second @ second) * second + second - first @ second / (first @ first) * first
    assert np.allclose(on.direction_of("upgrad", rows), pcgrad / 2)


def test_no_two_of_them_coincide_on_a_generic_matrix():
    rows = on.random_rows(3, 3, 5, conflict=0.5) * [[1.0], [3.0], [0.5]]
    directions = [on.direction_of(name, rows) for name in on.NAMES]
    for first, second in itertools.combinations(directions, 2):
        assert not np.allclose(first, second, rtol=1e-3)
