"""The simultaneous intervals of the differences that claims are made of: now, and as more seeds would make them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.analysis.contrasts import RACED, Contrasts, contrasts
from benchmark.analysis.power import difference_told
from benchmark.analysis.verdicts import DELTA
from benchmark.claims.quantities import Interval, Place, RowDifference


@dataclass(frozen=True)
class Differences:
    """Differences of one kind, of Δm or of one task, between rows that have numbers; arrays have one number for each.

    Attributes:
        seeds: the fewest runs of either row.
        family: how many differences the error is shared out to.
    """

    leaves: tuple[RowDifference, ...]
    found: Contrasts
    seeds: np.ndarray
    family: int

    def now(self) -> dict[RowDifference, Interval]:
        """Their intervals."""
        return self._intervals(self.found.low, self.found.high, self.seeds)

    def planned(self, seeds: int) -> dict[RowDifference, Interval]:
        """What they would be with so many seeds of every row, if rows differ by what they do now.

        They are wider than intervals by what noise may do to the difference, so that a border outside of one is outside
        of the interval with a chance of 80 %. The level is that of rows with different numbers of seeds, since a claim
        seldom hangs on all of them.
        """
        found = self.found
        told = difference_told(
            seeds,
            np.sqrt(found.variance),
            found.freedom,
            found.seeds,
            found.paired,
            rows=self.family,
            alpha=RACED,
        )
        told = np.where(np.isfinite(told), told, np.inf)
        middle = np.where(np.isfinite(found.difference), found.difference, 0.0)
        return self._intervals(middle - told, middle + told, np.full(len(self.leaves), seeds))

    def _intervals(self, low: np.ndarray, high: np.ndarray, seeds: np.ndarray) -> dict[RowDifference, Interval]:
        lines = zip(self.leaves, self.found.difference, low, high, seeds, strict=True)
        return {leaf: Interval(float(d), float(a), float(b), int(n)) for leaf, d, a, b, n in lines}


def differences(
    tables: Mapping[str, pd.DataFrame], diverged: set[Place], leaves: set[RowDifference], family: int
) -> Iterator[Differences]:
    """The differences between rows that have numbers.

    Args:
        tables: by words of a setting the ``gains`` of its runs.
        diverged: rows of which some seed diverged.
        family: how many differences the error is shared out to.
    """
    by_task = {w: t.drop(columns=[DELTA]).T.groupby(level="task").mean().T for w, t in tables.items()}
    for task in sorted({leaf.task for leaf in leaves}, key=str):
        parts = {w: (tables[w][DELTA] if task is None else by_task[w][task]).unstack("seed") for w in tables}
        wide = pd.concat(parts.values()) if parts else pd.DataFrame()
        places = {place: k for k, place in enumerate((*row, w) for w, part in parts.items() for row in part.index)}
        usable = sorted(
            (
                leaf
                for leaf in leaves
                if leaf.task == task and all(r in places and r not in diverged for r in (leaf.row, leaf.other))
            ),
            key=lambda leaf: (leaf.row, leaf.other),
        )
        if not usable:
            continue
        values = wide.to_numpy(dtype=float)
        one, other = (
            values[[places[r] for r in rows]] for rows in zip(*((d.row, d.other) for d in usable), strict=True)
        )
        counts = np.minimum(np.isfinite(one).sum(-1), np.isfinite(other).sum(-1))
        yield Differences(tuple(usable), contrasts(one, other, rows=family), counts, family)
