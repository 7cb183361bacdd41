"""MoDo: a double-sampling step on the simplex."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.simplex import nearest_on_simplex, part_of_point
from baselines.weightings.solvers import checked_number
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, SampledWeighting


@WEIGHTINGS.register("modo", version=2)
class MoDo(SampledWeighting):
    """Multi-objective gradient with double sampling (Chen et al., NeurIPS 2023).

    From λ = 1/K, in every step λ ← Π(λ − γ (J_1 J_2ᵀ λ + ρ λ)), with Π the nearest point on the simplex and J_1, J_2
    the gradients of two independent samples, whose product is an unbiased Gramian; d = Σ λ_k g_k with the gradients of
    a third. The weights are λ and sum to 1. Gradients c times as long count as γ times c².

    Products that are not finite give NaN weights and leave λ as it was. A gradient of zero only meets ρ.

    Deviations: the paper's samples are batches of the full size; here a step's batch is cut into three, so that a step
    sees as many pictures, and costs as much, as with any other method. Task-specific parameters get the mean of the
    three parts' gradients, as in LibMTL.

    Absent tasks keep their λ; those of the others keep their sum and act scaled to 1.

    State: λ.

    Args:
        tasks: the tasks, in the order of the losses.
        gamma: γ.
        rho: ρ.

    Raises:
        UsageError: an option is no finite number of at least 0.
    """

    card: ClassVar[Card] = Card(
        paper="Chen, Fernando, Ying, Chen. Three-Way Trade-Off in Multi-Objective Learning: Optimization, "
        "Generalization and Conflict-Avoidance. NeurIPS 2023",
        url="https://openreview.net/forum?id=yPkbdJxQ0o",
        formula="λ ← Π_simplex(λ − γ (J₁J₂ᵀ + ρI) λ); d = J₃ᵀ λ",
        hyperparameters={"gamma": "LibMTL, after the authors' code; TorchJD has 0.1", "rho": "LibMTL and TorchJD"},
        deviations=(
            "the three samples are thirds of one batch, so that a step sees as many pictures as with any other method",
        ),
        sum_of_weights="1",
        bibtex="@inproceedings{chen2023three, title={Three-Way Trade-Off in Multi-Objective Learning: Optimization, "
        "Generalization and Conflict-Avoidance}, author={Chen, Lisha and Fernando, Heshan and Ying, Yiming and Chen, "
        "Tianyi}, booktitle={Advances in Neural Information Processing Systems}, year={2023}}",
    )

    minds_absent: ClassVar[bool] = True
    coefficients: Tensor  # (K,) float64, λ

    def __init__(self, tasks: Sequence[Task], *, gamma: float = 1e-3, rho: float = 0.1) -> None:
        super().__init__(tasks)
        self.gamma = checked_number("modo", "gamma", gamma, zero=True)
        self.rho = checked_number("modo", "rho", rho, zero=True)
        count = len(self.tasks)
        self.register_buffer("coefficients", torch.full((count,), 1 / count, dtype=torch.float64))

    def from_products(self, products: Tensor, losses: Tensor) -> Tensor:
        """(K, K) J_1 J_2ᵀ -> (K,) λ."""
        if not products.isfinite().all():
            return torch.full_like(losses, torch.nan)
        before, total = part_of_point(self.coefficients, self.present)
        moved = before - self.gamma * (products.numpy() @ before + self.rho * before)
        found = torch.from_numpy(nearest_on_simplex(moved))
        self.present.write(self.coefficients, found * total)
        return found.to(products)
