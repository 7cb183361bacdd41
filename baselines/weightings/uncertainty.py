"""Homoscedastic uncertainty: one learned variance per task."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("uncertainty", mark=3)
class Uncertainty(Weighting):
    """Uncertainty weighting (Kendall et al., CVPR 2018) in the form of the MTAN authors' code.

    Minimises Σ L_k / (2 exp(s_k)) + s_k / 2 over the network and over s = log σ², one scalar per task that the model's
    optimiser trains. At a fixed loss the best s_k is log L_k, where the weight is 1 / (2 L_k). The weights have no
    fixed sum; at the start they are exp(0.5) / 2 = 0.82 each.

    A loss of 0 leaves a gradient of 1/2 on s_k, which then falls step by step: the objective has no lower bound there.
    A loss that is not finite makes the objective and the gradient of its s_k not finite, for the engine to see.

    Args:
        tasks: the tasks, in the order of the losses.
        start: initial log-variance of every task.

    Raises:
        UsageError: ``start`` is not a finite number.
    """

    card: ClassVar[Card] = Card(
        paper="Kendall, Gal, Cipolla. Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and"
        " Semantics. CVPR 2018",
        url="https://arxiv.org/abs/1705.07115",
        formula="min Σ L_k/(2 exp(s_k)) + s_k/2 over the network and s = log σ²",
        hyperparameters={
            "start": "the MTAN authors' code; other public code starts at 0 or −0.7",
        },
        deviations=(
            "every task has the form of a regression, as in the MTAN authors' and most public code; the paper"
            " gives classification twice the weight (uncertainty-kendall)",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{kendall2018multi, title={Multi-Task Learning Using Uncertainty to Weigh Losses for "
        "Scene Geometry and Semantics}, author={Kendall, Alex and Gal, Yarin and Cipolla, Roberto}, "
        "booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year={2018}}",
    )

    def __init__(self, tasks: Sequence[Task], *, start: float = -0.5) -> None:
        super().__init__(tasks)
        if isinstance(start, bool) or not isinstance(start, int | float) or not math.isfinite(start):
            raise UsageError(f"'uncertainty' needs a finite number as 'start', found {start!r}")
        self.log_variances = nn.Parameter(torch.full((len(self.tasks),), float(start)))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) effective weights 1 / (2 exp(s_k))."""
        return (-self.log_variances).exp() / 2

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """(K,) losses -> Σ L_k / (2 exp(s_k)) + s_k / 2, differentiable in the losses and in s."""
        return (weights * losses).sum() + self.log_variances.sum() / 2
