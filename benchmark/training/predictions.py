"""What a network makes of every sample of a split, for whoever recomputes its metrics."""

import numpy as np
import torch

from benchmark.data import Split
from benchmark.model import MultiTaskModel
from benchmark.store import WHOLE_TEST
from benchmark.training.evaluation import EVALUATION_BATCH, decide
from benchmark.training.hardware import Hardware


def whole_test(model: MultiTaskModel, test: Split, hardware: Hardware) -> dict[str, np.ndarray]:
    """Decisions for the whole test split, in the form in which targets are stored, and the samples' ids.

    Returns:
        ``test-<task>`` (N, …) and ``test-<task>-id`` (N,): names that the store keeps in a file of their own.
    """
    found: dict[str, list[np.ndarray]] = {task.name: [] for task in model.tasks}
    for indices in torch.arange(len(test), device=test.images.device).split(EVALUATION_BATCH):
        for name, values in decide(model, test.images[indices], hardware).items():
            found[name].append(values.numpy())
    arrays = {f"{WHOLE_TEST}{name}": np.concatenate(parts) for name, parts in found.items()}
    return arrays | {f"{WHOLE_TEST}{name}-id": test.ids for name in found}
