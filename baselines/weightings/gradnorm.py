"""GradNorm: tasks that train more slowly get longer gradients at the last shared layer."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.adam import Adam
from baselines.weightings.solvers import checked_number
from benchmark.exact import power
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, NormWeighting

#: The least weight before weights are scaled to their sum.
LEAST = 1e-3


@WEIGHTINGS.register("gradnorm", version=2)
class GradNorm(NormWeighting):
    """Gradient normalisation (Chen et al., ICML 2018, Algorithm 1).

    With n_k the length of ∇L_k at the last shared layer, w moves by Adam down Σ |w_k n_k − c_k|, where c_k, held
    constant, is the mean of all w_j n_j times r_k^α, and r_k is L_k/L_k(0) over its mean over the tasks: who has
    improved less than others is to have the longer gradient. Then w is scaled to Σ w = K. A step uses the weights from
    before its own update; the first uses ones.

    No task's unit of loss matters to where the weights lead. L_k(0) is the loss of the first step, or of the first in
    which it is not 0, as in a batch without valid pixels; a ratio without a meaning, of a task that had no such step
    yet or when all losses are 0, counts as 1. Weights that Adam would move to 0 or below stay at 1e-3 (before scaling):
    a negative weight would raise its loss. A loss or a length that is not finite makes all weights NaN, for the engine
    to see. A single task keeps the weight 1.

    Absent tasks keep their weights; those of the others keep their sum, and the means are over them.

    State: w, Adam's moments, and L(0).

    Args:
        tasks: the tasks, in the order of the losses.
        alpha: α, how strongly rates are evened out; 0 makes all gradients equally long.
        lr: step length of w.

    Raises:
        UsageError: ``alpha`` is no finite number of at least 0, or ``lr`` no positive one.
    """

    card: ClassVar[Card] = Card(
        paper="Chen, Badrinarayanan, Lee, Rabinovich. GradNorm: Gradient Normalization for Adaptive Loss Balancing in "
        "Deep Multitask Networks. ICML 2018",
        url="https://arxiv.org/abs/1711.02257",
        formula="w ← Adam(w; ∂/∂w_k Σ |w_k n_k − c_k|), then w ← K w/Σw; n_k = ‖∇L_k‖ at the last shared layer,\n"
        "c_k = mean_j(w_j n_j) r_k^α held constant, r_k = (L_k/L_k(0)) / mean_j(L_j/L_j(0))",
        hyperparameters={
            "alpha": "the paper, for NYUv2",
            "lr": "chosen here: about what a weight moves in a step by Adam; public code has rates from 1e-4 to 0.025",
        },
        deviations=(
            "w moves by Adam, whose steps no unit of loss changes; the paper's algorithm names no optimiser of w",
            "weights are kept above 0, which the paper does not provide for",
        ),
        sum_of_weights="K",
        bibtex="""@inproceedings{chen2018gradnorm,
  title = {{GradNorm}: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks},
  author = {Chen, Zhao and Badrinarayanan, Vijay and Lee, Chen-Yu and Rabinovich, Andrew},
  booktitle = {International Conference on Machine Learning},
  year = {2018}
}""",
    )

    minds_absent: ClassVar[bool] = True
    current: Tensor  # (K,) w
    first: Tensor  # (K,) L(0); 0 where none is known yet

    def __init__(self, tasks: Sequence[Task], *, alpha: float = 1.5, lr: float = 0.025) -> None:
        super().__init__(tasks)
        self.alpha = checked_number("gradnorm", "alpha", alpha, zero=True)
        self.adam = Adam(len(self.tasks), lr=checked_number("gradnorm", "lr", lr, zero=False))
        self.register_buffer("current", torch.ones(len(self.tasks)))
        self.register_buffer("first", torch.zeros(len(self.tasks)))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) weights of sum K, whatever the step's losses are."""
        return self.present.rows(self.current).clone()

    def observe(self, norms: Tensor, losses: Tensor) -> None:
        """Move the weights of the next step. (K,) lengths of the gradients, (K,) losses."""
        norms, losses = norms.to(self.current), losses.to(self.current)
        first, before = self.present.rows(self.first), self.present.rows(self.current)
        first = torch.where(first == 0, losses, first)
        self.present.write(self.first, first)
        ratios = _quotient(losses, first)
        lengths = before * norms
        off = lengths - lengths.mean() * power(_quotient(ratios, ratios.mean()), self.alpha)
        # The sign of NaN is 0: a term of 0 where all is finite carries it on.
        total = len(self.tasks) if self.present.all else before.sum()
        self.adam.step(self.current, norms * off.sign() + 0 * off, self.present)
        # Compared so that NaN stays NaN.
        moved = self.present.rows(self.current)
        moved = torch.where(moved < LEAST, LEAST, moved)
        self.present.write(self.current, moved * (total / moved.sum()))


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    """Their quotient, 1 where the divisor is 0."""
    return torch.where(below == 0, 1.0, above / below)
