"""What a network makes of every sample of a split, and the network, for whoever recomputes its metrics."""

import numpy as np
import torch
from torch import Tensor

from benchmark.data import AnySplit, SeparateSplit
from benchmark.model import MultiTaskModel
from benchmark.store import MODEL
from benchmark.training.evaluation import EVALUATION_BATCH, decide
from benchmark.training.hardware import Hardware


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
    for own, part in parts.items():
        found: dict[str, list[np.ndarray]] = {}
        for indices in torch.arange(len(part), device=part.device).split(EVALUATION_BATCH):
            images = part.pictures(indices)
            for name, values in decide(model, images if own is None else {own: images}, hardware).items():
                found.setdefault(name, []).append(values.numpy())
        for name, batches in found.items():
            arrays |= {f"{prefix}{name}": np.concatenate(batches), f"{prefix}{name}-id": part.ids}
    return arrays


def weights_of(model: MultiTaskModel) -> dict[str, np.ndarray]:
    """The network's parameters and persistent buffers: ``<MODEL><name>``; bfloat16, which NumPy lacks, as float32."""
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    return {f"{MODEL}{name}": (t.float() if t.dtype is torch.bfloat16 else t).numpy() for name, t in tensors.items()}
