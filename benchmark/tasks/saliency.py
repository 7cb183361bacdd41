"""Saliency: what of a picture draws the eye, pixel by pixel, in per cent; −1 unknown."""

import math
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.tasks.base import Accumulator, Metric, Stored, TaskKind, masked_mean, register_kind
from benchmark.tasks.binary import cross_entropy

UNKNOWN = -1
#: A target above this many per cent is salient.
HALF = 50
#: Likelihoods, in per cent, above which a pixel is called salient; the metrics take the best of them.
THRESHOLDS = tuple(range(20, 91, 5))
#: The logits of these likelihoods.
LOGITS = tuple(math.log(t / (100 - t)) for t in THRESHOLDS)
#: Truths that counts tell apart: no, yes and unknown; and how many thresholds a prediction exceeds.
TRUTHS, LEVELS = 3, len(THRESHOLDS) + 1


def levels(prediction: Tensor, limits: Tensor) -> Tensor:
    """How many of ``limits`` (T,), rising logits, a prediction exceeds; none where it is no number.

    (B, 1, H, W) -> (B, H, W) int64.
    """
    return torch.bucketize(prediction[:, 0].float().nan_to_num(nan=-math.inf), limits)


class SaliencyCounts(Accumulator):
    """Pixels by truth and by the number of thresholds that they exceed, picture by picture: (N, 3, T + 1)."""

    def __init__(self, device: torch.device) -> None:
        self.limits = torch.tensor(LOGITS, device=device)
        self.counts = [torch.zeros(0, TRUTHS, LEVELS, dtype=torch.int64, device=device)]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add (B, 1, H, W) logits and (B, H, W) per cent."""
        truth = torch.where(target == UNKNOWN, 2, (target > HALF).long())
        cell = (LEVELS * truth + levels(prediction, self.limits)).flatten(1)  # (B, H * W)
        counts = cell.new_zeros(len(cell), TRUTHS * LEVELS)
        counts.scatter_add_(1, cell, torch.ones_like(cell))
        self.counts.append(counts.unflatten(1, (TRUTHS, LEVELS)))

    def compute(self) -> dict[str, float]:
        """In per cent, at the best threshold of each."""
        known = torch.cat(self.counts)[:, :2].cpu().double()  # (N, no and yes, T + 1)
        known = known[known.sum((1, 2)) > 0]
        if not len(known):
            return {"max_f": math.nan, "miou": math.nan}
        false, right = known.flip(2).cumsum(2).flip(2)[:, :, 1:].unbind(1)  # (N, T), called salient at a threshold
        salient = known[:, 1].sum(1, keepdim=True)
        # What is 0 of 0 is 0 in precision and recall, and 1 in the overlap of nothing with nothing.
        precision, recall = (right / whole.clamp(min=1) for whole in (right + false, salient))
        overlap = torch.where(salient + false > 0, right / (salient + false).clamp(min=1), 1).mean(0)
        precision, recall = precision.mean(0), recall.mean(0)
        f = (2 * precision * recall / (precision + recall)).nan_to_num(nan=0.0)
        return {"max_f": 100 * f.max().item(), "miou": 100 * overlap.max().item()}


@register_kind
class Saliency(TaskKind):
    """Binary cross-entropy of one logit per known pixel, either answer weighted by the other's share of the batch.

    Source: Maninis, Radosavovic & Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, and the survey of
    Vandenhende et al., TPAMI 2021 (github.com/SimonVandenhende/Multi-Task-Learning-PyTorch, ``eval_sal.py``). The
    metrics are theirs: means over pictures at each of fifteen thresholds from 0.2 to 0.9, of which the best counts. So
    they choose a threshold on the split that they judge, as the field does.

    Deviations:
        - Shares and sums are over known pixels; there, every pixel is known.
        - Their predictions are rounded to bytes, and enlarged to the picture's size, before a threshold is applied.

    A decision is the highest threshold that a pixel exceeds, in per cent: all that the metrics need.
    """

    name = "saliency"
    dense = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("max_f", "max F", "%", True, "2 × P × R / (P + R) at the best of fifteen thresholds, where P and R are "
               "the means over pictures of precision and recall of salient pixels; 0 of 0 counts as 0."),
        Metric("miou", "mIoU", "%", True, "Mean over pictures of intersection over union of true and predicted salient "
               "pixels, at the best of fifteen thresholds; 1 where a picture has neither."),
    )  # fmt: skip

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, 1, H, W) logits and (B, H, W) per cent -> scalar."""
        known, salient = target != UNKNOWN, target > HALF
        others = masked_mean((~salient).float(), known)
        return masked_mean(torch.where(salient, others, 1 - others) * cross_entropy(prediction, salient), known)

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """(H, W) per cent."""
        return Stored("int8", size, "%", 0, 100, invalid=UNKNOWN)

    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """Counts of pixels."""
        return SaliencyCounts(device)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, H, W) int8, in the memory of the host."""
        reached = torch.tensor((0, *THRESHOLDS), dtype=torch.int8)
        return reached[levels(prediction.cpu(), torch.tensor(LOGITS))]

    def undecide(self, decided: Tensor, channels: int) -> Tensor:
        """Per cent -> logits that exceed as many thresholds.

        Raises:
            ValueError: a value is no whole number from 0 to 100.
        """
        if decided.dtype.is_floating_point or ((decided < 0) | (decided > 100)).any():
            raise ValueError("decisions must be whole numbers from 0 to 100")
        between = [(low + high) / 2 for low, high in pairwise(LOGITS)]
        middles = torch.tensor([LOGITS[0] - 1, *between, LOGITS[-1] + 1], device=decided.device)
        exceeded = torch.bucketize(decided.int(), torch.tensor(THRESHOLDS, device=decided.device), right=True)
        return middles[exceeded][:, None]

    def blind(self, truths: Tensor, channels: int) -> Tensor:
        """In how many of the pictures each pixel is salient; where a pixel is never known, how many of all are."""
        yes, no = (truths > HALF).sum(0).double(), ((truths >= 0) & (truths <= HALF)).sum(0).double()
        never = yes + no == 0
        yes, no = torch.where(never, yes.sum(), yes), torch.where(never, no.sum(), no)
        percent = (100 * yes / (yes + no)).nan_to_num(nan=0.0)
        return self.undecide(percent.floor().to(torch.int8)[None], channels)

    def draw(self, values: np.ndarray) -> np.ndarray:
        """(H, W) -> from blue to white, the more salient; unknown is black."""
        share = values.clip(0, 100)[..., None] / 100
        colours = np.rint(DULL + share * (SALIENT - DULL)).astype(np.uint8)
        return np.where(values[..., None] < 0, np.uint8(0), colours)


#: Colours of 0 and of 100 per cent.
DULL, SALIENT = np.array([30.0, 50.0, 110.0]), np.array([255.0, 255.0, 255.0])
