"""What a backbone is: plans of stages, from which a sharing pattern builds as many and as wide ones as it needs.

What an encoder leaves for a decoder (indices of maxima, or features that skip the levels below) belongs to one stream:
each decoder reads what the encoder of its own stream left, as it was when it left its stage, before anything that a
sharing pattern does between stages. So with skip connections

- split: there is one stream, and its skips are shared;
- one network per task (single-task, STAN): the skips are the task's own;
- dense: shared and task streams have skips of their own; a task's decoder stage reads concat(own, shared) of two
  features that each hold their stream's skip;
- cross-stitch: skips are not stitched, only the feature that passes from stage to stage is;
- NDDR-CNN: skips are each stream's own, before the reduction;
- MTAN: skips are those of the shared network, before any mask. Its decoder stages read them, and so do the masks there,
  which see what enters a stage. A task's own path, of masked features, skips nothing;
- MMoE, DSelect-k, CGC, PLE: a task's decoder reads the trunk's skips, and those of its own mixtures of experts;
- branched: a branch reads the skips of the branches that it came from; LTB: of the nodes that it came from, mixed as
  the features are;
- PAD-Net, cross-task attention: the tasks' own stages read the skips of the shared ones before them;
- MTI-Net: no decoder, and no skips; its scales are the encoder's features themselves;
- adapters: skips are the task's own; LoRA: as split.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.tasks import Task

#: What one stream's encoder leaves for its own decoder, a stack: indices of the maxima and the size before pooling, or
#: the feature of a level and its size.
Memory = list[tuple[Tensor, torch.Size]]


class Stage(nn.Module):
    """One level of an encoder or a decoder: a first block and the rest."""

    #: Whether the stage comes with a start of its own, which a sharing pattern leaves as it is.
    started: ClassVar[bool] = False

    def __init__(self, first: nn.Module, rest: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.rest = rest

    def forward(self, x: Tensor) -> Tensor:
        """The feature after the whole stage."""
        return self.rest(self.first(x))

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features after the first block and after the whole stage."""
        first = self.first(x)
        return first, self.rest(first)


@dataclass(frozen=True)
class StagePlan(ABC):
    """How to build one stage, and how the map's size changes around it.

    A stream is ``x = plan.leave(stage(plan.enter(x, memory)), memory)`` over the plans of its stages.

    Attributes:
        inputs: channels that enter the stage itself, with those that ``enter`` joins to the feature before.
        outputs: channels that leave.
        middle: channels between the stage's layers; ``outputs`` when None.
    """

    inputs: int
    outputs: int
    middle: int | None = None

    @abstractmethod
    def build(self) -> Stage:
        """A stage with its own parameters."""

    def channels(self, layers: int) -> list[tuple[int, int]]:
        """Channels in and out of each of ``layers`` layers in a row."""
        between = [self.outputs if self.middle is None else self.middle] * (layers - 1)
        ends = [self.inputs, *between, self.outputs]
        return list(pairwise(ends))

    def enter(self, x: Tensor, memory: Memory) -> Tensor:
        """What happens to the map before the stage: its size, and what the encoder left for it."""
        return x

    def leave(self, x: Tensor, memory: Memory) -> Tensor:
        """What happens to the map after the stage: its size, and what is left for the decoder."""
        return x

    def shrink(self, x: Tensor) -> Tensor:
        """Bring a map of this encoder stage's size, of a path beside the stream, to the size of the next level."""
        return x


@dataclass(frozen=True)
class Backbone:
    """A network as a list of stages.

    Attributes:
        encoder: stages from the picture down.
        decoder: stages from the smallest map up to the picture's size; empty where the backbone has none.
        smallest: the least height and width of a picture.
        start: how weights start, where the backbone says so; None leaves it to the sharing pattern.
        scale: pictures are this many times as high and wide as what dense tasks' heads read, which rounds up.
        head: makes a dense task's head from the channels that it reads; None for the sharing pattern's own. With one,
            dense tasks need no decoder.
        normalises: whether the first stage normalises pictures, see ``MultiTaskModel.normalises``.
    """

    encoder: tuple[StagePlan, ...]
    decoder: tuple[StagePlan, ...]
    smallest: int
    start: Callable[[Tensor], Tensor] | None = None
    scale: int = 1
    head: Callable[[int, Task], nn.Module] | None = None
    normalises: bool = False

    def restore(self, x: Tensor, size: torch.Size | None) -> Tensor:
        """Bring a dense head's output to the size of the pictures, ``scale`` times its own where None: bilinear.

        (B, C, h, w) -> (B, C, *size).
        """
        height, width = size or [self.scale * length for length in x.shape[-2:]]
        if x.shape[-2:] == (height, width):
            return x
        return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
