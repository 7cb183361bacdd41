"""Gradient Vaccine: gradients are turned toward each other up to a running target of their cosine."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN, RandomOrders
from benchmark.errors import UsageError
from benchmark.exact import sqrt
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, GramianWeighting

#: Targets count as no closer to 1: at 1 a correction would be infinitely long. Cosines in float32 tell no more apart.
LARGEST_TARGET = 1 - 1e-6
#: A changed gradient shorter than this share (squared) of its parts is a cancellation and has no direction.
CANCELLED = 1e-12


@WEIGHTINGS.register("gradvac")
class GradVac(GramianWeighting):
    """Gradient Vaccine (Wang et al., ICLR 2021, Algorithm 1) on the whole of the shared parameters.

    Every g_i meets all other g_j in a random order of its own. With c the cosine of g_i', the gradient as changed so
    far, and the original g_j, and φ_ij the pair's target, which starts at 0: where c < φ_ij,

        g_i' ← g_i' + ‖g_i'‖ (φ_ij √(1−c²) − c √(1−φ_ij²)) / (‖g_j‖ √(1−φ_ij²)) · g_j,

    after which their cosine is φ_ij; in every case φ_ij ← (1−β) φ_ij + β c, with c from before the correction. The
    direction is Σ g_i'. In the first step this is PCGrad.

    The weights sum to K where no pair is below its target, and to more elsewhere. A pair in which one gradient is zero
    has no cosine: it is left alone, and so is its target. Targets count as at most 1 − 10⁻⁶, so that weights stay
    finite after gradients that were parallel for long. Where the Gramian is not finite, neither are the weights, and
    the targets stay as they were.

    Pairs with an absent task keep their targets.

    State: the targets and the generator's state; its seed is drawn from torch's current generator at construction.

    Args:
        tasks: the tasks, in the order of the Gramian.
        beta: β, how fast targets follow, from 0 (never: PCGrad) to 1.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``beta`` is not a number from 0 to 1, or ``on`` neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Wang, Tsvetkov, Firat, Cao. Gradient Vaccine: Investigating and Improving Multi-task Optimization "
        "in Massively Multilingual Models. ICLR 2021",
        url="https://arxiv.org/abs/2010.05874",
        formula="for every i, over all j ≠ i in random order: g_i' is turned toward g_j until their cosine is at "
        "least φ_ij; φ_ij ← (1−β) φ_ij + β cos; d = Σ g_i'",
        hyperparameters={
            "beta": "LibMTL, SamsungLabs and TorchJD; the paper has 0.01",
            "on": ON_ORIGIN,
        },
        deviations=(
            "one target for the whole model, as in public code; the paper has one for every group of parameters",
            "a target follows the cosine in every step, as in the paper; in SamsungLabs' code only when it "
            "corrects, so that targets never rise",
            "draws come from a generator of the weighting's own; public code uses the global one",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{wang2021gradient, title={Gradient Vaccine: Investigating and Improving Multi-task "
        "Optimization in Massively Multilingual Models}, author={Wang, Zirui and Tsvetkov, Yulia and Firat, "
        "Orhan and Cao, Yuan}, booktitle={International Conference on Learning Representations}, year={2021}}",
    )

    minds_absent: ClassVar[bool] = True
    targets: Tensor  # (K, K) float64

    def __init__(self, tasks: Sequence[Task], *, beta: float = 0.5, on: str = "parameters") -> None:
        super().__init__(tasks, on=on)
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta <= 1:
            raise UsageError(f"'gradvac' needs a number from 0 to 1 as 'beta', found {beta!r}")
        self.beta = float(beta)
        self.orders = RandomOrders()
        count = len(self.tasks)
        self.register_buffer("targets", torch.zeros(count, count, dtype=torch.float64))

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) the sum of the changed gradients' coefficients; moves the targets."""
        if not gramian.isfinite().all():
            return torch.full_like(losses, torch.nan)
        norms = sqrt(gramian.diagonal().clamp(min=0))
        mixed = torch.eye(len(gramian), dtype=gramian.dtype)  # row i: coefficients of g_i'
        targets = self.present.square(self.targets.cpu())
        for i, others in enumerate(self.orders.others(len(gramian))):
            for j in others:
                self._meet(mixed[i], j, targets[i], gramian=gramian, norms=norms)
        self.present.write_square(self.targets, targets)
        return mixed.sum(0)

    def _meet(self, row: Tensor, j: int, targets: Tensor, *, gramian: Tensor, norms: Tensor) -> None:
        """Correct one gradient, given by its coefficients (K,), toward gradient j, and move its target, in place."""
        product = float(row @ gramian[j])
        square, parts = float(row @ gramian @ row), float(row.abs() @ norms)
        if norms[j] == 0 or square <= CANCELLED * parts**2:
            return
        length = math.sqrt(square)
        cosine = min(1.0, max(-1.0, product / (length * float(norms[j]))))
        target = min(float(targets[j]), LARGEST_TARGET)
        if cosine < target:
            height, aim = math.sqrt(1 - cosine**2), math.sqrt(1 - target**2)
            row[j] += length * (target * height - cosine * aim) / (float(norms[j]) * aim)
        targets[j] = (1 - self.beta) * targets[j] + self.beta * cosine
