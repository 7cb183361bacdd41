"""Δm against what a row costs, and the rows that no other beats in both."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from benchmark.analysis import non_dominated
from benchmark.figures.style import SMALL, WIDTH, Palette, settle, sheet, style, text_width, tidy, window
from benchmark.figures.words import means, row_names

#: An axis is logarithmic where the greatest value is so many times the least.
DECADES = 12
#: Weightings above which markers are not explained.
EXPLAINED = 4
#: Where a name may stand, in points from its mark: side, and height of its middle.
PLACES = [(side, height) for height in (6, -6, 0, 12, -12, 18, -18, 24, -24) for side in (1, -1)]


def pareto(points: pd.DataFrame, *, cost: str, palette: Palette | None = None, width: float = WIDTH) -> Figure:
    """Draw rows by cost (less is better) and Δm; those that no row beats in both are joined and named.

    Args:
        points: ``architecture``, ``weighting``, ``cost``, ``mean``, ``low`` and ``high`` (NaN without interval), ``n``.
        cost: what the cost is, with its unit.
        palette: colours of architectures, markers of weightings.
        width: in inches.
    """
    palette = palette or Palette()
    points = points[np.isfinite(points["cost"]) & np.isfinite(points["mean"])].reset_index(drop=True)
    front = non_dominated(points, {"cost": False, "mean": True}).to_numpy()
    log = bool(points["cost"].min() > 0 and points["cost"].max() > DECADES * points["cost"].min())
    with style():
        up = window(points["mean"])
        below = points[(points["mean"] < up[0]) | (points["mean"] > up[1])]
        figure = sheet(width, max(2.3, 0.62 * width), _note(points, below, log))
        axes = figure.subplots()
        _axes(axes, points, up, cost, log)
        best = points[front].sort_values("cost")
        axes.step(best["cost"], best["mean"], where="post", color="#444444", lw=0.7, gid="front", zorder=1)
        for place, row in points.iterrows():
            _mark(axes, row, bool(front[int(str(place))]), palette)
        figure.legend(handles=_legend(points, palette), loc="outside upper center", ncols=max(3, int(width / 0.82)))
        settle(figure)
        _names(axes, points, best)
    return figure


def _axes(axes: Axes, points: pd.DataFrame, up: tuple[float, float], cost: str, log: bool) -> None:
    least, most = float(points["cost"].min()), float(points["cost"].max())
    if log:
        axes.set_xscale("log")
        axes.set_xlim(least / 1.25, most * 1.25)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
        room = 0.07 * (most - least) or 0.1 * most or 1.0
        axes.set_xlim(least - room, most + room)
    axes.set_ylim(*up)
    axes.axhline(0, color="#444444", lw=0.5, ls=(0, (4, 3)), zorder=0)
    axes.set(xlabel=f"{cost}{', logarithmic' if log else ''}   (← better)", ylabel="Δm, %   (better →)")
    tidy(axes)


def _mark(axes: Axes, row: pd.Series, best: bool, palette: Palette) -> None:
    colour, marker = palette.colour(row["architecture"]), palette.marker(row["weighting"])
    if best and np.isfinite(row["low"]) and np.isfinite(row["high"]):
        axes.plot(
            [row["cost"]] * 2, [row["low"], row["high"]], color=colour, lw=0.6, alpha=0.7, gid="interval", zorder=2
        )
    axes.plot(
        row["cost"], row["mean"], ls="", marker=marker, ms=4 if best else 2.8, mfc=colour, mec="white", mew=0.35,
        alpha=1.0 if best else 0.55, gid="front point" if best else "point", zorder=4 if best else 3,
    )  # fmt: skip


def _names(axes: Axes, points: pd.DataFrame, best: pd.DataFrame) -> None:
    """The front's names, each where it covers least of marks, lines and other names."""
    to_dots, dots = axes.transData.transform, axes.figure.dpi / 72
    marks = [(x - dots, y - dots, x + dots, y + dots) for x, y in to_dots(points[["cost", "mean"]].to_numpy())]
    lines = [box for line in axes.lines if line.get_gid() in ("front", "interval") for box in _pieces(line)]
    taken: list[tuple[float, float, float, float]] = []
    best = best[::-1]  # the highest first: above it there is least room
    names = row_names(list(zip(best["architecture"], best["weighting"], strict=True)))
    for name, spot in zip(names, best[["cost", "mean"]].to_numpy(), strict=True):
        x, y = to_dots(spot)
        wide, high = text_width(name, SMALL) * 72 * dots, 6 * dots
        tried = []
        for order, (side, rise) in enumerate(PLACES):
            left, middle = x + 3.5 * dots if side > 0 else x - 3.5 * dots - wide, y + rise * dots
            box = (left, middle - high / 2, left + wide, middle + high / 2)
            frame = axes.bbox
            outside = max(0.0, frame.x0 - box[0], box[2] - frame.x1, frame.y0 - box[1], box[3] - frame.y1) / dots
            over, on, across = (sum(_meet(box, other) for other in others) for others in (taken, marks, lines))
            tried.append((10 * outside + 40 * over + 6 * on + 6 * across + order, box, side, rise))
        _, box, side, rise = min(tried)
        taken.append(box)
        axes.annotate(
            name, tuple(spot), xytext=(3.5 * side, rise), textcoords="offset points",
            fontsize=SMALL, va="center_baseline", ha="left" if side > 0 else "right", zorder=6,
        )  # fmt: skip


def _pieces(line: Line2D) -> list[tuple[float, float, float, float]]:
    """Boxes about the straight pieces of a line."""
    spots = line.get_transform().transform_path(line.get_path()).vertices
    found = []
    for (x, y), (u, v) in pairwise(np.asarray(spots)):
        found += [(min(x, u), y, max(x, u), y), (u, min(y, v), u, max(y, v))]  # across, then up, as stairs go
    return found


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _legend(points: pd.DataFrame, palette: Palette) -> list[Line2D]:
    handles = [
        Line2D([], [], ls="", marker="o", ms=3.5, mew=0, color=palette.colour(name), label=name)
        for name in sorted(points["architecture"].unique())
    ]
    weightings = sorted(set(points["weighting"]) - {"none"})
    if 1 < len(weightings) <= EXPLAINED:
        handles += [
            Line2D([], [], ls="", marker=palette.marker(name), ms=3.5, mfc="white", mec="#444444", mew=0.7, label=name)
            for name in weightings
        ]
    return handles


def _note(points: pd.DataFrame, beyond: pd.DataFrame, log: bool) -> str:
    parts = [f"{means(points['n'])}; Δm against the mean of single-task."]
    if np.isfinite(points["low"]).any():
        parts.append("Vertical lines, of the front's rows only: 95 % interval of the mean.")
    parts.append("Stairs join the rows that no other beats in both.")
    if len(beyond):
        names = row_names(list(zip(beyond["architecture"], beyond["weighting"], strict=True)))
        told = ", ".join(f"{name} ({value:.0f} %)" for name, value in zip(names, beyond["mean"], strict=True))
        parts.append(f"Beyond the axis: {told}.")
    return " ".join(parts)
