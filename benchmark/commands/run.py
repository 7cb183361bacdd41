"""`mtbench run`: the runs of a grid."""

import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from time import monotonic

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.dryrun import show_plan
from benchmark.commands.execution import Execution, execution_options
from benchmark.commands.options import WORDS, deterministic_option, graphs_option
from benchmark.commands.running import KeepOptions, begin, set_up, show_damage, worker_options
from benchmark.commands.selection import Selection, grid_options
from benchmark.commands.sources import source_option
from benchmark.errors import UsageError, UserError
from benchmark.execution.display import Display
from benchmark.execution.scheduler import run_all
from benchmark.execution.states import refuse_other_code, states
from benchmark.runs.spec import RunSpec
from benchmark.speed.estimate import run_flops
from benchmark.wording import counted

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


@click.command()
@grid_options
@execution_options
@source_option
@worker_options
@graphs_option
@deterministic_option
@click.option("--dry-run", is_flag=True, help="Only list the runs and what they will cost.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run, for scripts: one JSON object.")
@click.option(
    "--again",
    is_flag=True,
    help="Also do runs again that diverged, or whose plugin's code has changed since they were done.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first run that does not go well.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but what goes wrong.")
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
    as_json: bool,
    again: bool,
    fail_fast: bool,
    quiet: bool,
    keep_predictions: bool,
    keep_model: bool,
) -> None:
    """Do the runs of a grid that have no record yet, or whose record says that they failed.

    Single-task references of every data set and seed are part of every grid. A run that diverged has ended: it is done
    again with --again alone.

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
    if as_json and not dry_run:
        raise UsageError("--json goes with --dry-run; 'mtbench status --json' tells of runs that were done")
    deadline = None if execution.budget is None else monotonic() + execution.budget
    setup = set_up(
        selection,
        execution,
        sources,
        threads=threads,
        graphs=cuda_graphs,
        deterministic=deterministic,
        kept=KeepOptions(keep_predictions, keep_model),
    )
    if dry_run:
        if not as_json:
            selection.show_undefined()
        show_plan(selection, setup, workers, measured=execution.here, as_json=as_json)
        return
    with ExitStack() as stack:
        if quiet:
            stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        missing = find_missing(selection, again=again)
        if not missing:
            return
        selection.store.check_writable()
        switches = {"graphs": cuda_graphs, "deterministic": deterministic}
        unpictured = selection.unpictured
        setup, executor, expected = begin(
            selection, execution, setup, missing, workers=workers, unpictured=unpictured, **switches
        )
        with Display(console, run_flops(missing), failures=errors if quiet else None) as display:
            left = run_all(
                missing,
                store=selection.store,
                executor=executor,
                observer=display,
                hardware=setup.hardware,
                retries=execution.tries_again,
                data_hashes=expected,
                checkpoints=setup.checkpoints,
                unpictured=unpictured,
                deadline=deadline,
                fail_fast=fail_fast,
            )
        conclude(selection, display, missing, left, fail_fast=fail_fast)


def find_missing(selection: Selection, *, again: bool) -> list[RunSpec]:
    """The runs of a grid that are to be done, after what is to be said before.

    Raises:
        UserError: runs are of other code, and are not to be done again.
    """
    selection.show_undefined()
    show_damage(selection.store)
    known = states(selection.specs, selection.store)
    if not again:
        refuse_other_code(known)
    missing = [run.spec for run in known if run.to_do(again)]
    done = sum(run.state == "done" for run in known)
    diverged = 0 if again else sum(run.state == "diverged" for run in known)
    ended = f", {diverged} diverged (--again tries once more)" if diverged else ""
    summary = f"{counted(len(known), 'run')} in the grid, {done} done already{ended}, {len(missing)} to do."
    console.print(summary, soft_wrap=True)
    return missing


def conclude(selection: Selection, display: Display, missing: Sequence[RunSpec], left: int, *, fail_fast: bool) -> None:
    """Say what came of all runs, and how to go on.

    Raises:
        UserError: some did not go well.
    """
    bad, folder = len(display.bad) + len(display.refusals), escape(str(selection.store.root))
    went_well = f"{len(missing) - left - bad} of {counted(len(missing), 'run')} went well"
    console.print(f"{went_well}; records are in {folder}.", soft_wrap=True)
    words = ["mtbench", *click.get_current_context().meta[WORDS]]
    if left:
        why = "Stopped at the first failure" if fail_fast and bad else "Time is up"
        there = f"{counted(left, 'run')} {'is' if left == 1 else 'are'} left"
        console.print(f"{why}: {there}. To go on: {escape(shlex.join(words))}", soft_wrap=True)
    if bad:
        if any(record.status == "diverged" for record in display.bad) and "--again" not in words:
            words.append("--again")
        raise UserError(
            f"{bad} of {counted(len(missing), 'run')} failed: 'mtbench status' says why; to try them again: "
            f"{shlex.join(words)}"
        )
