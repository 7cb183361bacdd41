"""Single-Task Attention Network: what MTAN's attention is worth without any sharing."""

from collections.abc import Sequence
from typing import Any, ClassVar

from baselines.architectures.mtan import MTAN
from baselines.architectures.single_task import OnePerTask
from baselines.architectures.sources import of_mtan
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


@ARCHITECTURES.register("stan", mark=1)
class STAN(OnePerTask):
    """STAN: one MTAN with a single task for each task, nothing shared.

    Source: Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
    """

    card: ClassVar[ArchitectureCard | None] = of_mtan(Flow(("task", "task"), "own masks"))

    def __init__(
        self, tasks: Sequence[Task], *, width: int = 64, backbone: str = "segnet", **backbone_options: Any
    ) -> None:
        super().__init__(tasks, MTAN, width=width, backbone=backbone, **backbone_options)
