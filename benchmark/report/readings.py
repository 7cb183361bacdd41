"""Readings of a board: rules of epochs and definitions of metrics, and which of them its pages offer."""

import math
from collections.abc import Mapping, Sequence

from benchmark import analysis
from benchmark.analysis import Board
from benchmark.analysis.selection import LAST
from benchmark.report.columns import metrics_of
from benchmark.report.rows import NO_FLOOR, Numbers, Pair, Row, Variant, read
from benchmark.runs.record import RunRecord

#: Readings whose means all lie within this share of each other say the same thing.
ALIKE = 0.01


def readings(
    board: Board,
    rule: str,
    *,
    floor: Mapping[str, Mapping[tuple[str, str], float]] = NO_FLOOR,
    relative: Mapping[Pair, float] | None = None,
) -> tuple[Numbers, ...]:
    """A board read by ``rule``, then in every further way that says something else.

    A mean of the last ten epochs is offered where ten were evaluated: of fewer it would be a mean of something else.
    The other arguments are those of ``read``.
    """
    own, *others = read(board, _variants(board, rule), floor=floor, relative=relative)
    offered = [own]
    for other in others:
        if not any(alike(other, kept) for kept in offered):
            offered.append(other)
    return tuple(offered)


def _variants(board: Board, rule: str) -> list[Variant]:
    """The given rule, the others, and the metrics of the papers' scripts where a task has any."""
    own = [record for record in board.records if record.status == "ok" and record.id not in board.unproven]
    ten = all(_evaluated_last(record) >= LAST for record in own)
    others = [Variant(name, name) for name in analysis.RULES if name != rule and (ten or name != "last-10-mean")]
    twins = any(metric.legacy for task in board.tasks for metric in metrics_of(task, board.kinds, legacy=True))
    return [Variant("", rule), *others, *([Variant("legacy", rule, legacy=True)] if twins else [])]


def _evaluated_last(record: RunRecord) -> int:
    """How many of a run's last ten epochs were evaluated."""
    return sum(epoch.epoch > record.curves[-1].epoch - LAST and bool(epoch.metrics) for epoch in record.curves)


def alike(one: Numbers, other: Numbers) -> bool:
    """Whether two readings by the same metrics agree: the means of Δm and of every metric, row by row."""
    if one.variant.definition != other.variant.definition:
        return False
    rows = {row.pair: row for row in other.rows}
    return all(_agree(row, rows[row.pair]) for row in one.rows)


def _agree(one: Row, other: Row) -> bool:
    keys = {key for row in (one, other) for key in row.estimates if isinstance(key, tuple) or key == row.delta}
    means: Sequence[tuple[float, float]] = [(one.estimate(key).mean, other.estimate(key).mean) for key in keys]
    return all((a != a and b != b) or math.isclose(a, b, rel_tol=ALIKE, abs_tol=1e-12) for a, b in means)
