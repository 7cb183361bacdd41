"""Atrous spatial pyramid pooling and what reads it, written from the papers.

- DeepLabV3 (Chen et al., arXiv:1706.05587, 2017): parallel 1×1, dilated 3×3 and pooled branches, joined by a 1×1.
- DeepLabV3+ (Chen et al., ECCV 2018): its result, enlarged, joined with the feature of stride 4, then two 3×3.

Deviations:
    - The pooled branch has a bias in place of its batch norm, which in training would normalise one number a picture.
    - No dropout behind the pyramid: what one task's network draws must not hang on which others are trained beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.backbones.base import Memory, Stage, StagePlan
from baselines.backbones.segnet import conv_block
from benchmark.tasks import Task

#: Dilations where the map has an eighth of the picture's size; half of them at a sixteenth, and so on.
RATES = (12, 24, 36)
#: Channels of the pyramid and of what follows it, and of the low-level feature that DeepLabV3+ joins.
CHANNELS, LOW_CHANNELS = 256, 48


def pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """1×1 convolution with bias, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def dilated(inputs: int, outputs: int, rate: int) -> nn.Sequential:
    """3×3 convolution of this dilation with bias, batch norm, ReLU; the map keeps its size."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Pyramid(nn.Module):
    """ASPP. (B, inputs, h, w) -> (B, outputs, h, w).

    Args:
        stride: pictures are this many times as high and wide as the map, which sets the dilations.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        rates = [max(1, rate * 8 // stride) for rate in RATES]
        self.branches = nn.ModuleList([pointwise(inputs, outputs), *(dilated(inputs, outputs, r) for r in rates)])
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.project = pointwise(5 * outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """All branches, joined."""
        pooled = self.pooled(x).expand(-1, -1, *x.shape[-2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], 1))


def deeplab_head(channels: int, stride: int) -> Callable[[int, Task], nn.Module]:
    """What makes a task's own DeepLabV3 head, as in LibMTL: pyramid, 3×3 convolution, 1×1 to the task's channels."""

    def make(inputs: int, task: Task) -> nn.Module:
        pyramid = Pyramid(inputs, channels, stride)
        return nn.Sequential(pyramid, conv_block(channels, channels), nn.Conv2d(channels, task.channels, 1))

    return make


@dataclass(frozen=True)
class PyramidStage(StagePlan):
    """The pyramid as a decoder's first stage."""

    stride: int = 16

    def build(self) -> Stage:
        """All of it is the first block."""
        return Stage(Pyramid(self.inputs, self.outputs, self.stride), nn.Identity())


class LowLevel(nn.Module):
    """Narrows the last channels, which are the encoder's low-level feature. (B, C + low, …) -> (B, C + narrow, …)."""

    def __init__(self, low: int, narrow: int) -> None:
        super().__init__()
        self.low = low
        self.narrow = pointwise(low, narrow)

    def forward(self, x: Tensor) -> Tensor:
        """The first channels pass as they are."""
        return torch.cat((x[:, : -self.low], self.narrow(x[:, -self.low :])), 1)


@dataclass(frozen=True)
class JoinStage(StagePlan):
    """Reads concat(pyramid's feature, enlarged; the encoder's feature of stride 4).

    Attributes:
        low: channels of the latter.
        narrow: to which they are brought first.
    """

    low: int = 0
    narrow: int = LOW_CHANNELS

    def build(self) -> Stage:
        """Two 3×3 convolutions; with other inputs than its own, a 1×1 convolution to these comes first."""
        own = self.outputs + self.low
        join = [] if self.inputs == own else [nn.Conv2d(self.inputs, own, 1)]
        first = conv_block(self.outputs + self.narrow, self.outputs)
        return Stage(
            nn.Sequential(*join, LowLevel(self.low, self.narrow), first), conv_block(self.outputs, self.outputs)
        )

    def enter(self, x: Tensor, memory: Memory) -> Tensor:
        """Enlarge the map to the low-level feature's size, join it. (B, C, h, w) -> (B, C + low, H, W)."""
        low, size = memory.pop()
        return torch.cat((F.interpolate(x, size=size, mode="bilinear", align_corners=False), low), 1)
