"""The floor of a prepared set: metrics of a prediction that never looks at the picture.

A network that does not pass it has learned nothing of pictures.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.data.dataset import DataSet, Storage
from benchmark.data.prepared import opened, parts
from benchmark.errors import reason
from benchmark.tasks import Task

#: Values of a training split that are in memory together.
MOST_VALUES = 64_000_000

#: By task, by metric; None where the split has no truth to judge by.
Metrics = dict[str, dict[str, float | None]]


def floor(dataset: DataSet, storage: Storage) -> tuple[dict[str, Metrics], list[str]]:
    """By split (``val``, ``test``) the metrics of ``TaskKind.blind``, learned from the split ``train``.

    Tasks whose kind knows no such prediction are left out. Then, in lines, those whose values no kind can judge.
    """
    folder = dataset.folder(storage)
    found: dict[str, Metrics] = {"val": {}, "test": {}}
    unjudged = []
    for task in dataset.tasks:
        try:
            prediction = _blind(folder, task)
            judged = {split: _judge(folder, split, task, prediction) for split in found if prediction is not None}
        except Exception as error:  # noqa: BLE001 - arrays of foreign code: of any type, shape and value
            unjudged.append(f"{task.name}: no floor, its values cannot be judged ({reason(error)})")
            continue
        for split, metrics in judged.items():
            found[split][task.name] = metrics
    return found, unjudged


def _blind(folder: Path, task: Task) -> Tensor | None:
    """(1, channels, …), put together from as many rows at once as fit."""
    truths = opened(folder, "train", task.name)
    if not task.dense:
        return task.definition.blind(torch.from_numpy(np.array(truths)), task.channels)
    height = truths.shape[-2]
    rows = max(1, MOST_VALUES // (truths.size // height))
    strips = [
        task.definition.blind(torch.from_numpy(np.array(truths[..., start : start + rows, :])), task.channels)
        for start in range(0, height, rows)
    ]
    known = [strip for strip in strips if strip is not None]
    return torch.cat(known, -2) if known else None


def _judge(folder: Path, split: str, task: Task, prediction: Tensor) -> dict[str, float | None]:
    accumulator = task.accumulator(torch.device("cpu"))
    for part in parts(opened(folder, split, task.name)):
        accumulator.update(prediction.expand(len(part), *prediction.shape[1:]), torch.from_numpy(part))
    return {name: value if math.isfinite(value) else None for name, value in accumulator.compute().items()}
