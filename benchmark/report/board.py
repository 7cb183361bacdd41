"""The pages of one board."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmark import analysis
from benchmark.analysis import Board
from benchmark.analysis.intervals import FULL_ROW
from benchmark.record import RunRecord
from benchmark.report import conflict, exports, figures
from benchmark.report.cards import About
from benchmark.report.columns import primary
from benchmark.report.explore import axes, payload
from benchmark.report.links import row_link
from benchmark.report.marks import Marks
from benchmark.report.pictures import Gallery
from benchmark.report.rows import Numbers, Row, different, machines
from benchmark.report.table import table
from benchmark.report.titles import settings
from benchmark.report.volumes import volumes
from benchmark.trust import Standing

#: Fills a template: (template, context) -> the page.
Fill = Callable[..., bytes]
#: How a method stands to the front of fixed weights, in words.
STANDINGS = {"beyond": "beyond it", "on": "on it", "dominated": "behind it"}


@dataclass(frozen=True)
class Coverage:
    """How much of a board's grid is there: its architectures under all its weightings, with all its seeds.

    Points of a sweep of fixed weights count where they were begun.
    """

    have: int
    wanted: int
    missing: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class BoardPage:
    """A board with all that its pages need.

    Attributes:
        readings: the board's numbers, the default reading first.
        stem: its file names without suffix.
        foreign: by run id who vouches for the runs that came in submissions.
    """

    readings: tuple[Numbers, ...]
    stem: str
    title: str
    gallery: Gallery | None
    foreign: Mapping[str, Standing]

    @property
    def numbers(self) -> Numbers:
        """The default reading."""
        return self.readings[0]

    @property
    def board(self) -> Board:
        """The board."""
        return self.numbers.board

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows in the default reading."""
        return self.numbers.rows

    def file(self, section: str = "", suffix: str = "html") -> str:
        """A file of the board."""
        return f"{self.stem}{f'-{section}' if section else ''}.{suffix}"

    @cached_property
    def sections(self) -> list[tuple[str, str]]:
        """Pages of the board: (name, file)."""
        found = [("Results", self.file())]
        if self.numbers.finished:
            found += [("Trade-offs", self.file("trade-offs")), ("Training", self.file("training"))]
        if self.gallery is not None:
            found.append(("Pictures", self.file("pictures")))
        return found

    @cached_property
    def sweeps(self) -> bool:
        """Whether an architecture ran with several constant weights."""
        seen = [row.architecture for row in self.rows if figures.fixed(row) and row.finished]
        return len(seen) > len(set(seen)) and len(self.board.tasks) > 1

    @cached_property
    def unfinished(self) -> list[tuple[Row, RunRecord]]:
        """Rows and their runs that are not ok."""
        return [(row, record) for row in self.rows for record in row.unfinished]

    @cached_property
    def coverage(self) -> Coverage:
        """What of the grid is there."""
        seeds = sorted({record.spec.seed for record in self.board.records})
        have: dict[tuple[str, str], set[int]] = defaultdict(set)
        for row in self.rows:
            have[row.pair] = {record.spec.seed for record in row.finished}
        # Sweeps of fixed weights are made for the architectures of interest: what was begun of them counts, no more.
        apart = [row for row in self.rows if row.weighting == "none" or figures.swept(row)]
        crossed = [row for row in self.rows if row not in apart]
        sharing = sorted({row.architecture for row in crossed})
        weightings = sorted({row.weighting for row in crossed})
        cells = [row.pair for row in apart]
        cells += [(a, w) for a in sharing for w in weightings]
        gaps = [
            (a if w == "none" else f"{a} · {w}", tuple(seed for seed in seeds if seed not in have[a, w]))
            for a, w in cells
        ]
        missing = tuple((name, found) for name, found in gaps if found)
        wanted = len(cells) * len(seeds)
        return Coverage(wanted - sum(len(found) for _, found in missing), wanted, missing)

    @cached_property
    def unranked(self) -> list[tuple[str, int]]:
        """Why rows do not count in a ranking, and how many."""
        reasons: dict[str, int] = defaultdict(int)
        for row in self.rows:
            if not row.finished:
                reasons["no run finished"] += 1
            elif len(row.finished) < FULL_ROW:
                reasons[f"fewer than {FULL_ROW} seeds"] += 1
            elif not row.reference and not row.gain.n:
                reasons["no single-task reference of the same seeds"] += 1
        return sorted(reasons.items())

    @cached_property
    def newest(self) -> tuple[str, list[Row]]:
        """The day of the board's latest run, and the rows that were run on it."""
        days = {row.pair: max(r.provenance.started[:10] for r in row.records) for row in self.rows}
        day = max(days.values(), default="")
        return day, [row for row in self.rows if days[row.pair] == day]


def board_files(page: BoardPage, marks: Marks, fill: Fill, abouts: Sequence[About], suite: str) -> dict[str, bytes]:
    """Every file of a board."""
    found = page.numbers
    makers: Mapping[str, Callable[[], tuple[str, dict[str, Any]]]] = {
        "Trade-offs": lambda: ("trade_offs.html", _trade_offs(page, marks)),
        "Training": lambda: ("training.html", _training(found, marks)),
        "Pictures": lambda: ("pictures.html", {"gallery": page.gallery}),
    }
    result = _tables(page, fill)
    for name, file in page.sections[1:]:
        template, context = makers[name]()
        result[file] = fill(template, page=page, section=name, **context)
    result[page.file(suffix="bib")] = exports.bibliography((a.bibtex for a in abouts), page.board.key, suite)
    return result | dict(page.gallery.files if page.gallery else {})


def _tables(page: BoardPage, fill: Fill) -> dict[str, bytes]:
    result = {}
    for reading in page.readings:
        slug = reading.variant.slug
        laid = table(reading, page.foreign)
        result[page.file(slug)] = fill(
            "board.html",
            page=page,
            section="Results",
            numbers=reading,
            table=laid,
            notes=notes(reading),
            settings=settings(page.board),
            machines=machines(reading.finished),
        )
        caption = f"{page.board.dataset.name}, {page.title}, board {page.board.key}"
        result[page.file(slug, "csv")] = exports.run_table(reading, page.foreign)
        result[page.file(slug, "tex")] = exports.latex(laid, caption, page.file(slug, "")[:-1])
    return result


def _trade_offs(page: BoardPage, marks: Marks) -> dict[str, Any]:
    numbers = page.numbers
    x, y = figures.default_axes(numbers)
    return {
        "axes": axes(numbers),
        "x": x,
        "y": y,
        "plot": figures.pareto(numbers, x, y, marks, row_link) if x and y else None,
        "data": payload(numbers, marks, row_link),
        "volumes": volumes(numbers),
        "fronts": figures.fronts(numbers, marks, row_link) if page.sweeps else [],
        "standings": _standings(numbers) if page.sweeps else {},
    }


def _standings(numbers: Numbers) -> dict[str, dict[str, list[str]]]:
    """By architecture, which methods are beyond the front of fixed weights, on it and behind it, all tasks together."""
    rows = analysis.fronts(numbers.board, rule=numbers.variant.rule).rows
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: {word: [] for word in STANDINGS.values()})
    for row in rows[~rows["fixed"].astype(bool)].sort_values("weighting").to_dict("records"):
        if row["standing"] != "undefined":
            standing = row["standing"] if row["clear"] else "on"
            found[row["architecture"]][STANDINGS[standing]].append(row["weighting"])
    return dict(sorted(found.items()))


def _training(numbers: Numbers, marks: Marks) -> dict[str, Any]:
    gradients = conflict.has_gradients(numbers)
    return {
        "curves": [(task, primary(task), figures.curves(numbers, task, marks)) for task in numbers.board.tasks],
        "weights": figures.trajectories(numbers, marks),
        "overview": conflict.overview(numbers, marks, row_link) if gradients else None,
        "sampled": conflict.sampled(numbers),
        "enough": conflict.ENOUGH,
        "conflicts": conflict.by_epoch(numbers, marks) if gradients else [],
    }


def notes(found: Numbers) -> list[str]:
    """What a reader must know before reading the table."""
    said = []
    usable = [row for row in found.references if row.finished]
    if not usable:
        said.append(
            "No finished single-task run shares these settings, so Δm is not defined; every row shows its last epoch."
        )
    elif len(usable) > 1:
        names = ", ".join(row.name for row in usable)
        said.append(f"Several references share these settings ({names}); where a seed has two, Δm is not defined.")
    if len(timed := machines(found.finished)) > 1:
        said.append(f"Times were taken under different conditions and do not compare: {' / '.join(timed)}.")
    for what, values in different(found.finished):
        said.append(f"The runs were made with different {what}: {', '.join(value or 'none' for value in values)}.")
    return said
