"""What a network makes of every sample of a split, and the network, for whoever recomputes its metrics."""

import numpy as np
import torch
from torch import Tensor

from benchmark.data import AnySplit, SeparateSplit, Split
from benchmark.model import MultiTaskModel
from benchmark.store import MODEL
from benchmark.training.evaluation import EVALUATION_BATCH, decide
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import judging


def whole_split(model: MultiTaskModel, split: AnySplit, hardware: Hardware, prefix: str) -> dict[str, np.ndarray]:
    """Decisions for a whole split, in the form in which targets are stored, and the samples' ids.

    Args:
        model: on the device.
        split: likewise.
        hardware: what to compute on.
        prefix: ``store.WHOLE_TEST`` for arrays that the store keeps in a file of their own.

    Returns:
        ``<prefix><task>`` (N, …) and ``<prefix><task>-id`` (N,).
    """
    arrays: dict[str, np.ndarray] = {}
    parts = split.parts if isinstance(split, SeparateSplit) else {None: split}
    with judging(model, hardware):  # a model that draws draws what it drew when it was evaluated
        for own, part in parts.items():
            for name, values in _decisions(model, part, hardware, own).items():
                arrays |= {f"{prefix}{name}": values, f"{prefix}{name}-id": part.ids}
    return arrays


def _decisions(model: MultiTaskModel, split: Split, hardware: Hardware, own: str | None) -> dict[str, np.ndarray]:
    """(N, …) of one set of pictures: of the task ``own``, or of all."""
    found: dict[str, list[np.ndarray]] = {}
    for indices in split.order(torch.arange(len(split))).split(EVALUATION_BATCH):
        images = split.pictures(indices)
        for name, values in decide(model, images if own is None else {own: images}, hardware).items():
            found.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(batches) for name, batches in found.items()}


def weights_of(model: MultiTaskModel) -> dict[str, np.ndarray]:
    """The network's parameters and persistent buffers: ``<MODEL><name>``; bfloat16, which NumPy lacks, as float32."""
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    return {f"{MODEL}{name}": (t.float() if t.dtype is torch.bfloat16 else t).numpy() for name, t in tensors.items()}
