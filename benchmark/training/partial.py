"""Training pictures that hold the labels of some tasks alone, as partly annotated data do.

The two regimes are those of Li, Liu & Bilen, *Learning Multiple Dense Prediction Tasks from Partially Annotated Data*,
CVPR 2022. Which labels a picture keeps follows from the run's seed alone, so that all cells of a seed see the same
ones, single-task networks among them, and the mean over seeds is also one over draws of labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.data import AnySplit, PerTaskInputSplit, Split
from benchmark.errors import UsageError
from benchmark.runs.spec import RunSpec, derive_seed
from benchmark.tasks import Task
from benchmark.transfer import sent


def with_kept_labels(splits: Mapping[str, AnySplit], spec: RunSpec, tasks: Sequence[Task]) -> Mapping[str, AnySplit]:
    """The splits, of which the training one keeps the labels that the protocol leaves it; all others are as they were.

    Raises:
        UsageError: labels cannot be left out: every task has its own pictures, there is one task, or a kind does not
            say how an unknown target is stored.
    """
    if spec.protocol.labels == "all":
        return splits
    given = splits["train"]
    if isinstance(given, PerTaskInputSplit) or len(tasks) < 2:
        why = "every task has its own pictures" if isinstance(given, PerTaskInputSplit) else "there is one task"
        raise UsageError(f'labels = "{spec.protocol.labels}" needs pictures with labels of several tasks; here {why}')
    kept = kept_labels(len(given), len(tasks), spec)
    targets = dict(given.targets)
    for k, task in enumerate(tasks):
        targets[task.name] = _without(given, task, ~kept[:, k])
    return {**splits, "train": replace(given, targets=targets)}


def kept_labels(samples: int, tasks: int, spec: RunSpec) -> Tensor:
    """(samples, tasks) bool, which labels are kept.

    ``one``: that of one task, of each task as often as of any other, but for what does not divide. ``random``: those of
    a number of tasks drawn from 1 to K − 1, and then of as many tasks at random.
    """
    generator = torch.Generator().manual_seed(derive_seed("labels", spec.seed))
    if spec.protocol.labels == "one":
        of = torch.randperm(samples, generator=generator) % tasks
        return of[:, None] == torch.arange(tasks)
    count = torch.randint(1, tasks, (samples, 1), generator=generator)
    rank = torch.rand(samples, tasks, generator=generator).argsort(1).argsort(1)
    return rank < count


def _without(split: Split, task: Task, lost: Tensor) -> Tensor:
    """A task's targets, unknown where ``lost`` (N,)."""
    stored, target = task.stored((1, 1)), split.targets[task.name]
    if stored is None or stored.invalid is None:
        raise UsageError(
            f"labels cannot be left out of the task '{task.name}': its kind '{task.kind}' does not say how an unknown "
            "target is stored; let its 'stored' say 'invalid', or use labels = \"all\""
        )
    where = sent(lost, target.device).view(-1, *[1] * (target.ndim - 1))
    return torch.where(where, torch.tensor(stored.invalid, dtype=target.dtype, device=target.device), target)
