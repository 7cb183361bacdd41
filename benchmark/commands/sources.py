"""The option that names folders of official files, in the words that every command takes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmark.data.files import is_file, is_folder
from benchmark.errors import UsageError, UserError
from benchmark.registry import DATASETS

#: How the names of archives end.
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")

F = TypeVar("F", bound=Callable[..., Any])


def source_option(command: F) -> F:
    """The option that says where a data set's official files lie."""
    return click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="[DATASET=]DIR",
        help="Folder of a data set's official files, or a file in it; DIR alone where only one set is meant. May be "
        "given again.",
    )(command)


def parse_sources(words: Sequence[str], names: Sequence[str], *, only: bool = False) -> dict[str, Path]:
    """Folders by data set.

    Args:
        words: each ``DATASET=DIR``, or ``DIR`` alone where ``names`` is one name.
        names: the data sets that the command is about.
        only: whether a word may name no other one.

    Raises:
        UsageError: a word is of another form, or names no data set or the wrong one.
        UserError: there is no such folder.
    """
    folders: dict[str, Path] = {}
    for word in words:
        name, folder = _parsed(word, names)
        if only and name not in names:
            raise UsageError(f"--source {word} is of '{name}', but this is about {' and '.join(map(repr, names))}")
        if folders.get(name, folder) != folder:
            raise UsageError(f"--source gives '{name}' two folders, {folders[name]} and {folder}; leave one out")
        folders[name] = folder
    return folders


def _folder(word: str) -> Path:
    """The folder that is named, or that of the file that is named.

    Raises:
        UserError: the file is an archive.
    """
    path = Path(word).expanduser()
    if not is_file(path):
        return path
    if path.name.lower().endswith(ARCHIVES):
        raise UserError(f"--source {word}: this is an archive; unpack it, and name the folder into which you did")
    return path.parent


def _parsed(word: str, names: Sequence[str]) -> tuple[str, Path]:
    name, equals, rest = word.partition("=")
    alone, named = _folder(word), _folder(rest)
    if is_folder(alone):
        if equals and rest and name in DATASETS and is_folder(named):
            raise UsageError(
                f"--source {word} is the name of a folder and DATASET=DIR too; write ./{word} for the first"
            )
        if len(names) != 1:
            raise UsageError(f"--source {word} may be of any of {', '.join(names)}: write DATASET=DIR")
        return names[0], alone
    if not equals or not rest:
        raise UsageError(f"--source needs DATASET=DIR or a folder that exists, found '{word}'")
    found = DATASETS[name].name
    if not is_folder(named):
        raise UserError(f"--source {word}: there is no folder {rest}")
    return found, named
