"""Losses and metrics of a model on a whole split, and its predictions for the pictured samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.data import AnySplit, PerTaskInputSplit, Split
from benchmark.model import MultiTaskModel
from benchmark.training.forward import Pictures, loss_of, predict, unwritten
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import judging
from benchmark.transfer import sent

#: Samples per forward pass; metrics do not depend on it.
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """Means of the loss and metrics of one split, by task."""

    losses: dict[str, float]
    metrics: dict[str, dict[str, float]]


def evaluate(model: MultiTaskModel, split: AnySplit, hardware: Hardware) -> Evaluation:
    """Judge ``model`` on every sample of ``split``, in their order, in evaluation mode."""
    parts = split.parts if isinstance(split, PerTaskInputSplit) else {None: split}
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
    missing = {task.name: torch.zeros((), device=device) for task in tasks}
    for indices in split.order(torch.arange(len(split))).split(EVALUATION_BATCH):
        images, there = split.pictures(indices), sent(indices, device)
        with hardware.autocast():
            predictions = predict(model, images if name is None else {name: images})
        for task in tasks:
            prediction, target = predictions[task.name], split.targets[task.name][there]
            with unwritten(task, prediction, target):
                accumulators[task.name].update(prediction, target)
            share = len(indices) / len(split)
            losses[task.name] += loss_of(task, prediction, target) * share
            missing[task.name] += torch.where(task.definition.labelled(target, task.channels).any(), 0.0, share)
    # Over the pictures of batches with a label; where there is none at all, 0.
    counted = (1 - torch.stack(list(missing.values()))).clamp(min=1e-6)
    means = torch.stack(list(losses.values())) / counted
    return Evaluation(
        dict(zip(losses, means.tolist(), strict=True)),
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
