"""The proportional conditions of bargaining and of alpha-fairness, solved by a damped Newton method."""

import numpy as np

from baselines.weightings.solvers.gramian import Array, UnitRows

# Added to the diagonal where no solution exists; opposite gradients then get coefficients of order 1e3 to 1e4, which
# float32 gradients can still bear.
RIDGE = 1e-6
# Beyond this multiple of the largest that orthogonal gradients would get, coefficients only tell that there is no
# solution.
LARGEST = 1e5


def fair_point(cosines: Array, targets: Array, power: float) -> tuple[Array, bool]:
    """The x > 0 with U x = c x^{−r}, entry by entry.

    It is the minimum of the strictly convex ½ xᵀUx − Σ c_k P(x_k) with P' = x^{−r}, so it is unique. It exists unless
    some x ≥ 0, x ≠ 0 has U x = 0, that is, unless the gradients are Pareto-stationary.

    Args:
        cosines: (M, M) U.
        targets: (M,) c > 0.
        power: r > 0.

    Returns:
        (M,) x, and True; where there is no solution, the one for U + 1e-6 I, and False.
    """
    alone = targets ** (1 / (1 + power))  # the solution for orthogonal gradients
    exact = _newton(cosines, targets, power, alone)
    if exact is not None:
        return exact, True
    damped = _newton(cosines + RIDGE * np.eye(len(targets)), targets, power, alone)
    return (alone if damped is None else damped), False


def fair_weights(rows: UnitRows, targets: Array, power: float) -> tuple[Array, bool]:
    """(K,) weights w = x/‖g‖ with x of ``fair_point``, where ``targets`` take the longest gradient as the unit."""
    coefficients, solved = fair_point(rows.cosines, targets, power)
    # w scales as the Gramian's −1/(1 + r)-th power; ``rows.weights`` divides by the lengths and thus by their unit.
    return rows.weights(coefficients * rows.lengths.max() ** (1 - 2 / (1 + power)), 0.0), solved


def _newton(matrix: Array, targets: Array, power: float, alone: Array) -> Array | None:
    """The solution, or None if there is none within ``LARGEST``."""
    curvature = float(alone @ matrix @ alone)
    ray = float((targets * alone ** (1 - power)).sum()) / max(curvature, 1e-3)
    point = alone * ray ** (1 / (1 + power))  # the minimum along the ray, unless that is far away
    for _ in range(100):
        pull = targets * point**-power
        gradient = matrix @ point - pull
        try:
            step = -np.linalg.solve(matrix + np.diag(power * pull / point), gradient)
        except np.linalg.LinAlgError:
            return None
        relative = float(np.abs(step / point).max())
        if not relative < np.inf:
            return None
        if relative < 1e-7:  # quadratic convergence: after this step it is exact
            point = point + step
            break
        point = point + _damping(matrix, targets, power, point, step, float(gradient @ step)) * step
        if point.max() > LARGEST * alone.max():
            return None
    off = np.abs(point**power * (matrix @ point) / targets - 1).max()
    return point if off < 1e-6 else None


def _damping(matrix: Array, targets: Array, power: float, point: Array, step: Array, slope: float) -> float:
    """How much of the step to take: inside the positive orthant, and far enough down (Armijo's rule)."""
    fastest = float((-step / point).max())
    share = 1.0 if fastest < 0.95 else 0.95 / fastest
    if np.abs(step / point).max() < 1e-2:  # close to the end differences of values are rounding
        return share
    here = _value(matrix, targets, power, point)
    for _ in range(40):
        if _value(matrix, targets, power, point + share * step) <= here + 1e-4 * share * slope:
            break
        share /= 2
    return share


def _value(matrix: Array, targets: Array, power: float, point: Array) -> float:
    gains = np.log(point) if power == 1 else point ** (1 - power) / (1 - power)
    return float(point @ matrix @ point / 2 - targets @ gains)
