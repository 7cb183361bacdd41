"""Spread over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from benchmark.analysis.bootstrap import FEWEST, half_widths

#: Seeds that a full row of a board has.
FULL_ROW = 3
CONFIDENCE = 0.95

Method = Literal["", "student-t", "bootstrap-t"]

#: How an interval was made, in words.
METHODS: dict[str, str] = {
    "": "none: of the spread of fewer than two seeds nothing is known",
    "student-t": "Student's t over seeds, which takes the seeds' noise for normal",
    "bootstrap-t": "symmetric studentised bootstrap over seeds (exact up to seven seeds, else 1999 resamples)",
}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of the finite values; NaN where there is none.
        half: half the width of the 95 % confidence interval; None for fewer than two values, of whose spread nothing is
            known.
        n: number of finite values.
        method: how the interval was made, a key of ``METHODS``.
    """

    mean: float
    half: float | None
    n: int
    method: Method = ""

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and 95 % interval of the finite ones among ``values``; see ``estimates`` for how."""
    return estimates_of([values])[0]


def estimates_of(samples: Iterable[Iterable[float]]) -> list[Estimate]:
    """``estimate`` of each of several samples, at once."""
    known = [np.asarray(list(values), dtype=float) for values in samples]
    number = np.repeat(np.arange(len(known)), [len(values) for values in known])
    found = _of_groups(number, np.concatenate([np.zeros(0), *known]), len(known))
    columns = (found[name].tolist() for name in ("mean", "half", "n", "method"))
    return [Estimate(mean, half if method else None, n, method) for mean, half, n, method in zip(*columns, strict=True)]


def estimates(data: pd.DataFrame, by: Sequence[str], value: str = "value") -> pd.DataFrame:
    """Means over seeds with 95 % intervals, one row per group.

    From five values on the interval is the symmetric bootstrap-t of ``bootstrap.half_widths``. For two to four values
    no bootstrap has its nominal coverage, and the interval is Student's: exact where the seeds' noise is normal. One
    value has no interval. A test simulates both.

    Args:
        data: tidy, one row per seed.
        by: the columns that single out a group, such as architecture, weighting, task and metric.
        value: the column to average; values that are not finite do not count.

    Returns:
        ``by``, ``mean``, ``half``, ``low``, ``high`` (NaN where there is no interval), ``n`` and ``method`` (a key of
        ``METHODS``), ordered by ``by``. Groups without a finite value, or with values too large to square, have mean
        NaN and n 0.
    """
    by = list(by)
    keys = data[by].drop_duplicates().sort_values(by) if by else pd.DataFrame(index=[0] if len(data) else [])
    number = data.groupby(by, sort=True).ngroup().to_numpy() if by else np.zeros(len(data), dtype=int)
    return keys.reset_index(drop=True).assign(**_of_groups(number, data[value].to_numpy(dtype=float), len(keys)))


def _of_groups(number: np.ndarray, given: np.ndarray, groups: int) -> dict[str, np.ndarray]:
    """The columns of ``estimates``, an entry per group; ``number`` is the place of each value's group."""
    finite = np.isfinite(given)
    number, given = number[finite], given[finite]
    order = np.argsort(number, kind="stable")
    number, given = number[order], given[order]
    counts = np.bincount(number, minlength=groups)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
    mean, half = np.full(groups, np.nan), np.full(groups, np.nan)
    method = np.full(groups, "", dtype=object)
    for n in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == n)
        # In order of size: the same values in another order of seeds have the same mean, to the last bit.
        same_size = np.sort(given[starts[rows][:, None] + np.arange(n)], axis=1)
        mean[rows], half[rows], method[rows] = _intervals(same_size)
    lost = ~np.isfinite(mean) | ((method != "") & ~np.isfinite(half))  # too large to add or square
    mean[lost], half[lost], method[lost], counts[lost] = np.nan, np.nan, "", 0
    return {"mean": mean, "half": half, "low": mean - half, "high": mean + half, "n": counts, "method": method}


def _intervals(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, half widths and methods of (R, n) finite values."""
    n = values.shape[1]
    with np.errstate(all="ignore"):
        mean = values.mean(axis=1)
        if n < 2:
            return mean, np.full(len(values), np.nan), np.full(len(values), "", dtype=object)
        half = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * values.std(axis=1, ddof=1) / np.sqrt(n)
        method = np.full(len(values), "student-t", dtype=object)
        if n >= FEWEST:
            boot = half_widths(values, CONFIDENCE)
            sound = np.isfinite(boot)
            half, method = np.where(sound, boot, half), np.where(sound, "bootstrap-t", method)
    return mean, half, method
