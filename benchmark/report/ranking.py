"""Mean ranks with a critical-difference diagram."""

from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup, escape

from benchmark import analysis
from benchmark.analysis import Ranking
from benchmark.report.marks import Marks
from benchmark.report.plot import Scale
from benchmark.report.rows import Numbers, Row
from benchmark.tasks import KINDS, Metric

#: Rows in the diagram; more would be a table.
MOST = 60
LEFT, RIGHT, LINE, TOP = 250, 470, 19, 40


@dataclass(frozen=True)
class Ranked:
    """A board's ranking and its diagram."""

    ranking: Ranking
    svg: Markup
    shown: int


def ranked(numbers: Numbers, marks: Marks) -> Ranked | None:
    """Rank the rows of a board on every metric of every task; None for fewer than two rows.

    A task counts once, however many metrics it has.
    """
    rows = {row.pair: row for row in numbers.rows if row.finished}
    values = [
        (*row.pair, seed, task, metric, value)
        for row in rows.values()
        for (task, metric), by_seed in ((k, v) for k, v in row.samples.items() if isinstance(k, tuple))
        for seed, value in by_seed.items()
    ]
    if len(rows) < 2 or not values:
        return None
    data = pd.DataFrame(values, columns=["architecture", "weighting", "seed", "task", "metric", "value"])
    known = {(c.name, m.name): m.higher_is_better for c in numbers.board.tasks for m in _metrics(c.kind)}
    data["higher_is_better"] = [known[key] for key in zip(data["task"], data["metric"], strict=True)]
    found = analysis.mean_ranks(data, blocks=("task",))
    if len(found.table) < 2:
        return None
    return Ranked(found, _diagram(found, rows, marks), min(MOST, len(found.table)))


def _metrics(kind: str) -> tuple[Metric, ...]:
    return KINDS[kind].metrics if kind in KINDS else ()


def _diagram(found: Ranking, rows: dict[tuple[str, str], Row], marks: Marks) -> Markup:
    """A line per row, the best first; bars join neighbours that the test cannot tell apart."""
    table = found.table.head(MOST)
    ranks = table["rank"].tolist()
    scale = Scale(1.0, max(float(max(ranks)), 2.0), LEFT, RIGHT)
    height = TOP + LINE * len(ranks) + 10
    ticks = scale.ticks(5)
    grid = "".join(f"M{scale(v):.1f} {TOP - 6}V{height - 6}" for v, _ in ticks)
    parts = [f'<path class="gr" d="{grid}"/>']
    parts += [f'<text class="tm" x="{scale(v):.1f}" y="{TOP - 12}">{t}</text>' for v, t in ticks]
    parts.append(f'<text class="al" x="{LEFT}" y="12">mean rank (1 is best)</text>')
    for i, (a, w, rank) in enumerate(zip(table["architecture"], table["weighting"], ranks, strict=True)):
        row, y = rows[a, w], TOP + LINE * (i + 0.5)
        parts.append(f'<path class="er {marks.colour(row.kind[0])}" d="M{LEFT} {y:.1f}H{scale(rank):.1f}"/>')
        parts.append(marks.drawn(*row.kind, (scale(rank), y), 6))
        parts.append(f'<text class="rn te" x="{LEFT - 12}" y="{y + 4:.1f}">{escape(row.name)}</text>')
    bars = [(first, min(last, len(ranks) - 1)) for first, last in found.cliques if first < len(ranks) - 1]
    for i, (first, last) in enumerate(bars):
        x = RIGHT + 18 + 7 * i
        y0, y1 = TOP + LINE * (first + 0.2), TOP + LINE * (last + 0.8)
        parts.append(f'<path class="ln cx" style="stroke-width:3" d="M{x} {y0:.1f}V{y1:.1f}"/>')
    width = RIGHT + 30 + 7 * len(bars)
    label = f"Mean ranks of {len(ranks)} rows"
    return Markup(
        f'<svg class="figure" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'style="max-width:{width * 1.2:.0f}px;min-width:430px">{"".join(parts)}</svg>'
    )
