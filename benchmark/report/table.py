"""A board's numbers as text: cells and marks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.analysis import Estimate
from benchmark.analysis.intervals import FULL_ROW
from benchmark.report.columns import Column, columns
from benchmark.report.rows import Numbers, Row, machines
from benchmark.trust import LEVELS, Standing

DASH = "–"
#: Who vouches for a submitted run, in a badge.
SAID = {"self-reported": "self-reported", "recomputed": "recomputed", "rerun": "rerun here"}
MINUS = "−"


@dataclass(frozen=True)
class Cell:
    """A number in print.

    Attributes:
        text: the mean, or a dash.
        spread: half the interval's width; empty where there is none.
        sort: the mean for sorting; empty where there is none.
        note: what qualifies the number.
        best: whether no printed mean is better.
        tied: whether seeds cannot tell it from the best.
    """

    text: str
    spread: str = ""
    sort: str = ""
    note: str = ""
    best: bool = False
    tied: bool = False


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


def table(numbers: Numbers, foreign: Mapping[str, Standing]) -> Table:
    """Lay out a board; ``foreign`` says by run id who vouches for what came in submissions."""
    timed = machines(numbers.finished)
    shown = tuple(c for c in columns(numbers.board, timed, numbers.variant.legacy) if c.shown)
    by_column = [_cells(numbers.rows, column) for column in shown]
    lines = tuple(
        Line(row, tuple(cells[i] for cells in by_column), tuple(badges(row, foreign)))
        for i, row in enumerate(numbers.rows)
    )
    groups: list[tuple[str, int]] = []
    for column in shown:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return Table(shown, tuple(groups), lines, any(len(row.finished) < FULL_ROW for row in numbers.rows))


def badges(row: Row, foreign: Mapping[str, Standing]) -> list[tuple[str, str]]:
    """Short words that qualify a row, each with its explanation."""
    found = []
    if row.reference:
        found.append(("reference", "Δm is taken against these runs; each task at its own best validation epoch"))
    if "last" in row.rules and "val-delta-m" not in row.rules and len(row.rules) == 1:
        found.append(("last epoch", "validation Δm is not defined, so no epoch could be chosen by it"))
    elif "last" in row.rules and len(row.rules) > 1:
        found.append(("some last epochs", "for part of the numbers validation Δm is not defined"))
    if row.finished and len(row.finished) < FULL_ROW:
        found.append((f"n = {len(row.finished)}", f"fewer than {FULL_ROW} seeds: no full row of a board"))
    if levels := [foreign[record.id].level for record in row.finished if record.id in foreign]:
        least = min(levels, key=list(LEVELS).index)
        whose = f"{len(levels)} of {len(row.finished)} runs came in a submission"
        found.append((SAID[least], f"{whose}: {LEVELS[least]}"))
    return found


def _cells(rows: Sequence[Row], column: Column) -> list[Cell]:
    estimates = [scaled(row.estimate(column.key), column.scale) for row in rows]
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
        counted = not column.measured or (row.reference and column.key == row.delta)
        spread = "" if found.half is None or counted else write(found.half)
        note = f"{found.n} of {seeds} seeds" if found.n < seeds else ""
        cells.append(
            Cell(
                text,
                spread.lstrip("+"),
                f"{found.mean:.8g}",
                note,
                text == best and len(known) > 1,
                column.key in row.tied and len(known) > 1 and not counted,
            )
        )
    return cells


def scaled(found: Estimate, scale: float) -> Estimate:
    """The estimate in another unit."""
    return Estimate(found.mean * scale, found.half * scale if found.half is not None else None, found.n)


def written(found: Estimate, signed: bool = False, unit: str = "") -> str:
    """An estimate in words."""
    if not math.isfinite(found.mean):
        return DASH
    write = formatter([found.mean], signed)
    spread = f" ± {write(found.half).lstrip('+')}" if found.half is not None else ""
    return f"{write(found.mean)}{spread}{f' {unit}' if unit else ''}"


def formatter(values: Sequence[float], signed: bool = False) -> Callable[[float], str]:
    """How to write the numbers of a column: four digits for the largest, all with the same number of decimals."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1e6 or 0 < largest < 1e-4:
        return lambda value: f"{value:.3g}".replace("-", MINUS)
    decimals = next((places for limit, places in ((1000, 0), (100, 1), (10, 2), (1, 3)) if largest >= limit), 4)
    if signed:
        decimals = min(decimals, 2)
    return lambda value: f"{value:{'+' if signed and round(value, decimals) else ''}.{decimals}f}".replace("-", MINUS)
