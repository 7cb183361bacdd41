"""A weighting whose memory no checkpoint holds."""

import torch

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("keeps-state")
class KeepsState(Weighting):
    """Weights by the mean loss so far."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.history = []

    def weights(self, losses):
        self.history.append(losses.detach())
        return torch.stack(self.history).mean(0)
