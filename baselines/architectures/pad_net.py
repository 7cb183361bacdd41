"""PAD-Net: predictions in between, whose features tell the other tasks something before the last stage."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines.architectures.distillation import Distillation, make_coarse_head, without
from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Memory, build_backbone, conv_block
from benchmark.errors import UsageError
from benchmark.model import ArchitectureCard, Auxiliary, Flow, Predictions
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


@ARCHITECTURES.register("pad-net", mark=13)
class PADNet(SharingPattern):
    """PAD-Net: a shared network predicts every task once; the features behind that are distilled and predict again.

    Source: Xu et al., "PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for Simultaneous Depth
    Estimation and Scene Parsing", CVPR 2018, with its distillation module C (see ``Distillation``).

    Over a backbone: all stages but the last are shared. A block of each task's own (3×3 convolution, batch norm, ReLU)
    gives its feature F_k, from which its prediction in between is made; distilled features enter the last stage, of
    which every task has its own, and which reads the shared network's skips or indices. Predictions in between have the
    size of the map before the last stage.

    Deviations: features behind the predictions in between are distilled, and the tasks are the data set's, where the
    paper adds contours and normals as tasks in between alone.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        auxiliary_weight: of the loss of a prediction in between in that of its task.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Xu, Ouyang, Wang, Sebe. PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for Simultaneous "
        "Depth Estimation and Scene Parsing. CVPR 2018",
        "https://arxiv.org/abs/1805.04409",
        Flow(("task", "shared", "task"), "exchanges"),
        "@inproceedings{xu2018pad, title={PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for "
        "Simultaneous Depth Estimation and Scene Parsing}, author={Xu, Dan and Ouyang, Wanli and Wang, Xiaogang and "
        "Sebe, Nicu}, booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year={2018}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        auxiliary_weight: float = 1.0,
        **backbone_options: Any,
    ) -> None:
        if not auxiliary_weight >= 0:
            raise UsageError(f"'auxiliary_weight' is at least 0, not {auxiliary_weight}")
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        self.auxiliary_weight = auxiliary_weight
        *shared, last = self.stages
        channels, others = shared[-1].outputs, len(self.tasks) - 1
        self.trunk = nn.ModuleList(plan.build() for plan in shared)
        self.blocks = nn.ModuleList(conv_block(channels, channels) for _ in self.tasks)
        self.coarse = nn.ModuleList(make_coarse_head(channels, task) for task in self.tasks)
        self.distillations = nn.ModuleList(Distillation(channels, others) for _ in self.tasks)
        self.last = nn.ModuleList(last.build() for _ in self.tasks)
        self.initialise()

    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """See ``MultiTaskModel.forward``; in training with the named tasks' predictions in between."""
        chosen = self.chosen(images, tasks)
        between, memory = self.between(images)
        found = self.decide(self.refined(between, memory, chosen), chosen, images.shape[-2:])
        if not self.training:
            return found
        return Predictions(
            found,
            [Auxiliary("initial", self.names[k], self.coarse[k](between[k]), self.auxiliary_weight) for k in chosen],
        )

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each chosen task."""
        return self.refined(*self.between(images), chosen)

    def between(self, images: Tensor) -> tuple[list[Tensor], Memory]:
        """The F_k of all tasks, and what the shared stages leave for the last one."""
        memory: Memory = []
        x = self.run(self.trunk, images, memory)
        return [block(x) for block in self.blocks], memory

    def refined(self, between: Sequence[Tensor], memory: Memory, chosen: Sequence[int]) -> list[Tensor]:
        """What the heads of the chosen tasks read."""
        place = len(self.stages) - 1
        distilled = [self.distillations[k](between[k], without(k, between)) for k in chosen]
        return [self.run([self.last[k]], x, list(memory), place) for k, x in zip(chosen, distilled, strict=True)]

    def own(self, k: int) -> list[nn.Module]:
        """All that follows the features in between: the other tasks read these."""
        return [self.coarse[k], self.distillations[k], self.last[k]]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The convolutions that give the features in between."""
        if len(self.tasks) == 1:
            return []
        return [next(block.parameters()) for block in self.blocks]
