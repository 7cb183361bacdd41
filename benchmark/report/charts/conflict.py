"""How the tasks' gradients met: one figure per board, and curves by epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from markupsafe import Markup, escape

from benchmark.report.charts import series as curves_of
from benchmark.report.charts.figures import CROWD, Figure, Link, by_weighting, swept
from benchmark.report.charts.marks import Marks
from benchmark.report.charts.plot import Chart, Frame, Scale
from benchmark.report.charts.series import mean_over_training, series
from benchmark.report.rows import Numbers, Row

LINE = 24
GAP, PANEL = 40, 190
TOP = 46
#: Sampled steps of a run from which rows are ranked by what they show: shares of fewer are mostly chance.
ENOUGH = 30
#: Pixels that a sign of a pair or task takes, and of how many there is room for signs.
SIGN = 9.0
MOST_PAIRS, MOST_TASKS = 21, 10
#: Pixels before the first panel: at least and at most; a mark's place, and a letter's width on average, rather wide.
LEFT = (236, 330)
MARK, LETTER = 24, 6.2


@dataclass(frozen=True)
class RowGradients:
    """A row's gradients: by run, means over training.

    Attributes:
        conflicts: share of conflicting pairs, in per cent.
        cosines: by pair of tasks.
        shares: by task, its part of the sum of the tasks' norms, in per cent.
    """

    row: Row
    conflicts: tuple[float, ...]
    cosines: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ConflictLine:
    """One line of the figure: a row, or all rows of a weighting."""

    name: str
    members: tuple[RowGradients, ...]

    @cached_property
    def conflict(self) -> float:
        """The mean share of conflicting pairs."""
        return fmean(v for found in self.members for v in found.conflicts)

    def spread(self, part: str, place: int) -> list[float]:
        """All members' values of one pair or task."""
        return [v for found in self.members for v in getattr(found, part)[place]]


def has_gradients(numbers: Numbers) -> bool:
    """Whether any run recorded its tasks' gradients."""
    return any(epoch.gradients for record in numbers.finished for epoch in record.curves[:3])


def sampled(numbers: Numbers) -> tuple[int, int]:
    """In how many steps the gradients of a run were sampled: the fewest and the most over runs that recorded any."""
    steps = [sum(e.gradients.steps for e in record.curves if e.gradients) for record in numbers.finished]
    known = [count for count in steps if count] or [0]
    return min(known), max(known)


def overview(numbers: Numbers, marks: Marks, link: Link) -> Figure | None:
    """A line per row: share of conflicting pairs, mean cosine of every pair, and each task's share of the norms.

    Means over training, then over seeds; the bar reaches from the least seed to the greatest. Where there are more than
    ``CROWD`` rows, a line per weighting with a dot per architecture. Most conflict comes first where enough steps were
    sampled for that; else rows stand as on the board, weightings by name.
    """
    tasks = [task.name for task in numbers.board.tasks]
    pairs = curves_of.pairs(numbers.rows)
    found = [_row_gradients(row, tasks, pairs) for row in numbers.rows]
    entries = _entries([m for m in found if m.conflicts], ranked=sampled(numbers)[0] >= ENOUGH)
    if not entries:
        return None
    reach = max((abs(v) for e in entries for i in range(len(pairs)) for v in e.spread("cosines", i)), default=1.0)
    reach = min(1.0, max(1.08 * reach, 0.05))
    left = min(max(LEFT[0], MARK + 12 + LETTER * max(len(entry.name) for entry in entries)), LEFT[1])
    scales = [_scale(left, i, *ends) for i, ends in enumerate(((0.0, 100.0), (-reach, reach), (0.0, 100.0)))]
    bottom = TOP + LINE * len(entries)
    titles = ("conflicting pairs (%)", "mean cosine", "share of gradient norms (%)")
    parts = [_head(title, scale, bottom) for title, scale in zip(titles, scales, strict=True)]
    for i, entry in enumerate(entries):
        parts.append(_line(entry, TOP + LINE * (i + 0.5), scales, marks, link))
    width = round(left) + 3 * PANEL + 2 * GAP + 12
    label = f"How the tasks' gradients met, {len(entries)} lines: conflicting pairs, cosines and norms"
    svg = (
        f'<svg class="figure wide" viewBox="0 0 {width} {bottom + 24}" role="group" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
    if len(pairs) <= MOST_PAIRS:
        keys = [f"{_letter(i)} = {name.replace('|', ' with ')}" for i, name in enumerate(pairs)]
    else:
        keys = [f"a tick for the cosine of each of {len(pairs)} pairs of tasks"]
    if len(tasks) <= MOST_TASKS:
        keys += [f"{i + 1} = {task}" for i, task in enumerate(tasks)]
    else:
        keys.append(f"a tick for the share of each of {len(tasks)} tasks")
    return Figure("How the tasks’ gradients met", Markup(svg), tuple(keys))


def _row_gradients(row: Row, tasks: Sequence[str], pairs: Sequence[str]) -> RowGradients:
    norms = [mean_over_training(row, curves_of.norm(task)) for task in tasks]
    whole = all(norms) and len({len(found) for found in norms}) == 1
    sums = [sum(found) for found in zip(*norms, strict=True)] if whole else []
    shares = [tuple(100 * v / s for v, s in zip(found, sums, strict=bool(sums)) if s > 0) for found in norms]
    return RowGradients(
        row,
        tuple(mean_over_training(row, curves_of.conflicts)),
        tuple(tuple(mean_over_training(row, curves_of.cosine(pair))) for pair in pairs),
        tuple(shares if whole else [() for _ in tasks]),
    )


def _entries(found: Sequence[RowGradients], ranked: bool) -> list[ConflictLine]:
    if len(found) <= CROWD:
        entries = [ConflictLine(m.row.name, (m,)) for m in found]
    else:
        names = sorted({m.row.kind[1] for m in found})
        entries = [ConflictLine(name, tuple(m for m in found if m.row.kind[1] == name)) for name in names]
    return sorted(entries, key=lambda entry: (-entry.conflict, entry.name)) if ranked else entries


def _line(entry: ConflictLine, y: float, scales: Sequence[Scale], marks: Marks, link: Link) -> str:
    first = entry.members[0].row
    alone = len(entry.members) == 1
    architecture = first.kind[0] if alone else None
    colour = marks.colour(architecture)
    mark = marks.drawn(architecture, first.kind[1], (10, y), 6)
    head = f'{mark}<text x="{MARK}" y="{y + 4:.1f}" class="rn">{_fitting(entry.name)}</text>'
    parts = [f'<a href="{escape(link(first))}">{head}</a>' if alone else head]
    for member in sorted(entry.members, key=lambda m: m.row.pair):
        own = marks.colour(member.row.kind[0])
        dot = _dot(member.conflicts, scales[0], y, own, bar=alone)
        parts.append(f"<g><title>{escape(member.row.name)}: {fmean(member.conflicts):.0f} %</title>{dot}</g>")
    for scale, part, sign, most in (
        (scales[1], "cosines", _letter, MOST_PAIRS),
        (scales[2], "shares", lambda i: str(i + 1), MOST_TASKS),
    ):
        places = range(len(getattr(entry.members[0], part)))
        if len(places) > most:
            parts.append(_ticks([values for i in places if (values := entry.spread(part, i))], scale, y, colour))
            continue
        parts.append(_signs({sign(i): values for i in places if (values := entry.spread(part, i))}, scale, y, colour))
    return "".join(parts)


def _signs(found: Mapping[str, Sequence[float]], scale: Scale, y: float, colour: str) -> str:
    """Bars from least to greatest and ticks at the means; the signs stand near their ticks, in order, side by side."""
    if not found:
        return ""
    means = {sign: scale(fmean(values)) for sign, values in found.items()}
    bars = "".join(f"M{scale(min(values)):.1f} {y + 6:.1f}H{scale(max(values)):.1f}" for values in found.values())
    ticks = "".join(f"M{at:.1f} {y + 3:.1f}V{y + 9:.1f}" for at in means.values())
    order = sorted(means, key=lambda sign: (means[sign], sign))
    places = side_by_side([means[sign] for sign in order], SIGN, (scale.start, scale.end))
    signs = "".join(
        f'<text class="lt {colour}" x="{at:.1f}" y="{y + 2:.1f}">{sign}</text>'
        for sign, at in zip(order, places, strict=True)
    )
    return f'<path class="er {colour}" d="{bars}"/><path class="ln thin {colour}" d="{ticks}"/>{signs}'


def _ticks(found: Sequence[Sequence[float]], scale: Scale, y: float, colour: str) -> str:
    """A tick at the mean of each of many; equal ones, to a tenth of a pixel, once."""
    places = sorted({f"{scale(fmean(values)):.1f}" for values in found}, key=float)
    return f'<path class="ln thin {colour}" d="{"".join(f"M{at} {y - 5:.1f}V{y + 5:.1f}" for at in places)}"/>'


def side_by_side(at: Sequence[float], gap: float, ends: tuple[float, float]) -> list[float]:
    """Places in the order of ``at``, each as near to its own as lets all be ``gap`` apart, between two ends."""
    groups: list[tuple[float, int]] = []  # (middle, members) of neighbours that touch
    for place in at:
        groups.append((place, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2:
            (one, n), (other, m) = groups[-2:]
            groups[-2:] = [((one * n + other * m) / (n + m), n + m)]
    found = [middle + gap * (i - (n - 1) / 2) for middle, n in groups for i in range(n)]
    low, high = ends
    for i, place in enumerate(found):
        found[i] = max(place, low + gap * i)
    for i, place in enumerate(found):
        found[i] = min(place, high - gap * (len(found) - 1 - i))
    return found


def _fitting(name: str) -> Markup:
    """A name that ends before the first panel: of a long one head and tail, and the whole under the pointer."""
    most = int((LEFT[1] - MARK - 12) / LETTER)
    if len(name) <= most:
        return escape(name)
    tail = most // 2
    return Markup("<title>{}</title>{}…{}").format(name, name[: most - tail - 1], name[-tail:])


def _letter(place: int) -> str:
    return chr(ord("a") + place % 26)


def _scale(left: float, place: int, low: float, high: float) -> Scale:
    start = left + place * (PANEL + GAP)
    return Scale(low, high, start, start + PANEL)


def _head(title: str, scale: Scale, bottom: float) -> str:
    ticks = scale.ticks(4)
    grid = "".join(f"M{scale(v):.1f} {TOP}V{bottom}" for v, _ in ticks)
    words = "".join(f'<text class="tm" x="{scale(v):.1f}" y="{TOP - 6}">{t}</text>' for v, t in ticks)
    words += "".join(f'<text class="tm" x="{scale(v):.1f}" y="{bottom + 14}">{t}</text>' for v, t in ticks)
    return f'<path class="gr" d="{grid}"/>{words}<text class="al" x="{scale.start:.1f}" y="{TOP - 26}">{title}</text>'


def _dot(values: Sequence[float], scale: Scale, y: float, colour: str, *, bar: bool) -> str:
    low, middle, high = scale(min(values)), scale(fmean(values)), scale(max(values))
    line = f'<path class="er {colour}" d="M{low:.1f} {y:.1f}H{high:.1f}"/>' if bar and high - low > 1 else ""
    return f'{line}<circle class="mf {colour}" cx="{middle:.1f}" cy="{y:.1f}" r="4"/>'


def by_epoch(numbers: Numbers, marks: Marks) -> list[Figure]:
    """Share of conflicting pairs by epoch: a panel per weighting, a line per architecture."""
    lines = {row.pair: found for row in numbers.rows if (found := series(row, curves_of.conflicts)) is not None}
    rows = [row for row in numbers.rows if row.pair in lines]
    ends = [line.epochs[-1] for line in lines.values()]
    starts = [line.epochs[0] for line in lines.values()]
    figures = []
    for title, own in by_weighting(rows):
        across = (min(min(starts), max(ends) - 1), max(ends))
        chart = Chart(Frame(across, (0, 100), "epoch", "% of pairs", whole_x=True))
        for row in own:
            colour = marks.colour(row.kind[0])
            if lines[row.pair].several and not swept(row):
                chart.band(*lines[row.pair].ends, colour)
            chart.line(lines[row.pair].middle, colour)
        names = ", ".join(sorted({row.architecture for row in own}))
        label = f"Share of conflicting pairs of gradients by epoch, {title}: {names}"
        figures.append(Figure(title, chart.render(label), kind=(None, own[0].kind[1])))
    return figures
