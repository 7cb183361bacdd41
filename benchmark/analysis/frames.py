"""Records as tidy data frames: one row per number."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.kinds import kinds_of
from benchmark.runs.record import RunRecord
from benchmark.tasks import Metric

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

    Metrics that the task's kind does not define are left out. Of a run with a task whose kind nobody describes
    (``kinds_of``) everything is: nobody could say which direction is better, and Δm over its other tasks would be
    another quantity.

    Args:
        records: any runs, whatever their status.
        labels: names for architectures and weightings where the plain names would not tell runs apart.

    Returns:
        Columns ``run``, ``architecture``, ``weighting`` (``none`` without one), ``seed``, ``reference``, ``status``,
        ``epoch``, ``split``, ``task``, ``metric``, ``value`` (NaN where it was not finite), ``higher_is_better``,
        ``legacy``.
    """
    runs: list[tuple[Any, ...]] = []
    values: list[float | None] = []
    counts, epochs = [], []
    places: dict[tuple[str, str, str, bool, bool], int] = {}
    codes: list[int] = []
    for record in records:
        before = len(values)
        for metric, (epoch, split, task, name, value) in _metrics(record):
            place = (split, task, name, metric.higher_is_better, metric.legacy)
            codes.append(places.setdefault(place, len(places)))
            epochs.append(epoch)
            values.append(value)
        runs.append(_run(record, labels))
        counts.append(len(values) - before)
    run = _repeated(runs, np.repeat(np.arange(len(runs)), counts), RUN_COLUMNS)
    what = _repeated(
        list(places), np.array(codes, dtype=int), ["split", "task", "metric", "higher_is_better", "legacy"]
    )
    columns = run | {"epoch": np.array(epochs, dtype=int), "value": _numbers(values)} | what
    return pd.DataFrame({name: columns[name] for name in METRIC_COLUMNS})


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
    kinds = kinds_of(record)
    if any(task.kind not in kinds for task in record.tasks):
        return
    known = {task.name: {metric.name: metric for metric in kinds[task.kind]} for task in record.tasks}
    for epoch in record.curves:
        for split, tasks in epoch.metrics.items():
            for task, values in tasks.items():
                for name, value in values.items():
                    metric = known.get(task, {}).get(name)
                    if metric is not None:
                        yield metric, (epoch.epoch, split, task, name, value)


def _repeated(rows: Sequence[tuple[Any, ...]], places: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Columns of the rows at ``places``. Texts are made once and then copied, which a long frame notices."""
    table = pd.DataFrame(rows, columns=list(names))
    kinds: dict[str, Any] = {name: "bool" for name in ("reference", "higher_is_better", "legacy") if name in names}
    kinds |= {"seed": "int64"} if "seed" in names else {}
    kinds |= {name: "str" for name in names if name not in kinds}
    return {name: pd.array(table[name].tolist(), dtype=kinds[name]).take(places) for name in names}


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    """The values, NaN where they are None, not finite or beyond all floats."""
    try:
        numbers = np.array(values, dtype=float)
    except OverflowError:
        numbers = np.array([_finite(value) for value in values], dtype=float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _finite(value: float | None) -> float:
    try:
        number = float(value) if value is not None else np.nan
    except OverflowError:  # an integer beyond all floats
        return np.nan
    return number if np.isfinite(number) else np.nan


def _table(rows: list[tuple[Any, ...]], columns: list[str], *numbers: str) -> pd.DataFrame:
    """A frame of these rows. Numbers become floats first: pandas 2 refuses integers beyond all floats."""
    values = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    table = pd.DataFrame({name: _numbers(v) if name in numbers else v for name, v in values.items()})
    for column in ("reference", "higher_is_better", "legacy"):
        if column in table:
            table[column] = table[column].astype(bool)
    return table
