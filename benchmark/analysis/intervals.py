"""Spread over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

#: Seeds that a full row of a board has.
FULL_ROW = 3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of the finite values; NaN where there is none.
        half: half the width of the 95 % confidence interval (Student t); None for fewer than two values, of whose
            spread nothing is known.
        n: number of finite values.
    """

    mean: float
    half: float | None
    n: int


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and confidence interval of the finite ones among ``values``."""
    given = np.asarray(list(values), dtype=float)
    finite = given[np.isfinite(given)]
    n = len(finite)
    if n == 0:
        return Estimate(np.nan, None, 0)
    with np.errstate(all="ignore"):
        mean = float(finite.mean())
        half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * finite.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    if not np.isfinite(mean) or (half is not None and not np.isfinite(half)):  # too large to add or square
        return Estimate(np.nan, None, 0)
    return Estimate(mean, half, n)
