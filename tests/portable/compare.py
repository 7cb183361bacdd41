"""Digests of several processors side by side: what differs, what differs first, and a table."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from benchmark.errors import UserError
from tests.portable.cells import APART

#: By processor its digests by name, in the order in which they were computed.
Columns = Mapping[str, Mapping[str, str]]

FUNCTIONS = " functions"


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
    count = sum(not is_apart(name) for name in next(iter(columns.values())))
    if not (names := differing(columns)):
        return f"{count} digests are the same on {', '.join(columns)}."
    values = ", ".join(f"{processor} {digests.get(names[0], 'missing')}" for processor, digests in columns.items())
    return f"{len(names)} of {count} digests differ. The first that differs is '{names[0]}': {values}."


def table(columns: Columns) -> str:
    """Markdown: a row for each cell, one for all functions of a library, and one for each function that differs.

    The first column is what the others are held against.
    """
    first, *others = columns
    lines = [f"| {' | '.join(['', 'digests', *others])} |", f"|{'---|' * (len(others) + 2)}"]
    for row, names in rows(list(columns[first])):
        lines.append(_line(row, names, columns))
        if row.endswith(FUNCTIONS):
            lines += [_line(name, [name], columns) for name in names if name in differing(columns)]
    return "\n".join(lines) + "\n"


def joined(old: str, new: str) -> str:
    """A table with the rows of a later one in place of its own, and those that it lacks behind the last of their group.

    Args:
        old: a table, or nothing.
        new: a table with the same columns.

    Raises:
        UserError: the columns differ, so that rows of both would say different things.
    """
    heading, *before = old.strip().splitlines() or [""]
    first, rule, *after = new.strip().splitlines()
    if not old.strip():
        return new
    if heading != first:
        raise UserError(f"the table has the columns {heading}, the new rows {first}: compute on the same processors")
    found = {_name(line): line for line in before[1:]}
    for line in after:
        name = _name(line)
        if name not in found:
            group = [other for other in found if _group(other) == _group(name)]
            place = list(found).index(group[-1]) + 1 if group else len(found)
            items = list(found.items())
            found = dict([*items[:place], (name, line), *items[place:]])
        found[name] = line
    return "\n".join([first, rule, *found.values()]) + "\n"


def _name(line: str) -> str:
    return line.split("|")[1].strip()


def _group(name: str) -> str:
    """Architectures stand by backbone, all else by its first word."""
    kind, _, backbone = name.partition(" on ")
    return f"{kind.split()[0]} on {backbone}" if kind.startswith("architecture ") else name.split()[0]


def rows(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Names by the row that they stand in."""
    return [(row, list(found)) for row, found in groupby(names, key=_row)]


def _row(name: str) -> str:
    if name.startswith("function "):
        return re.split(r"[ .]", name)[1] + FUNCTIONS
    return name.partition(": ")[0]


def _line(row: str, names: Sequence[str], columns: Columns) -> str:
    first, *others = columns.values()
    return f"| {' | '.join([row, str(len(names)), *(_word(names, first, other) for other in others)])} |"


def _word(names: Sequence[str], first: Mapping[str, str], other: Mapping[str, str]) -> str:
    if all(first[name] == other.get(name) for name in names):
        return "equal"
    if not is_apart(names[0]):
        return "DIFFERENT" if any(name in other for name in names) else "MISSING"
    return "apart, as known" if names[0] in other else "–"
