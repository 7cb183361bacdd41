"""Templates and what they are filled with: every page of a report, as bytes by path."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context

from benchmark import analysis
from benchmark.analysis import Board
from benchmark.report import figures
from benchmark.report.marks import Marks, palette_css
from benchmark.report.pictures import Gallery, gallery
from benchmark.report.rows import Numbers, Row, different, machines, metrics_of, numbers, primary
from benchmark.report.svg import settings as figure_settings
from benchmark.report.table import DASH, formatter, table
from benchmark.report.titles import settings, stems, titles
from benchmark.store import Problem, Store

ASSETS = ("style.css", "board.js")


@dataclass(frozen=True)
class BoardPage:
    """A board with all that its pages need."""

    numbers: Numbers
    stem: str
    title: str
    gallery: Gallery | None

    @property
    def board(self) -> Board:
        """The board."""
        return self.numbers.board

    @cached_property
    def sections(self) -> list[tuple[str, str, str]]:
        """Pages of the board: (name, template, file)."""
        found = [("Table", "board.html", f"{self.stem}.html"), ("Curves", "curves.html", f"{self.stem}-curves.html")]
        if not self.numbers.weights.empty:
            found.append(("Weights", "weights.html", f"{self.stem}-weights.html"))
        if self.gallery is not None:
            found.append(("Pictures", "pictures.html", f"{self.stem}-pictures.html"))
        return found

    @property
    def unfinished(self) -> list[tuple[Row, Any]]:
        """Rows and their runs that are not ok."""
        return [(row, record) for row in self.numbers.rows for record in row.unfinished]


def render(boards: Sequence[Board], problems: Sequence[Problem], store: Store, rule: str) -> dict[str, bytes]:
    """All files of the report."""
    with rc_context():
        pages = [
            BoardPage(found, stem, title, gallery(found, store))
            for found, stem, title in zip(
                [numbers(b, rule) for b in boards], stems(boards), titles(boards), strict=True
            )
        ]
        marks = Marks.of(row.pair for page in pages for row in page.numbers.rows)
        environment = _environment(marks, rule)
        result = {"index.html": _fill(environment, "index.html", pages=pages, problems=_relative(problems, store))}
        with figure_settings():
            for page in pages:
                result |= _board_files(environment, page, marks)
    for name in ASSETS:
        result[f"assets/{name}"] = (files("benchmark.report") / "assets" / name).read_bytes()
    result["assets/style.css"] = palette_css().encode() + result["assets/style.css"]
    return result


def _board_files(environment: Environment, page: BoardPage, marks: Marks) -> dict[str, bytes]:
    found = page.numbers
    quality = figures.quality(found)
    context: dict[str, dict[str, Any]] = {
        "board.html": {
            "table": table(found),
            "plots": [
                figures.pareto(found, x, quality, marks, f"pareto{i}") for i, x in enumerate(figures.cost_axes(found))
            ]
            if quality
            else [],
            "notes": _notes(found),
            "settings": settings(page.board),
            "machines": machines(found.finished),
        },
        "curves.html": {
            "panels": [
                (task, primary(task), figures.curves(found, task, marks, f"curve{i}"))
                for i, task in enumerate(page.board.tasks)
            ]
        },
        "weights.html": {"panels": figures.trajectories(found, marks, "weight")},
        "pictures.html": {"gallery": page.gallery},
    }
    result = {
        file: _fill(environment, template, page=page, section=name, **context[template])
        for name, template, file in page.sections
    }
    return result | dict(page.gallery.files if page.gallery else {})


def _environment(marks: Marks, rule: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("benchmark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "marks": marks,
        "rule": rule,
        "rules": analysis.RULES,
        "dash": DASH,
        "dash_icon": figures.dash_icon,
        "metrics_of": metrics_of,
        "percent": _percent,
    }
    return environment


def _fill(environment: Environment, template: str, **context: Any) -> bytes:
    return environment.get_template(template).render(**context).encode("utf-8", "replace")


def _percent(row: Row) -> str:
    """A row's Δm in words."""
    delta = row.estimate("delta_m")
    write = formatter([delta.mean], signed=True)
    spread = f" ± {write(delta.half).lstrip('+')}" if delta.half is not None else ""
    return f"{write(delta.mean)}{spread} %" if math.isfinite(delta.mean) else DASH


def _relative(problems: Sequence[Problem], store: Store) -> list[tuple[str, str]]:
    """Unreadable files by their place in the store: where the store lies is nobody's business."""
    root = f"{store.root}/"
    return [(str(p.path).removeprefix(root), p.reason.replace(root, "")) for p in problems]


def _notes(found: Numbers) -> list[str]:
    """What a reader must know before reading the table."""
    notes = []
    usable = [row for row in found.references if row.finished]
    if not usable:
        notes.append(
            "No finished single-task run shares these settings, so Δm is not defined; every row shows its last epoch."
        )
    elif len(usable) > 1:
        names = ", ".join(row.name for row in usable)
        notes.append(f"Several references share these settings ({names}); where a seed has two, Δm is not defined.")
    if len(timed := machines(found.finished)) > 1:
        notes.append(f"Times were taken under different conditions and do not compare: {' / '.join(timed)}.")
    for what, values in different(found.finished):
        notes.append(f"The runs were made with different {what}: {', '.join(value or 'none' for value in values)}.")
    return notes
