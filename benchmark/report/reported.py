"""Published tables beside what the suite measures, never in one column."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark import analysis
from benchmark.analysis import Board, published
from benchmark.analysis.published import PaperClaim, Reported, ReportedTable
from benchmark.report.charts.figures import Figure
from benchmark.report.charts.marks import Marks
from benchmark.report.charts.plot import Chart, Frame, limits
from benchmark.report.rows import Numbers
from benchmark.report.table import DASH, formatter


@dataclass(frozen=True)
class PrintedNumber:
    """A printed number, and whether it is the column's best."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table in print."""

    record: Reported
    delta: str
    flat: str
    rank: str
    factor: str
    cells: tuple[PrintedNumber, ...]
    best: Mapping[str, bool]


@dataclass(frozen=True)
class BoardComparison:
    """Δm of architectures that a paper and some boards have.

    Attributes:
        boards: their places among all boards.
        lines: by architecture, the paper's mean over weightings, and that of each board, in words.
    """

    boards: tuple[int, ...]
    lines: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Published:
    """A published table with what the suite's functions make of it.

    Attributes:
        factors: whether the source prints parameters.
        here: what boards of the same kinds of task measure; None where there are none, or the paper claims nothing.
    """

    table: ReportedTable
    claims: tuple[PaperClaim, ...]
    lines: tuple[PublishedRow, ...]
    factors: bool
    plot: Figure | None
    here: BoardComparison | None


def tables(boards: Sequence[Numbers], marks: Marks) -> list[Published]:
    """Every published table that the suite knows."""
    return [_published(table, boards, marks) for table in published.tables()]


def _published(table: ReportedTable, boards: Sequence[Numbers], marks: Marks) -> Published:
    claims = published.claims(table)
    factors = any(record.parameters_factor for record in table.records)
    plot = _plot(table, marks) if factors and table.no_delta is None else None
    return Published(table, claims, tuple(_lines(table)), factors, plot, _here(table, boards) if claims else None)


def _lines(table: ReportedTable) -> list[PublishedRow]:
    deltas = table.delta_m().set_index(["architecture", "weighting"])
    ranks: dict[Any, float] = table.ranks.set_index(["architecture", "weighting"])["rank"].to_dict()
    rivals = [r for r in table.records if not r.reference]
    best = max((deltas["delta_m"].get((r.architecture, r.weighting), np.nan) for r in rivals), default=np.nan)
    columns = [
        _column([r.values.get(m.task, {}).get(m.metric, math.nan) for r in table.records], m.higher_is_better)
        for m in table.metrics
    ]
    found = []
    for i, record in enumerate(table.records):
        pair = (record.architecture, record.weighting)
        delta = float(deltas["delta_m"].get(pair, np.nan))
        found.append(
            PublishedRow(
                record,
                _signed(delta),
                _signed(float(deltas["delta_flat"].get(pair, np.nan))),
                f"{ranks[pair]:.1f}" if pair in ranks else DASH,
                f"{'≈ ' if record.approximate else ''}{record.parameters_factor:g}"
                if record.parameters_factor
                else DASH,
                tuple(column[i] for column in columns),
                {"delta": delta == best},
            )
        )
    return found


def _column(values: Sequence[float], higher_is_better: bool) -> list[PrintedNumber]:
    """Numbers with the digits of the source: no more than it printed, no fewer."""
    known = [value for value in values if math.isfinite(value)]
    best = (max(known) if higher_is_better else min(known)) if known else None
    digits = max((len(f"{value:.10g}".partition(".")[2]) for value in known), default=0)
    return [PrintedNumber(f"{v:z.{digits}f}", v == best) if math.isfinite(v) else PrintedNumber(DASH) for v in values]


def _signed(value: float) -> str:
    return formatter([value], signed=True)(value) if math.isfinite(value) else DASH


def _plot(table: ReportedTable, marks: Marks) -> Figure | None:
    """Δm against parameters."""
    data = table.delta_m().merge(table.costs(), on=["architecture", "weighting"])
    data = data[np.isfinite(data[["delta_m", "parameters_factor"]].to_numpy(dtype=float)).all(axis=1)]
    if data.empty:
        return None
    maximise = {"delta_m": True, "parameters_factor": False}
    front = data[analysis.non_dominated(data, maximise)]
    by_name = {(r.architecture, r.weighting): r for r in table.records}
    x, y = data["parameters_factor"].tolist(), data["delta_m"].tolist()
    chart = Chart(
        Frame(
            limits(x) or (0, 1), limits(y, 0.12) or (0, 1), "parameters (× single-task network) ↓", "Δm (%) ↑", 440, 320
        )
    )
    chart.level(0)
    chart.stairs(_points(front), kind="ln front")
    for a, w, factor, delta in zip(data["architecture"], data["weighting"], x, y, strict=True):
        record = by_name[a, w]
        spot = (chart.across(factor), chart.up(delta))
        architecture = record.same_architecture if record.same_architecture in marks.architectures else None
        weighting = record.same_weighting or "none"
        known = weighting if weighting in marks.weightings else None
        drawn = (
            marks.drawn(architecture, known, spot, 6.5)
            if known
            else f'<circle class="{marks.colour(architecture)} hollow" cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="5"/>'
        )
        name = a if w == "none" else f"{a} · {w}"
        chart.tip(drawn, f"{name}\nΔm: {_signed(delta)} %\nparameters: × {factor:g}")
    names = ", ".join(
        a if w == "none" else f"{a} · {w}" for a, w in zip(front["architecture"], front["weighting"], strict=True)
    )
    title = f"Δm against parameters, {table.title}"
    return Figure(title, chart.render(title), (f"Not dominated: {names}.",))


def _points(front: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(front["parameters_factor"].tolist(), front["delta_m"].tolist(), strict=True))


def _here(table: ReportedTable, boards: Sequence[Numbers]) -> BoardComparison | None:
    """The paper's architectures that boards of the same kinds of task have too."""
    alike = [i for i, numbers in enumerate(boards) if _alike(table, numbers.board)]
    if not alike:
        return None
    standings: list[dict[Any, Any]] = published.standings(table).to_dict("records")
    same = {r.architecture: r.same_architecture for r in table.records}
    found: list[tuple[str, str, list[str]]] = []
    for row in standings:
        name = same.get(str(row["architecture"]))
        if name is not None and not row["reference"]:
            cells = [_measured(boards[i], name) for i in alike]
            found.append((name, _range(row["delta_m"], row["low"], row["high"]), cells))
    known = [k for k in range(len(alike)) if any(cells[k] != DASH for _, _, cells in found)]
    lines = [(name, paper, tuple(cells[k] for k in known)) for name, paper, cells in found]
    lines = [line for line in lines if any(cell != DASH for cell in line[2])]
    return BoardComparison(tuple(alike[k] for k in known), tuple(lines)) if lines else None


def _alike(table: ReportedTable, board: Board) -> bool:
    """Whether a table and a board have the same kinds of task, by the metrics that both know."""
    printed: dict[str, set[str]] = {}
    for metric in table.metrics:
        printed.setdefault(metric.task, set()).add(metric.metric)
    known = [{metric.name for metric in board.kinds.get(task.kind, ())} for task in board.tasks]
    return all(any(own <= names for names in known) for own in printed.values()) and all(
        any(own <= names for own in printed.values()) for names in known
    )


def _measured(numbers: Numbers, architecture: str) -> str:
    gains = [row.gain.mean for row in numbers.rows if row.kind[0] == architecture and row.gain.n]
    return _range(float(np.mean(gains)), min(gains), max(gains)) if gains else DASH


def _range(mean: float, low: float, high: float) -> str:
    if not math.isfinite(mean):
        return DASH
    return _signed(mean) if low == high else f"{_signed(mean)} ({_signed(low)} to {_signed(high)})"
