"""IMTL-G: a direction with equal projections on all unit gradients."""

from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN, equal_projection
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Card, GramianWeighting


@WEIGHTINGS.register("imtl-g")
class ImpartialGradients(GramianWeighting):
    """IMTL-G, the gradient half of impartial multi-task learning (Liu et al., ICLR 2021).

    d = Σ w_k g_k has the same projection on every unit gradient g_k/‖g_k‖, and Σ w = 1: with G the Gramian and n the
    gradients' lengths, w ∝ G⁻¹ n. No hyperparameters, no state. The direction does not depend on the gradients'
    lengths, but its length does: about that of the shortest gradient.

    The condition Σ w = 1 is the paper's and is kept with its consequences: weights can be negative; where they nearly
    cancel, they are large; and where Σ G⁻¹n is negative, which takes three tasks of unequal lengths, the common
    projection is negative too and the step raises every loss. ``config`` has the same line without that defect.

    The paper's formula has no value in three cases. Gradients of zero get the weight 0 and the others share. Dependent
    gradients: the pseudo-inverse of the unit gradients' Gramian takes the inverse's place, so that the direction is
    ConFIG's always (the pseudo-inverse of G itself, as in TorchJD, would let lengths bend it). Where the unit gradients
    or the weights cancel, all weights are 0. Where the Gramian is not finite, the weights are not either.
    """

    card: ClassVar[Card] = Card(
        paper="Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang. Towards Impartial Multi-task Learning. ICLR 2021",
        url="https://openreview.net/forum?id=IMPnRXEWpvr",
        formula="all ⟨d, g_k/‖g_k‖⟩ equal, Σ w = 1: w ∝ G⁻¹ n, n_k = ‖g_k‖",
        hyperparameters={
            "on": f"{ON_ORIGIN}; the paper takes gradients at the shared feature",
        },
        deviations=(
            "dependent gradients and gradients of zero, for which the formula has no value, have one",
            "task-specific parameters get their own task's plain gradient; in Nash-MTL's code the weighted one",
        ),
        sum_of_weights="1",
        bibtex="@inproceedings{liu2021towards, title={Towards Impartial Multi-task Learning}, author={Liu, Liyang "
        "and Li, Yi and Kuang, Zhanghui and Xue, Jing-Hao and Chen, Yimin and Yang, Wenming and Liao, Qingmin"
        " and Zhang, Wayne}, booktitle={International Conference on Learning Representations}, year={2021}}",
    )

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights that sum to 1, or zeros."""
        if not gramian.isfinite().all():
            return torch.full_like(losses, torch.nan)
        coefficients, _ = equal_projection(gramian)
        total = coefficients.sum()
        if total.abs() <= 1e-12 * coefficients.abs().sum():
            return torch.zeros_like(losses)
        return coefficients / total
