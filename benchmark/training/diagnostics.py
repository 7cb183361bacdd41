"""How the tasks' gradients meet: lengths, cosines, conflicts, from a sample of steps."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.model import MultiTaskModel, trained
from benchmark.presence import Presence
from benchmark.runs.record import GradientRecord
from benchmark.training.gradients import Rows

#: Steps from one sampled step to the next. A sampled step of a weighting that sees only losses takes K further backward
#: passes: for three tasks that is 2 % to 3 % of the time of as many steps.
INTERVAL = 64


class GradientDiagnostics:
    """Sums over the sampled steps of an epoch.

    Args:
        names: of the tasks.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._waiting = 0
        self._gramians: list[Tensor] = []
        self._present: list[tuple[int, ...]] = []

    def state(self) -> dict[str, Any]:
        """What a checkpoint must know, in plain containers."""
        return {
            "waiting": self._waiting,
            "gramians": list(self._gramians),
            "present": [list(places) for places in self._present],
        }

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from what ``state`` gave."""
        self._waiting = int(state["waiting"])
        self._gramians = [gramian.to(device) for gramian in state["gramians"]]
        self._present = [tuple(int(k) for k in places) for places in state["present"]]

    def due(self) -> bool:
        """Whether the coming step is to be sampled: the run's first, and one in ``INTERVAL``."""
        due = self._waiting == 0
        self._waiting = (self._waiting + 1) % INTERVAL
        return due

    def add(self, gramian: Tensor | None, present: Presence) -> None:
        """Keep what a sampled step with these tasks found, (K, K); None where no parameter is shared."""
        if gramian is not None and len(self.names) > 1:
            self._gramians.append(gramian.detach())
            self._present.append(present.places)

    def take(self) -> GradientRecord | None:
        """The means since the last call, each over the steps that had labels of its tasks; None without a sample."""
        if not self._gramians:
            return None
        gramians = torch.stack(self._gramians).double().cpu().numpy()  # (S, K, K); waits for the device
        there = np.array([[k in places for k in range(len(self.names))] for places in self._present])  # (S, K)
        self._gramians, self._present = [], []
        gramians = np.where(there[:, :, None] & there[:, None, :], gramians, 0.0)
        norms = gramians.diagonal(axis1=1, axis2=2).clip(min=0) ** 0.5  # (S, K)
        pairs = list(combinations(range(len(self.names)), 2))
        cosines = [_cosine(gramians[:, i, j], norms[:, i], norms[:, j]) for i, j in pairs]
        met = [there[:, i] & there[:, j] for i, j in pairs]
        conflicts = [float((gramians[m, i, j] < 0).mean()) for (i, j), m in zip(pairs, met, strict=True) if m.any()]
        finite = bool(np.isfinite(gramians).all())
        return GradientRecord(
            steps=len(gramians),
            norms={name: _mean(norms[:, k], there[:, k]) for k, name in enumerate(self.names)},
            cosines={f"{self.names[i]}|{self.names[j]}": c for (i, j), c in zip(pairs, cosines, strict=True)},
            conflicts=sum(conflicts) / len(conflicts) if conflicts and finite else None,
        )


def gramian_of_losses(model: MultiTaskModel, losses: Sequence[Tensor]) -> Tensor | None:
    """(K, K) inner products of the losses' gradients over the shared parameters, in float64; the graph stays.

    Args:
        losses: K scalars, each with nothing but its own graph.

    Returns:
        None if nothing is shared.
    """
    return _gramian(model, losses, [None] * len(losses))


def gramian_through(model: MultiTaskModel, feature: Tensor, pieces: Sequence[Tensor | None]) -> Tensor | None:
    """The same from the losses' gradients at the one feature that feeds all heads.

    Args:
        feature: (B, …) attached to the shared parameters.
        pieces: K gradients of the feature's shape; None where the loss has no say.
    """
    reached = [None if piece is None else feature for piece in pieces]
    return _gramian(model, reached, [None if piece is None else piece.to(feature.dtype) for piece in pieces])


def _gramian(
    model: MultiTaskModel, values: Sequence[Tensor | None], gradients: Sequence[Tensor | None]
) -> Tensor | None:
    """From K passes, each from a value and its gradient on; a loss's own gradient is None."""
    shared = trained(model.shared_parameters())
    if not shared:
        return None
    rows = Rows(len(values), shared, shared[0].device)
    for k, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
        if value is not None and value.requires_grad:
            rows.fill(k, torch.autograd.grad(value, shared, gradient, retain_graph=True, allow_unused=True))
    return rows.products(rows)


def _cosine(products: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """The mean cosine over the steps where both gradients have a direction."""
    with np.errstate(invalid="ignore"):  # infinity times zero
        lengths = first * second
    defined = np.isfinite(products) & (lengths > 0) & np.isfinite(lengths)
    return float((products[defined] / lengths[defined]).clip(-1, 1).mean()) if defined.any() else None


def _mean(values: NDArray[np.float64], counted: NDArray[np.bool_]) -> float | None:
    """Of the values that count; None where there are none, and where it is not finite."""
    value = float(values.mean() if counted.all() else values[counted].mean()) if counted.any() else np.nan
    return value if np.isfinite(value) else None
