"""What weightings that see the gradients themselves share: running rows, inner products, what is not finite."""

import torch
from torch import Tensor, nn

from benchmark.weighting import Direction

#: Columns whose products are summed in the gradients' own precision; sums over blocks are in float64.
BLOCK = 4096
#: Columns that rules of many passes take at a time on a CPU: K rows of them and what is made of them stay in its cache.
CHUNK = 1 << 16


def chunk(values: Tensor) -> int:
    """How many columns to take at a time; all of them on a GPU, where every further kernel costs."""
    return CHUNK if values.device.type == "cpu" else max(1, values.shape[-1])


class Room:
    """Memory that a rule overwrites in every step: fresh memory of a gradient's size costs a CPU as much as a sum."""

    scratch = ("_held",)

    def __init__(self) -> None:
        self._held = torch.empty(0)

    def like(self, tensor: Tensor, *, dtype: torch.dtype | None = None, count: int | None = None) -> Tensor:
        """(``count``,) numbers of any value, the same ones in every call; as many as in a tensor, and of its kind."""
        wanted, count = dtype or tensor.dtype, tensor.numel() if count is None else count
        if (self._held.dtype, self._held.device, len(self._held)) != (wanted, tensor.device, count):
            self._held = torch.empty(count, dtype=wanted, device=tensor.device)
        return self._held


class RunningRows(nn.Module):
    """One row of running values per task, of the gradients' size, in a buffer that is saved.

    Attributes:
        rows: (K, P), zeros at first, once ``allocate`` has been called.
    """

    rows: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        # Tells the device before the size is known.
        self.register_buffer("place", torch.zeros(()), persistent=False)

    def allocate(self, columns: int) -> None:
        """Make room for P columns; a second call with the same number keeps what is there."""
        if "rows" not in self._buffers or self.rows.shape[1] != columns:
            self.register_buffer("rows", torch.zeros(self.count, columns, device=self.get_buffer("place").device))

    def like(self, gradients: Tensor) -> Tensor:
        """(K, P) the rows, to be changed in place, in the gradients' precision and on their device."""
        self.rows = self.rows.to(gradients)
        return self.rows


def all_finite(values: Tensor) -> bool | Tensor:
    """Whether every element is a finite number, by one sum (which must not overflow).

    Of values on a GPU that is a () tensor there, so that nobody waits for it; see ``chosen``.
    """
    finite = values.sum().isfinite()
    return bool(finite) if values.device.type == "cpu" else finite


def chosen(finite: bool | Tensor, new: Tensor, old: Tensor | float) -> Tensor:
    """What is to be where gradients are finite, or else what was: ``new`` itself where it is known that they are."""
    return torch.where(finite, new, old) if isinstance(finite, Tensor) else new


def nowhere(gradients: Tensor) -> Direction:
    """What gradients (K, P) that are not finite give: NaN, so that the engine sees it."""
    return Direction(torch.full_like(gradients[0], torch.nan), gradients.new_full((len(gradients),), torch.nan))


def inner_products(rows: Tensor) -> Tensor:
    """(K, P) rows -> (K, K) their inner products in float64, however many columns there are."""
    whole = rows.shape[1] // BLOCK * BLOCK
    rest = rows[:, whole:]
    blocks = rows[:, :whole].unflatten(1, (whole // BLOCK, BLOCK)).transpose(0, 1)  # (P/BLOCK, K, BLOCK)
    return torch.bmm(blocks, blocks.mT).sum(0, dtype=torch.float64) + (rest @ rest.T).double()
