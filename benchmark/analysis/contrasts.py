"""Intervals of differences between rows and a baseline, valid at every look and for all rows at once."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from benchmark.analysis.looks import ALPHA, FIRST, critical
from benchmark.analysis.moderation import moderate

#: The level where rows have different numbers of seeds, which may have been given to them for what was seen before: at
#: ``ALPHA`` simulated races err on 4 to 11 % of boards, at this one on 1 to 5 % (docs/verdicts.md).
RACED = 0.02
#: Seeds pair runs where that makes the typical squared standard error smaller than this share of the unpaired one.
WORTHWHILE = 0.8


@dataclass(frozen=True)
class Contrasts:
    """Rows against their baselines; all arrays have one number per row.

    Attributes:
        difference: of the means, row − baseline.
        low, high: the interval; infinite where there are too few seeds.
        variance: of one run's difference, moderated: that of ``difference`` times ``seeds``.
        freedom: of ``variance``.
        seeds: what the interval rests on: common seeds where runs are paired, else the harmonic mean of the two numbers
            of seeds.
        paired: whether runs of one seed were compared, one and the same for all rows of a board.
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray
    seeds: np.ndarray
    paired: np.ndarray

    @property
    def half(self) -> np.ndarray:
        """Half the intervals' widths."""
        return (self.high - self.low) / 2


def contrasts(
    values: np.ndarray, baseline: np.ndarray, *, rows: int, simultaneous: bool = True, alpha: float | None = None
) -> Contrasts:
    """Compare rows with their baselines.

    A difference of means has the variance v / n + v′ / n′ of two independent samples, with Welch's degrees of freedom;
    or, where a common seed saves a fifth of it and more, that of the differences within seeds. Which, all rows of a
    board decide together, by their variances alone. The variances are then moderated over the rows (``moderate``), and
    the interval is ± ``critical`` standard errors.

    Args:
        values: (…, rows, seeds), NaN where a row has no run of a seed; batches of boards may come before.
        baseline: likewise, of each row's baseline; broadcast.
        rows: the family's size: how many rows are compared with the baseline, those without runs included.
        simultaneous: False for plain intervals, of one row at one look.
        alpha: the level; None for ``ALPHA``, or that of ``level`` where intervals hold together.
    """
    if alpha is None:
        alpha = level(values, baseline) if simultaneous else ALPHA
    apart, together = _unpaired(values, baseline), _paired(values, baseline)
    paired = _worthwhile(apart, together)
    difference, variance, freedom, seeds = (
        np.where(paired, one, other) for one, other in zip(together, apart, strict=True)
    )
    with np.errstate(invalid="ignore"):
        if simultaneous:
            width = critical(seeds, freedom, rows, alpha=alpha)
        else:
            width = np.where(seeds >= FIRST, -stdtrit(freedom, alpha / 2), np.inf)
        half = np.where(np.isfinite(width), width * np.sqrt(variance / seeds), np.inf)
    half = np.where(np.isfinite(half) & np.isfinite(difference), half, np.inf)
    middle = np.where(np.isfinite(difference), difference, 0.0)
    paired = np.broadcast_to(paired, half.shape)
    return Contrasts(difference, middle - half, middle + half, variance, freedom, seeds, paired)


def level(*values: np.ndarray) -> float:
    """``RACED`` where rows of one of the tables (…, rows, seeds) have different numbers of seeds, else ``ALPHA``."""
    return RACED if any(_uneven(own) for own in values) else ALPHA


def _uneven(values: np.ndarray) -> bool:
    """Whether the rows that can have an interval have different numbers of seeds."""
    n = np.isfinite(values).sum(-1)
    counts = n[n >= FIRST]
    return counts.size > 0 and bool(counts.min() < counts.max())


_Sample = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _unpaired(values: np.ndarray, baseline: np.ndarray) -> _Sample:
    """Difference, moderated variance of one difference, its freedom, seeds."""
    n, mean, variance = _moments(values)
    n_base, mean_base, variance_base = _moments(baseline)
    with np.errstate(all="ignore"):
        own, other = variance / n, variance_base / n_base
        seeds = np.where((n >= FIRST) & (n_base >= FIRST), 2 * n * n_base / (n + n_base), 0.0)
        # Two samples without any spread would leave 0 / 0: they are known as well as their numbers say.
        welch = (own + other) ** 2 / (own**2 / (n - 1) + other**2 / (n_base - 1))
        freedom = np.where(own + other > 0, welch, n + n_base - 2.0)
        raw = np.where(seeds > 0, (own + other) * seeds, np.nan)
    return mean - mean_base, *moderate(raw, freedom), seeds


def _paired(values: np.ndarray, baseline: np.ndarray) -> _Sample:
    n, mean, variance = _moments(values - baseline)
    seeds = np.where(n >= FIRST, n, 0.0)
    return mean, *moderate(np.where(seeds > 0, variance, np.nan), n - 1.0), seeds


def _worthwhile(apart: _Sample, together: _Sample) -> np.ndarray:
    """Whether a board's differences are taken within seeds: by the mean logarithm of both squared standard errors."""
    with np.errstate(all="ignore"):
        saved = np.log(together[1] / together[3]) - np.log(apart[1] / apart[3])
        known = np.isfinite(saved)
        mean = np.where(known, saved, 0.0).sum(-1, keepdims=True) / known.sum(-1, keepdims=True)
        return mean < np.log(WORTHWHILE)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and variance over the seeds that are there; NaN where there are too few."""
    known = np.isfinite(values)
    n = known.sum(-1)
    with np.errstate(all="ignore"):
        mean = np.where(known, values, 0.0).sum(-1) / n
        squares = (np.where(known, values - mean[..., None], 0.0) ** 2).sum(-1)
        return n, mean, np.where(n > 1, squares / (n - 1), np.nan)
