"""Non-dominated sets, and how much of the plane they dominate."""

from collections.abc import Mapping

import moocore
import numpy as np
import pandas as pd


def non_dominated(data: pd.DataFrame, maximise: dict[str, bool]) -> pd.Series:
    """Which rows no other row beats in one column without losing in another.

    Args:
        data: a row per candidate.
        maximise: the columns to judge by, and whether greater is better.

    Returns:
        A boolean per row of ``data``. Equal rows share their fate; a row with a value that is not finite is never
        non-dominated and dominates nothing.
    """
    values = data[list(maximise)].to_numpy(dtype=float)
    whole = np.isfinite(values).all(axis=1)
    result = np.zeros(len(data), dtype=bool)
    if whole.any():
        result[whole] = moocore.is_nondominated(values[whole], maximise=list(maximise.values()), keep_weakly=True)
    return pd.Series(result, index=data.index)


def corners(data: pd.DataFrame, maximise: Mapping[str, bool]) -> tuple[dict[str, float], dict[str, float]]:
    """The worst and the best value of each column among rows whose values are all finite; NaN where there is none."""
    whole = data[list(maximise)].astype(float)
    whole = whole.loc[np.isfinite(whole.to_numpy()).all(axis=1)]
    least, most = whole.min().to_dict(), whole.max().to_dict()
    worst = {name: least[name] if higher else most[name] for name, higher in maximise.items()}
    best = {name: most[name] if higher else least[name] for name, higher in maximise.items()}
    return worst, best


def hypervolume(
    data: pd.DataFrame,
    maximise: Mapping[str, bool],
    *,
    reference: Mapping[str, float] | None = None,
    ideal: Mapping[str, float] | None = None,
) -> float:
    """The share of the box between ``reference`` and ``ideal`` that the rows dominate together, from 0 to 1.

    Every column is measured from the reference in units of its distance to the ideal, so that the share depends on no
    unit. It does depend on the two corners: to compare sets of rows (the weightings of two architectures, say), give
    both the same ones, such as ``corners`` of all rows. Few columns at a time: the time grows with the number of
    non-dominated rows to the power of the columns less two.

    Args:
        data: a row per candidate; rows with a value that is not finite dominate nothing.
        maximise: the columns, and whether greater is better.
        reference: the corner that all rows should beat, such as the single-task row; by default the worst value of
            each column. Rows that do not beat it in every column add nothing.
        ideal: the opposite corner, by default the best value of each column; what lies beyond it does not count.

    Returns:
        The share; 0 for no whole row, NaN where reference and ideal agree in a column, or are not finite.
    """
    worst, best = corners(data, maximise)
    start, end = ({**worst, **(reference or {})}, {**best, **(ideal or {})})
    values = data[list(maximise)].to_numpy(dtype=float)
    values = values[np.isfinite(values).all(axis=1)]
    low, high = (np.array([corner[name] for name in maximise], dtype=float) for corner in (start, end))
    if not len(values):
        return 0.0
    with np.errstate(all="ignore"):
        scaled = np.clip((values - low) / (high - low), 0.0, 1.0)
    if not np.isfinite(scaled).all():
        return float("nan")
    return float(moocore.hypervolume(scaled, ref=np.zeros(len(low)), maximise=True))
