"""Runs that a user names by their ids or beginnings of them."""

from collections.abc import Sequence

from benchmark.errors import UsageError
from benchmark.runs.index import Index
from benchmark.runs.record import RunRecord


def named(index: Index, words: Sequence[str]) -> list[RunRecord]:
    """The records whose ids begin so.

    Raises:
        UsageError: none does, or several do.
    """
    known = list(index.runs()["run"])
    wanted: dict[str, None] = {}
    for word in words:
        fitting = [run for run in known if run.startswith(word)]
        if not fitting:
            raise UsageError(f"no record in {index.store.root} has an id that begins with '{word}'")
        if len(fitting) > 1:
            listed = ", ".join(sorted(fitting)[:5]) + (", …" if len(fitting) > 5 else "")
            raise UsageError(f"'{word}' is the beginning of {len(fitting)} ids ({listed}): write more of it")
        wanted[fitting[0]] = None
    found = {record.id: record for record in index.records(run=list(wanted))}
    return [found[run] for run in wanted]
