"""What is kept of a run beside its record: pictured samples, whole splits and the network."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmark.data import AnySplit, PerTaskInputSplit, Split
from benchmark.model import MultiTaskModel
from benchmark.runs.artifacts import Arrays, OfNetwork, OfSplit
from benchmark.training.attention import masks
from benchmark.training.evaluation import EVALUATION_BATCH, decide
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import judging

#: Test samples whose pictures are kept, spread evenly over the split.
PICTURED = 4


def pictured(
    model: MultiTaskModel, test: AnySplit, hardware: Hardware, note: Callable[[str], None]
) -> tuple[Arrays, dict[str, np.ndarray]] | None:
    """A few test samples' decisions and where the model attended, and the samples; None where none can be shown.

    Where every task has its own pictures, that is one of each task; what the others would say of it is unknown.
    """
    if isinstance(test, PerTaskInputSplit):
        return _one_of_each(model, test, hardware)
    chosen = torch.linspace(0, len(test) - 1, min(PICTURED, len(test))).long()
    images = test.pictures(chosen.to(test.device))
    decisions: Arrays = {name: values.numpy() for name, values in decide(model, images, hardware).items()}
    truth = {name: values[chosen.to(values.device)].cpu().numpy() for name, values in test.targets.items()}
    samples = {"image": images.cpu().numpy(), "id": test.ids[chosen.numpy()], **truth}
    return decisions | masks(model, images, hardware, note), samples


def _one_of_each(
    model: MultiTaskModel, test: PerTaskInputSplit, hardware: Hardware
) -> tuple[Arrays, dict[str, np.ndarray]] | None:
    first = torch.zeros(1, dtype=torch.int64)
    images = {name: part.pictures(first) for name, part in test.parts.items()}
    stored = {task.name: task.stored((0, 0)) for task in model.tasks}
    unknown = {name: s.invalid for name, s in stored.items() if s and not s.shape and s.invalid is not None}
    if len({image.shape for image in images.values()}) > 1 or len(unknown) < len(stored):
        return None  # only pictures of one size and targets of whole pictures can stand side by side
    decisions = decide(model, images, hardware)
    names = list(test.parts)

    def column(name: str, value: Tensor) -> np.ndarray:
        values = np.full(len(names), unknown[name], value.cpu().numpy().dtype)
        values[names.index(name)] = value.item()
        return values

    samples = {
        "image": torch.cat([images[name] for name in names]).cpu().numpy(),
        "id": np.array([str(part.ids[0]) for part in test.parts.values()]),
        **{name: column(name, part.targets[name][first]) for name, part in test.parts.items()},
    }
    return {name: column(name, decisions[name]) for name in names}, samples


def whole_split(model: MultiTaskModel, split: AnySplit, hardware: Hardware, name: str) -> Arrays:
    """Decisions for a whole split, in the form in which targets are stored, and the samples' ids.

    Args:
        model: on the device.
        split: likewise.
        hardware: what to compute on.
        name: the split's.

    Returns:
        What ``OfSplit`` says, of each task.
    """
    arrays = Arrays()
    parts = split.parts if isinstance(split, PerTaskInputSplit) else {None: split}
    with judging(model, hardware):  # a model that draws draws what it drew when it was evaluated
        for own, part in parts.items():
            for task, values in _decisions(model, part, hardware, own).items():
                arrays |= {OfSplit(name, task): values, OfSplit(name, task, ids=True): part.ids}
    return arrays


def _decisions(model: MultiTaskModel, split: Split, hardware: Hardware, own: str | None) -> dict[str, np.ndarray]:
    """(N, …) of one set of pictures: of the task ``own``, or of all."""
    found: dict[str, list[np.ndarray]] = {}
    for indices in split.order(torch.arange(len(split))).split(EVALUATION_BATCH):
        images = split.pictures(indices)
        for name, values in decide(model, images if own is None else {own: images}, hardware).items():
            found.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(batches) for name, batches in found.items()}


def weights_of(model: MultiTaskModel) -> Arrays:
    """The network's parameters and persistent buffers; bfloat16, which NumPy lacks, as float32."""
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    return {OfNetwork(name): (t.float() if t.dtype is torch.bfloat16 else t).numpy() for name, t in tensors.items()}
