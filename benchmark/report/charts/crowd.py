"""Panels of more lines than dashes tell apart, such as the weights of forty tasks."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmark.report.charts.plot import DASHES, Chart, Point
from benchmark.report.charts.series import Series

#: Lines of a panel that are told apart by dashes.
MOST_DASHED = 10
#: Lines that are drawn one by one where there are more; of still more, as pairs of tasks are, only what they span.
MOST_DRAWN = 100


def crowded(count: int) -> bool:
    """Whether so many lines of a panel are drawn by ``draw_crowd``."""
    return count > MOST_DASHED


def keys(count: int) -> tuple[str, ...]:
    """What the lines of ``draw_crowd`` are, in the order of ``DASHES``."""
    return (f"median of {count}", "least", "greatest")


def draw_crowd(chart: Chart, lines: Sequence[tuple[str, Series]], colour: str) -> None:
    """Median, least and greatest of many lines' means, and each of these thin, named under the pointer."""
    if len(lines) <= MOST_DRAWN:
        for name, line in lines:
            chart.named_line(line.middle, colour, name)
    for i, points in enumerate(_span([line for _, line in lines])):
        chart.line(points, colour, dashes=DASHES[i])


def _span(lines: Sequence[Series]) -> tuple[list[Point], list[Point], list[Point]]:
    """Median, least and greatest by epoch, over the lines that have it."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for line in lines:
        for epoch, mean in zip(line.epochs, line.mean, strict=True):
            by_epoch[epoch].append(mean)
    found = sorted(by_epoch.items())
    return (
        [(epoch, float(np.median(values))) for epoch, values in found],
        [(epoch, min(values)) for epoch, values in found],
        [(epoch, max(values)) for epoch, values in found],
    )
