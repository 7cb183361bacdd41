"""Convex quadratic programmes in a handful of variables, solved exactly by active sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Slopes are cosines times coefficients of order 1: below this a slope is rounding.
TOLERANCE = 1e-12
# What rounding may leave of the optimality conditions where gradients are nearly parallel.
ACCEPTED = 1e-7


@dataclass(frozen=True)
class Minimum:
    """Where a search ended: the point (M,), which entries are free (M,), and whether it is the minimum."""

    point: Array
    free: NDArray[np.bool_]
    solved: bool


def minimise(matrix: Array, linear: Array, normal: Array | None = None) -> Minimum:
    """The minimum of ½ xᵀAx + qᵀx over x ≥ 0 and, where ``normal`` is given, nᵀx = 1.

    The method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23), stated for a Gramian: one entry
    at a time is set free, and those that would turn negative return to 0. Every free set is visited at most once, so
    the end is exact up to rounding. An entry whose gradient depends on the free ones is refused, which leaves singular
    matrices no trouble.

    Args:
        matrix: (M, M) A, positive semi-definite, of order 1.
        linear: (M,) q. Without ``normal`` it must lie in the range of A.
        normal: (M,) n ≥ 0, at least one entry of order 1.

    Returns:
        The minimum; if ``solved`` is False, a feasible point that is none.
    """
    count = len(linear)
    point, free, refused = np.zeros(count), np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    scale = 1.0 + float(np.abs(linear).max())
    multiplier = 0.0
    if normal is not None:
        first = int(np.argmax(normal))
        point[first], free[first] = 1 / normal[first], True
        multiplier = float(matrix[first, first] * point[first] + linear[first]) / float(normal[first])
    for _ in range(20 + 20 * count):
        slope = matrix @ point + linear
        if normal is not None:
            slope -= multiplier * normal
        candidates = np.where(free | refused, np.inf, slope)
        entering = int(np.argmin(candidates))
        if candidates[entering] >= -TOLERANCE * scale:
            worst = max(0.0, *np.where(free, np.abs(slope), -slope).tolist())
            return Minimum(point, free, worst <= ACCEPTED * scale)
        moved = _released(matrix, linear, normal, point, free, entering)
        if moved is None:
            refused[entering] = True
        else:
            point, free, multiplier = moved
            refused[:] = False
    return Minimum(point, free, False)


def stationary(matrix: Array, linear: Array, normal: Array | None, level: float = 1.0) -> tuple[Array, float]:
    """The stationary point of ½ xᵀAx + qᵀx, under nᵀx = ``level`` where given, and the constraint's multiplier.

    Raises:
        LinAlgError: the system is singular.
    """
    if normal is None:
        return np.asarray(np.linalg.solve(matrix, -linear), dtype=np.float64), 0.0
    count = len(linear)
    bordered = np.zeros((count + 1, count + 1))
    bordered[:count, :count], bordered[:count, count], bordered[count, :count] = matrix, -normal, normal
    solution = np.linalg.solve(bordered, np.append(-linear, level))
    return solution[:count], float(solution[count])


def _released(
    matrix: Array, linear: Array, normal: Array | None, point: Array, free: NDArray[np.bool_], entering: int
) -> tuple[Array, NDArray[np.bool_], float] | None:
    """Point, free set and multiplier after one more entry is set free; None if it does not become positive."""
    point, free = point.copy(), free.copy()
    free[entering] = True
    first = True
    while True:
        places = np.flatnonzero(free)
        border = None if normal is None else normal[places]
        try:
            found, multiplier = stationary(matrix[np.ix_(places, places)], linear[places], border)
        except np.linalg.LinAlgError:
            return None
        target = np.zeros(len(point))
        target[places] = found
        if not np.isfinite(found).all() or (first and target[entering] <= 0):
            return None
        if (found > 0).all():
            return target, free, multiplier
        first = False
        blocking = places[found <= 0]
        steps = point[blocking] / (point[blocking] - target[blocking])
        point += steps.min() * (target - point)
        free[blocking[steps <= steps.min()]] = False
        point[~free] = 0.0
        if not free.any():
            return None
