"""Geometric loss strategy: the geometric mean of the losses."""

from typing import ClassVar

import torch
from torch import Tensor

from baselines.losses import absent, defined
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("gls")
class GeometricLossStrategy(Weighting):
    """Geometric mean of the losses, (Π L_k)^{1/K} (Chennupati et al., MultiNet++, CVPR workshops 2019).

    Its gradient is Σ w_k ∇L_k with w_k = (Π L_j)^{1/K} / (K L_k). Since Σ w_k L_k is the geometric mean again, the
    plain weighted sum has its value and its gradient. The weights have no fixed sum (at least 1, and 1 where all losses
    are equal); scaling one task's loss scales all steps by one factor and leaves their direction. No state.

    A loss of exactly 0 sits the step out, with weight 0, and the
    mean is that of the others. A negative or a not finite loss makes weights, objective and gradients NaN, for the
    engine to see; the product of two negative losses is not taken for a success.
    """

    card: ClassVar[Card] = Card(
        paper="Chennupati, Sistu, Yogamani, Rawashdeh. MultiNet++: Multi-Stream Feature Aggregation and Geometric "
        "Loss Strategy for Multi-Task Learning. CVPR Workshops 2019",
        url="https://arxiv.org/abs/1904.08492",
        formula="min (Π L_k)^(1/K); w_k = (Π L_j)^(1/K)/(K L_k)",
        deviations=(
            "computed from mean logarithms: the product itself, as LibMTL forms it, leaves float32's range "
            "with many tasks",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{chennupati2019multinet, title={{MultiNet++}: Multi-Stream Feature Aggregation and "
        "Geometric Loss Strategy for Multi-Task Learning}, author={Chennupati, Sumanth and Sistu, Ganesh and "
        "Yogamani, Senthil and Rawashdeh, Samir A.}, booktitle={IEEE/CVF Conference on Computer Vision and "
        "Pattern Recognition Workshops}, year={2019}}",
    )

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) derivatives of their geometric mean."""
        logs, out = defined(losses).log(), absent(losses)
        count = (~out).sum().clamp(min=1)
        return torch.where(out, 0.0, (logs.sum() / count - logs).exp() / count)
