"""Digests of several processors side by side: what differs, what differs first, and a table."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from tests.portable.cells import APART

#: By processor its digests by name, in the order in which they were computed.
Columns = Mapping[str, Mapping[str, str]]

EQUAL, DIFFERENT = "equal", "DIFFERENT"


def differing(columns: Columns) -> list[str]:
    """Names whose digests are not the same everywhere, or that are missing somewhere; what is known to differ is not
    among them.
    """
    names = list(dict.fromkeys(name for digests in columns.values() for name in digests))
    return [
        name for name in names if not is_apart(name) and len({digests.get(name) for digests in columns.values()}) > 1
    ]


def is_apart(name: str) -> bool:
    """Whether a function is known to differ."""
    return name.startswith(f"{APART} ")


def verdict(columns: Columns) -> str:
    """In words what differs first."""
    count = len(next(iter(columns.values())))
    if not (names := differing(columns)):
        return f"{count} digests are the same on {', '.join(columns)}."
    values = ", ".join(f"{processor} {digests.get(names[0], 'missing')}" for processor, digests in columns.items())
    return f"{len(names)} of {count} digests differ. The first that differs is '{names[0]}': {values}."


def table(columns: Columns) -> str:
    """Markdown: a row for each cell, one for all functions of a library, and one for each function that differs.

    The first column is what the others are held against.
    """
    processors = list(columns)
    first, rest = processors[0], processors[1:]
    lines = [f"| {' | '.join(['', 'digests', *rest])} |", f"|{'---|' * (len(rest) + 2)}"]
    for row, names in rows(list(columns[first])):
        known = [name for name in names if is_apart(name)]
        words = [_word([columns[first][n] == columns[p].get(n) for n in names], bool(known)) for p in rest]
        lines.append(f"| {' | '.join([row, str(len(names)), *words])} |")
        if not known and len(names) > 1 and row.endswith("functions"):
            for name in (n for n in names if any(columns[p].get(n) != columns[first][n] for p in rest)):
                words = [_word([columns[p].get(name) == columns[first][name]], False) for p in rest]
                lines.append(f"| {' | '.join([name, '1', *words])} |")
    return "\n".join(lines) + "\n"


def rows(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Names by the row that they stand in."""
    return [(row, list(found)) for row, found in groupby(names, key=_row)]


def _row(name: str) -> str:
    if name.startswith("function "):
        return f"{re.split(r'[ .]', name)[1]} functions"
    return name.partition(": ")[0]


def _word(equal: Sequence[bool], known: bool) -> str:
    return EQUAL if all(equal) else "apart, as known" if known else DIFFERENT
