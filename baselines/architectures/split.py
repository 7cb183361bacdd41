"""Hard parameter sharing: one network, one head per task."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.architectures.sources import of_mtan
from baselines.backbones import Memory, build_backbone
from benchmark.errors import unknown
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task

VARIANTS = ("standard", "wide", "deep")


@ARCHITECTURES.register("split", mark=7, baseline=True)
@ARCHITECTURES.register("split-wide", mark=2, variant="wide")
@ARCHITECTURES.register("split-deep", mark=3, variant="deep")
class Split(SharingPattern):
    """Split (hard parameter sharing): one network that ends in one head per task.

    Source: the baselines of Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        variant: ``standard``; ``wide``, twice the channels at the deepest level; ``deep``, twice the layers.
    """

    card: ClassVar[ArchitectureCard | None] = of_mtan(Flow(("shared",)))

    has_representation: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        variant: str = "standard",
        **backbone_options: Any,
    ) -> None:
        if variant not in VARIANTS:
            raise unknown("variant of split", str(variant), VARIANTS)
        super().__init__(
            tasks, build_backbone(backbone, width, wide=variant == "wide", deep=variant == "deep", **backbone_options)
        )
        self.trunk = nn.ModuleList(plan.build() for plan in self.stages)
        self.initialise()

    def representation(self, images: Tensor) -> Tensor:
        """The one feature that feeds all heads. (B, 3, H, W) -> (B, outputs of the last stage, h, w)."""
        memory: Memory = []
        x = images
        for plan, stage in zip(self.stages, self.trunk, strict=True):
            x = plan.leave(stage(plan.enter(x, memory)), memory)
        return x

    def predict(
        self, representation: Tensor, tasks: Iterable[str] | None = None, size: torch.Size | None = None
    ) -> dict[str, Tensor]:
        """See ``MultiTaskModel.predict``; ``size`` as in ``predict_at``, by default the largest that fits."""
        chosen = self.positions(tasks)
        return self.decide([representation] * len(chosen), chosen, size)

    def predict_at(self, representation: Tensor, size: torch.Size) -> dict[str, Tensor]:
        """See ``MultiTaskModel.predict_at``."""
        return self.predict(representation, size=size)

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The representation, for every task."""
        return [self.representation(images)] * len(chosen)

    def own(self, k: int) -> list[nn.Module]:
        """Only the head."""
        return []
