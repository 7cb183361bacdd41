"""The figures of a board. Words outside the axes are left to the page, so that they wrap, scale and can be searched."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from markupsafe import Markup

from benchmark import analysis
from benchmark.analysis import Estimate
from benchmark.analysis.fronts import scalarisations
from benchmark.report.charts import series as curves_of
from benchmark.report.charts.crowd import crowded, draw_crowd, keys
from benchmark.report.charts.marks import Marks
from benchmark.report.charts.plot import DASHES, Chart, Frame, Point, drawable, limits
from benchmark.report.charts.series import Series, common_limits, series
from benchmark.report.columns import COST_GROUP, COSTS, DELTA, LEGACY_DELTA, RELATIVE, Column, primary, task_columns
from benchmark.report.rows import Numbers, Pair, Row
from benchmark.report.table import DASH, formatter, scaled
from benchmark.runs.record import TaskInfo

#: Share of training whose values do not stretch the curves' axes: errors at the start would hide later differences.
START = 0.1
#: Farthest from the quartiles' middle that a mean is drawn, in interquartile ranges: Tukey's outer fences.
FENCE = 3.5

#: Widths of a mark and of an axis, one in the other; and the share of pairs of rows that an axis should tell apart.
MARK, TOLD_APART = 0.025, 0.6

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
    return next(iter(task_columns(numbers.board.tasks, numbers.board.kinds, numbers.variant.legacy)), None)


def default_axes(numbers: Numbers) -> tuple[Column | None, Column | None]:
    """The axes at the start: quality against the first cost that tells most rows apart, else the tasks' first metrics.

    Without any that tells rows apart, and with fewer than two tasks, the cost that does it best.
    """
    y = quality(numbers)
    rows = [row for row in numbers.rows if row.finished]
    costs = cost_axes(numbers)
    apart = {column.key: _apart(rows, column) for column in costs}
    for column in costs:
        if apart[column.key] >= TOLD_APART:
            return column, y
    firsts = [
        column
        for column in task_columns(numbers.board.tasks, numbers.board.kinds, numbers.variant.legacy)
        if column.first
    ]
    if len(rows) > 1 and len(firsts) > 1:
        known = {column.key: _apart(rows, column) for column in firsts}
        x, up = max(combinations(firsts, 2), key=lambda pair: min(known[column.key] for column in pair))
        if min(known[x.key], known[up.key]) >= TOLD_APART:
            return x, up
    return max(costs, key=lambda column: apart[column.key], default=None), y


def _apart(rows: Sequence[Row], column: Column) -> float:
    """The share of pairs of rows that lie at least a mark's width apart on an axis of this column."""
    values = np.array([value for row in rows if drawable(value := row.estimate(column.key).mean)], dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return 0.0
    values = np.log(values) if logarithmic(values) else values
    gaps = np.abs(values[:, None] - values) / np.ptp(values)
    return float((gaps >= MARK).sum() / (len(values) * (len(values) - 1)))


#: The class of the line at what a prediction reaches that never looks at the picture.
FLOOR = "rf fo"


def pareto(numbers: Numbers, x: Column, y: Column, marks: Marks, link: Link) -> Figure:
    """One column against another; rows that no other row beats in both are named, and joined by a staircase.

    Intervals are those of these rows; another row's is there while it is pointed at.
    """
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
    chart.level(numbers.floor.get(y.key, math.nan) * y.scale, FLOOR)
    chart.upright(numbers.floor.get(x.key, math.nan) * x.scale, FLOOR)
    chart.stairs(_spots(points[front]), "cx", maximise_x=x.higher_is_better or turned(x), kind="ln front")
    words = {column.key: printed(numbers.rows, column) for column in (x, y)}
    names, others = list[tuple[Point, str]](), list[tuple[Point, str]]()
    for i in sorted(range(len(rows)), key=lambda i: bool(front[i])):
        row, (ex, ey) = rows[i], at[rows[i].pair]
        spot = (chart.across(ex.mean), chart.up(ey.mean))
        said = f"{row.name}\n{y.name}: {words[y.key][row.pair]}\n{x.name}: {words[x.key][row.pair]}"
        small = len(rows) > CROWD and not front[i]
        size = 7.5 if front[i] else 4 if small else 5.5
        kind = f"er{'' if front[i] else ' late'} {marks.colour(row.kind[0])}"
        cross = chart.cross((ex.mean, ey.mean), (ex.half, ey.half), kind)
        chart.tip(cross + marks.drawn(*row.kind, spot, size, letter=not small), said, link(row))
        (names if front[i] else others).append((spot, row.name))
    chart.names(names, 7.5, [spot for spot, _ in others])
    missing = [row.name for row in numbers.rows if row not in rows]
    notes = [f"Not dominated: {', '.join(row.name for row, best in zip(rows, front, strict=True) if best)}."]
    if missing:
        notes.append(f"Not shown, for want of numbers: {', '.join(missing)}.")
    return Figure(title, chart.render(title), tuple(notes))


def printed(rows: Sequence[Row], column: Column) -> dict[Pair, str]:
    """By row a column's mean and interval in words, with the decimals of the table."""
    found = {row.pair: scaled(row.estimate(column.key), column.scale) for row in rows}
    write = formatter([e.mean for e in found.values() if e.n and math.isfinite(e.mean)], column.signed, column.places)
    return {
        row.pair: write(e.mean)
        + (f" ± {write(e.half).lstrip('+')}" if e.half is not None and _varies(row, column) else "")
        for row in rows
        if math.isfinite((e := found[row.pair]).mean)
    }


def _varies(row: Row, column: Column) -> bool:
    """Whether a row's number varies from run to run: what is counted does not, nor a reference's gain over itself."""
    return column.measured and not (row.reference and column.key == row.delta)


def _spots(points: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(points["x"].tolist(), points["y"].tolist(), strict=True))


def logarithmic(values: np.ndarray | pd.Series) -> bool:
    """Whether an axis of these values is logarithmic: where they span more than an order of magnitude."""
    return float(values.min()) > 0 and float(values.max()) > 12 * float(values.min())


def turned(x: Column) -> bool:
    """Whether an axis across has its least value at the right: better is up and right, but costs grow to the right."""
    return not x.higher_is_better and x.group != COST_GROUP


def _scatter(points: pd.DataFrame, x: Column, y: Column, size: tuple[int, int] = (640, 400)) -> Chart:
    """Axes that show all means; an interval wider than all of them may be cut off."""
    across, log_x = _ends(points["x"], 0.05)
    up, log_y = _ends(points["y"], 0.12)
    words = f"{x.name} {x.arrow}{', better to the right' if turned(x) else ''}{', logarithmic' if log_x else ''}"
    above = f"{y.name} {y.arrow}{'' if y.higher_is_better else ', better on top'}{', logarithmic' if log_y else ''}"
    chart = Chart(
        Frame(across, up, words, above, *size, log_x=log_x, log_y=log_y, flip=not y.higher_is_better, flip_x=turned(x),
              ticks=(7, 6))
    )  # fmt: skip
    if y.signed:
        chart.level(0)
    if x.signed:
        chart.upright(0)
    return chart


def _ends(values: pd.Series, room: float) -> tuple[tuple[float, float], bool]:
    """An axis's limits, and whether it is logarithmic."""
    if len(values) and logarithmic(values):
        return (float(values.min()) / 1.15, float(values.max()) * 1.15), True
    return limits(values, room) or (0.0, 1.0), False


def curves(numbers: Numbers, task: TaskInfo, marks: Marks) -> list[Figure]:
    """The task's primary validation metric by epoch: a panel per weighting, a line per architecture.

    Points of a sweep of fixed weights share a panel, a line each. Every panel also holds, thin, the rows without
    weighting, the single-task networks among them.
    """
    metric = primary(task, numbers.board.kinds)
    if metric is None:
        return []
    get = curves_of.metric("val", task.name, metric.name)
    lines = {row.pair: found for row in numbers.rows if (found := series(row, get)) is not None}
    rows = [row for row in numbers.rows if row.pair in lines]
    window = common_limits(lines.values(), START, FENCE)
    figures = []
    for title, own in by_weighting(rows):
        alone = [row for row in rows if row.weighting == "none" and row not in own]
        chart = _panel(lines.values(), window)
        chart.level(numbers.floor_on_val.get((task.name, metric.name), math.nan), FLOOR)
        for row in alone:
            chart.line(lines[row.pair].middle, marks.colour(row.kind[0]), dashes="4 3", kind="ln thin")
        for row in own:
            if not swept(row):
                _band(chart, lines[row.pair], marks.colour(row.kind[0]))
        for row in own:
            chart.line(lines[row.pair].middle, marks.colour(row.kind[0]))
        names = ", ".join(sorted({row.architecture for row in own}))
        label = f"{task.name}: {metric.title} on validation by epoch, {title}: {names}"
        figures.append(Figure(title, chart.render(label), kind=(None, own[0].kind[1])))
    return figures


def by_weighting(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows by weighting, those without one last; all points of a sweep of fixed weights together."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.kind[1] if swept(row) else row.weighting, []).append(row)
    found = []
    for name in sorted(groups, key=lambda name: (name == "none", name)):
        points = {row.weighting for row in groups[name] if swept(row)}
        title = f"{name}, {len(points)} fixed weights" if points else "no weighting" if name == "none" else name
        found.append((title, groups[name]))
    return found


@dataclass(frozen=True)
class Weights:
    """The weights of the tasks' losses.

    Attributes:
        panels: a panel per row whose weights move, a line per task; of many tasks, see ``draw_crowd``.
        still: rows whose weights stay as they are, with those of each task in words; rows of ones are left out.
        keys: what the lines are, in the order of ``DASHES``.
    """

    panels: tuple[Figure, ...]
    still: tuple[tuple[Row, tuple[str, ...]], ...]
    keys: tuple[str, ...]


def trajectories(numbers: Numbers, marks: Marks) -> Weights:
    """The weights of the tasks' losses by epoch. Axes begin at 0, so that a weight that hardly moves looks so."""
    tasks = [task.name for task in numbers.board.tasks]
    lines = {
        row.pair: {task: found for task in tasks if (found := series(row, curves_of.weight(task)))}
        for row in numbers.rows
    }
    rows = sorted(
        (row for row in numbers.rows if lines[row.pair]), key=lambda row: (row.kind[1], row.weighting, row.architecture)
    )
    drawn = keys(len(tasks)) if crowded(len(tasks)) else tuple(tasks)
    moving = [row for row in rows if not all(line.still for line in lines[row.pair].values())]
    panels = []
    for row in moving:
        # Methods differ in the sum of their weights by orders of magnitude, so panels of one weighting share limits.
        alike = [line for other in moving if other.kind[1] == row.kind[1] for line in lines[other.pair].values()]
        chart = _panel(alike, _from_zero(alike))
        if crowded(len(tasks)):
            draw_crowd(chart, list(lines[row.pair].items()), marks.colour(row.kind[0]))
        for i, task in enumerate(() if crowded(len(tasks)) else tasks):
            if task in lines[row.pair]:
                _band(chart, lines[row.pair][task], marks.colour(row.kind[0]))
                line = lines[row.pair][task].middle
                chart.line(line, marks.colour(row.kind[0]), dashes=DASHES[i % len(DASHES)])
        panels.append(
            Figure(row.name, chart.render(f"Weights by epoch, {row.name}: {', '.join(drawn)}"), kind=row.kind)
        )
    still = [row for row in rows if row not in moving and any(line.mean[0] != 1 for line in lines[row.pair].values())]
    levels = {row.pair: {task: line.mean[0] for task, line in lines[row.pair].items()} for row in still}
    write = formatter([value for found in levels.values() for value in found.values()])
    words = {pair: tuple(write(own[t]) if t in own else DASH for t in tasks) for pair, own in levels.items()}
    return Weights(tuple(panels), tuple((row, words[row.pair]) for row in still), drawn)


def _from_zero(lines: Sequence[Series]) -> tuple[float, float] | None:
    ends = common_limits(lines)
    if ends is None:
        return None
    least = min(min(line.mean) for line in lines)
    return (0.0 if least >= 0 else ends[0]), max(ends[1], 1e-9)


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
    return row.kind[1] in scalarisations()


def swept(row: Row) -> bool:
    """Whether the row is one of several points of the simplex under one name."""
    return fixed(row) and row.weighting != row.kind[1]


def fronts(numbers: Numbers, marks: Marks, link: Link) -> list[Figure]:
    """A panel per architecture that was run with several constant weights, and pair of tasks.

    The non-dominated ones among these join to the architecture's empirical front, against which all its other
    weightings are drawn, and as a line the single-task networks.
    """
    by_architecture: dict[str, list[Row]] = {}
    for row in numbers.rows:
        if row.finished:
            by_architecture.setdefault(row.architecture, []).append(row)
    swept = {name: rows for name, rows in by_architecture.items() if sum(fixed(row) for row in rows) > 1}
    firsts = {column.group: column for column in task_columns(numbers.board.tasks, numbers.board.kinds) if column.first}
    pairs = list(combinations(firsts.values(), 2))
    panels = [_front(name, rows, pair, numbers, marks, link) for name, rows in sorted(swept.items()) for pair in pairs]
    return [panel for panel in panels if panel is not None]


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
    chart = _scatter(means, x, y, (400, 330))
    for row in numbers.references:
        chart.level(at[row.pair][1].mean)
        chart.upright(at[row.pair][0].mean)
    points = pd.DataFrame([[e.mean for e in at[row.pair]] for row in points_of], columns=["x", "y"], dtype=float)
    front = analysis.non_dominated(points, {"x": x.higher_is_better, "y": y.higher_is_better}).to_numpy()
    colour = marks.colour(rows[0].kind[0])
    chart.stairs(_spots(points[front]), colour, maximise_x=x.higher_is_better or turned(x))
    spots = {row.pair: (chart.across(at[row.pair][0].mean), chart.up(at[row.pair][1].mean)) for row in rows}
    printed_x, printed_y = printed(numbers.rows, x), printed(numbers.rows, y)
    for row in sorted(rows, key=lambda row: not fixed(row)):
        (ex, ey), spot = at[row.pair], spots[row.pair]
        words = f"{row.name}\n{y.name}: {printed_y[row.pair]}\n{x.name}: {printed_x[row.pair]}"
        hollow = swept(row)
        drawn = (
            Markup(f'<circle class="{colour} hollow" cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="3.2"/>')
            if hollow
            else marks.drawn(*row.kind, spot, 6)
        )
        cross = chart.cross((ex.mean, ey.mean), (ex.half, ey.half), f"er late {colour}")
        chart.tip(cross + drawn, words, link(row))
    best = [row for row, reached in zip(points_of, front, strict=True) if reached]
    chart.names([(spots[row.pair], _point(row)) for row in best], 4, spots.values())
    others = len(rows) - len(points_of)
    label = f"{y.title} against {x.title}, {name}: {len(points_of)} fixed weights and {others} other rows"
    return Figure(f"{name}: {x.group} and {y.group}", chart.render(label), kind=(rows[0].kind[0], None))


def _point(row: Row) -> str:
    """A point of the simplex in a few letters: its weights."""
    weighting = row.records[0].spec.weighting
    weights = weighting.options.get("weights") if weighting else None
    return " ".join(f"{w:.2g}" for w in weights) if isinstance(weights, list | tuple) else row.weighting


def cost_axes(numbers: Numbers) -> list[Column]:
    """Costs that any row has and that are comparable: not those measured on each run's own machine."""
    found = [column for column in (COSTS[0], RELATIVE, *COSTS[1:]) if not column.measured]
    return [column for column in found if any(row.estimate(column.key).n for row in numbers.rows)]
