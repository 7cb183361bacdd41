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

#: The least part of an axis's greatest value that it spans: what hardly moves is not magnified.
LEAST_SPAN = 0.02
#: Pixels of a letter of a name in a plot, rather wide, and of its line.
LETTER, LINE = 6.2, 12

#: Dash patterns that tell tasks apart where colour stands for the architecture.
DASHES = ("", "6 3", "2 2.5", "8 2.5 2 2.5", "12 4", "4 2 1 2 1 2")

Point = tuple[float, float]


class Scale:
    """Maps numbers from ``low`` … ``high`` to pixels from ``start`` … ``end``, on a logarithmic scale with ``log``."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log
        self._origin = math.log10(low) if log else low
        self._factor = (end - start) / ((math.log10(high) if log else high) - self._origin)
        # Values far outside the frame are clipped: some renderers fail on very large coordinates.
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
    return roomy(min(found), max(found), room) if found else None


def roomy(low: float, high: float, room: float = 0.06) -> Point:
    """Ends of an axis with some room beyond them, and no less than ``LEAST_SPAN`` between them."""
    largest = max(abs(low), abs(high))
    extra = max(room * (high - low), (LEAST_SPAN * largest - (high - low)) / 2)
    if low == high or not extra > 1e-12 * largest:
        extra = max(largest, 1e-9) * 0.1
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
        flip_x: True draws small x at the right.
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
    flip_x: bool = False

    @property
    def across(self) -> Scale:
        """The horizontal scale."""
        left, right = self.left, self.width - self.right
        return Scale(*self.x, right if self.flip_x else left, left if self.flip_x else right, self.log_x)

    @property
    def up(self) -> Scale:
        """The vertical scale."""
        low, high = self.height - self.bottom, self.top
        return Scale(*self.y, high if self.flip else low, low if self.flip else high, self.log_y)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plane in pixels."""
        return self.left, self.top, self.width - self.right, self.height - self.bottom


@dataclass
class Chart:
    """A frame and what is drawn in it, in order."""

    frame: Frame
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.across, self.up = self.frame.across, self.frame.up

    def line(self, points: Sequence[Point], colour: str = "cx", *, dashes: str = "", kind: str = "ln") -> None:
        """A line through the drawable ones of ``points``, as far as it is in the frame; a single one becomes a dot."""
        known = [(self.across(x), self.up(y)) for x, y in points if drawable(x) and drawable(y)]
        if len(known) == 1:
            self.parts.append(f'<circle class="{colour} mf" cx="{known[0][0]:.1f}" cy="{known[0][1]:.1f}" r="2.5"/>')
        elif known:
            dash = f' stroke-dasharray="{dashes}"' if dashes else ""
            if inside := clipped(known, self.frame.box):
                path = "M".join(map(_path, inside))
                self.parts.append(f'<path class="{kind} {colour}"{dash} d="M{path}"/>')

    def named_line(self, points: Sequence[Point], colour: str, words: str) -> None:
        """A thin line that says under the pointer what it is."""
        before = len(self.parts)
        self.line(points, colour, kind="ln seed")
        drawn = "".join(self.parts[before:])
        del self.parts[before:]
        self.tip(drawn, words)

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

    def level(self, y: float, kind: str = "rf") -> None:
        """A horizontal line of reference."""
        if drawable(y) and self.frame.y[0] <= y <= self.frame.y[1]:
            at = self.up(y)
            self.parts.append(
                f'<path class="{kind}" d="M{self.frame.left} {at:.1f}H{self.frame.width - self.frame.right}"/>'
            )

    def upright(self, x: float, kind: str = "rf") -> None:
        """A vertical line of reference."""
        if drawable(x) and self.frame.x[0] <= x <= self.frame.x[1]:
            at = self.across(x)
            self.parts.append(
                f'<path class="{kind}" d="M{at:.1f} {self.frame.top}V{self.frame.height - self.frame.bottom}"/>'
            )

    def cross(self, at: Point, half: tuple[float | None, float | None], kind: str) -> Markup:
        """Intervals about a point, as far as they lie in the frame; empty where there are none."""
        (x, y), bars = at, []
        for dx, dy in ((half[0], 0.0), (0.0, half[1])):
            if dx is not None and dy is not None and (dx or dy) and drawable(dx) and drawable(dy):
                bars.append(_path([self._inside(x - dx, y - dy), self._inside(x + dx, y + dy)]))
        return Markup(f'<path class="{kind}" d="M{"M".join(bars)}"/>' if bars else "")

    def names(self, found: Sequence[tuple[Point, str]], size: float, others: Iterable[Point] = ()) -> None:
        """Names of marks of ``size`` at some pixels: where they meet no mark, failing that no named one and no name.

        A name that has no such place is left out.
        """
        frame = self.frame
        taken = [_box(at, size) for at, _ in found]
        avoided = [_box(at, size - 1) for at in others]
        for (x, y), text in found:
            width, gap = LETTER * len(text), size + 3
            lefts, tops = (x + gap, x - gap - width), (y - gap - LINE / 2, y + gap - LINE / 2)
            places = [(left, top) for left in lefts for top in tops]  # corners first: lines leave a mark at its sides
            places += [(x - width / 2, y - gap - LINE), (x - width / 2, y + gap)]
            places += [(left, y - LINE / 2) for left in lefts]
            boxes = [(left, top, left + width, top + LINE) for left, top in places]
            room = (frame.left, 0, frame.width, frame.height)
            free = [box for box in boxes if _within(box, room) and not any(_overlap(box, other) for other in taken)]
            best = [box for box in free if not any(_overlap(box, other) for other in avoided)] or free
            if best:
                left, _, right, bottom = best[0]
                taken.append(best[0])
                at = f'x="{(left + right) / 2:.1f}" y="{bottom - 2:.1f}"'
                self.parts.append(f'<text class="nm tm" {at}>{escape(text)}</text>')

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


def clipped(points: Sequence[Point], box: tuple[float, float, float, float]) -> list[list[Point]]:
    """The pieces of a line that lie in a box of left, top, right and bottom."""
    pieces: list[list[Point]] = []
    for start, end in pairwise(points):
        ends = _part(start, end, box)
        if ends is None:
            continue
        if pieces and pieces[-1][-1] == ends[0]:
            pieces[-1].append(ends[1])
        else:
            pieces.append(list(ends))
    return pieces


def _part(start: Point, end: Point, box: tuple[float, float, float, float]) -> tuple[Point, Point] | None:
    """The part of a segment in a box (Liang and Barsky, 1984)."""
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    first, last = 0.0, 1.0
    for step, room in ((-dx, x - box[0]), (dx, box[2] - x), (-dy, y - box[1]), (dy, box[3] - y)):
        if step == 0:
            if room < 0:
                return None
        elif step < 0:
            first = max(first, room / step)
        else:
            last = min(last, room / step)
    if first > last:
        return None
    return (
        start if first == 0 else (x + first * dx, y + first * dy),
        end if last == 1 else (x + last * dx, y + last * dy),
    )


def _box(at: Point, size: float) -> tuple[float, float, float, float]:
    return at[0] - size, at[1] - size, at[0] + size, at[1] + size


def _within(box: Sequence[float], room: Sequence[float]) -> bool:
    return box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


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
