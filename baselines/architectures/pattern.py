"""What every sharing pattern has in common: heads, choice of tasks, initialisation, whose parameters are whose."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baselines.backbones import Backbone, Memory
from baselines.backbones.options import spelled_out
from baselines.backbones.timm_networks import PREFIX
from benchmark.errors import UsageError, unknown
from benchmark.model import MultiTaskModel
from benchmark.tasks import Task


def make_head(inputs: int, task: Task) -> nn.Sequential:
    """Dense tasks: 3×3 convolution, then 1×1, nothing between. Others: global average pooling, then linear."""
    if task.dense:
        return nn.Sequential(nn.Conv2d(inputs, inputs, 3, padding=1), nn.Conv2d(inputs, task.channels, 1))
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, task.channels))


class ByPosition(MultiTaskModel):
    """A model that keeps each task's modules at the task's place in ``tasks``: names may hold any character.

    A subclass whose constructor takes ``**backbone_options`` has the options of ``backbones.options``.

    Raises:
        UsageError: there is no task, or two have one name.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.names = [task.name for task in self.tasks]
        if not self.names:
            raise UsageError("an architecture needs at least one task, found none")
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"tasks need different names, found {', '.join(self.names)}")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if (signature := spelled_out(cls.__init__)) is not None:
            cls.__signature__ = signature  # type: ignore[attr-defined]

    @classmethod
    def packages(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """See ``MultiTaskModel.packages``."""
        return ("timm",) if str(options.get("backbone", "")).startswith(PREFIX) else ()

    def positions(self, tasks: Iterable[str] | None) -> list[int]:
        """Places of the named tasks in ``self.tasks``; all when None."""
        if tasks is None:
            return list(range(len(self.tasks)))
        names = list(tasks)
        for name in names:
            if name not in self.names:
                raise unknown("task", name, self.names)
        return [self.names.index(name) for name in names]


class SharingPattern(ByPosition):
    """K tasks over one backbone; a subclass says how features flow and which modules are a task's own.

    Dense tasks use the backbone's encoder and decoder, tasks that judge whole pictures its encoder alone.

    Raises:
        UsageError: dense and other tasks stand together, or dense tasks on a backbone without decoder.
    """

    def __init__(self, tasks: Sequence[Task], backbone: Backbone) -> None:
        super().__init__(tasks)
        dense = [task.name for task in self.tasks if task.dense]
        if dense and len(dense) < len(self.tasks):
            raise UsageError(
                f"tasks are either all dense or all judge whole pictures; of {', '.join(self.names)} only "
                f"{', '.join(dense)} are dense: train the two groups apart"
            )
        if dense and not backbone.decoder and backbone.head is None:
            raise UsageError(
                f"this backbone has no decoder, but the dense tasks {', '.join(dense)} need one: choose another, such "
                "as segnet"
            )
        self.backbone = backbone
        self.normalises = backbone.normalises
        self.stages = backbone.encoder + (backbone.decoder if dense else ())
        make = backbone.head if dense and backbone.head else make_head
        self.heads = nn.ModuleList(make(self.stages[-1].outputs, task) for task in self.tasks)

    @abstractmethod
    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """What the heads of the ``chosen`` tasks read: for each (B, outputs of the last stage, h, w)."""

    @abstractmethod
    def own(self, k: int) -> list[nn.Module]:
        """The modules besides its head that only task ``k``'s loss reaches when there are several tasks."""

    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """See ``MultiTaskModel.forward``.

        Raises:
            UsageError: a task is unknown, or the pictures are too small for the backbone.
        """
        chosen = self.chosen(images, tasks)
        return self.decide(self.features(images, chosen), chosen, images.shape[-2:])

    def chosen(self, images: Tensor, tasks: Iterable[str] | None) -> list[int]:
        """See ``positions``.

        Raises:
            UsageError: a task is unknown, or the pictures are too small for the backbone.
        """
        least = self.backbone.smallest
        chosen = self.positions(tasks)
        if min(images.shape[-2:]) < least:
            height, width = images.shape[-2:]
            raise UsageError(
                f"pictures of {height}×{width} pixels are too small for this backbone: it needs {least}×{least} or more"
            )
        return chosen

    def run(self, stages: Iterable[nn.Module], x: Tensor, memory: Memory, first: int = 0) -> Tensor:
        """A stream through stages that were built by the plans from the ``first`` on, in their order."""
        for plan, stage in zip(self.stages[first:], stages, strict=False):
            x = plan.leave(stage(plan.enter(x, memory)), memory)
        return x

    def decide(
        self, features: Sequence[Tensor], chosen: Sequence[int], size: torch.Size | None = None
    ) -> dict[str, Tensor]:
        """The predictions of the ``chosen`` tasks from what their heads read, at the ``size`` of the pictures."""
        found = {}
        for k, feature in zip(chosen, features, strict=True):
            task, output = self.tasks[k], self.heads[k](feature)
            found[task.name] = task.finish(self.backbone.restore(output, size) if task.dense else output)
        return found

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """See ``MultiTaskModel.task_parameters``; a single task owns everything."""
        (k,) = self.positions([task])
        modules = [self] if len(self.tasks) == 1 else [self.heads[k], *self.own(k)]
        return [p for module in modules for p in module.parameters()]

    def initialise(self, start: Callable[[Tensor], Tensor] = nn.init.xavier_normal_) -> None:
        """Start all weights anew from torch's current generator; a subclass calls this last in its constructor.

        Weights start by the backbone's rule, else by ``start``; biases at zero; batch norms at 1 and 0, as torch does.
        Stages that come with a start of their own stay as they are.
        """
        start = self.backbone.start or start
        started = {id(part) for stage in self.modules() if getattr(stage, "started", False) for part in stage.modules()}
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and id(module) not in started:
                start(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
