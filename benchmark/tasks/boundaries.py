"""Semantic boundaries: whether a pixel lies where one class meets another; 0 no, 1 yes, −1 unknown."""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.tasks.base import Accumulator, Metric, Stored, TaskKind, masked_mean, register_kind
from benchmark.tasks.binary import UNKNOWN, BinaryCounts, answers, cross_entropy, logits

#: Weight of a boundary's pixel in the loss; any other has what is left to 1.
BOUNDARY_WEIGHT = 0.95


class BoundaryCounts(BinaryCounts):
    """Known pixels by truth and answer."""

    def compute(self) -> dict[str, float]:
        """In per cent."""
        counts = self.counts.cpu().double().view(2, 2)
        found = 2 * counts[1, 1] / (counts[1].sum() + counts[:, 1].sum())
        known = counts.sum() > 0
        return {
            # Where no pixel is a boundary and none is called one, all is right.
            "f1": 100 * float(found.nan_to_num(nan=1.0)) if known else math.nan,
            "balanced_accuracy": super().compute()["balanced_accuracy"],
        }


@register_kind
class Boundaries(TaskKind):
    """Binary cross-entropy of one logit per known pixel, boundaries weighted 0.95 and all else 0.05.

    Source: Maninis, Radosavovic & Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, and the survey of
    Vandenhende et al., TPAMI 2021 (github.com/SimonVandenhende/Multi-Task-Learning-PyTorch, ``edge_w``).

    Deviations:
        - The loss is divided by the number of known pixels, theirs by that of all.
        - Their metric, odsF, matches thin boundaries within a distance and takes the split's best threshold. Here a
          pixel counts where it is, at the threshold 1/2 of what the loss is trained to give, so that metrics can be
          computed again from kept decisions.
    """

    name = "boundaries"
    dense = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("f1", "boundary F1", "%", True, "2 × right / (true + predicted) of boundary pixels, counted over the "
               "known pixels of the split."),
        Metric("balanced_accuracy", "balanced accuracy", "%", True, "Mean over boundary and other pixels of the share "
               "of the split's that are predicted right; of what does not occur, no share counts."),
    )  # fmt: skip

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, 1, H, W) logits and (B, H, W) labels -> scalar."""
        weight = torch.where(target == 1, BOUNDARY_WEIGHT, 1 - BOUNDARY_WEIGHT)
        return masked_mean(weight * cross_entropy(prediction, target), target != UNKNOWN)

    def class_count(self, channels: int) -> int:
        """No and yes, of one logit."""
        return 2

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """(H, W) of 0 and 1."""
        return Stored("int8", size, "class", 0, 1, invalid=UNKNOWN)

    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """Counts of pixels."""
        return BoundaryCounts(device)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, H, W) int8."""
        return answers(prediction).to(torch.int8)

    def undecide(self, decided: Tensor, channels: int) -> Tensor:
        """0 and 1 -> logits of −1 and 1."""
        return logits(decided)

    def blind(self, truths: Tensor, channels: int) -> Tensor:
        """Where a boundary is more frequent than the loss asks for: its weighted share exceeds that of the rest."""
        yes, no = ((truths == label).sum(0).float() for label in (1, 0))
        return (BOUNDARY_WEIGHT * yes - (1 - BOUNDARY_WEIGHT) * no)[None, None]

    def draw(self, values: np.ndarray) -> np.ndarray:
        """(H, W) -> white boundaries on blue; unknown is black."""
        return COLOURS[np.where(values < 0, 2, values != 0)]


#: No boundary, boundary, unknown.
COLOURS = np.array([(30, 50, 110), (255, 255, 255), (0, 0, 0)], dtype=np.uint8)
