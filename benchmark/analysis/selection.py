"""Which epoch stands for a run. Only validation numbers choose; test numbers are looked up."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from benchmark.analysis.delta import mean_over_tasks, relative_gains
from benchmark.errors import unknown

#: Rules by name, in words.
RULES = {
    "val-delta-m": "the epoch with the best validation Δm; networks that share nothing: each task's own best epoch",
    "last": "the last evaluated epoch",
    "last-10-mean": "the mean of each metric over the evaluated ones among the last ten epochs",
}

#: Epochs over which ``last-10-mean`` averages.
LAST = 10


def select(data: pd.DataFrame, rule: str = "val-delta-m", *, against: str = "seed") -> pd.DataFrame:
    """Reduce the metrics of one board to one epoch per run (for networks that share nothing: per run and task).

    ``val-delta-m``:

    * A run that shares a seed with a reference: the epoch with the best Δm of its validation metrics against the
      reference's validation metrics at the reference's own chosen epochs; the earliest of several.
    * Networks that share nothing (references, and others without weighting) train every task alone, so each task
      chooses for itself: the epoch at which the mean over the task's
      validation metrics of ±value / s is greatest (plus where higher is better), the earliest of several. s is the mean
      absolute value of that metric over the run's evaluated epochs: metrics of different units count by their relative
      changes, as in Δm. With one metric this is the epoch of its best value.
    * A run whose Δm is defined at no epoch (no reference of its seed, a metric that is never finite, a reference value
      of 0), and a task that chooses for itself with a metric that is missing or not finite at every epoch: the last
      epoch.

    ``last``: the last evaluated epoch.

    ``last-10-mean``: the mean of each metric over the evaluated ones among the run's last ten epochs, the habit of the
    literature (Liu et al., CVPR 2019); NaN where any of them is not finite. ``epoch`` is the last of them.

    Legacy metrics choose nothing; they are looked up like the others.

    Args:
        data: as made by ``frame``, of runs that may be compared. Runs whose status is not ``ok`` are left out; a seed
            with two references has none (``references``).
        rule: a name of ``RULES``.
        against: ``seed``, or ``mean``: validation Δm is taken against the mean over the reference's seeds, in place of
            the reference of the run's own seed. Then a run needs no reference of its seed.

    Returns:
        The chosen rows of ``data``, all splits, with a further column ``rule``: the rule that really chose.

    Raises:
        UsageError: the rule, or what Δm is taken against, is unknown.
    """
    if rule not in RULES:
        raise unknown("selection rule", rule, RULES)
    if against not in AGAINST:
        raise unknown("reference", against, AGAINST)
    data = data[data["status"] == "ok"]
    if rule == "last-10-mean":
        return _last_mean(data).assign(rule=rule)
    val = data[(data["split"] == "val") & ~data["legacy"]]
    chosen = _chosen(val, AGAINST[against]) if rule == "val-delta-m" else {}
    last = data.groupby("run")["epoch"].max().to_dict()
    keys, number = _run_tasks(data)
    epochs = np.array([chosen.get(key, last[key[0]]) for key in keys], dtype=int)[number]
    rules = pd.array([rule if key in chosen else "last" for key in keys], dtype="str")
    kept = data["epoch"].to_numpy() == epochs
    return data[kept].assign(rule=rules.take(number[kept])).reset_index(drop=True)


def _run_tasks(data: pd.DataFrame) -> tuple[list[tuple[str, str]], np.ndarray]:
    """The pairs of run and task, and each row's place among them."""
    number = data.groupby(["run", "task"], sort=False).ngroup().to_numpy(dtype=int)
    pairs = data[["run", "task"]].drop_duplicates()  # in the order of the numbers: by first appearance
    return list(zip(pairs["run"], pairs["task"], strict=True)), number


def _last_mean(data: pd.DataFrame) -> pd.DataFrame:
    """Each run's metrics averaged over the last epochs, in the row of the last."""
    last = data.groupby("run")["epoch"].transform("max")
    recent = data[data["epoch"] > last - LAST]
    place = ["run", "split", "task", "metric"]
    found = recent.groupby(place)["value"].agg(["mean", "count"])
    evaluated = recent.groupby("run")["epoch"].nunique()
    rows = data[data["epoch"] == last].reset_index(drop=True)
    found = found.reindex(pd.MultiIndex.from_frame(rows[place]))
    whole = found["count"].to_numpy() == evaluated.reindex(rows["run"]).to_numpy()
    return rows.assign(value=np.where(whole, found["mean"].to_numpy(dtype=float), np.nan))


def references(data: pd.DataFrame) -> pd.DataFrame:
    """The reference rows of seeds that have exactly one reference run: with two, choosing one would be a guess."""
    rows = data[data["reference"] & (data["status"] == "ok")]
    runs = rows.groupby("seed")["run"].transform("nunique")
    return rows[runs == 1]


def mean_reference(reference: pd.DataFrame, seeds: Iterable[int]) -> pd.DataFrame:
    """The mean over the reference's seeds, given to every seed: steadier than the reference of the same seed.

    Args:
        reference: the reference's rows, one value per seed, task and metric; a metric that is not finite for one seed
            has no mean.
        seeds: of the runs that are to be compared.

    Returns:
        ``seed``, ``task``, ``metric``, ``value``, ``higher_is_better``.
    """
    if reference.empty:
        return reference[["seed", "task", "metric", "value", "higher_is_better"]]
    means = reference.groupby(["task", "metric", "higher_is_better"])["value"].agg(lambda own: own.mean(skipna=False))
    return means.reset_index().merge(pd.DataFrame({"seed": sorted(set(seeds))}), how="cross")


def _of_seed(reference: pd.DataFrame, seeds: Iterable[int]) -> pd.DataFrame:
    return reference


#: Which numbers a run's Δm is taken against, by name.
AGAINST: dict[str, Callable[[pd.DataFrame, Iterable[int]], pd.DataFrame]] = {"seed": _of_seed, "mean": mean_reference}


def _chosen(
    val: pd.DataFrame, against: Callable[[pd.DataFrame, Iterable[int]], pd.DataFrame]
) -> dict[tuple[str, str], int]:
    """By run and task the chosen epoch; without an entry where the rule is undefined."""
    alone = val["reference"] | (val["weighting"] == "none")
    chosen = _own_best(val[alone])
    keys, number = _run_tasks(val)
    at_choice = np.array([chosen.get(key, -1) for key in keys], dtype=int)[number] == val["epoch"].to_numpy()
    others = val[~alone]
    if not others.empty:
        base = against(references(val[at_choice]), others["seed"].unique())
        gains = relative_gains(others, ["run", "seed", "epoch"], base)
        best = _first_best(mean_over_tasks(gains).droplevel("seed"))
        tasks = others[["run", "task"]].drop_duplicates().itertuples(index=False, name=None)
        chosen |= {(run, task): best[run] for run, task in tasks if run in best}
    return chosen


def _own_best(val: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Each run's and task's own best epoch, see ``select``."""
    chosen: dict[tuple[str, str], int] = {}
    for task, rows in val.groupby("task", sort=True):
        wide = rows.pivot(index=["run", "epoch"], columns="metric", values="value").sort_index()
        higher = rows.drop_duplicates("metric").set_index("metric")["higher_is_better"].reindex(wide.columns)
        with np.errstate(over="ignore"):
            scale = wide.abs().groupby(level="run").transform("mean")
            score = (wide * np.where(higher, 1.0, -1.0) / scale.where(scale > 0, 1.0)).mean(axis=1, skipna=False)
        chosen |= {(run, str(task)): epoch for run, epoch in _first_best(score).items()}
    return chosen


def _first_best(score: pd.Series) -> dict[str, int]:
    """By run the first epoch with the greatest score; ``score`` is indexed and ordered by run and epoch."""
    finite = score[np.isfinite(score)]
    return dict(iter(finite.groupby(level="run").idxmax())) if len(finite) else {}
