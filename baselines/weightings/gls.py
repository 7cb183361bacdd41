"""Geometric loss strategy: the geometric mean of the losses."""

from torch import Tensor

from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Weighting


@WEIGHTINGS.register("gls")
class GeometricLossStrategy(Weighting):
    """Geometric mean of the losses, (Π L_k)^{1/K} (Chennupati et al., MultiNet++, CVPR workshops 2019).

    Its gradient is Σ w_k ∇L_k with w_k = (Π L_j)^{1/K} / (K L_k). Since Σ w_k L_k is the geometric mean again, the
    plain weighted sum has its value and its gradient. The weights have no fixed sum (at least 1, and 1 where all losses
    are equal); scaling one task's loss scales all steps by one factor and leaves their direction. No state.

    Computed from mean logarithms: the product itself, as LibMTL forms it, leaves float32's range with many tasks.

    The mean exists for positive losses only. A loss of 0, a negative or a not finite one makes weights, objective and
    gradients NaN, for the engine to see; the product of two negative losses is not taken for a success.
    """

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) derivatives of their geometric mean."""
        logs = losses.log()
        return (logs.mean() - logs).exp() / len(losses)
