"""`mtbench rm`: runs are taken out of a results folder."""

from collections.abc import Collection
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.options import results_option
from benchmark.commands.records import RecordFilters, existing, record_options
from benchmark.commands.store import alone
from benchmark.errors import UsageError, UserError
from benchmark.execution.leases import Leases
from benchmark.runs.index import Index
from benchmark.runs.layout import place
from benchmark.runs.store import Store
from benchmark.training.checkpoint import drop
from benchmark.wording import counted

console = Console(highlight=False)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@record_options
@results_option
@click.option("--dry-run", is_flag=True, help="Only list the runs that would be removed.")
@click.option("--yes", is_flag=True, help="Remove without asking.")
def rm(*, filters: RecordFilters, results: Path, dry_run: bool, yes: bool) -> None:
    """Remove the records of runs, with their pictures, predictions, networks, tracebacks and checkpoints.

    RUN is a run's id or its beginning; options narrow what is removed, and at least one of both must be given. Segments
    are never rewritten: where a run is packed nothing is removed, and 'mtbench store unpack' is to be given first.

    \b
    Example:
      mtbench rm 285424d8
      mtbench rm --architecture my-net --status failed --dry-run
      mtbench rm --weighting dwa --seeds 3-9 --yes
    """
    if filters == RecordFilters():
        raise UsageError("say which runs are to be removed, by their ids or by options; see mtbench rm -h")
    store = existing(results)
    wanted = list(Index(store).records(run=list(filters.rows(Index(store))["run"])))
    for record in wanted:
        console.print(f"{escape(record.spec.label)} ({record.id}): {record.status}", soft_wrap=True)
    if not wanted:
        console.print(f"No run in {escape(str(results))} is meant.", soft_wrap=True)
        return
    packed = [record for record in wanted if store.is_packed(record.spec)]
    if packed:
        raise UserError(
            f"{len(packed)} of {counted(len(wanted), 'run')} {'is' if len(packed) == 1 else 'are'} packed, and "
            "segments are never rewritten: nothing was removed. 'mtbench store unpack' makes all records files again"
        )
    if dry_run:
        console.print(f"{counted(len(wanted), 'run')} would be removed.")
        return
    if not yes and not click.confirm(f"Remove {counted(len(wanted), 'run')} from {results}?"):
        raise UserError("nothing was removed")
    names = {record.id: place(record.spec) for record in wanted}
    with alone(store):
        remove(store, names)
    console.print(f"{counted(len(wanted), 'run')} {'was' if len(wanted) == 1 else 'were'} removed.")


def remove(store: Store, names: dict[str, str]) -> None:
    """Remove runs, none of which is in progress.

    Args:
        names: by id, the records' files.

    Raises:
        UserError: one is in progress, or a file cannot be removed.
    """
    with Leases(store.private / "claims") as leases:
        held = {run: leases.take(run) for run in names}
        if busy := [run for run, lease in held.items() if lease is None]:
            raise UserError(f"{_listed(busy)} in progress: nothing was removed; stop the command that does it first")
        for run, name in names.items():
            store.remove(name)
            drop(store.checkpoints, run)


def _listed(runs: Collection[str]) -> str:
    return f"{', '.join(runs)} {'is' if len(runs) == 1 else 'are'}"
