"""mtbench: a benchmark suite for multi-task learning in vision.

The public names are imported when they are first used: ``import benchmark`` alone imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmark import renamed

if TYPE_CHECKING:
    from benchmark.data import build_dataset
    from benchmark.model import Auxiliary, MultiTaskModel, Predictions, build_model
    from benchmark.registry import ARCHITECTURES, DATASETS, LATER, WEIGHTINGS, load_plugin_file
    from benchmark.tasks import Task
    from benchmark.weighting import (
        Card,
        Direction,
        GradientWeighting,
        GramianWeighting,
        LookaheadWeighting,
        MatrixWeighting,
        NormWeighting,
        SampledWeighting,
        SharpnessWeighting,
        Weighting,
        aggregate,
        build_weighting,
        card,
    )

#: By module the public names that it has.
_PUBLIC = {
    "benchmark.data": ("build_dataset",),
    "benchmark.model": ("Auxiliary", "MultiTaskModel", "Predictions", "build_model"),
    "benchmark.registry": ("ARCHITECTURES", "DATASETS", "LATER", "WEIGHTINGS", "load_plugin_file"),
    "benchmark.tasks": ("Task",),
    "benchmark.weighting": (
        "Card",
        "Direction",
        "GradientWeighting",
        "GramianWeighting",
        "LookaheadWeighting",
        "MatrixWeighting",
        "NormWeighting",
        "SampledWeighting",
        "SharpnessWeighting",
        "Weighting",
        "aggregate",
        "build_weighting",
        "card",
    ),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "LATER",
    "WEIGHTINGS",
    "Auxiliary",
    "Card",
    "Direction",
    "GradientWeighting",
    "GramianWeighting",
    "LookaheadWeighting",
    "MatrixWeighting",
    "MultiTaskModel",
    "NormWeighting",
    "Predictions",
    "SampledWeighting",
    "SharpnessWeighting",
    "Task",
    "Weighting",
    "__version__",
    "aggregate",
    "build_dataset",
    "build_model",
    "build_weighting",
    "card",
    "load_plugin_file",
]

renamed.install()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mtbench")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
