"""Strided encoder-decoder with skip connections, after U-Net (Ronneberger, Fischer & Brox, MICCAI 2015).

Made to learn small pictures in minutes on one core. Where U-Net pools, a convolution of stride 2 shrinks the map; where
it has a transposed convolution, the map is repeated (nearest neighbour); padding keeps sizes. The first level already
has half the picture's size, and so has what dense tasks' heads read; their outputs are brought to full size bilinearly.
What skip connections mean to each sharing pattern is said in ``backbones.base``.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.backbones.base import Backbone, Memory, Stage, StagePlan
from baselines.backbones.segnet import conv_block, dropout_layers
from benchmark.errors import UsageError

#: Channels of each level, from the largest map down, as multiples of the width.
FACTORS = ("1", "2", "3", "4", "6")


@dataclass(frozen=True)
class UNetStage(StagePlan):
    """Layers in a row; the first has the stride."""

    layers: int = 1
    stride: int = 1
    dropout: float = 0.0

    def build(self) -> Stage:
        """First layer and rest."""
        (inputs, outputs), *later = self.channels(self.layers)
        rest = [*(conv_block(a, b) for a, b in later), *dropout_layers(self.dropout)]
        return Stage(conv_block(inputs, outputs, self.stride), nn.Sequential(*rest))


@dataclass(frozen=True)
class EncoderStage(UNetStage):
    """Begins by halving the map; odd sizes round up. Leaves its feature for the decoder, unless it is the last one."""

    stride: int = 2
    last: bool = False

    def leave(self, x: Tensor, memory: Memory) -> Tensor:
        """Keep the feature. (B, C, H, W) -> the same."""
        if not self.last:
            memory.append((x, x.shape[-2:]))
        return x

    def shrink(self, x: Tensor) -> Tensor:
        """Pool as the next stage's stride does; nothing follows the last one."""
        return x if self.last else F.max_pool2d(x, 2, ceil_mode=True)


class DecoderStage(UNetStage):
    """Reads concat(the feature from below, the encoder's feature of this level)."""

    def enter(self, x: Tensor, memory: Memory) -> Tensor:
        """Enlarge the map to the level's size, join the skip. (B, inputs − C, h, w) -> (B, inputs, H, W)."""
        skip, size = memory.pop()
        return torch.cat((F.interpolate(x, size=size, mode="nearest"), skip), 1)


def he_uniform(weight: Tensor) -> Tensor:
    """He uniform for layers before a ReLU, in place: variance 2 / inputs of one output."""
    return nn.init.kaiming_uniform_(weight, nonlinearity="relu")


def unet(width: int, *factors: str, wide: bool = False, deep: bool = False, dropout: float = 0.0) -> Backbone:
    """Levels of ``width`` × (1, 2, 3, 4, 6) channels: two layers each on the way down, one on the way up.

    Args:
        width: channels per unit of ``factors``; 16 for 16-32-48-64-96.
        factors: channels of each level as multiples of the width, from the largest map down, two or more;
            ``unet-1-2-4`` has three levels.
        wide: twice the channels at the deepest level.
        deep: every layer followed by one of equal width.
        dropout: share of each stage's numbers that are left out in training.

    Raises:
        UsageError: a factor is no positive whole number, or there is one level alone.
    """
    found = factors or FACTORS
    if len(found) < 2 or not all(factor.isdecimal() and int(factor) >= 1 for factor in found):
        raise UsageError(
            f"a unet's levels are two or more whole numbers from 1, not '{'-'.join(found)}': write 'unet-1-2-3-4-6', "
            "for instance, channels as multiples of the width"
        )
    channels = [width * int(factor) for factor in found]
    channels[-1] *= 2 if wide else 1
    times = 2 if deep else 1
    encoder = [
        EncoderStage(inputs, outputs, layers=2 * times, last=level == len(channels), dropout=dropout)
        for level, (inputs, outputs) in enumerate(pairwise([3, *channels]), 1)
    ]
    decoder = [DecoderStage(below + skip, skip, layers=times, dropout=dropout) for skip, below in pairwise(channels)]
    return Backbone(
        tuple(encoder), tuple(reversed(decoder)), smallest=2 ** len(channels), start=he_uniform, scale=2
    )  # fmt: skip
