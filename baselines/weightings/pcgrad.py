"""PCGrad: gradients that conflict are projected off each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.gramians import RandomOrders
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import GramianWeighting


@WEIGHTINGS.register("pcgrad")
class PCGrad(GramianWeighting):
    """PCGrad, projecting conflicting gradients (Yu et al., NeurIPS 2020, Algorithm 1).

    Every g_i meets all other g_j in a random order of its own; where ⟨g_i', g_j⟩ < 0, the part along g_j is taken away:
    g_i' ← g_i' − ⟨g_i', g_j⟩ / ‖g_j‖² · g_j, with g_i' the gradient as changed so far and g_j the original. The
    direction is Σ g_i'. Each g_i' is held as its K coefficients on the original gradients: the Gramian is enough.

    No hyperparameters. The weights sum to K without conflict, where all are 1 and the direction is that of ``equal``,
    and to more with conflict. A gradient of zero keeps the weight 1. Where the Gramian is not finite, the weights are
    not either.

    Deviations from official codes: the authors' TensorFlow code throws its shuffled tensor away and goes through the
    tasks in a fixed order, others use one order for all tasks or the global generator; here each task has its own
    order, as in the paper, from a generator that is saved with the weighting. As there, task-specific parameters get
    their own task's plain gradient.

    State: the generator's. Its seed is drawn from torch's current generator at construction.

    Args:
        tasks: the tasks, in the order of the Gramian.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``on`` is neither.
    """

    def __init__(self, tasks: Sequence[Task], *, on: str = "parameters") -> None:
        super().__init__(tasks, on=on)
        self.orders = RandomOrders()

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) the sum of the projected gradients' coefficients."""
        if not gramian.isfinite().all():
            return torch.full_like(losses, torch.nan)
        mixed = torch.eye(len(gramian), dtype=gramian.dtype)  # row i: coefficients of g_i'
        for row, others in zip(mixed, self.orders.others(len(gramian)), strict=True):
            for j in others:
                product = row @ gramian[j]
                if product < 0 and gramian[j, j] > 0:
                    row[j] -= product / gramian[j, j]
        return mixed.sum(0)
