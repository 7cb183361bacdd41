"""The numbers of one board in two tidy frames: per run, and per row with intervals."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.analysis.compare import ROW
from benchmark.analysis.definitions import named, of_definition
from benchmark.analysis.delta import CELL, both_deltas
from benchmark.analysis.frames import COSTS, Labels, costs, frame
from benchmark.analysis.intervals import estimates
from benchmark.analysis.selection import AGAINST, references, select
from benchmark.runs.record import RunRecord

#: What singles out a number of a row; ``task`` is empty for Δm and costs.
QUANTITY = ["task", "metric"]
#: Records whose epochs are in memory at once.
CHUNK = 400
#: Columns of words, which are looked at one by one: that is slow in pandas' own type of text.
WORDS = ("run", "architecture", "weighting", "status", "split", "task", "metric")
VALUE_COLUMNS = [*CELL, "reference", *QUANTITY, "value", "higher_is_better", "rule"]


@dataclass(frozen=True)
class Summary:
    """A board's test numbers under one selection rule and one definition of metrics.

    Attributes:
        rule: how epochs were chosen; where it was undefined for a run, ``values["rule"]`` says what stood in.
        definition: of the metrics, Δm included.
        values: one row per run and quantity: ``architecture``, ``weighting``, ``seed``, ``reference``, ``task`` (empty
            for Δm and costs), ``metric``, ``value``, ``higher_is_better``, ``rule`` (empty for costs).
        rows: one row per architecture, weighting and quantity: these, ``reference``, ``higher_is_better``, the columns
            of ``estimates``.
    """

    rule: str
    definition: str
    values: pd.DataFrame
    rows: pd.DataFrame

    def wide(self, column: str = "mean") -> pd.DataFrame:
        """One row per architecture and weighting, one column per quantity (``metric``, or ``task metric``).

        Fit for ``non_dominated``, ``hypervolume`` and plots.
        """
        names = (self.rows["task"] + " " + self.rows["metric"]).str.strip()
        return self.rows.assign(_name=names).pivot(index=ROW, columns="_name", values=column).rename_axis(columns=None)

    @property
    def maximise(self) -> dict[str, bool]:
        """By column of ``wide`` whether greater is better."""
        names = (self.rows["task"] + " " + self.rows["metric"]).str.strip()
        return dict(zip(names, self.rows["higher_is_better"].astype(bool), strict=True))


def summarise(
    records: Iterable[RunRecord],
    labels: Labels | None = None,
    *,
    rule: str = "val-delta-m",
    definition: str = "pooled",
    split: str = "test",
    against: str = "mean",
) -> Summary:
    """Select epochs, take Δm, average over seeds.

    Args:
        records: of one board; those that are not ``ok`` count for nothing.
        labels: names of the rows, ``Board.labels``.
        rule: a name of ``RULES``.
        definition: a name of ``DEFINITIONS``.
        split: whose metrics are shown; they choose nothing.
        against: what Δm is taken against, a name of ``AGAINST``: the mean over the reference's seeds, or the reference
            of the run's own ``seed``.

    Raises:
        UsageError: the rule, the definition or what Δm is taken against is unknown.
    """
    finished = [record for record in records if record.status == "ok"]
    shown = of_definition(_chosen(finished, labels, rule, split, against), definition)
    single = AGAINST[against](references(shown), shown["seed"].unique())
    parts = [shown[VALUE_COLUMNS], deltas(shown, single, definition), cost_values(finished, labels)]
    values = pd.concat([part for part in parts if not part.empty] or parts[:1], ignore_index=True)
    return Summary(rule, definition, values, tabulate(values))


def selections(
    records: Sequence[RunRecord], labels: Labels | None, rules: Iterable[str], *, against: str = "mean"
) -> Iterator[tuple[dict[str, pd.DataFrame], set[str]]]:
    """What ``select`` keeps, some records at a time: all epochs of a large board would fill the memory.

    Only references have a say in which epoch of another run is chosen, so that they are there each time.

    Args:
        records: of one board, all finished.
        labels: names of the rows.
        rules: names of ``RULES``.
        against: a name of ``AGAINST``.

    Yields:
        By rule the chosen epochs of the references and of about ``CHUNK`` other runs; and the ids of those runs that
        were not there before.
    """
    single = [record for record in records if record.reference]
    others = [record for record in records if not record.reference]
    for start in range(0, max(len(others), 1), CHUNK):
        part = others[start : start + CHUNK]
        metrics = frame([*single, *part], labels).astype(dict.fromkeys(WORDS, object))
        chosen = {rule: select(metrics, rule, against=against) for rule in set(rules)}
        yield chosen, {record.id for record in (part if start else [*single, *part])}


def _chosen(records: Sequence[RunRecord], labels: Labels | None, rule: str, split: str, against: str) -> pd.DataFrame:
    parts = []
    for chosen, new in selections(records, labels, [rule], against=against):
        found = chosen[rule]
        parts.append(found[(found["split"] == split) & found["run"].isin(new)])
    return pd.concat(parts, ignore_index=True)


def tabulate(values: pd.DataFrame) -> pd.DataFrame:
    """``Summary.rows`` from ``Summary.values``, for a frame that was filtered or added to."""
    traits = values.groupby([*ROW, *QUANTITY])[["reference", "higher_is_better"]].first().reset_index()
    return traits.merge(estimates(values, [*ROW, *QUANTITY]), on=[*ROW, *QUANTITY], how="left")


def deltas(shown: pd.DataFrame, single: pd.DataFrame, definition: str) -> pd.DataFrame:
    """Δm and its flat form of every run, as further quantities: ``VALUE_COLUMNS``.

    Args:
        shown: metrics of one split at the chosen epochs.
        single: what they are taken against, of ``AGAINST``.
        definition: of the metrics.
    """
    runs = shown.groupby(CELL)[["reference", "rule"]].first().reset_index()
    found = []
    both = both_deltas(shown, single, definition=definition)
    for delta, name, higher in zip(both, ("delta_m", "delta_flat"), (True, False), strict=True):
        metric = named(name, definition)
        values = delta.rename(columns={metric: "value"}).merge(runs, on=CELL)
        found.append(values.assign(task="", metric=metric, higher_is_better=higher))
    return pd.concat(found, ignore_index=True)[VALUE_COLUMNS]


def cost_values(records: Iterable[RunRecord], labels: Labels | None) -> pd.DataFrame:
    """Costs of every run, as further quantities: ``VALUE_COLUMNS``; NaN where a run does not know one."""
    table = costs(records, labels).melt([*CELL, "reference"], list(COSTS), "metric", "value")
    return table.assign(task="", higher_is_better=False, rule="")[VALUE_COLUMNS]
