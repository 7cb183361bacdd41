"""Paired tests between rows over seeds: which leads are more than noise."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

ROW = ["architecture", "weighting"]
#: Chance of one or more false alarms in a whole family of comparisons.
ALPHA = 0.05
#: Pairs held at once.
CHUNK = 1_000_000

PAIR_COLUMNS = [
    *(f"{name}_{side}" for side in "ab" for name in ROW),
    *("n", "difference", "low", "high", "p", "p_holm", "significant"),
]
GROUP_COLUMNS = [*ROW, "n", "mean", "tied", "tested", "p", "better"]


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
            anything below p = 0.05 with fewer than six seeds.
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
    n, mean, error, t = _t(differences.T)
    with np.errstate(all="ignore"):
        half = np.where(n > 1, stats.t.ppf(0.975, np.maximum(n - 1, 1)) * error, np.nan)
    if test == "t":
        p = 2 * stats.t.sf(np.abs(t), np.maximum(n - 1, 1))
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


def best_group(
    data: pd.DataFrame, value: str = "value", *, higher_is_better: bool, alpha: float = ALPHA
) -> pd.DataFrame:
    """The rows that may be the best: those that no other row beats.

    Every row is tested against each of the m others with which it shares two or more seeds: a one-sided paired t-test
    of *the other is better*. It leaves the group when m times its smallest p (the first step of Holm's method) is below
    ``alpha``. So the row that is truly best stays with a probability of at least 1 − ``alpha``, whichever row
    happens to lead (Gupta, *On some multiple decision (selection and ranking) rules*, Technometrics 7, 1965, with
    Bonferroni's bound): a test against the leader alone would forget that noise chose it.

    With two or three seeds only large and steady differences are beyond noise; rows with one seed cannot be tested.

    Args:
        data, value, alpha: as for ``compare``; pass the rows that compete.
        higher_is_better: the value's direction.

    Returns:
        ``architecture``, ``weighting``, ``n`` (seeds), ``mean``, ``tied`` (whether the row is in the group),
        ``tested`` (whether it could be tested at all), ``p`` (corrected, of the clearest loss; a single test's counts
        as a half at most) and ``better`` (how many rows have a better mean), the best mean first. Rows without a value
        are left out.

    Raises:
        ValueError: a row has two values of one seed.
    """
    rows, values = _matrix(data, value)
    present = np.isfinite(values).any(axis=1)
    rows, values = rows[present].reset_index(drop=True), values[present]
    signed = values if higher_is_better else -values
    p = _clearest_losses(signed)
    means = np.array([row[np.isfinite(row)].mean() for row in values], dtype=float)
    order = means if higher_is_better else -means
    table = rows.assign(
        n=np.isfinite(values).sum(axis=1),
        mean=means,
        tied=~(p < alpha),
        tested=np.isfinite(p),
        p=p,
        better=stats.rankdata(-order, method="min").astype(int) - 1 if len(rows) else np.zeros(0, dtype=int),
    )
    return table.sort_values(["better", *ROW]).reset_index(drop=True)[GROUP_COLUMNS]


def _clearest_losses(values: np.ndarray) -> np.ndarray:
    """By row the corrected p of *no other row is better*; NaN where nothing can be tested. (R, S) -> (R,)"""
    finite = np.isfinite(values)
    smallest, tests = np.full(len(values), np.nan), np.zeros(len(values), dtype=int)
    # Rows that lack the same seeds share their common seeds with any other row.
    patterns, member = np.unique(finite, axis=0, return_inverse=True)
    groups = [np.flatnonzero(member.ravel() == k) for k in range(len(patterns))]
    for (own, mine), (other, theirs) in product(zip(patterns, groups, strict=True), repeat=2):
        common = own & other
        n = int(common.sum())
        if n < 2 or (mine is theirs and len(mine) < 2):
            continue
        step = max(1, CHUNK // len(theirs))
        for start in range(0, len(mine), step):
            rows = mine[start : start + step]
            t = _greatest_t(values[np.ix_(theirs, common)], values[np.ix_(rows, common)])
            smallest[rows] = np.fmin(smallest[rows], stats.t.sf(t, n - 1))
        tests[mine] += len(theirs) - (mine is theirs)
    return np.minimum(1.0, smallest * tests)


def _greatest_t(others: np.ndarray, own: np.ndarray) -> np.ndarray:
    """By row of ``own`` the greatest paired t of any other row against it, 0 at least: a row is no better than itself.

    (R, n), (C, n) -> (C,)
    """
    n = own.shape[1]
    mean = others.mean(axis=1)[None, :] - own.mean(axis=1)[:, None]  # (C, R)
    squares = np.zeros_like(mean)
    away, here = (x - x.mean(axis=1, keepdims=True) for x in (others, own))
    for seed in range(n):
        squares += (away[:, seed][None, :] - here[:, seed][:, None]) ** 2
    with np.errstate(all="ignore"):
        t = mean / np.sqrt(squares / (n - 1) / n)
    return np.where(mean > 0, t, 0.0).max(axis=1, initial=0.0)


def _t(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Over the first axis, the seeds: number and mean of the finite differences, standard error, t. (S, …) -> (…)"""
    finite = np.isfinite(differences)
    n = finite.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = np.where(finite, differences, 0.0).sum(axis=0) / n
        squares = (np.where(finite, differences - mean, 0.0) ** 2).sum(axis=0)
        error = np.sqrt(squares / (n - 1) / n)
        t = mean / error
    # Differences that are all 0 are no difference; all equal, but not 0, they are one beyond doubt.
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
    return float(stats.wilcoxon(known).pvalue) if (known != 0).any() else 1.0
