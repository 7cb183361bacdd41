"""Improvable gap balancing: the further a task is from its goal, against where it was early, the more it counts."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.losses import absent, defined, shares, without
from baselines.warm_up import WarmUpWeighting
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card


@WEIGHTINGS.register("igb")
class ImprovableGapBalancing(WarmUpWeighting):
    """Improvable gap balancing in its first form, IGB v1 (Dai, Fei & Lu, UAI 2023).

    The objective is Σ a_k log L_k, whose logarithms balance the losses' scales. During warm-up a_k = 1, which is `si`.
    After it a = K softmax_k(L_k/z_k), held constant in the step, where z_k is task k's mean training loss over the last
    epoch of warm-up: L_k/z_k stands for the gap between where the task is and where it could come. The weights, the
    objective's derivatives, are a_k/L_k; they have no fixed sum, but Σ w_k L_k is K. No task's unit of loss matters. A
    run no longer than the warm-up is `si`.

    A loss of exactly 0 sits the step out, with weight 0. A negative loss makes the objective and the gradients NaN, for
    the engine to see, as does, after warm-up, a reference that is not positive and finite. An infinite loss makes the
    objective not finite. References of tasks without labels are those that ``WarmUpWeighting`` says.

    State: that of ``WarmUpWeighting``.

    Args:
        tasks: the tasks, in the order of the losses.
        warmup_epochs: epochs of warm-up.

    Raises:
        UsageError: ``warmup_epochs`` is not a whole number from 1 and below 2⁶³.
    """

    card: ClassVar[Card] = Card(
        paper="Dai, Fei, Lu. Improvable Gap Balancing for Multi-Task Learning. UAI 2023",
        url="https://arxiv.org/abs/2307.15429",
        formula="warm-up: min Σ log L_k; then min Σ a_k log L_k, a = K softmax_k(L_k/z_k) held constant, z the mean "
        "losses of the last epoch of warm-up",
        hyperparameters={"warmup_epochs": "the authors' code, which names the last one's index, 1"},
        deviations=(
            "the second form, whose weights a reinforcement learner finds, is left out",
            "a loss of 0, which has no logarithm, sits the step out",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{dai2023improvable, title={Improvable Gap Balancing for Multi-Task Learning}, "
        "author={Dai, Yanqi and Fei, Nanyi and Lu, Zhiwu}, booktitle={Conference on Uncertainty in Artificial "
        "Intelligence}, year={2023}}",
    )

    minds_absent: ClassVar[bool] = True

    def __init__(self, tasks: Sequence[Task], *, warmup_epochs: int = 2) -> None:
        super().__init__(tasks, "igb", warmup_epochs)

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) derivatives of the objective."""
        out, values = absent(losses), defined(losses)
        gaps = values.double() / self.references(values).double()
        balance = len(losses) * shares(without(out, gaps)).to(losses)
        return torch.where(out, 0.0, torch.where(self.warm, 1.0, balance) / values)

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """(K,) losses -> Σ a_k log L_k."""
        values = defined(losses)
        # a = w L with everything held constant but the logarithms.
        return ((weights * values).detach() * values.log()).sum()
