"""Non-dominated sets."""

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
