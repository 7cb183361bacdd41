"""Classification of the whole picture: one class, −1 unknown."""

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.tasks.base import (
    Accumulator,
    Metric,
    Stored,
    TaskKind,
    class_ids,
    class_type,
    masked_mean,
    one_hot,
    register_kind,
)

UNKNOWN = -1
#: In which class ids are stored as long as they fit.
NARROWEST = "int16"


class Hits(Accumulator):
    """Right answers and known labels."""

    def __init__(self, device: torch.device) -> None:
        self.right = torch.zeros((), dtype=torch.int64, device=device)
        self.known = torch.zeros((), dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add (B, C) logits and (B,) class ids."""
        known = target != UNKNOWN
        self.right += ((prediction.argmax(1) == target) & known).sum()
        self.known += known.sum()

    def compute(self) -> dict[str, float]:
        """Accuracy in per cent."""
        return {"accuracy": 100 * (self.right / self.known).item()}


@register_kind
class Classification(TaskKind):
    """Cross-entropy over pictures of known class."""

    name = "classification"
    dense = False
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("accuracy", "accuracy", "%", True, "Share of the split's pictures whose class is predicted right."),
    )

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, C) logits and (B,) class ids -> scalar."""
        target = target.long()
        per_picture = F.cross_entropy(prediction.float(), target, ignore_index=UNKNOWN, reduction="none")
        return masked_mean(per_picture, target != UNKNOWN)

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """One class id."""
        return Stored(class_type(channels, NARROWEST), (), "class", 0, channels - 1, invalid=UNKNOWN)

    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """Counts of right answers."""
        return Hits(device)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B, C) -> (B,) int16, or wider."""
        return class_ids(prediction, NARROWEST)

    def undecide(self, decided: Tensor, channels: int) -> Tensor:
        """Class ids -> one channel per class."""
        return one_hot(decided, channels)

    def blind(self, truths: Tensor, channels: int) -> Tensor:
        """How often each class is met."""
        known = truths[(truths >= 0) & (truths < channels)]
        return torch.bincount(known.long(), minlength=channels).float().unsqueeze(0)

    def draw(self, values: np.ndarray) -> None:
        """A class is shown in words."""
