"""The page of one row: its numbers over seeds, those of each seed, how to make each again, and where it comes from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from benchmark import analysis
from benchmark.analysis import Estimate
from benchmark.analysis.kinds import kinds_of
from benchmark.report.charts.plot import drawable
from benchmark.report.charts.rowcurves import Panel, gradients, losses, metrics, weights
from benchmark.report.columns import COSTS, DELTA, RELATIVE, Column, score_columns, task_columns
from benchmark.report.origins import Origins, origins
from benchmark.report.reproduce import grid_file
from benchmark.report.rows import Row, number
from benchmark.report.table import DASH, formatter, scaled, written
from benchmark.runs.record import EpochRecord, RunRecord
from benchmark.runs.trust import Standing

#: Where a metric of a run is read, in the order of a page: the chosen epoch's two splits, and the last epoch.
READINGS = ("test", "validation", "test, last epoch")

#: By seed, the numbers of a column in one reading.
Values = Mapping[int, float]


@dataclass(frozen=True)
class MetricLine:
    """A metric over seeds, in the order of ``READINGS``."""

    column: Column
    texts: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class SeedLine:
    """One run.

    Attributes:
        cells: the text of each column; empty for a run that did not finish.
        epoch: the chosen one, or those of the tasks in their order.
        reached: the last epoch that was recorded.
    """

    record: RunRecord
    cells: tuple[str, ...]
    epoch: str
    reached: int


@dataclass(frozen=True)
class SeedTable:
    """The runs of a row in one of ``READINGS``.

    Attributes:
        groups: headings over the columns, and over how many each stands.
    """

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, int], ...]
    lines: tuple[SeedLine, ...]


@dataclass(frozen=True)
class RowPage:
    """All that a row's page shows."""

    row: Row
    delta: str
    scores: tuple[tuple[Column, str], ...]
    costs: tuple[tuple[Column, str], ...]
    lines: tuple[MetricLine, ...]
    seeds: tuple[SeedTable, ...]
    metrics: tuple[Panel, ...]
    losses: tuple[Panel, ...]
    weights: tuple[Panel, ...]
    gradients: tuple[Panel, ...]
    grid: str
    origins: Origins


def row_page(row: Row, colour: str, foreign: Mapping[str, Standing]) -> RowPage:
    """Lay out one row; ``foreign`` says by run id who vouches for what came in submissions."""
    tasks = row.records[0].tasks
    columns = task_columns(tasks, kinds_of(row.records[0]))
    values = {column.key: _readings(row, column) for column in columns}
    return RowPage(
        row,
        written(row.gain, signed=True, unit="%"),
        tuple((c, written(row.estimate(c.key))) for c in score_columns(row.records[0].spec.dataset.name)),
        tuple((c, _cost(row, c)) for c in (COSTS[0], RELATIVE, *COSTS[1:]) if not c.measured),
        tuple(_lines(row, columns, values)),
        tuple(_seeds(row, columns, values)),
        metrics(row, tasks, colour),
        losses(row, tasks, colour),
        weights(row, tasks, colour),
        gradients(row, tasks, colour),
        grid_file(row.records[0].spec, [record.spec.seed for record in row.records]),
        origins(row.records, foreign),
    )


def _cost(row: Row, column: Column) -> str:
    """A cost that was counted, or calibrated, in words: it varies with no seed."""
    found = scaled(row.estimate(column.key), column.scale)
    return written(replace(found, half=None), unit=column.unit)


def _readings(row: Row, column: Column) -> tuple[Values, ...]:
    """A column's numbers by seed, in the order of ``READINGS``."""
    task, name = column.key
    chosen, last = {}, {}
    for record in row.finished:
        seed, epochs = record.spec.seed, {epoch.epoch: epoch for epoch in record.curves if epoch.metrics}
        if epochs:
            chosen[seed] = _metric(epochs.get(row.epochs.get(seed, {}).get(task, -1)), "val", task, name)
            last[seed] = _metric(epochs[max(epochs)], "test", task, name)
    return row.samples.get(column.key, {}), chosen, last


def _metric(epoch: EpochRecord | None, split: str, task: str, name: str) -> float:
    return number(epoch.metrics.get(split, {}).get(task, {}).get(name)) if epoch else float("nan")


def _lines(row: Row, columns: Sequence[Column], values: Mapping[object, Sequence[Values]]) -> Iterator[MetricLine]:
    others = _estimates({(c.id, i): values[c.key][i] for c in columns for i in range(1, len(READINGS))})
    for column in columns:
        found = [row.estimate(column.key), *(others[column.id, i] for i in range(1, len(READINGS)))]
        n = found[0].n
        note = f"{n} of {len(row.finished)} seeds" if 0 < n < len(row.finished) else ""
        if any(each.n for each in found):
            yield MetricLine(column, tuple(written(each) for each in found), note)


def _estimates(values: Mapping[tuple[str, int], Values]) -> dict[tuple[str, int], Estimate]:
    """Means and intervals over seeds."""
    found = analysis.estimates_of(by_seed.values() for by_seed in values.values())
    return dict(zip(values, found, strict=True))


def _seeds(row: Row, columns: Sequence[Column], values: Mapping[object, Sequence[Values]]) -> Iterator[SeedTable]:
    """The runs in each reading. Δm and a data set's scores are of the chosen epochs' test metrics alone."""
    gains = () if row.reference else (DELTA,)
    whole = [c for c in (*gains, *score_columns(row.records[0].spec.dataset.name)) if row.samples.get(c.key)]
    for i in range(len(READINGS)):
        known = {c: values[c.key][i] for c in columns if values[c.key][i]}
        shown = {c: row.samples[c.key] for c in whole} | known if i == 0 else known
        writers = [_writer(found, column.signed) for column, found in shown.items()]
        lines = []
        for record in row.records:
            seed = record.spec.seed
            cells = tuple(write(seed) for write in writers) if record.status == "ok" else ()
            reached = max((epoch.epoch for epoch in record.curves), default=0)
            lines.append(SeedLine(record, cells, _epochs(row.epochs.get(seed, {})), reached))
        yield SeedTable(tuple(shown), tuple(grouped(shown)), tuple(lines))


def grouped(columns: Iterable[Column]) -> list[tuple[str, int]]:
    """Headings over columns, and over how many each stands."""
    return [(group, len(list(found))) for group, found in groupby(columns, lambda column: column.group)]


def _writer(values: Values, signed: bool) -> Callable[[int], str]:
    write = formatter([value for value in values.values() if drawable(value)], signed)
    return lambda seed: write(values[seed]) if drawable(values.get(seed)) else DASH


def _epochs(chosen: Mapping[str, int]) -> str:
    """The chosen epoch; several where tasks chose apart."""
    different = dict.fromkeys(chosen.values())
    return " / ".join(map(str, chosen.values() if len(different) > 1 else different)) or DASH
