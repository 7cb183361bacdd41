"""Data sets, one file each. A new file (or package) in this package that registers a class is a new data set."""

import importlib
import pkgutil

from benchmark.data.dataset import SPLITS, DataSet, Progress, Split, Storage, build_dataset, register_dataset

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["SPLITS", "DataSet", "Progress", "Split", "Storage", "build_dataset", "register_dataset"]
