"""The forward pass of pictures: how they reach a network, and what a pass costs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data import AnySplit, DataSet, PerTaskInputSplit
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel, Predictions
from benchmark.tasks import Task

#: (B, C, H, W) uint8; by task, where every task has its own.
Pictures = Tensor | Mapping[str, Tensor]


def check_channels(dataset: DataSet) -> None:
    """Make sure that networks can see the pictures of a data set.

    Raises:
        UsageError: they have neither one channel nor three.
    """
    for piece in dataset.pieces:
        if piece.image_shape[0] not in (1, 3):
            raise UsageError(
                f"'{piece.name}' has pictures of {piece.image_shape[0]} channels, and networks take 1 (grey) or 3 "
                "(red, green, blue): choose channels in the data set's 'build' and 'image_shape'"
            )


def scaled(images: Tensor, memory_format: torch.memory_format) -> Tensor:
    """(B, C, H, W) uint8 -> (B, 3, H, W) float in [0, 1], so laid out; grey pictures get three equal channels."""
    return images.expand(-1, 3, -1, -1).to(torch.float32, memory_format=memory_format) / 255


def loss_of(task: Task, prediction: Tensor, target: Tensor) -> Tensor:
    """A task's loss, a scalar.

    Raises:
        UsageError: see ``unwritten``.
    """
    with unwritten(task, prediction, target):
        return task.loss(prediction, target)


def losses_of(
    tasks: Sequence[Task], predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Losses, each a scalar.

    Returns:
        K of the tasks, in which are those of their auxiliary predictions times their weights; and those of the
        auxiliary predictions by themselves, in their order.

    Raises:
        UsageError: see ``unwritten``.
    """
    found = {task.name: loss_of(task, predictions[task.name], targets[task.name]) for task in tasks}
    by_name, further = {task.name: task for task in tasks}, []
    for one in Predictions.of(predictions).auxiliary:
        task, target = by_name[one.task], targets[one.task]
        further.append(loss_of(task, at_size(task, one.prediction, target), target))
        found[one.task] = found[one.task] + one.weight * further[-1]
    return list(found.values()), further


def at_size(task: Task, raw: Tensor, target: Tensor) -> Tensor:
    """A prediction from a head's raw output of any size: brought to the target's, bilinearly, and finished.

    (B, channels, h, w) -> (B, channels, H, W) for dense kinds; of others only finished.
    """
    size = target.shape[-2:]
    if task.dense and raw.shape[-2:] != size:
        raw = F.interpolate(raw.float(), size=size, mode="bilinear", align_corners=False)
    return task.finish(raw)


@contextmanager
def unwritten(task: Task, *tensors: Tensor) -> Iterator[None]:
    """Make sure that a kind of task leaves as they are the tensors that others go on to look at.

    Raises:
        UsageError: it writes into one.
    """
    before = [_version(tensor) for tensor in tensors]
    yield
    if [_version(tensor) for tensor in tensors] != before:
        raise UsageError(
            f"the kind of task '{task.kind}' writes into the predictions or targets of '{task.name}' that it is given, "
            "which others look at after it: let it work on a copy"
        )


def _version(tensor: Tensor) -> int | None:
    """Counts the writes into a tensor's memory; torch does not count those into tensors made for inference."""
    return None if tensor.is_inference() else tensor._version


def predict(model: MultiTaskModel, pictures: Pictures) -> dict[str, Tensor]:
    """Every task's prediction, in the model's present mode; in training with what is auxiliary."""
    if isinstance(pictures, Tensor):
        return model(scaled(pictures, model.memory_format))
    each = {
        name: Predictions.of(model(scaled(own, model.memory_format), tasks=[name])) for name, own in pictures.items()
    }
    terms = [one.regulariser for one in each.values() if one.regulariser is not None]
    return Predictions(
        {name: one[name] for name, one in each.items()},
        [further for one in each.values() for further in one.auxiliary],
        torch.stack(terms).sum() if terms else None,
    )


@torch.no_grad()
def forward_flops(model: MultiTaskModel, pictures: Pictures) -> int:
    """Floating-point operations of the forward pass of one picture through all tasks; of one of each task's own."""
    model.eval()
    with FlopCounterMode(display=False) as counter:
        predict(model, pictures)
    return counter.get_total_flops()


def some(split: AnySplit, indices: Tensor) -> Pictures:
    """The pictures at these places, of every task where every task has its own."""
    if isinstance(split, PerTaskInputSplit):
        return {name: part.pictures(indices) for name, part in split.parts.items()}
    return split.pictures(indices.to(split.device))
