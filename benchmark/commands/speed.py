"""`mtbench speed`: what steps cost here."""

import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.arithmetic import command_for, started_for
from benchmark.commands.options import WORDS, arithmetic_option, device_option, graphs_option, precision_option
from benchmark.commands.selection import compute_options
from benchmark.commands.tables import print_table
from benchmark.data.workers import cores
from benchmark.errors import UsageError, UserError
from benchmark.execution.local import RUN_PROCESSES
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, load_plugin_files
from benchmark.runs.record import TaskInfo
from benchmark.runs.spec import Component, Protocol
from benchmark.speed import (
    Alone,
    ArchitectureSpeed,
    Conditions,
    GrowthCurve,
    SpeedRecord,
    Spread,
    WeightingSpeed,
    measure_architectures,
    measure_growth,
    measure_peaks,
    measure_weightings,
    save,
)
from benchmark.speed.workload import Workload
from benchmark.tasks import Task
from benchmark.training.hardware import Hardware
from benchmark.training.provenance import git_state, numerics, provenance

console = Console(highlight=False)

Mode = Literal["architectures", "weightings", "growth"]
#: The tasks of the paper's indoor data sets.
TASKS = (Task("semantic", "segmentation", 13), Task("depth", "depth", 1), Task("normals", "normals", 3))
#: How losses are weighted where nothing else is said, and what weightings are compared with.
#: Timed steps by what is measured.
STEPS: dict[Mode, int] = {"architectures": 10, "weightings": 20, "growth": 3}
#: Networks by what is measured; every one that is registered where none is named here.
NETWORKS: dict[Mode, tuple[str, ...]] = {"weightings": ("mtan",), "growth": ("split", "cross-stitch", "dense", "mtan")}


class Size(click.ParamType):
    """A picture's size such as ``96x128``, height first."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse; click reports what is wrong."""
        if isinstance(value, tuple):
            return value
        height, _, width = str(value).partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
            self.fail(f"expected HEIGHTxWIDTH such as 96x128, found '{value}'", param, ctx)
        return int(height), int(width)


@click.command()
@click.option("--weightings", "compare_weightings", is_flag=True, help="Every weighting against equal weights.")
@click.option("--growth", is_flag=True, help="Time and memory against batch, resolution, tasks and width.")
@click.option("--weighting", "names", multiple=True, help="Only this weighting. May be given again.")
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    help="Network. May be given again. Default: all; mtan for weightings; split, cross-stitch, dense, mtan for growth.",
)
@click.option("--width", type=click.IntRange(1), default=64, show_default=True, help="Of the networks.")
@click.option("--size", type=Size(), default="96x128", show_default=True, help="Of pictures, height first.")
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Pictures per step.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    help="Timed steps of each. Default: 10 of each network, 20 of each weighting, 3 at each size.",
)
@device_option
@arithmetic_option("native")
@precision_option
@click.option("--threads", type=click.IntRange(1), help="CPU threads. Default: all; 1 for weightings.")
@graphs_option
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the record here.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Python file that registers methods. May be given again.",
)
def speed(
    *,
    compare_weightings: bool,
    growth: bool,
    names: tuple[str, ...],
    architectures: tuple[str, ...],
    width: int,
    size: tuple[int, int],
    batch: int,
    steps: int | None,
    device: str,
    arithmetic: str,
    precision: str,
    threads: int | None,
    cuda_graphs: bool,
    file: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Time training steps here, on random pictures with three dense tasks.

    Without --weightings or --growth, each network's step alternates with a plain one of the same network: float32,
    default memory layout, eager, torch's own Adam. With --weightings, a weighting's steps alternate with those of equal
    weights on a network of the same kind. Tables have the median of the pairs' ratios and its quartiles. Memory is
    measured in a process for each. Do nothing else on the machine meanwhile.

    \b
    Example:
      mtbench speed
      mtbench speed --weightings --architecture split --architecture mtan
      mtbench speed --growth --json results/speed-growth.json
    """
    kind, precision = compute_options(device, arithmetic, precision).settle()
    if not started_for(kind):
        words, variables = command_for(kind, click.get_current_context().meta[WORDS])
        raise SystemExit(subprocess.run(words, env=variables, check=False).returncode)
    load_plugin_files(plugins)
    mode = _mode(compare_weightings or bool(names), growth)
    networks = [_network(name, width, mode) for name in architectures or NETWORKS.get(mode) or tuple(ARCHITECTURES)]
    chosen = [
        Component.from_registry(WEIGHTINGS, name)
        for name in names or [n for n in WEIGHTINGS if not WEIGHTINGS[n].required]
    ]
    threads = threads or (1 if mode == "weightings" or kind == "portable" else cores())
    hardware = Hardware.choose(device, precision, threads, graphs=cuda_graphs)
    hardware.check(Protocol(epochs=1, batch_size=batch, arithmetic=kind))
    load = Workload(TASKS, (3, *size), batch, hardware, arithmetic=kind)
    steps = steps or STEPS[mode]
    started, git = datetime.now(UTC), git_state()
    origin = provenance(hardware, None, started, git, numerics=numerics(hardware, kind))
    record = SpeedRecord(conditions=conditions(load, steps), provenance=origin)
    with Alone(RUN_PROCESSES, plugins) as alone:
        match mode:
            case "weightings":
                record = _weightings(record, networks, chosen, load, alone)
            case "growth":
                record = _growth(record, networks, load, alone)
            case _:
                record = _architectures(record, networks, load, alone)
    console.print(
        f"{hardware.name}, {hardware.precision}, {hardware.threads} threads; {size[0]} × {size[1]} pixels, "
        f"batch {batch}, width {width}; {steps} timed steps of each; peak memory is the {record.conditions.memory}'s.",
        soft_wrap=True,
    )
    if file:
        save(record, file)
        console.print(f"The record is in {escape(str(file))}", soft_wrap=True)


def _mode(weightings: bool, growth: bool) -> Mode:
    if weightings and growth:
        raise UsageError("--weightings and --growth are two measurements: give one of them")
    return "weightings" if weightings else "growth" if growth else "architectures"


def _network(name: str, width: int, mode: Mode) -> Component:
    entry = ARCHITECTURES[name]
    if mode == "weightings" and not entry.factory.shares:
        raise UsageError(f"'{name}' shares nothing, so there is nothing to weight; choose another --architecture")
    return Component.from_registry(ARCHITECTURES, name, {"width": width} if "width" in entry.defaults else {})


def conditions(load: Workload, steps: int) -> Conditions:
    """The conditions of a measurement."""
    channels, height, width = load.image_shape
    return Conditions(
        tasks=tuple(TaskInfo(name=t.name, kind=t.kind, channels=t.channels) for t in load.tasks),
        channels=channels,
        height=height,
        width=width,
        batch=load.batch,
        pairs=steps,
        memory="process" if load.hardware.device == "cpu" else "device",
    )


def _architectures(record: SpeedRecord, networks: list[Component], load: Workload, alone: Alone) -> SpeedRecord:
    with console.status("timing large operations"):
        record = record.model_copy(update={"peaks": measure_peaks(load.hardware)})
    found = measure_architectures(networks, _baseline(), load, pairs=record.conditions.pairs, alone=alone)
    rows = tuple(_watched(found, [f"timing {network.name}" for network in networks]))
    record = record.model_copy(update={"architectures": rows})
    print_table(console, _architecture_table(record))
    _tell_errors([(row.architecture.name, row.error) for row in rows])
    _check([row.error for row in rows])
    for peak in record.peaks:
        console.print(
            f"Peak, {peak.precision}: {peak.rate.median / 1e9:.4g} GFLOP/s by {peak.operation} of {peak.shape}.",
            soft_wrap=True,
        )
    if record.times_plain:
        console.print(f"Geometric mean: {record.times_plain:.2f} times as fast as plain.")
    return record


def _weightings(
    record: SpeedRecord, networks: list[Component], chosen: list[Component], load: Workload, alone: Alone
) -> SpeedRecord:
    rows: list[WeightingSpeed] = []
    for network in networks:
        measured = measure_weightings(network, chosen, _baseline(), load, pairs=record.conditions.pairs, alone=alone)
        found = list(_watched(measured, [f"timing {network.name}, {weighting.name}" for weighting in chosen]))
        print_table(console, _weighting_table(network.name, found))
        _tell_errors([(row.weighting.name, row.error) for row in found])
        rows += found
    _check([row.error for row in rows])
    return record.model_copy(update={"weightings": tuple(rows)})


def _growth(record: SpeedRecord, networks: list[Component], load: Workload, alone: Alone) -> SpeedRecord:
    curves: list[GrowthCurve] = []
    with console.status("timing") as status:
        for curve in measure_growth(
            networks,
            _baseline(),
            load,
            steps=record.conditions.pairs,
            alone=alone,
            begun=lambda what: status.update(f"timing {escape(what)}"),
        ):
            curves.append(curve)
            print_table(console, _growth_table(curve))
            _tell_errors([(f"{curve.architecture.name}, {p.label}", p.error) for p in curve.points])
    _check([point.error for curve in curves for point in curve.points])
    return record.model_copy(update={"growth": tuple(curves)})


def _baseline() -> Component:
    """What weightings are timed against.

    Raises:
        UsageError: no weighting is registered as the baseline.
    """
    if WEIGHTINGS.baseline is None:
        raise UsageError("no weighting is registered with baseline=True: there is nothing to time others against")
    return Component.from_registry(WEIGHTINGS, WEIGHTINGS.baseline)


def _watched(measured: Iterator[Any], words: Sequence[str]) -> Iterator[Any]:
    """Each measurement, with words on the terminal while it is made."""
    for text in words:
        with console.status(escape(text)):
            found = next(measured)
        yield found


def _tell_errors(found: Sequence[tuple[str, str | None]]) -> None:
    """Say what could not be measured."""
    for name, error in found:
        if error:
            console.print(f"[yellow]Not measured:[/] {escape(f'{name}: {error}')}", soft_wrap=True)


def _check(errors: Sequence[str | None]) -> None:
    """Raise where every measurement has an error.

    Raises:
        UserError: as told.
    """
    if all(errors):
        raise UserError("nothing could be measured: the lines above say why for each; choose another --architecture")


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(first, overflow="fold", min_width=12)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right")
    return table


def _architecture_table(record: SpeedRecord) -> Table:
    columns = ("× plain", "Q1–Q3", "ms", "plain", "img/s", "GFLOP/s", "peak", "MB", "plain")
    table = _table("steps against those of the plain network: milliseconds, share of peak, memory", "network", columns)
    for row in record.architectures:
        table.add_row(escape(row.architecture.name), *_architecture_cells(record, row))
    return table


def _architecture_cells(record: SpeedRecord, row: ArchitectureSpeed) -> list[str]:
    if row.ratio is None or row.seconds is None:
        return ["–"]
    share = record.share(row)
    return [
        f"{row.ratio.median:.2f}",
        f"{row.ratio.low:.1f}–{row.ratio.high:.1f}",
        _milliseconds(row.seconds),
        _milliseconds(row.plain_seconds),
        f"{record.conditions.batch / row.seconds.median:.3g}",
        "–" if row.rate is None else f"{row.rate / 1e9:.3g}",
        "–" if share is None else f"{100 * share:.0f} %",
        _megabytes(row.peak_bytes),
        _megabytes(row.plain_peak_bytes),
    ]


def _weighting_table(title: str, rows: list[WeightingSpeed]) -> Table:
    columns = ("× equal", "quartiles", "limit", "met", "ms", "peak MB", "kept MB")
    table = _table(title, "weighting", columns)
    for row in rows:
        if row.ratio is None:
            table.add_row(escape(row.weighting.name), "–")
            continue
        table.add_row(
            escape(row.weighting.name),
            f"{row.ratio.median:.2f}",
            f"{row.ratio.low:.2f}–{row.ratio.high:.2f}",
            "–" if row.limit is None else f"{row.limit:.2f}",
            "–" if row.met is None else "yes" if row.met else "[red]no[/]",
            _milliseconds(row.seconds),
            _megabytes(row.peak_bytes),
            _megabytes(row.kept_bytes),
        )
    return table


def _growth_table(curve: GrowthCurve) -> Table:
    exponents = (curve.exponent("seconds"), curve.exponent("bytes"), curve.exponent("flops"))
    powers = [f"^{power:z.2f}" if power is not None else "" for power in exponents]
    columns = [f"{name} {power}".strip() for name, power in zip(("ms", "peak MB", "GFLOP"), powers, strict=True)]
    table = _table(f"{curve.architecture.name} by {curve.axis}", curve.axis, columns)
    for point in curve.points:
        flops = "–" if point.flops is None else f"{point.flops / 1e9:.4g}"
        table.add_row(point.label, _milliseconds(point.seconds), _megabytes(point.peak_bytes), flops)
    return table


def _milliseconds(spread: Spread | None) -> str:
    return "–" if spread is None else f"{1000 * spread.median:.4g}"


def _megabytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.{1 if 0 < count < 1e7 else 0}f}"
