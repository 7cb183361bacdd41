"""Whether a rerun lies within the noise of its row: the test for native runs, whose bits may differ."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy.special import stdtrit

from benchmark.analysis.boards import boards
from benchmark.analysis.kinds import kinds_of
from benchmark.analysis.repeats import Arrays, RerunResult, cell_of, compared_numbers, first_difference
from benchmark.runs.record import RunRecord

#: How often a rerun that scatters as another seed does is refused, over all of its metrics together.
ALPHA = 0.01
#: Degrees of freedom from which on a spread is known well enough to judge by. With two, for instance, nine metrics
#: would have to agree to 42 standard deviations, which says nothing.
FEWEST = 4

#: Parts of the cost that are counted: they are equal whatever the arithmetic.
COUNTED = ("parameters", "shared_parameters", "forward_flops")

#: A metric of a task.
Name = tuple[str, str]


@dataclass(frozen=True)
class SeedSpread:
    """The standard deviation of a metric over seeds, and of how many degrees of freedom it is."""

    deviation: float
    freedom: int


def judge(
    record: RunRecord,
    again: RunRecord,
    *,
    others: Callable[[], Sequence[RunRecord]],
    pictures: tuple[Arrays, Arrays] | None = None,
) -> RerunResult:
    """Whether a record holds: the bits of a portable one come back, a native one lies within the noise of its row.

    Args:
        record, again: of the same run, which was done again.
        others: gives records that were made here, for the spread over seeds; called where bits differ.
        pictures: the two runs' predictions for the pictured test samples.
    """
    difference = first_difference(record, again, cell=others, pictures=pictures)
    if difference is None:
        return RerunResult(True, f"came back bit for bit ({compared_numbers(record, pictures)} numbers compared)")
    if record.spec.protocol.arithmetic == "portable":
        return RerunResult(False, f"differs first at {difference}")
    return within_noise(record, again, others())


def within_noise(record: RunRecord, again: RunRecord, others: Sequence[RunRecord]) -> RerunResult:
    """Whether a run that was done again lies within the noise of its row: a test, metric by metric.

    Rounding alone scatters a run by half to all of the spread of its seeds, so that a rerun may scatter as much as a
    run of another seed would. For each of the m test metrics of the last epoch (of the whole split; not the legacy
    definitions), with s its standard deviation over seeds, of ν degrees of freedom, the rerun holds where

        |rerun − record| ≤ t(1 − α / (2 m), ν) · √2 · s,    α = 1 %.

    √2 is there because both scatter; α / m is Bonferroni's correction, so that of honest reruns one in a hundred is
    refused at most, were the metrics normal. s and ν are those of the row's own seeds from five seeds on, else pooled
    over the rows of its board: s² = Σ (nᵣ − 1) sᵣ² / ν and ν = Σ (nᵣ − 1), which takes the rows to scatter alike. With
    ν below four nothing is judged, and the record does not hold. A run that did not end well holds where the rerun
    ended with the same status.

    Args:
        record, again: of the same run.
        others: records whose numbers are trusted; ``record`` counts for the spread if it is among them.
    """
    if record.status != again.status:
        return RerunResult(False, f"ended otherwise: {record.status} → {again.status}")
    if record.status != "ok":
        return RerunResult(True, f"ended as its record says: {record.status}")
    for cost in COUNTED:
        said, found = getattr(record.cost, cost), getattr(again.cost, cost)
        if said is not None and found is not None and said != found:
            return RerunResult(False, f"differs in what is counted: {cost} {said} → {found}")
    before, after = _last_test(record), _last_test(again)
    if not before or before.keys() != after.keys():
        return RerunResult(False, "cannot be judged: the two runs do not have the same test metrics")
    row, board = _rows(record, others)
    excess: dict[Name, float] = {}
    for name in before:
        spread = _spread(name, row, board)
        if spread is None:
            few = f"too few seeds of its row or its board are known here to tell the noise of {' '.join(name)}"
            return RerunResult(False, f"cannot be judged: other bits, as native arithmetic allows, and {few}")
        limit = float(stdtrit(spread.freedom, 1 - ALPHA / (2 * len(before)))) * sqrt(2) * spread.deviation
        excess[name] = _excess(before[name], after[name], limit)
    worst = max(excess, key=lambda name: excess[name])
    far = f"{' '.join(worst)} {before[worst]} → {after[worst]} is {excess[worst]:.2g} of the difference allowed"
    holds = excess[worst] <= 1
    return RerunResult(holds, f"{'within' if holds else 'outside'} the noise of its row: at most, {far}")


def _excess(one: float | None, other: float | None, limit: float) -> float:
    """How many times the limit two values of a metric are apart."""
    if one is None or other is None:
        return 0.0 if one is other else inf
    apart = abs(other - one)
    return apart / limit if limit > 0 else (inf if apart else 0.0)


def _last_test(record: RunRecord) -> dict[Name, float | None]:
    """The test metrics of the last epoch, without those of legacy definitions."""
    if not record.curves:
        return {}
    kinds = kinds_of(record)
    legacy = {task.name: {m.name for m in kinds.get(task.kind, ()) if m.legacy} for task in record.tasks}
    metrics = record.curves[-1].metrics.get("test", {})
    return {
        (task, name): value
        for task, values in metrics.items()
        for name, value in values.items()
        if name not in legacy.get(task, ())
    }


def _rows(record: RunRecord, others: Sequence[RunRecord]) -> tuple[list[RunRecord], list[list[RunRecord]]]:
    """The trusted runs of the record's row, and those of every row of its board."""
    trusted = {one.id for one in others}
    board = next(b for b in boards([*others, record]) if record.id in {one.id for one in b.records})
    rows: dict[str, list[RunRecord]] = defaultdict(list)
    for one in board.records:
        if one.id in trusted and one.status == "ok":
            rows[cell_of(one)].append(one)
    return rows[cell_of(record)], list(rows.values())


def _spread(name: Name, row: Sequence[RunRecord], board: Iterable[Sequence[RunRecord]]) -> SeedSpread | None:
    """Of the row where it has seeds enough, else pooled over the board; None where there are too few."""
    own = _pooled(name, [row])
    found = own if own.freedom >= FEWEST else _pooled(name, board)
    return found if found.freedom >= FEWEST else None


def _pooled(name: Name, rows: Iterable[Sequence[RunRecord]]) -> SeedSpread:
    """The standard deviation inside of rows."""
    groups = [[v for one in row if (v := _last_test(one).get(name)) is not None] for row in rows]
    freedom = sum(len(values) - 1 for values in groups if values)
    if not freedom:
        return SeedSpread(inf, 0)
    squares = sum(float(np.square(np.array(values) - np.mean(values)).sum()) for values in groups if values)
    return SeedSpread(sqrt(squares / freedom), freedom)
