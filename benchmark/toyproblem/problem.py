"""Two losses in the plane: a shallow basin under a ridge of logarithms in which descent gets stuck."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = tuple[float, float]

#: Where paths begin (Navon et al., ICML 2022); the first and the third are also Liu et al.'s (NeurIPS 2021).
STARTS: tuple[Point, ...] = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
#: No loss is below −20; Liu et al. (FAMO, NeurIPS 2023) tell their method a minimum of −21.
BOUND = -21.0
#: Arguments of the logarithms end here, and so do their slopes.
LEAST = 5e-6


def losses(x: float, y: float) -> Point:
    """Both losses at a point."""
    return losses_and_gradients(x, y)[0]


def losses_and_gradients(x: float, y: float) -> tuple[Point, tuple[Point, Point]]:
    """Both losses at a point, and their exact gradients.

    Liu et al. (CAGrad, NeurIPS 2021, appendix B). With c(y) = max(tanh(y/2), 0), for y ≥ 0 the losses are c(y) times

        log max(|(−x − 7)/2 + tanh y|, 5e-6) + 6   and   log max(|(3 − x)/2 − tanh y + 2|, 5e-6) + 6,

    for y ≤ 0 they are c(−y) times ((x − 7)² + (y + 8)²/10)/10 − 20 and ((x + 7)² + (y + 8)²/10)/10 − 20. Navon et al.
    multiply the first by 0.1 in their variant; here it is 1. At y = 0, where a side's factor begins, its right-hand
    slope counts, as torch differentiates a clamp.

    Returns:
        (L₁, L₂), and ((∂L₁/∂x, ∂L₁/∂y), (∂L₂/∂x, ∂L₂/∂y)).
    """
    t, half = math.tanh(y), math.tanh(y / 2)
    rise = (1 - half * half) / 2
    upper, upper_slope = max(half, 0.0), rise if half >= 0 else 0.0
    lower, lower_slope = max(-half, 0.0), -rise if half <= 0 else 0.0
    found = []
    for argument, sign, centre in (((-x - 7) / 2 + t, 1.0, 7.0), ((3 - x) / 2 - t + 2, -1.0, -7.0)):
        size = abs(argument)
        log = math.log(max(size, LEAST)) + 6
        inverse = 1 / argument if size >= LEAST else 0.0
        bowl = ((x - centre) ** 2 + (y + 8) ** 2 / 10) / 10 - 20
        found.append(
            (
                upper * log + lower * bowl,
                -upper * inverse / 2 + lower * (x - centre) / 5,
                upper_slope * log + upper * sign * (1 - t * t) * inverse + lower_slope * bowl + lower * (y + 8) / 50,
            )
        )
    (first, first_x, first_y), (second, second_x, second_y) = found
    return (first, second), ((first_x, first_y), (second_x, second_y))


@cache
def front(count: int = 1401) -> Array:
    """The Pareto front.

    On it −7 ≤ x ≤ 7: there the slopes along x cancel with weights ((x + 7)/14, (7 − x)/14), and y is where the weighted
    loss is least. That is at y ≈ −8.36 in the middle, −8.43 at the ends.

    Args:
        count: how many points, evenly spaced in x.

    Returns:
        (count, 4): x, y and both losses.
    """
    x = np.linspace(-7, 7, count)
    weight = (x + 7) / 14
    low, high = np.full(count, -10.0), np.full(count, -7.0)
    ratio = (math.sqrt(5) - 1) / 2

    def weighted(y: Array) -> Array:
        bowl = weight * (x - 7) ** 2 + (1 - weight) * (x + 7) ** 2
        return np.tanh(-y / 2) * ((bowl + (y + 8) ** 2 / 10) / 10 - 20)

    for _ in range(60):  # golden sections: 3 · 0.618^60 is below 1e-12
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        lower_left = weighted(left) < weighted(right)
        low, high = np.where(lower_left, low, left), np.where(lower_left, right, high)
    y = (low + high) / 2
    return np.array([(a, b, *losses(a, b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)])


def gap(first: float, second: float) -> float:
    """How far two losses are from the front: by this much some point of it is better in both (additive ε; 0 on it)."""
    reached = front()[:, 2:]
    return float(np.minimum(first - reached[:, 0], second - reached[:, 1]).max())
