"""Muon: matrices move by their orthogonalised momentum, everything else by AdamW."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Nesterov's momentum of the matrices.
MOMENTUM = 0.95
#: Coefficients of the odd polynomial a x + b x³ + c x⁵ that every iteration puts singular values through, how many
#: iterations there are, and the least length that a matrix is divided by.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LEAST = 1e-7
#: The root mean square of AdamW's usual step, in learning rates.
ADAMW_STEP = 0.2


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", kellerjordan.github.io, 2024).

    A matrix W of m × n numbers with the gradient G, whose momentum M ← 0.95 M + G is Nesterov's, becomes

        W ← (1 − η λ) W − 0.2 η √max(m, n) · O(G + 0.95 M)

    where O brings all singular values of a matrix near 1 (``orthogonalised``). A convolution's kernel is the matrix of
    its outputs by all else. The factor 0.2 √max(m, n) gives steps the size of AdamW's, so that one rate η and one decay
    λ serve both (Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982, 2025).

    Deviations: Jordan et al. give the first and the last layer to AdamW; here they are matrices like others, for a
    model does not say which they are. Whatever has two dimensions or four is a matrix, even where it maps no features:
    cross-stitch units' K×K mixtures of tasks, or a transformer's table of relative positions. The orthogonalisation is
    in float32 everywhere, where theirs is in bfloat16.

    ``torch.optim.Muon`` would not do: torch has it from 2.9 on only, it takes two dimensions alone, and it reads the
    rate on the host, which a step that is recorded cannot.

    Args:
        matrices: groups of parameters of two dimensions or four, with their ``weight_decay``.
        others: groups for AdamW.
        lr: the learning rate.
    """

    def __init__(self, matrices: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], *, lr: float) -> None:
        # The fused form's root is the same on all processors.
        self.adamw = torch.optim.AdamW(others, lr=lr, fused=True) if others else None
        plain = self.adamw.param_groups if self.adamw else []
        super().__init__([*({**group, "orthogonal": True} for group in matrices), *plain], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step, by the gradients that are there."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            if "orthogonal" in group:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._move(parameter, parameter.grad, group)
        if self.adamw:
            # Loading a state replaces both.
            self.adamw.param_groups = [group for group in self.param_groups if "orthogonal" not in group]
            self.adamw.state = self.state
            self.adamw.step()
        return loss

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].mul_(MOMENTUM).add_(gradient)
        ahead = gradient.add(momentum, alpha=MOMENTUM).flatten(1)
        # A tensor, whether the rate is one or a number: steps that are recorded must compute as those that are not.
        kind = torch.float64 if parameter.device.type == "cpu" else torch.float32
        rate = group["lr"]
        if not isinstance(rate, Tensor):
            rate = torch.full((), rate, dtype=kind, device=parameter.device)
        length = ADAMW_STEP * max(ahead.shape) ** 0.5
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.sub_(orthogonalised(ahead).mul_(rate * length).view_as(parameter))


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors, whose singular values are near 1: mostly 0.7 to 1.2, less for tiny ones.

    Newton-Schulz iterations X ← a X + (b X Xᵀ + c (X Xᵀ)²) X from the matrix by its length. (m, n) float32 -> the same.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x, (a, b, c) = wide / torch.linalg.vector_norm(wide).clamp(min=LEAST), COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide is matrix else x.T.contiguous()


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether Muon moves a parameter: all that have two dimensions or four, as linear layers and convolutions have."""
    return parameter.ndim in (2, 4)
