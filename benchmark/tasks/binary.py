"""A label of the whole picture that is yes or no, such as an attribute of a face: 0 no, 1 yes, −1 unknown."""

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.tasks.base import Accumulator, Metric, Stored, TaskKind, masked_mean, register_kind

UNKNOWN = -1


class BinaryCounts(Accumulator):
    """Known labels by truth and answer: (2, 2)."""

    def __init__(self, device: torch.device) -> None:
        self.counts = torch.zeros(4, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add (B, 1, …) logits and (B, …) labels."""
        cell = 2 * target.long() + answers(prediction).long()
        known = target != UNKNOWN
        self.counts += torch.stack([((cell == place) & known).sum() for place in range(4)])

    def compute(self) -> dict[str, float]:
        """In per cent."""
        counts = self.counts.cpu().double().view(2, 2)  # truth by answer
        right, true, answered = counts.diagonal(), counts.sum(1), counts.sum(0)
        # 0 / 0 is NaN, which nanmean leaves out: recall of what never is, F1 of what never is nor is answered.
        return {
            "accuracy": 100 * (right.sum() / counts.sum()).item(),
            "balanced_accuracy": 100 * (right / true).nanmean().item(),
            "f1": 100 * (2 * right / (true + answered)).nanmean().item(),
        }


@register_kind
class Binary(TaskKind):
    """Binary cross-entropy of one logit, over pictures whose label is known.

    F1 is the mean over both answers. That of *yes* alone is 0 where a network never says so, as of rare attributes many
    do, and nothing can be put in relation to a reference of 0: Δm would be undefined.
    """

    name = "binary"
    dense = False
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("accuracy", "accuracy", "%", True, "Share of the split's pictures whose label is predicted right."),
        Metric("balanced_accuracy", "balanced accuracy", "%", True, "Mean over yes and no of the share of the split's "
               "pictures of this label that are predicted right; a label that does not occur does not count."),
        Metric("f1", "macro F1", "%", True, "Mean over yes and no of 2 × right / (true + predicted), counted over the "
               "whole split; a label that is neither true nor predicted does not count."),
    )  # fmt: skip

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, 1) logits and (B,) labels -> scalar."""
        return masked_mean(cross_entropy(prediction, target), target != UNKNOWN)

    def class_count(self, channels: int) -> int:
        """No and yes, of one logit."""
        return 2

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """0 or 1."""
        return Stored("int8", (), "class", 0, 1, invalid=UNKNOWN)

    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """Counts of right and wrong answers."""
        return BinaryCounts(device)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B, 1) -> (B,) int8."""
        return answers(prediction).to(torch.int8)

    def undecide(self, decided: Tensor, channels: int) -> Tensor:
        """0 and 1 -> logits of −1 and 1."""
        return logits(decided)

    def blind(self, truths: Tensor, channels: int) -> Tensor:
        """The commoner label; no, where they are equally common."""
        return ((truths == 1).sum() - (truths == 0).sum()).float().view(1, 1)

    def draw(self, values: np.ndarray) -> None:
        """A label is shown in words."""


def answers(prediction: Tensor) -> Tensor:
    """(B, 1, …) logits -> (B, …) bool: whether yes is likelier than no."""
    return prediction[:, 0] > 0


def logits(decided: Tensor) -> Tensor:
    """(B, …) of 0 and 1 -> (B, 1, …), −1 and 1.

    Raises:
        ValueError: a value is neither.
    """
    if decided.dtype.is_floating_point or ((decided != 0) & (decided != 1)).any():
        raise ValueError("decisions must be 0 or 1")
    return (2.0 * decided - 1).unsqueeze(1)


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """−log of the likelihood of each label. (B, 1, …) logits, (B, …) of 0 and 1 -> (B, …) float32."""
    logit = prediction[:, 0].float()
    return F.softplus(torch.where(target == 1, -logit, logit))
