"""Semantic segmentation: one class per pixel, −1 unknown."""

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
    legacy_twins,
    masked_mean,
    one_hot,
    register_kind,
)

UNKNOWN = -1
#: In which class ids are stored as long as they fit.
NARROWEST = "int8"

_POOLED = (
    Metric("miou", "mIoU", "%", True, "Mean over classes of intersection over union, from one confusion matrix of the "
           "whole split without pixels of unknown class; a class in neither truth nor prediction does not count."),
    Metric("pixel_accuracy", "pixel accuracy", "%", True, "Share of the split's pixels of known class that are right."),
)  # fmt: skip


class ConfusionCounts(Accumulator):
    """Pixels by truth and prediction, image by image: (N, C + 1, C); the last row counts pixels of unknown class."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self.channels = channels
        self.counts = [torch.zeros(0, channels + 1, channels, dtype=torch.int64, device=device)]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add (B, C, H, W) logits and (B, H, W) class ids."""
        classes = self.channels
        target = target.long()
        truth = torch.where(target < 0, classes, target)  # (B, H, W)
        cell = (truth * classes + prediction.argmax(1)).flatten(1)  # (B, H * W)
        counts = cell.new_zeros(len(cell), (classes + 1) * classes)
        counts.scatter_add_(1, cell, torch.ones_like(cell))
        self.counts.append(counts.unflatten(1, (classes + 1, classes)))

    def compute(self) -> dict[str, float]:
        """Pooled metrics, and their per-image twins."""
        per_image = torch.cat(self.counts).cpu().double()  # (N, C + 1, C)
        known = per_image[:, :-1]
        pooled = known.sum(0)
        right, valid = known.diagonal(dim1=1, dim2=2).sum(1), known.sum((1, 2))
        # The papers' scripts let predictions on unknown pixels enter the union. An image that is wholly unknown makes
        # their pixel accuracy NaN; here it counts in neither twin.
        legacy_iou = torch.where(valid > 0, mean_iou(known, per_image.sum(1)), torch.nan)
        return {
            "miou": 100 * mean_iou(pooled, pooled.sum(0)).item(),
            "pixel_accuracy": 100 * (right.sum() / valid.sum()).item(),
            "legacy_miou": 100 * legacy_iou.nanmean().item(),
            "legacy_pixel_accuracy": 100 * (right / valid).nanmean().item(),
        }


def mean_iou(confusion: Tensor, predicted: Tensor) -> Tensor:
    """Mean intersection over union. (…, C, C) truth by prediction and (…, C) predicted pixels -> (…)."""
    intersection = confusion.diagonal(dim1=-2, dim2=-1)
    union = confusion.sum(-1) + predicted - intersection
    return torch.where(union > 0, intersection / union, torch.nan).nanmean(-1)


@register_kind
class Segmentation(TaskKind):
    """Cross-entropy over pixels of known class (Liu et al., CVPR 2019)."""

    name = "segmentation"
    dense = True
    metrics: ClassVar[tuple[Metric, ...]] = _POOLED + legacy_twins(
        _POOLED, lambda m: f"{m.title} of each image, averaged over images, as in the MTAN authors' first tables."
    )

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, C, H, W) logits and (B, H, W) class ids -> scalar."""
        target = target.long()
        per_pixel = F.cross_entropy(prediction.float(), target, ignore_index=UNKNOWN, reduction="none")
        return masked_mean(per_pixel, target != UNKNOWN)

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """(H, W) class ids."""
        return Stored(class_type(channels, NARROWEST), size, "class", 0, channels - 1, invalid=UNKNOWN)

    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """Confusion matrices."""
        return ConfusionCounts(channels, device)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W) int8, or wider."""
        return class_ids(prediction, NARROWEST)

    def undecide(self, decided: Tensor, channels: int) -> Tensor:
        """Class ids -> one channel per class."""
        return one_hot(decided, channels)

    def blind(self, truths: Tensor, channels: int) -> Tensor:
        """Each pixel's most frequent class, of equal ones the first; where a pixel is never known, that of all."""
        counts = torch.stack([(truths == k).sum(0) for k in range(channels)])
        everywhere = counts.flatten(1).sum(1)
        never = counts.sum(0) == 0
        return one_hot(torch.where(never, everywhere[:, None, None], counts).argmax(0, keepdim=True), channels)

    def draw(self, values: np.ndarray) -> np.ndarray:
        """(H, W) class ids -> colours; unknown is black."""
        colours = np.concatenate([PALETTE, np.zeros((1, 3), np.uint8)])
        return colours[np.where(values < 0, len(PALETTE), values % len(PALETTE))]


#: Twenty-one colours that differ in lightness as well as hue.
PALETTE = np.array(
    [
        (230, 97, 1), (94, 60, 153), (240, 240, 230), (215, 25, 28), (139, 105, 70), (178, 138, 190), (253, 200, 80),
        (44, 123, 182), (26, 110, 60), (205, 150, 100), (40, 40, 60), (160, 175, 180), (171, 217, 233), (255, 127, 180),
        (102, 194, 165), (166, 216, 84), (110, 20, 60), (0, 90, 110), (200, 200, 90), (120, 120, 120),
        (0, 200, 255),
    ],
    dtype=np.uint8,
)  # fmt: skip
