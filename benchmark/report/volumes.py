"""How much of what is possible the rows of an architecture reach together: hypervolumes."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark import analysis
from benchmark.report.charts.figures import cost_axes
from benchmark.report.columns import DELTA, Column, task_columns
from benchmark.report.rows import Numbers
from benchmark.report.table import DASH

#: Tasks whose first metrics make a box together. The time to measure it grows exponentially with them, and the library
#: takes 31 at most; nor does a share of a box of forty sides tell one architecture from another.
MOST_TASKS = 10


@dataclass(frozen=True)
class Volumes:
    """Shares in per cent: a line per architecture, a number per set of columns."""

    sets: tuple[tuple[str, tuple[Column, ...]], ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def volumes(numbers: Numbers) -> Volumes:
    """The share of the box between the board's worst and best values that an architecture's rows dominate together."""
    firsts = tuple(column for column in task_columns(numbers.board.tasks, numbers.board.kinds) if column.first)
    sets = [("first metric of every task", firsts)] if 1 < len(firsts) <= MOST_TASKS else []
    sets += [(f"Δm and {cost.title}", (DELTA, cost)) for cost in cost_axes(numbers) if cost.key != "shared_parameters"]
    architectures = sorted({row.architecture for row in numbers.rows if row.finished})
    by_set = [_shares(numbers, columns) for _, columns in sets]
    known = [i for i, shares in enumerate(by_set) if any(math.isfinite(share) for share in shares.values())]
    lines = tuple(
        (name, tuple(f"{100 * by_set[i][name]:.0f}" if math.isfinite(by_set[i][name]) else DASH for i in known))
        for name in architectures
    )
    return Volumes(tuple(sets[i] for i in known), lines if known else ())


def _shares(numbers: Numbers, columns: tuple[Column, ...]) -> dict[str, float]:
    rows = [row for row in numbers.rows if row.finished]
    data = pd.DataFrame(
        [[row.estimate(column.key).mean for column in columns] for row in rows],
        columns=[column.id for column in columns],
        dtype=float,
    )
    maximise = {column.id: column.higher_is_better for column in columns}
    worst, best = analysis.corners(data, maximise)
    names = pd.Series([row.architecture for row in rows])
    # Where part of the rows has no number, the box and the shares would be those of the others.
    whole = {str(name): bool(np.isfinite(data[names == name].to_numpy()).all(axis=1).any()) for name in names.unique()}
    if not all(whole.values()):
        return dict.fromkeys(whole, math.nan)
    return {name: analysis.hypervolume(data[names == name], maximise, reference=worst, ideal=best) for name in whole}
