"""The weightings that solve a problem on the Gramian: golden values, optimality conditions, degenerate input, state."""

import io
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize

import benchmark
from benchmark.errors import UsageError

NAMES = ("mgda", "cagrad", "nash-mtl", "fairgrad", "upgrad", "dualproj")
NORMALISATIONS = ("none", "l2", "loss", "loss+")

ROOT = math.sqrt
PLANE = [[1.0, 0.0], [0.0, 2.0]]
CONFLICT = [[1.0, 0.0], [-2.0, 1.0]]
EQUAL = [[3.0, 4.0], [3.0, 4.0]]
PARALLEL = [[1.0, 0.0], [2.0, 0.0]]
OPPOSITE = [[1.0, 0.0], [-2.0, 0.0]]
WITH_ZERO = [[3.0, 4.0], [0.0, 0.0]]
LENGTHS = np.array([100.0, 1.0, 0.01])


def build(name, count=3, **options):
    return benchmark.build_weighting(name, [benchmark.Task(f"task{k}", "depth", 1) for k in range(count)], **options)


def solve(weighting, rows, losses=None):
    rows = np.asarray(rows, dtype=float)
    known = torch.ones(len(rows), dtype=torch.float64) if losses is None else torch.tensor(losses, dtype=torch.float64)
    return weighting.from_gramian(torch.from_numpy(rows @ rows.T), known).numpy()


def weights_of(name, rows, losses=None, **options):
    return solve(build(name, len(rows), **options), rows, losses)


def direction_of(name, rows, losses=None, **options):
    return weights_of(name, rows, losses, **options) @ np.asarray(rows, dtype=float)


def random_rows(seed, count, width=12, conflict=0.0):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows - conflict * rows.mean(0)


def cosine(first, second):
    return first @ second / np.linalg.norm(first) / np.linalg.norm(second)


def subsets(count):
    return itertools.chain.from_iterable(itertools.combinations(range(count), size) for size in range(1, count + 1))


def shortest_by_enumeration(rows):
    """Weights of the shortest convex combination: the best of the affine minima of all supports that are convex."""
    best, length = None, np.inf
    for chosen in map(list, subsets(len(rows))):
        # x = r_0 + Σ a_i (r_i − r_0), least squares
        first, rest = rows[chosen[0]], rows[chosen[1:]] - rows[chosen[0]]
        steps = np.linalg.lstsq(rest.T, -first, rcond=None)[0] if len(rest) else np.zeros(0)
        weights = np.zeros(len(rows))
        weights[chosen] = np.concatenate([[1 - steps.sum()], steps])
        if weights.min() >= -1e-12 and np.linalg.norm(weights @ rows) < length - 1e-13:
            best, length = weights, np.linalg.norm(weights @ rows)
    return best


def projected_by_enumeration(rows, vector):
    """The vector's projection on {d: rows d ≥ 0}: the nearest of its projections on all faces that lie in the cone."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    best, distance = None, np.inf
    for chosen in [[], *map(list, subsets(len(rows)))]:
        active = units[chosen]
        point = vector - np.linalg.pinv(active) @ (active @ vector) if chosen else vector
        if (units @ point).min() >= -1e-11 * np.linalg.norm(vector) and np.linalg.norm(point - vector) < distance:
            best, distance = point, np.linalg.norm(point - vector)
    return best


def best_worst_improvement(rows, c):
    """max min_k ⟨g_k, d⟩ over ‖d − g_0‖ ≤ c ‖g_0‖, by SLSQP on (d, t) in the primal form."""
    mean = rows.mean(0)
    scale = np.linalg.norm(mean)
    start = np.append(mean, (rows @ mean).min()) / scale
    unit = rows / scale
    conditions = [
        {"type": "ineq", "fun": lambda v: unit @ v[:-1] - v[-1], "jac": lambda v: np.c_[unit, -np.ones(len(unit))]},
        {
            "type": "ineq",
            "fun": lambda v: c**2 - ((v[:-1] - mean / scale) ** 2).sum(),
            "jac": lambda v: np.append(-2 * (v[:-1] - mean / scale), 0.0),
        },
    ]
    objective = {"fun": lambda v: -v[-1], "jac": lambda v: np.append(np.zeros(len(mean)), -1.0)}
    found = optimize.minimize(**objective, x0=start, constraints=conditions, method="SLSQP", options={"ftol": 1e-14})
    return found.x[-1] * scale**2


# Golden values, each worked out by hand.


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (PLANE, [0.8, 0.2]),  # lengths 1 and 2 at a right angle: w ∝ 1/‖g‖²
        ([[1.0, 0.0], [2.0, 1.0]], [1.0, 0.0]),  # ⟨g_1, g_2⟩ > ‖g_1‖²
        (PARALLEL, [1.0, 0.0]),
        (OPPOSITE, [2 / 3, 1 / 3]),
        (WITH_ZERO, [0.0, 1.0]),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]], [1 / 6, 1 / 6, 4 / 6]),
        ([[5.0]], [1.0]),
    ],
)
def test_mgda_by_hand(rows, expected):
    assert weights_of("mgda", rows).tolist() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("none", [4 / 5, 1 / 5]),
        ("l2", [2 / 3, 1 / 3]),  # w = (1/2, 1/2) over m = (1, 2)
        ("loss", [1 / 2, 1 / 2]),  # rows (1, 0), (0, 1/2): w = (1/5, 4/5) over m = (1, 4)
        ("loss+", [1 / 3, 2 / 3]),  # rows (1, 0), (0, 1/4): w = (1/17, 16/17) over m = (1, 8)
    ],
)
def test_mgda_normalised_by_hand(normalisation, expected):
    weights = weights_of("mgda", PLANE, [1.0, 4.0], normalisation=normalisation)
    assert weights.tolist() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        # Unit vectors at a right angle: g_w lies along g_0, d = (1 + c) g_0.
        ([[1.0, 0.0], [0.0, 1.0]], {"rescale": 0}, [0.7, 0.7]),
        ([[1.0, 0.0], [0.0, 1.0]], {}, [0.7 / 1.16, 0.7 / 1.16]),
        ([[1.0, 0.0], [0.0, 1.0]], {"rescale": 2}, [0.5, 0.5]),
        # g_0 = (1/2, 2): d = (1/2 + c ‖g_0‖, 2) still gives the second task more than the first.
        ([[1.0, 0.0], [0.0, 4.0]], {"rescale": 0}, [0.5 + 0.4 * ROOT(4.25), 0.5]),
        ([[1.0, 0.0], [0.0, 4.0]], {"c": 0}, [0.5, 0.5]),
        ([[5.0]], {"rescale": 0, "c": 0.5}, [1.5]),
        # The zero row counts in the mean, (3/2, 2), and has no part in the minimum: d = (1 + c) g_0.
        (WITH_ZERO, {"rescale": 0}, [0.7, 0.5]),
        # g_0 = (−1/2, 0): on this line nothing within the ball serves both, the least harm is (c − 1)/2.
        (OPPOSITE, {"rescale": 0}, [0.5 + 0.4 * 0.5, 0.5]),
    ],
)
def test_cagrad_by_hand(rows, options, expected):
    assert weights_of("cagrad", rows, **options).tolist() == pytest.approx(expected, abs=1e-12)


def test_cagrad_at_a_stationary_point_takes_the_best_direction_closest_to_the_mean():
    # The first two cancel, so that no d improves both: x must be 0. The mean is (−1/30, 1/3), the closest (0, 1/3).
    rows = [[1.0, 0.0], [-1.1, 0.0], [0.0, 1.0]]
    weighting = build("cagrad", rescale=0)
    weights = solve(weighting, rows)
    assert (weights @ np.array(rows)).tolist() == pytest.approx([0.0, 1 / 3], abs=1e-9)
    assert int(weighting.fallbacks) == 0


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (PLANE, [1.0, 0.5]),  # orthogonal: 1/‖g‖
        (EQUAL, [0.2 / ROOT(2)] * 2),  # 25 · 2 α = 1/α
        (PARALLEL, [1 / ROOT(2), 0.5 / ROOT(2)]),
        (CONFLICT, [1 / ROOT(1 - 2 / ROOT(5)), 1 / ROOT(5 - 2 * ROOT(5))]),  # β = 1/√(1 + cos), α = β/‖g‖
        (WITH_ZERO, [0.2, 0.0]),
        ([[4.0]], [0.25]),
    ],
)
def test_nash_by_hand(rows, expected):
    assert weights_of("nash-mtl", rows, max_norm=0).tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("rows", "alpha", "expected"),
    [
        ([[1.0, 0.0], [0.0, 8.0]], 2, [1.0, 1 / 16]),  # orthogonal: ‖g‖^{−2α/(1+α)}
        ([[1.0, 0.0], [0.0, 8.0]], 0.5, [1.0, 8.0 ** (-2 / 3)]),
        ([[1.0, 0.0], [1.0, 0.0]], 2, [0.5 ** (2 / 3)] * 2),  # 2 w = w^{−1/2}
        (PLANE, 1, [1.0, 0.5]),
        ([[8.0, 0.0], [0.0, 0.0]], 2, [1 / 16, 0.0]),
        ([[8.0]], 2, [1 / 16]),
    ],
)
def test_fairgrad_by_hand(rows, alpha, expected):
    assert weights_of("fairgrad", rows, alpha=alpha).tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("rows", "upgrad", "dualproj"),
    [
        (PLANE, [0.5, 0.5], [0.5, 0.5]),
        # g_1 = (1, 0), g_2 = (−1, 1): π(g_1) = g_1 + g_2/2, π(g_2) = g_2 + g_1; the mean (0, 1/2) conflicts with none.
        ([[1.0, 0.0], [-1.0, 1.0]], [1.0, 0.75], [0.5, 0.5]),
        # π(g_1) = g_1 + 2/5 g_2, π(g_2) = g_2 + 2 g_1; the mean (−1/2, 1/2) goes to (0, 1/2).
        (CONFLICT, [1.5, 0.7], [1.0, 0.5]),
        (EQUAL, [0.5, 0.5], [0.5, 0.5]),
        (OPPOSITE, [1.5, 0.75], [1.0, 0.5]),
        (WITH_ZERO, [0.5, 0.5], [0.5, 0.5]),
        ([[5.0]], [1.0], [1.0]),
    ],
)
def test_projections_by_hand(rows, upgrad, dualproj):
    assert weights_of("upgrad", rows).tolist() == pytest.approx(upgrad, abs=1e-14)
    assert weights_of("dualproj", rows).tolist() == pytest.approx(dualproj, abs=1e-14)


def test_a_small_gradient_is_served_beside_a_large_one():
    # Where the trace is regularised, g_3 loses: lengths 100 : 1 : 0.01, every pair in conflict.
    rows = LENGTHS[:, None] * np.array([[1.0, 0.1, 0.0], [-0.8, 1.0, 0.1], [-0.7, -0.4, 1.0]])
    for name in ("mgda", "nash-mtl", "upgrad", "dualproj"):
        assert (rows @ direction_of(name, rows)).min() >= -1e-11


# Against slow methods that see the gradients themselves.

cases = pytest.mark.parametrize(
    ("count", "conflict", "scaled"),
    [(2, 0.0, False), (2, 0.7, True), (3, 0.0, False), (3, 0.9, False), (3, 0.8, True), (10, 0.9, False)],
)


def case(count, conflict, scaled, seed=0):
    rows = random_rows(seed, count, 14, conflict)
    return rows * LENGTHS[:count, None] if scaled else rows


@cases
def test_mgda_is_the_shortest_convex_combination(count, conflict, scaled):
    rows = case(count, conflict, scaled)
    assert np.allclose(weights_of("mgda", rows), shortest_by_enumeration(rows), rtol=1e-8, atol=1e-11)


@cases
def test_projections_are_the_nearest_points_of_the_cone(count, conflict, scaled):
    rows = case(count, conflict, scaled)
    each = sum(projected_by_enumeration(rows, row) for row in rows) / count
    assert np.allclose(direction_of("upgrad", rows), each, rtol=1e-9, atol=1e-10)
    mean = projected_by_enumeration(rows, rows.mean(0))
    assert np.allclose(direction_of("dualproj", rows), mean, rtol=1e-9, atol=1e-10)


@cases
@pytest.mark.parametrize("c", [0.2, 0.4, 0.9])
def test_cagrad_has_the_best_worst_improvement(count, conflict, scaled, c):
    rows = case(count, conflict, scaled)
    worst = (rows @ direction_of("cagrad", rows, c=c, rescale=0)).min()
    scale = np.linalg.norm(rows.mean(0)) * np.linalg.norm(rows, axis=1).min()
    assert worst == pytest.approx(best_worst_improvement(rows, c), rel=1e-5, abs=1e-5 * scale)


@pytest.mark.parametrize(
    ("count", "conflict", "scaled"),
    [(2, 0.0, False), (2, 0.4, True), (3, 0.6, False), (3, 0.4, True), (10, 0.5, False)],
)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_fairgrad_is_the_root_of_its_equation(count, conflict, scaled, alpha):
    rows = case(count, conflict, scaled)
    gramian = rows @ rows.T
    start = gramian.diagonal() ** (-alpha / (1 + alpha))  # orthogonal gradients'

    logs = np.zeros(count)  # of w/start, so that every w is positive
    for share in np.linspace(0, 1, 41):  # from orthogonal gradients, one small step after another
        mixed = share * gramian + (1 - share) * np.diag(gramian.diagonal())

        def equation(logs, mixed=mixed):
            weights = start * np.exp(logs)
            return weights ** (1 / alpha) * (mixed @ weights) - 1

        logs = optimize.root(equation, logs, tol=1e-13).x
    assert np.abs(equation(logs)).max() < 1e-9
    assert np.allclose(weights_of("fairgrad", rows, alpha=alpha), start * np.exp(logs), rtol=1e-7)


# Properties. Small integers make zero, equal, parallel, opposite and dependent gradients common.

integer_rows = st.integers(1, 5).flatmap(
    lambda count: st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=count, max_size=count).map(
        lambda rows: np.array(rows, dtype=float)
    )
)
generic_rows = st.builds(
    random_rows, st.integers(0, 10**6), st.sampled_from([1, 2, 3, 10]), st.integers(2, 20), st.sampled_from([0, 0.9])
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
@settings(deadline=None, max_examples=300)
@given(any_rows, st.sampled_from(NORMALISATIONS), st.lists(st.floats(0.01, 100), min_size=10, max_size=10))
def test_mgda_meets_its_optimality_conditions(rows, normalisation, losses):
    losses = np.array(losses[: len(rows)])
    weights = weights_of("mgda", rows, losses.tolist(), normalisation=normalisation)
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


@settings(deadline=None, max_examples=300)
@given(any_rows)
def test_projections_never_conflict_and_go_no_further_than_they_must(rows):
    units, _ = units_of(rows)
    longest = max(lengths_of(rows).max(), 1e-300)
    mean = rows.mean(0)
    for name in ("upgrad", "dualproj"):
        weights = weights_of(name, rows)
        assert weights.min() >= 1 / len(rows)
        assert (units @ (weights @ rows) >= -1e-9 * longest).all()
        if len(units) and (units @ units.T).min() >= 0:
            assert np.allclose(weights, 1 / len(rows))
    added = weights_of("dualproj", rows) @ rows - mean
    assert abs(added @ (mean + added)) <= 1e-9 * longest**2


@settings(deadline=None, max_examples=200)
@given(integer_rows)
def test_projections_of_dependent_gradients_are_the_nearest_points(rows):
    units, present = units_of(rows)
    if not present.any():
        return
    each = sum(projected_by_enumeration(units, row) for row in rows[present]) / len(rows)
    assert np.allclose(direction_of("upgrad", rows), each, atol=1e-8)
    assert np.allclose(direction_of("dualproj", rows), projected_by_enumeration(units, rows.mean(0)), atol=1e-8)


@settings(deadline=None, max_examples=300)
@given(any_rows, st.sampled_from([0.1, 0.4, 0.9, 1.5]))
def test_cagrad_meets_its_optimality_conditions(rows, c):
    weighting = build("cagrad", len(rows), c=c, rescale=0)
    weights = solve(weighting, rows)
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


@settings(deadline=None, max_examples=300)
@given(any_rows, st.sampled_from(["nash-mtl", 0.5, 1.0, 2.0, 4.0]))
def test_bargains_satisfy_their_equation_or_are_counted(rows, method):
    alpha = 1.0 if method == "nash-mtl" else method
    options = {"max_norm": 0} if method == "nash-mtl" else {"alpha": alpha}
    weighting = build("nash-mtl" if method == "nash-mtl" else "fairgrad", len(rows), **options)
    weights = solve(weighting, rows)
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


@settings(deadline=None, max_examples=100)
@given(any_rows)
def test_nash_has_length_one_by_default(rows):
    length = np.linalg.norm(direction_of("nash-mtl", rows))
    assert length <= 1 + 1e-5
    units, present = units_of(rows)
    if present.any() and has_solution(units):
        assert length == pytest.approx(1, rel=1e-5)


@settings(deadline=None, max_examples=200)
@given(any_rows, st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_the_order_of_the_tasks_does_not_matter(rows, name, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    first, second = direction_of(name, rows), direction_of(name, rows[order])
    # mgda's direction is at most as long as the shortest row, the others' up to the longest.
    assert np.allclose(first, second, atol=1e-6 * max(np.linalg.norm(first), lengths_of(rows).max()))


@settings(deadline=None, max_examples=200)
@given(generic_rows, st.sampled_from(NAMES), st.sampled_from([1e-12, 1e-6, 1e-3, 1e3, 1e6, 1e15]))
def test_a_common_scale_changes_no_weights_but_as_stated(rows, name, scale):
    options = {"max_norm": 0} if name == "nash-mtl" else {}
    power = {"nash-mtl": -1, "fairgrad": -4 / 3}.get(name, 0)
    weights, scaled = weights_of(name, rows, **options), weights_of(name, scale * rows, **options)
    first, second = (weights @ rows), (scaled / scale**power) @ rows
    assert np.allclose(first, second, rtol=1e-5, atol=1e-6 * max(np.linalg.norm(first), 1.0))


@settings(deadline=None, max_examples=100)
@given(generic_rows, st.lists(st.integers(-4, 4), min_size=10, max_size=10))
def test_nash_and_mgda_on_unit_gradients_see_no_tasks_scale(rows, exponents):
    scales = 10.0 ** np.array(exponents[: len(rows)])
    nash = direction_of("nash-mtl", rows), direction_of("nash-mtl", scales[:, None] * rows)
    assert np.allclose(*nash, atol=1e-5)
    mgda = [
        weights_of("mgda", rows, normalisation="l2") * lengths_of(rows),
        weights_of("mgda", scales[:, None] * rows, normalisation="l2") * scales * lengths_of(rows),
    ]
    first, second = ((part / part.sum()) @ units_of(rows)[0] for part in mgda)
    assert np.allclose(first, second, atol=1e-8)


# Identities between methods.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_nash_is_fairgrad_of_one_before_clipping(seed, count):
    rows = random_rows(seed, count, conflict=0.6)
    assert np.allclose(weights_of("nash-mtl", rows, max_norm=0), weights_of("fairgrad", rows, alpha=1))
    assert np.allclose(weights_of("nash-mtl", rows), weights_of("fairgrad", rows, alpha=1, max_norm=1))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3, 10])
def test_mgda_on_unit_gradients_has_equal_projections_where_all_weights_are_positive(seed, count):
    rows = random_rows(seed, count, 60) * np.arange(1, count + 1)[:, None]
    equal = np.linalg.solve(rows @ rows.T, lengths_of(rows))  # imtl-g's closed form
    assert equal.min() > 0
    assert np.allclose(weights_of("mgda", rows, normalisation="l2"), equal / equal.sum())


@pytest.mark.parametrize("seed", range(5))
def test_cagrad_is_parallel_to_mgda_where_all_tasks_pull_in_both(seed):
    rows = random_rows(seed, 3, 60)
    assert weights_of("mgda", rows).min() > 0
    assert weights_of("cagrad", rows, rescale=0).min() > 1 / 3
    assert cosine(direction_of("cagrad", rows), direction_of("mgda", rows)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_of_two_tasks_nash_and_mgda_on_unit_gradients_take_the_bisector(seed):
    rows = random_rows(seed, 2, 3) * [[1.0], [7.0]]
    bisector = units_of(rows)[0].sum(0)
    for name, options in (("nash-mtl", {}), ("fairgrad", {"alpha": 1}), ("mgda", {"normalisation": "l2"})):
        assert cosine(direction_of(name, rows, **options), bisector) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_of_two_tasks_upgrad_is_half_of_pcgrad(seed):
    rows = random_rows(seed, 2, 3, conflict=0.9)
    first, second = rows
    assert first @ second < 0
    pcgrad = first - first @ second / (second @ second) * second + second - first @ second / (first @ first) * first
    assert np.allclose(direction_of("upgrad", rows), pcgrad / 2)


def test_no_two_of_them_coincide_on_a_generic_matrix():
    rows = random_rows(3, 3, 5, conflict=0.5) * [[1.0], [3.0], [0.5]]
    directions = [direction_of(name, rows) for name in NAMES]
    for first, second in itertools.combinations(directions, 2):
        assert not np.allclose(first, second, rtol=1e-3)


# Degenerate input.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_gradients_that_are_all_zero_give_finite_weights(name, count):
    weighting = build(name, count)
    assert np.isfinite(solve(weighting, np.zeros((count, 4)))).all()
    assert int(weighting.fallbacks) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gramian_that_is_not_finite_gives_nan(name, bad):
    weighting = build(name)
    gramian = torch.eye(3, dtype=torch.float64)
    gramian[1, 1] = bad
    state = {key: value.clone() for key, value in weighting.state_dict().items()}
    assert weighting.from_gramian(gramian, torch.ones(3, dtype=torch.float64)).isnan().all()
    assert all(torch.equal(value, state[key]) for key, value in weighting.state_dict().items())
    assert np.isfinite(solve(weighting, np.eye(3))).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_mgda_shows_a_loss_that_is_not_finite_only_where_it_looks_at_it(bad):
    for normalisation in NORMALISATIONS:
        weights = weights_of("mgda", np.eye(2), [1.0, bad], normalisation=normalisation)
        assert np.isnan(weights).all() == ("loss" in normalisation)


@pytest.mark.parametrize("normalisation", ["loss", "loss+"])
def test_mgda_takes_losses_of_zero_as_the_limit_of_small_ones(normalisation):
    at_zero = weights_of("mgda", PLANE, [1.0, 0.0], normalisation=normalisation)
    near = weights_of("mgda", PLANE, [1.0, 1e-9], normalisation=normalisation)
    assert np.allclose(at_zero, near, atol=1e-6)
    for losses in ([0.0, 0.0], [-1.0, -2.0]):
        assert np.isfinite(weights_of("mgda", PLANE, losses, normalisation=normalisation)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e10, 1e18])
def test_gradients_near_the_ends_of_float32_give_finite_weights(name, scale):
    rows = random_rows(1, 3, 6, 0.8)
    assert np.isfinite(weights_of(name, scale * rows)).all()
    assert np.isfinite(weights_of(name, np.array([[1.0], [scale], [1.0]]) * rows)).all()


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 10]), st.sampled_from([0.0, 1e-8, 1e-4]), st.sampled_from(NAMES))
def test_parallel_gradients_survive_rounding_to_float32(seed, count, spread, name):
    # Products in float32 leave a Gramian that is neither quite definite nor bounded by the lengths.
    random = np.random.default_rng(seed)
    rows = (random.normal(size=50) + spread * random.normal(size=(count, 50))) * 10.0 ** random.integers(
        -2, 3, (count, 1)
    )
    single = torch.from_numpy(rows).float()
    weighting = build(name, count)
    weights = weighting.from_gramian((single @ single.T).double(), torch.ones(count, dtype=torch.float64)).numpy()
    assert weights.min() >= 0
    assert cosine(weights @ rows, rows[0]) > 0.99
    assert int(weighting.fallbacks) == 0


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e3, 1e3), min_size=9, max_size=9), st.sampled_from(NAMES))
def test_what_is_no_gramian_does_no_harm(entries, name):
    matrix = torch.tensor(entries, dtype=torch.float64).view(3, 3)
    assert build(name).from_gramian(matrix, torch.ones(3, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize("name", ["nash-mtl", "fairgrad"])
def test_opposite_gradients_leave_the_third_its_way_and_are_counted(name):
    weighting = build(name)
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert cosine(solve(weighting, rows) @ rows, np.array([0.0, 1.0])) > 0.9999
    assert int(weighting.fallbacks) == 1
    solve(weighting, np.eye(3))
    assert int(weighting.fallbacks) == 1


# State.


@pytest.mark.parametrize("name", NAMES)
def test_fallbacks_are_saved(name):
    weighting = build(name)
    weighting.fallbacks.fill_(7)
    twin = restored(weighting, name)
    assert int(twin.fallbacks) == 7
    assert twin.fallbacks.dtype == torch.int64
    assert not list(twin.parameters())


def restored(weighting, name, **options):
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    twin = build(name, **options)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin


def test_nash_bargains_anew_every_few_steps():
    weighting = build("nash-mtl", 2, max_norm=0, update_weights_every=2)
    found = [solve(weighting, length * np.eye(2)).tolist() for length in (1.0, 2.0, 4.0, 8.0)]
    assert found == [pytest.approx([alpha, alpha]) for alpha in (1.0, 1.0, 0.25, 0.25)]


def test_nash_clips_old_weights_on_new_gradients():
    weighting = build("nash-mtl", 2, update_weights_every=2)
    assert solve(weighting, np.eye(2)).tolist() == pytest.approx([1 / ROOT(2)] * 2)
    assert solve(weighting, 10 * np.eye(2)).tolist() == pytest.approx([0.1 / ROOT(2)] * 2)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_restored_nash_goes_on_as_if_it_had_never_stopped(stop):
    steps = [random_rows(seed, 3, 6, 0.5) for seed in range(6)]
    weighting = build("nash-mtl", update_weights_every=3)
    for rows in steps[:stop]:
        solve(weighting, rows)
    twin = restored(weighting, "nash-mtl", update_weights_every=3)
    for rows in steps[stop:]:
        assert np.array_equal(solve(twin, rows), solve(weighting, rows))


@pytest.mark.parametrize("options", [{}, {"max_norm": 0}, {"update_weights_every": 3, "max_norm": 0}])
def test_recorded_weights_do_not_change_later(options):
    weighting = build("nash-mtl", **options)
    first = solve(weighting, random_rows(0, 3))
    kept = first.copy()
    for seed in range(1, 4):
        solve(weighting, random_rows(seed, 3))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_left_alone(name):
    rows = torch.from_numpy(random_rows(0, 3, conflict=0.9))
    gramian, losses = rows @ rows.T, torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    before = gramian.clone(), losses.clone()
    assert build(name).from_gramian(gramian, losses).dtype == torch.float64
    assert torch.equal(gramian, before[0])
    assert torch.equal(losses, before[1])


# Options.


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mgda", {"normalisation": "L2"}, "'mgda' needs one of 'none', 'l2', 'loss', 'loss+' as 'normalisation'"),
        ("mgda", {"normalisation": None}, "found None"),
        ("cagrad", {"c": -0.1}, "'cagrad' needs a finite number of at least 0 as 'c', found -0.1"),
        ("cagrad", {"c": math.nan}, "found nan"),
        ("cagrad", {"rescale": 3}, "'cagrad' needs 0, 1 or 2 as 'rescale', found 3"),
        ("cagrad", {"rescale": True}, "found True"),
        ("nash-mtl", {"max_norm": -1}, "'nash-mtl' needs a finite number of at least 0 as 'max_norm'"),
        ("nash-mtl", {"update_weights_every": 0}, "'nash-mtl' needs a positive integer as 'update_weights_every'"),
        ("nash-mtl", {"update_weights_every": 1.5}, "found 1.5"),
        ("fairgrad", {"alpha": 0}, "'fairgrad' needs a positive finite number as 'alpha', found 0"),
        ("fairgrad", {"alpha": "2"}, "found '2'"),
        ("fairgrad", {"max_norm": math.inf}, "'fairgrad' needs a finite number of at least 0 as 'max_norm'"),
    ],
)
def test_options_out_of_range_are_named(name, options, message):
    with pytest.raises(UsageError) as caught:
        build(name, **options)
    assert message in str(caught.value)
