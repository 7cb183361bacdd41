"""Differences from a baseline as a forest plot: one line per row, seeds as dots, intervals, margin and zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from markupsafe import Markup, escape

from benchmark.report.charts.plot import MINUS, Scale
from benchmark.report.judged import BaselineComparison, RowComparison

#: Size of a row's picture in a table, and room at its sides.
WIDTH, HEIGHT, EDGE = 250, 26, 9
#: Sizes in the figure of a whole board.
NAMES, PITCH = 190, 18
#: Rows in that figure; of more, the best and the worst are drawn.
MOST_ROWS = 24
#: Share of the intervals' ends that must be inside the axis; what is outside ends in an arrow.
INSIDE = (0.04, 0.96)


#: A comparison, its row's name, the class of its colour, and the row's page.
Named = tuple[RowComparison, str, str, str]


@dataclass(frozen=True)
class Forest:
    """How a baseline's differences are drawn.

    Attributes:
        low, high: ends of the axis, in points.
    """

    versus: BaselineComparison
    low: float
    high: float

    @classmethod
    def from_comparisons(cls, versus: BaselineComparison) -> "Forest":
        """The axis that holds nearly all intervals, or all seeds where there are none, and the margin."""
        found = versus.by_row.values()
        ends = [end for c in found if c.known for end in (c.low, c.high)] or [v for c in found for v in c.seeds]
        low, high = np.quantile(ends, INSIDE) if ends else (0.0, 0.0)
        room = 0.06 * (high - low)
        return cls(versus, min(low - room, -1.5 * versus.margin), max(high + room, 1.5 * versus.margin))

    @cached_property
    def scale(self) -> Scale:
        """From points to pixels of a cell."""
        return Scale(self.low, self.high, EDGE, WIDTH - EDGE)

    @property
    def places(self) -> str:
        """Zero and the margin's ends as CSS variables, so that a table's cells draw them over their whole height."""
        margin = self.versus.margin
        named = (("zero", 0.0), ("from", -margin), ("to", margin))
        return ";".join(f"--{name}-{self.versus.key}:{self.scale(value):.1f}px" for name, value in named)

    def cell(self, compared: RowComparison, colour: str) -> Markup:
        """A row's interval and seeds."""
        return Markup(
            f'<svg class="fp {colour}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'aria-label="{escape(describe(compared))}">{_drawn(self.scale, compared, 10.0)}</svg>'
        )

    def mark(self, difference: float) -> Markup:
        """A difference without seeds, such as the floor's."""
        return self.cell(without_seeds(difference), "cx")

    @property
    def axis(self) -> Markup:
        """Ticks, for the head of the column."""
        words = _ticks(self.scale, 13)
        return Markup(
            f'<svg class="fp" viewBox="0 0 {WIDTH} 18" width="{WIDTH}" height="18" aria-hidden="true">{words}</svg>'
        )

    def figure(self, named: Sequence[Named], label: str, below: Sequence[Named] = ()) -> Markup:
        """The whole board.

        Args:
            named: of each row, in order: the comparison, its name, the class of its colour, and its page.
            below: what is drawn under the rows, whatever their number.
            label: what the figure shows, for those who cannot see it.
        """
        shown, last = list(named), list(below)
        cut = len(shown) - MOST_ROWS
        if cut > 0:
            half = MOST_ROWS // 2
            shown = [*shown[:half], *shown[-half:]]
        shown += last
        width = NAMES + WIDTH + 20
        scale = Scale(self.low, self.high, NAMES + EDGE, NAMES + WIDTH - EDGE)
        height = PITCH * len(shown) + (PITCH if cut > 0 else 0)
        margin = self.versus.margin
        left, right = scale(-margin), scale(margin)
        parts = [
            f'<rect class="mg" x="{left:.1f}" y="0" width="{right - left:.1f}" height="{height}"/>',
            f'<path class="ze" d="M{scale(0.0):.1f} 0V{height}"/>',
        ]
        y = 0.0
        for place, (compared, name, colour, link) in enumerate(shown):
            if cut > 0 and place == MOST_ROWS // 2:
                parts.append(f'<text x="{NAMES - 8}" y="{y + 12:.1f}" class="te">{cut} more</text>')
                y += PITCH
            short = name if len(name) <= 32 else f"{name[:31]}…"
            words = f'<text x="{NAMES - 8}" y="{y + 12:.1f}" class="te rn">{escape(short)}</text>'
            tip = f"<title>{escape(f'{name}: {describe(compared)}')}</title>"
            parts.append(f'<a href="{escape(link)}">{words}</a>')
            parts.append(f'<g class="{colour}">{tip}{_drawn(scale, compared, y + 7)}</g>')
            y += PITCH
        parts.append(f'<g transform="translate(0 {height})">{_ticks(scale, 13)}</g>')
        return Markup(
            f'<svg class="figure fp" viewBox="0 0 {width} {height + 18}" role="group" aria-label="{escape(label)}" '
            f'style="max-width:{width * 1.25:.0f}px">{"".join(parts)}</svg>'
        )


def without_seeds(difference: float) -> RowComparison:
    """A difference without seeds, which nothing was compared for."""
    return RowComparison(("", ""), ("", ""), difference, -math.inf, math.inf, (), 0, 0, False, "undecided")


def describe(compared: RowComparison) -> str:
    """A comparison in words."""
    if not compared.n and math.isfinite(compared.difference):
        return f"{points(compared.difference)} points"
    seeds = f"{compared.n} seed{'s' * (compared.n != 1)}"
    if not math.isfinite(compared.difference):
        return f"no difference known; {seeds}"
    if not compared.known:
        return f"{points(compared.difference)} points, {seeds}: no interval yet"
    return (
        f"{compared.verdict}: {points(compared.difference)} points, from {points(compared.low)} to "
        f"{points(compared.high)}; {seeds}"
    )


def points(value: float) -> str:
    """A difference of Δm with its sign."""
    places = 0 if abs(value) >= 100 else 1
    rounded = round(value, places)
    return f"{rounded:+.{places}f}".replace("-", MINUS) if rounded else f"{0:.{places}f}"


def _drawn(scale: Scale, compared: RowComparison, y: float) -> str:
    parts = []
    if compared.known:
        start, end = _inside(scale, compared.low), _inside(scale, compared.high)
        parts.append(f'<path class="iv" d="M{start:.1f} {y:.1f}H{end:.1f}"/>')
        for at, value, way in ((start, compared.low, -1), (end, compared.high, 1)):
            inside = scale.low <= value <= scale.high
            # A cut interval ends in an arrow's head.
            head = f"M{at:.1f} {y - 3:.1f}v6" if inside else f"M{at - 4 * way:.1f} {y - 3:.1f}l{4 * way} 3l{-4 * way} 3"
            parts.append(f'<path class="iv" d="{head}"/>')
    if math.isfinite(compared.difference):
        at = scale(compared.difference)
        if scale.low <= compared.difference <= scale.high:
            parts.append(f'<path class="mn" d="M{at:.1f} {y - 4.5:.1f}l4.5 4.5-4.5 4.5-4.5-4.5z"/>')
        else:
            parts.append(_arrow(scale, compared.difference, y))
    # Seeds beyond the axis stand at its end, hollow.
    parts += [
        f'<circle class="sd{"" if scale.low <= seed <= scale.high else " out"}" cx="{_inside(scale, seed):.1f}" '
        f'cy="{y + 8:.1f}" r="1.8"/>'
        for seed in compared.seeds
    ]
    return "".join(parts)


def _arrow(scale: Scale, value: float, y: float) -> str:
    """Where a mean lies beyond the axis: an arrow at its end, and the number."""
    left = value < scale.low
    at = scale(scale.low) if left else scale(scale.high)
    step, anchor, gap = (6, "", 5) if left else (-6, "te", -5)
    return (
        f'<path class="mn" d="M{at - step / 1.5:.1f} {y:.1f}l{step} -4v8z"/>'
        f'<text x="{at + gap:.1f}" y="{y + 3.5:.1f}" class="{anchor}">{points(value)}</text>'
    )


def _inside(scale: Scale, value: float) -> float:
    return scale(min(max(value, scale.low), scale.high))


def _ticks(scale: Scale, y: int) -> str:
    return "".join(
        f'<text x="{scale(value):.1f}" y="{y}" class="tm">{"" if value <= 0 else "+"}{text}</text>'
        for value, text in scale.ticks(5)
    )
