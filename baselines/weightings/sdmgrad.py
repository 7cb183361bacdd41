"""SDMGrad: the min-norm direction, drawn toward the mean gradient, from independent samples."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from baselines.simplex import nearest_on_simplex, part_of_point
from baselines.weightings.solvers import checked_number
from baselines.weightings.solvers.gramian import Array
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, SampledWeighting


@WEIGHTINGS.register("sdmgrad", version=2)
class SDMGrad(SampledWeighting):
    """Stochastic direction-oriented multi-objective gradient descent (Xiao et al., NeurIPS 2023).

    w on the simplex follows the gradient A (w + λ/K) of ½ wᵀA w + λ wᵀA 1/K, by a few projected steps of SGD with
    momentum from the last w (at first 1/K), where A = J_1 J_2ᵀ/s² from two independent samples and s is the tasks' mean
    √A_kk before division, a negative A_kk counting as 0. Then d = Σ (w_k + λ/K)/(1 + λ) g_k with a third sample's
    gradients. These weights sum to 1 and are at least λ/(K (1 + λ)); λ = 0 is a min-norm direction, a large λ the mean.
    A common factor on all gradients changes no weights.

    Products that are not finite give NaN weights and leave w as it was. Where no A_kk is positive there is no scale,
    and w stays too; the codes below would take a step of unbounded length.

    Deviations: the authors' code means three batches but computes with one (three names for one buffer); LibMTL, as
    here, keeps them apart. Here they are thirds of one batch, so that a step sees as many pictures as with any other
    method, and task-specific parameters get the mean of the three gradients, where these codes have their sum. LibMTL
    has an inner learning rate of 5.

    Absent tasks keep their w; those of the others keep their sum and act scaled to 1.

    State: w.

    Args:
        tasks: the tasks, in the order of the losses.
        regularisation: λ.
        iterations: steps on w.
        inner_lr: their learning rate.
        momentum: their momentum, at least 0 and below 1; it starts anew in every call.

    Raises:
        UsageError: an option is out of its range.
    """

    card: ClassVar[Card] = Card(
        paper="Xiao, Ban, Ji. Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms. "
        "NeurIPS 2023",
        url="https://arxiv.org/abs/2305.18409",
        formula="w: projected SGD on ½ wᵀA w + λ wᵀA 1/K over the simplex, A = J₁J₂ᵀ/s²; d = J₃ᵀ (w + λ/K)/(1 + λ)",
        hyperparameters={
            "regularisation": "0.3 in the authors' command for NYUv2",
            "iterations": "20 in the authors' command for NYUv2",
            "inner_lr": "10 in the authors' code and TorchJD; 5 in LibMTL",
            "momentum": "the authors' code, LibMTL and TorchJD",
        },
        deviations=(
            "the three samples are thirds of one batch, so that a step sees as many pictures as with any other method; "
            "the authors' code computes all three from one batch",
            "task-specific parameters get the mean of the three samples' gradients, not their sum",
        ),
        sum_of_weights="1",
        bibtex="@inproceedings{xiao2023direction, title={Direction-oriented Multi-objective Learning: Simple and "
        "Provable Stochastic Algorithms}, author={Xiao, Peiyao and Ban, Hao and Ji, Kaiyi}, booktitle={Advances in "
        "Neural Information Processing Systems}, year={2023}}",
    )

    minds_absent: ClassVar[bool] = True
    coefficients: Tensor  # (K,) float64, w

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        regularisation: float = 0.3,
        iterations: int = 20,
        inner_lr: float = 10.0,
        momentum: float = 0.5,
    ) -> None:
        super().__init__(tasks)
        self.regularisation = checked_number("sdmgrad", "regularisation", regularisation, zero=True)
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise UsageError(f"'sdmgrad' needs a whole number from 1 as 'iterations', found {iterations!r}")
        self.iterations = iterations
        self.inner_lr = checked_number("sdmgrad", "inner_lr", inner_lr, zero=False)
        self.momentum = checked_number("sdmgrad", "momentum", momentum, zero=True)
        if self.momentum >= 1:
            raise UsageError(f"'sdmgrad' needs a number from 0 and below 1 as 'momentum', found {momentum!r}")
        count = len(self.tasks)
        self.register_buffer("coefficients", torch.full((count,), 1 / count, dtype=torch.float64))

    def from_products(self, products: Tensor, losses: Tensor) -> Tensor:
        """(K, K) J_1 J_2ᵀ -> (K,) (w + λ/K)/(1 + λ)."""
        if not products.isfinite().all():
            return torch.full_like(losses, torch.nan)
        matrix = products.numpy()
        scale = float(np.sqrt(np.maximum(matrix.diagonal(), 0)).mean())
        point, total = part_of_point(self.coefficients, self.present)
        if scale > 0:
            point = self._moved(matrix / scale / scale, point)
            self.present.write(self.coefficients, torch.from_numpy(point) * total)
        pull = self.regularisation / len(losses)
        return (torch.from_numpy(point).to(products) + pull) / (1 + self.regularisation)

    def _moved(self, matrix: Array, point: Array) -> Array:
        """(K,) w after the projected steps from ``point``."""
        velocity = np.zeros(len(point))
        for _ in range(self.iterations):
            velocity = self.momentum * velocity + matrix @ (point + self.regularisation / len(point))
            point = nearest_on_simplex(point - self.inner_lr * velocity)
        return point
