"""`mtbench claims`: what records say of claims of the literature."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from benchmark.analysis.submitted import proven
from benchmark.claims import Claim, ClaimResult, check, claim_named, claim_names, judge_all
from benchmark.claims.outlook import outlook_words
from benchmark.commands.options import plugin_option, results_option
from benchmark.errors import UsageError
from benchmark.registry import load_plugin_files
from benchmark.runs.store import Store
from benchmark.wording import counted

console = Console(highlight=False)
NAME = click.argument("name", metavar="NAME|FILE.toml")
NAMES = click.argument("names", metavar="[NAME|FILE.toml]...", nargs=-1)


@click.group()
def claims() -> None:
    """Claims of the literature: do their runs, and say what the records say of them.

    \b
    Example:
      mtbench claims list
      mtbench claims run dwa-equal --budget 2h
      mtbench claims report
    """


@claims.command("list")
def list_command() -> None:
    """List the suite's claims.

    \b
    Example:
      mtbench claims list
    """
    for name in claim_names():
        claim = claim_named(name)
        told = f"{claim.title}. {claim.grid}, {' and '.join(claim.datasets)}: {len(claim.needed())} runs"
        console.print(f"[bold]{escape(name)}[/]: {escape(told)}", soft_wrap=True)


@claims.command(
    "run", context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False
)
@NAME
@click.pass_context
def run_command(ctx: click.Context, name: str) -> None:
    """Do the runs that a claim is judged by; options are those of `mtbench run`.

    NAME|FILE.toml is a claim of the suite or a file. --dataset, --architecture and --weighting do a part of its runs.

    \b
    Example:
      mtbench claims run dwa-equal --budget 2h --workers 2
      mtbench claims run dwa-equal --dataset scenes --seeds 0-2
    """
    from benchmark.commands.run import run

    if name in ctx.help_option_names:
        click.echo(ctx.get_help())
        ctx.exit()
    given = run.make_context("run", list(ctx.args), parent=ctx.parent, resilient_parsing=True).params
    load_plugin_files(given.get("plugins") or ())
    claim = claim_named(name)
    check(claim)
    run.main([*words(claim, given), *ctx.args], prog_name="run", standalone_mode=False, parent=ctx.parent)


@claims.command("report")
@NAMES
@results_option
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document in place of sentences.")
def report_command(names: Sequence[str], results: Path, plugins: tuple[Path, ...], as_json: bool) -> None:
    """Say of each claim whether the records support it, contradict it, or leave it undecided.

    NAME|FILE.toml is a claim of the suite or a file; without any, all of the suite's. The same verdicts, with their
    sources, stand on the page Claims of `mtbench report`.

    \b
    Example:
      mtbench claims report
      mtbench claims report dwa-equal --results results --json
    """
    load_plugin_files(plugins)
    asked = [claim_named(name) for name in names or claim_names()]
    wanted = sorted({dataset for claim in asked for dataset in claim.datasets})
    store = Store(results)
    records = proven((record for record in store.scan()[0] if record.spec.dataset.name in wanted), store)
    judged = judge_all(asked, records)
    if as_json:
        json.dump([as_plain(result) for result in judged], sys.stdout, ensure_ascii=False, indent=1)
        click.echo()
        return
    for result in judged:
        show(result)


def words(claim: Claim, given: Mapping[str, Any]) -> list[str]:
    """The options of `mtbench run` that mean a claim's runs, beside those that a user gave to narrow them.

    Raises:
        UsageError: what is given is not a part of the claim's runs.
    """
    if given.get("grid") is not None:
        raise UsageError(
            f"{claim.name} is judged by runs of the grid {claim.grid}: leave --grid out, or give {given['grid']} to "
            "`mtbench run`"
        )
    for option, parameter in (("--set", "changes"), ("--arithmetic", "arithmetic"), ("--precision", "precision")):
        if given.get(parameter) not in (None, (), "auto"):
            raise UsageError(
                f"{claim.name} is judged by its grid's runs as they are, and {option} makes others: leave it out"
            )
    needed = claim.needed()
    found = ["--grid", claim.grid]
    if {spec.protocol.arithmetic for spec in needed} == {"portable"}:
        found += ["--arithmetic", "portable"]  # which a grid may leave open, for the device to say
    for option, of_run, used in (
        ("--dataset", "datasets", claim.datasets),
        ("--architecture", "architectures", [spec.architecture.name for spec in needed]),
        ("--weighting", "weightings", [spec.weighting.name for spec in needed if spec.weighting]),
    ):
        names = list(dict.fromkeys(used))
        chosen = given.get(of_run) or ()
        for word in chosen:
            if not names:
                raise UsageError(f"no run of {claim.name} has a {option.removeprefix('--')}: leave {option} out")
            if word not in names:
                raise UsageError(f"no run of {claim.name} has {option} {word}; expected one of {', '.join(names)}")
        if not chosen:
            found += [word for name in names for word in (option, name)]
    return found


def show(result: ClaimResult) -> None:
    """Print a verdict, and for each data set the quantity that speaks most against the claim."""
    console.print(f"[bold]{result.verdict}[/]: {escape(result.claim.title)} ({result.claim.name})", soft_wrap=True)
    for found in result.datasets:
        told = []
        if weakest := found.weakest:
            i = weakest.interval
            told.append(
                f"{found.verdict}; {weakest.name}: {i.estimate:+.1f} ({i.low:+.1f} to {i.high:+.1f}) points, "
                f"{i.seeds} seeds"
            )
        if found.missing:
            told.append(f"{counted(len(found.missing), 'row')} without runs")
        if found.diverged:
            told.append(f"nothing is said of rows with a seed that diverged: {', '.join(found.diverged)}")
        for line in told:
            console.print(f"  {escape(found.dataset)}: {escape(line)}", soft_wrap=True)
    if ahead := result.outlook:
        console.print(f"  {escape(outlook_words(ahead))}", soft_wrap=True)


def as_plain(result: ClaimResult) -> dict[str, object]:
    """A verdict in JSON's types; numbers that are not finite are null."""
    return {
        "claim": result.claim.name,
        "criterion_hash": result.claim.criterion_hash,
        "verdict": result.verdict,
        "outlook": None if result.outlook is None else asdict(result.outlook),
        "datasets": [
            {
                "dataset": found.dataset,
                "verdict": found.verdict,
                "missing_rows": list(found.missing),
                "diverged_rows": list(found.diverged),
                "quantities": [
                    {
                        "name": finding.name,
                        "verdict": finding.verdict,
                        "seeds": finding.interval.seeds,
                        "seeds_needed": finding.needed,
                        **{
                            end: value if math.isfinite(value := getattr(finding.interval, end)) else None
                            for end in ("estimate", "low", "high")
                        },
                    }
                    for finding in found.findings
                ],
            }
            for found in result.datasets
        ],
    }
