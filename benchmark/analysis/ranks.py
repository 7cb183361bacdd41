"""Mean ranks over metrics and data sets, and which of them a Nemenyi test tells apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.analysis.compare import ALPHA, ROW

#: What a rank is given within: the metrics of the tasks of the data sets.
BLOCKS = ("dataset", "task", "metric")


@dataclass(frozen=True)
class Ranking:
    """Mean ranks, and the data of a critical-difference diagram (Demšar, JMLR 7, 2006).

    Attributes:
        table: ``architecture``, ``weighting``, ``rank``, the best (lowest) first.
        blocks: in how many blocks the rows were ranked.
        statistic: Friedman's χ²; NaN for fewer than three rows or two blocks.
        p: of the hypothesis that all rows are alike. Unless it is small, differences between rows are not to be read.
        critical_difference: rows whose mean ranks differ by more are distinguishable (Nemenyi, level ``alpha``); None
            where there is no test.
        cliques: the diagram's bars: first and last place in ``table`` of each longest group of two or more
            indistinguishable rows.
        left_out: rows without a value in every block.
        ranks: the rank of each row of ``table`` (R) in each block (N), (N, R).
    """

    table: pd.DataFrame
    blocks: int
    statistic: float
    p: float
    critical_difference: float | None
    cliques: tuple[tuple[int, int], ...]
    left_out: tuple[tuple[str, str], ...]
    ranks: np.ndarray
    alpha: float = ALPHA

    def nemenyi(self) -> pd.DataFrame:
        """p-values of all pairs of rows in the order of ``table`` (scikit-posthocs)."""
        from scikit_posthocs import posthoc_nemenyi_friedman  # slow to import, and only wanted here

        return (
            posthoc_nemenyi_friedman(self.ranks).set_axis(self.table.index, axis=0).set_axis(self.table.index, axis=1)
        )


def mean_ranks(data: pd.DataFrame, *, blocks: Sequence[str] = BLOCKS, alpha: float = ALPHA) -> Ranking:
    """Rank the rows on every metric and average the ranks.

    Values are averaged over seeds first. Ranks are given within each data set, task and metric (1 is best, ties share
    the mean of their ranks). If ``blocks`` names fewer of these, the ranks within a block are averaged and ranked
    again, so that each block counts once: ``("dataset", "task")`` keeps a task with five metrics from outvoting one
    with two.

    Friedman's test takes the blocks for independent. Metrics of one data set are not, so p is too small there: a guide,
    not a proof. The paired tests of ``compare`` know the noise of seeds instead.

    Args:
        data: tidy: ``architecture``, ``weighting``, ``task``, ``metric``, ``value``, ``higher_is_better``, and
            ``dataset`` and ``seed`` where there are several; one definition of metrics, one split, one epoch.
        blocks: what counts as one observation.
        alpha: level of the Nemenyi test.
    """
    place = [name for name in BLOCKS if name in data]
    keep = [name for name in place if name in blocks]
    signed = data.assign(_signed=np.where(data["higher_is_better"].astype(bool), -data["value"], data["value"]))
    means = signed.groupby([*place, *ROW], sort=True)["_signed"].agg(lambda v: v.mean(skipna=False))
    wide = means.unstack(ROW)  # (blocks, rows)
    whole = np.isfinite(wide.to_numpy(dtype=float)).all(axis=0)
    left_out = tuple((str(a), str(w)) for a, w in wide.columns[~whole])
    ranked = wide.loc[:, whole].rank(axis=1)
    if len(keep) < len(place):
        ranked = ranked.groupby(level=keep).mean().rank(axis=1) if keep else ranked.mean().to_frame().T.rank(axis=1)
    order = np.argsort(ranked.mean().to_numpy(), kind="stable")
    ranked = ranked.iloc[:, order]
    table = ranked.columns.to_frame(index=False).assign(rank=ranked.mean().to_numpy())
    ranks = ranked.to_numpy(dtype=float)
    statistic, p = _friedman(ranks)
    distance = None if np.isnan(statistic) else critical_difference(ranks.shape[1], len(ranks), alpha)
    cliques = () if distance is None else _cliques(table["rank"].to_numpy(), distance)
    return Ranking(table, len(ranks), statistic, p, distance, cliques, left_out, ranks, alpha)


def critical_difference(rows: int, blocks: int, alpha: float = ALPHA) -> float:
    """Nemenyi's critical difference of mean ranks: q √(k (k + 1) / 6N), q of the studentised range over √2."""
    q = stats.studentized_range.ppf(1 - alpha, rows, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(rows * (rows + 1) / (6 * blocks)))


def _friedman(ranks: np.ndarray) -> tuple[float, float]:
    blocks, rows = ranks.shape
    if rows < 3 or blocks < 2:
        return float("nan"), float("nan")
    if (ranks == ranks[:, :1]).all():  # all rows tie in all blocks
        return 0.0, 1.0
    found = stats.friedmanchisquare(*ranks.T)
    return float(found.statistic), float(found.pvalue)


def _cliques(ranks: np.ndarray, distance: float) -> tuple[tuple[int, int], ...]:
    """Longest groups of neighbours, in ascending ``ranks``, no two of which differ by more than ``distance``."""
    lasts = [int(np.flatnonzero(ranks - ranks[i] <= distance)[-1]) for i in range(len(ranks))]
    found = [(i, last) for i, last in enumerate(lasts) if last > i]
    return tuple(pair for k, pair in enumerate(found) if k == 0 or pair[1] > found[k - 1][1])
