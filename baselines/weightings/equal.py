"""Equal weights."""

import torch
from torch import Tensor

from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Weighting


@WEIGHTINGS.register("equal")
class Equal(Weighting):
    """The plain sum of the losses, Σ L_k: every weight is 1, the weights sum to K."""

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) ones."""
        return torch.ones_like(losses)
