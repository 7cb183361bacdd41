"""DB-MTL: log losses, and running gradients of one length."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.matrices import Room, RunningRows, all_finite, chosen, chunk, nowhere
from baselines.weightings.solvers import checked_number
from benchmark.errors import UsageError
from benchmark.exact import power, sqrt
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Direction, MatrixWeighting

#: Added to a loss before its logarithm, as in the authors' code.
OFFSET = 1e-8


@WEIGHTINGS.register("db-mtl")
class DualBalancing(MatrixWeighting):
    """Dual-balancing multi-task learning (Lin et al., arXiv 2308.12029).

    Losses are balanced by logarithms: g_k is the gradient of log(L_k + 1e-8), and it is this that trains task-specific
    parameters. Gradients are balanced by their lengths: with the running means m_k ← β_t m_k + (1 − β_t) g_k from 0,
    β_t = β/t^σ in step t,

        d = max_j ‖m_j‖ Σ m_k/‖m_k‖.

    The weights, max_j ‖m_j‖/‖m_k‖ on m_k, are at least 1 and have no fixed sum. No task's unit of loss matters but for
    the 1e-8. The means are not corrected for their start at 0: the first step is (1 − β) of the plain one.

    A running gradient of zero gets the weight 0. A loss below −1e-8 has no logarithm and shows as NaN. Where a gradient
    is not finite, neither is the direction, and the state stays as it was.

    Deviations: LibMTL, by the paper's authors, adds 1e-8 to the lengths too; nothing is added here.

    Absent tasks keep their means, and the largest length is that of the others.

    State: the means (K×P) and the number of steps.

    Args:
        tasks: the tasks, in the order of the losses.
        beta: β, at least 0 and below 1; 0 is no memory.
        beta_decay: σ.

    Raises:
        UsageError: ``beta`` is not at least 0 and below 1, or ``beta_decay`` no finite number of at least 0.
    """

    card: ClassVar[Card] = Card(
        paper="Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Kwok. Dual-Balancing for Multi-Task Learning. arXiv 2308.12029, "
        "2023",
        url="https://arxiv.org/abs/2308.12029",
        formula="g_k of log(L_k + 1e-8); m_k ← β_t m_k + (1 − β_t) g_k; d = max_j ‖m_j‖ Σ m_k/‖m_k‖",
        hyperparameters={"beta": "LibMTL, by the paper's authors", "beta_decay": "LibMTL"},
        deviations=("nothing is added to the lengths; LibMTL adds 1e-8",),
        sum_of_weights="free",
        bibtex="@article{lin2023dual, title={Dual-Balancing for Multi-Task Learning}, author={Lin, Baijiong and "
        "Jiang, Weisen and Ye, Feiyang and Zhang, Yu and Chen, Pengguang and Chen, Ying-Cong and Liu, Shu and Kwok, "
        "James T.}, journal={arXiv preprint arXiv:2308.12029}, year={2023}}",
    )

    minds_absent: ClassVar[bool] = True
    steps: Tensor  # () int64

    def __init__(self, tasks: Sequence[Task], *, beta: float = 0.9, beta_decay: float = 0.0) -> None:
        super().__init__(tasks)
        self.beta = checked_number("db-mtl", "beta", beta, zero=True)
        if self.beta >= 1:
            raise UsageError(f"'db-mtl' needs a number from 0 and below 1 as 'beta', found {beta!r}")
        self.beta_decay = checked_number("db-mtl", "beta_decay", beta_decay, zero=True)
        self.means, self._room = RunningRows(len(self.tasks)), Room()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def task_losses(self, losses: Sequence[Tensor]) -> list[Tensor]:
        """K losses -> their logarithms."""
        # A factor, not torch.where on the losses: a logarithm's derivative looks well where it has none.
        return [((loss + OFFSET) * torch.where(loss > -OFFSET, 1.0, torch.nan)).log() for loss in losses]

    def allocate(self, columns: int) -> None:
        """See ``MatrixWeighting.allocate``."""
        self.means.allocate(columns)

    def from_gradients(self, gradients: Tensor, losses: Tensor) -> Direction:
        """(K, P) gradients of the log losses -> their balanced sum."""
        finite = all_finite(gradients)
        if finite is False:
            return nowhere(gradients)
        self.steps.add_(finite)
        kept = self.beta / power(self.steps.double().clamp(min=1), self.beta_decay)
        held, share, size = self.means.like(gradients), (1 - kept).to(gradients), chunk(gradients)
        means = self.present.rows(held)
        squares = gradients.new_zeros(len(gradients), dtype=torch.float64)
        for mean, gradient in zip(means.split(size, dim=1), gradients.split(size, dim=1), strict=True):
            mean.lerp_(chosen(finite, gradient, mean), share)
            squares += torch.linalg.vector_norm(mean, dim=1, dtype=torch.float64).square_()
        self.present.write(held, means)
        lengths = sqrt(squares)
        weights = chosen(finite, torch.where(lengths > 0, lengths.max() / lengths, 0), torch.nan).to(gradients)
        return Direction(torch.mv(means.T, weights, out=self._room.like(means[0])), weights)
