"""From a Gramian to unit gradients and back: what makes a solver indifferent to scale."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.exact import sqrt
from benchmark.tasks import Task
from benchmark.weighting import GramianWeighting

Array = NDArray[np.float64]

# A gradient shorter than this part of the longest is zero: its weight could not be told apart from infinity in float32.
NEGLIGIBLE = 1e-18


@dataclass(frozen=True)
class UnitRows:
    """The gradients u_k = g_k / ‖g_k‖ of the tasks whose gradient is not zero, M of K.

    Attributes:
        present: (K,) which tasks these are.
        lengths: (M,) ‖g_k‖.
        cosines: (M, M) ⟨u_i, u_j⟩, symmetric, with ones on the diagonal and no negative eigenvalue.
    """

    present: NDArray[np.bool_]
    lengths: Array
    cosines: Array

    @classmethod
    def of(cls, gramian: Array) -> "UnitRows":
        """From a finite (K, K) Gramian, which rounding may have left a little off symmetry and definiteness."""
        diagonal = np.sqrt(np.maximum(gramian.diagonal(), 0.0))
        present = (diagonal > 0) & (diagonal > NEGLIGIBLE * diagonal.max())
        lengths = diagonal[present]
        # One division after the other: the product of two lengths could leave the range of a float.
        with np.errstate(over="ignore"):
            cosines = np.clip(gramian[np.ix_(present, present)] / lengths / lengths[:, None], -1.0, 1.0)
        cosines = (cosines + cosines.T) / 2
        np.fill_diagonal(cosines, 1.0)
        if len(cosines) > 2:
            lowest = np.linalg.eigvalsh(cosines)[0]
            np.fill_diagonal(cosines, 1.0 - min(lowest, 0.0))
        return cls(present, lengths, cosines)

    @property
    def count(self) -> int:
        """K."""
        return len(self.present)

    def weights(self, coefficients: Array, absent: float) -> Array:
        """(M,) coefficients of the unit gradients -> (K,) weights of the gradients; ``absent`` for zero ones."""
        weights = np.full(self.count, absent)
        weights[self.present] = coefficients / self.lengths
        return weights


class SolvedWeighting(GramianWeighting):
    """A weighting whose weights solve a problem on the Gramian. A subclass defines ``solve``.

    A Gramian that is not finite gives NaN weights, so that the engine sees the divergence.

    State: ``fallbacks``, the number of steps whose problem had no solution or was not solved to its tolerance; the
    subclass says what it returned instead.
    """

    fallbacks: Tensor  # () integer

    def __init__(self, tasks: Sequence[Task], *, on: str = "parameters") -> None:
        super().__init__(tasks, on=on)
        self.register_buffer("fallbacks", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """The weights (K,) for gradients of which at least one is not zero, and whether they solve the problem."""

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian and (K,) losses -> (K,) weights; 1/K each if every gradient is zero."""
        products = gramian.detach().numpy()
        if not np.isfinite(products).all():
            return torch.full_like(losses, torch.nan)
        rows = UnitRows.of(products)
        if not rows.present.any():
            return torch.full_like(losses, 1 / rows.count)
        weights, solved = self.solve(rows, losses.detach().numpy())
        if not solved:
            self.fallbacks.add_(1)
        return torch.from_numpy(weights)


def clipped(weights: Tensor, gramian: Tensor, max_norm: float) -> Tensor:
    """(K,) weights, scaled down where ‖Σ w_k g_k‖ exceeds ``max_norm``; 0 for no limit."""
    # The longest gradient as the unit: squares of what is left cannot overflow.
    unit = sqrt(gramian.diagonal().max().clamp(min=0))
    if max_norm == 0 or not unit > 0:
        return weights
    scaled = weights * unit
    length = sqrt((scaled @ (gramian / unit / unit) @ scaled).clamp(min=0))
    return weights * (max_norm / length) if length > max_norm else weights


def checked_number(weighting: str, option: str, value: Any, *, zero: bool) -> float:
    """``value`` as a finite number that is positive, or not negative where ``zero`` is allowed.

    Raises:
        UsageError: it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        wanted = "a finite number of at least 0" if zero else "a positive finite number"
        raise UsageError(f"{weighting!r} needs {wanted} as {option!r}, found {value!r}")
    return float(value)
