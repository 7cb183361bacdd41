"""The contract of a weighting: from the tasks' losses to the scalar that is differentiated."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task


class Weighting(nn.Module, ABC):
    """How the losses of K tasks are combined. A subclass defines ``weights`` and registers itself with ``WEIGHTINGS``.

    Keyword-only constructor arguments are its options. Learned quantities are parameters (the engine trains them with
    the model's optimiser), everything else that changes during a run is a buffer, so that ``state_dict`` is complete.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @abstractmethod
    def weights(self, losses: Tensor) -> Tensor:
        """The weight of each task's loss in this step, called once a step; the record's curves show them.

        Args:
            losses: (K,) this step's losses in the order of ``tasks``, without graph.

        Returns:
            (K,) weights, attached to the parameters that the weighting learns, if any.
        """

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """The scalar whose gradient is the training direction: by default the weighted sum.

        Args:
            losses: (K,) this step's losses, attached to the model's graph.
            weights: (K,) what ``weights`` gave for them.
        """
        return (weights * losses).sum()

    def epoch_end(self, train_losses: Tensor) -> None:
        """Called after every epoch.

        Args:
            train_losses: (K,) each task's mean training loss over the epoch's steps.
        """


def build_weighting(name: str, tasks: Sequence[Task], **options: Any) -> Weighting:
    """Build a registered weighting for ``tasks``.

    Raises:
        UsageError: the name or an option is unknown; the message lists the known ones.
    """
    return cast(Weighting, WEIGHTINGS[name].build(tasks, **options))
