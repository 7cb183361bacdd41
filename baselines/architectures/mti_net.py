"""MTI-Net: tasks are predicted and distilled at several scales of the encoder, from the coarsest to the finest."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.architectures.distillation import Distillation, Propagation, make_coarse_head, without
from baselines.architectures.experts import check_count
from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Memory, build_backbone, conv_block
from benchmark.errors import UsageError
from benchmark.model import ArchitectureCard, Auxiliary, Flow, Predictions
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class Scale(nn.Module):
    """One scale: each task's feature, its prediction, and what the other tasks tell it."""

    def __init__(self, tasks: Sequence[Task], inputs: int, channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(conv_block(inputs, channels) for _ in tasks)
        self.coarse = nn.ModuleList(make_coarse_head(channels, task) for task in tasks)
        self.distillations = nn.ModuleList(Distillation(channels, len(tasks) - 1) for _ in tasks)


@ARCHITECTURES.register("mti-net", mark=14)
class MTINet(SharingPattern):
    """MTI-Net: at each of the encoder's last scales every task is predicted and distilled, the coarser scales first.

    Source: Vandenhende, Georgoulis & Van Gool, "MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task
    Learning", ECCV 2020: initial predictions and distillation at every scale, feature propagation from coarse to fine,
    and aggregation of all scales for the final prediction.

    Over a backbone, the scales are the outputs of the encoder's last stages, before they are pooled; the backbone's
    decoder is not used. A task's feature at a scale is a block (3×3 convolution, batch norm, ReLU) of the encoder's
    feature, joined below the coarsest scale with what is propagated, enlarged bilinearly. Distilled features are
    brought to the finest scale, joined, and read by the head through one more block.

    Deviations: blocks are one convolution, where the authors have two residual blocks; distillation is PAD-Net's module
    C (see ``Distillation``), whose attention is the reading task's.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        scales: how many; all of an encoder with fewer stages.
        auxiliary_weight: of the loss of a prediction at a scale in that of its task.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Vandenhende, Georgoulis, Van Gool. MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task Learning. "
        "ECCV 2020",
        "https://arxiv.org/abs/2001.06902",
        Flow(("task", "shared", "task"), "exchanges"),
        "@inproceedings{vandenhende2020mti, title={MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task "
        "Learning}, author={Vandenhende, Simon and Georgoulis, Stamatios and Van Gool, Luc}, booktitle={European "
        "Conference on Computer Vision}, year={2020}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        scales: int = 4,
        auxiliary_weight: float = 1.0,
        **backbone_options: Any,
    ) -> None:
        check_count("scales", scales)
        if not auxiliary_weight >= 0:
            raise UsageError(f"'auxiliary_weight' is at least 0, not {auxiliary_weight}")
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        self.auxiliary_weight = auxiliary_weight
        encoder = self.backbone.encoder
        channels = [plan.outputs for plan in encoder[-scales:]]
        below = [*channels[1:], 0]  # what is propagated to each scale
        self.trunk = nn.ModuleList(plan.build() for plan in encoder)
        self.scales = nn.ModuleList(Scale(self.tasks, a + b, a) for a, b in zip(channels, below, strict=True))
        several = len(self.tasks) > 1
        self.propagations = nn.ModuleList(
            Propagation(len(self.tasks), c) if several else nn.Identity() for c in channels[1:]
        )
        outputs = self.stages[-1].outputs
        self.joins = nn.ModuleList(conv_block(sum(channels), outputs) for _ in self.tasks)
        self.initialise()

    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """See ``MultiTaskModel.forward``; in training with the named tasks' predictions at each scale."""
        chosen = self.chosen(images, tasks)
        between = self.between(images)
        found = self.decide(self.refined(between, chosen), chosen, images.shape[-2:])
        if not self.training:
            return found
        scales = cast(Sequence[Scale], self.scales)
        further = [
            Auxiliary(f"scale {s}", self.names[k], scale.coarse[k](features[k]), self.auxiliary_weight)
            for s, (scale, features) in enumerate(zip(scales, between, strict=True), 1)
            for k in chosen
        ]
        return Predictions(found, further)

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The joined scales of each chosen task."""
        return self.refined(self.between(images), chosen)

    def between(self, images: Tensor) -> list[list[Tensor]]:
        """By scale, the finest first, all tasks' features before distillation."""
        scales = cast(Sequence[Scale], self.scales)
        memory: Memory = []
        x, left = images, []
        for plan, stage in zip(self.backbone.encoder, self.trunk, strict=True):
            left.append(stage(plan.enter(x, memory)))
            x = plan.leave(left[-1], memory)
        features: list[list[Tensor]] = []
        for s, (scale, own) in enumerate(reversed(list(zip(scales, left[-len(scales) :], strict=True)))):
            entered = [own] * len(self.tasks)
            if s:
                told = features[-1] if len(self.tasks) == 1 else self.propagations[-s](features[-1])
                entered = [torch.cat((own, enlarged(y, own.shape[-2:])), 1) for y in told]
            features.append([block(y) for block, y in zip(scale.blocks, entered, strict=True)])
        return features[::-1]

    def refined(self, between: Sequence[Sequence[Tensor]], chosen: Sequence[int]) -> list[Tensor]:
        """What the heads of the chosen tasks read."""
        scales, size = cast(Sequence[Scale], self.scales), between[0][0].shape[-2:]
        found = []
        for k in chosen:
            distilled = [
                scale.distillations[k](features[k], without(k, features))
                for scale, features in zip(scales, between, strict=True)
            ]
            found.append(self.joins[k](torch.cat([enlarged(y, size) for y in distilled], 1)))
        return found

    def own(self, k: int) -> list[nn.Module]:
        """Predictions at the scales, distillation and all after it; the other tasks read the features before it."""
        scales = cast(Sequence[Scale], self.scales)
        return [self.joins[k], *(module for scale in scales for module in (scale.coarse[k], scale.distillations[k]))]


def enlarged(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear. (B, C, h, w) -> (B, C, *size)."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
