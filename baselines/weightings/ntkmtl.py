"""NTKMTL: the shorter a task's gradient, the slower it converges, the more it counts."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN
from baselines.weightings.solvers import checked_number, clipped
from baselines.weightings.solvers.gramian import NEGLIGIBLE
from benchmark.exact import power
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, GramianWeighting


@WEIGHTINGS.register("ntkmtl")
class NTKMTL(GramianWeighting):
    """Task balance by neural tangent kernels (Qin et al., NeurIPS 2025), with one gradient for each task and batch.

    A task's kernel is then the number G_kk = ‖g_k‖², its eigenvalue and the speed of its convergence, and
    w_k = (Σ_j G_jj/G_kk)^e. With e = ½ the direction is √tr G times the sum of the unit gradients, that of ``db-mtl``
    without momentum and logarithms; with e = 0 it is the plain sum. The weights are at least 1 and have no fixed sum.
    They depend on the gradients' lengths alone, not on the angles between them. No state.

    A gradient of zero has the weight 0 and no part in the others'. Where the Gramian is not finite, the weights are not
    either.

    Args:
        tasks: the tasks, in the order of the Gramian.
        exponent: e.
        max_norm: largest length of d; 0 is no limit. With ``on`` at the representation, the length there is
            limited.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``exponent`` or ``max_norm`` is no finite number of at least 0, or ``on`` neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Qin, Wang, Liao, Yan. NTKMTL: Mitigating Task Imbalance in Multi-Task Learning from Neural Tangent "
        "Kernel Perspective. NeurIPS 2025",
        url="https://arxiv.org/abs/2510.18258",
        formula="w_k = (tr G/G_kk)^e",
        hyperparameters={
            "exponent": "the paper; 0.75 in the authors' command for NYUv2",
            "max_norm": "the paper: no limit; 1 in the authors' trainer",
            "on": ON_ORIGIN,
        },
        deviations=(
            "one gradient for each task and batch (n = 1), as in the authors' experiments; the paper also cuts the "
            "batch into parts and takes the largest eigenvalue of their Gramian",
            "d is the paper's; the authors' trainer multiplies it by K and clips it to length 1",
            "gradients of zero, for which the formula has no value, have the weight 0",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{qin2025ntkmtl, title={{NTKMTL}: Mitigating Task Imbalance in Multi-Task Learning from "
        "Neural Tangent Kernel Perspective}, author={Qin, Xiaohan and Wang, Xiaoxing and Liao, Ning and Yan, Junchi}, "
        "booktitle={Advances in Neural Information Processing Systems}, year={2025}}",
    )

    def __init__(
        self, tasks: Sequence[Task], *, exponent: float = 0.5, max_norm: float = 0.0, on: str = "parameters"
    ) -> None:
        super().__init__(tasks, on=on)
        self.exponent = checked_number("ntkmtl", "exponent", exponent, zero=True)
        self.max_norm = checked_number("ntkmtl", "max_norm", max_norm, zero=True)

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights, scaled down if the direction exceeds ``max_norm``."""
        if not gramian.isfinite().all():
            return torch.full_like(losses, torch.nan)
        squares = gramian.diagonal().clamp(min=0)
        moving = squares > NEGLIGIBLE**2 * squares.max()
        ratios = torch.where(moving, squares, 0.0).sum() / torch.where(moving, squares, 1.0)
        return clipped(torch.where(moving, power(ratios, self.exponent), 0.0), gramian, self.max_norm)
