"""FAMO: the tasks' logarithmic losses shall fall at one rate, at the cost of a second look at the batch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.adam import Adam
from baselines.weightings.solvers import checked_number
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting

#: Keeps the logarithm of a loss at its least value finite; the authors' constant.
MARGIN = 1e-8


@WEIGHTINGS.register("famo")
class FAMO(Weighting):
    """Fast adaptive multitask optimisation (Liu et al., NeurIPS 2023).

    With z = softmax(ξ), D_k = L_k − b_k + 1e-8 and c = 1/Σ(z_k/D_k), a constant, the step is one on c Σ z_k log D_k:
    the weights are c z_k/D_k and sum to 1. After it, with the same batch's new losses, δ = log D_before − log D_after
    tells how far each task came, and ξ moves by Adam against z ⊙ (δ − zᵀδ): tasks that came less far gain.

    No task's unit of loss matters while b = 0 and losses are far above 1e-8. A loss at its least value takes nearly all
    the weight: the shares are those of inverse losses. One below it makes the objective and the gradients NaN, and
    after the step also ξ, for the engine to see; so does a loss that is not finite. A single task has the weight 1.

    Absent tasks keep their ξ and its moments, and have no part in z.

    State: ξ, Adam's moments, and the step's losses until they are seen again.

    Args:
        tasks: the tasks, in the order of the losses.
        lr: step length of ξ.
        weight_decay: this times ξ is added to its gradient.
        minima: b, the losses' least values, in the order of the tasks; zeros when None.

    Raises:
        UsageError: ``lr`` is no positive finite number, ``weight_decay`` none of at least 0, or ``minima`` not one
            finite number for each task.
    """

    evaluates_again: ClassVar[bool] = True
    minds_absent: ClassVar[bool] = True
    #: With weight decay, the pull to equal weights is stronger than what is learnt from such small steps.
    toy_options: ClassVar[Mapping[str, Any]] = {"weight_decay": 0.0}
    card: ClassVar[Card] = Card(
        paper="Liu, Feng, Stone, Liu. FAMO: Fast Adaptive Multitask Optimization. NeurIPS 2023",
        url="https://arxiv.org/abs/2306.03792",
        formula="min c Σ z_k log(L_k − b_k), z = softmax(ξ), c = 1/Σ(z_k/(L_k − b_k)) held constant;\n"
        "then ξ ← Adam(ξ; z ⊙ (δ − zᵀδ)) with δ = log(L before the step) − log(L after it), same batch",
        hyperparameters={
            "lr": "the authors' code",
            "weight_decay": "the authors' runs on NYUv2, CelebA and QM9; 1e-2 on Cityscapes, default of the code 1e-2",
            "minima": "the authors' code: zeros unless told otherwise",
        },
        deviations=(
            "the second look leaves batch-norm statistics as they are; in the authors' code they move twice a step",
            "gradients are not clipped; in the authors' experiments the clipping comes before the backward pass and "
            "does nothing",
        ),
        sum_of_weights="1",
        bibtex="""@inproceedings{liu2023famo,
  title = {{FAMO}: Fast Adaptive Multitask Optimization},
  author = {Liu, Bo and Feng, Yihao and Stone, Peter and Liu, Qiang},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023}
}""",
    )

    logits: Tensor  # (K,) ξ
    before: Tensor  # (K,) the step's losses
    minima: Tensor  # (K,) b

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        lr: float = 0.025,
        weight_decay: float = 1e-3,
        minima: Sequence[float] | None = None,
    ) -> None:
        super().__init__(tasks)
        count = len(self.tasks)
        rate = checked_number("famo", "lr", lr, zero=False)
        decay = checked_number("famo", "weight_decay", weight_decay, zero=True)
        least = [0.0] * count if minima is None else minima
        if not isinstance(least, list | tuple) or len(least) != count or not all(map(_is_finite, least)):
            names = ", ".join(task.name for task in self.tasks)
            raise UsageError(f"'famo' needs {count} finite numbers as 'minima' ({names}), found {minima!r}")
        self.adam = Adam(count, lr=rate, weight_decay=decay)
        self.register_buffer("logits", torch.zeros(count))
        self.register_buffer("before", torch.ones(count))
        self.register_buffer("minima", torch.tensor([float(value) for value in least]), persistent=False)

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) derivatives of the objective, of sum 1."""
        self.present.write(self.before, losses)
        shares = torch.softmax(self.present.rows(self.logits), dim=0) / self._distances(losses)
        return shares / shares.sum()

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """(K,) losses -> c Σ z_k log D_k."""
        distances = self._distances(losses)
        # c z = w D with everything held constant but the logarithms.
        return ((weights * distances).detach() * distances.log()).sum()

    def after_step(self, losses: Tensor) -> None:
        """Move ξ by what the step did to the losses of its batch, (K,)."""
        before = self.present.rows(self.before)
        progress = self._distances(before).log() - self._distances(losses.to(before)).log()
        shares = torch.softmax(self.present.rows(self.logits), dim=0)
        self.adam.step(self.logits, shares * (progress - (shares * progress).sum()), self.present)

    def _distances(self, losses: Tensor) -> Tensor:
        """D: the losses above their least values, NaN in value and in gradient where they are below."""
        distances = losses - self.present.rows(self.minima) + MARGIN
        # A factor, not torch.where on the distances: where would give a masked one the gradient 0.
        return distances * torch.where(distances > 0, 1.0, torch.nan)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
