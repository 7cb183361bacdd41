"""Errors that a user can cause: one line that says what was expected, what was found, and what to do."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: What would break a line, or command a terminal.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UserError(Exception):
    """A failure that the user can mend; the command line shows its message alone and exits with 1."""

    def __str__(self) -> str:
        """The message in one line, whatever names and values of files it repeats."""
        return CONTROL.sub(lambda found: repr(found.group())[1:-1], super().__str__())


class UsageError(UserError):
    """A wrong word on the command line or in a grid file; the command line exits with 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that nobody registered: the nearest match and the valid list."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'.{hint} Known: {', '.join(names) or 'none'}")
