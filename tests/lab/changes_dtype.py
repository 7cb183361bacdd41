"""A weighting that changes PyTorch's default type of numbers."""

import torch

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("changes-dtype")
class ChangesDtype(Weighting):
    """Half of the losses, in double precision from then on."""

    def weights(self, losses):
        torch.set_default_dtype(torch.float64)
        return torch.full_like(losses, 0.5)
