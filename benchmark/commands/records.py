"""The options that say which records of a results folder are meant."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import click
import pandas as pd

from benchmark.commands.selection import Seeds
from benchmark.errors import UsageError, UserError
from benchmark.runs.index import Index
from benchmark.runs.record import Status
from benchmark.runs.store import Store


@dataclass(frozen=True)
class RecordFilters:
    """What the command line narrows the records of a folder to; empty values leave all.

    Attributes:
        runs: beginnings of ids.
    """

    runs: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()
    architecture: tuple[str, ...] = ()
    weighting: tuple[str, ...] = ()
    seed: tuple[int, ...] = ()
    status: tuple[str, ...] = ()

    @property
    def wanted(self) -> dict[str, Any]:
        """By column of an index the values that are meant."""
        columns = ("dataset", "architecture", "weighting", "seed", "status")
        return {column: list(values) for column in columns if (values := getattr(self, column))}

    def rows(self, index: Index) -> pd.DataFrame:
        """The rows of the records that are meant.

        Raises:
            UsageError: no id begins as one that was named.
        """
        found = index.runs(**self.wanted)
        if not self.runs:
            return found
        for word in self.runs:
            if not found["run"].str.startswith(word).any():
                raise UsageError(f"no record in {index.store.root} that is meant has an id that begins with '{word}'")
        return found[found["run"].str.startswith(self.runs)]


def record_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options; the command gets ``filters``."""

    @wraps(command)
    def filtering(*args: Any, **others: Any) -> None:
        names = ("dataset", "architecture", "weighting", "status")
        chosen = {name: others.pop(f"only_{name}") for name in names}
        filters = RecordFilters(others.pop("runs", ()), seed=others.pop("only_seed") or (), **chosen)
        command(*args, filters=filters, **others)

    filtered: Callable[..., None] = filtering
    for option in (
        click.option(
            "--status",
            "only_status",
            multiple=True,
            type=click.Choice(get_args(Status)),
            help="Only runs that ended so. May be given again.",
        ),
        click.option("--seeds", "only_seed", type=Seeds(), help="Only these seeds, such as 0,1,2 or 0-4."),
        click.option(
            "--weighting",
            "only_weighting",
            multiple=True,
            help="Only runs of this weighting, 'none' for those without. May be given again.",
        ),
        click.option(
            "--architecture", "only_architecture", multiple=True, help="Only runs of this one. May be given again."
        ),
        click.option(
            "--dataset", "only_dataset", multiple=True, help="Only runs on this data set. May be given again."
        ),
    ):
        filtered = option(filtered)
    return filtered


def existing(results: Path) -> Store:
    """The store in a folder.

    Raises:
        UserError: there is no such folder.
    """
    if not results.is_dir():
        raise UserError(f"there is no results folder {results}; name one with --results")
    return Store(results)
