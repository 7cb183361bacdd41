"""Curves of one row: every seed's metrics, and means of losses, weights and gradients with their range over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from benchmark.analysis.kinds import kinds_of
from benchmark.report.charts import series as curves_of
from benchmark.report.charts.crowd import crowded, draw_crowd
from benchmark.report.charts.crowd import keys as crowd_keys
from benchmark.report.charts.plot import DASHES, Chart, Frame, Point, drawable, limits, thin
from benchmark.report.charts.series import Getter, Series, series
from benchmark.report.columns import primary
from benchmark.report.rows import Row
from benchmark.runs.record import RunRecord, TaskInfo

#: Points of a mean, and of all seeds' curves in a panel together, but for the fewest that a curve has: a page stays
#: small however long runs were and however many.
MOST_POINTS = 60
ALL_POINTS = 900
FEWEST_POINTS = 12
#: Farthest from the quartiles' middle that a value stretches an axis, in interquartile ranges.
FENCE = 3.5


@dataclass(frozen=True)
class Panel:
    """A chart with a heading; ``keys`` name its lines, in the order of ``DASHES``."""

    title: str
    svg: Markup
    keys: tuple[str, ...] = ()


def metrics(row: Row, tasks: Sequence[TaskInfo], colour: str) -> tuple[Panel, ...]:
    """Each task's first metric: on test a thin line per seed with its chosen epoch, bold means of test and validation.

    The mean is over the seeds that were evaluated at an epoch.
    """
    found, kinds = [], kinds_of(row.records[0])
    for task in tasks:
        metric = primary(task, kinds)
        if metric is None:
            continue
        unit = f" ({metric.unit})" if metric.unit else ""
        title = f"{task.name}: {metric.title}{unit} {'↑' if metric.higher_is_better else '↓'}"
        getters = {"test": curves_of.metric("test", task.name, metric.name)}
        getters["validation"] = curves_of.metric("val", task.name, metric.name)
        means = {split: line for split, get in getters.items() if (line := series(row, get, MOST_POINTS))}
        if means:
            found.append(_seeds(title, row, task.name, getters["test"], means, colour))
    return tuple(found)


def _seeds(title: str, row: Row, task: str, get: Getter, means: dict[str, Series], colour: str) -> Panel:
    most = max(FEWEST_POINTS, min(MOST_POINTS, ALL_POINTS // len(row.finished)))
    everything = {record.spec.seed: points for record in row.finished if (points := _points(record, get))}
    lines: dict[int, Sequence[Point]] = {seed: thin(points, most) for seed, points in everything.items()}
    chart = _chart([*lines.values(), *(line.middle for line in means.values())])
    if len(lines) > 1:
        for seed, drawn in lines.items():
            chart.named_line(_held(drawn, chart), colour, f"seed {seed}")
    for i, line in enumerate(means.values()):
        chart.line(_held(line.middle, chart), colour, dashes=DASHES[i % len(DASHES)])
    chosen = {seed: row.epochs.get(seed, {}).get(task) for seed in everything}
    spots = [point for seed, points in everything.items() for point in points if point[0] == chosen[seed]]
    _dots(chart, _held(spots, chart), colour)
    label = f"{title} by epoch: {len(lines)} seeds on test, means on {' and '.join(means)}"
    return Panel(title, chart.render(label), tuple(means))


def _dots(chart: Chart, points: Iterable[Point], colour: str) -> None:
    """Small dots, all in one path: lines of no length with round ends."""
    path = "".join(f"M{chart.across(x):.1f} {chart.up(y):.1f}h0" for x, y in points)
    if path:
        chart.parts.append(f'<path class="dots {colour}" d="{path}"/>')


def losses(row: Row, tasks: Sequence[TaskInfo], colour: str) -> tuple[Panel, ...]:
    """Each task's loss on both splits that have one; a thin line of training for each run that did not finish."""
    panels = [
        _panel(
            task.name,
            row,
            [(split, curves_of.loss(split, task.name)) for split in ("train", "val")],
            colour,
            prefix="loss of ",
            unfinished=True,
        )
        for task in tasks
    ]
    return tuple(panel for panel in panels if panel)


def weights(row: Row, tasks: Sequence[TaskInfo], colour: str) -> tuple[Panel, ...]:
    """The weights of the tasks' losses."""
    panel = _panel("weights of the losses", row, [(t.name, curves_of.weight(t.name)) for t in tasks], colour)
    return (panel,) if panel else ()


def gradients(row: Row, tasks: Sequence[TaskInfo], colour: str) -> tuple[Panel, ...]:
    """How the tasks' gradients over the shared parameters met."""
    cosines = [(pair.replace("|", " · "), curves_of.cosine(pair)) for pair in curves_of.pairs([row])]
    norms = [(task.name, curves_of.norm(task.name)) for task in tasks]
    panels = [
        _panel("conflicting pairs (%)", row, [("", curves_of.conflicts)], colour, window=(0.0, 100.0)),
        _panel("cosines", row, cosines, colour, level=0.0),
        _panel("norms", row, norms, colour, floor=0.0),
    ]
    return tuple(panel for panel in panels if panel)


def _panel(
    title: str,
    row: Row,
    getters: Sequence[tuple[str, Getter]],
    colour: str,
    *,
    level: float | None = None,
    window: Point | None = None,
    floor: float | None = None,
    prefix: str = "",
    unfinished: bool = False,
) -> Panel | None:
    """Means over seeds, and of few lines the range of the seeds.

    With ``unfinished``, the first quantity of runs that are not ok too.
    """
    lines = [(name, line) for name, get in getters if (line := series(row, get, MOST_POINTS))]
    ended = [(r, own) for r in row.unfinished if unfinished and (own := _points(r, getters[0][1]))]
    if not lines and not ended:
        return None
    points: list[Sequence[Point]] = [edge for _, line in lines for edge in (line.middle, *line.ends)]
    points += [own for _, own in ended]
    many = crowded(len(lines))
    edges = [line.mean[-1] for _, line in lines] if many else []  # what one task reaches is no epoch gone wrong
    chart = _chart(points, window, [*(y for y in (level, floor) if y is not None), *edges])
    if level is not None:
        chart.level(level)
    for _, line in lines:
        if line.several and not many:
            chart.band(*line.ends, colour)
    for record, own in ended:
        held = _held(thin(own, MOST_POINTS), chart)
        chart.named_line(held, colour, f"seed {record.spec.seed}, {record.status}")
    if many:
        draw_crowd(chart, lines, colour)
        keys = crowd_keys(len(lines))
    else:
        for i, (_, line) in enumerate(lines):
            chart.line(_held(line.middle, chart), colour, dashes=DASHES[i % len(DASHES)])
        keys = tuple(name for name, _ in lines if name)
    return Panel(title, chart.render(f"{prefix}{title} by epoch: {', '.join(keys)}"), keys)


def _chart(lines: Iterable[Sequence[Point]], window: Point | None = None, also: Sequence[float] = ()) -> Chart:
    points = [point for line in lines for point in line]
    ends = [x for x, _ in points]
    across = (min(min(ends), max(ends) - 1), max(ends))
    up = window or limits([*_near([y for _, y in points]), *also]) or (0.0, 1.0)
    return Chart(Frame(across, up, "epoch", width=300, height=170, whole_x=True))


def _near(values: Sequence[float]) -> Sequence[float]:
    """Without single values far from all others, which would flatten the rest."""
    found = np.asarray(values, dtype=float)
    first, third = np.quantile(found, [0.25, 0.75])
    spread = third - first
    return found[np.abs(found - (first + third) / 2) <= FENCE * spread].tolist() if spread else values


def _held(points: Sequence[Point], chart: Chart) -> list[Point]:
    """Points within the frame; one beyond its lower or upper edge lies on the edge."""
    low, high = chart.frame.y
    return [(x, min(max(y, low), high)) for x, y in points]


def _points(record: RunRecord, get: Getter) -> list[Point]:
    return [(float(e.epoch), value) for e in record.curves if (value := get(e)) is not None and drawable(value)]
