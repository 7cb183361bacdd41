"""Randomness by counting: every number is a hash of (seed, stream, index), on any device and in any order.

Whole numbers only, and the few floats are exact multiples of powers of two, so that the same seed gives the same bits
whatever the batch, the process, the number of threads or the device.
"""

import zlib
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_MASK64 = (1 << 64) - 1
_MASK32 = (1 << 32) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix64(value: int) -> int:
    """The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): a bijection of 64-bit numbers."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK64
    return value ^ (value >> 31)


class Draws:
    """A stream of random numbers for one purpose; streams of other names or seeds do not disturb it."""

    def __init__(self, seed: int, stream: str) -> None:
        self._state = mix64(mix64(seed + _GOLDEN & _MASK64) ^ zlib.crc32(stream.encode()))

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = self._state + _GOLDEN & _MASK64
        return mix64(self._state)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * ((self.bits() >> 11) * 2.0**-53)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.bits() % (high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.bits() % len(items)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        return sorted(items, key=lambda _: self.bits())


def hash32(value: Tensor) -> Tensor:
    """Hash whole numbers in [0, 2³²), element by element. int64 -> int64 in [0, 2³²).

    The constants (Wellons, "Prospecting for Hash Functions") are below 2³¹, so that no product leaves int64.
    """
    value = (value ^ (value >> 15)) * 0x2C1B3C6D & _MASK32
    value = (value ^ (value >> 12)) * 0x297A2D39 & _MASK32
    return value ^ (value >> 15)


def fold(*parts: Tensor) -> Tensor:
    """Hash several whole numbers of any sign into one, element by element. int64 -> int64 in [0, 2³²)."""
    value = hash32(parts[0] & _MASK32)
    for part in parts[1:]:
        value = hash32((value * 31 + part) & _MASK32)
    return value


def fraction(value: Tensor) -> Tensor:
    """Hashes as floats in [0, 1). int64 -> float32."""
    return (value >> 8).to(torch.float32) * 2.0**-24


def bell(value: Tensor) -> Tensor:
    """Hashes as nearly normal noise, mean 0 and variance 1: the sum of four bytes of one hash. int64 -> float32.

    A logarithm and a cosine would not be the same to the last bit on all devices; sums of whole numbers are.
    """
    total = (value & 255) + (value >> 8 & 255) + (value >> 16 & 255) + (value >> 24)
    return (total - 510).to(torch.float32) * (1 / 147.8)
