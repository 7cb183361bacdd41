"""Parameters that are elsewhere for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def gradients_at(value: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradient of a scalar at each parameter, zeros where it has no say; the graph is freed."""
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@contextmanager
def shifted(parameters: Sequence[nn.Parameter], along: Sequence[Tensor], by: float | Tensor) -> Iterator[None]:
    """Inside, the parameters are at θ + by · along; afterwards they have the very bits that they had."""
    if not parameters:  # of an empty list torch makes an error
        yield
        return
    before = [p.detach().clone() for p in parameters]
    data = [p.data for p in parameters]
    try:
        if isinstance(by, Tensor) and by.device.type != "cpu":  # its value is not values here, and nobody waits for it
            torch._foreach_add_(data, torch._foreach_mul(list(along), by))
        else:
            torch._foreach_add_(data, list(along), alpha=float(by))
        yield
    finally:
        torch._foreach_copy_(data, before)
