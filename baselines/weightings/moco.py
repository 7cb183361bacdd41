"""MoCo: min-norm weights on running means of the gradients."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from baselines.matrices import Room, RunningRows, all_finite, chosen, inner_products, nowhere
from baselines.simplex import nearest_on_simplex, part_of_point
from baselines.weightings.solvers import checked_number
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.transfer import brought, sent
from benchmark.weighting import Card, Direction, MatrixWeighting


@WEIGHTINGS.register("moco")
class MoCo(MatrixWeighting):
    """Multi-objective gradient correction (Fernando et al., ICLR 2023).

    In step t, from y = 0 and λ = 1/K:

        y_k ← y_k − β_t (y_k − g_k),   λ ← Π(λ − γ_t (Y Yᵀ + ρ I) λ),   d = Σ λ_k y_k,

    with Π the nearest point on the simplex, β_t = β/t^a and γ_t = γ/t^b. The running means y take the place of the
    gradients, so that the noise of one batch does not bias the weights. The weights are λ, sum to 1, and multiply y.
    They are not free of scale: gradients c times as long count as γ times c².

    Where a gradient is not finite, neither is the direction, and the state stays as it was. A task whose gradient is
    zero keeps its part while its mean fades.

    Deviations: λ is projected as in the paper and in its authors' code; LibMTL applies a softmax to λ, which pulls it
    to uniform in every step. The authors' code has 2 γ_t Y Yᵀ, the paper γ_t. LibMTL first scales every gradient to the
    length of its loss; ``scaled`` does so, the default is the paper's plain gradients. Task-specific parameters get
    their own task's plain gradient, as in LibMTL.

    Absent tasks keep their y and λ; the λ of the others keep their sum and act scaled to 1.

    State: y, λ, the number of steps.

    Args:
        tasks: the tasks, in the order of the losses.
        beta: β, from 0 to 1.
        beta_decay: a.
        gamma: γ.
        gamma_decay: b.
        rho: ρ.
        scaled: whether a gradient is first given the length of its loss.

    Raises:
        UsageError: an option is out of its range.
    """

    card: ClassVar[Card] = Card(
        paper="Fernando, Shen, Liu, Chaudhury, Murugesan, Chen. Mitigating Gradient Bias in Multi-objective Learning: "
        "A Provably Convergent Approach. ICLR 2023",
        url="https://openreview.net/forum?id=dLAYGdKTi2",
        formula="y_k ← y_k − β_t (y_k − g_k); λ ← Π_simplex(λ − γ_t (YYᵀ + ρI) λ); d = Σ λ_k y_k",
        hyperparameters={
            "beta": "LibMTL; 0.99 in the authors' command for NYUv2",
            "beta_decay": "LibMTL; 0 in the authors' command for NYUv2",
            "gamma": "LibMTL, and the authors' command for NYUv2",
            "gamma_decay": "LibMTL; 0 in the authors' command for NYUv2",
            "rho": "LibMTL; absent in the authors' code",
            "scaled": "the paper's formula; LibMTL scales",
        },
        deviations=(
            "LibMTL replaces the projection by a softmax and scales gradients to the length of their losses; both are "
            "left out by default, as in the paper",
            "the authors' code takes twice the paper's step on λ; the paper's is kept",
        ),
        sum_of_weights="1",
        bibtex="@inproceedings{fernando2023mitigating, title={Mitigating Gradient Bias in Multi-objective Learning: A "
        "Provably Convergent Approach}, author={Fernando, Heshan and Shen, Han and Liu, Miao and Chaudhury, Subhajit "
        "and Murugesan, Keerthiram and Chen, Tianyi}, booktitle={International Conference on Learning "
        "Representations}, year={2023}}",
    )

    minds_absent: ClassVar[bool] = True
    on_host = ("coefficients", "steps")
    coefficients: Tensor  # (K,) float64, λ
    steps: Tensor  # () int64

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        beta: float = 0.5,
        beta_decay: float = 0.5,
        gamma: float = 0.1,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
        scaled: bool = False,
    ) -> None:
        super().__init__(tasks)
        self.beta = checked_number("moco", "beta", beta, zero=False)
        if self.beta > 1:
            raise UsageError(f"'moco' needs a number above 0 and up to 1 as 'beta', found {beta!r}")
        self.beta_decay = checked_number("moco", "beta_decay", beta_decay, zero=True)
        self.gamma = checked_number("moco", "gamma", gamma, zero=True)
        self.gamma_decay = checked_number("moco", "gamma_decay", gamma_decay, zero=True)
        self.rho = checked_number("moco", "rho", rho, zero=True)
        if not isinstance(scaled, bool):
            raise UsageError(f"'moco' needs true or false as 'scaled', found {scaled!r}")
        self.scaled = scaled
        count = len(self.tasks)
        self.means, self._room = RunningRows(count), Room()
        self.register_buffer("coefficients", torch.full((count,), 1 / count, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def allocate(self, columns: int) -> None:
        """See ``MatrixWeighting.allocate``."""
        self.means.allocate(columns)

    def from_gradients(self, gradients: Tensor, losses: Tensor) -> Direction:
        """(K, P) gradients -> the combination of their running means."""
        finite, step = all_finite(gradients), int(self.steps) + 1
        if finite is False:
            return nowhere(gradients)
        kept, share = self.means.like(gradients), self.beta / step**self.beta_decay
        means = self.present.rows(kept)
        for mean, gradient, loss in zip(means, gradients, losses, strict=True):
            mean.lerp_(chosen(finite, _of_length(gradient, loss) if self.scaled else gradient, mean), share)
        self.present.write(kept, means)
        products = inner_products(means)
        if isinstance(finite, Tensor):
            products, finite = brought(products, finite.to(products))
            if not finite:
                return nowhere(gradients)
        self.steps.fill_(step)
        pull = products.numpy()
        before, total = part_of_point(self.coefficients, self.present)
        with np.errstate(all="ignore"):
            moved = before - self.gamma / step**self.gamma_decay * (pull @ before + self.rho * before)
        if not np.isfinite(moved).all():  # products beyond float32
            return nowhere(gradients)
        found = torch.from_numpy(nearest_on_simplex(moved))
        self.present.write(self.coefficients, found * total)
        weights = sent(found, gradients.device).to(gradients)
        return Direction(torch.mv(means.T, weights, out=self._room.like(means[0])), weights)


def _of_length(gradient: Tensor, length: Tensor) -> Tensor:
    """The gradient (P,) at another length; zero stays zero."""
    norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)
    return gradient * torch.where(norm > 0, length / norm, 0).to(gradient)
