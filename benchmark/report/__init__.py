"""From data frames to pages."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.analysis import boards
from benchmark.analysis.submitted import counted, unproven
from benchmark.errors import UserError
from benchmark.report.pages import render
from benchmark.report.site import check_target, replace
from benchmark.runs.record import RunRecord
from benchmark.runs.store import Problem, Store

__all__ = ["build"]

#: No curve is longer.
MOST_EPOCHS = 1_000_000


def build(store: Store, out: str | Path, *, rule: str = "val-delta-m") -> Path:
    """Write the report of everything in ``store``: static pages that need no network.

    The same records give the same bytes. An older report in ``out`` is replaced as a whole, at the end.

    Args:
        store: the records.
        out: the report's folder, which must be missing, empty, or an older report.
        rule: how epochs are chosen, a name of ``benchmark.analysis.RULES``.

    Returns:
        The path of ``index.html``.

    Raises:
        UserError: there is no usable record, or ``out`` cannot be replaced or written.
        UsageError: the rule is unknown.
    """
    out = Path(out)
    check_target(out)
    with _quiet_collector():
        records, problems = _sound(store)
        gc.freeze()
        gc.enable()
        return _build(records, problems, store, out, rule)


def _build(records: list[RunRecord], problems: list[Problem], store: Store, out: Path, rule: str) -> Path:
    if not any(record.status == "ok" and any(epoch.metrics for epoch in record.curves) for record in records):
        found = _count(len(records), "run that did not finish", "runs that did not finish") if records else "no record"
        unreadable = f" and {_count(len(problems), 'unreadable file', 'unreadable files')}" if problems else ""
        raise UserError(f"{store.root} holds {found}{unreadable}; make runs with 'mtbench run --grid quick'")
    submitted = counted(records, store)
    known = boards(submitted.records, unproven(submitted.foreign))
    replace(out, render(known, submitted, problems, store, rule))
    return out / "index.html"


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """Records are many small objects without cycles: the collector must not go through all of them again and again.

    It stays off while they are read, until ``gc.freeze`` sets them apart, and is as it was afterwards.
    """
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        (gc.enable if enabled else gc.disable)()


def _sound(store: Store) -> tuple[list[RunRecord], list[Problem]]:
    """The store's records, and as further problems those whose parts contradict each other."""
    records, problems = store.scan()
    flaws = {record.id: flaw for record in records if (flaw := _flaw(record))}
    problems += [Problem(store.path(record.spec), flaws[record.id]) for record in records if record.id in flaws]
    return [record for record in records if record.id not in flaws], sorted(problems, key=lambda p: str(p.path))


def _flaw(record: RunRecord) -> str | None:
    epochs = [epoch.epoch for epoch in record.curves]
    last = min(record.spec.protocol.epochs, MOST_EPOCHS)
    if epochs != sorted(set(epochs)) or not all(1 <= epoch <= last for epoch in epochs):
        return f"its epochs do not ascend from 1 to {last}"
    if record.status == "ok" and not epochs:
        return "it says that it went well, and has no epoch"
    if len({task.name for task in record.tasks}) != len(record.tasks):
        return "two of its tasks have the same name"
    return None


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
