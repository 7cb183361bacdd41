"""From data frames to pages."""

from pathlib import Path

from benchmark.analysis import boards
from benchmark.errors import UserError
from benchmark.report.pages import render
from benchmark.report.site import check_target, replace
from benchmark.store import Store

__all__ = ["build"]


def build(store: Store, out: Path, *, rule: str = "val-delta-m") -> Path:
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
    check_target(out)
    records, problems = store.scan()
    if not any(record.status == "ok" and any(epoch.metrics for epoch in record.curves) for record in records):
        found = _count(len(records), "run that did not finish", "runs that did not finish") if records else "no record"
        unreadable = f" and {_count(len(problems), 'unreadable file', 'unreadable files')}" if problems else ""
        raise UserError(f"{store.root} holds {found}{unreadable}; make runs with 'mtbench run --grid quick'")
    replace(out, render(boards(records), problems, store, rule))
    return out / "index.html"


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
