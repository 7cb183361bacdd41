"""Which rows are better or worse than a baseline, which equal to it within a margin, and which are still open."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.analysis.compare import ROW
from benchmark.analysis.contrasts import contrasts
from benchmark.analysis.definitions import of_definition
from benchmark.analysis.delta import CELL, mean_over_tasks, relative_gains
from benchmark.analysis.frames import Labels
from benchmark.analysis.selection import mean_reference, references
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.record import RunRecord

#: A row: its architecture and its weighting, however they are called.
Pair = tuple[str, str]

#: The words, in the order in which they are tried; ``undecided`` where none fits.
VERDICTS = {
    "better": "the whole interval of the difference is above 0",
    "worse": "the whole interval is below 0",
    "equivalent": "the whole interval lies within the margin",
    "undecided": "none of these: more seeds would tell",
}
#: The margin, in points of Δm; of a single metric, in per cent of its reference value.
MARGIN = 2.0
#: The quantity whose verdicts hold for all rows and looks together.
DELTA = ("", "delta_m")

VERDICT_COLUMNS = [
    *ROW, "baseline_architecture", "baseline_weighting", "task", "metric", "n", "n_baseline", "paired", "seeds",
    "difference", "low", "high", "sd", "freedom", "margin", "simultaneous", "verdict",
]  # fmt: skip
#: Those of ``VERDICT_COLUMNS`` that are numbers and no counts.
NUMBERS = ("seeds", "difference", "low", "high", "sd", "freedom", "margin")


@dataclass(frozen=True)
class Baseline:
    """What each row is held against: the row in which one of its two parts is another, or the reference.

    Attributes:
        architecture: "is this architecture worth it?": rows against that one under the same weighting.
        weighting: "is this weighting worth it?": rows against that one on the same architecture. With neither, "is
            sharing worth it?": rows against the single-task reference.
    """

    architecture: str | None = None
    weighting: str | None = None

    @classmethod
    def usual(cls) -> "list[Baseline]":
        """The reference, and the weighting and the architecture that are registered as baselines."""
        others = (cls(weighting=WEIGHTINGS.baseline), cls(architecture=ARCHITECTURES.baseline))
        return [cls(), *(other for other in others if other != cls())]

    def __str__(self) -> str:
        """In words, such as *against equal*."""
        return f"against {self.architecture or self.weighting or 'the reference'}"

    def find_row(self, row: Pair, reference: Pair | None) -> Pair | None:
        """The name of the row that a row is held against; None for the baseline itself."""
        if self.architecture is None and self.weighting is None:
            other = reference
        else:
            other = (self.architecture or row[0], self.weighting or row[1])
        return None if other == row else other

    def pairs(self, rows: Iterable[Pair], reference: Pair | None) -> dict[Pair, Pair]:
        """By row, in order, the one of ``rows`` that it is held against; without those that have none."""
        known = dict.fromkeys(rows)
        return {row: other for row in known if (other := self.find_row(row, reference)) is not None and other in known}

    def named(self, kinds: Mapping[Pair, Pair]) -> "list[Baseline]":
        """This baseline with the rows' names in place of the method's: several where it stands with several options.

        Args:
            kinds: by row, the registered names of architecture and weighting.
        """
        if self == REFERENCE:
            return [self]
        place = 0 if self.architecture else 1
        method = (self.architecture, self.weighting)[place]
        names = sorted({row[place] for row, kind in kinds.items() if kind[place] == method})
        return [Baseline(**{("architecture", "weighting")[place]: name}) for name in names]


#: Against single-task networks.
REFERENCE = Baseline()


def verdicts(
    data: pd.DataFrame,
    baseline: Baseline = REFERENCE,
    *,
    margin: float = MARGIN,
    share: float = MARGIN,
    rows: int | None = None,
    definition: str = "pooled",
    diverged: Collection[Pair] = (),
) -> pd.DataFrame:
    """Judge every row of a board that has a baseline: better, worse, equivalent or undecided.

    All numbers are ``gains``: in per cent of the mean over the reference's seeds. The noise of that mean cancels where
    two rows are compared, and where a row is compared with the reference it counts once: the reference is a row like
    others then, whose mean is 0.

    Of Δm the intervals hold together: with 95 % all of the rows' intervals have their truth inside at every look, if
    one looks after every seed (``contrasts.contrasts``; ``docs/verdicts.md`` says how that was found to hold). So a
    row may be given seeds until it is decided. Those of single metrics are plain ones, each with 95 % for itself, at
    one look, and are marked so.

    A seed that diverged has no numbers, and counts against its row: what the other seeds give is the best that may be
    said of it. So a row with such a seed is never better or equivalent, and nothing is worse than it or equivalent to
    it; what would be so is undecided.

    Args:
        data: tidy test numbers of one board, an epoch per run (``select`` with ``against="mean"``), with the columns of
            ``frame``.
        baseline: which rows are compared, and with which.
        margin: in points of Δm: an interval inside ±margin says equivalent.
        share: in per cent of the reference value: the margin of single metrics.
        rows: how many rows are, or are going to be, compared with the baseline, where those of ``data`` are not all.
        definition: of the metrics.
        diverged: rows of which some seed diverged.

    Returns:
        One line per row and quantity, Δm first (``task`` empty, ``metric`` ``delta_m``): ``VERDICT_COLUMNS``, where
        ``n`` and ``n_baseline`` count runs; ``paired`` says whether runs of one seed were compared, and ``seeds`` what
        the interval rests on; ``difference`` is row − baseline, plus when the row is better; ``low`` and ``high`` are
        infinite where there are fewer than three seeds; ``sd`` is the moderated standard deviation of one run's
        difference, of ``freedom`` degrees of freedom; ``simultaneous`` is False for plain intervals; ``verdict`` is a
        key of ``VERDICTS``.

    Raises:
        ValueError: a run has two values of one metric.
        UsageError: the definition is unknown.
    """
    table, reference = gains(data, definition=definition), reference_row(data)
    return gain_verdicts(table, reference, baseline, margin=margin, share=share, rows=rows, diverged=diverged)


def gain_verdicts(
    table: pd.DataFrame,
    reference: Pair | None,
    baseline: Baseline,
    *,
    margin: float = MARGIN,
    share: float = MARGIN,
    rows: int | None = None,
    diverged: Collection[Pair] = (),
) -> pd.DataFrame:
    """The same from ``gains``, for those who hold them against several baselines; each column is judged for itself.

    Args:
        table: the columns of ``gains`` that are judged.
        reference: ``reference_row`` of the numbers.
        baseline, margin, share, rows, diverged: see ``verdicts``, as for what is returned.
    """
    known = ((architecture, weighting) for architecture, weighting, _ in table.index)
    pairs = list(baseline.pairs(known, reference).items())
    if not pairs:
        return pd.DataFrame(columns=VERDICT_COLUMNS).astype(dict.fromkeys(NUMBERS, float))
    size = max(rows or 0, len(pairs))
    found = [_judged(table[quantity], pairs, size, margin if quantity == DELTA else share) for quantity in table]
    return _held_back(pd.concat(found, ignore_index=True)[VERDICT_COLUMNS], frozenset(diverged))


def _held_back(found: pd.DataFrame, diverged: Collection[Pair]) -> pd.DataFrame:
    """The verdicts without those that a diverged seed forbids."""
    if not diverged:
        return found
    row, other = (
        np.array([pair in diverged for pair in zip(found[a], found[w], strict=True)], dtype=bool)
        for a, w in (ROW, [f"baseline_{name}" for name in ROW])
    )
    forbidden = (row & found["verdict"].isin(["better", "equivalent"])) | (
        other & found["verdict"].isin(["worse", "equivalent"])
    )
    return found.assign(verdict=found["verdict"].mask(forbidden, "undecided"))


def diverged_rows(records: Iterable[RunRecord], labels: Labels) -> set[Pair]:
    """The rows of which some seed diverged, by their names in ``labels``."""
    return {labels[record.id] for record in records if record.status == "diverged"}


def gains(data: pd.DataFrame, *, definition: str = "pooled", against: pd.DataFrame | None = None) -> pd.DataFrame:
    """Δm and every metric of every run, in per cent of the mean over the reference's seeds, plus when better.

    Args:
        data: as for ``verdicts``.
        against: numbers of another board, whose reference is taken; None for that of ``data``.

    Returns:
        Indexed by architecture, weighting and seed; a column per task and metric, ``DELTA`` first. NaN where the
        reference has no value or a metric is not finite.
    """
    shown = of_definition(data, definition)
    own = references(shown if against is None else of_definition(against, definition))
    found = relative_gains(shown, CELL, mean_reference(own, shown["seed"].unique()))
    delta = mean_over_tasks(found)
    columns = pd.MultiIndex.from_tuples([DELTA, *found.columns], names=["task", "metric"])
    return pd.DataFrame(np.column_stack([delta, found]), index=found.index, columns=columns)


def reference_row(data: pd.DataFrame) -> tuple[str, str] | None:
    """Architecture and weighting of the reference; None where there is none, or where several have the name."""
    found = data.loc[data["reference"], ROW].drop_duplicates()
    return tuple(found.iloc[0]) if len(found) == 1 else None


def verdict_words(low: np.ndarray, high: np.ndarray, margin: float) -> np.ndarray:
    """The verdicts of intervals; see ``VERDICTS``."""
    within = (low >= -margin) & (high <= margin)
    return np.select([low > 0, high < 0, within], ["better", "worse", "equivalent"], "undecided")


def delta_verdicts(found: pd.DataFrame) -> pd.DataFrame:
    """The lines of ``verdicts`` that are of Δm."""
    return found[(found["task"] == DELTA[0]) & (found["metric"] == DELTA[1])]


def smallest_difference(found: pd.DataFrame) -> float:
    """The smallest difference of Δm that a board's seeds can detect: the median half width of its rows' intervals.

    Rows without an interval do not count; infinite where there is none.
    """
    delta = delta_verdicts(found)
    half = (delta["high"] - delta["low"]) / 2
    return float(half[np.isfinite(half)].median()) if np.isfinite(half).any() else math.inf


def _judged(
    column: pd.Series, pairs: list[tuple[tuple[str, str], tuple[str, str]]], rows: int, margin: float
) -> pd.DataFrame:
    task, metric = column.name if isinstance(column.name, tuple) else DELTA
    wide = column.unstack("seed")
    values, others = (wide.loc[list(names)].to_numpy(dtype=float) for names in zip(*pairs, strict=True))
    together = (task, metric) == DELTA
    found = contrasts(values, others, rows=rows, simultaneous=together)
    return pd.DataFrame(
        {
            "architecture": [row[0] for row, _ in pairs],
            "weighting": [row[1] for row, _ in pairs],
            "baseline_architecture": [other[0] for _, other in pairs],
            "baseline_weighting": [other[1] for _, other in pairs],
            "task": task,
            "metric": metric,
            "n": np.isfinite(values).sum(-1),
            "n_baseline": np.isfinite(others).sum(-1),
            "paired": found.paired,
            "seeds": found.seeds,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "sd": np.sqrt(found.variance),
            "freedom": found.freedom,
            "margin": margin,
            "simultaneous": together,
            "verdict": verdict_words(found.low, found.high, margin),
        }
    )
