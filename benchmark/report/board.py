"""The pages of one board."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from benchmark import analysis
from benchmark.analysis import Board
from benchmark.report import exports
from benchmark.report.answers import answers
from benchmark.report.cards import About
from benchmark.report.charts import conflict, figures
from benchmark.report.charts.forest import Forest, without_seeds
from benchmark.report.charts.marks import Marks
from benchmark.report.columns import primary
from benchmark.report.explore import axes, payload
from benchmark.report.links import row_link
from benchmark.report.pictures import Gallery
from benchmark.report.rows import Numbers, Row, different, machines
from benchmark.report.table import table
from benchmark.report.titles import settings
from benchmark.report.volumes import volumes
from benchmark.runs.record import RunRecord
from benchmark.runs.trust import Standing

#: Fills a template: (template, context) -> the page.
Fill = Callable[..., bytes]
#: Tasks below the floor that are named one by one.
MOST_NAMED = 8
#: How a method stands to the front of fixed weights, in words.
STANDINGS = {"beyond": "beyond it", "on": "on it", "dominated": "behind it"}


@dataclass(frozen=True)
class BoardPage:
    """A board with all that its pages need.

    Attributes:
        readings: the board's numbers, the default reading first.
        stem: its file names without suffix.
        foreign: by run id who vouches for the runs that came in submissions.
        calibrated: how relative costs were measured, in words; empty where they were not.
    """

    readings: tuple[Numbers, ...]
    stem: str
    title: str
    gallery: Gallery | None
    foreign: Mapping[str, Standing]
    calibrated: str = ""

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
    def below(self) -> list[tuple[str, int]]:
        """Tasks by whose primary metric rows are worse than a prediction that never looks at the picture; how many."""
        numbers = self.numbers
        found = []
        for task in self.board.tasks:
            metric = primary(task, self.board.kinds)
            floor = numbers.floor.get((task.name, metric.name)) if metric else None
            if metric is None or floor is None:
                continue
            means = [row.estimate((task.name, metric.name)).mean for row in numbers.rows]
            worse = sum(mean < floor if metric.higher_is_better else mean > floor for mean in means)
            if worse:
                found.append((task.name, worse))
        return found

    @property
    def below_in_words(self) -> str:
        """The same, as a sentence begins; of many tasks in numbers alone."""
        rows = len(self.numbers.rows)
        if len(self.below) <= MOST_NAMED:
            named = ", ".join(f"in {task} {worse} of {rows} rows" for task, worse in self.below)
            return named[:1].upper() + named[1:]
        counts = sorted({worse for _, worse in self.below})
        span = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
        return f"In {len(self.below)} of {len(self.board.tasks)} tasks {span} of {rows} rows"

    @cached_property
    def decided(self) -> int:
        """How many verdicts stand, over all baselines."""
        return sum(len(v.by_row) - v.counts["undecided"] for v in self.numbers.versus)

    def forest(self, marks: Marks) -> Markup | None:
        """The board against its first baseline; None without one."""
        if not self.numbers.versus:
            return None
        versus = self.numbers.versus[0]
        by_pair = {row.pair: row for row in self.rows}
        found = [c for c in versus.by_row.values() if c.n and c.n_baseline and c.row not in self.numbers.folded]
        named = [
            (c, by_pair[c.row].name, marks.colour(by_pair[c.row].kind[0]), row_link(by_pair[c.row]))
            for c in sorted(found, key=lambda c: -c.difference)
        ]
        label = f"Differences from {versus.name} of {len(named)} rows. {versus.sentence}"
        blind = self.numbers.floor.get(self.numbers.variant.delta)
        floor = (
            [(without_seeds(blind), "floor: sees no picture", "cx", "method.html#floor")] if blind is not None else []
        )
        return Forest.from_comparisons(versus).figure(named, label, floor) if named else None

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
        forests = {versus.key: Forest.from_comparisons(versus) for versus in reading.versus}
        blind = reading.floor.get(reading.variant.delta)
        result[page.file(slug)] = fill(
            "board.html",
            page=page,
            section="Results",
            numbers=reading,
            table=laid,
            forests=forests,
            floor=forests["reference"].mark(blind) if blind is not None and "reference" in forests else "",
            answers=answers(reading),
            notes=notes(reading),
            settings=settings(page.board),
            machines=machines(reading.finished),
        )
        caption = f"{page.board.dataset.name}, {page.title}, board {page.board.key}"
        result[page.file(slug, "csv")] = exports.run_table(reading, page.foreign)
        result[page.file(f"{slug}-rows".lstrip("-"), "csv")] = exports.row_table(reading)
        result[page.file(slug, "tex")] = exports.latex(
            laid, next(iter(reading.versus), None), caption, page.file(slug, "")[:-1]
        )
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
        "curves": [
            (task, primary(task, numbers.board.kinds), figures.curves(numbers, task, marks))
            for task in numbers.board.tasks
        ],
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
        said.append(
            f"Several references share these settings ({names}): Δm is against the mean of their runs, but for seeds "
            "that have two, and no row is held against them."
        )
    counts = sorted({len(row.finished) for row in found.rows if row.finished and not row.reference})
    if len(counts) > 1 and any(versus.known for versus in found.versus):
        said.append(
            f"Rows have different numbers of seeds, {counts[0]} to {counts[-1]}, perhaps for what was seen before: "
            "verdicts are at a level of 2 % in place of 5 %, at which simulated races err on 1 to 5 % of boards."
        )
    for what, values in different(found.finished):
        said.append(f"The runs were made with different {what}: {', '.join(value or 'none' for value in values)}.")
    return said
