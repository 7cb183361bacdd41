"""Δm: how much better than single-task networks, in per cent."""

from typing import Any

import numpy as np
import pandas as pd

CELL = ["architecture", "weighting", "seed"]


def delta_m(data: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Δm of every run against the single-task run of the same seed.

    In per cent: the mean over tasks of the mean over that task's metrics of ±(m − s) / |s|, plus when m is better than
    s, the reference's value. Every task counts the same, however many metrics it has. (The modulus, which changes
    nothing for the metrics at hand, keeps *plus when better* true for a metric below zero.)

    Nothing is guessed. Δm is NaN where the seed has no reference, where a metric is missing or not finite on either
    side, and where a reference value is 0. Metrics marked ``legacy`` do not count.

    Args:
        data: tidy: ``architecture``, ``weighting``, ``seed``, ``task``, ``metric``, ``value``, ``higher_is_better``;
            one value per run, task and metric, so select a split and an epoch first.
        reference: the single-task rows in the same form; may be empty.

    Returns:
        ``architecture``, ``weighting``, ``seed``, ``delta_m``: one row per run, ordered by these.

    Raises:
        ValueError: a run has two values of one metric, or a seed two references.
    """
    gains = relative_gains(_current(data), CELL, _current(reference))
    return mean_over_tasks(gains).rename("delta_m").reset_index()


def relative_gains(data: pd.DataFrame, index: list[str], reference: pd.DataFrame) -> pd.DataFrame:
    """±(m − s) / |s| in per cent; NaN where it is undefined.

    Args:
        data: tidy; metrics of one split.
        index: the columns that single out a run (and epoch), ``seed`` among them: the result's index.
        reference: tidy; one run per seed.

    Returns:
        A column per task and metric of either frame.

    Raises:
        ValueError: ``index``, task and metric do not single out one value.
    """
    wide = _wide(data, index)
    single = _wide(reference, ["seed"])
    columns = wide.columns.union(single.columns)
    seeds = wide.index.get_level_values("seed")
    base = single.reindex(index=seeds, columns=columns).to_numpy(dtype=float)
    values = wide.reindex(columns=columns).to_numpy(dtype=float)
    directions = _directions(data, reference)
    with np.errstate(all="ignore"):
        gains = (values - base) / np.where(base == 0, np.nan, np.abs(base))
        gains = gains * [100.0 * directions[column] for column in columns]
    return pd.DataFrame(np.where(np.isfinite(gains), gains, np.nan), index=wide.index, columns=columns)


def mean_over_tasks(gains: pd.DataFrame) -> pd.Series:
    """The mean over tasks of the mean over each task's columns; NaN where any is."""
    tasks = [gains[task].to_numpy().mean(axis=1) for task in gains.columns.unique("task")]
    return pd.Series(np.mean(tasks, axis=0) if tasks else np.nan, index=gains.index, dtype=float)


def _current(data: pd.DataFrame) -> pd.DataFrame:
    return data[~data["legacy"].astype(bool)] if "legacy" in data else data


def _wide(data: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    if data.duplicated([*index, "task", "metric"]).any():
        raise ValueError(
            f"more than one value per {', '.join(index)}, task and metric: select a split and an epoch first"
        )
    return data.pivot(index=index, columns=["task", "metric"], values="value").sort_index()


def _directions(*frames: pd.DataFrame) -> dict[Any, int]:
    return {
        (task, metric): 1 if higher else -1
        for data in frames
        for task, metric, higher in data[["task", "metric", "higher_is_better"]]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    }
