"""Statistical power: how many seeds a margin needs, and the causes of a row's noise."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from benchmark.analysis.compare import ROW
from benchmark.analysis.delta import CELL, mean_over_tasks, relative_gains
from benchmark.analysis.looks import ALPHA, FIRST, LAST, critical
from benchmark.analysis.selection import mean_reference, references

#: The chance to be decided that a number of seeds is planned for.
CHANCE = 0.8
#: Evaluated epochs at a run's end of which the middle one is held against its neighbours.
NEIGHBOURS = 3


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a row's Δm, in points, over all rows of a board; None where the records do not tell.

    Attributes:
        seeds: between seeds, at the chosen epochs. More seeds make it smaller.
        epochs: between neighbouring epochs of a run, without their trend: a part of what seeds do.
        pictures: of a row's mean, from the choice of the test split's pictures: how far the differences between rows
            would move with others. It is not in ``seeds``, and no number of seeds makes it smaller.
    """

    seeds: float | None
    epochs: float | None
    pictures: float | None


def seeds_needed(found: pd.DataFrame, margin: float, *, rows: int, chance: float = CHANCE) -> pd.Series:
    """With how many seeds each row would be told from its baseline if they differ by the margin.

    With n seeds of both, the half width of the interval and the ``chance`` quantile of the difference's noise together
    are ``margin`` at most. So many seeds also find a row that does not differ at all equivalent, with about that
    chance. A row whose noise is not known yet counts as the typical one.

    Args:
        found: the lines of Δm of ``verdicts``.
        rows: the size of the family.

    Returns:
        By the index of ``found``; infinite beyond ``LAST`` seeds, NaN where no row's noise is known.
    """
    deviation = found["sd"].to_numpy(dtype=float)
    known = np.isfinite(deviation) & (deviation > 0)
    if not known.any():
        return pd.Series(np.nan, index=found.index)
    deviation = np.where(known, deviation, np.exp(np.log(deviation[known]).mean()))
    freedom = np.where(known, found["freedom"].to_numpy(dtype=float), np.nanmedian(found["freedom"][known]))
    present = np.where(known, found["seeds"].to_numpy(dtype=float), FIRST)
    paired = found["paired"].to_numpy(dtype=bool)
    needed = np.full(len(found), np.inf)
    for n in range(int(LAST), FIRST - 1, -1):
        enough = difference_told(n, deviation, freedom, present, paired, rows=rows, chance=chance) <= margin
        needed = np.where(enough, n, needed)
    return pd.Series(needed, index=found.index)


def difference_told(
    seeds: float,
    deviation: np.ndarray,
    freedom: np.ndarray,
    present: np.ndarray,
    paired: np.ndarray,
    *,
    rows: int,
    chance: float = CHANCE,
    alpha: float = ALPHA,
) -> np.ndarray:
    """How far from a border a difference must be to be told from it with a chance, with so many seeds of both rows.

    It is half the interval's width, and the ``chance`` quantile of the difference's noise.

    Args:
        deviation: standard deviations of one seed's difference.
        freedom: of these deviations, with the ``present`` seeds.
        paired: whether runs are compared within seeds.
        rows: the size of the family.
        alpha: its error.

    Returns:
        In points; infinite before the first look.
    """
    # What the other rows add to a row's own degrees of freedom stays; its own grow by what each further seed brings.
    grown = np.where(paired, 1.0, 2.0)
    freedom = np.maximum(freedom + grown * (seeds - np.maximum(present, FIRST)), 1.0)
    width = critical(np.asarray(float(seeds)), freedom, rows, alpha=alpha)
    return (width + ndtri(chance)) * deviation / np.sqrt(seeds)


def noise(data: pd.DataFrame, chosen: pd.DataFrame, pictures: Mapping[str, int]) -> Noise:
    """Split the noise of a board's Δm by its causes.

    * Seeds: the root of the mean variance within rows.
    * Epochs: x₂ − (x₁ + x₃) / 2 of a run's last three evaluated epochs has no linear trend, and 1.5 times the variance
      of one epoch.
    * Pictures: the same networks are judged on two splits. How differently rows do on the two, after their means over
      seeds, has the variance s² (1 / n_val + 1 / n_test), of which the test split's part is taken. What seeds do to
      that difference is taken off; what all rows have in common does not count, as it cancels between rows.

    Args:
        data: of ``frame``, of one board, all epochs and splits.
        chosen: what ``select`` made of it.
        pictures: how many samples ``val`` and ``test`` have.
    """
    data = data[(data["status"] == "ok") & ~data["legacy"]]
    chosen = chosen[~chosen["legacy"]]
    if chosen.empty:
        return Noise(None, None, None)
    splits = {split: chosen[chosen["split"] == split] for split in ("val", "test")}
    at_choice = {split: _deltas(own, own) for split, own in splits.items() if not own.empty}
    test = data[(data["split"] == "test") & ~data["reference"]]
    return Noise(
        _within(at_choice["test"]) if "test" in at_choice else None,
        _between_epochs(_deltas(test, splits["test"], "epoch")),
        _by_pictures(at_choice, pictures) if at_choice.keys() >= {"val", "test"} else None,
    )


def _deltas(own: pd.DataFrame, chosen: pd.DataFrame, *further: str) -> pd.Series:
    """Δm by row, seed and ``further``, against the mean of the references' chosen epochs of the same split."""
    base = mean_reference(references(chosen), own["seed"].unique())
    return mean_over_tasks(relative_gains(own, [*CELL, *further], base)).dropna()


def _within(deltas: pd.Series) -> float | None:
    """The root of the mean variance within rows."""
    groups = deltas.groupby(ROW)
    freedom = (groups.size() - 1).sum()
    squares = ((deltas - groups.transform("mean")) ** 2).sum()
    return float(np.sqrt(squares / freedom)) if freedom else None


def _between_epochs(deltas: pd.Series) -> float | None:
    bends = [
        own.iloc[-2] - (own.iloc[-3] + own.iloc[-1]) / 2
        for _, own in deltas.groupby([*ROW, "seed"])
        if len(own) >= NEIGHBOURS
    ]
    return float(np.sqrt(np.square(bends).mean() / 1.5)) if bends else None


def _by_pictures(at_choice: Mapping[str, pd.Series], pictures: Mapping[str, int]) -> float | None:
    apart = (at_choice["test"] - at_choice["val"]).dropna()
    groups = apart.groupby(ROW)
    count, means = groups.size(), groups.mean()
    within = _within(apart)
    if len(means) < FIRST or within is None:
        return None
    between = means.var(ddof=1) - within**2 * (1 / count).mean()
    share = (1 / pictures["test"]) / (1 / pictures["test"] + 1 / pictures["val"])
    return float(np.sqrt(max(between, 0.0) * share))
