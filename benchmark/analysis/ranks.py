"""Mean ranks over metrics."""

import numpy as np
import pandas as pd

from benchmark.analysis.compare import ROW

#: What a rank is given within: the metrics of the tasks of the data sets.
BLOCKS = ("dataset", "task", "metric")


def mean_ranks(data: pd.DataFrame) -> pd.DataFrame:
    """Rank the rows on every metric and average the ranks.

    Values are averaged over seeds first. Ranks are given within each data set, task and metric (1 is best, ties share
    the mean of their ranks). Rows without a value in every one of these are left out.

    Args:
        data: tidy: ``architecture``, ``weighting``, ``task``, ``metric``, ``value``, ``higher_is_better``, and
            ``dataset`` and ``seed`` where there are several; one definition of metrics, one split, one epoch.

    Returns:
        ``architecture``, ``weighting``, ``rank``, the best (lowest) first.
    """
    place = [name for name in BLOCKS if name in data]
    signed = data.assign(_signed=np.where(data["higher_is_better"].astype(bool), -data["value"], data["value"]))
    means = signed.groupby([*place, *ROW], sort=True)["_signed"].agg(lambda v: v.mean(skipna=False))
    wide = means.unstack(ROW)  # (blocks, rows)
    whole = np.isfinite(wide.to_numpy(dtype=float)).all(axis=0)
    ranks = wide.loc[:, whole].rank(axis=1).mean()
    return ranks.rename("rank").reset_index().sort_values("rank", kind="stable", ignore_index=True)
