"""Losses and metrics of a model on a whole split, and its predictions for the pictured samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.data import AnySplit, SeparateSplit, Split
from benchmark.model import MultiTaskModel
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import judging
from benchmark.transfer import sent

#: Samples per forward pass; metrics do not depend on it.
EVALUATION_BATCH = 32


#: (B, C, H, W) uint8; by task, where every task has its own.
Pictures = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Means of the loss and metrics of one split, by task."""

    losses: dict[str, float]
    metrics: dict[str, dict[str, float]]


def scaled(images: Tensor, memory_format: torch.memory_format) -> Tensor:
    """(B, C, H, W) uint8 -> (B, 3, H, W) float in [0, 1], so laid out; grey pictures get three equal channels."""
    return images.expand(-1, 3, -1, -1).to(torch.float32, memory_format=memory_format) / 255


def predict(model: MultiTaskModel, pictures: Pictures) -> dict[str, Tensor]:
    """Every task's prediction, in the model's present mode."""
    if isinstance(pictures, Tensor):
        return model(scaled(pictures, model.memory_format))
    return {name: model(scaled(own, model.memory_format), tasks=[name])[name] for name, own in pictures.items()}


def evaluate(model: MultiTaskModel, split: AnySplit, hardware: Hardware) -> Evaluation:
    """Judge ``model`` on every sample of ``split``, in their order, in evaluation mode."""
    parts = split.parts if isinstance(split, SeparateSplit) else {None: split}
    with judging(model, hardware):
        found = [_evaluate(model, part, hardware, name) for name, part in parts.items()]
    return Evaluation(
        {name: loss for part in found for name, loss in part.losses.items()},
        {name: metrics for part in found for name, metrics in part.metrics.items()},
    )


def _evaluate(model: MultiTaskModel, split: Split, hardware: Hardware, name: str | None) -> Evaluation:
    """Judge on one set of pictures: the task ``name``, or all."""
    device = torch.device(hardware.device)
    tasks = [task for task in model.tasks if name in (None, task.name)]
    accumulators = {task.name: task.accumulator(device) for task in tasks}
    losses = {task.name: torch.zeros((), device=device) for task in tasks}
    for indices in split.order(torch.arange(len(split))).split(EVALUATION_BATCH):
        images, there = split.pictures(indices), sent(indices, device)
        with hardware.autocast():
            predictions = predict(model, images if name is None else {name: images})
        for task in tasks:
            prediction, target = predictions[task.name], split.targets[task.name][there]
            accumulators[task.name].update(prediction, target)
            losses[task.name] += task.loss(prediction, target) * (len(indices) / len(split))
    return Evaluation(
        dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True)),
        {name: accumulator.compute() for name, accumulator in accumulators.items()},
    )


@torch.no_grad()
def decide(model: MultiTaskModel, pictures: Pictures, hardware: Hardware) -> dict[str, Tensor]:
    """Predictions in the form in which targets are stored. P pictures -> (P, …) per task."""
    model.eval()
    with hardware.autocast():
        predictions = predict(model, pictures)
    return {
        task.name: task.definition.decide(predictions[task.name]).cpu()
        for task in model.tasks
        if task.name in predictions
    }
