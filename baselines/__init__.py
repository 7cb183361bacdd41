"""The methods that are compared: a plugin like any user's, found through the entry-point group ``mtbench.plugins``."""

import importlib
import pkgutil

from baselines import architectures, weightings

for _package in (architectures, weightings):
    for _module in pkgutil.iter_modules(_package.__path__):
        importlib.import_module(f"{_package.__name__}.{_module.name}")
