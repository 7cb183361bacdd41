"""What the checks train: tiny networks on made-up pictures, on the pretended device or on the processor."""

from typing import Any

import numpy as np
import torch

from benchmark.data import SPLITS, PerTaskInputSplit, Split
from benchmark.data.mapped import MappedImages
from benchmark.model import build_model
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.tasks import Intrinsics, Task
from benchmark.training.augmentation import Augmentation
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware
from benchmark.training.per_task_input import PerTaskInputModel
from benchmark.weighting import build_weighting

DENSE = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("left", "classification", 2), Task("right", "classification", 3))
#: The second of two: what goes to the first by mistake shows.
DEVICE = "cuda:1"
BATCH, COUNT, SIZE = 6, 24, 32


def split(tasks: tuple[Task, ...], device: str, *, length: int | None = None, streamed: bool = False) -> Split:
    """``COUNT`` pictures and their targets; ``length``: stored longer than networks see them."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (COUNT, 3, SIZE, length or SIZE), dtype=np.uint8)
    targets: dict[str, torch.Tensor] = {}
    for task in tasks:
        if task.kind == "classification":
            values = torch.from_numpy(draw.integers(-1, task.channels, COUNT).astype(np.int16))
        elif task.kind == "segmentation":
            values = torch.from_numpy(draw.integers(-1, task.channels, (COUNT, SIZE, SIZE)).astype(np.int8))
        elif task.kind == "depth":
            values = torch.from_numpy(draw.uniform(0.5, 1.5, (COUNT, 1, SIZE, SIZE))).half()
        else:
            vectors = torch.from_numpy(draw.normal(size=(COUNT, 3, SIZE, SIZE)))
            values = (vectors / vectors.norm(dim=1, keepdim=True)).half()
        targets[task.name] = values.to(device)
    held = MappedImages(images, torch.device(device)) if streamed else torch.from_numpy(images).to(device)
    extents = None
    if length:
        extents = torch.from_numpy(draw.integers(SIZE, length + 1, COUNT).astype(np.int16)).to(device)
    return Split(held, targets, np.arange(COUNT), extents)


def trainer(
    architecture: str,
    weighting: str | None,
    hardware: Hardware,
    *,
    case: str = "plain",
    options: dict[str, Any] | None = None,
    **protocol: Any,
) -> Trainer:
    """At the start of a run.

    Args:
        case: ``plain``, ``augmented``, ``crops`` (of longer pictures), ``streamed`` (and augmented) or ``separate``
            (every task with its own pictures).
        options: of the weighting.
        protocol: whatever else than usual.
    """
    dense = case not in ("crops", "separate")
    tasks = DENSE if dense else WHOLE
    options = options or {}
    changes = {
        "augmented": {"flip": True, "scale_crop": "consistent"},
        "streamed": {"flip": True, "scale_crop": "consistent"},
        "crops": {"flip": True, "random_crop": True},
    }.get(case, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = {"width": 2} if dense else {"width": 4, "backbone": "wrn-10"}
        model = build_model(architecture, tasks, **network)
        built = build_weighting(weighting, tasks, **options) if weighting else None
    spec = RunSpec(
        dataset=Component(name="made-up", version=1, options={}),
        architecture=Component(name=architecture, version=1, options={}),
        weighting=Component.from_registry(WEIGHTINGS, weighting, options) if weighting else None,
        seed=0,
        protocol=Protocol(
            **{"epochs": 2, "batch_size": BATCH, "learning_rate": 1e-2, "lr_step": 1, **changes, **protocol}
        ),
    )
    data: Any
    augmentation: Any
    if case == "separate":
        data = PerTaskInputSplit({task.name: split((task,), hardware.device) for task in tasks})
        model = PerTaskInputModel(model, {})
        augmentation = None
    else:
        data = split(tasks, hardware.device, length=40 if case == "crops" else None, streamed=case == "streamed")
        allowed = frozenset({"flip", "scale_crop", "random_crop"})
        camera = Intrinsics(20.0, 20.0, SIZE / 2, SIZE / 2)
        augmentation = Augmentation(spec, tasks, count=COUNT, allowed=allowed, camera=camera) if changes else None
    model.to(memory_format=torch.channels_last)
    return Trainer(
        model.to(hardware.device),
        built.to(hardware.device) if built else None,
        spec=spec,
        splits=dict.fromkeys(SPLITS, data),
        hardware=hardware,
        augmentation=augmentation,
    )


def run_spec(architecture: str, weighting: str | None, **protocol: Any) -> RunSpec:
    """A run of two epochs on six small rooms, with a decay of the rate between them."""
    given = {"height": 36, "width": 48, "train": 12, "val": 4, "test": 4}
    return RunSpec(
        dataset=Component.from_registry(DATASETS, "scenes", given),
        architecture=Component.from_registry(ARCHITECTURES, architecture, {"width": 2}),
        weighting=Component.from_registry(WEIGHTINGS, weighting) if weighting else None,
        seed=0,
        protocol=Protocol(
            **{"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "lr_step": 1, "flip": True, **protocol}
        ),
    )
