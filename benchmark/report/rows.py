"""The numbers of one board: one row per architecture and weighting, under each way of choosing and measuring."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark import analysis
from benchmark.analysis import Board, Estimate
from benchmark.report.columns import COSTS
from benchmark.store import RunRecord

NOTHING = Estimate(np.nan, None, 0)
#: Runs whose epochs are in one data frame at a time.
CHUNK = 400

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


@dataclass(frozen=True)
class Row:
    """What became of one architecture with one weighting.

    Attributes:
        architecture: the registered name, with version and options where namesakes differ in them.
        weighting: likewise; ``none`` without one.
        records: all runs, ordered by seed.
        samples: by (task, metric), by the names of costs and by ``delta_m``: the values by seed of finished runs.
        epochs: the chosen epochs by seed and task.
        rules: selection rules that chose the epochs.
    """

    architecture: str
    weighting: str
    records: tuple[RunRecord, ...]
    samples: Mapping[Any, Mapping[int, float]]
    epochs: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    rules: frozenset[str] = frozenset()

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

    @cached_property
    def _estimates(self) -> dict[Any, Estimate]:
        return {key: analysis.estimate(values.values()) for key, values in self.samples.items()}

    def estimate(self, key: Any) -> Estimate:
        """The estimate under ``key``; of no value where there is none."""
        return self._estimates.get(key, NOTHING)


@dataclass(frozen=True)
class Numbers:
    """A board read in one way.

    Attributes:
        rows: the best Δm first, rows without one by name, rows without a finished run last.
    """

    board: Board
    variant: Variant
    rows: tuple[Row, ...]

    @cached_property
    def finished(self) -> list[RunRecord]:
        """Runs of status ok."""
        return [record for record in self.board.records if record.status == "ok"]

    @property
    def references(self) -> list[Row]:
        """Rows of single-task networks."""
        return [row for row in self.rows if row.reference]

    @cached_property
    def has_delta(self) -> bool:
        """Whether Δm is known for any row."""
        return any(row.estimate("delta_m").n for row in self.rows)

    @property
    def best(self) -> Row | None:
        """The row with the best Δm among those that are no reference."""
        return next((row for row in self.rows if not row.reference and row.estimate("delta_m").n), None)

    def named(self, which: int) -> list[str]:
        """Architectures (0) or weightings (1) by registered name, in order."""
        return sorted({row.kind[which] for row in self.rows}, key=lambda name: (name == "none", name))


def read(board: Board, variants: Sequence[Variant]) -> list[Numbers]:
    """Select epochs and gather what every row has, once per variant.

    Epochs of few runs at a time are in memory: choosing needs a run and the references of its seed, so seeds are read
    in turn.
    """
    cells: dict[Pair, list[RunRecord]] = defaultdict(list)
    for record in board.records:
        cells[board.labels[record.id]].append(record)
    found = [_Gathered() for _ in variants]
    for records in _by_seed([record for record in board.records if record.status == "ok"]):
        metrics = analysis.frame(records, board.labels)
        selected = {rule: analysis.select(metrics, rule) for rule in {v.rule for v in variants}}
        for variant, gathered in zip(variants, found, strict=True):
            gathered.add(selected[variant.rule], variant.legacy)
    costs = {pair: _costs(records) for pair, records in cells.items()}
    return [
        Numbers(
            board,
            variant,
            tuple(sorted((gathered.row(pair, records, costs[pair]) for pair, records in cells.items()), key=_order)),
        )
        for variant, gathered in zip(variants, found, strict=True)
    ]


class _Gathered:
    """Numbers of a variant, by row."""

    def __init__(self) -> None:
        self.samples: dict[Pair, dict[Any, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        self.epochs: dict[Pair, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        self.rules: dict[Pair, set[str]] = defaultdict(set)

    def add(self, chosen: pd.DataFrame, legacy: bool) -> None:
        test = chosen[(chosen["split"] == "test") & (chosen["legacy"] == legacy)].assign(legacy=False)
        for a, w, seed, task, metric, value in _tuples(test, "seed", "task", "metric", "value"):
            self.samples[a, w][task, metric][seed] = value
        for a, w, seed, value in _tuples(analysis.delta_m(test, analysis.references(test)), "seed", "delta_m"):
            self.samples[a, w]["delta_m"][seed] = value
        firsts = chosen.drop_duplicates(["run", "task"])
        for a, w, seed, task, epoch, rule in _tuples(firsts, "seed", "task", "epoch", "rule"):
            self.epochs[a, w][seed][task] = epoch
            self.rules[a, w].add(rule)

    def row(self, pair: Pair, records: Sequence[RunRecord], costs: Mapping[str, dict[int, float]]) -> Row:
        return Row(
            *pair,
            tuple(sorted(records, key=lambda r: r.spec.seed)),
            {**self.samples.get(pair, {}), **costs},
            self.epochs.get(pair, {}),
            frozenset(self.rules.get(pair, ())),
        )


def _by_seed(records: Sequence[RunRecord]) -> Iterator[list[RunRecord]]:
    """Records of whole seeds, about ``CHUNK`` at a time; one empty list where there is no record."""
    seeds: dict[int, list[RunRecord]] = defaultdict(list)
    for record in records:
        seeds[record.spec.seed].append(record)
    part: list[RunRecord] = []
    for seed in sorted(seeds):
        part += seeds[seed]
        if len(part) >= CHUNK:
            yield part
            part = []
    if part or not records:
        yield part


def _costs(records: Sequence[RunRecord]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for column in COSTS:
        values = {r.spec.seed: number(getattr(r.cost, column.key)) for r in records if r.status == "ok"}
        found[column.key] = {seed: value for seed, value in values.items() if np.isfinite(value)}
    return found


def number(value: float | None) -> float:
    """A stored number; NaN where it is missing or beyond all floats."""
    try:
        return float(value) if value is not None else np.nan
    except OverflowError:
        return np.nan


def _tuples(data: pd.DataFrame, *names: str) -> Iterator[tuple[Any, ...]]:
    return iter(data[["architecture", "weighting", *names]].itertuples(index=False, name=None))


def different(records: Iterable[RunRecord]) -> list[tuple[str, list[str]]]:
    """Where the runs' numbers come from, as far as they differ: (what, the values found)."""
    records = list(records)
    aspects = {
        "data": [str(r.provenance.data_hash or "unknown")[:12] for r in records],
        "suite versions": [r.provenance.suite_version for r in records],
        "suite commits": [commit(r) for r in records],
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
    delta = row.estimate("delta_m")
    return not row.finished, not delta.n, -delta.mean if delta.n else 0.0, row.architecture, row.weighting
