"""A board's numbers as text: cells and marks."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, median_high

from benchmark.analysis import Estimate
from benchmark.report.charts.forest import points
from benchmark.report.columns import RELATIVE, Column, columns
from benchmark.report.rows import Numbers, Pair, Row, machines
from benchmark.runs.trust import LEVELS, Standing

DASH = "–"
#: Who vouches for a submitted run, in a badge.
SAID = {"self-reported": "self-reported", "recomputed": "recomputed", "rerun": "rerun here"}
MINUS = "−"


@dataclass(frozen=True)
class Cell:
    """A number in print.

    Attributes:
        text: the mean, or a dash.
        sort: the mean for sorting; empty where there is none.
        note: what qualifies the number.
        best: whether no other printed mean is as good.
        below: whether a prediction that never looks at the picture is better.
    """

    text: str
    sort: str = ""
    note: str = ""
    best: bool = False
    below: bool = False


@dataclass(frozen=True)
class BoardLine:
    """A row in print."""

    row: Row
    cells: tuple[Cell, ...]
    badges: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """Rows that stand together.

    Attributes:
        title: over them; empty for those that share.
        folded: what stands for the rows while they are folded up, such as their best and median; empty where they are
            not.
    """

    name: str
    title: str
    lines: tuple[BoardLine, ...]
    folded: str = ""


@dataclass(frozen=True)
class Table:
    """A board in print.

    Attributes:
        floor: what a prediction reaches that never looks at the picture, by column; empty where it was not measured.
    """

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, int], ...]
    sections: tuple[Section, ...]
    floor: tuple[Cell, ...] = ()

    @property
    def lines(self) -> list[BoardLine]:
        """All rows."""
        return [line for section in self.sections for line in section.lines]


def table(numbers: Numbers, foreign: Mapping[str, Standing]) -> Table:
    """Lay out a board; ``foreign`` says by run id who vouches for what came in submissions."""
    known = columns(numbers.board, machines(numbers.finished), numbers.variant.legacy)
    shown = tuple(c for c in known if c.shown and (c.key != RELATIVE.key or numbers.calibrated))
    by_column = [_cells(numbers, column) for column in shown]
    lines = {
        row.pair: BoardLine(row, tuple(cells[i] for cells, _ in by_column), tuple(badges(row, foreign)))
        for i, row in enumerate(numbers.rows)
    }
    floor = tuple(cell for _, cell in by_column) if numbers.floor else ()
    return Table(shown, tuple(_groups(shown)), tuple(_sections(numbers, lines)), floor)


def _groups(shown: Sequence[Column]) -> list[tuple[str, int]]:
    groups: list[tuple[str, int]] = []
    for column in shown:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups


def _sections(numbers: Numbers, lines: Mapping[Pair, BoardLine]) -> Iterator[Section]:
    """Rows that share, those of fixed weights where there are many, and networks that share nothing."""
    fixed = numbers.folded
    apart = [row for row in numbers.rows if row.weighting == "none"]
    sharing = [row for row in numbers.rows if row.pair not in fixed and row not in apart]
    swept = [row for row in numbers.rows if row.pair in fixed]
    if sharing:
        yield Section("sharing", "", tuple(lines[row.pair] for row in sharing))
    if swept:
        gains = [row.gain.mean for row in swept if row.gain.n]
        said = f"{len(swept)} rows of fixed weights"
        if gains:
            said += f": best Δm {points(max(gains))}, median {points(median(gains))}"
        yield Section("fixed", "Fixed weights", tuple(lines[row.pair] for row in swept), said)
    if apart:
        yield Section("apart", "Networks that share nothing", tuple(lines[row.pair] for row in apart))


def badges(row: Row, foreign: Mapping[str, Standing]) -> list[tuple[str, str]]:
    """Short words that qualify a row, each with its explanation."""
    found = []
    if row.reference:
        found.append(("reference", "Δm is taken against these runs; each task at its own best validation epoch"))
    if "last" in row.rules and "val-delta-m" not in row.rules and len(row.rules) == 1:
        found.append(("last epoch", "validation Δm is not defined, so no epoch could be chosen by it"))
    elif "last" in row.rules and len(row.rules) > 1:
        found.append(("some last epochs", "for part of the numbers validation Δm is not defined"))
    if levels := [foreign[record.id].level for record in row.finished if record.id in foreign]:
        least = min(levels, key=list(LEVELS).index)
        whose = f"{len(levels)} of {len(row.finished)} runs came in a submission"
        found.append((SAID[least], f"{whose}: {LEVELS[least]}"))
    return found


def _cells(numbers: Numbers, column: Column) -> tuple[list[Cell], Cell]:
    """A column's cells, and the floor's."""
    found = [(row, scaled(row.estimate(column.key), column.scale)) for row in numbers.rows]
    known = [e.mean for _, e in found if e.n and math.isfinite(e.mean)]
    write = formatter(known, column.signed, column.places)
    floor = numbers.floor.get(column.key, math.nan) * column.scale
    best = write((max if column.higher_is_better else min)(known, default=math.nan))
    leads = sum(write(value) == best for value in known) == 1 and len(known) > 1
    cells = []
    for row, estimate in found:
        if not math.isfinite(estimate.mean):
            cells.append(Cell(DASH))
            continue
        text, seeds = write(estimate.mean), len(row.finished)
        note = f"{estimate.n} of {seeds} seeds" if estimate.n < seeds else ""
        is_best = leads and column.measured and text == best
        worse = estimate.mean < floor if column.higher_is_better else estimate.mean > floor
        cells.append(Cell(text, f"{estimate.mean:z.8g}", note, is_best, worse and column.key in numbers.floor))
    return cells, Cell(write(floor), f"{floor:z.8g}") if math.isfinite(floor) else Cell(DASH)


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


def formatter(values: Sequence[float], signed: bool = False, most: int = 4) -> Callable[[float], str]:
    """How to write a column's numbers: all with as many decimals, up to ``most``, as give the typical one four digits.

    Signed numbers, differences in points, have one decimal. A number that would read as zero and is none has two digits
    of its own, and one that is far too large for the column an exponent.
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    typical = median_high(sizes) if sizes else 0.0
    decimals = next((places for limit, places in ((1000, 0), (100, 1), (10, 2), (1, 3)) if typical >= limit), 4)
    decimals = min(decimals, 1 if signed else most)

    def write(value: float) -> str:
        if not math.isfinite(value):
            return DASH
        rounded = round(value, decimals)
        if abs(value) >= 1e6 or (value and not rounded and not signed):
            text = f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"
        else:
            text = f"{rounded if rounded else 0.0:.{decimals}f}"
        return f"{'+' if signed and rounded > 0 else ''}{text}".replace("-", MINUS)

    return write
