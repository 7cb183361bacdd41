"""Published tables as frozen records, from the CSV and TOML files of this package."""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from benchmark.analysis.delta import delta_flat, delta_m
from benchmark.analysis.ranks import mean_ranks
from benchmark.errors import unknown
from benchmark.runs.spec import Frozen

COLUMNS = ["architecture", "weighting", "seed", "reference", "task", "metric", "value", "higher_is_better"]
#: Columns of the paper's own totals, which judge no single task.
TOTALS = ("mean_acc", "decathlon_score")


class Citation(Frozen):
    """A source.

    Attributes:
        text: one line.
        url: where it is found.
        bibtex: an entry.
    """

    text: str
    url: str
    bibtex: str


class ReportedProtocol(Frozen):
    """How the numbers of a table were made, as far as the source says.

    Attributes:
        definition: of the metrics: ``pooled`` or ``legacy`` as in this suite, ``mixed`` where rows differ.
        definition_words: the same in words.
    """

    backbone: str
    augmentation: str
    selection: str
    definition: Literal["pooled", "legacy", "mixed"]
    definition_words: str
    training: str


class ReportedMetric(Frozen):
    """One column of a table; the metrics of one ``task`` are one term of Δm."""

    task: str
    metric: str
    title: str
    unit: str
    higher_is_better: bool


class Reported(Frozen):
    """One row of a published table: numbers that somebody else printed.

    Attributes:
        architecture, weighting: as printed; ``none`` where there is nothing to weight.
        same_architecture, same_weighting: the suite's names of the same methods; None where it has none.
        reference: whether Δm is taken against this row.
        status: ``out-of-memory`` rows are printed without numbers.
        values: by task and metric, in the table's units.
        totals: the source's own totals, such as the decathlon score.
        parameters_factor: parameters in units of one single-task network; None where not printed.
        approximate: whether that is printed as an approximation.
        reported_by: who printed the numbers first.
    """

    kind: Literal["reported"] = "reported"
    architecture: str
    weighting: str
    same_architecture: str | None = None
    same_weighting: str | None = None
    reference: bool = False
    status: Literal["ok", "out-of-memory"] = "ok"
    values: dict[str, dict[str, float]]
    totals: dict[str, float] = Field(default_factory=dict)
    parameters_factor: float | None = None
    approximate: bool = False
    reported_by: str


class ReportedTable(Frozen):
    """A published table and what is known of it.

    Attributes:
        key: for file names.
        place: where in the source.
        runs: what stands behind each number.
        transcription: how the numbers came here.
        reference_note: what the reference row is, where that needs a word.
        champion: the architecture that the source proposes; None where it proposes none.
    """

    kind: Literal["reported"] = "reported"
    key: str
    place: str
    title: str
    dataset: str
    source: str
    citation: Citation
    protocol: ReportedProtocol
    runs: str
    transcription: str
    reference_note: str | None = None
    champion: str | None = None
    metrics: tuple[ReportedMetric, ...] = Field(min_length=1)
    records: tuple[Reported, ...] = Field(min_length=1)

    @property
    def no_delta(self) -> str | None:
        """Why the table has no Δm; None where it has."""
        if any(record.reference for record in self.records):
            return None
        return "the source prints no single-task row under this protocol, and Δm against another's would be a guess"

    def frame(self) -> pd.DataFrame:
        """The numbers, tidy, in the form that ``analysis`` takes: one row per record and metric, all of seed 0."""
        rows = [
            (
                record.architecture, record.weighting, 0, record.reference, metric.task, metric.metric,
                record.values[metric.task][metric.metric], metric.higher_is_better,
            )
            for record in self.records
            for metric in self.metrics
            if metric.metric in record.values.get(metric.task, {})
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=COLUMNS)

    def delta_m(self) -> pd.DataFrame:
        """``analysis.delta_m`` of every row, and ``delta_flat``; NaN throughout where ``no_delta`` says why.

        Returns:
            ``architecture``, ``weighting``, ``seed``, ``delta_m``, ``delta_flat``.
        """
        return self._deltas.copy()

    @cached_property
    def _deltas(self) -> pd.DataFrame:
        """Computed once: every claim and every page asks for it."""
        data = self.frame()
        single = data[data["reference"]]
        return delta_m(data, single).merge(delta_flat(data, single), on=["architecture", "weighting", "seed"])

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """``analysis.mean_ranks`` over the table's metrics. Computed once: every claim and every page asks for it."""
        return mean_ranks(self.frame())

    def costs(self) -> pd.DataFrame:
        """``architecture``, ``weighting``, ``parameters_factor`` (NaN where not printed)."""
        rows = [(r.architecture, r.weighting, r.parameters_factor) for r in self.records]
        table = pd.DataFrame(rows, columns=["architecture", "weighting", "parameters_factor"])
        return table.astype({"parameters_factor": float})


@cache
def tables() -> tuple[ReportedTable, ...]:
    """Every published table that the suite knows."""
    folder = files("benchmark.analysis.published")
    about = tomllib.loads((folder / "tables.toml").read_text(encoding="utf-8"))
    cells = {
        name: list(csv.DictReader((folder / name).read_text(encoding="utf-8").splitlines()))
        for name in sorted({entry["file"] for entry in about["table"]})
    }
    return tuple(_table(entry, about, cells[entry["file"]]) for entry in about["table"])


def table(key: str) -> ReportedTable:
    """One table by its key.

    Raises:
        UsageError: there is no such table.
    """
    found = {known.key: known for known in tables()}
    if key not in found:
        raise unknown("published table", key, found)
    return found[key]


def _table(entry: Mapping[str, Any], about: Mapping[str, Any], cells: list[dict[str, str]]) -> ReportedTable:
    own = [cell for cell in cells if _matches(cell, entry["where"])]
    metrics = {cell["metric"]: _metric(cell, about["metrics"]) for cell in own if cell["metric"] not in TOTALS}
    rows: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for cell in own:
        rows.setdefault((cell["architecture"], cell["weighting"]), []).append(cell)
    keys = ("key", "place", "title", "dataset", "protocol", "runs", "transcription", "reference_note", "champion")
    return ReportedTable(
        **{key: entry[key] for key in keys if key in entry},
        source=own[0]["source"],
        citation=about["citations"][entry["citation"]],
        metrics=tuple(metrics.values()),
        records=tuple(_record(row, metrics, entry, about["same"]) for row in rows.values()),
    )


def _matches(cell: Mapping[str, str], where: Mapping[str, str]) -> bool:
    """Whether a cell has the values of ``where``; ``!value`` means any other."""
    return all(
        cell[name] != value[1:] if value.startswith("!") else cell[name] == value for name, value in where.items()
    )


def _metric(cell: Mapping[str, str], known: Mapping[str, Any]) -> ReportedMetric:
    higher = cell["higher_is_better"] == "true"
    if cell["metric"].startswith("acc:"):
        task = cell["metric"].removeprefix("acc:")
        return ReportedMetric(task=task, metric="accuracy", title="accuracy", unit="%", higher_is_better=higher)
    return ReportedMetric(**known[cell["metric"]], higher_is_better=higher)


def _record(
    cells: list[dict[str, str]],
    metrics: Mapping[str, ReportedMetric],
    entry: Mapping[str, Any],
    same: Mapping[str, Mapping[str, str]],
) -> Reported:
    first = cells[0]
    values: dict[str, dict[str, float]] = {}
    for metric, value in _numbers(cells, metrics):
        values.setdefault(metric.task, {})[metric.metric] = value
    weighting = first.get("weighting", "")
    factor = first.get("params_factor", "")
    return Reported(
        architecture=first["architecture"],
        weighting=weighting if weighting not in ("", "n.a.") else "none",
        same_architecture=same["architecture"].get(first["architecture"]),
        same_weighting=same["weighting"].get(weighting),
        reference=first["architecture"] == entry.get("reference"),
        status="ok" if values else "out-of-memory",
        values=values,
        totals={cell["metric"]: float(cell["value"]) for cell in cells if cell["metric"] in TOTALS},
        parameters_factor=float(factor.removeprefix("~")) if factor else None,
        approximate=factor.startswith("~"),
        reported_by=first.get("reported_by") or entry["citation"],
    )


def _numbers(
    cells: list[dict[str, str]], metrics: Mapping[str, ReportedMetric]
) -> Iterator[tuple[ReportedMetric, float]]:
    for cell in cells:
        if cell["value"] and cell["metric"] in metrics:
            yield metrics[cell["metric"]], float(cell["value"])
