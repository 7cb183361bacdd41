"""Adam on a few numbers that a weighting keeps itself."""

import torch
from torch import Tensor, nn

from benchmark.exact import sqrt


class Adam(nn.Module):
    """Adam (Kingma & Ba, ICLR 2015) whose moments are buffers, so that a weighting's ``state_dict`` holds them.

    The rule and its constants are those of ``torch.optim.Adam``, with decay as a part of the gradient. That one keeps
    its moments apart from the module, and its functional form waits for the device to count steps; this waits for
    nothing.

    Args:
        count: how many numbers are learned.
        lr: step length.
        weight_decay: this times the numbers is added to their gradient.
    """

    first: Tensor  # (count,)
    second: Tensor  # (count,)
    steps: Tensor  # () int64

    #: Decay of the two moments, and what keeps the quotient finite.
    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, count: int, *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.lr = lr
        self.weight_decay = weight_decay
        self.register_buffer("first", torch.zeros(count))
        self.register_buffer("second", torch.zeros(count))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def step(self, numbers: Tensor, gradient: Tensor) -> None:
        """Move ``numbers`` (count,) against ``gradient`` (count,), in place."""
        gradient = gradient.to(numbers) + self.weight_decay * numbers
        self.steps += 1
        for moment, beta, part in zip(
            (self.first, self.second), self.BETAS, (gradient, gradient.square()), strict=True
        ):
            moment.copy_(beta * moment + (1 - beta) * part)
        # In double precision: 1 − 0.999 would lose half of its digits.
        done = self.steps.double()
        mean, square = (m / (1 - b**done) for m, b in zip((self.first, self.second), self.BETAS, strict=True))
        numbers -= self.lr * mean / (sqrt(square) + self.EPSILON)
