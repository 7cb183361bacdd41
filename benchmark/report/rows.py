"""The numbers of one board: one row per architecture and weighting, under each way of choosing and measuring."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark import analysis
from benchmark.analysis import Board, Estimate
from benchmark.analysis.compare import ROW
from benchmark.analysis.fronts import scalarisations
from benchmark.analysis.summary import CELL, QUANTITY, VALUE_COLUMNS, cost_values, deltas, selections
from benchmark.report.judged import BaselineComparison, judged
from benchmark.runs.record import RunRecord

NOTHING = Estimate(np.nan, None, 0)
#: No number of a board is as small as this, but for 0 after rounding.
ZERO = 1e-12
NO_FLOOR: Mapping[str, Mapping[tuple[str, str], float]] = {}
TEST_COLUMNS = ["run", *CELL, "reference", "status", "task", "metric", "value", "higher_is_better", "legacy"]

Pair = tuple[str, str]


@dataclass(frozen=True)
class Variant:
    """A way to read the records.

    Attributes:
        slug: what it adds to the names of files; empty for the default.
        rule: how epochs are chosen, a name of ``analysis.RULES``.
        legacy: whether metrics are those of the papers' scripts.
    """

    slug: str
    rule: str
    legacy: bool = False

    @property
    def definition(self) -> str:
        """The name of the metrics' definition."""
        return "legacy" if self.legacy else "pooled"

    @property
    def delta(self) -> str:
        """The key of Δm."""
        return "legacy_delta_m" if self.legacy else "delta_m"


@dataclass(frozen=True)
class Row:
    """What became of one architecture with one weighting.

    Attributes:
        architecture: the registered name, with version and options where namesakes differ in them.
        weighting: likewise; ``none`` without one.
        records: all runs, ordered by seed.
        delta: the key of Δm.
        samples: by (task, metric), by the names of costs and of Δm: the values by seed of finished runs.
        estimates: the same over seeds.
        epochs: the chosen epochs by seed and task.
        rules: selection rules that chose the epochs.
        board: the board's key, which tells the row from the same row on other data.
    """

    architecture: str
    weighting: str
    records: tuple[RunRecord, ...]
    delta: str = "delta_m"
    samples: Mapping[Any, Mapping[int, float]] = field(default_factory=dict)
    estimates: Mapping[Any, Estimate] = field(default_factory=dict)
    epochs: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    rules: frozenset[str] = frozenset()
    board: str = ""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the row's runs have in common, seeds apart."""
        return {name: value for name, value in self.records[0].spec.identity().items() if name != "seed"}

    @cached_property
    def reference(self) -> bool:
        """Whether Δm is taken against this row."""
        return any(record.reference for record in self.records)

    @cached_property
    def finished(self) -> tuple[RunRecord, ...]:
        """Runs of status ok."""
        return tuple(record for record in self.records if record.status == "ok")

    @cached_property
    def unfinished(self) -> tuple[RunRecord, ...]:
        """All other runs."""
        return tuple(record for record in self.records if record.status != "ok")

    @cached_property
    def diverged(self) -> int:
        """Runs that diverged: they count against the row."""
        return sum(record.status == "diverged" for record in self.records)

    @property
    def pair(self) -> Pair:
        """Architecture and weighting."""
        return self.architecture, self.weighting

    @property
    def kind(self) -> Pair:
        """The registered names of architecture and weighting, which decide colour and marker."""
        spec = self.records[0].spec
        return spec.architecture.name, spec.weighting_name

    @property
    def name(self) -> str:
        """Architecture and weighting in words, kept on one line."""
        return self.architecture if self.weighting == "none" else f"{self.architecture}\u00a0·\u00a0{self.weighting}"

    def estimate(self, key: Any) -> Estimate:
        """The estimate under ``key``; of no value where there is none."""
        return self.estimates.get(key, NOTHING)

    @property
    def gain(self) -> Estimate:
        """Δm."""
        return self.estimate(self.delta)


@dataclass(frozen=True)
class Numbers:
    """A board read in one way.

    Attributes:
        rows: the best Δm first, rows without one by name, rows without a finished run last.
        test: tidy test numbers of the chosen epochs, which verdicts rest on.
        floor: by (task, metric) and the key of Δm, what a prediction reaches on the test split that never looks at the
            picture; empty where it was not measured. ``floor_on_val`` is that of the metrics on validation.
    """

    board: Board
    variant: Variant
    rows: tuple[Row, ...]
    test: pd.DataFrame = field(repr=False)
    floor: Mapping[Any, float] = field(default_factory=dict)
    floor_on_val: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @cached_property
    def versus(self) -> list[BaselineComparison]:
        """The rows against each baseline that the board has."""
        if self.test.empty:
            return []
        return judged(
            self.test,
            {row.pair: row.kind for row in self.rows},
            definition=self.variant.definition,
            diverged={row.pair for row in self.rows if row.diverged},
            unproven=self.board.unproven_rows,
        )

    @cached_property
    def finished(self) -> list[RunRecord]:
        """Runs of status ok."""
        return [record for record in self.board.records if record.status == "ok"]

    @cached_property
    def folded(self) -> frozenset[Pair]:
        """Rows of a sweep of fixed weights, which stand for one method together."""
        named = [row for row in self.rows if row.kind[1] in scalarisations() and row.weighting != row.kind[1]]
        return frozenset(row.pair for row in named)

    @cached_property
    def calibrated(self) -> bool:
        """Whether the cost of any row was measured against the others'."""
        return any(row.estimate("relative_cost").n for row in self.rows)

    @property
    def references(self) -> list[Row]:
        """Rows of single-task networks."""
        return [row for row in self.rows if row.reference]

    @cached_property
    def has_delta(self) -> bool:
        """Whether Δm is known for any row."""
        return any(row.gain.n for row in self.rows)

    def named(self, which: int) -> list[str]:
        """Architectures (0) or weightings (1) by registered name, in order."""
        return sorted({row.kind[which] for row in self.rows}, key=lambda name: (name == "none", name))


def read(
    board: Board,
    variants: Sequence[Variant],
    *,
    floor: Mapping[str, Mapping[tuple[str, str], float]] = NO_FLOOR,
    relative: Mapping[Pair, float] | None = None,
) -> list[Numbers]:
    """Select epochs and gather what every row has, once per variant.

    Epochs of few runs at a time are in memory: choosing needs a run and the references, which are there each time.

    Args:
        floor: by split, by task and metric, what a prediction reaches that never looks at the picture.
        relative: by row the calibrated cost of a step.
    """
    cells: dict[Pair, list[RunRecord]] = defaultdict(list)
    for record in board.records:
        cells[board.labels[record.id]].append(record)
    found = [_Reading(board, variant) for variant in variants]
    finished = [record for record in board.records if record.status == "ok"]
    for selected, new in selections(finished, board.labels, [variant.rule for variant in variants]):
        for reading in found:
            reading.add(selected[reading.variant.rule], new)
    costs = _costs(finished, board.labels)
    if relative:
        costs = pd.concat([costs, _relative(finished, board.labels, relative)], ignore_index=True)
    blind, on_val = floor.get("test", {}), floor.get("val", {})
    return [
        Numbers(board, reading.variant, reading.rows(cells, costs), reading.test, reading.floor(blind), on_val)
        for reading in found
    ]


class _Reading:
    """The numbers of a variant as they come."""

    def __init__(self, board: Board, variant: Variant) -> None:
        self.board = board.key
        self.dataset = board.dataset.name
        self.variant = variant
        self.parts: list[pd.DataFrame] = []
        self.tests: list[pd.DataFrame] = []
        self.epochs: dict[Pair, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        self.rules: dict[Pair, set[str]] = defaultdict(set)

    def add(self, chosen: pd.DataFrame, new: Collection[str]) -> None:
        """Take the chosen epochs of some runs, and of references, of which those in ``new`` have not been there."""
        definition = self.variant.definition
        test = analysis.of_definition(chosen[chosen["split"] == "test"], definition)
        single = analysis.mean_reference(analysis.references(test), test["seed"].unique())
        chosen, test = (part[part["run"].isin(new)] for part in (chosen, test))
        self.parts.append(test[VALUE_COLUMNS])
        self.tests.append(test[TEST_COLUMNS])
        self.parts.append(deltas(test, single, definition))
        runs = test.groupby(CELL)[["reference", "rule"]].first().reset_index()
        for name, scored in analysis.scores(self.dataset, test).items() if definition == "pooled" else ():
            scored = scored.rename(columns={"score": "value"}).merge(runs, on=CELL)
            self.parts.append(scored.assign(task="", metric=name, higher_is_better=True)[VALUE_COLUMNS])
        firsts = chosen.drop_duplicates(["run", "task"])
        for a, w, seed, task, epoch, rule in _tuples(firsts, "seed", "task", "epoch", "rule"):
            self.epochs[a, w][seed][task] = epoch
            self.rules[a, w].add(rule)

    @property
    def test(self) -> pd.DataFrame:
        """What verdicts rest on."""
        return pd.concat(self.tests, ignore_index=True) if self.tests else pd.DataFrame(columns=TEST_COLUMNS)

    def floor(self, found: Mapping[tuple[str, str], float]) -> dict[Any, float]:
        """The floor's metrics, and its Δm where all of them are known."""
        test = self.test
        single = analysis.references(test)
        known = set(zip(test["task"], test["metric"], strict=True))
        values = {key: value for key, value in found.items() if key in known}
        shown = single.drop_duplicates(["task", "metric"])
        blind = [values.get(key, np.nan) for key in zip(shown["task"], shown["metric"], strict=True)]
        if not len(shown) or not values:
            return dict(values)
        mean = analysis.mean_reference(single, [0])
        delta = analysis.delta_m(shown.assign(seed=0, value=blind), mean, definition=self.variant.definition)
        gain = float(delta[self.variant.delta].iloc[0])
        return {**values, **({self.variant.delta: gain} if np.isfinite(gain) else {})}

    def rows(self, cells: Mapping[Pair, list[RunRecord]], costs: pd.DataFrame) -> tuple[Row, ...]:
        """All rows, in order."""
        parts = [part for part in [*self.parts, costs] if not part.empty]
        values = pd.concat(parts, ignore_index=True) if parts else costs
        samples: dict[Pair, dict[Any, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        for a, w, task, metric, seed, value in _tuples(values, "task", "metric", "seed", "value"):
            samples[a, w][(task, metric) if task else metric][seed] = value
        estimates: dict[Pair, dict[Any, Estimate]] = defaultdict(dict)
        table = analysis.estimates(values, [*ROW, *QUANTITY]) if parts else values
        names = ("task", "metric", "mean", "half", "n", "method")
        for a, w, task, metric, mean, half, n, method in _tuples(table, *names) if parts else ():
            key = (task, metric) if task else metric
            # The reference's gain over its own mean is 0; what rounding leaves of it differs between processors.
            mean = 0.0 if abs(mean) < ZERO else mean
            estimates[a, w][key] = Estimate(mean, half if method else None, n, method)
        rows = [
            Row(
                *pair,
                tuple(sorted(records, key=lambda r: r.spec.seed)),
                self.variant.delta,
                samples.get(pair, {}),
                estimates.get(pair, {}),
                self.epochs.get(pair, {}),
                frozenset(self.rules.get(pair, ())),
                self.board,
            )
            for pair, records in cells.items()
        ]
        return tuple(sorted(rows, key=_order))


def _costs(records: Sequence[RunRecord], labels: Mapping[str, Pair]) -> pd.DataFrame:
    table = cost_values(records, labels)
    return table[np.isfinite(table["value"].to_numpy(dtype=float))]


def _relative(records: Sequence[RunRecord], labels: Mapping[str, Pair], relative: Mapping[Pair, float]) -> pd.DataFrame:
    """Calibrated costs as numbers of each row's runs: they vary with no seed."""
    found = [
        (*labels[run.id], run.spec.seed, run.reference, "", "relative_cost", relative[labels[run.id]], False, "")
        for run in records
        if labels[run.id] in relative
    ]
    return pd.DataFrame(found, columns=VALUE_COLUMNS)


def number(value: float | None) -> float:
    """A stored number; NaN where it is missing or beyond all floats."""
    try:
        return float(value) if value is not None else np.nan
    except OverflowError:
        return np.nan


def _tuples(data: pd.DataFrame, *names: str) -> Iterator[tuple[Any, ...]]:
    """Rows as tuples of plain Python values."""
    columns = [data[name].to_numpy(dtype=object).tolist() for name in ("architecture", "weighting", *names)]
    return zip(*columns, strict=True)


def different(records: Iterable[RunRecord]) -> list[tuple[str, list[str]]]:
    """Where the runs' numbers come from, as far as they differ: (what, the values found)."""
    records = list(records)
    aspects = {
        "data": [str(r.provenance.data_hash or "unknown")[:12] for r in records],
        "suite versions": [r.provenance.suite_version for r in records],
        "precisions": [r.provenance.precision for r in records],
        "torch versions": [r.provenance.packages.get("torch", "unknown") for r in records],
        "plugins": [", ".join(f"{k} {v[:12]}" for k, v in sorted(r.provenance.plugins.items())) for r in records],
    }
    return [(what, sorted(set(found))) for what, found in aspects.items() if len(set(found)) > 1]


def commit(record: RunRecord) -> str:
    """The suite's commit in short, and whether it had changes."""
    name = (record.provenance.git_commit or "unknown")[:12]
    return f"{name} with changes" if record.provenance.git_dirty else name


def machine(record: RunRecord) -> str:
    """Device, precision, number of threads and of runs at once under which a run was timed."""
    p = record.provenance
    return (
        f"{p.device}, {p.precision}, {p.threads} thread{'s' * (p.threads != 1)}, "
        f"{p.workers} run{'s' * (p.workers != 1)} at once"
    )


def machines(records: Iterable[RunRecord]) -> list[str]:
    """The conditions under which the runs were timed."""
    return sorted({machine(record) for record in records})


def _order(row: Row) -> tuple[Any, ...]:
    delta = row.gain
    return not row.finished, not delta.n, -delta.mean if delta.n else 0.0, row.architecture, row.weighting
