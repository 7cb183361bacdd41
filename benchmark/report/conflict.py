"""How the tasks' gradients met: one figure per board, and curves by epoch."""

from collections.abc import Callable, Sequence
from statistics import fmean

from markupsafe import Markup, escape

from benchmark.report import series as curves_of
from benchmark.report.figures import Figure, Link
from benchmark.report.marks import Marks
from benchmark.report.plot import Chart, Frame, Scale
from benchmark.report.rows import Numbers, Row
from benchmark.report.series import mean_over_training, series

LINE = 20
LEFT, GAP, PANEL = 236, 22, 200
TOP = 46


def has_gradients(numbers: Numbers) -> bool:
    """Whether any run recorded its tasks' gradients."""
    return any(epoch.gradients for record in numbers.finished for epoch in record.curves[:3])


def overview(numbers: Numbers, marks: Marks, link: Link) -> Figure | None:
    """A line per row: share of conflicting pairs, mean cosine of every pair, and each task's share of the norms.

    Means over training, then over seeds; the bar reaches from the least seed to the greatest. Rows with the most
    conflict come first.
    """
    measured = [(row, mean_over_training(row, curves_of.conflicts)) for row in numbers.rows]
    rows = [row for row, found in sorted(measured, key=lambda m: (-fmean(m[1] or [0]), m[0].pair)) if found]
    if not rows:
        return None
    tasks = [task.name for task in numbers.board.tasks]
    names = curves_of.pairs(rows)
    bottom = TOP + LINE * len(rows)
    cosines = {row.pair: {n: mean_over_training(row, curves_of.cosine(n)) for n in names} for row in rows}
    reach = max((abs(v) for found in cosines.values() for vs in found.values() for v in vs), default=1.0) * 1.08
    panels: list[tuple[str, Scale, Callable[[Row, Scale, float], str]]] = [
        (
            "conflicting pairs (%)",
            _scale(0, 0.0, 100.0),
            lambda row, scale, y: _dots(
                [("", mean_over_training(row, curves_of.conflicts))], scale, y, marks.colour(row.kind[0])
            ),
        ),
        (
            "mean cosine",
            _scale(1, -min(1.0, max(reach, 0.05)), min(1.0, max(reach, 0.05))),
            lambda row, scale, y: _dots(
                [(_letter(i), cosines[row.pair][n]) for i, n in enumerate(names)], scale, y, marks.colour(row.kind[0])
            ),
        ),
        (
            "share of gradient norms (%)",
            _scale(2, 0.0, 100.0),
            lambda row, scale, y: _dots(
                [(str(i + 1), share) for i, share in enumerate(_shares(row, tasks))], scale, y, marks.colour(row.kind[0])
            ),
        ),
    ]
    parts = [_head(title, scale, bottom) for title, scale, _ in panels]
    for i, row in enumerate(rows):
        y = TOP + LINE * (i + 0.5)
        drawn = f"{marks.drawn(*row.kind, (10, y), 6)}<text x=\"24\" y=\"{y + 4:.1f}\" class=\"rn\">{escape(row.name)}</text>"
        body = "".join(draw(row, scale, y) for _, scale, draw in panels)
        parts.append(f'<a href="{escape(link(row))}">{drawn}</a>{body}')
    width = LEFT + 3 * PANEL + 2 * GAP + 12
    label = f"How the tasks' gradients met, {len(rows)} rows: conflicting pairs, cosines and norms"
    svg = (
        f'<svg class="figure wide" viewBox="0 0 {width} {bottom + 24}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
    keys = [f"{_letter(i)} = {name.replace('|', ' with ')}" for i, name in enumerate(names)]
    keys += [f"{i + 1} = {task}" for i, task in enumerate(tasks)]
    return Figure("How the tasks’ gradients met", Markup(svg), tuple(keys))


def _letter(place: int) -> str:
    return chr(ord("a") + place % 26)


def _scale(place: int, low: float, high: float) -> Scale:
    start = LEFT + place * (PANEL + GAP)
    return Scale(low, high, start, start + PANEL)


def _head(title: str, scale: Scale, bottom: float) -> str:
    ticks = scale.ticks(4)
    grid = "".join(f"M{scale(v):.1f} {TOP}V{bottom}" for v, _ in ticks)
    words = "".join(f'<text class="tm" x="{scale(v):.1f}" y="{TOP - 6}">{t}</text>' for v, t in ticks)
    words += "".join(f'<text class="tm" x="{scale(v):.1f}" y="{bottom + 14}">{t}</text>' for v, t in ticks)
    return f'<path class="gr" d="{grid}"/>{words}<text class="al" x="{scale.start}" y="{TOP - 26}">{title}</text>'


def _dots(found: Sequence[tuple[str, Sequence[float]]], scale: Scale, y: float, colour: str) -> str:
    parts = []
    for letter, values in found:
        if not values:
            continue
        low, middle, high = scale(min(values)), scale(fmean(values)), scale(max(values))
        if high - low > 1:
            parts.append(f'<path class="er {colour}" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
        if letter:
            parts.append(f'<text class="lt {colour}" x="{middle:.1f}" y="{y + 4:.1f}">{letter}</text>')
        else:
            parts.append(f'<circle class="mf {colour}" cx="{middle:.1f}" cy="{y:.1f}" r="4"/>')
    return "".join(parts)


def _shares(row: Row, tasks: Sequence[str]) -> list[list[float]]:
    """By task and run, its part of the sum of the tasks' mean norms, in per cent."""
    norms = [mean_over_training(row, curves_of.norm(task)) for task in tasks]
    if not all(norms) or len({len(found) for found in norms}) != 1:
        return [[] for _ in tasks]
    sums = [sum(found) for found in zip(*norms, strict=True)]
    return [[100 * v / s for v, s in zip(found, sums, strict=True) if s > 0] for found in norms]


def by_epoch(numbers: Numbers, marks: Marks) -> list[Figure]:
    """Share of conflicting pairs by epoch: a panel per weighting, a line per architecture."""
    lines = {row.pair: found for row in numbers.rows if (found := series(row, curves_of.conflicts)) is not None}
    rows = [row for row in numbers.rows if row.pair in lines]
    figures = []
    for weighting in sorted({row.weighting for row in rows}):
        own = [row for row in rows if row.weighting == weighting]
        last = max(lines[row.pair].epochs[-1] for row in rows)
        first = min(lines[row.pair].epochs[0] for row in rows)
        chart = Chart(Frame((min(first, last - 1), last), (0, 100), "epoch", "% of pairs", whole_x=True))
        for row in own:
            colour = marks.colour(row.kind[0])
            if lines[row.pair].several:
                chart.band(*lines[row.pair].ends, colour)
            chart.line(lines[row.pair].middle, colour)
        names = ", ".join(row.architecture for row in own)
        label = f"Share of conflicting pairs of gradients by epoch, {weighting}: {names}"
        figures.append(Figure(weighting, chart.render(label), kind=(None, own[0].kind[1])))
    return figures


