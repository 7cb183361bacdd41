"""Paired tests between rows over seeds: which leads are more than noise."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

ROW = ["architecture", "weighting"]
#: Chance of one or more false alarms in a whole family of comparisons.
ALPHA = 0.05
#: Of numbers of size 1, what rounding alone may make of a difference that is none.
ROUNDING = 1e-13

PAIR_COLUMNS = [
    *(f"{name}_{side}" for side in "ab" for name in ROW),
    *("n", "difference", "low", "high", "p", "p_holm", "significant"),
]


def compare(
    data: pd.DataFrame,
    value: str = "value",
    *,
    baseline: tuple[str, str] | None = None,
    test: str = "t",
    alpha: float = ALPHA,
) -> pd.DataFrame:
    """Compare rows over the seeds that both have: every pair, or every row with one.

    Seeds pair runs that saw the same batches in the same order and, in Δm, had the same reference: what a seed does to
    both rows cancels.

    Args:
        data: tidy, one value per architecture, weighting and seed: filter one metric, or pass the result of
            ``delta_m``.
        value: the column to compare. Values that are not finite do not count.
        baseline: architecture and weighting of the row that all others are compared with; None for all pairs.
        test: ``t``, the paired t-test, or ``wilcoxon``, the signed-rank test, which assumes less and cannot find
            anything below p = 0.05 with fewer than six seeds; it is exact, with ties too. Differences that are all
            equal have no variance, and so no t: p is then the sign test's, 2^(1 − n).
        alpha: the chance of one or more false alarms among all comparisons of the result.

    Returns:
        ``architecture_a``, ``weighting_a``, ``architecture_b``, ``weighting_b``, ``n`` (common seeds), ``difference``
        (mean of a − b), ``low`` and ``high`` (its Student interval, not corrected), ``p`` (two-sided), ``p_holm``
        (corrected over the result by Holm's method; Scand. J. Stat. 6, 1979) and ``significant``. Pairs with fewer than
        two common seeds have no p and are no part of the family.

    Raises:
        ValueError: a row has two values of one seed, the baseline is no row, or the test is unknown.
    """
    rows, values = _matrix(data, value)
    first, second = _pairs(rows, baseline)
    differences = values[first] - values[second]
    largest = np.nanmax(np.abs(values), axis=1, initial=0.0)
    n, mean, error, t = _t(differences.T, np.maximum(largest[first], largest[second]))
    with np.errstate(all="ignore"):
        half = np.where(n > 1, stdtrit(np.maximum(n - 1, 1), 0.975) * error, np.nan)
    if test == "t":
        p = np.where(np.isinf(t), 2.0 ** (1 - n), 2 * stdtr(np.maximum(n - 1, 1), -np.abs(t)))
    elif test == "wilcoxon":
        p = np.array([_wilcoxon(row) for row in differences], dtype=float)
    else:
        raise ValueError(f"the test is 't' or 'wilcoxon', not {test!r}")
    p = np.where(n > 1, p, np.nan)
    corrected = holm(p)
    names = [rows[name].to_numpy()[side] for side in (first, second) for name in ROW]
    numbers = [n, mean, mean - half, mean + half, p, corrected, corrected < alpha]
    return pd.DataFrame(dict(zip(PAIR_COLUMNS, [*names, *numbers], strict=True)))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's corrected p-values: a family's chance of any false alarm stays below the level. NaN: no member."""
    p = np.asarray(p, dtype=float)
    result = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return result


def _t(differences: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Over the first axis, the seeds: number and mean of the finite differences, standard error, t. (S, …) -> (…)

    Args:
        size: of the numbers that were subtracted, which says what rounding makes of nothing.
    """
    finite = np.isfinite(differences)
    n = finite.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = np.where(finite, differences, 0.0).sum(axis=0) / n
        squares = (np.where(finite, differences - mean, 0.0) ** 2).sum(axis=0)
        error = np.sqrt(squares / (n - 1) / n)
        t = mean / error
        # Numbers that are equal but for rounding, such as 75.3 − 70.3 and 80.3 − 75.3, have no variance either.
        t = np.where((n > 1) & (error <= ROUNDING * size), np.inf * np.sign(mean), t)
    # Differences that are all 0 are no difference.
    return n, mean, error, np.where(mean == 0, 0.0, t)


def _matrix(data: pd.DataFrame, value: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows, ordered, and their values by seed, NaN where not finite or missing. (R, S)"""
    if data.duplicated([*ROW, "seed"]).any():
        raise ValueError("more than one value per architecture, weighting and seed: select one metric and epoch first")
    wide = data.pivot(index=ROW, columns="seed", values=value).sort_index()
    values = wide.to_numpy(dtype=float)
    return wide.index.to_frame(index=False), np.where(np.isfinite(values), values, np.nan)


def _pairs(rows: pd.DataFrame, baseline: tuple[str, str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows to compare."""
    if baseline is None:
        first, second = np.triu_indices(len(rows), 1)
        return first, second
    place = next((i for i, name in enumerate(_names(rows)) if name == tuple(baseline)), None)
    if place is None:
        raise ValueError(f"no row is {' with '.join(baseline)}: {', '.join(' with '.join(n) for n in _names(rows))}")
    others = np.array([i for i in range(len(rows)) if i != place], dtype=int)
    return others, np.full(len(others), place)


def _names(rows: pd.DataFrame) -> Sequence[tuple[str, str]]:
    return list(zip(rows["architecture"], rows["weighting"], strict=True))


def _wilcoxon(differences: np.ndarray) -> float:
    known = differences[np.isfinite(differences)]
    if len(known) < 2:
        return float("nan")
    known = known[known != 0]
    if not len(known):
        return 1.0
    # Twice the ranks, which are whole numbers also where ties share them; by how many choices of signs each sum of
    # those of positive differences comes about.
    ranks = np.rint(2 * pd.Series(np.abs(known)).rank().to_numpy()).astype(int)
    ways = np.ones(1)
    for rank in ranks:
        ways = np.concatenate([ways, np.zeros(rank)]) + np.concatenate([np.zeros(rank), ways])
    chances = ways / ways.sum()
    found = ranks[known > 0].sum()
    return float(min(1.0, 2 * min(chances[: found + 1].sum(), chances[found:].sum())))
