"""The contract of an architecture: one module that predicts several tasks and says which parameters they share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class MultiTaskModel(nn.Module, ABC):
    """A network for K tasks.

    A subclass registers itself with ``ARCHITECTURES``; its constructor takes ``tasks`` and keyword-only options, among
    them ``width``, the channels of the backbone's first level.
    """

    #: False where no parameter serves two tasks: then there is nothing to weight.
    shares: ClassVar[bool] = True
    #: True for the architecture that Δm is taken against: it trains every task alone, on the plain backbone.
    reference: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @abstractmethod
    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Predict.

        Args:
            images: (B, 3, H, W) in [0, 1].
            tasks: names of the tasks to predict; all when None.

        Returns:
            Each task's prediction, finished by its kind (``Task.finish``): (B, channels, H, W) for dense kinds,
            (B, channels) for kinds that judge the whole picture.
        """

    @abstractmethod
    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """The parameters that the loss of ``task`` alone reaches."""

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that the losses of more than one task reach: all that are no task's own."""
        own = {id(p) for task in self.tasks for p in self.task_parameters(task.name)}
        return [p for p in self.parameters() if id(p) not in own]


def build_model(architecture: str, tasks: Sequence[Task], **options: Any) -> MultiTaskModel:
    """Build a registered architecture for ``tasks``, freshly initialised from torch's current generator.

    Args:
        architecture: a registered name, such as ``mtan``.
        tasks: what to predict.
        options: the architecture's own, such as ``width`` (64) and ``backbone`` (``segnet``).

    Raises:
        UsageError: the name or an option is unknown; the message lists the known ones.
    """
    return cast(MultiTaskModel, ARCHITECTURES[architecture].build(tasks, **options))
