"""Smooth Tchebycheff scalarization: the task that has improved least counts most."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.losses import absent, defined, without
from baselines.warm_up import WarmUpWeighting
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card


@WEIGHTINGS.register("stch")
class SmoothTchebycheff(WarmUpWeighting):
    """Smooth Tchebycheff scalarization with warm-up (Lin et al., ICML 2024, and its official code for deep networks).

    During warm-up Σ log L_k. After it, K μ log Σ exp(log(L_k / z_k) / μ), a smooth maximum of the logarithms, where z_k
    is task k's mean training loss over the last epoch of warm-up. The weights, the objective's derivatives, are
    1 / L_k during warm-up and K softmax_k(log(L_k / z_k) / μ) / L_k after it; they have no fixed sum, but Σ w_k L_k is
    K in both. No task's unit of loss matters. A run no longer than the warm-up is `si`.

    A loss of exactly 0 sits the step out, with weight 0. A negative loss makes the objective and the gradients NaN, for
    the engine to see, as does, after warm-up, a reference that is not positive and finite. An infinite loss makes the
    objective not finite.

    A task without a label in the last epoch of warm-up keeps its mean of an earlier one, or gets that of the first
    epoch that has one; until then L_k/z_k counts as 1.

    State: the epochs seen and the reference, both in buffers and compared on the device.

    Args:
        tasks: the tasks, in the order of the losses.
        mu: the smoothing μ; the smaller, the closer to the maximum.
        warmup_epochs: epochs of warm-up.

    Raises:
        UsageError: ``mu`` is not a positive finite number, or ``warmup_epochs`` not a whole number from 1 and below
            2⁶³.
    """

    card: ClassVar[Card] = Card(
        paper="Lin, Zhang, Yang, Liu, Wang, Zhang. Smooth Tchebycheff Scalarization for Multi-Objective "
        "Optimization. ICML 2024",
        url="https://arxiv.org/abs/2402.19078",
        formula="warm-up: min Σ log L_k; then min K μ log Σ exp(log(L_k/z_k)/μ), z the mean losses of the last epoch "
        "of warm-up",
        hyperparameters={
            "mu": "the authors' code",
            "warmup_epochs": "the authors' code, which names the last one's index, 4",
        },
        deviations=(
            "the 1e-20 inside the authors' logarithms is left out: with it a loss of 0 gets a gradient of 1e20 unseen",
            "the largest logarithm, which their code subtracts as a constant, is part of the value; the "
            "gradient is the same",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{lin2024smooth, title={Smooth Tchebycheff Scalarization for Multi-Objective "
        "Optimization}, author={Lin, Xi and Zhang, Xiaoyuan and Yang, Zhiyuan and Liu, Fei and Wang, Zhenkun "
        "and Zhang, Qingfu}, booktitle={International Conference on Machine Learning}, year={2024}}",
    )

    minds_absent: ClassVar[bool] = True

    def __init__(self, tasks: Sequence[Task], *, mu: float = 1.0, warmup_epochs: int = 5) -> None:
        super().__init__(tasks, "stch", warmup_epochs)
        number = isinstance(mu, int | float) and not isinstance(mu, bool)
        if not number or not math.isfinite(mu) or mu <= 0:
            raise UsageError(f"'stch' needs a positive finite number as 'mu', found {mu!r}")
        self.mu = float(mu)

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) derivatives of the objective."""
        shares = len(losses) * torch.softmax(self._logarithms(losses), dim=0)
        return torch.where(absent(losses), 0.0, torch.where(self.warm, 1.0, shares) / defined(losses))

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """(K,) losses -> Σ log L_k during warm-up, K μ log Σ (L_k / z_k)^{1/μ} after it."""
        smooth = len(losses) * self.mu * torch.logsumexp(self._logarithms(losses), dim=0)
        return torch.where(self.warm, defined(losses).log().sum(), smooth)

    def _logarithms(self, losses: Tensor) -> Tensor:
        """(K,) log(L_k/z_k)/μ, −∞ for tasks that sit out, unless all do."""
        values = defined(losses)
        return without(absent(losses), (values / self.references(values)).log() / self.mu)
