"""Modules and classes of new names: their old ones work for one release, with a warning that names the new one."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

#: To be removed with 0.3.0.
MOVED = {
    "benchmark.data.separate": "benchmark.data.per_task_input",
    "benchmark.datacards": "benchmark.runs.datacards",
    "benchmark.execution.claims": "benchmark.execution.leases",
    "benchmark.execution.contest": "benchmark.analysis.contest",
    "benchmark.execution.cluster": "benchmark.execution.ray",
    "benchmark.execution.grid": "benchmark.execution.scheduler",
    "benchmark.files": "benchmark.runs.files",
    "benchmark.grid": "benchmark.runs.grid",
    "benchmark.index": "benchmark.runs.index",
    "benchmark.packing": "benchmark.runs.packing",
    "benchmark.packs": "benchmark.runs.packs",
    "benchmark.record": "benchmark.runs.record",
    "benchmark.spec": "benchmark.runs.spec",
    "benchmark.store": "benchmark.runs.store",
    "benchmark.training.estimate": "benchmark.speed.estimate",
    "benchmark.training.separate": "benchmark.training.per_task_input",
    "benchmark.training.workload": "benchmark.speed.workload",
    "benchmark.trust": "benchmark.runs.trust",
}

#: By module, names that it had, and what they are called now, there or in another module; to be removed with 0.3.0.
RENAMED = {
    "benchmark.data": {"SeparateDataSet": "PerTaskInputDataSet", "SeparateSplit": "PerTaskInputSplit"},
    "benchmark.data.per_task_input": {"SeparateDataSet": "PerTaskInputDataSet"},
    "benchmark.runs.grid": {
        "values_of": "benchmark.runs.axes.values_of",
        **{
            name: f"benchmark.runs.expansion.{name}"
            for name in ("Undefined", "expand", "shrunk", "simplex_points", "undefined", "unpictured")
        },
        **{name: f"benchmark.runs.expansion.{name}" for name in ("SMOKE_ARCHITECTURE", "SMOKE_PROTOCOL", "SWEPT")},
        **{
            name: f"benchmark.runs.filters.{name}" for name in ("Filters", "NO_FILTERS", "parse_options", "parse_value")
        },
    },
}


def attribute(module: str, name: str) -> Any:
    """What a module's ``__getattr__`` gives for a name that it does not have.

    Raises:
        AttributeError: it never had it.
    """
    if name not in RENAMED[module]:
        raise AttributeError(f"module '{module}' has no attribute '{name}'")
    new = RENAMED[module][name]
    warnings.warn(
        f"'{module}.{name}' is now '{new}'; the old name goes with the next release", DeprecationWarning, stacklevel=3
    )
    place, _, last = new.rpartition(".")
    return getattr(import_module(place or module), last)


class _Moved(MetaPathFinder, Loader):
    """Finds a module by its old name, and gives the one that has the new name: there is only one of it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that has moved; None for every other."""
        return spec_from_loader(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual empty module, which ``exec_module`` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that has the new name in its place."""
        old, new = module.__name__, MOVED[module.__name__]
        warnings.warn(
            f"'{old}' is now '{new}'; the old name goes with the next release", DeprecationWarning, stacklevel=2
        )
        sys.modules[old] = import_module(new)


def install() -> None:
    """Let the old names be found, after everything else."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
