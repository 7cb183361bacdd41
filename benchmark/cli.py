"""The command line `mtbench`: its commands by name, and how errors are told."""

import signal
from typing import Any

import click

from benchmark.commands.lazy import LazyGroup
from benchmark.commands.options import WORDS
from benchmark.errors import UsageError, UserError

#: Each command's place, and the first sentence of its help.
COMMANDS = {
    "atlas": (
        "benchmark.commands.atlas:atlas_command",
        "Compare all weightings on random gradients: which are one rule, and what each one depends on.",
    ),
    "calibrate": (
        "benchmark.commands.calibrate:calibrate",
        "Time a training step of each row of the boards, for the column of costs in the report.",
    ),
    "claims": (
        "benchmark.commands.claims:claims",
        "Claims of the literature: do their runs, and say what the records say of them.",
    ),
    "data": ("benchmark.commands.data:data", "List, prepare and check data sets."),
    "diff": (
        "benchmark.commands.diff:diff",
        "Compare the results folders A and B: runs of one alone, and runs with different numbers, with where first.",
    ),
    "export": (
        "benchmark.commands.export:export",
        "Write records as one table: a line for each run, task and metric, with its values on val and test.",
    ),
    "figures": (
        "benchmark.commands.figures:figures",
        "Draw a board for print: differences from baselines, Δm against cost, curves, architectures × weightings.",
    ),
    "grid": ("benchmark.commands.grid:grid", "Check grid files, show those of the suite."),
    "list": (
        "benchmark.commands.listing:list_",
        "List what can be named in a grid, with its options and their defaults (a bare name: none, it must be given).",
    ),
    "model": (
        "benchmark.commands.model:model",
        "Show a network's stages: shapes, parameters shared and per task, operations, memory; NAME may have options.",
    ),
    "plan": (
        "benchmark.commands.plan:plan",
        "Say from a grid's records what its boards can tell, and how many seeds and hours a margin would take.",
    ),
    "race": (
        "benchmark.commands.race:race",
        "Add runs of a grid's cells, one seed at a time, until every verdict is decided or the budget is spent.",
    ),
    "report": ("benchmark.commands.report:report", "Build the leaderboard pages from the records."),
    "rm": (
        "benchmark.commands.rm:rm",
        "Remove the records of runs, with their pictures, predictions, networks, tracebacks and checkpoints.",
    ),
    "run": (
        "benchmark.commands.run:run",
        "Do the runs of a grid that have no record yet, or whose record says that they failed.",
    ),
    "show": (
        "benchmark.commands.show:show",
        "Print all that is known of one run; RUN is its id or the beginning of it.",
    ),
    "speed": (
        "benchmark.commands.speed:speed",
        "Time training steps here, on random pictures with three dense tasks.",
    ),
    "status": (
        "benchmark.commands.status:status",
        "Say which runs of a grid are done, failed, running or missing, and the command that does each.",
    ),
    "store": (
        "benchmark.commands.store:store_group",
        "Pack finished records, merge folders of records, check checksums.",
    ),
    "submit": (
        "benchmark.commands.submit:submit",
        "Send runs to somebody else's board, or take them from somebody else.",
    ),
    "toy": (
        "benchmark.commands.toy:toy",
        "Follow every weighting through the two-task problem in the plane of CAGrad's and Nash-MTL's papers.",
    ),
    "verify": (
        "benchmark.commands.verify:verify",
        "Do the runs of records again and compare all of their numbers; RUN is a run's id or its beginning.",
    ),
}


class Commands(LazyGroup):
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
            click.echo(f"{click.style('Error:', fg='red', bold=True)} {error}", err=True)
            ctx.exit(2 if isinstance(error, UsageError) else 1)
        except KeyboardInterrupt as interrupt:
            click.echo("Interrupted. What is finished is kept; the same command goes on from there.", err=True)
            ctx.exit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT))


@click.group(cls=Commands, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mtbench")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """Benchmark multi-task learning in vision: run grids of methods, build leaderboard pages.

    \b
    Example:
      mtbench run --grid quick
      mtbench report
    """
