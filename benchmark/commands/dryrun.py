"""What ``mtbench run --dry-run`` tells: the runs of a grid, and what those that are to be done will cost here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import process_time

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.arithmetic import Arithmetic
from benchmark.commands.running import choose_concurrency, is_portable
from benchmark.commands.selection import Selection
from benchmark.commands.tables import print_table
from benchmark.execution.apart import call_in
from benchmark.execution.executor import Setup
from benchmark.execution.states import RunState, states
from benchmark.speed.estimate import CostEstimate, estimates, makespan
from benchmark.training.checks import check_runs
from benchmark.wording import counted, duration

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

#: Seconds that steps are timed for; what is not timed by then is extrapolated from its operations.
TIMING_SECONDS = 12.0
#: Seconds from which a plan says what of it fits.
LONG = 86400.0


@dataclass(frozen=True)
class Plan:
    """The runs of a grid and their costs.

    Attributes:
        found: the state of every run.
        costs: by run id; None where a step of the run raises an error.
        workers: runs at once.
        seconds: until the last of those that are to be done ends.
    """

    found: Sequence[RunState]
    costs: Mapping[str, CostEstimate | None]
    workers: int
    seconds: float

    @property
    def to_do(self) -> list[RunState]:
        """What the command would do, or ask for ``--again`` to do."""
        return [known for known in self.found if known.to_do(again=known.state == "outdated")]

    def as_json(self) -> dict[str, object]:
        """For scripts."""
        return {
            "to_do": len(self.to_do),
            "workers": self.workers,
            "seconds": self.seconds,
            "runs": [{**known.as_json(), **_cost(self.costs[known.spec.id])} for known in self.found],
        }


def _cost(cost: CostEstimate | None) -> dict[str, object]:
    names = ("flops", "seconds", "timed")
    return {name: getattr(cost, name) if cost else None for name in names}


def show_plan(selection: Selection, setup: Setup, workers: int | None, *, measured: bool, as_json: bool) -> None:
    """Print the runs of a grid, and what those that are not done will cost here.

    Args:
        workers: runs at once; None to choose them.
        measured: whether they may be chosen by measuring.
        as_json: print one JSON object in place of a table.
    """
    beginning = process_time()  # of this process so far: a worker has the same to import
    check_runs(selection.specs)
    found = states(selection.specs, selection.store)
    errors.print(f"Timing a few steps on {escape(setup.hardware.name)} …", soft_wrap=True)
    arithmetic: Arithmetic = "portable" if is_portable(selection.specs) else "native"
    costs = call_in(arithmetic, setup.plugins, estimates, selection.specs, setup.hardware, TIMING_SECONDS)
    plan = Plan(found, costs, 1, 0.0)
    to_do = [known.spec for known in plan.to_do]
    together, slowdown = (workers, 1.0) if workers else choose_concurrency(to_do, setup, measured=measured)
    seconds = [slowdown * cost.seconds if (cost := costs[spec.id]) else 0.0 for spec in to_do]
    plan = Plan(found, costs, together, makespan(seconds, together, beginning))
    if as_json:
        click.echo(json.dumps(plan.as_json(), indent=1))
        return
    print_table(console, _table(plan))
    how = f"{arithmetic}, {selection.specs[0].protocol.precision}"
    console.print(
        f"{counted(len(found), 'run')}, {len(to_do)} to do: about {duration(plan.seconds)} on "
        f"{escape(setup.hardware.name)} ({how}, {together} at once). An estimate, from a few timed steps on random "
        "pictures.",
        soft_wrap=True,
    )
    for line in _remarks(plan):
        console.print(line, soft_wrap=True)


def _table(plan: Plan) -> Table:
    table = Table("data set", "architecture", "weighting", "seed", "record", "PFLOP", "time alone")
    for known in plan.found:
        spec, cost = known.spec, plan.costs[known.spec.id]
        status = "other code" if known.state == "outdated" else known.status or known.state
        cells = (spec.dataset.name, spec.architecture.name, spec.weighting_words, str(spec.seed), status)
        costs = (f"{cost.flops / 1e15:.3g}", duration(cost.seconds)) if cost else ("unknown", "unknown")
        table.add_row(*(escape(cell) for cell in (*cells, *costs)))
    return table


def _remarks(plan: Plan) -> list[str]:
    """What is to be said of a plan besides its sum."""
    lines = []
    known = [cost for cost in plan.costs.values() if cost]
    if untimed := sum(not cost.timed for cost in known):
        lines.append(
            f"{untimed} of {counted(len(known), 'run')}: not timed, to answer soon, but from their floating-point "
            "operations at the pace of the others."
        )
    if others := sum(one.state == "outdated" for one in plan.found):
        lines.append(f"{counted(others, 'run')} of other code: done again with --again only.")
    if diverged := sum(one.state == "diverged" for one in plan.found):
        lines.append(f"{counted(diverged, 'run')} diverged: not among those to do without --again.")
    if plan.seconds > LONG:
        lines.append(_fitting(plan))
    return lines


def _fitting(plan: Plan) -> str:
    """What of a long plan fits on this machine."""
    priced = sorted(
        ((cost.seconds, known.spec.label) for known in plan.to_do if (cost := plan.costs[known.spec.id])),
    )
    fits, spent = 0, 0.0
    for seconds, _ in priced:
        spent += seconds / plan.workers
        fits += spent <= LONG
    cheapest = f"; the shortest, {escape(priced[0][1])}, takes {duration(priced[0][0])}" if priced else ""
    return (
        f"In one day {counted(fits, 'run')} of these fit on this machine{cheapest}. What fits: --smoke (every cell on "
        "few small pictures), --grid quick (all patterns, small), fewer cells by --architecture, --weighting and "
        "--seeds; --budget TIME stops in time, and the same command goes on."
    )
