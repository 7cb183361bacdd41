"""ConFIG: the conflict-free direction with equal cosines to all gradients."""

from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN, equal_projection
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Card, GramianWeighting


@WEIGHTINGS.register("config")
class ConFIG(GramianWeighting):
    """ConFIG, conflict-free inverse gradients (Liu et al., ICLR 2025, equation 2, equal preferences).

    The direction v is that of pinv(U) 1, U being the matrix of unit gradients: its cosines to all gradients are equal
    and positive where these are independent. The length is the sum of the gradients' projections on it:
    d = (Σ ⟨g_k, v⟩) v. From the Gramian: pinv(U) 1 = Uᵀ pinv(U Uᵀ) 1, and U Uᵀ is the matrix of cosines.

    No hyperparameters, no state, no fixed sum of weights. The line is that of ``imtl-g``; gradients multiplied by a
    common factor multiply d by it, and multiplying a single gradient changes d in length only. Parallel gradients of
    any lengths give their sum, as ``equal`` does; orthogonal ones of equal length do too.

    Gradients of zero get the weight 0 and take no part. Where the unit gradients cancel, as two opposite ones do, all
    weights are 0. Where the Gramian is not finite, neither are the weights.
    """

    card: ClassVar[Card] = Card(
        paper="Liu, Chu, Thuerey. ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks. ICLR"
        " 2025",
        url="https://arxiv.org/abs/2408.11104",
        formula="v the direction of pinv(U) 1, U the unit gradients; d = (Σ ⟨g_k, v⟩) v",
        hyperparameters={
            "on": ON_ORIGIN,
        },
        deviations=(
            "the cosines are inverted, with float32's resolution for what counts as dependent; the authors' "
            "code inverts the unit gradients themselves",
            "task-specific parameters get their own task's plain gradient; the authors' networks have none",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{liu2025config, title={{ConFIG}: Towards Conflict-free Training of Physics Informed "
        "Neural Networks}, author={Liu, Qiang and Chu, Mengyu and Thuerey, Nils}, booktitle={International "
        "Conference on Learning Representations}, year={2025}}",
    )

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights."""
        if not gramian.isfinite().all():
            return torch.full_like(losses, torch.nan)
        coefficients, norms = equal_projection(gramian)
        if not coefficients.any():
            return torch.zeros_like(losses)
        safe = torch.where(norms > 0, norms, torch.inf)
        units = coefficients * norms  # the same direction in terms of unit gradients
        projections = (gramian / safe / safe[:, None]) @ units
        return coefficients * (norms @ projections) / (units @ projections)
