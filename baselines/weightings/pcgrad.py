"""PCGrad: gradients that conflict are projected off each other."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN, RandomOrders
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, GramianWeighting


@WEIGHTINGS.register("pcgrad")
class PCGrad(GramianWeighting):
    """PCGrad, projecting conflicting gradients (Yu et al., NeurIPS 2020, Algorithm 1).

    Every g_i meets all other g_j in a random order of its own; where ⟨g_i', g_j⟩ < 0, the part along g_j is taken away:
    g_i' ← g_i' − ⟨g_i', g_j⟩ / ‖g_j‖² · g_j, with g_i' the gradient as changed so far and g_j the original. The
    direction is Σ g_i'. Each g_i' is held as its K coefficients on the original gradients: the Gramian is enough.

    No hyperparameters. The weights sum to K without conflict, where all are 1 and the direction is that of ``equal``,
    and to more with conflict. A gradient of zero keeps the weight 1. Where the Gramian is not finite, the weights are
    not either.

    State: the generator's. Its seed is drawn from torch's current generator at construction.

    Args:
        tasks: the tasks, in the order of the Gramian.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``on`` is neither.
    """

    card: ClassVar[Card] = Card(
        paper="Yu, Kumar, Gupta, Levine, Hausman, Finn. Gradient Surgery for Multi-Task Learning. NeurIPS 2020",
        url="https://arxiv.org/abs/2001.06782",
        formula="for every i, over all j ≠ i in random order: where ⟨g_i', g_j⟩ < 0, g_i' ← g_i' − ⟨g_i', g_j⟩/‖g_j‖²"
        " g_j; d = Σ g_i'",
        hyperparameters={
            "on": ON_ORIGIN,
        },
        deviations=(
            "each task has a random order of its own, as in the paper: the authors' code throws its shuffled "
            "tensor away, other code has one order for all",
            "draws come from a generator of the weighting's own; public code uses the global one",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{yu2020gradient, title={Gradient Surgery for Multi-Task Learning}, author={Yu, Tianhe "
        "and Kumar, Saurabh and Gupta, Abhishek and Levine, Sergey and Hausman, Karol and Finn, Chelsea}, "
        "booktitle={Advances in Neural Information Processing Systems}, year={2020}}",
    )

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
