"""What weightings of logarithms of losses share: which losses have one, and which tasks sit a step out."""

import torch
from torch import Tensor


def absent(losses: Tensor) -> Tensor:
    """(K,) which tasks have no valid target in the batch: kinds of task then give a loss of exactly 0."""
    return losses == 0


def defined(losses: Tensor) -> Tensor:
    """(K,) losses: 1 for absent tasks, whose logarithm so counts nothing; NaN in value and gradient where negative."""
    # A factor, not torch.where on the losses: where would give a masked loss the gradient 0.
    known = losses * torch.where(losses >= 0, 1.0, torch.nan)
    return torch.where(absent(losses), 1.0, known)
