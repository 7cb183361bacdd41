"""The toy problem's page: every weighting's paths in the plane, and where they end."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from contourpy import contour_generator
from markupsafe import Markup

from benchmark.report.charts.figures import Figure
from benchmark.report.charts.marks import Marks
from benchmark.report.charts.plot import Chart, Frame, limits, thin
from benchmark.toyproblem import MethodPaths, Path2D, ToyRecord, losses

EDGE = 11.0
#: Of the mean of both losses.
LEVELS = (-18.0, -15.0, -12.0, -9.0, -6.0, -3.0, 0.0, 2.0, 3.5, 5.0)
GRID = 81
MOST_POINTS = 90
#: Id of the level lines, which all panels of the page share.
CONTOURS = "levels"


@dataclass(frozen=True)
class ToyPage:
    """The record, drawn."""

    record: ToyRecord
    panels: tuple[Figure, ...]
    ends: Figure
    contours: Markup


def toy_page(record: ToyRecord, marks: Marks) -> ToyPage:
    """Draw a toy record."""
    panels = tuple(_panel(record, method) for method in record.methods)
    return ToyPage(record, panels, _ends(record, marks), _contours())


def _plane() -> Chart:
    return Chart(Frame((-EDGE, EDGE), (-EDGE, EDGE), width=260, height=250, left=30, right=6, top=6, bottom=22))


def _panel(record: ToyRecord, method: MethodPaths) -> Figure:
    chart = _plane()
    chart.parts.append(f'<use href="#{CONTOURS}"/>')
    chart.line(thin([(x, y) for x, y, _, _ in record.front], 40), kind="ln pareto")
    for path in method.paths:
        _path(chart, path)
    reached = sum(path.reached for path in method.paths)
    label = f"Paths of {method.weighting.name}: {reached} of {len(method.paths)} reach the front"
    return Figure(method.weighting.name, chart.render(label), (f"{reached} of {len(method.paths)}",))


def _path(chart: Chart, path: Path2D) -> None:
    points = [(x, y) for x, y, _, _ in path.points]
    chart.line(thin(points, MOST_POINTS), kind="ln way")
    x, y = chart.across(path.start[0]), chart.up(path.start[1])
    chart.parts.append(f'<circle class="start" cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>')
    x, y = chart.across(points[-1][0]), chart.up(points[-1][1])
    if path.reached:
        chart.parts.append(f'<circle class="end" cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>')
    else:
        chart.parts.append(f'<path class="stuck" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8"/>')


def _ends(record: ToyRecord, marks: Marks) -> Figure:
    """Both losses where the paths end, and the front."""
    ends = [(method, path, path.points[-1][2:]) for method in record.methods for path in method.paths]
    front = [(first, second) for _, _, first, second in record.front]
    everything = [*front, *((a, b) for _, _, (a, b) in ends)]
    across, up = limits([a for a, _ in everything]), limits([b for _, b in everything])
    chart = Chart(Frame(across or (0, 1), up or (0, 1), "first loss ↓", "second loss ↓", 440, 340))
    chart.line(thin(front, 80), kind="ln pareto")
    for method, path, (first, second) in ends:
        name = method.weighting.name
        spot = (chart.across(first), chart.up(second))
        where = f"{path.start[0]:g}, {path.start[1]:g}"
        state = "on the front" if path.reached else f"{path.gap:.2g} behind the front"
        known = name if name in marks.weightings else None
        drawn = (
            marks.drawn(None, known, spot, 6)
            if known
            else f'<circle class="cx mf" cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="4"/>'
        )
        chart.tip(drawn, f"{name} from ({where})\n{state}")
    title = "Both losses where the paths end"
    return Figure(title, chart.render(title))


@cache
def _contours() -> Markup:
    """Level lines of the mean of both losses, drawn once for all panels."""
    chart = _plane()
    axis = np.linspace(-EDGE, EDGE, GRID)
    heights = np.array([[sum(losses(x, y)) / 2 for x in axis.tolist()] for y in axis.tolist()])
    generator = contour_generator(axis, axis, heights)
    for level in LEVELS:
        for line in generator.lines(level):
            chart.line(thin([(float(x), float(y)) for x, y in np.asarray(line)], 60), kind="level")
    return Markup(
        f'<svg class="hide" aria-hidden="true"><defs><g id="{CONTOURS}">{"".join(chart.parts)}</g></defs></svg>'
    )
