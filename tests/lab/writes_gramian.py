"""A weighting that computes in place, in what it is given."""

import torch

from benchmark import WEIGHTINGS
from benchmark.weighting import GramianWeighting


@WEIGHTINGS.register("writes-gramian")
class WritesGramian(GramianWeighting):
    """Normalises the Gramian in place."""

    def from_gramian(self, gramian, losses):
        gramian /= gramian.diagonal().mean()
        losses.zero_()
        return torch.ones(len(gramian), dtype=gramian.dtype)
