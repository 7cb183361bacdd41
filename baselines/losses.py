"""What weightings of losses share: which losses have a logarithm, which tasks sit a step out, and exact shares."""

import torch
from torch import Tensor


def absent(losses: Tensor) -> Tensor:
    """(K,) which losses are exactly 0, as where a crop left a task no valid target: they have no logarithm."""
    return losses == 0


def defined(losses: Tensor) -> Tensor:
    """(K,) losses: 1 for absent tasks, whose logarithm so counts nothing; NaN in value and gradient where negative."""
    # A factor, not torch.where on the losses: where would give a masked loss the gradient 0.
    known = losses * torch.where(losses >= 0, 1.0, torch.nan)
    return torch.where(absent(losses), 1.0, known)


def without(out: Tensor, logits: Tensor) -> Tensor:
    """(K,) logits of a softmax, −∞ for the tasks that sit out, unless all do."""
    return torch.where(out & ~out.all(), -torch.inf, logits)


def shares(logits: Tensor) -> Tensor:
    """(K,) float64 logits of any size -> (K,) their softmax in float32.

    Differences are taken in float64: of logits of 1e6, float32 would not tell two that differ by a tenth. The
    exponentials are float32's, which every processor computes alike.
    """
    return torch.softmax((logits - logits.max()).float(), dim=0)
