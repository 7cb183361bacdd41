"""Wide residual network (Zagoruyko & Komodakis, BMVC 2016) without decoder, for tasks that judge whole pictures.

Shaped as in the Visual Decathlon experiment of Liu, Johns & Davison (CVPR 2019; github.com/lorenmt/mtan,
``visual_decathlon/model_wrn_mtan.py``): a stem at the picture's size, then three groups of pre-activation blocks, each
of which halves the map (in its first block's second convolution), every convolution with bias, and a last batch norm
and ReLU. Their WRN-28-4 is ``backbone="wrn-28-4"`` with ``width=16``: channels 16, 64, 128, 256.

Deviations:
    - Tasks see global average pooling instead of the fixed 8×8 window, so that any picture size works.
    - Heads return logits, not softmax, whose logarithm the authors then clip: cross-entropy is the same, and stable.
    - The last batch norm has torch's momentum 0.1 like all others, not 0.9, which would keep little but the last batch.
    - Xavier-uniform weights with gain √2, the rule in the authors' file, which they define and never apply; heads too.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.backbones.base import Backbone, Stage, StagePlan
from baselines.backbones.segnet import dropout_layers
from benchmark.errors import UsageError


class WideBlock(nn.Module):
    """x + conv(relu(bn(conv(relu(bn(x)))))), with a 1×1 convolution on the shortcut where the shape changes.

    Dropout, where there is any, is before the second convolution, as in the paper (section 2.4).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, share: float = 0.0) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            *dropout_layers(share),
            nn.Conv2d(outputs, outputs, 3, padding=1, stride=stride),
        )
        self.stride = stride
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
        # The stride is taken before the 1×1 convolution: oneDNN's strided one writes past its memory for fewer than 16
        # channels in channels-last (uxlfoundation/oneDNN issue 6035). The values are the same.
        return self.shortcut(x[..., :: self.stride, :: self.stride]) + self.residual(x)


@dataclass(frozen=True)
class Stem(StagePlan):
    """One 3×3 convolution at the picture's size."""

    def build(self) -> Stage:
        """All of it is the first block."""
        return Stage(nn.Conv2d(self.inputs, self.outputs, 3, padding=1), nn.Identity())

    def shrink(self, x: Tensor) -> Tensor:
        """Pool to the size that a convolution of stride 2 leaves: odd sizes round up."""
        return F.max_pool2d(x, 2, ceil_mode=True)


@dataclass(frozen=True)
class Group(StagePlan):
    """Blocks in a row, the first of which halves the map; ``last`` adds the network's last batch norm and ReLU.

    The whole group is the stage's first block and nothing is left for the rest: where MTAN reads and masks two features
    of a stage, the authors' WRN reads and masks its output. (Reading the first block, as in SegNet, is not theirs.)
    """

    blocks: int = 1
    last: bool = False
    dropout: float = 0.0

    def build(self) -> Stage:
        """All of it is the first block."""
        blocks: list[nn.Module] = [
            WideBlock(a, b, 2 if i == 0 else 1, self.dropout) for i, (a, b) in enumerate(self.channels(self.blocks))
        ]
        end = [nn.BatchNorm2d(self.outputs), nn.ReLU(inplace=True)] if self.last else []
        return Stage(nn.Sequential(*blocks, *end), nn.Identity())

    def shrink(self, x: Tensor) -> Tensor:
        """Pool as the next group's stride does; nothing follows the last group."""
        return x if self.last else F.max_pool2d(x, 2, ceil_mode=True)


def xavier_relu(weight: Tensor) -> Tensor:
    """Xavier uniform for layers behind a ReLU, in place."""
    return nn.init.xavier_uniform_(weight, gain=math.sqrt(2))


def wrn(
    width: int,
    depth: str = "16",
    widening: str = "1",
    *,
    wide: bool = False,
    deep: bool = False,
    dropout: float = 0.0,
) -> Backbone:
    """A stem of ``width`` channels and three groups of ``width`` × ``widening`` × (1, 2, 4).

    Args:
        width: channels of the stem.
        depth: convolutions in a row, 6n + 4 for groups of n blocks.
        widening: channels of the first group per channel of the stem.
        wide: twice the channels in the last group, by analogy with SegNet's wide variant.
        deep: twice the blocks in each group, by analogy with SegNet's deep variant.
        dropout: share of the numbers between a block's two 3×3 convolutions that are left out in training.

    Raises:
        UsageError: depth or widening is not such a number.
    """
    if not (depth.isdecimal() and int(depth) >= 10 and int(depth) % 6 == 4):
        raise UsageError(
            f"a WRN's depth is 6n + 4, such as 10, 16, 22 or 28, not '{depth}': write 'wrn-28' or 'wrn-28-4'"
        )
    if not (widening.isdecimal() and int(widening) >= 1):
        raise UsageError(f"a WRN's widening is a whole number from 1, not '{widening}': write 'wrn-28-4', for instance")
    blocks = (int(depth) - 4) // 6 * (2 if deep else 1)
    first = width * int(widening)
    channels = [width, first, 2 * first, (8 if wide else 4) * first]
    groups = [Group(channels[i], channels[i + 1], blocks=blocks, last=i == 2, dropout=dropout) for i in range(3)]
    return Backbone((Stem(3, width), *groups), (), smallest=8, start=xavier_relu)
