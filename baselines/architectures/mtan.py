"""Multi-Task Attention Network: a shared network from whose stages each task masks what it needs."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.architectures.sources import of_mtan
from baselines.backbones import Memory, Stage, build_backbone, conv_block
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class Attention(nn.Sequential):
    """Att: joined features of one size to a mask: 1×1 conv, batch norm, ReLU, 1×1 conv, batch norm, sigmoid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 1),
            nn.BatchNorm2d(outputs),
            nn.Sigmoid(),
        )

    def forward(self, *features: Tensor) -> Tensor:
        """Features (B, Cᵢ, H, W) with ΣCᵢ = inputs -> (B, outputs, H, W)."""
        return super().forward(torch.cat(features, 1) if len(features) > 1 else features[0])


@ARCHITECTURES.register("mtan", mark=6)
class MTAN(SharingPattern):
    """MTAN: a shared network and, for each task, soft attention masks on every stage of it.

    Source: Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019 (github.com/lorenmt/mtan).
    Written u and p for the shared features after a stage's first block and after all of it, and a for task k's path:

    - encoder: a ← shrink(F(Att(u, a) · p)), where the first stage has no a yet, and shrink pools as the backbone does;
    - decoder: a ← Att(x, b) · p with x the feature that enters the stage, unpooled or with the shared network's skip
      connection, and b = G(upsample(a)), bilinear;
    - the head reads the last a.

    Masks belong to a task; the transforms F and G, 3×3 convolution with batch norm and ReLU, serve all tasks.
    A backbone without decoder carries the encoder half, as in the paper's Visual Decathlon experiment: on a WRN,
    masks on the stem and the three groups, u = p = the group's output, and the head reads a after the last F.

    Deviation: upsampling aims at the size of the unpooled feature, not at twice the map, so that sizes that 32 does not
    divide work; where 32 divides them nothing changes.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
    """

    card: ClassVar[ArchitectureCard | None] = of_mtan(Flow(("task", "shared", "task"), "masks"))

    def __init__(
        self, tasks: Sequence[Task], *, width: int = 64, backbone: str = "segnet", **backbone_options: Any
    ) -> None:
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        self.trunk = nn.ModuleList(plan.build() for plan in self.stages)
        encoder, decoder = self.backbone.encoder, self.stages[len(self.backbone.encoder) :]
        reach = [plan.outputs for plan in encoder]
        path = [reach[-1], *(plan.outputs for plan in decoder)]  # channels before and after each decoder stage
        self.transforms = nn.ModuleList(
            [conv_block(a, b) for a, b in zip(reach, [*reach[1:], reach[-1]], strict=True)]
            + [conv_block(a, b) for a, b in pairwise(path)]
        )
        masks = [(reach[0], reach[0])] + [(2 * f, f) for f in reach[1:]]
        masks += [(plan.inputs + plan.outputs, plan.outputs) for plan in decoder]
        self.attention = nn.ModuleList(nn.ModuleList(Attention(a, b) for a, b in masks) for _ in self.tasks)
        self.initialise()

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last masked (encoder alone: transformed) feature of each task."""
        return self._follow(images, chosen)

    def attention_masks(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, dict[str, Tensor]]:
        """Every level's masks: ``encoder 1`` … from the largest map down, then ``decoder 1`` … back up."""
        chosen = self.positions(tasks)
        found: dict[str, dict[str, Tensor]] = {self.names[k]: {} for k in chosen}
        depth = len(self.backbone.encoder)

        def keep(level: int, masks: list[Tensor]) -> None:
            name = f"encoder {level + 1}" if level < depth else f"decoder {level - depth + 1}"
            for k, mask in zip(chosen, masks, strict=True):
                found[self.names[k]][name] = mask

        self._follow(images, chosen, keep)
        return found

    def _follow(
        self,
        images: Tensor,
        chosen: Sequence[int],
        seen: Callable[[int, list[Tensor]], None] = lambda level, masks: None,
    ) -> list[Tensor]:
        """See ``features``; ``seen`` is told every level's masks, those of the encoder counted first."""
        memory: Memory = []
        levels = list(zip(self.stages, cast(Iterable[Stage], self.trunk), self.transforms, strict=True))
        depth = len(self.backbone.encoder)
        x = images
        paths: list[tuple[Tensor, ...]] = [() for _ in chosen]  # for each task nothing yet, then one feature
        for level, (plan, stage, transform) in enumerate(levels[:depth]):
            u, p = stage.parts(plan.enter(x, memory))
            x = plan.leave(p, memory)
            masks = self._masks(level, u, chosen, paths)
            seen(level, masks)
            paths = [(plan.shrink(transform(mask * p)),) for mask in masks]
        for level, (plan, stage, transform) in enumerate(levels[depth:], depth):
            x = plan.enter(x, memory)
            paths = [(transform(upsample(a, x.shape[-2:])),) for (a,) in paths]
            masks = self._masks(level, x, chosen, paths)
            seen(level, masks)
            x = stage(x)
            paths = [(mask * x,) for mask in masks]
        return [a for (a,) in paths]

    def _masks(
        self, level: int, shared: Tensor, chosen: Sequence[int], paths: list[tuple[Tensor, ...]]
    ) -> list[Tensor]:
        """Every chosen task's mask at one level, from a shared feature and, past the first level, its own path."""
        attention = cast(Sequence[Sequence[Attention]], self.attention)
        return [attention[k][level](shared, *path) for k, path in zip(chosen, paths, strict=True)]

    def own(self, k: int) -> list[nn.Module]:
        """The task's masks."""
        return [self.attention[k]]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The last layer whose output reaches a head through nothing but a task's own modules.

        With a decoder it ends the trunk: its feature, masked, is what the heads read; the last transform shapes masks
        only. Without one it is the last transform, which the heads read.
        """
        decoded = len(self.stages) > len(self.backbone.encoder)
        module = self.trunk[-1] if decoded else self.transforms[-1]
        return [] if len(self.tasks) == 1 else [p for p in module.parameters() if p.ndim > 1][-1:]


def upsample(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear, with aligned corners. (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
