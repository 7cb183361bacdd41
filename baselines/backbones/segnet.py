"""SegNet (Badrinarayanan, Kendall & Cipolla, PAMI 2017), as Liu, Johns & Davison (CVPR 2019) use it."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.backbones.base import Backbone, Memory, Stage, StagePlan

#: Layers of each level, from the picture down.
LAYERS = (2, 2, 3, 3, 3)


def conv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """CBR: 3×3 convolution with bias, batch norm, ReLU. (B, inputs, H, W) -> (B, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )  # fmt: skip


def dropout_layers(share: float) -> list[nn.Module]:
    """What leaves out a share of a feature's numbers in training; nothing where the share is 0."""
    return [nn.Dropout(share)] if share else []


@dataclass(frozen=True)
class SegNetStage(StagePlan):
    """Two or three layers; in the deep variant a second one of equal width follows each."""

    layers: int = 2
    deep: bool = False
    dropout: float = 0.0

    def build(self) -> Stage:
        """First layer and rest."""
        first, *rest = [self._layer(a, b) for a, b in self.channels(self.layers)]
        return Stage(first, nn.Sequential(*rest, *dropout_layers(self.dropout)))

    def _layer(self, inputs: int, outputs: int) -> nn.Module:
        layer = conv_block(inputs, outputs)
        return nn.Sequential(layer, conv_block(outputs, outputs)) if self.deep else layer


class EncoderStage(SegNetStage):
    """Ends in 2×2 max pooling; an odd last row or column is dropped, as the unpooling will restore it."""

    def leave(self, x: Tensor, memory: Memory) -> Tensor:
        """Pool. (B, C, H, W) -> (B, C, ⌊H/2⌋, ⌊W/2⌋)."""
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        memory.append((indices, x.shape[-2:]))
        return pooled

    def shrink(self, x: Tensor) -> Tensor:
        """Pool. (B, C, H, W) -> (B, C, ⌊H/2⌋, ⌊W/2⌋)."""
        return F.max_pool2d(x, 2)


class DecoderStage(SegNetStage):
    """Begins with max-unpooling by the indices of the same level."""

    def enter(self, x: Tensor, memory: Memory) -> Tensor:
        """Unpool to the size that the encoder saw at this level."""
        indices, size = memory.pop()
        return F.max_unpool2d(x, indices, [2, 2], output_size=size)


def segnet(width: int, *, wide: bool = False, deep: bool = False, dropout: float = 0.0) -> Backbone:
    """Five levels of ``width`` × (1, 2, 4, 8, 8) channels and a decoder that mirrors them.

    Args:
        width: channels of level 0; 64 in the paper.
        wide: twice the channels at level 4.
        deep: every layer followed by one of equal width.
        dropout: share of each stage's numbers that are left out in training.
    """
    channels = [width * factor for factor in (1, 2, 4, 8, 16 if wide else 8)]
    above = [channels[0], *channels[:-1]]  # where decoder stages lead: level i to the channels of level i - 1
    encoder = [
        EncoderStage(inputs, outputs, layers=layers, deep=deep, dropout=dropout)
        for inputs, outputs, layers in zip([3, *channels[:-1]], channels, LAYERS, strict=True)
    ]
    decoder = [
        DecoderStage(inputs, outputs, layers=layers, deep=deep, dropout=dropout)
        for inputs, outputs, layers in zip(channels, above, LAYERS, strict=True)
    ]
    return Backbone(tuple(encoder), tuple(reversed(decoder)), smallest=2 ** len(channels))
