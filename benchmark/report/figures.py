"""The figures of a board. Words outside the axes are left to the page, so that they wrap, scale and can be searched."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
from markupsafe import Markup

from benchmark import analysis
from benchmark.analysis import Estimate
from benchmark.analysis.fronts import SCALARISATIONS
from benchmark.record import TaskInfo
from benchmark.report import series as curves_of
from benchmark.report.columns import COSTS, DELTA, LEGACY_DELTA, Column, primary, task_columns
from benchmark.report.marks import Marks
from benchmark.report.plot import DASHES, Chart, Frame, drawable, limits
from benchmark.report.rows import Numbers, Row
from benchmark.report.series import Series, common_limits, series
from benchmark.report.table import scaled, written

#: Share of training whose values do not stretch the curves' axes: errors at the start would hide later differences.
START = 0.1
#: Farthest from the quartiles' middle that a mean is drawn, in interquartile ranges: Tukey's outer fences.
FENCE = 3.5

#: Rows above which marks shrink and lose their letters.
CROWD = 60

Link = Callable[[Row], str]


@dataclass(frozen=True)
class Figure:
    """A picture and the words that belong to it.

    Attributes:
        title: what it shows.
        notes: what is missing from it, and what it says in words.
        kind: registered names of architecture and weighting, where it shows one row.
    """

    title: str
    svg: Markup
    notes: tuple[str, ...] = ()
    kind: tuple[str | None, str | None] = (None, None)


def quality(numbers: Numbers) -> Column | None:
    """The quality by which rows are drawn: Δm; without it the first task's first metric; None without any metric."""
    if numbers.has_delta:
        return LEGACY_DELTA if numbers.variant.legacy else DELTA
    return next(iter(task_columns(numbers.board.tasks, numbers.variant.legacy)), None)


def pareto(numbers: Numbers, x: Column, y: Column, marks: Marks, link: Link) -> Figure:
    """One column against another; rows that no other row beats in both are joined by a staircase."""
    at = {
        row.pair: (scaled(row.estimate(x.key), x.scale), scaled(row.estimate(y.key), y.scale)) for row in numbers.rows
    }
    rows = [row for row in numbers.rows if all(e.n and drawable(e.mean) for e in at[row.pair])]
    points = pd.DataFrame([[e.mean for e in at[row.pair]] for row in rows], columns=["x", "y"], dtype=float)
    front = analysis.non_dominated(points, {"x": x.higher_is_better, "y": y.higher_is_better}).to_numpy()
    title = f"{y.title} against {x.title}"
    if not rows:
        return Figure(title, Markup(""), ("No row has both numbers.",))
    chart = _scatter(points, x, y)
    chart.stairs(_spots(points[front]), "cx", maximise_x=x.higher_is_better, kind="ln front")
    order = sorted(range(len(rows)), key=lambda i: bool(front[i]))
    for i in order:
        row, (ex, ey) = rows[i], at[rows[i].pair]
        chart.cross((ex.mean, ey.mean), (ex.half, ey.half), marks.colour(row.kind[0]))
    for i in order:
        row, (ex, ey) = rows[i], at[rows[i].pair]
        spot = (chart.across(ex.mean), chart.up(ey.mean))
        words = f"{row.name}\n{y.name}: {written(ey, y.signed)}\n{x.name}: {written(ex, x.signed)}"
        small = len(rows) > CROWD and not front[i]
        size = 7.5 if front[i] else 4 if small else 5.5
        chart.tip(marks.drawn(*row.kind, spot, size, letter=not small), words, link(row))
    names = [row.name for row, best in zip(rows, front, strict=True) if best]
    missing = [row.name for row in numbers.rows if row not in rows]
    notes = [f"Not dominated: {', '.join(names)}."]
    if missing:
        notes.append(f"Not shown, for want of numbers: {', '.join(missing)}.")
    return Figure(title, chart.render(title), tuple(notes))


def _spots(points: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(points["x"].tolist(), points["y"].tolist(), strict=True))


def _scatter(points: pd.DataFrame, x: Column, y: Column, size: tuple[int, int] = (640, 400)) -> Chart:
    """Axes that show all means; an interval wider than all of them may be cut off."""
    across, up = limits(points["x"], 0.05) or (0.0, 1.0), limits(points["y"], 0.12) or (0.0, 1.0)
    log = float(points["x"].min()) > 0 and float(points["x"].max()) > 12 * float(points["x"].min())
    if log:
        across = (float(points["x"].min()) / 1.15, float(points["x"].max()) * 1.15)
    chart = Chart(
        Frame(across, up, f"{x.name} {x.arrow}", f"{y.name} {y.arrow}", *size, log_x=log, flip=not y.higher_is_better,
              ticks=(7, 6))
    )  # fmt: skip
    if y.signed:
        chart.level(0)
    if x.signed:
        chart.upright(0)
    return chart


def curves(numbers: Numbers, task: TaskInfo, marks: Marks) -> list[Figure]:
    """The task's primary validation metric by epoch: a panel per weighting, a line per architecture.

    Every panel also holds, thin, the rows without weighting, the single-task networks among them.
    """
    metric = primary(task)
    if metric is None:
        return []
    get = curves_of.metric("val", task.name, metric.name)
    lines = {row.pair: found for row in numbers.rows if (found := series(row, get)) is not None}
    rows = [row for row in numbers.rows if row.pair in lines]
    window = common_limits(lines.values(), START, FENCE)
    figures = []
    for weighting in sorted({row.weighting for row in rows}, key=lambda name: (name == "none", name)):
        own = [row for row in rows if row.weighting == weighting]
        alone = [row for row in rows if row.weighting == "none" and weighting != "none"]
        chart = _panel(lines.values(), window)
        for row in alone:
            chart.line(lines[row.pair].middle, marks.colour(row.kind[0]), dashes="4 3", kind="ln thin")
        for row in own:
            _band(chart, lines[row.pair], marks.colour(row.kind[0]))
        for row in own:
            chart.line(lines[row.pair].middle, marks.colour(row.kind[0]))
        names = ", ".join(sorted(row.architecture for row in own))
        label = f"{task.name}: {metric.title} on validation by epoch, {weighting}: {names}"
        title = "no weighting" if weighting == "none" else weighting
        figures.append(Figure(title, chart.render(label), kind=(None, own[0].kind[1])))
    return figures


def trajectories(numbers: Numbers, marks: Marks) -> list[Figure]:
    """The weights of the tasks' losses by epoch: a panel per row whose weights are not all 1, a line per task."""
    tasks = [task.name for task in numbers.board.tasks]
    lines = {
        row.pair: {task: found for task in tasks if (found := series(row, curves_of.weight(task)))}
        for row in numbers.rows
    }
    moving = [row for row in numbers.rows if any(m != 1 for line in lines[row.pair].values() for m in line.mean)]
    figures = []
    for row in sorted(moving, key=lambda row: (row.weighting, row.architecture)):
        # Methods differ in the sum of their weights by orders of magnitude, so panels of one weighting share limits.
        alike = [line for other in moving if other.kind[1] == row.kind[1] for line in lines[other.pair].values()]
        chart = _panel(alike, common_limits(alike))
        for i, task in enumerate(tasks):
            if task in lines[row.pair]:
                _band(chart, lines[row.pair][task], marks.colour(row.kind[0]))
                line = lines[row.pair][task].middle
                chart.line(line, marks.colour(row.kind[0]), dashes=DASHES[i % len(DASHES)])
        figures.append(
            Figure(row.name, chart.render(f"Weights by epoch, {row.name}: {', '.join(tasks)}"), kind=row.kind)
        )
    return figures


def _panel(lines: Iterable[Series], window: tuple[float, float] | None) -> Chart:
    found = list(lines)
    last = max((line.epochs[-1] for line in found), default=1)
    first = min((line.epochs[0] for line in found), default=1)
    return Chart(Frame((min(first, last - 1), last), window or (0, 1), "epoch", whole_x=True))


def _band(chart: Chart, line: Series, colour: str) -> None:
    if line.several:
        chart.band(*line.ends, colour)


def fixed(row: Row) -> bool:
    """Whether the row's weights are set beforehand: a point of the simplex."""
    return row.kind[1] in SCALARISATIONS


def swept(row: Row) -> bool:
    """Whether the row is one of several points of the simplex under one name."""
    return fixed(row) and row.weighting != row.kind[1]


def fronts(numbers: Numbers, marks: Marks, link: Link) -> list[tuple[str, list[Figure]]]:
    """Per pair of tasks, a panel per architecture that was run with several constant weights.

    The non-dominated ones among these join to the architecture's empirical front, against which all its other
    weightings are drawn, and as a line the single-task networks.
    """
    by_architecture: dict[str, list[Row]] = {}
    for row in numbers.rows:
        if row.finished:
            by_architecture.setdefault(row.architecture, []).append(row)
    swept = {name: rows for name, rows in by_architecture.items() if sum(fixed(row) for row in rows) > 1}
    firsts = {column.group: column for column in task_columns(numbers.board.tasks) if column.first}
    sections = []
    for one, two in combinations(firsts.values(), 2):
        panels = [_front(name, rows, (one, two), numbers, marks, link) for name, rows in sorted(swept.items())]
        found = [panel for panel in panels if panel is not None]
        if found:
            sections.append((f"{one.group} and {two.group}", found))
    return sections


def _front(
    name: str, rows: list[Row], axes: tuple[Column, Column], numbers: Numbers, marks: Marks, link: Link
) -> Figure | None:
    x, y = axes
    at: Mapping[tuple[str, str], tuple[Estimate, Estimate]] = {
        row.pair: (row.estimate(x.key), row.estimate(y.key)) for row in [*rows, *numbers.references]
    }
    rows = [row for row in rows if all(drawable(e.mean) for e in at[row.pair])]
    points_of = [row for row in rows if fixed(row)]
    if len(points_of) < 2:
        return None
    everything = [row for row in [*rows, *numbers.references] if all(drawable(e.mean) for e in at[row.pair])]
    means = pd.DataFrame([[e.mean for e in at[row.pair]] for row in everything], columns=["x", "y"], dtype=float)
    chart = _scatter(means, x, y, (360, 300))
    for row in numbers.references:
        chart.level(at[row.pair][1].mean)
        chart.upright(at[row.pair][0].mean)
    points = pd.DataFrame([[e.mean for e in at[row.pair]] for row in points_of], columns=["x", "y"], dtype=float)
    front = analysis.non_dominated(points, {"x": x.higher_is_better, "y": y.higher_is_better}).to_numpy()
    colour = marks.colour(rows[0].kind[0])
    chart.stairs(_spots(points[front]), colour, maximise_x=x.higher_is_better)
    for row in sorted(rows, key=lambda row: not fixed(row)):
        ex, ey = at[row.pair]
        spot = (chart.across(ex.mean), chart.up(ey.mean))
        words = f"{row.name}\n{y.name}: {written(ey)}\n{x.name}: {written(ex)}"
        hollow = swept(row)
        drawn = (
            Markup(f'<circle class="{colour} hollow" cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="3.2"/>')
            if hollow
            else marks.drawn(*row.kind, spot, 6)
        )
        chart.tip(drawn, words, link(row))
    others = len(rows) - len(points_of)
    label = f"{y.title} against {x.title}, {name}: {len(points_of)} fixed weights and {others} other rows"
    return Figure(name, chart.render(label), kind=(rows[0].kind[0], None))


def cost_axes(numbers: Numbers) -> list[Column]:
    """Costs that any row has."""
    return [column for column in COSTS if any(row.estimate(column.key).n for row in numbers.rows)]
