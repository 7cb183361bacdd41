"""`mtbench toy`: every weighting's paths through the toy problem."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from benchmark import toyproblem
from benchmark.commands.options import results_option
from benchmark.commands.tables import print_table
from benchmark.data.workers import JOB_PROCESSES, cores, follow_parent
from benchmark.errors import UserError
from benchmark.registry import WEIGHTINGS, load_plugin_files
from benchmark.runs.spec import Component
from benchmark.toyproblem import MethodPaths, ToyRecord
from benchmark.training.hardware import Hardware
from benchmark.training.provenance import git_state, provenance

console = Console(highlight=False)

#: Points of the stored front.
FRONT = 141


@click.command()
@click.option("--weighting", "weightings", multiple=True, help="Only this weighting. May be given again.")
@results_option
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Python file that registers methods. May be given again.",
)
@click.option("--workers", type=click.IntRange(1), help="Methods at once. Default: one per processor.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=toyproblem.USUAL.steps,
    show_default=True,
    help="Steps of a path at most; another number than the record's makes a new record.",
)
def toy(weightings: tuple[str, ...], results: Path, plugins: tuple[Path, ...], workers: int | None, steps: int) -> None:
    """Follow every weighting through the two-task problem in the plane of CAGrad's and Nash-MTL's papers.

    Paths that the record holds already are kept; those of a method whose version or options changed are made again.

    \b
    Example:
      mtbench toy
      mtbench toy --plugin my_method.py --weighting my-method
    """
    load_plugin_files(plugins)
    settings = toyproblem.USUAL.model_copy(update={"steps": steps})
    chosen = {name: toyproblem.chosen(name) for name in weightings or _without_required_options()}
    known = _known(results, settings)
    wanted = [name for name, component in chosen.items() if component not in [m.weighting for m in known.values()]]
    hardware = Hardware("cpu", "fp64", 1, workers or min(cores(), max(1, len(wanted))))
    origin = provenance(hardware, None, datetime.now(UTC), git_state())
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("paths", total=len(wanted))
        for found in _solved(wanted, settings, hardware.workers, plugins):
            known[found.weighting.name] = found.model_copy(update={"provenance": origin})
            toyproblem.save(_record(known, settings), results)
            progress.advance(bar)
    _show(known, chosen)
    console.print(f"The paths are in {escape(str(results / toyproblem.FILE))}", soft_wrap=True)
    if all(path.error for name in chosen for path in known[name].paths):
        raise UserError("every path failed: the table above says why; 'mtbench toy --help' shows what can be changed")


def _without_required_options() -> list[str]:
    return [name for name in WEIGHTINGS if not WEIGHTINGS[name].required]


def _known(results: Path, settings: toyproblem.Settings) -> dict[str, MethodPaths]:
    """By name what the record holds that was made under the same settings."""
    record = toyproblem.load(results)
    return {m.weighting.name: m for m in record.methods} if record and record.settings == settings else {}


def _record(known: dict[str, MethodPaths], settings: toyproblem.Settings) -> ToyRecord:
    front = tuple(toyproblem.rounded(row) for row in toyproblem.front(FRONT).tolist())
    return ToyRecord(settings=settings, front=front, methods=tuple(known[name] for name in sorted(known)))


def _solved(
    names: Sequence[str], settings: toyproblem.Settings, workers: int, plugins: tuple[Path, ...]
) -> Iterator[MethodPaths]:
    """The paths of each, as they are ready."""
    if workers == 1:
        yield from (toyproblem.solve(name, settings=settings) for name in names)
        return
    with ProcessPoolExecutor(workers, JOB_PROCESSES, _set_up, (plugins,)) as pool:
        try:
            jobs = [pool.submit(toyproblem.solve, name, settings=settings) for name in names]
            yield from (job.result() for job in as_completed(jobs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _set_up(plugins: tuple[Path, ...]) -> None:
    """What a worker does before its first method."""
    follow_parent()
    torch.set_num_threads(1)
    load_plugin_files(plugins)


def _show(known: dict[str, MethodPaths], chosen: dict[str, Component]) -> None:
    table = Table("weighting", *(f"from ({x:g}, {y:g})" for x, y in toyproblem.STARTS))
    for name in sorted(chosen):
        cells = [
            "front" if path.reached else escape(path.error or f"{path.gap:.2g} away") for path in known[name].paths
        ]
        table.add_row(escape(name), *cells)
    print_table(console, table)
