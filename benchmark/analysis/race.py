"""Which row of a board should get its next seed: the one that does most to decide open verdicts, for its cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analysis.contrasts import RACED, Contrasts, contrasts
from benchmark.analysis.looks import FIRST, critical
from benchmark.analysis.moderation import moderate
from benchmark.analysis.verdicts import MARGIN, verdict_words

#: What an open verdict counts that runs under way are expected to decide: enough to keep a worker busy, and no more.
EXPECTED = 0.01


@dataclass(frozen=True)
class Family:
    """The comparisons with one baseline.

    Attributes:
        rows, baselines: places of the rows, and of what each is held against.
        size: how many rows the error is shared out to.
    """

    rows: np.ndarray
    baselines: np.ndarray
    size: int

    def judge(self, values: np.ndarray, margin: float) -> tuple[Contrasts, np.ndarray]:
        """The intervals of all comparisons, and which verdicts are open."""
        found = contrasts(values[self.rows], values[self.baselines], rows=self.size, alpha=RACED)
        return found, verdict_words(found.low, found.high, margin) == "undecided"


@dataclass(frozen=True)
class RaceState:
    """Where a race stands; seeds are columns.

    Attributes:
        values: Δm, (rows, seeds); NaN where there is none.
        tried: whether there is a record, of whatever status, (rows, seeds).
        pending: whether the run is under way, (rows, seeds).
        cost: of one run of each row, in any unit.
        open: whether a row may get seeds.
    """

    values: np.ndarray
    tried: np.ndarray
    pending: np.ndarray
    cost: np.ndarray
    open: np.ndarray

    def next_seed(self, row: int) -> int | None:
        """The first seed that a row has neither tried nor under way; None where it has them all."""
        free = np.flatnonzero(~(self.tried[row] | self.pending[row]))
        return int(free[0]) if len(free) else None


def ranking(race_state: RaceState, families: Sequence[Family], *, margin: float = MARGIN) -> list[tuple[float, int]]:
    """The rows that should get a seed, the most informative first; empty where every verdict is decided.

    First each row that is compared gets ``FIRST`` seeds. Then: a verdict at difference d is decided where half the
    interval's width is below max(|d|, margin − |d|). Each row is given the share of the way there, in logarithms of the
    width, that one more run of it would go, summed over the open verdicts that it is a part of, as row or as baseline,
    over the run's cost. So a row near its decision comes before one that hardly anything would decide, and a baseline
    that many open rows share before each of them. Equal ones stand in the order of rows.

    Returns:
        What a run brings, infinite for the first seeds, and the row that would get it.
    """
    seeds = [race_state.next_seed(row) for row in range(len(race_state.values))]
    allowed = race_state.open & np.array([seed is not None for seed in seeds], dtype=bool)
    compared, score = np.zeros(len(seeds), dtype=int), np.zeros(len(seeds))
    for family in families:
        forecast = _Forecast(race_state, family, seeds, margin)
        for side, own in enumerate((family.rows, family.baselines)):
            np.add.at(compared, own, 1)
            np.add.at(score, own, forecast.progress(side))
    begun = (race_state.tried | race_state.pending).sum(1)
    lacking = np.flatnonzero(allowed & (compared > 0) & (begun < FIRST)).tolist()
    if lacking:
        first = sorted(lacking, key=lambda row: (begun[row], -compared[row], row))
        return [(np.inf, row) for row in first]
    score = score / race_state.cost
    wanted = sorted(np.flatnonzero(allowed & (score > 0)).tolist(), key=lambda row: (-score[row], row))
    return [(float(score[row]), row) for row in wanted]


class _Forecast:
    """Expected widths of the intervals of one family after further seeds.

    Args:
        seeds: each row's next one.
    """

    def __init__(self, race_state: RaceState, family: Family, seeds: Sequence[int | None], margin: float) -> None:
        self.family = family
        self.found, self.undecided = family.judge(race_state.values, margin)
        distance = np.abs(np.nan_to_num(self.found.difference))
        self.target = np.maximum(distance, margin - distance)
        present = np.isfinite(race_state.values) | race_state.pending
        self.count = present.sum(1)
        self.common = (present[family.rows] & present[family.baselines]).sum(1)
        pairs = ((family.rows, family.baselines), (family.baselines, family.rows))
        self.credit = [
            np.array(
                [
                    _common_seed_credit(seeds[a], present[b], seeds[b], present[a])
                    for a, b in zip(own, other, strict=True)
                ]
            )
            for own, other in pairs
        ]
        self.known = np.isfinite(race_state.values).sum(1)
        self.spread = _variances(race_state.values)

    def progress(self, side: int) -> np.ndarray:
        """By comparison the share of the way to its decision that one more run of row (0) or baseline (1) makes."""
        with np.errstate(all="ignore"):
            now, then = self.half((0, 0)), self.half((1 - side, side))
            way = np.log(now / self.target)
            share = np.where(way > 1e-9, np.minimum(1.0, np.log(now / then) / way), EXPECTED)
        share = np.where(np.isfinite(self.found.half), share, 1.0)
        return np.where(self.undecided, share, 0.0)

    def half(self, more: tuple[int, int]) -> np.ndarray:
        """Expected half widths with the runs in progress and ``more`` runs of row and baseline."""
        rows, baselines, found = self.family.rows, self.family.baselines, self.found
        n, m = self.count[rows] + more[0], self.count[baselines] + more[1]
        seeds = np.where(
            found.paired, self.common + more[0] * self.credit[0] + more[1] * self.credit[1], 2 * n * m / (n + m)
        )
        # What is known of the two rows' noise says how the difference's shrinks with the seeds of either.
        before = self.spread[rows] / self.known[rows] + self.spread[baselines] / self.known[baselines]
        apart = found.variance / found.seeds * (self.spread[rows] / n + self.spread[baselines] / m) / before
        variance = np.where(found.paired, found.variance / seeds, apart)
        freedom = found.freedom + np.where(found.paired, 1.0, 2.0) * (seeds - found.seeds)
        return critical(seeds, freedom, self.family.size, alpha=RACED) * np.sqrt(variance)


def _common_seed_credit(seed: int | None, other: np.ndarray, others_seed: int | None, own: np.ndarray) -> float:
    """What a row's next seed adds to the seeds that it has in common with another row.

    1 where the other has that seed. Else 0.5, since the other must run it too; but 0 where the row has the other's next
    seed already: what is lacking then is runs of the other alone.

    Args:
        seed, others_seed: the next seed of the row and of the other; None where they have them all.
        own, other: (seeds,) which seeds the row and the other have.
    """
    if seed is None:
        return 0.0
    if other[seed]:
        return 1.0
    return 0.0 if others_seed is not None and own[others_seed] else 0.5


def _variances(values: np.ndarray) -> np.ndarray:
    """Of one run of each row, moderated; of a row that has none yet, the typical one."""
    known = np.isfinite(values)
    n = known.sum(1)
    with np.errstate(all="ignore"):
        mean = np.where(known, values, 0.0).sum(1) / n
        squares = (np.where(known, values - mean[:, None], 0.0) ** 2).sum(1)
        moderated, _ = moderate(np.where(n > 1, squares / (n - 1), np.nan), n - 1.0)
        positive = moderated[np.isfinite(moderated) & (moderated > 0)]
        typical = float(np.exp(np.log(positive).mean())) if len(positive) else 1.0
    return np.where(np.isfinite(moderated) & (moderated > 0), moderated, typical)
