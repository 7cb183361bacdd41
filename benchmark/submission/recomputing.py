"""Metrics from submitted predictions, by the same accumulators that judged the run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from benchmark.data import AnySplit, DataSet, Split, Storage
from benchmark.errors import UserError
from benchmark.runs.artifacts import OfSplit, name_of
from benchmark.runs.record import RunRecord
from benchmark.submission.arrays import read_arrays
from benchmark.submission.bundle import Bundle
from benchmark.submission.comparing import digest, is_truth
from benchmark.submission.text import shown
from benchmark.tasks import Task
from benchmark.training.evaluation import EVALUATION_BATCH

#: Classes are kept as they were decided: their metrics come back but for the order of additions.
EXACT = 1e-9
#: Other predictions are kept in half precision (11 binary digits), rounded to nearest: that moves a mean error or angle
#: by much less than half a per mille, but moves single pixels across a threshold.
ROUNDED = 1e-3
#: The same in a metric's own unit, where the metric itself is nearly 0.
ABSOLUTE = {"%": 0.05, "°": 0.01, "m": 1e-4, "": 1e-4}


@dataclass(frozen=True)
class Recomputed:
    """What the predictions give.

    Attributes:
        metrics: by task and metric; None where not finite.
        deviation: the greatest relative difference from the submitted metrics.
        differences: metrics that differ by more than rounding explains, in words.
        digests: by task a hash of the predictions (``comparing.digest``).
        true: tasks whose predictions are the truth.
    """

    metrics: dict[str, dict[str, float | None]]
    deviation: float
    differences: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    true: tuple[str, ...] = ()


def recompute(bundle: Bundle, record: RunRecord, dataset: DataSet, split: AnySplit) -> Recomputed:
    """Judge the predictions of a run on the test split and compare with its record's last epoch.

    Args:
        bundle: whose ``predictions/<run>.npz`` is read.
        record: of that run, found sound before.
        dataset: prepared here.
        split: its test split.

    Raises:
        UserError: the predictions are missing, damaged, of another form, or of other samples.
    """
    name = f"predictions/{record.id}.npz"
    tasks, expected = [task.name for task in dataset.tasks], dict[str, tuple[int, ...]]()
    decisions = {task: name_of(OfSplit("test", task), tasks) for task in tasks}
    ids = {task: name_of(OfSplit("test", task, ids=True), tasks) for task in tasks}
    for task in dataset.tasks:
        expected[decisions[task.name]] = tuple(split.for_task(task.name).targets[task.name].shape)
        expected[ids[task.name]] = (len(split.for_task(task.name)),)
    with bundle.open(name) as stream:
        arrays = read_arrays(stream, expected, name)
    metrics = {}
    for task in dataset.tasks:
        if not np.array_equal(arrays[ids[task.name]], split.for_task(task.name).ids):
            raise UserError(
                f"{name}: the samples of '{shown(task.name)}' are not those of the test split, in its order"
            )
        metrics[task.name] = _judge(task, arrays[decisions[task.name]], split.for_task(task.name), name)
    rounded = {task.name for task in dataset.tasks if arrays[decisions[task.name]].dtype.kind == "f"}
    found = {task.name: key for task in dataset.tasks if (key := digest(arrays[decisions[task.name]]))}
    true = [
        task.name
        for task in dataset.tasks
        if is_truth(task, arrays[decisions[task.name]], split.for_task(task.name).targets[task.name].cpu().numpy())
    ]
    return replace(compared(metrics, record, dataset.tasks, rounded), digests=found, true=tuple(true))


def _judge(task: Task, values: np.ndarray, split: Split, name: str) -> dict[str, float | None]:
    """Every metric of one task. (N, …) decisions"""
    kind, accumulator = task.definition, task.accumulator(torch.device("cpu"))
    try:
        decided = torch.from_numpy(values.copy())
        for indices in torch.arange(len(split)).split(EVALUATION_BATCH):
            accumulator.update(kind.undecide(decided[indices], task.channels), split.targets[task.name][indices])
        found = accumulator.compute()
    except (ValueError, TypeError, RuntimeError, IndexError) as error:  # PyTorch raises any of them for wrong types
        raise UserError(f"{name}: the predictions of '{shown(task.name)}' cannot be judged ({shown(error)})") from error
    return {metric: value if math.isfinite(value) else None for metric, value in found.items()}


def compared(
    metrics: dict[str, dict[str, float | None]],
    record: RunRecord,
    tasks: tuple[Task, ...],
    rounded: set[str],
    slack: float = 1.0,
) -> Recomputed:
    """Recomputed metrics beside those of the record's last epoch.

    Args:
        rounded: tasks whose predictions were rounded, or computed elsewhere.
        slack: how many times as much as rounding the numbers of ``rounded`` may differ.
    """
    submitted = record.curves[-1].metrics["test"]
    worst, differences = 0.0, []
    for task in tasks:
        units = {metric.name: metric.unit for metric in task.metrics}
        for metric, value in metrics[task.name].items():
            said = submitted[task.name].get(metric)
            if value is None and said is None:
                continue
            unit = units.get(metric, "") if task.name in rounded else None
            if value is None or said is None or not _agree(value, said, unit, slack):
                differences.append(f"{task.name} {metric}: {_word(said)} submitted, {_word(value)} recomputed")
            if value is not None and said is not None and said != value:
                worst = max(worst, abs(value - said) / max(abs(value), abs(said)))
    return Recomputed(metrics, worst, tuple(shown(line) for line in differences))


def _agree(value: float, said: float, unit: str | None, slack: float) -> bool:
    """Whether rounding explains the difference; ``unit`` is None where nothing was rounded."""
    if unit is None:
        return abs(value - said) <= EXACT * max(abs(value), 1.0)
    return abs(value - said) <= slack * max(ROUNDED * abs(value), ABSOLUTE.get(unit, 0.0))


def _word(value: float | None) -> str:
    return "none" if value is None else f"{value:z.6g}"


def prepared(record: RunRecord, storage: Storage, dataset: DataSet) -> AnySplit | None:
    """The test split that the run was judged on; None where that data set is not prepared here, or another state of it.

    Raises:
        UserError: the prepared form is damaged.
    """
    if not dataset.is_ready(storage) or dataset.content_hash(storage) != record.provenance.data_hash:
        return None
    return dataset.load("test", storage)
