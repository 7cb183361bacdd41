"""The options that say which boards of a results folder are meant."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from benchmark.analysis import Board, boards
from benchmark.analysis.submitted import counted, unproven
from benchmark.errors import UsageError
from benchmark.runs.index import Index
from benchmark.runs.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def board_options(command: F) -> F:
    """The options; the command gets ``keys`` and ``datasets``."""
    for option in (
        click.option("--dataset", "datasets", multiple=True, help="Only boards of this data set. May be given again."),
        click.option(
            "--board",
            "keys",
            multiple=True,
            metavar="KEY",
            help="Only this board, by its key or the first digits of that. May be given again.",
        ),
    ):
        command = option(command)
    return command


def boards_of(store: Store) -> list[Board]:
    """All boards of a store; submitted runs are on them as far as they count.

    Raises:
        UserError: there is no such folder.
    """
    found = counted(Index(store).records(), store)
    return boards(found.records, unproven(found.foreign))


def chosen_boards(store: Store, keys: Sequence[str], datasets: Sequence[str]) -> list[Board]:
    """The boards that the options mean, of all records of a store.

    Raises:
        UserError: there is no such folder.
        UsageError: there is no such board, or a key's first digits are those of several.
    """
    found = boards_of(store)
    if not found:
        raise UsageError(f"there is no record in {store.root}: make some with 'mtbench run', or name another --results")
    for word in keys:
        fitting = [board for board in found if board.key.startswith(word)]
        if len(fitting) != 1:
            known = ", ".join(f"{board.key} ({board.dataset.name})" for board in found)
            problem = f"several boards begin with '{word}'" if fitting else f"there is no board '{word}'"
            raise UsageError(f"{problem} in {store.root}. Known: {known}")
    if unknown := [name for name in datasets if name not in {board.dataset.name for board in found}]:
        known = ", ".join(sorted({board.dataset.name for board in found}))
        raise UsageError(f"there is no board of the data set '{unknown[0]}' in {store.root}. Known: {known}")
    chosen = [
        board
        for board in found
        if (not keys or any(board.key.startswith(word) for word in keys))
        and (not datasets or board.dataset.name in datasets)
    ]
    if not chosen:
        raise UsageError("no board has both this --board and this --dataset: leave one of them out")
    return chosen
