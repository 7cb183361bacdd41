"""All figures of one board, from its records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark import analysis
from benchmark.analysis import DELTA, REFERENCE, Baseline, Board
from benchmark.analysis.kinds import Kinds
from benchmark.analysis.verdicts import MARGIN, diverged_rows, gain_verdicts
from benchmark.errors import UsageError
from benchmark.figures.curves import curves
from benchmark.figures.forest import forest
from benchmark.figures.heat import heat
from benchmark.figures.pareto import pareto
from benchmark.figures.style import WIDTH, Palette
from benchmark.report.titles import slug
from benchmark.runs.record import TaskInfo

ROW = ["architecture", "weighting"]
#: Costs that a front is drawn against: name of the figure, words, and how much one is.
COSTS = {"parameters": ("parameters", "Parameters, M", 1e6), "forward_flops": ("flops", "Forward pass, GFLOP", 1e9)}
#: Rows in colour among the curves.
LINES = 8


@dataclass(frozen=True)
class Drawing:
    """A figure, or why there is none.

    Attributes:
        name: of its file, without ending.
    """

    name: str
    figure: Figure | None
    reason: str = ""


def baseline_on(board: Board, baseline: Baseline) -> Baseline | None:
    """A baseline by what the board calls its rows; None where no row has the method.

    Raises:
        UsageError: it stands on the board with several options.
    """
    kinds = {
        board.labels[r.id]: (r.spec.architecture.name, r.spec.weighting_name)
        for r in board.records
        if board.labels[r.id] not in board.unproven_rows
    }
    found = baseline.named(kinds)
    if len(found) > 1:
        wanted = baseline.architecture or baseline.weighting
        raise UsageError(
            f"the baseline '{wanted}' stands on the board {board.key} of '{board.dataset.name}' with several options: "
            f"{', '.join((b.architecture or b.weighting or '') for b in found)}; choose another --baseline"
        )
    return found[0] if found else None


def drawings(
    board: Board,
    baselines: Sequence[Baseline],
    *,
    margin: float = MARGIN,
    palette: Palette | None = None,
    width: float = WIDTH,
) -> Iterator[Drawing]:
    """Every figure of a board, one after another.

    Args:
        board: whose records are drawn.
        baselines: of the forests, by what the board calls its rows (``baseline_on``).
        margin: in points of Δm.
        palette: colours and markers.
        width: in inches.
    """
    numbers = _Numbers(board, margin)
    for baseline in baselines:
        against = baseline.architecture or baseline.weighting or "single-task"
        name = f"forest-{slug(against)}"
        found = numbers.verdicts(baseline)
        if found.empty:
            yield Drawing(name, None, f"no row and its {against} both have a Δm")
            continue
        dots = numbers.seeds(found)
        yield Drawing(name, forest(found, dots=dots, against=against, palette=palette, width=width))
    for key, (name, words, scale) in COSTS.items():
        points = numbers.points.assign(cost=numbers.costs(key).reindex(numbers.names).to_numpy() / scale)
        if points[["cost", "mean"]].dropna().empty:
            yield Drawing(f"pareto-{name}", None, "no row has both a Δm and this cost")
            continue
        yield Drawing(f"pareto-{name}", pareto(points, cost=words, palette=palette, width=width))
    if numbers.curves.empty:
        yield Drawing("curves", None, "no run has an evaluated epoch")
    else:
        rows, why = numbers.coloured
        yield Drawing(
            "curves", curves(numbers.curves, rows, titles=numbers.titles, why=why, palette=palette, width=width)
        )
    drawn = None if numbers.points.empty else heat(numbers.points, width=width)
    yield Drawing("heat", drawn, "" if drawn else "no weighting has a Δm under two architectures")


@dataclass(frozen=True)
class _Numbers:
    """A board's numbers as the figures want them."""

    board: Board
    margin: float

    @cached_property
    def data(self) -> pd.DataFrame:
        """Every metric of every epoch of runs that went well."""
        found = analysis.frame(self.board.records, self.board.labels)
        return found[found["status"] == "ok"]

    @cached_property
    def test(self) -> pd.DataFrame:
        """Test numbers of the epochs that validation chooses, against the mean of the references."""
        chosen = analysis.select(self.data, against="mean")
        return chosen[chosen["split"] == "test"]

    @cached_property
    def deltas(self) -> pd.DataFrame:
        """Δm of each run: that column of ``analysis.gains``."""
        return analysis.gains(self.test)[[DELTA]]

    @cached_property
    def gains(self) -> pd.DataFrame:
        """Δm of each run, where it has one."""
        if self.test.empty:
            return pd.DataFrame(columns=[*ROW, "seed", "gain"])
        found = self.deltas[DELTA].rename("gain").reset_index()
        return found[np.isfinite(found["gain"])]

    def verdicts(self, baseline: Baseline) -> pd.DataFrame:
        """Those of Δm that have a difference."""
        if self.gains.empty:
            return pd.DataFrame(columns=[*ROW, "verdict"])
        # Rows of which no run finished are a part of the family, as on the report's pages.
        reference = analysis.reference_row(self.test)
        compared = baseline.pairs(self.board.labels.values(), reference)
        diverged = diverged_rows(self.board.records, self.board.labels)
        found = gain_verdicts(
            self.deltas, reference, baseline, margin=self.margin, rows=len(compared), diverged=diverged
        )
        held = zip(found["baseline_architecture"], found["baseline_weighting"], strict=True)
        proven = np.array([pair not in self.board.unproven_rows for pair in held], dtype=bool)
        return found[np.isfinite(found["difference"]) & proven]

    def seeds(self, found: pd.DataFrame) -> pd.DataFrame:
        """Each run's difference from its baseline: that of its seed where rows were paired, else the mean."""
        own = found.merge(self.gains, on=ROW)
        other = self.gains.rename(columns={"gain": "other"} | {name: f"baseline_{name}" for name in ROW})
        keys = [f"baseline_{name}" for name in ROW]
        means = own.merge(other.groupby(keys)["other"].mean().reset_index(), on=keys)
        if found["paired"].any():
            means = own.merge(other, on=[*keys, "seed"])
        return means.assign(difference=means["gain"] - means["other"])[[*ROW, "seed", "difference"]]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Per row the mean Δm over seeds with its 95 % interval, and its verdict against the reference."""
        found = analysis.estimates(self.gains, ROW, "gain")
        known = self.verdicts(REFERENCE)[[*ROW, "verdict"]]
        return found.merge(known, on=ROW, how="left")

    @property
    def names(self) -> pd.MultiIndex:
        """Of the points' rows."""
        return pd.MultiIndex.from_frame(self.points[ROW])

    def costs(self, key: str) -> pd.Series:
        """By row what its runs cost; the median, where they differ."""
        found = analysis.costs(self.board.records, self.board.labels)
        return found[found["status"] == "ok"].groupby(ROW)[key].median()

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The first metric of each task on validation."""
        first = {task: metric for task, (metric, _) in self._primary.items()}
        val = self.data[(self.data["split"] == "val") & (self.data["metric"] == self.data["task"].map(first))]
        return val[np.isfinite(val["value"])]

    @property
    def titles(self) -> dict[str, str]:
        """By task what the metric is called."""
        tasks = set(self.curves["task"])
        return {task: title for task, (_, title) in self._primary.items() if task in tasks}

    @cached_property
    def _primary(self) -> dict[str, tuple[str, str]]:
        return {task.name: found for task in self.board.tasks if (found := _first_metric(task, self.board.kinds))}

    @cached_property
    def coloured(self) -> tuple[list[tuple[str, str]], str]:
        """The rows in colour among the curves, and why these."""
        if self.points.empty:
            rows = sorted(set(zip(self.curves["architecture"], self.curves["weighting"], strict=True)))
            return rows[:LINES], ""
        best = self.points.sort_values(["mean", *ROW], ascending=[False, True, True]).drop_duplicates("architecture")
        several = self.points["architecture"].duplicated().any()
        why = "Each architecture under the weighting of the greatest Δm on test." if several else ""
        return list(zip(best["architecture"], best["weighting"], strict=True))[:LINES], why


def _first_metric(task: TaskInfo, kinds: Kinds) -> tuple[str, str] | None:
    """Name of the metric that stands for a task, and its words for an axis."""
    metric = next(iter(kinds.get(task.kind, ())), None)
    if metric is None:
        return None
    unit = f", {metric.unit}" if metric.unit else ""
    return metric.name, f"{task.name}\n{metric.title}{unit} {'↑' if metric.higher_is_better else '↓'}"
