"""The contracts of a weighting: from losses, or from the Gramian of the tasks' gradients."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
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


class GramianWeighting(Weighting):
    """Weights that are a function of the inner products of the per-task gradients, and of the losses.

    The engine computes the gradients g_k of the losses over the shared parameters, moves these by Σ w_k g_k, and gives
    every task-specific parameter its own task's plain gradient. A subclass defines ``from_gramian``; one whose solver
    can fail counts its failures in an integer buffer ``fallbacks``, which goes into the record.
    """

    @abstractmethod
    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """The weight of each task's gradient, called once a step.

        Args:
            gramian: (K, K) inner products ⟨g_i, g_j⟩ in float64, on the CPU.
            losses: (K,) this step's losses in float64, on the CPU.

        Returns:
            (K,) weights in float64, on the CPU.
        """

    def weights(self, losses: Tensor) -> Tensor:
        """Not defined: without gradients there are no weights."""
        raise TypeError(f"{type(self).__name__} needs gradients; losses alone do not give its weights")


def aggregate(name: str, gradients: Tensor, *, losses: Tensor | None = None, **options: Any) -> Tensor:
    """The direction along which a weighting would move the shared parameters.

    Args:
        name: a registered weighting.
        gradients: (K, P) one row per task.
        losses: (K,) for weightings that look at them; ones when None.
        options: the weighting's own.

    Returns:
        (P,) the direction d; an optimiser steps along −d.

    Raises:
        UsageError: the name or an option is unknown.
    """
    count = len(gradients)
    weighting = build_weighting(name, [Task(f"task{k}", "depth", 1) for k in range(count)], **options)
    known = torch.ones(count) if losses is None else losses.detach()
    if isinstance(weighting, GramianWeighting):
        exact = gradients.detach().double()
        weights = weighting.from_gramian((exact @ exact.T).cpu(), known.double().cpu())
    else:
        weights = weighting.weights(known).detach()
    return weights.to(gradients) @ gradients


def build_weighting(name: str, tasks: Sequence[Task], **options: Any) -> Weighting:
    """Build a registered weighting for ``tasks``.

    Raises:
        UsageError: the name or an option is unknown; the message lists the known ones.
    """
    return cast(Weighting, WEIGHTINGS[name].build(tasks, **options))
