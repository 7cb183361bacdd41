"""A map of architectures × weightings, coloured by a column."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmark.report.columns import Column, columns
from benchmark.report.plot import drawable
from benchmark.report.rows import Numbers, Row, machines
from benchmark.report.table import formatter, scaled

#: Classes of the style sheet on either side of the middle.
STEPS = 5


@dataclass(frozen=True)
class Spot:
    """One cell: its number in print, its shade from −STEPS (worst) to STEPS (best), and its row."""

    text: str
    shade: int
    row: Row


@dataclass(frozen=True)
class HeatMap:
    """One column of a board, architecture by architecture and weighting by weighting."""

    column: Column
    spots: Mapping[tuple[str, str], Spot]


@dataclass(frozen=True)
class Atlas:
    """All maps of a board, which share their rows and columns; those of ``none`` come first."""

    architectures: tuple[str, ...]
    weightings: tuple[str, ...]
    rows: Mapping[tuple[str, str], Row]
    maps: tuple[HeatMap, ...]


def atlas(numbers: Numbers) -> Atlas:
    """A map for every column that any row has."""
    rows = {row.pair: row for row in numbers.rows}
    shown = columns(numbers.board, machines(numbers.finished), numbers.variant.legacy)
    maps = [heat_map(numbers, column) for column in shown]
    return Atlas(
        tuple(sorted({row.architecture for row in numbers.rows})),
        tuple(sorted({row.weighting for row in numbers.rows}, key=lambda name: (name != "none", name))),
        rows,
        tuple(found for found in maps if found.spots),
    )


def heat_map(numbers: Numbers, column: Column) -> HeatMap:
    """Shades are steps between the worst and the best value; of signed columns, either side of zero."""
    values = {row.pair: scaled(row.estimate(column.key), column.scale).mean for row in numbers.rows}
    known = {pair: value for pair, value in values.items() if drawable(value)}
    write = formatter(list(known.values()), column.signed)
    shade = _shader(sorted(known.values()), column)
    rows = {row.pair: row for row in numbers.rows}
    return HeatMap(column, {pair: Spot(write(value), shade(value), rows[pair]) for pair, value in known.items()})


def _shader(known: list[float], column: Column) -> Callable[[float], int]:
    """Robust to a few values gone wrong: the scale ends at the 5th and 95th percentile."""
    if not known:
        return lambda value: 0
    low, high = known[int(0.05 * (len(known) - 1))], known[math.ceil(0.95 * (len(known) - 1))]
    middle = 0.0 if column.signed else (low + high) / 2
    reach = max(abs(high - middle), abs(low - middle)) or 1.0
    sign = 1 if column.higher_is_better else -1

    def shade(value: float) -> int:
        return max(-STEPS, min(STEPS, round(sign * STEPS * (value - middle) / reach)))

    return shade
