"""`mtbench show`: one run, what it was and what came of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmark.commands.metrics import chosen_by_run
from benchmark.commands.naming import named
from benchmark.commands.options import results_option
from benchmark.errors import UserError
from benchmark.runs.index import Index
from benchmark.runs.record import RunRecord
from benchmark.runs.store import Store

#: Parts of the provenance that have many lines, and are left to ``--json``.
LONG = ("packages", "numerics", "determinism")


@click.command()
@click.argument("run")
@results_option
@click.option(
    "--json", "as_json", is_flag=True, help="For scripts: all of this, and the whole record, as one JSON object."
)
def show(run: str, *, results: Path, as_json: bool) -> None:
    """Print all that is known of one run; RUN is its id or the beginning of it.

    Its spec, how it ended, of a failure the whole traceback where it was done here, metrics of the epoch that stands
    for it, costs, and where it comes from.

    \b
    Example:
      mtbench show 285424d8
      mtbench show 285424d8 --json
    """
    if not results.is_dir():
        raise UserError(f"there is no results folder {results}; name one with --results")
    index = Index(Store(results))
    (record,) = named(index, [run])
    chosen = chosen_by_run(index, [record.id]).get(record.id, [])
    traceback = index.store.traceback(record)
    if as_json:
        shown = {"record": record.model_dump(mode="json"), "traceback": traceback, "metrics": chosen}
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    click.echo("\n".join(_lines(record, chosen, traceback)))


def _lines(record: RunRecord, chosen: list[dict[str, Any]], traceback: str | None) -> Iterator[str]:
    spec = record.spec
    yield f"{spec.label} ({record.id}): {record.status}"
    if record.error is not None:
        yield f"  {record.error}"
    for title, part in (("data set", spec.dataset), ("architecture", spec.architecture), ("weighting", spec.weighting)):
        if part is not None:
            yield f"{title}: {part.name}, version {part.version}{_pairs(part.options)}"
    yield f"protocol{_pairs(spec.protocol.model_dump(mode='json'))}"
    if chosen:
        yield "metrics at the chosen epoch (val, test):"
        for row in chosen:
            values = ", ".join("–" if row[split] is None else f"{row[split]:z.6g}" for split in ("val", "test"))
            yield f"  {row['task']} {row['metric']}, epoch {row['epoch']}: {values}"
    yield f"epochs done: {len(record.curves)}"
    yield f"cost{_pairs(record.cost.model_dump(mode='json'))}"
    origin = record.provenance.model_dump(mode="json")
    yield f"provenance{_pairs({name: value for name, value in origin.items() if name not in LONG})}"
    if record.code:
        yield f"code of plugins{_pairs(record.code)}"
    if traceback is not None:
        yield f"\n{traceback.rstrip()}"


def _pairs(values: dict[str, Any]) -> str:
    """What is known, in words that follow a title."""
    known = [
        f"{name} {json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
        if value not in (None, {}, [])
    ]
    return f": {', '.join(known)}" if known else ""
