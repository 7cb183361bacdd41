"""Errors that a user can cause: one line that says what was expected, what was found, and what to do."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: What would break a line, or command a terminal.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

#: What is said of the name of something that plugins may register.
OF_PLUGINS = "What a file of your own registers is known with --plugin FILE"


class UserError(Exception):
    """A failure that the user can mend; the command line shows its message alone and exits with 1."""

    def __str__(self) -> str:
        """The message in one line, whatever names and values of files it repeats."""
        return CONTROL.sub(lambda found: repr(found.group())[1:-1], super().__str__())


class UsageError(UserError):
    """A wrong word on the command line or in a grid file; the command line exits with 2."""


def reason(error: BaseException) -> str:
    """What another library's exception says, in one line, or its name where it says nothing."""
    said = " ".join(str(error).split())
    return f"it lacks {said}" if isinstance(error, KeyError) else said or type(error).__name__


def unknown(kind: str, name: str, known: Iterable[str], more: str = "") -> UsageError:
    """The error for a name that nobody registered: the nearest match and the valid list.

    Args:
        more: a sentence that follows.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    words = f"unknown {kind} '{name}'.{hint} Known: {', '.join(names) or 'none'}"
    return UsageError(f"{words}. {more}" if more else words)
