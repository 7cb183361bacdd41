"""Data sets, one file each. A new file (or package) in this package that registers a class is a new data set."""

import importlib
import pkgutil
from functools import partial

from benchmark.data.dataset import SPLITS, DataSet, Progress, Storage, build_dataset, register_dataset
from benchmark.data.per_task_input import PerTaskInputDataSet
from benchmark.data.split import AnySplit, PerTaskInputSplit, Split
from benchmark.renamed import attribute

__getattr__ = partial(attribute, __name__)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "SPLITS",
    "AnySplit",
    "DataSet",
    "PerTaskInputDataSet",
    "PerTaskInputSplit",
    "Progress",
    "Split",
    "Storage",
    "build_dataset",
    "register_dataset",
]
