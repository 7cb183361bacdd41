"""`mtbench speed`: what steps cost here."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.errors import UsageError, UserError
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, load_plugin_file
from benchmark.spec import Component
from benchmark.tasks import Task
from benchmark.training.hardware import PRECISIONS, Hardware
from benchmark.training.provenance import git_state, provenance
from benchmark.training.speed import (
    SpeedRecord,
    Spread,
    WeightingSpeed,
    conditions,
    measure_weightings,
    save,
)
from benchmark.training.workload import Workload

console = Console(highlight=False)

#: The tasks of the paper's indoor data sets.
TASKS = (Task("semantic", "segmentation", 13), Task("depth", "depth", 1), Task("normals", "normals", 3))
#: What every step is compared with.
BASELINE = "equal"


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
@click.option("--weighting", "names", multiple=True, help="Only this weighting. May be given again.")
@click.option("--architecture", "architectures", multiple=True, help="Network. May be given again. Default: mtan.")
@click.option("--width", type=click.IntRange(1), default=64, show_default=True, help="Of the networks.")
@click.option("--size", type=Size(), default="96x128", show_default=True, help="Of pictures, height first.")
@click.option("--batch", type=click.IntRange(1), default=4, show_default=True, help="Pictures per step.")
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Timed steps of each weighting.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True, help="Of the networks.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
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
    names: tuple[str, ...],
    architectures: tuple[str, ...],
    width: int,
    size: tuple[int, int],
    batch: int,
    steps: int,
    device: str,
    precision: str,
    threads: int,
    file: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Time training steps here, on random pictures with three dense tasks.

    A weighting's steps alternate with those of equal weights on a network of the same kind; the table has the median of
    their ratios and its quartiles. Do nothing else on the machine meanwhile.

    \b
    Example:
      mtbench speed --weightings
      mtbench speed --weightings --architecture split --architecture mtan --device cuda --json results/speed-gpu.json
    """
    for plugin in plugins:
        load_plugin_file(plugin)
    if not (compare_weightings or names):
        raise UsageError("say what to measure: --weightings")
    networks = [_network(name, width) for name in architectures or ("mtan",)]
    chosen = [Component.of(WEIGHTINGS, name) for name in names or [n for n in WEIGHTINGS if not WEIGHTINGS[n].required]]
    hardware = Hardware.choose(device, precision, threads)
    workload = Workload(TASKS, (3, *size), batch, hardware)
    started, git = datetime.now(UTC), git_state()
    rows: list[WeightingSpeed] = []
    for network in networks:
        measured = measure_weightings(network, chosen, Component.of(WEIGHTINGS, BASELINE), workload, pairs=steps)
        with console.status(f"timing {escape(network.name)}"):
            found = list(measured)
        console.print(_table(network.name, found))
        for row in found:
            if row.error:
                console.print(
                    f"[yellow]Not measured:[/] {escape(f'{row.weighting.name}: {row.error}')}", soft_wrap=True
                )
        rows += found
    if all(row.error for row in rows):
        raise UserError("nothing could be measured: the lines above say why for each; choose another --architecture")
    record = SpeedRecord(
        conditions=conditions(workload, steps),
        weightings=tuple(rows),
        provenance=provenance(hardware, None, started, git),
    )
    console.print(
        f"{hardware.name}, {hardware.precision}, {threads} threads; {size[0]} × {size[1]} pixels, batch {batch}, "
        f"width {width}, {steps} pairs of steps; peak memory is the {record.conditions.memory}'s.",
        soft_wrap=True,
    )
    if file:
        save(record, file)
        console.print(f"The record is in {escape(str(file))}", soft_wrap=True)


def _network(name: str, width: int) -> Component:
    entry = ARCHITECTURES[name]
    if not entry.factory.shares:
        raise UsageError(f"'{name}' shares nothing, so there is nothing to weight; choose another --architecture")
    return Component.of(ARCHITECTURES, name, {"width": width} if "width" in entry.defaults else {})


def _table(title: str, rows: list[WeightingSpeed]) -> Table:
    columns = ("× equal", "quartiles", "limit", "met", "ms", "peak MB", "kept MB")
    table = Table(title=escape(title), title_justify="left")
    table.add_column("weighting", overflow="fold")
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right")
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


def _milliseconds(spread: Spread | None) -> str:
    return "–" if spread is None else f"{1000 * spread.median:.4g}"


def _megabytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.4g}"
