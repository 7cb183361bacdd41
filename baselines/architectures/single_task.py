"""One network per task, nothing shared: the references of Δm."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines.architectures.pattern import ByPosition, SharingPattern
from baselines.architectures.sources import of_mtan
from baselines.architectures.split import Split
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class OnePerTask(ByPosition):
    """K networks side by side, each a sharing pattern with a single task.

    Summed losses train each exactly as if alone, for no parameter, buffer or random number is common to two of them.
    """

    shares: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[Task], build: Callable[..., SharingPattern], **options: Any) -> None:
        super().__init__(tasks)
        self.networks = nn.ModuleList(build([task], **options) for task in tasks)
        self.normalises = any(network.normalises for network in self.networks)

    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """See ``MultiTaskModel.forward``; runs the named tasks' networks only."""
        return {self.names[k]: self.networks[k](images)[self.names[k]] for k in self.positions(tasks)}

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """The task's network."""
        (k,) = self.positions([task])
        return list(self.networks[k].parameters())


@ARCHITECTURES.register("single-task", mark=0)
class SingleTask(OnePerTask):
    """Single-task: one backbone and one head per task, nothing shared.

    Source: the baselines of Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
    """

    card: ClassVar[ArchitectureCard | None] = of_mtan(Flow(("task", "task")))

    reference: ClassVar[bool] = True

    def __init__(
        self, tasks: Sequence[Task], *, width: int = 64, backbone: str = "segnet", **backbone_options: Any
    ) -> None:
        super().__init__(tasks, Split, width=width, backbone=backbone, **backbone_options)
