"""A weighting that prints, and draws random numbers of its own."""

import random

import numpy as np
import torch

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("prints")
class Prints(Weighting):
    """Equal weights, with a word about each step."""

    def weights(self, losses):
        print("step", losses.tolist())  # noqa: T201 - that is what it is here for
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        return torch.ones_like(losses)
