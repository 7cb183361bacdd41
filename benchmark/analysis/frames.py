"""Records as tidy data frames: one row per number."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmark.store import RunRecord
from benchmark.tasks import KINDS, Metric

#: By run id, what to call its architecture and its weighting.
Labels = Mapping[str, tuple[str, str]]

RUN_COLUMNS = ["run", "architecture", "weighting", "seed", "reference", "status"]
METRIC_COLUMNS = [*RUN_COLUMNS, "epoch", "split", "task", "metric", "value", "higher_is_better", "legacy"]
WEIGHT_COLUMNS = [*RUN_COLUMNS, "epoch", "task", "weight"]
#: What a run costs, by the names of its record; less is better of all.
COSTS = (
    "parameters",
    "shared_parameters",
    "forward_flops",
    "seconds_per_step",
    "train_seconds",
    "wall_seconds",
    "peak_bytes",
)
COST_COLUMNS = [*RUN_COLUMNS, *COSTS]


def frame(records: Iterable[RunRecord], labels: Labels | None = None) -> pd.DataFrame:
    """Every metric of every evaluated epoch: one row per run × epoch × split × task × metric.

    Metrics that the task's kind does not define, and kinds that this version does not know, are left out: nobody could
    say which direction is better.

    Args:
        records: any runs, whatever their status.
        labels: names for architectures and weightings where the plain names would not tell runs apart.

    Returns:
        Columns ``run``, ``architecture``, ``weighting`` (``none`` without one), ``seed``, ``reference``, ``status``,
        ``epoch``, ``split``, ``task``, ``metric``, ``value`` (NaN where it was not finite), ``higher_is_better``,
        ``legacy``.
    """
    rows = [
        (*run, *number, metric.higher_is_better, metric.legacy)
        for record in records
        for run in (_run(record, labels),)
        for metric, number in _metrics(record)
    ]
    return _table(rows, METRIC_COLUMNS, "value")


def weights(records: Iterable[RunRecord], labels: Labels | None = None) -> pd.DataFrame:
    """The weight of each task's loss by epoch: one row per run × epoch × task, column ``weight``."""
    rows = [
        (*run, epoch.epoch, task, weight)
        for record in records
        for run in (_run(record, labels),)
        for epoch in record.curves
        for task, weight in epoch.weights.items()
    ]
    return _table(rows, WEIGHT_COLUMNS, "weight")


def costs(records: Iterable[RunRecord], labels: Labels | None = None) -> pd.DataFrame:
    """What each run took, a column for each of ``COSTS``: one row per run; NaN where it is not known."""
    rows = [(*_run(record, labels), *(getattr(record.cost, name) for name in COSTS)) for record in records]
    return _table(rows, COST_COLUMNS, *COSTS)


def _run(record: RunRecord, labels: Labels | None) -> tuple[Any, ...]:
    names = (record.spec.architecture.name, record.spec.weighting_name)
    architecture, weighting = labels[record.id] if labels is not None else names
    return record.id, architecture, weighting, record.spec.seed, record.reference, record.status


def _metrics(record: RunRecord) -> Iterator[tuple[Metric, tuple[int, str, str, str, float | None]]]:
    known = {
        task.name: {metric.name: metric for metric in KINDS[task.kind].metrics}
        for task in record.tasks
        if task.kind in KINDS
    }
    for epoch in record.curves:
        for split, tasks in epoch.metrics.items():
            for task, values in tasks.items():
                for name, value in values.items():
                    metric = known.get(task, {}).get(name)
                    if metric is not None:
                        yield metric, (epoch.epoch, split, task, name, value)


def _finite(value: float | None) -> float:
    try:
        number = float(value) if value is not None else np.nan
    except OverflowError:  # an integer beyond all floats
        return np.nan
    return number if np.isfinite(number) else np.nan


def _numbers(values: list[Any]) -> np.ndarray:
    try:
        found = np.array(values, dtype=float)  # None becomes NaN
    except OverflowError:
        found = np.array([_finite(value) for value in values], dtype=float)
    return np.where(np.isfinite(found), found, np.nan)


def _table(rows: list[tuple[Any, ...]], columns: list[str], *numbers: str) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    for column in numbers:
        table[column] = _numbers(table[column].tolist())
    for column in ("reference", "higher_is_better", "legacy"):
        if column in table:
            table[column] = table[column].astype(bool)
    return table
