"""The weightings that solve a problem on the Gramian: golden values, and slow methods on the gradients themselves."""

import numpy as np
import pytest
from scipy import optimize

from tests.baselines import gramians as on


@pytest.mark.parametrize("name", on.NAMES)
def test_forty_tasks_are_solved_as_exactly_as_a_few(name):
    """None of the solvers goes through subsets of the tasks; a problem that has no solution is counted."""
    rows = on.random_rows(0, 40, 60, 0.9) * np.logspace(-3, 3, 40)[:, None]
    weighting = on.build(name, 40)
    weights = on.solve(weighting, rows)
    assert int(weighting.fallbacks) == 0
    direction = weights @ rows
    steps, lengths = rows @ direction / np.linalg.norm(direction), np.linalg.norm(rows, axis=1)
    if name == "mgda":  # the shortest vector of the hull: no gradient reaches less far along it
        assert (steps - np.linalg.norm(direction) >= -1e-12 * lengths).all()
    elif name in ("nash-mtl", "fairgrad"):  # every task gets its share
        assert (steps > 0).all()
    elif name in ("upgrad", "dualproj"):  # no task is harmed
        assert (steps >= -1e-6 * lengths).all()
    against = on.build(name, 40)
    on.solve(against, on.random_rows(0, 40, 12))  # in so few directions some gradients cancel
    assert int(against.fallbacks) == (name in ("nash-mtl", "fairgrad"))


# Golden values, each worked out by hand.


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (on.PLANE, [0.8, 0.2]),  # lengths 1 and 2 at a right angle: w ∝ 1/‖g‖²
        ([[1.0, 0.0], [2.0, 1.0]], [1.0, 0.0]),  # ⟨g_1, g_2⟩ > ‖g_1‖²
        (on.PARALLEL, [1.0, 0.0]),
        (on.OPPOSITE, [2 / 3, 1 / 3]),
        (on.WITH_ZERO, [0.0, 1.0]),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]], [1 / 6, 1 / 6, 4 / 6]),
        ([[5.0]], [1.0]),
    ],
)
def test_mgda_by_hand(rows, expected):
    assert on.weights_of("mgda", rows).tolist() == pytest.approx(expected, abs=1e-14)


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
    weights = on.weights_of("mgda", on.PLANE, [1.0, 4.0], normalisation=normalisation)
    assert weights.tolist() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        # Unit vectors at a right angle: g_w lies along g_0, d = (1 + c) g_0.
        ([[1.0, 0.0], [0.0, 1.0]], {"rescale": 0}, [0.7, 0.7]),
        ([[1.0, 0.0], [0.0, 1.0]], {}, [0.7 / 1.16, 0.7 / 1.16]),
        ([[1.0, 0.0], [0.0, 1.0]], {"rescale": 2}, [0.5, 0.5]),
        # g_0 = (1/2, 2): d = (1/2 + c ‖g_0‖, 2) still gives the second task more than the first.
        ([[1.0, 0.0], [0.0, 4.0]], {"rescale": 0}, [0.5 + 0.4 * on.ROOT(4.25), 0.5]),
        ([[1.0, 0.0], [0.0, 4.0]], {"c": 0}, [0.5, 0.5]),
        ([[5.0]], {"rescale": 0, "c": 0.5}, [1.5]),
        # The zero row counts in the mean, (3/2, 2), and has no part in the minimum: d = (1 + c) g_0.
        (on.WITH_ZERO, {"rescale": 0}, [0.7, 0.5]),
        # g_0 = (−1/2, 0): on this line nothing within the ball serves both, the least harm is (c − 1)/2.
        (on.OPPOSITE, {"rescale": 0}, [0.5 + 0.4 * 0.5, 0.5]),
    ],
)
def test_cagrad_by_hand(rows, options, expected):
    assert on.weights_of("cagrad", rows, **options).tolist() == pytest.approx(expected, abs=1e-12)


def test_cagrad_at_a_stationary_point_takes_the_best_direction_closest_to_the_mean():
    # The first two cancel, so that no d improves both: x must be 0. The mean is (−1/30, 1/3), the closest (0, 1/3).
    rows = [[1.0, 0.0], [-1.1, 0.0], [0.0, 1.0]]
    weighting = on.build("cagrad", rescale=0)
    weights = on.solve(weighting, rows)
    assert (weights @ np.array(rows)).tolist() == pytest.approx([0.0, 1 / 3], abs=1e-9)
    assert int(weighting.fallbacks) == 0


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (on.PLANE, [1.0, 0.5]),  # orthogonal: 1/‖g‖
        (on.EQUAL, [0.2 / on.ROOT(2)] * 2),  # 25 · 2 α = 1/α
        (on.PARALLEL, [1 / on.ROOT(2), 0.5 / on.ROOT(2)]),
        (
            on.CONFLICT,
            [1 / on.ROOT(1 - 2 / on.ROOT(5)), 1 / on.ROOT(5 - 2 * on.ROOT(5))],
        ),  # β = 1/√(1 + cos), α = β/‖g‖
        (on.WITH_ZERO, [0.2, 0.0]),
        ([[4.0]], [0.25]),
    ],
)
def test_nash_by_hand(rows, expected):
    assert on.weights_of("nash-mtl", rows, max_norm=0).tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("rows", "alpha", "expected"),
    [
        ([[1.0, 0.0], [0.0, 8.0]], 2, [1.0, 1 / 16]),  # orthogonal: ‖g‖^{−2α/(1+α)}
        ([[1.0, 0.0], [0.0, 8.0]], 0.5, [1.0, 8.0 ** (-2 / 3)]),
        ([[1.0, 0.0], [1.0, 0.0]], 2, [0.5 ** (2 / 3)] * 2),  # 2 w = w^{−1/2}
        (on.PLANE, 1, [1.0, 0.5]),
        ([[8.0, 0.0], [0.0, 0.0]], 2, [1 / 16, 0.0]),
        ([[8.0]], 2, [1 / 16]),
    ],
)
def test_fairgrad_by_hand(rows, alpha, expected):
    assert on.weights_of("fairgrad", rows, alpha=alpha).tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("rows", "upgrad", "dualproj"),
    [
        (on.PLANE, [0.5, 0.5], [0.5, 0.5]),
        # g_1 = (1, 0), g_2 = (−1, 1): π(g_1) = g_1 + g_2/2, π(g_2) = g_2 + g_1; the mean (0, 1/2) conflicts with none.
        ([[1.0, 0.0], [-1.0, 1.0]], [1.0, 0.75], [0.5, 0.5]),
        # π(g_1) = g_1 + 2/5 g_2, π(g_2) = g_2 + 2 g_1; the mean (−1/2, 1/2) goes to (0, 1/2).
        (on.CONFLICT, [1.5, 0.7], [1.0, 0.5]),
        (on.EQUAL, [0.5, 0.5], [0.5, 0.5]),
        (on.OPPOSITE, [1.5, 0.75], [1.0, 0.5]),
        (on.WITH_ZERO, [0.5, 0.5], [0.5, 0.5]),
        ([[5.0]], [1.0], [1.0]),
    ],
)
def test_projections_by_hand(rows, upgrad, dualproj):
    assert on.weights_of("upgrad", rows).tolist() == pytest.approx(upgrad, abs=1e-14)
    assert on.weights_of("dualproj", rows).tolist() == pytest.approx(dualproj, abs=1e-14)


def test_a_small_gradient_is_served_beside_a_large_one():
    # Where the trace is regularised, g_3 loses: lengths 100 : 1 : 0.01, every pair in conflict.
    rows = on.LENGTHS[:, None] * np.array([[1.0, 0.1, 0.0], [-0.8, 1.0, 0.1], [-0.7, -0.4, 1.0]])
    for name in ("mgda", "nash-mtl", "upgrad", "dualproj"):
        assert (rows @ on.direction_of(name, rows)).min() >= -1e-11


# Against slow methods that see the gradients themselves.

cases = pytest.mark.parametrize(
    ("count", "conflict", "scaled"),
    [(2, 0.0, False), (2, 0.7, True), (3, 0.0, False), (3, 0.9, False), (3, 0.8, True), (10, 0.9, False)],
)


def case(count, conflict, scaled, seed=0):
    rows = on.random_rows(seed, count, 14, conflict)
    return rows * on.LENGTHS[:count, None] if scaled else rows


@cases
def test_mgda_is_the_shortest_convex_combination(count, conflict, scaled):
    rows = case(count, conflict, scaled)
    assert np.allclose(on.weights_of("mgda", rows), on.shortest_by_enumeration(rows), rtol=1e-8, atol=1e-11)


@pytest.mark.slow
@cases
def test_projections_are_the_nearest_points_of_the_cone(count, conflict, scaled):
    rows = case(count, conflict, scaled)
    each = sum(on.projected_by_enumeration(rows, row) for row in rows) / count
    assert np.allclose(on.direction_of("upgrad", rows), each, rtol=1e-9, atol=1e-10)
    mean = on.projected_by_enumeration(rows, rows.mean(0))
    assert np.allclose(on.direction_of("dualproj", rows), mean, rtol=1e-9, atol=1e-10)


@cases
@pytest.mark.parametrize("c", [0.2, 0.4, 0.9])
def test_cagrad_has_the_best_worst_improvement(count, conflict, scaled, c):
    rows = case(count, conflict, scaled)
    worst = (rows @ on.direction_of("cagrad", rows, c=c, rescale=0)).min()
    scale = np.linalg.norm(rows.mean(0)) * np.linalg.norm(rows, axis=1).min()
    assert worst == pytest.approx(on.best_worst_improvement(rows, c), rel=1e-5, abs=1e-5 * scale)


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
    assert np.allclose(on.weights_of("fairgrad", rows, alpha=alpha), start * np.exp(logs), rtol=1e-7)
