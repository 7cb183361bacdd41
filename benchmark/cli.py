"""The command line `mtbench`: commands, their options, and how their results are told."""

import json
import shlex
import signal
from collections import Counter
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import benchmark.report as report_pages
from benchmark.arithmetic import Arithmetic
from benchmark.commands.calibrate import calibrate
from benchmark.commands.data import data
from benchmark.commands.datacard import card
from benchmark.commands.decathlon import decathlon
from benchmark.commands.execution import Execution, execution_options
from benchmark.commands.figures import figures
from benchmark.commands.listing import cards
from benchmark.commands.options import WORDS, deterministic_option, graphs_option, plugin_option, results_option
from benchmark.commands.plan import plan
from benchmark.commands.race import race
from benchmark.commands.running import Kept, at_once, begin, is_portable, set_up, show_damage, worker_options
from benchmark.commands.selection import Selection, grid_options
from benchmark.commands.sources import source_option
from benchmark.commands.speed import speed
from benchmark.commands.store import store_group
from benchmark.commands.submit import submit
from benchmark.commands.toy import toy
from benchmark.commands.verify import verify
from benchmark.errors import UsageError, UserError
from benchmark.execution.apart import call_in
from benchmark.execution.display import Display, duration
from benchmark.execution.executor import Setup
from benchmark.execution.grid import run_all
from benchmark.execution.states import RunState, states
from benchmark.grid import grid_names, load_grid
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS, Registry, load_plugin_file
from benchmark.store import Store
from benchmark.training.estimate import estimates, makespan, work

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class Commands(click.Group):
    """Ends every error that a user can cause in one line: exit 2 for wrong usage, 1 for failure."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the words, for commands that say how to repeat them."""
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; tracebacks only under --debug."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            if ctx.params.get("debug"):
                raise
            errors.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
            ctx.exit(2 if isinstance(error, UsageError) else 1)
        except KeyboardInterrupt as interrupt:
            errors.print("Interrupted. What is finished is kept; the same command goes on from there.")
            ctx.exit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mtbench")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """Benchmark multi-task learning in vision: run grids of methods, build leaderboard pages.

    \b
    Example:
      mtbench run --grid quick
      mtbench report
    """


main.add_command(data)
data.add_command(card)
main.add_command(submit)
main.add_command(store_group)
submit.add_command(decathlon)


@main.command()
@grid_options
@execution_options
@source_option
@worker_options
@graphs_option
@deterministic_option
@click.option("--dry-run", is_flag=True, help="Only list the runs and what they will cost.")
@click.option(
    "--keep-predictions",
    is_flag=True,
    help="Keep each run's predictions for the whole test split beside its record, as submissions need them.",
)
@click.option("--keep-model", is_flag=True, help="Keep each run's network beside its record, in safetensors.")
def run(
    selection: Selection,
    *,
    execution: Execution,
    sources: tuple[str, ...],
    workers: int | None,
    threads: int,
    cuda_graphs: bool,
    deterministic: bool,
    dry_run: bool,
    keep_predictions: bool,
    keep_model: bool,
) -> None:
    """Do the runs of a grid that have no record yet, or whose record says that they failed.

    Single-task references of every data set and seed are part of every grid.

    \b
    Example:
      mtbench run --grid quick
      mtbench run --grid paper --architecture mtan --seeds 0-4 --device cuda
      mtbench run --grid my-grid.toml --dry-run
      mtbench run --grid my-grid.toml --budget 2h
      mtbench run --grid paper --executor ray --gpus 0.5
      mtbench run --grid paper --executor slurm --slurm slurm_partition=gpu --slurm gpus_per_node=1
      mtbench run --grid nyuv2 --source nyuv2=~/nyuv2 --smoke --results smoke
    """
    deadline = None if execution.budget is None else monotonic() + execution.budget
    setup = set_up(
        selection,
        execution,
        sources,
        threads=threads,
        graphs=cuda_graphs,
        deterministic=deterministic,
        kept=Kept(keep_predictions, keep_model),
    )
    specs, store = selection.specs, selection.store
    selection.show_undefined()
    if dry_run:
        show_plan(selection, setup, workers, measured=execution.here)
        return
    store.check_writable()
    show_damage(store)
    known = states(specs, store)
    missing = [run.spec for run in known if run.state != "done"]
    console.print(f"{len(specs)} runs in the grid, {len(specs) - len(missing)} done already, {len(missing)} to do.")
    if not missing:
        return
    setup, executor, expected = begin(
        selection,
        execution,
        setup,
        missing,
        workers=workers,
        graphs=cuda_graphs,
        deterministic=deterministic,
        unpictured=selection.unpictured,
    )
    with Display(console, work(missing)) as display:
        left = run_all(
            missing,
            store=store,
            executor=executor,
            observer=display,
            hardware=setup.hardware,
            retries=execution.tries_again,
            data_hashes=expected,
            checkpoints=setup.checkpoints,
            unpictured=selection.unpictured,
            deadline=deadline,
        )
    bad = len(display.bad) + len(display.refusals)
    console.print(
        f"{len(missing) - left - bad} of {len(missing)} runs went well; records are in {escape(str(store.root))}.",
        soft_wrap=True,
    )
    again = shlex.join(["mtbench", *click.get_current_context().meta[WORDS]])
    if left:
        console.print(f"Time is up: {left} runs are left. To go on: {escape(again)}", soft_wrap=True)
    if bad:
        raise UserError(f"{bad} of {len(missing)} runs failed: 'mtbench status' says why; to try them again: {again}")


def show_plan(selection: Selection, setup: Setup, workers: int | None, *, measured: bool) -> None:
    """The runs of a grid, and what those that are not done will cost here."""
    table = Table("data set", "architecture", "weighting", "seed", "record", "PFLOP", "time alone")
    missing: dict[str, float] = {}
    beginning = process_time()  # of this process so far: a worker has the same to import
    errors.print(f"Timing a few steps of each kind of cell on {escape(setup.hardware.name)} …", soft_wrap=True)
    arithmetic: Arithmetic = "portable" if is_portable(selection.specs) else "native"
    found = call_in(arithmetic, setup.plugins, estimates, selection.specs, setup.hardware)
    for spec in selection.specs:
        cost = found[spec.id]
        record = selection.store.peek(spec)
        status = record.status if record else "missing"
        if status != "ok":
            missing[spec.id] = cost.seconds if cost else 0.0
        cells = (spec.dataset.name, spec.architecture.name, spec.weighting_words, str(spec.seed), status)
        costs = (f"{cost.flops / 1e15:.3g}", duration(cost.seconds)) if cost else ("unknown", "unknown")
        table.add_row(*(escape(cell) for cell in (*cells, *costs)))
    console.print(table)
    to_do = [spec for spec in selection.specs if spec.id in missing]
    workers, slowdown = (workers, 1.0) if workers else at_once(to_do, setup, measured=measured)
    how = f"{arithmetic}, {selection.specs[0].protocol.precision}"
    whole = duration(makespan([slowdown * seconds for seconds in missing.values()], workers, beginning))
    console.print(
        f"{len(selection.specs)} runs, {len(missing)} to do: about {whole} on {setup.hardware.name} "
        f"({how}, {workers} at once). An estimate, from a few timed steps on random pictures."
    )


@main.command()
@grid_options
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object with the state of every run.")
def status(selection: Selection, *, as_json: bool) -> None:
    """Say which runs of a grid are done, failed, running or missing, and the command that does each.

    \b
    Example:
      mtbench status --grid quick
      mtbench status --grid quick --json
    """
    show_damage(selection.store)
    found = states(selection.specs, selection.store)
    counts = Counter(known.state for known in found)
    if as_json:
        totals = {state: counts[state] for state in ("done", "failed", "running", "missing")}
        click.echo(json.dumps({**totals, "runs": [known.as_json() for known in found]}, indent=1))
        return
    cells: dict[tuple[str, str, str], list[RunState]] = {}
    for known in found:
        spec = known.spec
        cells.setdefault((spec.dataset.name, spec.architecture.model_dump_json(), spec.weighting_words), []).append(
            known
        )
    selection.show_undefined()
    for runs in cells.values():
        show_cell(selection, runs)
    running = f", {counts['running']} running" if counts["running"] else ""
    console.print(f"{counts['done']} done, {counts['failed']} failed{running}, {counts['missing']} missing.")


def show_cell(selection: Selection, runs: list[RunState]) -> None:
    """Print the state of one cell's runs."""
    first = runs[0].spec
    name = f"{first.dataset.name} {first.architecture.name} {first.weighting_words}"
    counts = Counter(known.state for known in runs)
    console.print(f"{escape(name)}: " + ", ".join(f"{n} {state}" for state, n in counts.items()), soft_wrap=True)
    for known in runs:
        if known.owner:
            console.print(f"  [yellow]seed {known.spec.seed}: {escape(known.owner)}[/]", soft_wrap=True)
        if known.reason:
            console.print(f"  [red]seed {known.spec.seed}: {escape(known.reason)}[/]", soft_wrap=True)
    if todo := [known.spec for known in runs if known.state in ("failed", "missing")]:
        console.print(f"  [dim]{escape(selection.command(todo))}[/]", soft_wrap=True)


@main.command()
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reports"),
    show_default=True,
    help="Folder of pages.",
)
def report(results: Path, out: Path) -> None:
    """Build the leaderboard pages from the records.

    \b
    Example:
      mtbench report
      mtbench report --results results --out reports
    """
    page = report_pages.build(Store(results), out)
    console.print(f"The leaderboard is at {escape(str(page.resolve()))}", soft_wrap=True)


@main.command("list")
@click.argument("kind", type=click.Choice(["architectures", "weightings", "datasets", "grids"]), required=False)
@click.option("--verbose", "-v", is_flag=True, help="Weightings with paper, formula, needs, cost, origins, deviations.")
@plugin_option
def list_(kind: str | None, verbose: bool, plugins: tuple[Path, ...]) -> None:
    """List what can be named in a grid, with its options and their defaults (a bare name: none, it must be given).

    \b
    Example:
      mtbench list
      mtbench list architectures
      mtbench list weightings --verbose
    """
    if verbose and kind != "weightings":
        raise UsageError("only weightings have more to tell: mtbench list weightings --verbose")
    for plugin in plugins:
        load_plugin_file(plugin)
    if verbose:
        console.print(*cards())
        return
    registries: dict[str, Registry[Any]] = {
        "architectures": ARCHITECTURES,
        "weightings": WEIGHTINGS,
        "datasets": DATASETS,
    }
    for title, registry in registries.items():
        if kind in (None, title):
            table = Table("name", "options", "what it is", title=title, title_justify="left", expand=True)
            for name in registry:
                entry = registry[name]
                required = entry.required
                options = ", ".join(k if k in required else f"{k}={v}" for k, v in entry.defaults.items())
                table.add_row(escape(name), escape(options), escape(entry.summary))
            console.print(table)
    if kind in (None, "grids"):
        table = Table("name", "what it is", title="grids", title_justify="left", expand=True)
        for name in grid_names():
            table.add_row(name, escape(load_grid(name).description))
        console.print(table)


main.add_command(calibrate)
main.add_command(figures)
main.add_command(plan)
main.add_command(race)
main.add_command(speed)
main.add_command(toy)
main.add_command(verify)
