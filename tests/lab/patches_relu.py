"""A weighting that patches a layer of PyTorch for its own purposes."""

import torch
from torch import nn

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("patches-relu")
class PatchesReLU(Weighting):
    """Equal weights; every ReLU leaks."""

    def weights(self, losses):
        nn.ReLU.forward = lambda self, features: torch.nn.functional.leaky_relu(features, 0.1)
        nn.functional.relu = nn.functional.gelu
        return torch.ones_like(losses)
