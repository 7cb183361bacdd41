"""The empirical front of fixed weights, and where every other method lies against it."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.analysis.boards import Board
from benchmark.analysis.frames import frame
from benchmark.analysis.intervals import estimate
from benchmark.analysis.pareto import non_dominated
from benchmark.analysis.selection import select
from benchmark.registry import WEIGHTINGS

STANDINGS = ("front", "behind", "dominated", "on", "beyond", "undefined")

CELL = ["architecture", "weighting"]


class Fronts(NamedTuple):
    """Every cell of a board whose architecture was trained under fixed weights.

    Attributes:
        rows: ``architecture``, ``weighting`` (as in ``Board.labels``), ``seeds`` (how many), ``fixed``, ``standing``,
            ``clear``, and a column per task: the mean over seeds of its metric.
        maximise: by those columns, whether greater is better.
        metrics: by those columns, the metric's name.
    """

    rows: pd.DataFrame
    maximise: dict[str, bool]
    metrics: dict[str, str]


def scalarisations() -> frozenset[str]:
    """The registered weightings whose weights are options, the same in every step."""
    return frozenset(name for name in WEIGHTINGS if getattr(WEIGHTINGS[name].factory, "fixed", False))


def fronts(
    board: Board,
    *,
    fixed: Collection[str] | None = None,
    metrics: Mapping[str, str] | None = None,
    rule: str = "val-delta-m",
) -> Fronts:
    """Compare every method with the best that fixed weights reached on the same architecture.

    One metric of each task counts: with all of them nearly every point would be incomparable with every other. They are
    test metrics at the epoch that validation chose, as in every table, so the front is not chosen on test data point by
    point, but which of its points are non-dominated is seen on test data: it is a yardstick, no method.

    The standing of fixed weights is ``front`` where no other fixed weights of the architecture are at least as good in
    every task and better in one, else ``behind``. Any other method is

    * ``dominated`` where a point of the front is at least as good in every task and better in one,
    * ``beyond`` where it is at least as good as some point of the front in every task and better in one, and not
      dominated,
    * ``on`` where neither is so: a trade-off that the front does not answer,
    * ``undefined`` where a metric is missing or not finite (fixed weights too).

    Means alone decide that. It is ``clear`` that a method is dominated or beyond where noise does not explain it: where
    in some task the interval of the difference from such a point of the front, over the seeds of both, is beyond 0.
    These are plain 95 % intervals, one per task and point; with one seed nothing is clear.

    Args:
        board: its runs of status ``ok`` count; architectures with fewer than two fixed weightings are left out.
        fixed: names of the weightings that are fixed weights; by default those that say so (``Weighting.fixed``).
        metrics: by task the metric to judge by; by default the first that the kind of task defines.
        rule: of the choice of epochs, see ``select``.

    Raises:
        UsageError: the rule is unknown.
    """
    fixed = scalarisations() if fixed is None else fixed
    known = {task.name: board.kinds[task.kind] for task in board.tasks if task.kind in board.kinds}
    judged = {name: (metrics or {}).get(name, own[0].name) for name, own in known.items()}
    maximise = {name: next(m.higher_is_better for m in own if m.name == judged[name]) for name, own in known.items()}
    values = _values(board, judged, rule)
    points = _points(values, list(judged))
    names = {board.labels[record.id][1]: record.spec.weighting_name for record in board.records}
    points["fixed"] = [names[label] in fixed for label in points["weighting"]]
    groups = [group for _, group in points.groupby("architecture", sort=True) if group["fixed"].sum() > 1]
    standings = [_standings(group, maximise) for group in groups]
    rows = pd.concat(groups) if groups else points.iloc[:0]
    rows = rows.assign(standing=pd.concat(standings) if standings else pd.Series(dtype=str))
    rows["clear"] = [_clear(row, rows, values, maximise) for row in rows.to_dict("records")]
    columns = [*CELL, "seeds", "fixed", "standing", "clear", *maximise]
    return Fronts(rows[columns].reset_index(drop=True), maximise, judged)


def _values(board: Board, metrics: Mapping[str, str], rule: str) -> pd.DataFrame:
    """The judged metric of each cell, seed and task."""
    chosen = select(frame([r for r in board.records if r.status == "ok"], board.labels), rule, against="mean")
    return chosen[(chosen["split"] == "test") & (chosen["metric"] == chosen["task"].map(metrics))]


def _points(rows: pd.DataFrame, tasks: list[str]) -> pd.DataFrame:
    """A row per cell: means over its seeds; NaN where a seed has no finite value."""
    seeds = rows.groupby(CELL)["seed"].nunique().rename("seeds")
    values = rows.groupby([*CELL, "task"])["value"].agg(lambda v: v.mean(skipna=False)).unstack("task")
    return values.reindex(columns=tasks).join(seeds).reset_index()


def _clear(row: dict[Any, Any], rows: pd.DataFrame, values: pd.DataFrame, maximise: dict[str, bool]) -> bool:
    """Whether the interval of some difference on which a standing rests is beyond 0."""
    sign = {"beyond": 1.0, "dominated": -1.0}.get(row["standing"])
    if sign is None:
        return False
    own = _by_seed(values, row)
    front = rows[(rows["architecture"] == row["architecture"]) & (rows["standing"] == "front")]
    signs = {task: sign * (1 if up else -1) for task, up in maximise.items()}
    for point in front.to_dict("records"):
        ahead = {task: signs[task] * (row[task] - point[task]) for task in maximise}
        if min(ahead.values()) < 0:
            continue
        differences = own - _by_seed(values, point)
        found = [estimate(signs[task] * differences[task]) for task, by in ahead.items() if by > 0]
        if any(e.half is not None and e.mean > e.half for e in found):
            return True
    return False


def _by_seed(values: pd.DataFrame, cell: Mapping[Any, Any]) -> pd.DataFrame:
    """A cell's values, a row per seed and a column per task."""
    own = values[(values["architecture"] == cell["architecture"]) & (values["weighting"] == cell["weighting"])]
    return own.pivot(index="seed", columns="task", values="value")


def _standings(group: pd.DataFrame, maximise: dict[str, bool]) -> pd.Series:
    """The standing of each cell of one architecture."""
    found = pd.Series("undefined", index=group.index)
    whole = np.isfinite(group[list(maximise)].to_numpy(dtype=float)).all(axis=1)
    fixed, others = group[whole & group["fixed"]], group[whole & ~group["fixed"]]
    front = fixed[non_dominated(fixed, maximise)]
    found[fixed.index] = "behind"
    found[front.index] = "front"
    signs = np.where(list(maximise.values()), 1.0, -1.0)
    reached = front[list(maximise)].to_numpy(dtype=float) * signs  # (F, K), greater is better
    for index, values in zip(others.index, others[list(maximise)].to_numpy(dtype=float) * signs, strict=True):
        found[index] = _against(values, reached)
    return found


def _against(values: np.ndarray, front: np.ndarray) -> str:
    """One method's (K,) values against (F, K) points, greater being better."""
    different = (front != values).any(axis=1)
    if ((front >= values).all(axis=1) & different).any():
        return "dominated"
    return "beyond" if ((values >= front).all(axis=1) & different).any() else "on"
