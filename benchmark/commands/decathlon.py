"""`mtbench submit decathlon`: the list that the challenge's server scores."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.options import results_option
from benchmark.data.decathlon import CHALLENGE, Annotation, facts
from benchmark.errors import UserError
from benchmark.runs.artifacts import Arrays, OfSplit
from benchmark.runs.files import write_atomically
from benchmark.runs.record import RunRecord
from benchmark.runs.store import Store

console = Console(highlight=False)


@click.command()
@click.argument("run")
@results_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The list to be written.")
def decathlon(run: str, results: Path, out: Path) -> None:
    """Write the list that the Visual Decathlon's server scores: the class of every test picture.

    RUN is the beginning of a run's id, which ends the name of its record. The list holds what the network of the last
    epoch said; it was kept beside the record.

    \b
    Example:
      mtbench submit decathlon 1a2b3c4d --out results.json
    """
    store = Store(results)
    record = find(store, run)
    if record.spec.dataset.name != "decathlon":
        raise UserError(f"the run {record.id} is of '{record.spec.dataset.name}', expected a run of 'decathlon'")
    found = listed(record, store.predictions(record) or {})
    try:
        write_atomically(out, json.dumps(found).encode())
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); name another file with --out") from error
    console.print(f"{len(found)} pictures are listed in {escape(str(out))}.", soft_wrap=True)
    present = {task.name for task in record.tasks}
    if missing := [name for name in facts() if name not in present]:
        console.print(
            f"The run has no {', '.join(missing)}; the server counts a set that is missing as all wrong.",
            soft_wrap=True,
        )


def find(store: Store, run: str) -> RunRecord:
    """The one run that went well and whose id begins with ``run``.

    Raises:
        UserError: there is none, or more than one.
    """
    records, _ = store.scan()
    fitting = [record for record in records if record.id.startswith(run)]
    if len(fitting) != 1:
        what = "no run" if not fitting else f"{len(fitting)} runs"
        raise UserError(f"{what} in {store.root} with an id that begins with '{run}': expected one")
    if fitting[0].status != "ok":
        raise UserError(f"the run {fitting[0].id} ended with '{fitting[0].status}'; run it again before you submit it")
    return fitting[0]


def listed(record: RunRecord, predictions: Arrays) -> list[dict[str, Any]]:
    """One entry per picture: its id and that of its category, in the archive's numbers.

    Raises:
        UserError: the run's predictions are not all there.
    """
    found = []
    for task in record.tasks:
        classes, ids = (predictions.get(OfSplit(CHALLENGE, task.name, ids=ids)) for ids in (False, True))
        if classes is None or ids is None or len(classes) != len(ids):
            raise UserError(
                f"what the run {record.id} said of the test pictures of '{task.name}' is not beside its record; "
                "remove the record and run it again"
            )
        first = facts()[task.name].first_category
        found += [
            {"image_id": Annotation.from_id(str(word)).number, "category_id": first + int(label)}
            for word, label in zip(ids, classes, strict=True)
        ]
    return found
