"""Looking at a user's files: what cannot be looked at is named, and hidden files are none of a data set's."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import UserError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Report what hinders looking at a file or folder as the user's to mend."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a null in a name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        name = f"{str(path)[:60]}…{str(path)[-60:]}" if len(str(path)) > 300 else str(path)
        raise UserError(f"{name} cannot be looked at ({reason}); see that it is there and may be read") from error


def file_status(path: Path) -> os.stat_result:
    """What the file system says of a file that must be there.

    Raises:
        UserError: it is not, or cannot be looked at.
    """
    with reading(path):
        return path.stat()


def is_file(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        UserError: that cannot be told.
    """
    return (mode := _mode(path)) is not None and stat.S_ISREG(mode)


def is_folder(path: Path) -> bool:
    """Whether there is such a folder.

    Raises:
        UserError: that cannot be told.
    """
    return (mode := _mode(path)) is not None and stat.S_ISDIR(mode)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without hidden files such as macOS's; nothing where there is no folder.

    Raises:
        UserError: it cannot be read.
    """
    if not is_folder(folder):
        return []
    with reading(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _mode(path: Path) -> int | None:
    with reading(path):
        try:
            return path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
