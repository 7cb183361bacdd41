"""Scale-invariant baseline: the sum of the logarithms of the losses."""

from typing import ClassVar

import torch
from torch import Tensor

from baselines.losses import absent, defined
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("si")
class ScaleInvariant(Weighting):
    """Sum of log losses, Σ log L_k, the scale-invariant baseline of Navon et al. (Nash-MTL, ICML 2022).

    The weights are w_k = 1 / L_k and have no fixed sum; Σ w_k L_k is K. A task's unit of loss changes the objective by
    a constant and its gradient not at all. No state.

    A loss of exactly 0 sits the step out, with weight 0. A negative
    loss makes its weight, the objective and the gradients NaN, for the engine to see (the derivative of a logarithm,
    1 / L, alone would look well). An infinite loss makes the objective infinite.
    """

    card: ClassVar[Card] = Card(
        paper="Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya. Multi-Task Learning as a Bargaining "
        "Game. ICML 2022 (as a baseline)",
        url="https://arxiv.org/abs/2202.01017",
        formula="min Σ log L_k; w_k = 1/L_k",
        deviations=("none from the paper; SamsungLabs' code has log(1 + L), which is not scale-invariant",),
        sum_of_weights="free",
        bibtex="@inproceedings{navon2022multi, title={Multi-Task Learning as a Bargaining Game}, author={Navon, Aviv"
        " and Shamsian, Aviv and Achituve, Idan and Maron, Haggai and Kawaguchi, Kenji and Chechik, Gal and "
        "Fetaya, Ethan}, booktitle={International Conference on Machine Learning}, year={2022}}",
    )

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) their inverses."""
        return torch.where(absent(losses), 0.0, 1 / defined(losses))

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """(K,) losses -> Σ log L_k."""
        return defined(losses).log().sum()
