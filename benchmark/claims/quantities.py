"""Intervals of what a claim's criterion speaks of, made of simultaneous intervals of differences between two rows.

Every quantity rises or falls with each difference that it is made of. So its values at the differences' ends bound it
wherever all differences lie in their intervals, which has the probability that the criterion asks for. Nothing is
assumed of how differences depend on each other; the price is that the intervals are wide.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

#: A row and where it stands: what identifies its architecture and its weighting, and the setting.
Place = tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """An estimate and what it may be, in points; infinite ends where there are too few seeds.

    Attributes:
        seeds: the fewest runs of a row that it rests on.
    """

    estimate: float
    low: float
    high: float
    seeds: int


class Quantity(ABC):
    """A number that is made of differences between rows."""

    @abstractmethod
    def leaves(self) -> "Iterator[RowDifference]":
        """The differences that it is made of."""

    @abstractmethod
    def within(self, known: "Mapping[RowDifference, Interval]") -> Interval:
        """Its interval, from those of its differences."""


@dataclass(frozen=True)
class RowDifference(Quantity):
    """Row less other row, of Δm, or of one task's mean over its metrics."""

    row: Place
    other: Place
    task: str | None = None

    def leaves(self) -> "Iterator[RowDifference]":
        """This difference, or its negative: of two rows there is one."""
        yield self if self._sorted else self._negative

    def within(self, known: "Mapping[RowDifference, Interval]") -> Interval:
        """See ``Quantity``."""
        if self._sorted:
            return known[self]
        found = known[self._negative]
        return Interval(-found.estimate, -found.high, -found.low, found.seeds)

    @property
    def _sorted(self) -> bool:
        return self.row <= self.other

    @property
    def _negative(self) -> "RowDifference":
        return RowDifference(self.other, self.row, self.task)


@dataclass(frozen=True)
class Combination(Quantity):
    """The mean, the least or the greatest of several."""

    how: str
    parts: Sequence[Quantity]

    HOW: ClassVar[Mapping[str, Callable[[Sequence[float]], float]]] = {"mean": fmean, "least": min, "greatest": max}

    def leaves(self) -> "Iterator[RowDifference]":
        """See ``Quantity``."""
        for part in self.parts:
            yield from part.leaves()

    def within(self, known: "Mapping[RowDifference, Interval]") -> Interval:
        """See ``Quantity``."""
        found, of = [part.within(known) for part in self.parts], self.HOW[self.how]
        return Interval(
            of([i.estimate for i in found]),
            of([i.low for i in found]),
            of([i.high for i in found]),
            min(i.seeds for i in found),
        )


@dataclass(frozen=True)
class Less(Quantity):
    """One less another."""

    one: Quantity
    other: Quantity

    def leaves(self) -> "Iterator[RowDifference]":
        """See ``Quantity``."""
        yield from self.one.leaves()
        yield from self.other.leaves()

    def within(self, known: "Mapping[RowDifference, Interval]") -> Interval:
        """See ``Quantity``."""
        one, other = self.one.within(known), self.other.within(known)
        seeds = min(one.seeds, other.seeds)
        return Interval(one.estimate - other.estimate, one.low - other.high, one.high - other.low, seeds)


def spread(rows: Sequence[Place]) -> Quantity:
    """The largest less the smallest of several rows."""
    return Combination("greatest", [RowDifference(row, other) for row in rows for other in rows if row != other])


def beyond(row: Place, front: Sequence[Place], tasks: Sequence[str]) -> Quantity:
    """How far a row lies beyond every row of a front in its best task: min over the front of max over tasks."""
    return Combination(
        "least", [Combination("greatest", [RowDifference(row, other, task) for task in tasks]) for other in front]
    )
