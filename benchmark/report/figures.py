"""The figures of a board. Words outside the axes are left to the page, so that they wrap, scale and can be searched."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from operator import methodcaller
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmark import analysis
from benchmark.analysis import Estimate
from benchmark.report.marks import Marks
from benchmark.report.rows import Numbers, Row, primary
from benchmark.report.svg import MUTED, PAPER, canvas, inline
from benchmark.report.table import formatter
from benchmark.store import TaskInfo

#: Dash patterns that tell tasks apart where colour stands for the architecture; in units of the line's width.
DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.3, 1, 1.3)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)

#: Share of training whose values do not stretch the curves' axes: errors at the start would hide later differences.
START = 0.1
#: Farthest from the quartiles' middle that a mean is drawn, in interquartile ranges: Tukey's outer fences.
FENCE = 3.5

#: Numbers beyond this are not drawn: no metric, weight or cost comes near, and axes cannot hold them.
LARGEST = 1e12


@dataclass(frozen=True)
class Figure:
    """A picture and the words that belong to it.

    Attributes:
        title: what it shows.
        notes: what is missing from it, and what it says in words.
    """

    title: str
    svg: Markup
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axis:
    """One side of a Pareto plot: what it shows, taken from a row, and which way is better."""

    label: str
    value: Callable[[Row], Estimate]
    higher_is_better: bool
    signed: bool = False


def quality(numbers: Numbers) -> Axis | None:
    """The quality by which rows are drawn: Δm; without it the first task's first metric; None without any metric."""
    if numbers.has_delta:
        return Axis("Δm (%)", lambda row: row.estimate("delta_m"), True, signed=True)
    for task in numbers.board.tasks:
        metric = primary(task)
        if metric is not None:
            unit = f" ({metric.unit})" if metric.unit else ""
            key = methodcaller("estimate", (task.name, metric.name))
            return Axis(f"{task.name}: {metric.title}{unit}", key, metric.higher_is_better)
    return None


#: Units of time: name, seconds, and the greatest number of seconds that is still written in it.
TIMES = (("seconds", 1.0, 180.0), ("minutes", 60.0, 4 * 3600.0), ("hours", 3600.0, np.inf))


def cost_axes(numbers: Numbers) -> tuple[Axis, ...]:
    """What quality is drawn against."""
    longest = max((row.estimate("train_seconds").mean for row in numbers.rows if row.finished), default=0.0)
    unit, seconds, _ = next((found for found in TIMES if longest <= found[2]), TIMES[0])
    return (
        Axis("parameters (millions)", lambda row: times(row.estimate("parameters"), 1e-6), False),
        Axis(f"training time ({unit})", lambda row: times(row.estimate("train_seconds"), 1 / seconds), False),
    )


def times(value: Estimate, factor: float) -> Estimate:
    """The estimate in another unit."""
    return Estimate(value.mean * factor, None if value.half is None else value.half * factor, value.n)


def pareto(numbers: Numbers, x: Axis, y: Axis, marks: Marks, prefix: str) -> Figure:
    """Quality against cost; rows that no other row beats in both are filled and joined by a staircase."""
    rows = [row for row in numbers.rows if _drawable(x.value(row)) and _drawable(y.value(row))]
    points = pd.DataFrame(
        {"x": [x.value(row).mean for row in rows], "y": [y.value(row).mean for row in rows]}, dtype=float
    )
    front = analysis.non_dominated(points, {"x": x.higher_is_better, "y": y.higher_is_better}).to_numpy()
    figure, axes = canvas(420, 315, (54, 44, 12, 10))
    axes.set_xlabel(x.label, labelpad=6)
    axes.set_ylabel(y.label, labelpad=6)
    stairs = points[front].sort_values("x")
    axes.step(stairs["x"], stairs["y"], where="post", color=MUTED, linewidth=1.2, zorder=1)
    if y.signed:
        axes.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    tips = {}
    for i, row in enumerate(rows):
        _point(axes, row, (x.value(row), y.value(row)), marks, filled=bool(front[i]), gid=f"tip{i}")
        tips[f"tip{i}"] = _words(row, x, y)
    _scale(axes, points, y)
    names = [row.name for row, best in zip(rows, front, strict=True) if best]
    shown = {row.pair for row in rows}
    missing = [row.name for row in numbers.rows if row.pair not in shown]
    notes = [f"Not dominated: {', '.join(names)}." if names else "No row has both numbers."]
    if missing:
        notes.append(f"Not shown, for want of numbers: {', '.join(missing)}.")
    title = f"{y.label.partition(' (')[0]} against {x.label.partition(' (')[0]}"
    return Figure(title, inline(figure, prefix, title, tips), tuple(notes))


def _point(axes: Axes, row: Row, at: tuple[Estimate, Estimate], marks: Marks, *, filled: bool, gid: str) -> None:
    colour, marker = marks.colour(row.architecture), marks.marker(row.weighting)
    x, y = at
    size = {"o": 8, "s": 7.5, "D": 7}.get(marker, 9)
    width, height = (e.half if e.half is not None and e.half < LARGEST else 0 for e in at)
    if width or height:
        axes.errorbar(
            [x.mean], [y.mean], xerr=[width], yerr=[height], fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.6,
            zorder=2,
        )  # fmt: skip
    face = colour if filled else PAPER
    axes.plot(
        [x.mean], [y.mean], marker, markersize=size, mfc=face, mec=colour, mew=1.5, gid=gid, zorder=4 if filled else 3
    )


def _words(row: Row, x: Axis, y: Axis) -> str:
    parts = [row.name]
    for axis in (y, x):
        value = axis.value(row)
        write = formatter([value.mean], axis.signed)
        spread = f" ± {write(value.half).lstrip('+')}" if value.half is not None else ""
        parts.append(f"{axis.label}: {write(value.mean)}{spread}")
    return "\n".join(parts)


def _scale(axes: Axes, points: pd.DataFrame, y: Axis) -> None:
    """Axes that show all means; an interval wider than all of them may be cut off."""
    if len(points) and points["x"].min() > 0 and points["x"].max() > 12 * points["x"].min():
        axes.set_xscale("log")
    if len(points):
        low, high = points["y"].min(), points["y"].max()
        room = (high - low) * 0.3 or max(abs(high), 1.0) * 0.1
        axes.set_ylim(low - room, high + room)
    if not y.higher_is_better:
        axes.invert_yaxis()


def curves(numbers: Numbers, task: TaskInfo, marks: Marks, prefix: str) -> list[Figure]:
    """The task's primary validation metric by epoch: a panel per weighting, a line per architecture.

    Every panel also holds, thin, the rows without weighting, the single-task networks among them.
    """
    metric = primary(task)
    data = numbers.metrics
    if metric is None:
        return []
    data = data[(data["split"] == "val") & (data["task"] == task.name) & (data["metric"] == metric.name)]
    lines = _by_epoch(data, "value")
    weightings = sorted({weighting for _, weighting in lines}, key=lambda name: (name == "none", name))
    limits = _limits(lines.values(), START, FENCE)
    figures = []
    for i, weighting in enumerate(weightings):
        figure, axes = _panel(limits)
        names = []
        for (architecture, other), line in sorted(lines.items()):
            if other == weighting or other == "none":
                main = other == weighting
                _line(
                    axes,
                    line,
                    marks.colour(architecture),
                    width=1.7 if main else 0.9,
                    dashes="-" if main else DASHES[1],
                )
                names += [architecture] if main else []
        label = f"{task.name}: {metric.title} on validation by epoch, {weighting}: {', '.join(names)}"
        figures.append(
            Figure("no weighting" if weighting == "none" else weighting, inline(figure, f"{prefix}-{i}", label))
        )
    return figures


def trajectories(numbers: Numbers, marks: Marks, prefix: str) -> list[Figure]:
    """The weights of the tasks' losses by epoch: a panel per row whose weights are not all 1, a line per task."""
    lines: dict[tuple[str, str], dict[str, pd.DataFrame]] = defaultdict(dict)
    tasks = [task.name for task in numbers.board.tasks]
    for task in tasks:
        for pair, line in _by_epoch(numbers.weights[numbers.weights["task"] == task], "weight").items():
            lines[pair][task] = line
    styles = dict(zip(tasks, cycle(DASHES)))
    moving = [row for row in numbers.rows if any((line["mean"] != 1).any() for line in lines[row.pair].values())]
    limits = _limits(line for row in moving for line in lines[row.pair].values())
    figures = []
    for i, row in enumerate(sorted(moving, key=lambda row: (row.weighting, row.architecture))):
        figure, axes = _panel(limits)
        for task, line in lines[row.pair].items():
            _line(axes, line, marks.colour(row.architecture), width=1.7, dashes=styles[task])
        label = f"Weights by epoch, {row.name}: {', '.join(lines[row.pair])}"
        figures.append(Figure(row.name, inline(figure, f"{prefix}-{i}", label)))
    return figures


def dash_icon(place: int) -> Markup:
    """The line of the task at ``place`` as a small inline picture."""
    pattern = next(islice(cycle(DASHES), place, None))
    dashes = "" if pattern == "-" else f' stroke-dasharray="{" ".join(str(2 * part) for part in pattern[1])}"'
    return Markup(
        '<svg class="dash" viewBox="0 0 40 6" aria-hidden="true"><path d="M0 3H40" fill="none" stroke="currentColor" '
        f'stroke-width="2"{dashes}/></svg>'
    )


def _by_epoch(data: pd.DataFrame, column: str) -> dict[tuple[str, str], pd.DataFrame]:
    """By architecture and weighting: epoch, mean over seeds and half the interval's width (NaN for one seed)."""
    data = data[data[column].abs() < LARGEST]
    lines: dict[Any, pd.DataFrame] = {}
    for pair, rows in data.groupby(["architecture", "weighting"], sort=True):
        found = [(epoch, analysis.estimate(values)) for epoch, values in rows.groupby("epoch")[column]]
        lines[pair] = pd.DataFrame(
            [(epoch, e.mean, np.nan if e.half is None else e.half) for epoch, e in found],
            columns=["epoch", "mean", "half"],
        )
    return lines


def _limits(lines: Iterable[pd.DataFrame], start: float = 0.0, fence: float = np.inf) -> tuple[float, float] | None:
    """Common limits of several panels: of the means, so that a wide band cannot flatten all lines.

    Nor can a single epoch gone wrong: means beyond ``fence`` interquartile ranges leave the panel.
    """
    lines = list(lines)
    end = max((line["epoch"].max() for line in lines), default=0)
    later = [line.loc[line["epoch"] > start * end, "mean"].to_numpy() for line in lines]
    values = np.concatenate([np.empty(0), *later])
    if not len(values):
        return None
    first, third = np.quantile(values, [0.25, 0.75])
    spread = third - first
    near = values[np.abs(values - (first + third) / 2) <= fence * spread] if spread else values
    low, high = float(near.min()), float(near.max())
    room = 0.06 * (high - low) or max(abs(high), 1) * 0.06
    return low - room, high + room


def _panel(limits: tuple[float, float] | None) -> tuple[Any, Axes]:
    figure, axes = canvas(320, 210, (48, 34, 10, 8))
    axes.set_xlabel("epoch", labelpad=3)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if limits:
        axes.set_ylim(*limits)
    return figure, axes


def _line(axes: Axes, line: pd.DataFrame, colour: str, *, width: float, dashes: Any) -> None:
    axes.plot(
        line["epoch"], line["mean"], color=colour, linewidth=width, linestyle=dashes,
        marker="o" if len(line) == 1 else "", markersize=4,
    )  # fmt: skip
    if line["half"].notna().any():
        low, high = line["mean"] - line["half"], line["mean"] + line["half"]
        axes.fill_between(line["epoch"], low, high, color=colour, alpha=0.12, linewidth=0)


def _drawable(value: Estimate) -> bool:
    return value.n > 0 and abs(value.mean) < LARGEST
