"""Disparity: inverse depth per pixel up to a constant factor, 0 unknown."""

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.tasks.base import Metric, Stored, register_kind
from benchmark.tasks.depth import Depth
from benchmark.tasks.geometry import Zoom

#: Disparity at which the colour scale of drawings ends: near everything of Cityscapes lies below it.
DRAWN_RANGE = 0.3


@register_kind
class Disparity(Depth):
    """Loss and metrics of depth (Liu et al., CVPR 2019), on a quantity without unit that grows as things come nearer.

    It is a kind of its own because it is no length: where a picture is enlarged, depth shrinks and disparity grows.
    """

    name = "disparity"
    metrics: ClassVar[tuple[Metric, ...]] = tuple(replace(metric, unit="") for metric in Depth.metrics)

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """(1, H, W) numbers without unit."""
        return Stored("float16", (channels, *size), "", 0, math.inf, invalid=0)

    def zoom(self, target: Tensor, zoom: Zoom) -> Tensor:
        """Times the scale: what looks larger is nearer. Unknown stays unknown."""
        return (zoom.nearest(target) * zoom.scale.to(torch.float32)[:, None, None, None]).to(target.dtype)

    def draw(self, values: np.ndarray) -> np.ndarray:
        """(1, H, W) disparities -> a perceptually uniform colour map, unknown is black."""
        from matplotlib import colormaps  # late: training draws nothing

        disparity = values[0].astype(np.float32)
        coloured = colormaps["viridis"](np.clip(disparity / DRAWN_RANGE, 0, 1), bytes=True)[..., :3]
        return np.where(disparity[..., None] > 0, coloured, 0).astype(np.uint8)
