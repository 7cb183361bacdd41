"""mtbench: a benchmark suite for multi-task learning in vision."""

from benchmark.data import build_dataset
from benchmark.model import MultiTaskModel, build_model
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
    Weighting,
    aggregate,
    build_weighting,
    card,
)

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "LATER",
    "WEIGHTINGS",
    "Card",
    "Direction",
    "GradientWeighting",
    "GramianWeighting",
    "LookaheadWeighting",
    "MatrixWeighting",
    "MultiTaskModel",
    "NormWeighting",
    "SampledWeighting",
    "Task",
    "Weighting",
    "aggregate",
    "build_dataset",
    "build_model",
    "build_weighting",
    "card",
    "load_plugin_file",
]
