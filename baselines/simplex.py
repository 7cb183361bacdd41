"""The probability simplex: weights that are not negative and sum to 1."""

import numpy as np
from numpy.typing import NDArray


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
