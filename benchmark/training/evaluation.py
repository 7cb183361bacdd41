"""Losses and metrics of a model on a whole split, and its predictions for the pictured samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.data import Split
from benchmark.model import MultiTaskModel
from benchmark.training.hardware import Hardware

#: Samples per forward pass; metrics do not depend on it.
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """Means of the loss and metrics of one split, by task."""

    losses: dict[str, float]
    metrics: dict[str, dict[str, float]]


def scaled(images: Tensor) -> Tensor:
    """(B, C, H, W) uint8 -> (B, 3, H, W) float in [0, 1], channels last; grey pictures get three equal channels."""
    return images.expand(-1, 3, -1, -1).to(torch.float32, memory_format=torch.channels_last) / 255


@torch.no_grad()
def evaluate(model: MultiTaskModel, split: Split, hardware: Hardware) -> Evaluation:
    """Judge ``model`` on every sample of ``split``, in their order, in evaluation mode."""
    model.eval()
    device = torch.device(hardware.device)
    accumulators = {task.name: task.accumulator(device) for task in model.tasks}
    losses = {task.name: torch.zeros((), device=device) for task in model.tasks}
    for indices in torch.arange(len(split), device=device).split(EVALUATION_BATCH):
        with hardware.autocast():
            predictions = model(scaled(split.images[indices]))
        for task in model.tasks:
            prediction, target = predictions[task.name], split.targets[task.name][indices]
            accumulators[task.name].update(prediction, target)
            losses[task.name] += task.loss(prediction, target) * (len(indices) / len(split))
    return Evaluation(
        {name: loss.item() for name, loss in losses.items()},
        {name: accumulator.compute() for name, accumulator in accumulators.items()},
    )


@torch.no_grad()
def decide(model: MultiTaskModel, images: Tensor, hardware: Hardware) -> dict[str, Tensor]:
    """Predictions in the form in which targets are stored. (P, C, H, W) uint8 -> (P, …) per task."""
    model.eval()
    with hardware.autocast():
        predictions = model(scaled(images))
    return {task.name: task.definition.decide(predictions[task.name]).cpu() for task in model.tasks}
