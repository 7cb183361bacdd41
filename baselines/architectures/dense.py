"""Dense: a shared stream whose every feature each task's own stream reads as well."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.architectures.sources import of_mtan
from baselines.backbones import Memory, Stage, build_backbone
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


@ARCHITECTURES.register("dense", mark=4)
class Dense(SharingPattern):
    """Dense: one shared stream and one per task; stages of a task's stream read its own and the shared feature.

    Source: a baseline of Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019
    (github.com/lorenmt/mtan, ``im2im_pred/model_segnet_dense.py``), after Huang et al.'s DenseNet (CVPR 2017).

    Every stream is the backbone. Past the first stage, a task's stage reads concat(own, shared) of the two features
    that enter it, unpooled (in the decoder) by each stream's own indices, or joined with its own skip connections; the
    decoder's last stage keeps the doubled channels up to its last layer. The rule needs no decoder: on a WRN, groups
    read the joined features.

    Deviation: the shared stream ends before the last stage, whose output nothing would read (the authors build a dead
    decoder block there: 44,583 parameters at 13 classes).

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
    """

    card: ClassVar[ArchitectureCard | None] = of_mtan(Flow(("task", "shared", "task"), "feeds"))

    def __init__(
        self, tasks: Sequence[Task], *, width: int = 64, backbone: str = "segnet", **backbone_options: Any
    ) -> None:
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        first, *later = self.stages
        joined = [first, *(replace(plan, inputs=2 * plan.inputs) for plan in later)]
        if len(joined) > len(self.backbone.encoder):
            joined[-1] = replace(joined[-1], middle=joined[-1].inputs)
        self.shared = nn.ModuleList(plan.build() for plan in self.stages[:-1])
        self.streams = nn.ModuleList(nn.ModuleList(plan.build() for plan in joined) for _ in self.tasks)
        self.initialise(nn.init.xavier_uniform_)

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each task's stream."""
        streams = cast(Sequence[Sequence[Stage]], self.streams)
        shared_memory: Memory = []
        memories: list[Memory] = [[] for _ in chosen]
        shared, xs = images, [images] * len(chosen)
        for s, plan in enumerate(self.stages):
            shared = plan.enter(shared, shared_memory)
            xs = [plan.enter(x, memory) for x, memory in zip(xs, memories, strict=True)]
            if s > 0:
                xs = [torch.cat((x, shared), 1) for x in xs]
            xs = [streams[k][s](x) for k, x in zip(chosen, xs, strict=True)]
            xs = [plan.leave(x, memory) for x, memory in zip(xs, memories, strict=True)]
            if s < len(self.shared):
                shared = plan.leave(self.shared[s](shared), shared_memory)
        return xs

    def own(self, k: int) -> list[nn.Module]:
        """The task's stream."""
        return [self.streams[k]]
