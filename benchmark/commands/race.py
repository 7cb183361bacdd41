"""`mtbench race`: seeds where a verdict is open."""

import shlex
from time import monotonic

import click
from rich.console import Console
from rich.markup import escape

from benchmark.analysis.contest import setting_words
from benchmark.commands.execution import Execution, execution_options
from benchmark.commands.judging import judging_options, parse_baselines, verdict_table
from benchmark.commands.options import WORDS, deterministic_option, graphs_option
from benchmark.commands.running import KeepOptions, begin, set_up, show_damage, worker_options
from benchmark.commands.selection import Selection, grid_options
from benchmark.commands.sources import source_option
from benchmark.commands.tables import print_table
from benchmark.errors import UserError
from benchmark.execution.display import Display
from benchmark.execution.race import Race
from benchmark.execution.scheduler import run_all
from benchmark.execution.states import refuse_other_code, states
from benchmark.runs.expansion import unpictured
from benchmark.runs.spec import RunSpec
from benchmark.wording import counted

console = Console(highlight=False)

#: Runs in a cluster's queue at once where ``--workers`` does not say it: more would be chosen long before they begin.
QUEUED = 16


class RaceDisplay(Display):
    """Shows runs as they are chosen, and how many verdicts are open in place of the time left."""

    def __init__(self, console: Console, race: Race) -> None:
        super().__init__(console, {})
        self.race = race

    def started(self, spec: RunSpec) -> None:
        """See ``Observer``."""
        self.work[spec.id] = 1.0
        self._total.update(self._total_bar, total=len(self.work))
        super().started(spec)

    def time_left(self) -> str:
        """How many verdicts are open, in words."""
        return f"{counted(self.race.open_verdicts(), 'verdict')} open"


@click.command()
@grid_options
@execution_options
@judging_options
@click.option(
    "--max-seeds", type=click.IntRange(3), default=30, show_default=True, help="Of a row; then it stays undecided."
)
@source_option
@worker_options
@graphs_option
@deterministic_option
@click.option("--dry-run", is_flag=True, help="Only tell the verdicts so far, and which run would be next.")
def race(
    selection: Selection,
    *,
    execution: Execution,
    margin: float,
    baselines: tuple[str, ...],
    max_seeds: int,
    sources: tuple[str, ...],
    workers: int | None,
    threads: int,
    cuda_graphs: bool,
    deterministic: bool,
    dry_run: bool,
) -> None:
    """Add runs of a grid's cells, one seed at a time, until every verdict is decided or the budget is spent.

    Each next run is the one that brings open verdicts nearest to a decision, for its time; references and baselines get
    seeds like others. What is chosen depends on the records alone, so that the command may be stopped and given again,
    and run several times on one folder. Which seeds the grid names does not matter.

    \b
    Example:
      mtbench race --grid study-architectures --margin 2 --budget 3h
      mtbench race --grid study-weightings --baseline equal --dry-run
      mtbench race --grid my-grid.toml --executor slurm --slurm slurm_partition=gpu --workers 8
    """
    deadline = None if execution.budget is None else monotonic() + execution.budget
    switches = {"graphs": cuda_graphs, "deterministic": deterministic}
    setup = set_up(selection, execution, sources, threads=threads, kept=KeepOptions(), **switches)
    store, held = selection.store, parse_baselines(baselines)
    max_concurrent = workers or QUEUED if execution.executor == "slurm" else None
    racing = Race(selection.specs, store, held, margin=margin, most=max_seeds, max_concurrent=max_concurrent)
    selection.show_undefined()
    refuse_other_code(states(racing.runs, store))
    first = racing.next()
    if not dry_run and first is not None:
        store.check_writable()
        show_damage(store)
        hidden = unpictured(selection.loaded, racing.runs)
        setup, executor, expected = begin(
            selection, execution, setup, racing.runs, workers=workers, unpictured=hidden, **switches
        )
        with RaceDisplay(console, racing) as display:
            run_all(
                [],
                store=store,
                executor=executor,
                observer=display,
                hardware=setup.hardware,
                retries=execution.tries_again,
                data_hashes=expected,
                checkpoints=setup.checkpoints,
                unpictured=hidden,
                deadline=deadline,
                # A run that cannot begin has a reason that the next one would have as well.
                supply=lambda here: None if display.refusals else racing.next(here),
            )
        first = racing.next()
        if display.refusals:
            raise UserError(f"the race stopped, for a run could not begin: {display.refusals[0]}")
        if display.bad:
            console.print(f"{counted(len(display.bad), 'run')} did not go well: 'mtbench status' says why.")
    names = setting_words(racing.settings, selection.settings)
    for contest, setting in zip(racing.load_contests(), names, strict=True):
        print_table(console, verdict_table(contest, held, margin, setting))
    if first is None:
        left = racing.open_verdicts()
        console.print(
            f"{counted(left, 'verdict')} open still: {max_seeds} seeds decide no more." if left else "All is decided."
        )
        return
    where = names[racing.place_of(first)]
    told = f"{first.label} at {where}" if where else first.label
    console.print(f"The next run is {escape(told)}.", soft_wrap=True)
    if not dry_run:
        again = shlex.join(["mtbench", *click.get_current_context().meta[WORDS]])
        console.print(f"Time is up. To go on: {escape(again)}", soft_wrap=True)
