"""A board's numbers as text: columns, cells, marks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark import analysis
from benchmark.analysis import Estimate
from benchmark.analysis.intervals import FULL_ROW
from benchmark.report.rows import Numbers, Row, machines, metrics_of

DASH = "–"
MINUS = "−"


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        group: heading above several columns, the task's name.
        arrow: which way is better.
        note: what a reader must know to read it, in the heading itself.
        definition: exact, shown on demand.
        measured: whether the numbers vary from run to run; what is counted has no interval.
    """

    key: Any
    group: str
    title: str
    unit: str
    higher_is_better: bool
    definition: str
    scale: float = 1.0
    signed: bool = False
    note: str = ""
    first: bool = False
    measured: bool = True

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↑" if self.higher_is_better else "↓"


@dataclass(frozen=True)
class Cell:
    """A number in print.

    Attributes:
        text: the mean, or a dash.
        spread: half the interval's width; empty where there is none.
        sort: the mean for sorting; empty where there is none.
        note: what qualifies the number.
    """

    text: str
    spread: str = ""
    sort: str = ""
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A row in print."""

    row: Row
    cells: tuple[Cell, ...]
    badges: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A board in print."""

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, int], ...]
    lines: tuple[Line, ...]
    small: bool


def table(numbers: Numbers) -> Table:
    """Lay out a board."""
    columns = tuple(_columns(numbers))
    by_column = [_cells(numbers.rows, column) for column in columns]
    lines = tuple(
        Line(row, tuple(cells[i] for cells in by_column), tuple(badges(row))) for i, row in enumerate(numbers.rows)
    )
    groups: list[tuple[str, int]] = []
    for column in columns:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return Table(columns, tuple(groups), lines, any(len(row.finished) < FULL_ROW for row in numbers.rows))


def badges(row: Row) -> list[tuple[str, str]]:
    """Short words that qualify a row, each with its explanation."""
    found = []
    if row.reference:
        found.append(("reference", "Δm is taken against these runs; each task at its own best validation epoch"))
    if "last" in row.rules and "val-delta-m" not in row.rules:
        found.append(("last epoch", "validation Δm is not defined, so no epoch could be chosen by it"))
    elif "last" in row.rules:
        found.append(("some last epochs", "for part of the numbers validation Δm is not defined"))
    if row.finished and len(row.finished) < FULL_ROW:
        found.append((f"n = {len(row.finished)}", f"fewer than {FULL_ROW} seeds: no full row of a board"))
    return found


def _columns(numbers: Numbers) -> list[Column]:
    gain = "Mean over tasks of the mean gain over the single-task network."
    columns = [Column("delta_m", "", "Δm", "%", True, gain, signed=True)]
    columns += [
        Column(score.name, "", score.title, "", True, score.definition)
        for score in analysis.SCORES.get(numbers.board.dataset.name, ())
    ]
    for task in numbers.board.tasks:
        columns += [
            Column((task.name, m.name), task.name, m.title, m.unit, m.higher_is_better, m.definition, first=i == 0)
            for i, m in enumerate(metrics_of(task))
        ]
    timed = machines(numbers.finished)
    step = f"Median over epochs of the training time per step. Timed on {' / '.join(timed) or 'an unknown device'}."
    note = "several devices" if len(timed) > 1 else ""
    return [
        *columns,
        Column("parameters", "cost", "parameters", "M", False, "Trainable parameters of the model, in millions.", 1e-6,
               first=True, measured=False),
        Column("seconds_per_step", "cost", "time per step", "ms", False, step, 1e3, note=note),
    ]  # fmt: skip


def _cells(rows: Sequence[Row], column: Column) -> list[Cell]:
    estimates = [_scaled(row.estimate(column.key), column.scale) for row in rows]
    known = [e.mean for e in estimates if e.n and math.isfinite(e.mean)]
    write = formatter(known, column.signed)
    best = write(max(known) if column.higher_is_better else min(known)) if known else None
    cells = []
    for row, found in zip(rows, estimates, strict=True):
        if not math.isfinite(found.mean):
            cells.append(Cell(DASH))
            continue
        text, seeds = write(found.mean), len(row.finished)
        # The reference's own Δm is 0 by definition: nothing was measured, so there is no spread either.
        counted = not column.measured or (row.reference and column.key == "delta_m")
        spread = "" if found.half is None or counted else write(found.half)
        note = f"{found.n} of {seeds} seeds" if found.n < seeds else ""
        cells.append(Cell(text, spread.lstrip("+"), repr(found.mean), note, best=text == best and len(known) > 1))
    return cells


def _scaled(found: Estimate, scale: float) -> Estimate:
    return Estimate(found.mean * scale, found.half * scale if found.half is not None else None, found.n)


def formatter(values: Sequence[float], signed: bool = False) -> Callable[[float], str]:
    """How to write the numbers of a column: four digits for the largest, all with the same number of decimals."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1e6 or 0 < largest < 1e-4:
        return lambda value: f"{value:.3g}".replace("-", MINUS)
    decimals = next((places for limit, places in ((1000, 0), (100, 1), (10, 2), (1, 3)) if largest >= limit), 4)
    if signed:
        decimals = min(decimals, 2)
    return lambda value: f"{value:{'+' if signed and round(value, decimals) else ''}.{decimals}f}".replace("-", MINUS)
