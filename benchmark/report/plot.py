"""Line charts and scatter plots as inline SVG: text stays text, colours come from the style sheet.

Small on purpose: a report draws tens of thousands of them, so each is a few hundred bytes beside its data.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape

#: Numbers beyond this are not drawn: no metric, weight or cost comes near, and axes cannot hold them.
LARGEST = 1e12
MINUS = "−"

#: Dash patterns that tell tasks apart where colour stands for the architecture.
DASHES = ("", "6 3", "2 2.5", "8 2.5 2 2.5", "12 4", "4 2 1 2 1 2")

Point = tuple[float, float]


class Scale:
    """Maps numbers from ``low`` … ``high`` to pixels from ``start`` … ``end``, on a logarithmic scale with ``log``."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log
        self._origin = math.log10(low) if log else low
        self._factor = (end - start) / ((math.log10(high) if log else high) - self._origin)
        # Far outside the frame is as good as further: renderers choke on coordinates of any size.
        self._least, self._most = sorted((start - 2 * (end - start), end + 2 * (end - start)))

    def __call__(self, value: float) -> float:
        """The pixel of a value; of one far outside the scale, some pixel outside the frame."""
        if self.log:
            value = math.log10(value) if value > 0 else self._origin - 1
        at = self.start + (value - self._origin) * self._factor
        return at if self._least <= at <= self._most else self._least if at < self._least else self._most

    def ticks(self, count: int) -> list[tuple[float, str]]:
        """About ``count`` round values within the scale, and how to write them."""
        values = _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, count)
        if self.log and len(values) < 2:
            values = _ticks(self.low, self.high, count)
        return [(value, text) for value, text in zip(values, labels(values), strict=True)]


def _ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, min(last, first + 20) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    wide = last - first > 2
    steps = (1,) if wide else (1, 2, 5)
    every = max(1, (last - first) // 6)
    return [
        s * 10.0**p
        for p in range(first, last + 1, every)
        for s in steps
        if low <= s * 10.0**p * 1.000001 <= high * 1.00001
    ]


def labels(values: Sequence[float]) -> list[str]:
    """Numbers of an axis as text, all with as many decimals as the finest step needs."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1e6 or (0 < largest < 1e-3):
        # Three digits, and more where neighbours would read alike.
        written = ([f"{value:.{digits}g}" for value in values] for digits in range(3, 18))
        return [_tidy(text) for text in next(texts for texts in written if len(set(texts)) == len(set(values)))]
    gaps = [abs(b - a) for a, b in pairwise(values) if b != a]
    step = min(gaps, default=largest or 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if len(values) > 1 and any(abs(round(v, decimals) - v) > 1e-6 * step for v in values):
        decimals += 1
    return [_tidy(f"{value:.{min(decimals, 6)}f}") for value in values]


def _tidy(text: str) -> str:
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def limits(values: Iterable[float], room: float = 0.06) -> tuple[float, float] | None:
    """Least and greatest of the drawable values, with some room; None where there is none."""
    found = [value for value in values if drawable(value)]
    if not found:
        return None
    low, high = min(found), max(found)
    extra = room * (high - low)
    if not extra > 1e-12 * max(abs(low), abs(high)):
        extra = max(abs(high), 1e-9) * 0.1
    return low - extra, high + extra


def drawable(value: float | None) -> bool:
    """Whether a number can be placed on an axis."""
    return value is not None and abs(value) < LARGEST  # NaN compares false


@dataclass(frozen=True)
class Frame:
    """The plane of a chart.

    Attributes:
        x, y: limits; y points up unless ``flip``.
        x_label, y_label: what the axes show.
        log_x, log_y: whether the axis is logarithmic.
        marked_x: values along x and how to write them, in place of round ones.
        flip: True draws small y on top: up is better, whatever the metric.
    """

    x: Point
    y: Point
    x_label: str = ""
    y_label: str = ""
    width: int = 320
    height: int = 200
    log_x: bool = False
    flip: bool = False
    left: int = 44
    right: int = 10
    top: int = 20
    bottom: int = 32
    ticks: tuple[int, int] = (5, 4)
    whole_x: bool = False
    log_y: bool = False
    marked_x: tuple[tuple[float, str], ...] = ()

    @property
    def across(self) -> Scale:
        """The horizontal scale."""
        return Scale(*self.x, self.left, self.width - self.right, self.log_x)

    @property
    def up(self) -> Scale:
        """The vertical scale."""
        low, high = self.height - self.bottom, self.top
        return Scale(*self.y, high if self.flip else low, low if self.flip else high, self.log_y)


@dataclass
class Chart:
    """A frame and what is drawn in it, in order."""

    frame: Frame
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.across, self.up = self.frame.across, self.frame.up

    def line(self, points: Sequence[Point], colour: str = "cx", *, dashes: str = "", kind: str = "ln") -> None:
        """A line through the drawable ones of ``points``; a single one becomes a dot."""
        known = [(self.across(x), self.up(y)) for x, y in points if drawable(x) and drawable(y)]
        if len(known) == 1:
            self.parts.append(f'<circle class="{colour} mf" cx="{known[0][0]:.1f}" cy="{known[0][1]:.1f}" r="2.5"/>')
        elif known:
            dash = f' stroke-dasharray="{dashes}"' if dashes else ""
            self.parts.append(f'<path class="{kind} {colour}"{dash} d="M{_path(known)}"/>')

    def band(self, low: Sequence[Point], high: Sequence[Point], colour: str) -> None:
        """The area between two lines of the same x."""
        edge = [self._inside(x, y) for x, y in [*low, *reversed(high)] if drawable(y)]
        if len(edge) > 3:
            self.parts.append(f'<path class="bd {colour}" d="M{_path(edge)}Z"/>')

    def stairs(
        self, points: Sequence[Point], colour: str = "cx", *, maximise_x: bool = False, kind: str = "ln"
    ) -> None:
        """A staircase through ``points`` as a non-dominated set bounds it."""
        ordered = sorted((self.across(x), self.up(y)) for x, y in points if drawable(x) and drawable(y))
        corners = ordered[:1]
        for (x0, y0), (x1, y1) in pairwise(ordered):
            corners += [(x0, y1) if maximise_x else (x1, y0), (x1, y1)]
        if len(corners) > 1:
            self.parts.append(f'<path class="{kind} {colour}" d="M{_path(corners)}"/>')

    def level(self, y: float) -> None:
        """A horizontal line of reference."""
        if drawable(y) and self.frame.y[0] <= y <= self.frame.y[1]:
            at = self.up(y)
            self.parts.append(
                f'<path class="rf" d="M{self.frame.left} {at:.1f}H{self.frame.width - self.frame.right}"/>'
            )

    def upright(self, x: float) -> None:
        """A vertical line of reference."""
        if drawable(x) and self.frame.x[0] <= x <= self.frame.x[1]:
            at = self.across(x)
            self.parts.append(
                f'<path class="rf" d="M{at:.1f} {self.frame.top}V{self.frame.height - self.frame.bottom}"/>'
            )

    def cross(self, at: Point, half: tuple[float | None, float | None], colour: str) -> None:
        """Intervals about a point."""
        x, y = at
        for dx, dy in ((half[0], 0.0), (0.0, half[1])):
            if dx is not None and dy is not None and (dx or dy) and drawable(dx) and drawable(dy):
                a, b = self._inside(x - dx, y - dy), self._inside(x + dx, y + dy)
                self.parts.append(f'<path class="er {colour}" d="M{_path([a, b])}"/>')

    def _inside(self, x: float, y: float) -> Point:
        (left, right), (low, high) = self.frame.x, self.frame.y
        return self.across(min(max(x, left), right)), self.up(min(max(y, low), high))

    def tip(self, content: str, words: str, link: str = "") -> None:
        """Drawn ``content`` with words under the pointer, and a link where there is a page for it."""
        inner = f"<g><title>{escape(words)}</title>{content}</g>"
        self.parts.append(f'<a href="{escape(link)}">{inner}</a>' if link else inner)

    def render(self, label: str) -> Markup:
        """The chart as one element; ``label`` says what it shows to those who cannot see it."""
        frame = self.frame
        role = "group" if any(part.startswith("<a ") for part in self.parts) else "img"
        head = (
            f'<svg class="figure" viewBox="0 0 {frame.width} {frame.height}" role="{role}" '
            f'aria-label="{escape(label)}" style="max-width:{frame.width * 1.35:.0f}px">'
        )
        return Markup(f"{head}{self._axes()}{''.join(self.parts)}</svg>")

    def _axes(self) -> str:
        frame = self.frame
        right, bottom = frame.width - frame.right, frame.height - frame.bottom
        across: Sequence[tuple[float, str]] = frame.marked_x or self.across.ticks(frame.ticks[0])
        if frame.whole_x:
            across = [(v, t) for v, t in across if abs(v - round(v)) < 1e-9] or [
                (round(frame.x[1]), f"{frame.x[1]:.0f}")
            ]
        up = self.up.ticks(frame.ticks[1])
        grid = "".join(f"M{frame.left} {self.up(v):.1f}H{right}" for v, _ in up)
        grid += "".join(f"M{self.across(v):.1f} {frame.top}V{bottom}" for v, _ in across)
        words = "".join(f'<text x="{frame.left - 5}" y="{self.up(v) + 3.5:.1f}" class="te">{t}</text>' for v, t in up)
        words += "".join(f'<text x="{self.across(v):.1f}" y="{bottom + 14}" class="tm">{t}</text>' for v, t in across)
        if frame.y_label:
            words += f'<text x="0" y="11" class="al">{escape(frame.y_label)}</text>'
        if frame.x_label:
            words += f'<text x="{right}" y="{frame.height - 3}" class="te al">{escape(frame.x_label)}</text>'
        return f'<path class="gr" d="{grid}"/>{words}'


def thin(points: Sequence[Point], most: int) -> Sequence[Point]:
    """At most about ``most`` of many points, first and last among them."""
    if len(points) <= most:
        return points
    step = math.ceil(len(points) / most)
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def dash_icon(place: int) -> Markup:
    """The line of the task at ``place`` as a small inline picture."""
    pattern = DASHES[place % len(DASHES)]
    dashes = f' stroke-dasharray="{pattern}"' if pattern else ""
    return Markup(
        f'<svg class="dash" viewBox="0 0 40 6" aria-hidden="true"><path class="ln ci" d="M0 3H40"{dashes}/></svg>'
    )


def _path(points: Sequence[Point]) -> str:
    return "L".join([f"{x:.1f} {y:.1f}" for x, y in points])
