"""Homoscedastic uncertainty as in the paper: classification counts twice."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting

#: Kinds of task whose loss is a cross-entropy, a scaled softmax likelihood in the paper; every other is a regression.
CLASSIFICATION = ("segmentation", "classification", "binary", "boundaries", "saliency")


@WEIGHTINGS.register("uncertainty-kendall")
class UncertaintyKendall(Weighting):
    """Uncertainty weighting in the paper's own form, by kind of task (Kendall et al., CVPR 2018).

    Minimises Σ c_k L_k / σ_k² + log σ_k over the network and over s = log σ², one scalar per task that the model's
    optimiser trains; c_k is 1 for kinds whose loss is a cross-entropy (segmentation, classification, binary,
    boundaries, saliency) and 1/2 for every other, which is a regression. At a fixed loss the best s_k is
    log(2 c_k L_k), where the weight c_k exp(−s_k) is 1 / (2 L_k) for either kind: the two forms differ from
    `uncertainty` on the way there, not in where they lead. The weights have no fixed sum; at the start they are
    exp(0.5) = 1.65 for classification and half of it for regression. State: s, a parameter.

    A loss of 0 leaves a gradient of 1/2 on s_k, which then falls step by step: the objective has no lower bound there,
    nor for a negative loss. A loss that is not finite makes the objective and the gradient of its s_k not finite.

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
        formula="min Σ c_k L_k/exp(s_k) + s_k/2 over the network and s = log σ²; c_k = 1 for classification and "
        "segmentation, 1/2 for regression",
        hyperparameters={
            "start": "that of uncertainty, so that the constant of classification is the only difference between the "
            "two",
        },
        deviations=(
            "the paper derives the 1/2 for a squared error; here it stands before the suite's regression "
            "losses as they are, L1 for depth and cosine for normals",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{kendall2018multi, title={Multi-Task Learning Using Uncertainty to Weigh Losses for "
        "Scene Geometry and Semantics}, author={Kendall, Alex and Gal, Yarin and Cipolla, Roberto}, "
        "booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year={2018}}",
    )

    factors: Tensor  # (K,) the c_k

    def __init__(self, tasks: Sequence[Task], *, start: float = -0.5) -> None:
        super().__init__(tasks)
        if isinstance(start, bool) or not isinstance(start, int | float) or not math.isfinite(start):
            raise UsageError(f"'uncertainty-kendall' needs a finite number as 'start', found {start!r}")
        self.log_variances = nn.Parameter(torch.full((len(self.tasks),), float(start)))
        factors = [1.0 if task.kind in CLASSIFICATION else 0.5 for task in self.tasks]
        self.register_buffer("factors", torch.tensor(factors), persistent=False)

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) effective weights c_k exp(−s_k)."""
        return self.factors * (-self.log_variances).exp()

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """(K,) losses -> Σ c_k L_k exp(−s_k) + s_k / 2, differentiable in the losses and in s."""
        return (weights * losses).sum() + self.log_variances.sum() / 2
