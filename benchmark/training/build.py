"""A run's model, weighting and trainer, from its spec."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from benchmark.data import AnySplit, DataSet
from benchmark.data.dataset import Colours
from benchmark.model import MultiTaskModel, build_model
from benchmark.runs.spec import Component, RunSpec, derive_seed
from benchmark.tasks import Task
from benchmark.training.augmentation import Augmentation, augment
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware
from benchmark.training.layout import lay_out
from benchmark.training.partial import with_kept_labels
from benchmark.training.per_task_input import PerTaskInputModel
from benchmark.weighting import Weighting, build_weighting


class Inputs(Protocol):
    """What a network must know of the data that it is built for; every ``DataSet`` tells it."""

    @property
    def tasks(self) -> Sequence[Task]:
        """What is to be predicted."""

    @property
    def joint(self) -> bool:
        """False where every task has its own pictures."""

    @property
    def colours(self) -> Mapping[str, Colours]:
        """See ``DataSet.colours``."""


def new_trainer(spec: RunSpec, dataset: DataSet, splits: Mapping[str, AnySplit], hardware: Hardware) -> Trainer:
    """A trainer at the start of the run, which leaves torch's generators as training finds them."""
    torch.manual_seed(derive_seed("training", spec.seed))
    return build_trainer(spec, dataset, splits, hardware, augment(spec, dataset, splits["train"]))


def build_trainer(
    spec: RunSpec,
    data: Inputs,
    splits: Mapping[str, AnySplit],
    hardware: Hardware,
    augmentation: Mapping[str, Augmentation] | Augmentation | None = None,
) -> Trainer:
    """A trainer whose model and weighting start from the spec's seed; torch's generators stay as they are.

    Args:
        spec: names the methods.
        data: what the splits are of.
        splits: on the device.
        hardware: what to compute on.
        augmentation: of the training split; by task where every task has its own pictures.
    """
    splits = with_kept_labels(splits, spec, data.tasks)
    model = initial_network(spec, data, hardware)
    lay_out(model, hardware, spec.protocol.arithmetic)
    return Trainer(
        model.to(hardware.device),
        _weighting(spec, data, hardware),
        spec=spec,
        splits=splits,
        hardware=hardware,
        augmentation=augmentation,
    )


def initial_network(spec: RunSpec, data: Inputs, hardware: Hardware) -> MultiTaskModel:
    """The network with which a run begins, on the CPU and in the default memory layout."""
    with hardware.seeded(derive_seed("init", spec.architecture.name, spec.seed)):
        return network(spec.architecture, data)


def network(architecture: Component, data: Inputs) -> MultiTaskModel:
    """An architecture for the data's tasks, freshly initialised from torch's current generator."""
    model = build_model(architecture.name, data.tasks, **architecture.options)
    return model if data.joint else PerTaskInputModel(model, data.colours)


def _weighting(spec: RunSpec, data: Inputs, hardware: Hardware) -> Weighting | None:
    if spec.weighting is None:
        return None
    name, options = spec.weighting.name, spec.weighting.options
    with hardware.seeded(derive_seed("weighting", name, spec.seed)):
        return build_weighting(name, data.tasks, **options).to(hardware.device)
