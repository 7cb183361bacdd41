"""The numbers of one board: one row per architecture and weighting."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark import analysis
from benchmark.analysis import Board, Estimate
from benchmark.store import RunRecord, TaskInfo
from benchmark.tasks import KINDS, Metric

COSTS = ("parameters", "seconds_per_step", "train_seconds")
NOTHING = Estimate(np.nan, None, 0)


@dataclass(frozen=True)
class Row:
    """What became of one architecture with one weighting.

    Attributes:
        records: all runs, ordered by seed.
        values: estimates over the seeds of finished runs, by (task, metric), by the names of ``COSTS`` and ``delta_m``.
        rules: selection rules that chose the epochs.
    """

    architecture: str
    weighting: str
    records: tuple[RunRecord, ...]
    values: Mapping[Any, Estimate]
    rules: frozenset[str]

    @property
    def reference(self) -> bool:
        """Whether Δm is taken against this row."""
        return any(record.reference for record in self.records)

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """Runs of status ok."""
        return tuple(record for record in self.records if record.status == "ok")

    @property
    def unfinished(self) -> tuple[RunRecord, ...]:
        """All other runs."""
        return tuple(record for record in self.records if record.status != "ok")

    @property
    def pair(self) -> tuple[str, str]:
        """Architecture and weighting."""
        return self.architecture, self.weighting

    @property
    def name(self) -> str:
        """Architecture and weighting in words, kept on one line."""
        return self.architecture if self.weighting == "none" else f"{self.architecture}\u00a0·\u00a0{self.weighting}"

    def estimate(self, key: Any) -> Estimate:
        """The estimate under ``key``; of no value where there is none."""
        return self.values.get(key, NOTHING)


@dataclass(frozen=True)
class Numbers:
    """A board and all that is shown of it.

    Attributes:
        metrics: every metric of every epoch, tidy (``analysis.frame``).
        weights: every weight of every epoch, tidy (``analysis.weights``).
        rows: the best Δm first, rows without one by name, rows without a finished run last.
    """

    board: Board
    metrics: pd.DataFrame
    weights: pd.DataFrame
    rows: tuple[Row, ...]

    @property
    def finished(self) -> list[RunRecord]:
        """Runs of status ok."""
        return [record for record in self.board.records if record.status == "ok"]

    @property
    def references(self) -> list[Row]:
        """Rows of single-task networks."""
        return [row for row in self.rows if row.reference]

    @property
    def has_delta(self) -> bool:
        """Whether Δm is known for any row."""
        return any(row.estimate("delta_m").n for row in self.rows)

    @property
    def best(self) -> Row | None:
        """The row with the best Δm among those that are no reference."""
        return next((row for row in self.rows if not row.reference and row.estimate("delta_m").n), None)


def numbers(board: Board, rule: str) -> Numbers:
    """Select epochs and summarise over seeds."""
    finished = [record for record in board.records if record.status == "ok"]
    metrics = analysis.frame(finished, board.labels)
    chosen = analysis.select(metrics, rule)
    test = chosen[(chosen["split"] == "test") & ~chosen["legacy"]]
    delta = analysis.delta_m(test, analysis.references(test))
    costs = analysis.costs(finished, board.labels)
    values: dict[Any, dict[Any, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for architecture, weighting, task, metric, value in _tuples(test, "task", "metric", "value"):
        values[architecture, weighting][task, metric].append(value)
    for architecture, weighting, value in _tuples(delta, "delta_m"):
        values[architecture, weighting]["delta_m"].append(value)
    for score, scored in analysis.scores(board.dataset.name, test).items():
        for architecture, weighting, value in _tuples(scored, "score"):
            values[architecture, weighting][score].append(value)
    for name in COSTS:
        for architecture, weighting, value in _tuples(costs, name):
            values[architecture, weighting][name].append(value)
    rules = chosen.groupby(["architecture", "weighting"])["rule"].agg(frozenset).to_dict()
    cells: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in board.records:
        cells[board.labels[record.id]].append(record)
    rows = [
        Row(
            *cell,
            tuple(sorted(records, key=lambda r: r.spec.seed)),
            {key: analysis.estimate(found) for key, found in values[cell].items()},
            rules.get(cell, frozenset()),
        )
        for cell, records in cells.items()
    ]
    return Numbers(board, metrics, analysis.weights(finished, board.labels), tuple(sorted(rows, key=_order)))


def _tuples(data: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return iter(data[["architecture", "weighting", *columns]].itertuples(index=False, name=None))


def metrics_of(task: TaskInfo) -> Sequence[Metric]:
    """The task's metrics without legacy twins; none for a kind that this version does not know."""
    return [metric for metric in KINDS[task.kind].metrics if not metric.legacy] if task.kind in KINDS else []


def primary(task: TaskInfo) -> Metric | None:
    """The metric that stands for the task in curves: its kind's first."""
    return next(iter(metrics_of(task)), None)


def different(records: Iterable[RunRecord]) -> list[tuple[str, list[str]]]:
    """Where the runs' numbers come from, as far as they differ: (what, the values found)."""
    records = list(records)
    aspects = {
        "data": [str(r.provenance.data_hash or "unknown")[:12] for r in records],
        "suite versions": [r.provenance.suite_version for r in records],
        "suite commits": [_commit(r) for r in records],
        "precisions": [r.provenance.precision for r in records],
        "torch versions": [r.provenance.packages.get("torch", "unknown") for r in records],
        "plugins": [", ".join(f"{k} {v[:12]}" for k, v in sorted(r.provenance.plugins.items())) for r in records],
    }
    return [(what, sorted(set(found))) for what, found in aspects.items() if len(set(found)) > 1]


def _commit(record: RunRecord) -> str:
    commit = (record.provenance.git_commit or "unknown")[:12]
    return f"{commit} with changes" if record.provenance.git_dirty else commit


def machines(records: Iterable[RunRecord]) -> list[str]:
    """Devices, precisions, numbers of threads and of runs at once under which the runs were timed."""
    found = {(p.device, p.precision, p.threads, p.workers) for p in (r.provenance for r in records)}
    return sorted(
        f"{device}, {precision}, {threads} thread{'s' * (threads != 1)}, {workers} run{'s' * (workers != 1)} at once"
        for device, precision, threads, workers in found
    )


def _order(row: Row) -> tuple[Any, ...]:
    delta = row.estimate("delta_m")
    return not row.finished, not delta.n, -delta.mean if delta.n else 0.0, row.architecture, row.weighting
