"""Cross-task attention: decoders of each task's own, which look at each other's features before the last stage."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.architectures.distillation import without
from baselines.architectures.experts import check_count
from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Memory, build_backbone
from benchmark.errors import UsageError
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


def project(inputs: int, outputs: int) -> nn.Sequential:
    """1×1 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class PairAttention(nn.Module):
    """What task j tells task i: f_{j→i} = P[α ⊙ attention of f_i to s, σ(A s) ⊙ B s] with s = ReLU(conv f_j).

    The first is guided by correlation: softmax(q(f_i) k(s)ᵀ / √C) v(s) over the positions of maps that are
    ``reduction`` times smaller each way; α, one number a channel, starts at 0. The second is s's attention to itself.

    Args:
        channels: C, of both features.
        reduction: of height and width before positions are compared.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.reduction = reduction
        half = max(1, channels // 2)
        self.extract = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.query, self.key, self.value = (project(channels, channels) for _ in range(3))
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.mask = nn.Conv2d(channels, half, 3, padding=1)
        self.told = nn.Conv2d(channels, half, 3, padding=1)
        self.project = project(channels + half, channels)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """f_i and f_j (B, C, H, W) -> f_{j→i}, the same shape."""
        source = self.extract(other)
        small_own, small = (F.max_pool2d(x, self.reduction, ceil_mode=True) for x in (own, source))
        query, key, value = self.query(small_own), self.key(small).flatten(2), self.value(small).flatten(2)
        scores = query.flatten(2).transpose(1, 2) @ key / math.sqrt(key.shape[1])  # (B, positions of i, of j)
        seen = (value @ scores.softmax(2).transpose(1, 2)).unflatten(2, query.shape[-2:])
        guided = self.alpha.to(seen)[:, None, None] * F.interpolate(seen, size=own.shape[-2:], mode="nearest")
        return self.project(torch.cat((guided, self.mask(source).sigmoid() * self.told(source)), 1))


@ARCHITECTURES.register("cross-task-attention", mark=17)
class CrossTaskAttention(SharingPattern):
    """Cross-task attention (xTAM): a shared encoder, decoders of each task's own, and an exchange of all pairs.

    Source: Lopes, Vu & de Charette, "Cross-task Attention Mechanism for Dense Multi-task Learning", WACV 2023: for each
    pair of tasks attention that is guided by correlation beside self-attention (see ``PairAttention``), and per task a
    projection of its feature joined with what all others tell it.

    Over a backbone, the exchange is before the last stage; the tasks' own stages are the decoder, and at least the last
    two, so that features differ there. Every task reads the shared stages' skips or indices.

    Deviations: one exchange; queries are pooled by their maximum as keys and values are, where the authors' are
    resampled.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        reduction: of maps before positions are compared, whose number squared is the cost.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Lopes, Vu, de Charette. Cross-task Attention Mechanism for Dense Multi-task Learning. WACV 2023",
        "https://arxiv.org/abs/2206.08927",
        Flow(("task", "shared", "task"), "exchanges"),
        "@inproceedings{lopes2023cross, title={Cross-task Attention Mechanism for Dense Multi-task Learning}, "
        "author={Lopes, Ivan and Vu, Tuan-Hung and de Charette, Raoul}, booktitle={IEEE/CVF Winter Conference on "
        "Applications of Computer Vision}, year={2023}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        reduction: int = 4,
        **backbone_options: Any,
    ) -> None:
        check_count("reduction", reduction)
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        if len(self.stages) < 3:
            raise UsageError(f"cross-task attention needs a backbone of 3 or more stages, found {len(self.stages)}")
        depth, count = len(self.backbone.encoder), len(self.tasks)
        self.first = min(depth, len(self.stages) - 2)
        channels = self.stages[-2].outputs
        self.trunk = nn.ModuleList(plan.build() for plan in self.stages[: self.first])
        self.streams = nn.ModuleList(nn.ModuleList(plan.build() for plan in self.stages[self.first :]) for _ in tasks)
        self.pairs = nn.ModuleList(
            nn.ModuleList(PairAttention(channels, reduction) for _ in range(count - 1)) for _ in tasks
        )
        self.joins = nn.ModuleList(project(count * channels, channels) for _ in (tasks if count > 1 else ()))
        self.initialise()

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each chosen task's stream."""
        memory: Memory = []
        x = self.run(self.trunk, images, memory)
        everyone, streams = range(len(self.tasks)), [list(cast(Sequence[nn.Module], s)) for s in self.streams]
        memories = [list(memory) for _ in everyone]
        xs = [self.run(streams[k][:-1], x, memories[k], self.first) for k in everyone]
        if len(everyone) > 1:
            told = {
                k: [
                    pair(xs[k], y)
                    for pair, y in zip(cast(Sequence[nn.Module], self.pairs[k]), without(k, xs), strict=True)
                ]
                for k in chosen
            }
            joined = {k: self.joins[k](torch.cat((xs[k], *told[k]), 1)) for k in chosen}
        else:
            joined = dict(enumerate(xs))
        return [self.run(streams[k][-1:], joined[k], memories[k], len(self.stages) - 1) for k in chosen]

    def own(self, k: int) -> list[nn.Module]:
        """What the task hears, and its last stage; the other tasks read what its stages before give."""
        return [self.pairs[k], self.joins[k], cast(Sequence[nn.Module], self.streams[k])[-1]]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The last layers of all streams before the exchange."""
        if len(self.tasks) == 1:
            return []
        last = [cast(Sequence[nn.Module], stream)[-2] for stream in self.streams]
        return [[p for p in stage.parameters() if p.ndim > 1][-1] for stage in last]
