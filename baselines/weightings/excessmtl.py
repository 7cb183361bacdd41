"""ExcessMTL: weights grow with the estimated excess risk."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.matrices import Room, RunningRows, all_finite, chosen, chunk, nowhere
from baselines.warm_up import checked_epochs
from baselines.weightings.solvers import checked_number
from benchmark.exact import sqrt
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Direction, MatrixWeighting


@WEIGHTINGS.register("excessmtl")
class ExcessMTL(MatrixWeighting):
    """Robust multi-task learning with excess risks (He et al., ICML 2024).

    The excess risk of a task, the part of its loss that training can still remove, is estimated to second order with a
    diagonal curvature from accumulated squares: e_k = Σ_p g_kp²/√(S_kp + 1e-7), S_kp = Σ_t g_kp². Then

        w_k ← w_k exp(η e_k/e_k⁰), scaled to Σ w = K,   d = Σ w_k g_k,

    from w = 1, where e_k⁰ is the estimate of the first step, which changes no weight; with ``warmup_epochs`` it is the
    mean over the steps of these epochs, in which no weight changes either. Weights are kept as logarithms. A task whose
    gradients have all been zero has no e_k⁰ yet: its ratio counts as 0, and the first gradient that is not gives it.

    Where a gradient is not finite, neither is the direction, and the state stays as it was.

    Deviations: the paper collects statistics for three epochs first; the official code and LibMTL, as the default here,
    for one step. TorchJD has Σ w = 1 and moves the weights in its first call by exp(η e_k). In the official code
    task-specific parameters get the weighted gradient, here their own task's plain one.

    Absent tasks keep S, e⁰ and w; the w of the others keep their sum and act scaled to their number.

    State: S (K×P), the logarithms of w, sums and counts of e⁰, the epochs seen.

    Args:
        tasks: the tasks, in the order of the losses.
        step_size: η.
        warmup_epochs: epochs that only collect e⁰; 0 for the first step alone.

    Raises:
        UsageError: ``step_size`` is no finite number of at least 0, or ``warmup_epochs`` no whole number from 0 and
            below 2⁶³.
    """

    card: ClassVar[Card] = Card(
        paper="He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi, Zhao. Robust Multi-Task Learning with Excess Risks. ICML 2024",
        url="https://proceedings.mlr.press/v235/he24n.html",
        formula="e_k = Σ g_k²/√(Σ_t g_k² + 1e-7); w_k ← w_k exp(η e_k/e_k(first)), scaled to Σ w = K",
        hyperparameters={
            "step_size": "1e-2 in the configuration of the official code and of LibMTL; 1 in the official README",
            "warmup_epochs": "the official code and LibMTL; the paper collects statistics for 3 epochs",
        },
        deviations=(
            "task-specific parameters get their own task's plain gradient; in the official code the weighted one",
        ),
        sum_of_weights="K",
        bibtex="@inproceedings{he2024robust, title={Robust Multi-Task Learning with Excess Risks}, author={He, Yifei "
        "and Zhou, Shiji and Zhang, Guojun and Yun, Hyokun and Xu, Yi and Zeng, Belinda and Chilimbi, Trishul and "
        "Zhao, Han}, booktitle={International Conference on Machine Learning}, year={2024}}",
    )

    minds_absent: ClassVar[bool] = True
    log_weights: Tensor  # (K,) float64
    first_sums: Tensor  # (K,) float64
    first_counts: Tensor  # (K,) float64
    epochs: Tensor  # () int64

    def __init__(self, tasks: Sequence[Task], *, step_size: float = 1e-2, warmup_epochs: int = 0) -> None:
        super().__init__(tasks)
        self.step_size = checked_number("excessmtl", "step_size", step_size, zero=True)
        self.warmup_epochs = checked_epochs("excessmtl", warmup_epochs, least=0)
        self.squares, self._room = RunningRows(len(self.tasks)), Room()
        for name in ("log_weights", "first_sums", "first_counts"):
            self.register_buffer(name, torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def allocate(self, columns: int) -> None:
        """See ``MatrixWeighting.allocate``."""
        self.squares.allocate(columns)

    def epoch_end(self, train_losses: Tensor) -> None:
        """Count the epoch."""
        self.epochs.add_(1)

    def from_gradients(self, gradients: Tensor, losses: Tensor) -> Direction:
        """(K, P) gradients -> their weighted sum."""
        finite = all_finite(gradients)
        if finite is False:
            return nowhere(gradients)
        held = self.squares.like(gradients)
        squares = self.present.rows(held)
        pairs = zip(gradients, squares, strict=True)
        estimates = torch.stack([_excess(chosen(finite, g, 0), s) for g, s in pairs])
        self.present.write(held, squares)
        logarithms = self.present.rows(self.log_weights)
        moved = torch.log_softmax(logarithms + self.step_size * self._ratios(estimates), dim=0)
        weights = chosen(finite, len(gradients) * moved.exp(), torch.nan).to(gradients)
        if not self.present.all:
            moved = moved + logarithms.logsumexp(0)
        self.present.write(self.log_weights, chosen(finite, moved, logarithms))
        return Direction(torch.mv(gradients.T, weights, out=self._room.like(gradients[0])), weights)

    def _ratios(self, estimates: Tensor) -> Tensor:
        """(M,) excess risks of the present tasks in units of e⁰, 0 where that is being collected."""
        sums, counts = self.present.rows(self.first_sums), self.present.rows(self.first_counts)
        collecting = (self.epochs < self.warmup_epochs) | (counts == 0)
        sums, counts = sums + torch.where(collecting, estimates, 0), counts + (collecting & (estimates > 0))
        self.present.write(self.first_sums, sums)
        self.present.write(self.first_counts, counts)
        return torch.where(collecting, 0, estimates * counts / sums)


def _excess(gradient: Tensor, squares: Tensor) -> Tensor:
    """() the estimate from one task's gradient (P,), whose squares are added to the task's (P,)."""
    size = chunk(gradient)
    parts = []
    for piece, known in zip(gradient.split(size), squares.split(size), strict=True):
        known.addcmul_(piece, piece)
        parts.append((piece.square() / sqrt(known + 1e-7)).sum(dtype=torch.float64))
    return torch.stack(parts).sum()
