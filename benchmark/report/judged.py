"""A board's rows compared with its baselines: verdicts, and sentences about them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.verdicts import (
    DELTA,
    MARGIN,
    REFERENCE,
    VERDICTS,
    Baseline,
    Pair,
    gain_verdicts,
    gains,
    reference_row,
    smallest_difference,
)
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.wording import counted

#: Before each word, so that colour is not all that tells verdicts apart.
SIGNS = {"better": "▲", "worse": "▼", "equivalent": "≈", "undecided": "?"}
#: Names in a list before it is cut.
MOST_NAMES = 6


@dataclass(frozen=True)
class RowComparison:
    """A row against its baseline, in points of Δm, plus when it is better.

    Attributes:
        other: the baseline's architecture and weighting.
        difference: of the means; NaN where one of them has no run.
        low, high: the interval; infinite where there are too few seeds.
        seeds: by seed, what is averaged: differences within seeds where runs are paired, else from the baseline's mean.
        n, n_baseline: runs of the row and of its baseline.
        verdict: a key of ``VERDICTS``.
    """

    row: Pair
    other: Pair
    difference: float
    low: float
    high: float
    seeds: tuple[float, ...]
    n: int
    n_baseline: int
    paired: bool
    verdict: str

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


@dataclass(frozen=True)
class BaselineComparison:
    """All rows of a board that are held against one baseline.

    Attributes:
        key: of the baseline in addresses and style sheets: ``reference``, ``architecture`` or ``weighting``.
        name: of the method that rows are held against.
        question: that the comparison answers.
        by_row: what became of each row that is compared.
        margin: within which rows count as equivalent, in points.
    """

    key: str
    name: str
    question: str
    by_row: Mapping[Pair, RowComparison]
    margin: float
    smallest_difference: float

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many rows have each verdict."""
        words = [found.verdict for found in self.by_row.values()]
        return {word: words.count(word) for word in VERDICTS}

    @cached_property
    def seeds(self) -> tuple[int, int]:
        """The fewest and the most seeds of a comparison, whichever of its two rows has fewer."""
        counts = [min(found.n, found.n_baseline) for found in self.by_row.values()]
        return min(counts, default=0), max(counts, default=0)

    @cached_property
    def baselines(self) -> frozenset[Pair]:
        """The rows that others are held against."""
        return frozenset(found.other for found in self.by_row.values())

    @property
    def known(self) -> bool:
        """Whether any row has an interval."""
        return any(found.known for found in self.by_row.values())

    @cached_property
    def clear(self) -> int:
        """Rows whose whole interval is above the margin."""
        return sum(found.low >= self.margin for found in self.by_row.values())

    @property
    def sentence(self) -> str:
        """The verdicts in one sentence."""
        rows = len(self.by_row)
        low, high = self.seeds
        seeds = f"{low} to {high} seeds" if low != high else counted(low, "seed")
        same = {
            "reference": "",
            "architecture": " under the same weighting",
            "weighting": " on the same architecture",
        }[self.key]
        if not self.known:
            held = f"{counted(rows, 'row')} against {self.name}{same}"
            return f"Nothing is decided yet: {held}, {seeds}, and verdicts need 3."
        counts = self.counts
        tells = f"{seeds} tell ± {_places(self.smallest_difference)} points."
        if counts["undecided"] == rows:
            held = f"None of {counted(rows, 'row')} is decided against {self.name}{same}"
            return f"{held}; {tells}"
        by_margin = f" ({self.clear} by ≥ {self.margin:g} points)" if self.clear else ""
        number = {0: "none is", 1: "1 is"}.get(counts["better"], f"{counts['better']} are")
        better = f"{number} better than {self.name}{same}{by_margin}"
        others = [f"{counts[word]} {word}" for word in VERDICTS if word != "better" and counts[word]]
        return f"Of {counted(rows, 'row')}, {', '.join([better, *others])}; {tells}"

    def by_method(self, which: int, fixed: frozenset[Pair] = frozenset()) -> dict[str, list[RowComparison]]:
        """The comparisons by architecture (0) or weighting (1), without the rows in ``fixed``."""
        found: dict[str, list[RowComparison]] = defaultdict(list)
        for row, compared in self.by_row.items():
            if row not in fixed:
                found[row[which]].append(compared)
        return dict(found)


def summary_sentence(versus: BaselineComparison, fixed: frozenset[Pair] = frozenset()) -> str:
    """What a comparison came to, in words: how many rows have each verdict, and which methods."""
    return f"{versus.sentence} {_methods(versus, fixed)}".rstrip()


def _methods(versus: BaselineComparison, fixed: frozenset[Pair]) -> str:
    """Which architectures or weightings are better than the baseline; empty where nothing is decided.

    A method counts as better where it is in every comparison; what differs between comparisons is counted out.
    """
    if versus.key == "reference" or versus.counts["undecided"] == len(versus.by_row):
        return ""
    which = 0 if versus.key == "architecture" else 1
    said: dict[str, list[str]] = defaultdict(list)
    mixed = []
    by_method = versus.by_method(which, fixed)
    if not by_method:
        return ""
    for name, found in by_method.items():
        words = [compared.verdict for compared in found]
        if len(set(words)) == 1:
            said[words[0]].append(name)
        else:
            counts = ", ".join(f"{words.count(word)} {word}" for word in VERDICTS if word in words)
            mixed.append(f"{name} ({counts})")
    several = max((len(found) for found in by_method.values()), default=1) > 1
    always = "always " if several else ""
    parts = [f"{always}{word}: {_list(said[word])}" for word in ("better", "equivalent", "worse") if said[word]]
    if mixed:
        parts.append(f"mixed: {_list(mixed)}")
    if said["undecided"]:
        parts.append(f"undecided{' throughout' if several else ''}: {_list(said['undecided'])}")
    aside = "" if len(versus.by_row) == sum(map(len, by_method.values())) else "fixed weights aside, "
    text = aside + "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def judged(
    test: pd.DataFrame,
    kinds: Mapping[Pair, Pair],
    *,
    definition: str = "pooled",
    margin: float = MARGIN,
    diverged: Collection[Pair] = (),
    unproven: Collection[Pair] = (),
) -> list[BaselineComparison]:
    """Hold a board's rows against its baselines.

    Args:
        test: tidy test numbers of one epoch per run, chosen against the mean of the references.
        kinds: by row, those without finished runs included, the registered names of architecture and weighting.
        definition: of the metrics.
        diverged: rows of which some seed diverged.
        unproven: rows that others are not held against, since they came in submissions.

    Returns:
        One entry for each baseline with which a row can be compared: the reference, an architecture, a weighting.
        None without a reference; of several references none is a baseline.
    """
    reference = reference_row(test)
    if not test["reference"].any():
        return []
    architecture, weighting = ARCHITECTURES.baseline, WEIGHTINGS.baseline
    table = gains(test, definition=definition)[[DELTA]]
    wide = table[DELTA].unstack("seed")
    deltas = dict(zip(((str(a), str(w)) for a, w in wide.index), wide.to_numpy(dtype=float), strict=True))
    shown = []
    for key, name, question, baseline in (
        ("reference", kinds[reference][0] if reference else "", "Is sharing worth it?", REFERENCE),
        ("architecture", architecture, "Which architecture?", Baseline(architecture=architecture)),
        ("weighting", weighting, "Which weighting?", Baseline(weighting=weighting)),
    ):
        if name is None:
            continue  # no architecture or no weighting is registered as a baseline
        named = baseline.named({row: kind for row, kind in kinds.items() if row not in unproven})
        pairs = named[0].pairs(kinds, reference) if len(named) == 1 else {}
        pairs = {row: other for row, other in pairs.items() if other not in unproven}
        if not pairs:
            continue
        found = gain_verdicts(table, reference, named[0], margin=margin, rows=len(pairs), diverged=diverged)
        found = found[[pair in pairs for pair in zip(found["architecture"], found["weighting"], strict=True)]]
        lines = {(line["architecture"], line["weighting"]): line for line in found.to_dict("records")}
        by_row = {row: _compared(row, other, lines.get(row), deltas) for row, other in pairs.items()}
        shown.append(
            BaselineComparison(
                key, name, question, by_row, margin, smallest_difference(found) if len(found) else np.inf
            )
        )
    return shown


def _compared(
    row: Pair, other: Pair, line: Mapping[Any, Any] | None, deltas: Mapping[Pair, np.ndarray]
) -> RowComparison:
    """One comparison; without a line of ``verdicts``, of a row or a baseline that has no run."""
    nothing = np.zeros(0)
    own, base = deltas.get(row, nothing), deltas.get(other, nothing)
    if line is None:
        n, n_baseline = (int(np.isfinite(values).sum()) for values in (own, base))
        return RowComparison(row, other, np.nan, -np.inf, np.inf, (), n, n_baseline, False, "undecided")
    known = base[np.isfinite(base)]
    seeds = own - (base if line["paired"] else known.mean() if len(known) else np.nan)
    return RowComparison(
        row,
        other,
        difference=line["difference"],
        low=line["low"],
        high=line["high"],
        seeds=tuple(seeds[np.isfinite(seeds)].tolist()),
        n=line["n"],
        n_baseline=line["n_baseline"],
        paired=line["paired"],
        verdict=line["verdict"],
    )


def _list(names: Sequence[str]) -> str:
    shown = list(names[:MOST_NAMES])
    return ", ".join(shown) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _places(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
