"""Weightings that give something else than a tensor of weights."""

import torch

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("returns-list")
class ReturnsList(Weighting):
    """A list."""

    def weights(self, losses):
        return [1.0] * len(losses)


@WEIGHTINGS.register("returns-none")
class ReturnsNone(Weighting):
    """Forgets to return."""

    def weights(self, losses):
        torch.ones_like(losses)


@WEIGHTINGS.register("returns-shape")
class ReturnsShape(Weighting):
    """A weight too many."""

    def weights(self, losses):
        return torch.ones(len(losses) + 1)
