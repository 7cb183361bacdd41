"""Adam on a few numbers that a weighting keeps itself."""

import torch
from torch import Tensor, nn

from benchmark.exact import sqrt
from benchmark.presence import Presence


class Adam(nn.Module):
    """Adam (Kingma & Ba, ICLR 2015) whose moments are buffers, so that a weighting's ``state_dict`` holds them.

    The rule and its constants are those of ``torch.optim.Adam``, with decay as a part of the gradient. That one keeps
    its moments apart from the module, and its functional form waits for the device to count steps; this waits for
    nothing.

    A number that a step leaves out keeps its value, its moments and its count of steps.

    Args:
        count: how many numbers are learned.
        lr: step length.
        weight_decay: this times the numbers is added to their gradient.
    """

    first: Tensor  # (count,)
    second: Tensor  # (count,)
    steps: Tensor  # (count,) int64

    #: Decay of the two moments, and what keeps the quotient finite.
    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, count: int, *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.lr = lr
        self.weight_decay = weight_decay
        self.register_buffer("first", torch.zeros(count))
        self.register_buffer("second", torch.zeros(count))
        self.register_buffer("steps", torch.zeros(count, dtype=torch.int64))

    @torch.no_grad()
    def step(self, numbers: Tensor, gradient: Tensor, present: Presence | None = None) -> None:
        """Move the ``present`` ones of ``numbers`` (count,), or all, in place.

        Args:
            numbers: what is learned.
            gradient: (M,) by the present ones.
            present: which are moved.
        """
        moved = present or Presence.everyone(len(numbers))
        before = moved.rows(numbers)
        gradient = gradient.to(numbers) + self.weight_decay * before
        moved.write(self.steps, moved.rows(self.steps) + 1)
        means = []
        for moment, beta, part in zip(
            (self.first, self.second), self.BETAS, (gradient, gradient.square()), strict=True
        ):
            now = beta * moved.rows(moment) + (1 - beta) * part
            moved.write(moment, now)
            # In double precision: 1 − 0.999 would lose half of its digits. One power after the other, since several at
            # once are computed otherwise and may differ in the last bit.
            left = torch.stack([1 - beta**done for done in moved.rows(self.steps).double()])
            means.append(now / left.to(now))
        mean, square = means
        moved.write(numbers, before - self.lr * mean / (sqrt(square) + self.EPSILON))
