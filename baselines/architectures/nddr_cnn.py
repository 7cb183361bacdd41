"""NDDR-CNN: one stream per task, joined after every stage by a learned reduction of all tasks' channels."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Memory, Stage, build_backbone
from benchmark.errors import UsageError
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class Reduction(nn.Sequential):
    """1×1 convolution, batch norm, ReLU. (B, K·C, H, W), all tasks' features -> (B, C, H, W), one task's."""

    def __init__(self, tasks: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(tasks * channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )  # fmt: skip

    def initialise(self, k: int, alpha: float, beta: float) -> None:
        """α times the own channel and β times the mean of the other tasks' channels of the same number."""
        convolution = cast(nn.Conv2d, self[0])
        channels = convolution.out_channels
        tasks = convolution.in_channels // channels
        shares = [alpha if j == k else beta / (tasks - 1) for j in range(tasks)]
        with torch.no_grad():
            convolution.weight.copy_(torch.cat([s * torch.eye(channels) for s in shares], 1)[:, :, None, None])


@ARCHITECTURES.register("nddr-cnn", mark=12)
class NDDRCNN(SharingPattern):
    """NDDR-CNN: one backbone per task; after every stage each stream goes on with a reduction of all tasks' features.

    Source: Gao et al., "NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural Discriminative Dimensionality
    Reduction", CVPR 2019: a 1×1 convolution and batch norm on the concatenated features, which starts as α times the
    own and β times the others' channels.

    Reductions sit wherever a feature leaves a stage, after pooling where the encoder pools, the last stage's before the
    heads among them. Skip connections and indices are those of each stream's own stages, before the reduction.

    Deviation: with more than two tasks, the others share β, so that α + β stays the same.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        alpha: of the own channels at the start.
        beta: of the other tasks' channels, in all.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Gao, Ma, Zhao, Liu, Yuille. NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural Discriminative "
        "Dimensionality Reduction. CVPR 2019",
        "https://arxiv.org/abs/1801.08297",
        Flow(("task", "task"), "mixes"),
        "@inproceedings{gao2019nddr, title={NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural "
        "Discriminative Dimensionality Reduction}, author={Gao, Yuan and Ma, Jiayi and Zhao, Mingbo and Liu, Wei and "
        "Yuille, Alan L.}, booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year={2019}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        alpha: float = 0.9,
        beta: float = 0.1,
        **backbone_options: Any,
    ) -> None:
        if not (alpha > 0 and beta >= 0):
            raise UsageError(f"'alpha' is above 0 and 'beta' at least 0; found {alpha} and {beta}")
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        count = len(self.tasks)
        self.streams = nn.ModuleList(nn.ModuleList(plan.build() for plan in self.stages) for _ in self.tasks)
        self.reductions = nn.ModuleList(
            nn.ModuleList(Reduction(count, plan.outputs) for _ in self.tasks) for plan in self.stages
        )
        self.initialise()
        for place in cast(Sequence[Sequence[Reduction]], self.reductions):
            for k, reduction in enumerate(place):
                reduction.initialise(k, alpha, beta)

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """What the last reduction gives to each chosen task."""
        streams = cast(Sequence[Sequence[Stage]], self.streams)
        everyone = range(len(self.tasks))
        memories: list[Memory] = [[] for _ in everyone]
        xs = [images] * len(everyone)
        for s, (plan, place) in enumerate(zip(self.stages, self.reductions, strict=True)):
            reductions = cast(Sequence[nn.Module], place)
            xs = [plan.leave(streams[k][s](plan.enter(xs[k], memories[k])), memories[k]) for k in everyone]
            joined = torch.cat(xs, 1)
            last = s == len(self.stages) - 1
            xs = [reductions[k](joined) for k in (chosen if last else everyone)]
        return xs

    def own(self, k: int) -> list[nn.Module]:
        """The last reduction to the task's stream: all before reaches other streams."""
        return [cast(Sequence[nn.Module], self.reductions[-1])[k]]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The last layers of all streams, which the last reductions join."""
        if len(self.tasks) == 1:
            return []
        last = [cast(Sequence[nn.Module], stream)[-1] for stream in self.streams]
        return [[p for p in stage.parameters() if p.ndim > 1][-1] for stage in last]
