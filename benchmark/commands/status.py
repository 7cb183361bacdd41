"""`mtbench status`: what became of the runs of a grid."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.metrics import chosen_by_run
from benchmark.commands.running import show_damage
from benchmark.commands.selection import Selection, grid_options
from benchmark.errors import UserError
from benchmark.execution.states import STATES, RunState, states
from benchmark.runs.index import Index
from benchmark.training.checks import check_runs
from benchmark.wording import counted

console = Console(highlight=False)


@click.command()
@grid_options
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="For scripts: one JSON object with every run's state, options, versions, file and metrics.",
)
def status(selection: Selection, *, as_json: bool) -> None:
    """Say which runs of a grid are done, failed, running or missing, and the command that does each.

    It exits with 1 where runs failed or diverged.

    \b
    Example:
      mtbench status --grid quick
      mtbench status --grid quick --json
    """
    show_damage(selection.store)
    found = states(selection.specs, selection.store)
    check_runs([known.spec for known in found if known.state == "missing"])  # it names the command that does each
    counts = Counter(known.state for known in found)
    if as_json:
        click.echo(json.dumps(described(selection, found), indent=1))
    else:
        show(selection, found)
    if bad := counts["failed"] + counts["diverged"]:
        raise UserError(
            f"{counted(bad, 'run')} failed or diverged: 'mtbench show RUN' prints all that is known of one, 'mtbench "
            "run' tries failed ones again, with --again also those that diverged"
        )


def described(selection: Selection, found: Sequence[RunState]) -> dict[str, object]:
    """What is known, in plain containers."""
    store, counts = selection.store, Counter(known.state for known in found)
    metrics = chosen_by_run(Index(store), {known.spec.id for known in found if known.status == "ok"})
    runs = []
    for known in found:
        place = store.location(known.spec)
        more = {"path": str(place) if place else None, "metrics": metrics.get(known.spec.id, [])}
        runs.append({**known.as_json(), **more})
    return {**{state: counts[state] for state in STATES}, "runs": runs}


def show(selection: Selection, found: Sequence[RunState]) -> None:
    """Print the state of every cell, and the sum of all."""
    counts = Counter(known.state for known in found)
    cells: dict[tuple[str, str, str], list[RunState]] = {}
    for known in found:
        spec = known.spec
        cells.setdefault((spec.dataset.name, spec.architecture.model_dump_json(), spec.weighting_words), []).append(
            known
        )
    selection.show_undefined()
    for runs in cells.values():
        show_cell(selection, runs)
    words = {"outdated": "done by other code"}
    seldom = {state: counts[state] for state in ("outdated", "diverged", "running") if counts[state]}
    parts = {"done": counts["done"], **seldom, "failed": counts["failed"], "missing": counts["missing"]}
    interrupted = sum(known.checkpoint is not None and known.state != "running" for known in found)
    console.print(
        ", ".join(f"{count} {words.get(state, state)}" for state, count in parts.items())
        + (f"; {interrupted} to go on from a checkpoint" if interrupted else "")
        + "."
    )


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
        if known.checkpoint and not known.owner:
            console.print(f"  seed {known.spec.seed}: {_checkpoint(known)}", soft_wrap=True)
    for states_, words in ((("failed", "missing"), ""), (("diverged",), " --again")):
        if todo := [known.spec for known in runs if known.state in states_]:
            console.print(f"  [dim]{escape(selection.command(todo))}{words}[/]", soft_wrap=True)


def _checkpoint(known: RunState) -> str:
    """When a run's checkpoint was written."""
    try:
        assert known.checkpoint is not None
        written = datetime.fromtimestamp(known.checkpoint.stat().st_mtime).isoformat(" ", "minutes")
    except OSError:
        return "goes on from a checkpoint"
    return f"goes on from a checkpoint of {written}"
