"""Kinds of task, one file each: loss, metrics, drawing. A new file in this package is a new kind."""

import importlib
import pkgutil

from benchmark.tasks.base import KINDS, Accumulator, Metric, Stored, Task, TaskKind, check_tasks, register_kind
from benchmark.tasks.geometry import Intrinsics, Zoom

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "KINDS",
    "Accumulator",
    "Intrinsics",
    "Metric",
    "Stored",
    "Task",
    "TaskKind",
    "Zoom",
    "check_tasks",
    "register_kind",
]
