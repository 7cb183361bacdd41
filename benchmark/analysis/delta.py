"""Δm: how much better than single-task networks, in per cent."""

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.definitions import named, of_definition

CELL = ["architecture", "weighting", "seed"]


def delta_m(data: pd.DataFrame, reference: pd.DataFrame, *, definition: str = "pooled") -> pd.DataFrame:
    """Δm of every run against the single-task run of the same seed.

    In per cent: the mean over tasks of the mean over that task's metrics of ±(m − s) / |s|, plus when m is better than
    s, the reference's value. Every task counts the same, however many metrics it has. (The modulus, which changes
    nothing for the metrics at hand, keeps *plus when better* true for a metric below zero.)

    Every seed has its own reference, so that the spread of Δm over seeds holds the noise of both. (The rows of a board
    share their references: what is common to all rows cancels in paired comparisons, see ``compare``.)

    Nothing is guessed. Δm is NaN where the seed has no reference, where a metric is missing or not finite on either
    side, and where a reference value is 0.

    Args:
        data: tidy: ``architecture``, ``weighting``, ``seed``, ``task``, ``metric``, ``value``, ``higher_is_better``;
            one value per run, task and metric, so select a split and an epoch first.
        reference: the single-task rows in the same form; may be empty.
        definition: of the metrics that count, see ``of_definition``.

    Returns:
        ``architecture``, ``weighting``, ``seed``, ``delta_m`` (``legacy_delta_m`` under that definition): one row per
        run, ordered by these.

    Raises:
        ValueError: a run has two values of one metric, or a seed two references.
        UsageError: the definition is unknown.
    """
    return _delta_m(_gains(data, reference, definition), definition)


def delta_flat(data: pd.DataFrame, reference: pd.DataFrame, *, definition: str = "pooled") -> pd.DataFrame:
    """The papers' other habit: the mean over all metrics, whatever their tasks, of ∓(m − s) / |s|; lower is better.

    (Maninis et al., CVPR 2019, averaged over tasks; the nine metrics of NYUv2 have been averaged flat since
    Navon et al., *Multi-task learning as a bargaining game*, ICML 2022.) Arguments, gaps and errors as in ``delta_m``;
    the column is ``delta_flat``.
    """
    return _delta_flat(_gains(data, reference, definition), definition)


def both_deltas(
    data: pd.DataFrame, reference: pd.DataFrame, *, definition: str = "pooled"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``delta_m`` and ``delta_flat`` of the same runs."""
    gains = _gains(data, reference, definition)
    return _delta_m(gains, definition), _delta_flat(gains, definition)


def _delta_m(gains: pd.DataFrame, definition: str) -> pd.DataFrame:
    return mean_over_tasks(gains).rename(named("delta_m", definition)).reset_index()


def _delta_flat(gains: pd.DataFrame, definition: str) -> pd.DataFrame:
    # In one order, so that a run's last bit does not hang on how many runs are in the frame.
    values = np.ascontiguousarray(gains, dtype=float) if gains.shape[1] else np.full((len(gains), 1), np.nan)
    flat = pd.Series(-values.mean(axis=1), index=gains.index)
    return flat.rename(named("delta_flat", definition)).reset_index()


def reference_noise(reference: pd.DataFrame, *, definition: str = "pooled") -> pd.DataFrame:
    """Δm of each single-task run against that of each other seed: what seeds alone do to Δm.

    The reference's own Δm is 0 by construction. A row whose Δm per seed lies among these numbers has shown nothing.

    Args:
        reference: the single-task rows, as for ``delta_m``.

    Returns:
        ``seed``, ``other`` (the seed that served as reference) and ``delta_m``; empty for fewer than two seeds.
    """
    name = named("delta_m", definition)
    rows = []
    for seed, other in permutations(sorted(reference["seed"].unique()), 2):
        against = reference[reference["seed"] == other].assign(seed=seed)
        found = delta_m(reference[reference["seed"] == seed], against, definition=definition)
        rows += [(seed, other, value) for value in found[name]]
    return pd.DataFrame(rows, columns=["seed", "other", name])


def _gains(data: pd.DataFrame, reference: pd.DataFrame, definition: str) -> pd.DataFrame:
    return relative_gains(of_definition(data, definition), CELL, of_definition(reference, definition))


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


def _wide(data: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    try:
        wide = data.pivot(index=index, columns=["task", "metric"], values="value")
    except ValueError as error:
        raise ValueError(
            f"more than one value per {', '.join(index)}, task and metric: select a split and an epoch first"
        ) from error
    return wide.sort_index()


def _directions(*frames: pd.DataFrame) -> dict[Any, int]:
    return {
        (task, metric): 1 if higher else -1
        for data in frames
        for task, metric, higher in data[["task", "metric", "higher_is_better"]]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    }
