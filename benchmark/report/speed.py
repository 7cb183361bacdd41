"""The page of speed: what steps cost, by network and by weighting, and how that grows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from markupsafe import Markup

from benchmark.report.charts.figures import Figure
from benchmark.report.charts.marks import Marks
from benchmark.report.charts.plot import Chart, Frame
from benchmark.report.table import DASH, formatter
from benchmark.speed import ArchitectureSpeed, GrowthCurve, GrowthPoint, SpeedRecord, Spread, WeightingSpeed
from benchmark.speed.record import Axis, Quantity

#: Powers above this are worse than linear; fits to a few noisy points are not better than that.
LINEAR = 1.05

#: By axis: its name, that of its amounts, and what is expected along it.
AXES: dict[Axis, tuple[str, str, str]] = {
    "batch": (
        "Batch",
        "pictures per step",
        "All that is done for a picture is done for each, and the optimiser’s step once: linear or less. Memory holds "
        "the parameters, their gradients and moments once, and the maps of every picture.",
    ),
    "pixels": (
        "Resolution",
        "pixels of a picture",
        "Convolutions, norms and losses do the same at every pixel, so operations and maps are linear. Time may be "
        "worse where maps outgrow the caches that smaller ones fit.",
    ),
    "tasks": (
        "Tasks",
        "tasks",
        "Each task adds its own part and the shared part stays: less than linear the more is shared. Networks that mix "
        "every task’s features into every other’s do that in a number of places that grows with its square.",
    ),
    "width": (
        "Width",
        "channels of the first level",
        "A convolution from w to w channels multiplies w² times at every pixel, and has as many parameters: "
        "operations, parameters and what the optimiser keeps of each are quadratic, maps linear. Time follows neither "
        "alone: narrow networks are bound by memory, wide ones by operations.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class SpeedLine:
    """A row in print: the cells, or why there are none."""

    name: str
    cells: tuple[str, ...]
    error: str | None = None


@dataclass(frozen=True)
class Growth:
    """How steps grow along one axis.

    Attributes:
        powers: by network the exponents of time, memory and operations.
        missing: points that could not be measured.
        worse: networks whose time is worse than linear, in words.
    """

    title: str
    figures: tuple[Figure, ...]
    powers: tuple[SpeedLine, ...]
    expected: str
    worse: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class SpeedTables:
    """One record, in print.

    Attributes:
        networks: lines of ``NETWORK_COLUMNS``.
        mean: geometric mean of their ratios.
        peaks: what the machine gives at most.
        weightings: by network, lines of ``WEIGHTING_COLUMNS``.
    """

    record: SpeedRecord
    networks: tuple[SpeedLine, ...]
    mean: str
    peaks: tuple[str, ...]
    weightings: tuple[tuple[str, tuple[SpeedLine, ...]], ...]
    growth: tuple[Growth, ...]

    @property
    def names(self) -> list[str]:
        """The networks of the curves of growth."""
        return sorted({curve.architecture.name for curve in self.record.growth})


def speed_page(records: Sequence[SpeedRecord], marks: Marks) -> tuple[SpeedTables, ...]:
    """Lay out the records: networks first, growth last."""
    order = sorted(records, key=lambda r: (not r.architectures, not r.weightings, r.provenance.started))
    return tuple(_measured(record, marks) for record in order)


def _measured(record: SpeedRecord, marks: Marks) -> SpeedTables:
    by_network = groupby(record.weightings, key=lambda row: row.architecture)
    mean = record.times_plain
    return SpeedTables(
        record,
        _lines(record.architectures, partial(_network_cells, record)),
        DASH if mean is None else f"{mean:.2f}",
        tuple(
            f"{peak.precision}, {peak.operation} of {peak.shape}: {_tera(peak.rate.median)} TFLOP/s"
            for peak in record.peaks
        ),
        tuple((network.name, _lines(rows, _weighting_cells)) for network, rows in by_network),
        tuple(_growth(axis, curves, marks) for axis, curves in _by_axis(record.growth)),
    )


#: Headings and units.
NETWORK_COLUMNS = (
    ("× plain ↑", ""), ("quartiles", ""), ("step ↓", "ms"), ("plain step", "ms"), ("pictures ↑", "/s"),
    ("operations ↑", "TFLOP/s"), ("of peak ↑", "%"), ("memory ↓", "MB"), ("plain memory", "MB"),
)  # fmt: skip
WEIGHTING_COLUMNS = (
    ("× equal ↓", ""), ("quartiles", ""), ("limit", ""), ("met", ""), ("step ↓", "ms"), ("memory ↓", "MB"),
    ("memory, equal", "MB"), ("kept ↓", "MB"),
)  # fmt: skip
#: What a cell holds: text, or a number that is written like the others of its column.
Content = str | float | None


def _network_cells(record: SpeedRecord, row: ArchitectureSpeed) -> tuple[Content, ...]:
    share = record.share(row)
    return (
        _ratio(row.ratio),
        _quartiles(row.ratio),
        _milliseconds(row.seconds),
        _milliseconds(row.plain_seconds),
        record.conditions.batch / row.seconds.median if row.seconds else None,
        row.rate / 1e12 if row.rate else None,
        f"{100 * share:.0f}" if share else None,
        _megabytes(row.peak_bytes),
        _megabytes(row.plain_peak_bytes),
    )


def _weighting_cells(row: WeightingSpeed) -> tuple[Content, ...]:
    return (
        _ratio(row.ratio),
        _quartiles(row.ratio),
        f"{row.limit:.2f}" if row.limit else None,
        None if row.met is None else "✓" if row.met else "no",
        _milliseconds(row.seconds),
        _megabytes(row.peak_bytes),
        _megabytes(row.equal_peak_bytes),
        _megabytes(row.kept_bytes),
    )


def _lines(
    rows: Iterable[ArchitectureSpeed] | Iterable[WeightingSpeed], cells: Callable[[Any], tuple[Content, ...]]
) -> tuple[SpeedLine, ...]:
    """The rows in print; numbers of a column have the same number of decimals."""
    found: list[ArchitectureSpeed | WeightingSpeed] = list(rows)
    columns = []
    for column in zip(*map(cells, found), strict=True):
        write = formatter([value for value in column if isinstance(value, float)])
        columns.append(
            [DASH if value is None else value if isinstance(value, str) else write(value) for value in column]
        )
    return tuple(
        SpeedLine(_name(row), texts, row.error) for row, texts in zip(found, zip(*columns, strict=True), strict=True)
    )


def _name(row: ArchitectureSpeed | WeightingSpeed) -> str:
    return row.weighting.name if isinstance(row, WeightingSpeed) else row.architecture.name


def _ratio(spread: Spread | None) -> str | None:
    return f"{spread.median:.2f}" if spread else None


def _quartiles(spread: Spread | None) -> str | None:
    return f"{spread.low:.2f}–{spread.high:.2f}" if spread else None


def _milliseconds(spread: Spread | None) -> float | None:
    return 1e3 * spread.median if spread else None


def _megabytes(count: int | None) -> str | None:
    if count is None:
        return None
    return f"{count / 1e6:.0f}" if not count or count >= 1e7 else f"{count / 1e6:.2g}"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.3g}"


def _by_axis(curves: Iterable[GrowthCurve]) -> list[tuple[Axis, list[GrowthCurve]]]:
    found = [(axis, [curve for curve in curves if curve.axis == axis]) for axis in AXES]
    return [(axis, alike) for axis, alike in found if alike]


def _growth(axis: Axis, curves: list[GrowthCurve], marks: Marks) -> Growth:
    title, unit, expected = AXES[axis]
    figures = (
        _figure(f"{title}: time of a step", curves, "seconds", unit, marks),
        _figure(f"{title}: memory", curves, "bytes", unit, marks),
    )
    powers = tuple(
        SpeedLine(c.architecture.name, tuple(_power(c.exponent(of)) for of in ("seconds", "bytes", "flops")))
        for c in curves
    )
    return Growth(title, tuple(f for f in figures if f.svg), powers, expected, _worse(curves), tuple(_missing(curves)))


def _power(exponent: float | None) -> str:
    return DASH if exponent is None else f"{exponent:z.2f}".replace("-", "−")


def _worse(curves: Iterable[GrowthCurve]) -> str:
    """Which networks' time grows worse than linearly, and what their operations do."""
    found = [
        f"{curve.architecture.name} (power {_power(power)}, operations {_power(curve.exponent('flops'))})"
        for curve in curves
        if (power := curve.exponent("seconds")) is not None and power > LINEAR
    ]
    return ", ".join(found)


def _missing(curves: Iterable[GrowthCurve]) -> list[str]:
    return [f"{c.architecture.name}, {p.label}: {p.error}" for c in curves for p in c.points if p.error]


def _figure(title: str, curves: Sequence[GrowthCurve], of: Quantity, unit: str, marks: Marks) -> Figure:
    """A line per network on logarithmic axes; thin, what is linear."""
    scale, label = (1e3, "ms") if of == "seconds" else (1e-6, "MB")
    lines = {c.architecture.name: [(float(x), y * scale) for x, y in c.values(of)] for c in curves}
    points = [point for line in lines.values() for point in line]
    if not points:
        return Figure(title, Markup(""))
    (left, right), (low, high) = (_bounds(values) for values in zip(*points, strict=True))
    marked = {float(p.amount): p.label for c in curves for p in c.points if left < p.amount < right}
    chart = Chart(
        Frame(
            (left, right), (low, high), unit, label, 420, 270, log_x=True, log_y=True, left=52, ticks=(4, 5),
            marked_x=tuple(sorted(marked.items())),
        )
    )  # fmt: skip
    start = min(points, key=lambda point: (point[0], point[1]))
    reach = min(right, start[0] * high / start[1])
    chart.line([start, (reach, start[1] * reach / start[0])], "cx", dashes="2 3", kind="ln thin")
    for curve in curves:
        name = curve.architecture.name
        chart.line(lines[name], marks.colour(name))
        labels = {p.amount: p for p in curve.points}
        for x, y in lines[name]:
            _dot(chart, (x, y), marks.colour(name), f"{name}, {labels[int(x)].label}\n{_told(labels[int(x)], of)}")
    return Figure(title, chart.render(f"{title} by {unit}: {', '.join(lines)}"))


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    return min(values) / 1.2, max(values) * 1.2


def _dot(chart: Chart, at: tuple[float, float], colour: str, words: str) -> None:
    x, y = chart.across(at[0]), chart.up(at[1])
    chart.tip(f'<circle class="{colour} mf" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>', words)


def _told(point: GrowthPoint, of: Quantity) -> str:
    if of == "bytes":
        return f"{(point.peak_bytes or 0) / 1e6:.4g} MB"
    spread = point.seconds
    assert spread is not None  # only known points are drawn
    return f"{1e3 * spread.median:.4g} ms, quartiles {1e3 * spread.low:.4g}–{1e3 * spread.high:.4g}"
