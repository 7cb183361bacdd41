"""The probability simplex: weights that are not negative and sum to 1."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmark.presence import Presence


def part_of_point(point: Tensor, present: Presence) -> tuple[NDArray[np.float64], float]:
    """The present tasks' part of a point of the simplex (K,), and its sum.

    Returns:
        (M,) scaled to sum 1, equal numbers where all are 0; what it summed to, by which what it becomes is to be
        multiplied before it is written back, so that absent tasks keep their numbers.
    """
    part = present.rows(point).cpu().numpy()
    if present.all:
        return part, 1.0
    total = float(part.sum())
    return (part / total if total > 0 else np.full(len(part), 1 / len(part))), total


def nearest_on_simplex(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point of the simplex closest to ``point`` (K,), which is finite.

    It is max(point − θ, 0) with the θ that makes the sum 1 (Held, Wolfe & Crowder, Mathematical Programming 1974).
    """
    falling = np.sort(point - point.max())[
        ::-1
    ]  # a common shift changes nothing, and leaves large numbers their digits
    levels = (np.cumsum(falling) - 1) / np.arange(1, len(point) + 1)
    theta = levels[np.flatnonzero(falling > levels)[-1]]
    return np.maximum(point - point.max() - theta, 0.0)
