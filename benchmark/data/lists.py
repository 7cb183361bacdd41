"""Lists of pictures in text files, as sets of classifications come with them."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from benchmark.data.files import is_file
from benchmark.errors import UserError

T = TypeVar("T")


def lines(file: Path, advice: str) -> Iterator[str]:
    """The lines of a UTF-8 text file that are not empty, without blanks around them; one at a time.

    Raises:
        UserError: the file is missing, cannot be read or is no text; the message ends with ``advice``.
    """
    decoder = codecs.getreader("utf-8-sig")
    try:
        with file.open("rb") as stream:
            yield from (text for line in decoder(stream) if (text := line.strip()))
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing; {advice}") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); {advice}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text file ({error.reason} at byte {error.start}); {advice}") from error


def whole_number(word: str) -> int | None:
    """A number from 0 that is written in ASCII digits; None for anything else."""
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else None


def is_inside(name: str) -> bool:
    """Whether a listed path stays in the folder that it is relative to."""
    path = PurePosixPath(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def require_files(files: Iterable[Path], advice: str) -> None:
    """Make sure that every file is there.

    Raises:
        UserError: one is not, and the message ends with ``advice``; or that cannot be told.
    """
    for file in files:
        if not is_file(file):
            raise UserError(f"there is no file {file}; {advice}")


def spread(items: Sequence[T], limit: int) -> list[T]:
    """At most ``limit`` of them, evenly spread; all where it is 0."""
    if not limit or len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]
