"""What several weightings do with a Gramian: its unit form, its pseudo-inverse, and tasks in random order."""

import torch
from torch import Tensor, nn

from benchmark.exact import sqrt

#: Eigenvalues below this share of the largest, times K, count as zero. It is float32's resolution, as in the official
#: code of Aligned-MTL, although Gramians come in float64: gradients are computed in float32, and the smallest
#: eigenvalue of two equal ones is rounding.
RESOLUTION = torch.finfo(torch.float32).eps

#: Where the default of the option ``on`` comes from, for cards.
ON_ORIGIN = "the shared parameters, which every architecture has; a representation needs one feature for all heads"


def equal_projection(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """The shortest direction whose projections on all unit gradients are as close to 1 as they can be.

    It is pinv(U) 1 for the matrix U of unit gradients. A gradient of length zero has no unit and takes no part. Where
    the unit gradients are independent, all projections are 1; where they cancel, the direction is zero.

    Args:
        gramian: (K, K) finite.

    Returns:
        (K,) coefficients on the gradients themselves, zeros where the direction is zero; (K,) lengths of the gradients.
    """
    norms = sqrt(gramian.diagonal().clamp(min=0))
    safe = torch.where(norms > 0, norms, torch.inf)
    values, vectors = torch.linalg.eigh(gramian / safe / safe[:, None])
    kept = values > len(values) * RESOLUTION * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    projections = vectors.sum(0)  # of the vector of ones
    if (projections.square() / values).sum() <= 1e-12:
        return torch.zeros_like(norms), norms
    return vectors @ (projections / values) / safe, norms


class RandomOrders(nn.Module):
    """Random orders from a generator of its own, whose state is saved with the module.

    The seed is drawn from torch's current generator at construction; nothing is drawn from it later.
    """

    state: Tensor  # bytes

    def __init__(self) -> None:
        super().__init__()
        seed = int(torch.randint(2**63 - 1, (), device="cpu"))
        self.register_buffer("state", torch.Generator().manual_seed(seed).get_state())

    def others(self, count: int) -> list[list[int]]:
        """For each of ``count`` tasks all other tasks, in an order drawn for it alone."""
        generator = torch.Generator()
        generator.set_state(self.state.cpu())
        drawn = [torch.randperm(count, generator=generator).tolist() for _ in range(count)]
        self.state.copy_(generator.get_state())
        return [[j for j in order if j != i] for i, order in enumerate(drawn)]
