"""`mtbench store`: finished records move into segments that are never rewritten, and several folders into one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.options import results_option
from benchmark.errors import UserError
from benchmark.execution.leases import Leases
from benchmark.runs import packing
from benchmark.runs.store import Problem, Store
from benchmark.wording import counted

console = Console(highlight=False)

#: The lease of whoever writes segments; no run's id looks like this.
LEASE = "segments"


@click.group("store")
def store_group() -> None:
    """Pack finished records, merge folders of records, check checksums."""


@store_group.command("pack")
@results_option
def pack_command(results: Path) -> None:
    """Move records of runs that are finished, with their pictures, into one file per data set.

    Every command reads them as before. Files are removed only when the segment that holds them is safe; a segment is
    never written again. Runs that failed, whole predictions and networks stay files.

    \b
    Example:
      mtbench store pack
    """
    with alone(Store(results)) as store:
        moved = packing.pack(store)
    size = sum(path.stat().st_size for path in moved.segments)
    written = f" in {counted(len(moved.segments), 'new segment')} ({size / 1e6:.1f} MB)" if moved.segments else ""
    console.print(f"{counted(moved.records, 'record')} packed{written}.", soft_wrap=True)


@store_group.command("unpack")
@results_option
def unpack_command(results: Path) -> None:
    """Make packed records files again, as they were before.

    \b
    Example:
      mtbench store unpack
    """
    with alone(Store(results)) as store:
        moved = packing.unpack(store)
    console.print(
        f"{counted(moved.records, 'record')} made files again, {counted(len(moved.segments), 'segment')} removed.",
        soft_wrap=True,
    )
    complain(moved.problems)


@store_group.command("merge")
@click.option(
    "--from",
    "sources",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of records, packed or not. May be given again.",
)
@results_option
def merge_command(sources: tuple[Path, ...], results: Path) -> None:
    """Take over the records of other folders that this one lacks, or has as failures only.

    Their finished records come packed. Nothing is removed from where it came from. A run that went well here and there
    with other numbers stays as it is here, and the command ends with 1.

    \b
    Example:
      mtbench store merge --from machine-a/results --from machine-b/results
    """
    with alone(Store(results)) as store:
        moved = packing.merge(store, [Store(source) for source in sources])
    console.print(f"{counted(moved.records, 'record')} taken into {escape(str(results))}.", soft_wrap=True)
    complain(moved.problems)


@store_group.command("check")
@results_option
def check_command(results: Path) -> None:
    """Read every packed record and picture, and compare checksums.

    \b
    Example:
      mtbench store check
    """
    store = Store(results)
    complain([*packing.damage(store), *store.contradictions()])
    records = store.shelf.records()
    console.print(
        f"{counted(len(records), 'record')} in {counted(len(store.shelf.segments()), 'segment')}: as written."
    )


@contextmanager
def alone(store: Store) -> Iterator[Store]:
    """The store, while no other command writes segments into it.

    Raises:
        UserError: another one does, or the folder cannot be written.
    """
    store.check_writable()
    with Leases(store.private / "claims") as leases:
        if leases.take(LEASE) is None:
            raise UserError(f"another command packs or merges in {store.root}; try again when it has ended")
        packing.tidy(store)
        yield store


def complain(problems: Sequence[Problem]) -> None:
    """Print problems, a line each.

    Raises:
        UserError: there are any.
    """
    for problem in problems:
        console.print(f"[red]✗[/] {escape(problem.reason)}", soft_wrap=True)
    if problems:
        raise UserError(f"{counted(len(problems), 'problem')} with records or segments, listed above")
