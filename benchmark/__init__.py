"""mtbench: a benchmark suite for multi-task learning in vision."""

from benchmark.data import build_dataset
from benchmark.model import MultiTaskModel, build_model
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS, load_plugin_file
from benchmark.tasks import Task
from benchmark.weighting import GramianWeighting, Weighting, aggregate, build_weighting

__all__ = [
    "ARCHITECTURES",
    "DATASETS",
    "WEIGHTINGS",
    "GramianWeighting",
    "MultiTaskModel",
    "Task",
    "Weighting",
    "aggregate",
    "build_dataset",
    "build_model",
    "build_weighting",
    "load_plugin_file",
]
