"""The numbers of a board for the page on which readers choose both axes."""

import json
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from benchmark.report.charts.figures import printed, turned
from benchmark.report.charts.marks import SHAPES, Marks
from benchmark.report.columns import COST_GROUP, Column, columns
from benchmark.report.rows import Numbers, Row, machines
from benchmark.report.table import scaled


def axes(numbers: Numbers) -> list[Column]:
    """Columns that any row has, without costs that were measured on each run's own machine."""
    found = [c for c in columns(numbers.board, machines(numbers.finished)) if c.group != COST_GROUP or not c.measured]
    return [column for column in found if any(row.estimate(column.key).n for row in numbers.rows)]


def payload(numbers: Numbers, marks: Marks, link: Callable[[Row], str]) -> Markup:
    """JSON to stand in a ``<script type="application/json">``."""
    shown = axes(numbers)
    words = [printed(numbers.rows, column) for column in shown]
    rows = [
        {
            "a": row.kind[0], "w": row.kind[1], "n": row.name.replace("\u00a0", " "), "u": link(row),
            "s": len(row.finished), "c": marks.architectures[row.kind[0]], "m": marks.weightings[row.kind[1]].shape,
            "l": marks.weightings[row.kind[1]].letter,
            "v": [_values(row, column, text.get(row.pair)) for column, text in zip(shown, words, strict=True)],
        }
        for row in numbers.rows
        if row.finished
    ]  # fmt: skip
    described = [
        {"id": c.id, "name": c.name, "up": c.higher_is_better, "signed": c.signed, "turned": turned(c)}
        | ({"floor": _short(numbers.floor[c.key] * c.scale)} if c.key in numbers.floor else {})
        for c in shown
    ]
    return embedded({"axes": described, "rows": rows, "shapes": [list(shape) for shape in SHAPES]})


def _values(row: Row, column: Column, text: str | None) -> list[float | str] | None:
    """Mean, half the interval's width (0 where there is none), and both in words."""
    found = scaled(row.estimate(column.key), column.scale)
    if text is None:
        return None
    return [_short(found.mean), _short(found.half or 0.0), text]


def _short(value: float) -> float:
    return float(f"{value:z.6g}")


def embedded(value: Any) -> Markup:
    """JSON that no text in it can end early."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign, code in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, code)
    return Markup(text)
