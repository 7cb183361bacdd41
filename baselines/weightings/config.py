"""ConFIG: the conflict-free direction with equal cosines to all gradients."""

import torch
from torch import Tensor

from baselines.gramians import equal_projection
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import GramianWeighting


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

    Deviations: none in the rule; the authors' code inverts the unit gradients themselves, this their cosines, with
    float32's resolution for what counts as dependent. The authors train networks without task-specific parameters;
    here these get their own task's plain gradient.
    """

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
