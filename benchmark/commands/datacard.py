"""`mtbench data card`: what the data of a results folder measurably are, for their pages in the report."""

import json
import shlex
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.data import plugin_option
from benchmark.commands.options import results_option
from benchmark.data import DataSet, Storage, build_dataset
from benchmark.data.measured import data_card
from benchmark.data.workers import cores
from benchmark.errors import UserError
from benchmark.registry import DATASETS
from benchmark.runs.datacards import keep_card
from benchmark.runs.index import Index
from benchmark.runs.store import Store

console = Console(highlight=False)


def keep_missing_card(store: Store, dataset: DataSet, storage: Storage) -> None:
    """Measure a prepared set unless that is done; runs go on without, if it cannot be."""
    try:
        if not store.card_path(dataset.name, dataset.content_hash(storage)).exists():
            keep_card(store, dataset, storage)
            show_unmeasured(dataset, storage)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a description stops no run, whatever the data hold
        reason = str(error) if isinstance(error, UserError) else f"{error!r}; 'mtbench data check' says what is odd"
        console.print(f"[yellow]No data card of {escape(dataset.name)}:[/] {escape(reason)}", soft_wrap=True)


def show_unmeasured(dataset: DataSet, storage: Storage) -> None:
    """Say what a card could not take in."""
    for piece in dataset.pieces:
        for line in data_card(piece, storage).get("unmeasured", ()):
            console.print(f"[yellow]Not measured:[/] {escape(piece.name)}: {escape(line)}", soft_wrap=True)


@click.command()
@click.argument("name", required=False)
@results_option
@click.option(
    "--pictures",
    is_flag=True,
    help="Keep samples whatever the licence says: for results and reports that you do not pass on.",
)
@plugin_option
def card(name: str | None, results: Path, pictures: bool) -> None:
    """Measure the data of the runs in a results folder, or of one set, for their pages in the report.

    NAME is that of a set; without it, all of the folder's runs count. Kept are class frequencies, histograms and,
    where the licence lets pictures be passed on, a few samples with their truth. 'mtbench run' does this for the
    data that it runs on; for records from elsewhere, the data must be prepared here.

    \b
    Example:
      mtbench data card
      mtbench data card nyuv2 --results mine --pictures
    """
    storage, store = Storage.default(), Store(results)
    found = data_of(store, DATASETS[name].name if name else None)
    if not found:
        raise UserError(f"{results} holds no finished run{f' on {name}' if name else ''}; 'mtbench run' makes some")
    missing = 0
    for text, data_hash in found:
        component = json.loads(text)
        dataset = build_dataset(component["name"], **component["options"])
        if reason := _why_not(dataset, storage, data_hash):
            missing += 1
            console.print(f"[red]✗[/] {escape(reason)}", soft_wrap=True)
            continue
        path = keep_card(store, dataset, storage, pictures=pictures)
        show_unmeasured(dataset, storage)
        size = sum(file.stat().st_size for file in (path, path.with_suffix(".npz")) if file.exists())
        console.print(f"[green]✓[/] {escape(dataset.name)}: {escape(str(path))}, {size / 1e3:.0f} kB", soft_wrap=True)
    if missing:
        raise UserError(f"{missing} of {len(found)} data of these records are not prepared here, so not measured")


def data_of(store: Store, name: str | None) -> list[tuple[str, str]]:
    """The data of the finished runs: data sets in JSON, and content hashes."""
    runs = Index(store, workers=cores()).runs(status=["ok"], **({"dataset": [name]} if name else {}))
    known = runs.dropna(subset=["data_hash"])
    pairs = {(json.dumps(json.loads(s)["dataset"]), h) for s, h in zip(known["spec"], known["data_hash"], strict=True)}
    return sorted(pairs)


def _why_not(dataset: DataSet, storage: Storage, data_hash: str) -> str | None:
    if not dataset.is_ready(storage):
        usual = DATASETS[dataset.name].defaults
        changed = {key: value for key, value in dataset.options.items() if value != usual[key]}
        words = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in changed.items()]
        options = [part for word in words for part in ("--option", word)]
        again = shlex.join(["mtbench", "data", "prepare", dataset.name, *options])
        return f"{dataset.name} is not prepared here with these options: {again}"
    if (found := dataset.content_hash(storage)) != data_hash:
        return (
            f"{dataset.name}: the data here have the content hash {found[:12]}, those of the records {data_hash[:12]}"
        )
    return None
