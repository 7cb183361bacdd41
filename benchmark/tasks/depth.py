"""Depth: metres (or another positive length scale) per pixel, 0 unknown."""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.tasks.base import (
    Accumulator,
    Metric,
    Stored,
    TaskKind,
    halved,
    legacy_batches,
    legacy_twins,
    masked_mean,
    register_kind,
)
from benchmark.tasks.geometry import Zoom

_POOLED = (
    Metric("abs_error", "absolute error", "m", False, "Mean of |predicted − true| over all valid pixels of the split."),
    Metric(
        "rel_error",
        "relative error",
        "",
        False,
        "Mean of |predicted − true| / true over all valid pixels of the split.",
    ),
)

#: Depth at which the colour scale of drawings ends, in metres.
DRAWN_RANGE = 8.0


class DepthErrors(Accumulator):
    """Per image: sums of absolute and relative error and the number of valid pixels."""

    def __init__(self, device: torch.device) -> None:
        self.sums = [torch.zeros(0, 3, dtype=torch.float64, device=device)]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add (B, 1, H, W) predictions and targets."""
        target = target.double()
        valid = target > 0
        error = torch.where(valid, (prediction.double() - target).abs(), 0)
        relative = torch.where(valid, error / target, 0)
        self.sums.append(torch.stack([x.flatten(1).sum(1) for x in (error, relative, valid.double())], dim=1))

    def compute(self) -> dict[str, float]:
        """Pooled means, and means of per-batch means."""
        per_image = torch.cat(self.sums).cpu()  # (N, 3)
        pooled = per_image.sum(0)
        batches = legacy_batches(per_image)
        batches = batches[batches[:, 2] > 0]
        return {
            "abs_error": (pooled[0] / pooled[2]).item(),
            "rel_error": (pooled[1] / pooled[2]).item(),
            "legacy_abs_error": (batches[:, 0] / batches[:, 2]).mean().item(),
            "legacy_rel_error": (batches[:, 1] / batches[:, 2]).mean().item(),
        }


@register_kind
class Depth(TaskKind):
    """L1 loss over valid pixels (Liu et al., CVPR 2019)."""

    name = "depth"
    dense = True
    metrics: ClassVar[tuple[Metric, ...]] = _POOLED + legacy_twins(
        _POOLED, lambda m: f"{m.title} of each batch of two images, averaged over batches, as in the papers' scripts."
    )

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, 1, H, W) and (B, 1, H, W) -> scalar."""
        target = target.float()
        return masked_mean((prediction.float() - target).abs(), target > 0)

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """(1, H, W) metres."""
        return Stored("float16", (channels, *size), "m", 0, math.inf, invalid=0)

    def labelled(self, targets: Tensor, channels: int) -> Tensor:
        """Those with a positive value."""
        return (targets > 0).flatten(1).any(1)

    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """Sums of errors."""
        return DepthErrors(device)

    def zoom(self, target: Tensor, zoom: Zoom) -> Tensor:
        """Divided by the scale: what looks larger is nearer. Unknown stays unknown."""
        return (zoom.nearest(target) / zoom.scale.to(torch.float32)[:, None, None, None]).to(target.dtype)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B, 1, H, W) -> the same in half precision, or in single precision where half ends."""
        return halved(prediction)

    def blind(self, truths: Tensor, channels: int) -> Tensor:
        """Each pixel's median; where a pixel is never known, that of all."""
        known = torch.where(truths > 0, truths.float(), torch.nan)
        medians = known.nanmedian(0, keepdim=True).values
        return torch.where(medians.isnan(), known.nanmedian(), medians).nan_to_num(0)

    def draw(self, values: np.ndarray) -> np.ndarray:
        """(1, H, W) metres -> a perceptually uniform colour map; unknown is black."""
        from matplotlib import colormaps  # late: training draws nothing

        depth = values[0].astype(np.float32)
        coloured = colormaps["viridis_r"](np.clip(depth / DRAWN_RANGE, 0, 1), bytes=True)[..., :3]
        return np.where(depth[..., None] > 0, coloured, 0).astype(np.uint8)
