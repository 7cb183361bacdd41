"""Which tasks have a label in a step: known on the host, so that nobody waits for the device to learn it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Presence:
    """The tasks of which a step's batch holds a valid target, M of K. Nothing here waits for the device.

    Where all are present every method gives or writes what it is given, to the last bit.

    Attributes:
        count: K.
        places: of the present tasks, ascending.
    """

    count: int
    places: tuple[int, ...]

    @classmethod
    def everyone(cls, count: int) -> "Presence":
        """All of K tasks."""
        return cls(count, tuple(range(count)))

    @classmethod
    def from_flags(cls, flags: Sequence[bool]) -> "Presence":
        """Of K flags."""
        return cls(len(flags), tuple(k for k, flag in enumerate(flags) if flag))

    @property
    def all(self) -> bool:
        """Whether no task is absent."""
        return len(self.places) == self.count

    @property
    def absent(self) -> tuple[int, ...]:
        """Places of the other tasks."""
        return tuple(k for k in range(self.count) if k not in self.places)

    def rows(self, values: Tensor) -> Tensor:
        """(K, …) one entry per task -> (M, …) those of the present tasks; at least one must be."""
        return values if self.all else torch.stack([values[k] for k in self.places])

    def square(self, values: Tensor) -> Tensor:
        """(K, K) one entry per pair of tasks -> (M, M)."""
        return values if self.all else self.rows(self.rows(values).T).T.contiguous()

    def spread(self, values: Tensor) -> Tensor:
        """(M,) one number per present task -> (K,) with 0 for the absent ones."""
        if self.all:
            return values
        whole = values.new_zeros(self.count)
        self.write(whole, values)
        return whole

    @torch.no_grad()
    def write(self, state: Tensor, values: Tensor) -> None:
        """Put (M, …) entries of the present tasks into (K, …), in place; those of the absent ones stay."""
        if self.all:
            if values is not state:
                state.copy_(values)
            return
        for k, value in zip(self.places, values, strict=True):
            state[k].copy_(value)

    @torch.no_grad()
    def write_square(self, state: Tensor, values: Tensor) -> None:
        """Put (M, M) entries of the pairs of present tasks into (K, K), in place; all others stay."""
        if self.all:
            state.copy_(values)
            return
        for k, row in zip(self.places, values, strict=True):
            self.write(state[k], row)

    @torch.no_grad()
    def blank(self, *values: Tensor) -> None:
        """Set the entries of absent tasks to 0, in place; (K, …) each."""
        for k in self.absent:
            for tensor in values:
                tensor[k].zero_()
