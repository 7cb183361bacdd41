"""Data sets, one file each. A new file (or package) in this package that registers a class is a new data set."""

import importlib
import pkgutil

from benchmark.data.dataset import SPLITS, DataSet, Progress, Storage, build_dataset, register_dataset
from benchmark.data.separate import SeparateDataSet
from benchmark.data.split import AnySplit, SeparateSplit, Split

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "SPLITS",
    "AnySplit",
    "DataSet",
    "Progress",
    "SeparateDataSet",
    "SeparateSplit",
    "Split",
    "Storage",
    "build_dataset",
    "register_dataset",
]
