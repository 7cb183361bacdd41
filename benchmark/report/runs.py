"""The page of one run: its numbers, curves, weights, gradients, cost, spec and provenance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmark.record import EpochRecord, RunRecord
from benchmark.report import series as curves_of
from benchmark.report.columns import COSTS, Column, primary, task_columns
from benchmark.report.plot import DASHES, Chart, Frame, drawable, limits, thin
from benchmark.report.reproduce import command, grid_file
from benchmark.report.rows import Numbers, Row, number
from benchmark.report.series import Getter
from benchmark.report.table import DASH, formatter

#: Points of a curve: a run's page stays small however long the run was.
MOST_POINTS = 60
#: Links to runs of other seeds.
MOST_SIBLINGS = 24

Point = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """A chart with a heading; ``keys`` name its lines, in the order of ``DASHES``."""

    title: str
    svg: Markup
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A metric of the run in print: on test and validation at the chosen epoch, and on test at the last one."""

    column: Column
    test: str
    val: str
    last: str
    epoch: str


@dataclass(frozen=True)
class RunPage:
    """All that a run's page shows."""

    row: Row
    record: RunRecord
    delta: str
    lines: tuple[Line, ...]
    costs: tuple[tuple[Column, str], ...]
    metrics: tuple[Panel, ...]
    losses: tuple[Panel, ...]
    weights: tuple[Panel, ...]
    gradients: tuple[Panel, ...]
    siblings: tuple[RunRecord, ...]
    grid: str
    command: str


def run_page(numbers: Numbers, row: Row, record: RunRecord, colour: str) -> RunPage:
    """Lay out one run."""
    chosen = row.epochs.get(record.spec.seed, {}) if record.status == "ok" else {}
    tasks = record.tasks
    delta = row.samples.get("delta_m", {}).get(record.spec.seed)
    write = formatter([delta] if drawable(delta) and delta is not None else [], signed=True)
    return RunPage(
        row,
        record,
        f"{write(delta)} %" if delta is not None and drawable(delta) else DASH,
        tuple(_lines(numbers, record, chosen)),
        tuple((c, _cost(record, c)) for c in COSTS),
        tuple(_metrics(record, chosen, colour)),
        tuple(
            p
            for t in tasks
            if (
                p := _panel(
                    t.name, record, [(s, curves_of.loss(s, t.name)) for s in ("train", "val")], colour, first=True
                )
            )
        ),
        tuple(_weights(record, colour)),
        tuple(_gradients(record, colour)),
        _near(row, record),
        grid_file(record.spec),
        command(record.provenance),
    )


def _near(row: Row, record: RunRecord) -> tuple[RunRecord, ...]:
    place = next(i for i, other in enumerate(row.records) if other.id == record.id)
    start = max(0, min(place - MOST_SIBLINGS // 2, len(row.records) - MOST_SIBLINGS))
    return row.records[start : start + MOST_SIBLINGS]


def _lines(numbers: Numbers, record: RunRecord, chosen: Mapping[str, int]) -> list[Line]:
    epochs = {epoch.epoch: epoch for epoch in record.curves if epoch.metrics}
    if not epochs:
        return []
    last = epochs[max(epochs)]
    found = []
    for column in task_columns(numbers.board.tasks):
        task, name = column.key
        at = epochs.get(chosen.get(task, -1))
        values = [_metric(at, "test", task, name), _metric(at, "val", task, name), _metric(last, "test", task, name)]
        write = formatter([v for v in values if drawable(v)])
        test, val, end = (write(v) if drawable(v) else DASH for v in values)
        found.append(Line(column, test, val, end, str(chosen.get(task, DASH))))
    return found


def _metric(epoch: EpochRecord | None, split: str, task: str, name: str) -> float:
    return number(epoch.metrics.get(split, {}).get(task, {}).get(name)) if epoch else float("nan")


def _cost(record: RunRecord, column: Column) -> str:
    value = number(getattr(record.cost, column.key)) * column.scale
    return f"{formatter([value])(value)} {column.unit}" if drawable(value) else DASH


def _metrics(record: RunRecord, chosen: Mapping[str, int], colour: str) -> list[Panel]:
    found = []
    for task in record.tasks:
        metric = primary(task)
        if metric is None:
            continue
        getters = [(split, curves_of.metric(split, task.name, metric.name)) for split in ("test", "val")]
        unit = f" ({metric.unit})" if metric.unit else ""
        title = f"{task.name}: {metric.title}{unit} {'↑' if metric.higher_is_better else '↓'}"
        panel = _panel(title, record, getters, colour, mark=chosen.get(task.name))
        if panel:
            found.append(panel)
    return found


def _weights(record: RunRecord, colour: str) -> list[Panel]:
    getters = [(task.name, curves_of.weight(task.name)) for task in record.tasks]
    panel = _panel("weights of the losses", record, getters, colour)
    return [panel] if panel else []


def _gradients(record: RunRecord, colour: str) -> list[Panel]:
    if not any(epoch.gradients for epoch in record.curves):
        return []
    pairs = {pair: None for epoch in record.curves if epoch.gradients for pair in epoch.gradients.cosines}
    cosines = [(pair.replace("|", " · "), curves_of.cosine(pair)) for pair in pairs]
    norms = [(task.name, curves_of.norm(task.name)) for task in record.tasks]
    panels = [
        _panel("conflicting pairs (%)", record, [("", curves_of.conflicts)], colour, window=(0.0, 100.0)),
        _panel("cosines", record, cosines, colour, level=0.0),
        _panel("norms", record, norms, colour, floor=0.0),
    ]
    return [panel for panel in panels if panel]


def _panel(
    title: str,
    record: RunRecord,
    getters: Sequence[tuple[str, Getter]],
    colour: str,
    *,
    mark: int | None = None,
    level: float | None = None,
    window: Point | None = None,
    floor: float | None = None,
    first: bool = False,
) -> Panel | None:
    lines = [(name, _points(record, get)) for name, get in getters]
    lines = [(name, points) for name, points in lines if points]
    if not lines:
        return None
    everything = [y for _, points in lines for _, y in points] + ([level] if level is not None else [])
    everything += [floor] if floor is not None else []
    ends = [x for _, points in lines for x, _ in points]
    across = (min(min(ends), max(ends) - 1), max(ends))
    chart = Chart(
        Frame(across, window or limits(everything) or (0.0, 1.0), "epoch", width=300, height=170, whole_x=True)
    )
    if mark is not None:
        chart.upright(mark)
    if level is not None:
        chart.level(level)
    for i, (_, points) in enumerate(lines):
        chart.line(points, colour, dashes=DASHES[i % len(DASHES)])
    keys = tuple(name for name, _ in lines if name)
    prefix = "loss of " if first else ""
    return Panel(title, chart.render(f"{prefix}{title} by epoch: {', '.join(keys)}"), keys)


def _points(record: RunRecord, get: Callable[[EpochRecord], float | None]) -> Sequence[Point]:
    found = [(float(e.epoch), value) for e in record.curves if (value := get(e)) is not None and drawable(value)]
    return thin(found, MOST_POINTS)
