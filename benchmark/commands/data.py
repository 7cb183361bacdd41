"""`mtbench data`: what data sets there are, how they are prepared, and whether they are sound."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from benchmark.commands.lazy import LazyGroup
from benchmark.commands.sources import parse_sources, source_option
from benchmark.commands.tables import print_table
from benchmark.data import DataSet, Storage, build_dataset
from benchmark.data.check import examine
from benchmark.data.files import entries, file_status, is_file
from benchmark.data.measured import CARD_FILE, data_card
from benchmark.data.prepared import MANIFEST, megabytes, read_manifest
from benchmark.data.sources import source_root
from benchmark.data.streaming import StreamedDataSet, unfinished_sets
from benchmark.errors import UsageError, UserError
from benchmark.registry import DATASETS, load_plugin_files

console = Console(highlight=False)


@click.group(
    cls=LazyGroup,
    lazy={
        "card": (
            "benchmark.commands.datacard:card",
            "Measure the data of the runs in a results folder, or of one set, for their pages in the report.",
        ),
    },
)
def data() -> None:
    """List, prepare and check data sets.

    \b
    Example:
      mtbench data list
      mtbench data prepare nyuv2 --source ~/nyuv2
      mtbench data check nyuv2
    """


def _plugins(context: click.Context, parameter: click.Parameter, files: Sequence[Path]) -> Sequence[Path]:
    load_plugin_files(files)
    return files


plugin_option = click.option(
    "--plugin",
    multiple=True,
    type=click.Path(path_type=Path),
    callback=_plugins,
    expose_value=False,
    is_eager=True,
    help="Python file that registers data sets. May be given again.",
)
options_option = click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the data set. May be given again."
)


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words; a value that is no JSON is a string.

    Raises:
        UsageError: a word is of another form.
    """
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--option needs NAME=VALUE, found '{word}'")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def prepare_shown(dataset: DataSet, storage: Storage) -> None:
    """Prepare a data set under bars with the time left, unless it is ready."""
    if dataset.is_ready(storage):
        dataset.prepare(storage)  # which makes sure that it was made from the folder that is named now
        return
    for reason in filter(None, (piece.outdated(storage) for piece in dataset.pieces)):
        console.print(f"{escape(reason)}: it is made again.", soft_wrap=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(escape(f"{dataset.name}: {stage}"), total=total)
            progress.update(bars[stage], completed=done, total=total)

        dataset.prepare(storage, show)
    console.print(f"Prepared {dataset.name} in {escape(str(dataset.folder(storage)))}.", soft_wrap=True)


@data.command()
@click.argument("name")
@source_option
@options_option
@plugin_option
def prepare(name: str, sources: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Make the prepared form of a data set. After an interruption, the same command goes on from there.

    NAME is one that 'mtbench data list' shows.

    \b
    Example:
      mtbench data prepare nyuv2 --source ~/nyuv2
      mtbench data prepare cityscapes --source ~/cityscapes --option classes=19 --option height=256
    """
    dataset = build_dataset(name, **parse_options(options))
    storage = Storage.default(parse_sources(sources, [dataset.name], only=True))
    prepare_shown(dataset, storage)
    for piece in dataset.pieces:
        data_card(piece, storage)
    counts = ", ".join(f"{count} {split}" for split, count in dataset.manifest(storage)["samples"].items())
    console.print(f"{dataset.name} is ready: {counts}; {megabytes(total_size(dataset, storage))}.")


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
@plugin_option
def list_(as_json: bool) -> None:
    """Say which data sets are ready, how large they are and where, and how to get those that are not.

    \b
    Example:
      mtbench data list
      mtbench data list --json
    """
    storage = Storage.default()
    found = [_described(dataset, storage) for dataset in _known_sets(storage)]
    if as_json:
        click.echo(json.dumps({"cache": str(storage.cache), "datasets": found}, indent=1))
        return
    table = Table("data set", "options", "state", "samples", "size", "folder", expand=True)
    for entry in found:
        table.add_row(*(escape(cell) for cell in _row(entry)))
    print_table(console, table)
    console.print(f"The folders lie in {escape(str(storage.cache))}; MTBENCH_CACHE moves them.", soft_wrap=True)
    ready = {entry["name"] for entry in found if entry["state"] == "ready"}
    for name in DATASETS:
        if name not in ready and not DATASETS[name].required:
            for line in how_to_get(build_dataset(name)):
                console.print(escape(line), soft_wrap=True)


def _known_sets(storage: Storage) -> Iterator[DataSet]:
    """Every registered set with its default options, and what is prepared or begun with others."""
    found = [*prepared_sets(storage), *unfinished_sets(storage)]
    for name in DATASETS:
        variants = [dataset for dataset in found if dataset.name == name]
        if not DATASETS[name].required:
            default = build_dataset(name)
            variants = [default, *(v for v in variants if v.identity != default.identity)]
        yield from variants


def _described(dataset: DataSet, storage: Storage) -> dict[str, Any]:
    """What is known of a set, in plain containers; ``options`` are those that differ from the defaults."""
    defaults = DATASETS[dataset.name].defaults
    options = {key: value for key, value in dataset.options.items() if value != defaults[key]}
    found = {"name": dataset.name, "version": dataset.version, "options": options, "samples": dict(dataset.samples)}
    if dataset.is_ready(storage):
        samples = dict(dataset.manifest(storage)["samples"])
        folder = str(dataset.folder(storage)) if dataset.pieces == (dataset,) else None
        return {**found, "state": "ready", "samples": samples, "bytes": total_size(dataset, storage), "folder": folder}
    share = dataset.share_done(storage) if isinstance(dataset, StreamedDataSet) else None
    state = "not prepared" if share is None else f"interrupted at {share:.0%}"
    state = "outdated" if dataset.outdated(storage) else state
    return {**found, "state": state, "bytes": None, "folder": None}


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    stated = ", ".join(f"{key}={value}" for key, value in entry["options"].items())
    size = "" if entry["bytes"] is None else megabytes(entry["bytes"])
    folder = Path(entry["folder"]).name if entry["folder"] else ""
    return entry["name"], stated, entry["state"], "/".join(map(str, entry["samples"].values())), size, folder


def how_to_get(dataset: DataSet) -> Iterator[str]:
    """What to do to have a data set, in lines."""
    yield ""
    if dataset.card is None:
        yield f"{dataset.name}: mtbench data prepare {dataset.name}"
        return
    card = dataset.card
    needs_files = any(isinstance(piece, StreamedDataSet) for piece in dataset.pieces)
    yield f"{dataset.name}: {card.title}"
    yield f"  terms: {card.licence}"
    if card.homepage:
        yield f"  official page: {card.homepage}"
    yield f"  {card.obtain}"
    yield f"  mtbench data prepare {dataset.name}{' --source DIR' if needs_files else ''}"


def prepared_sets(storage: Storage) -> list[DataSet]:
    """Every set in the cache that the present code can use; what other versions made is passed over."""
    found = []
    for file in (folder / MANIFEST for folder in entries(storage.cache)):
        if not is_file(file):
            continue
        try:
            manifest = read_manifest(file)
            dataset = build_dataset(manifest["dataset"], **manifest["options"])
        except (UserError, KeyError, TypeError):
            continue
        if dataset.folder(storage) == file.parent:
            found.append(dataset)
    return found


def total_size(dataset: DataSet, storage: Storage) -> int:
    """Bytes of all folders that make up a prepared set."""
    return sum(size_of(piece.folder(storage)) for piece in dataset.pieces)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file_status(file).st_size for file in entries(folder))


def files_seen(dataset: DataSet, storage: Storage) -> str:
    """What a sound set's check says of its official files."""
    manifest = dataset.manifest(storage)
    if not manifest.get("sources"):
        return ""
    there = source_root(dataset, storage, manifest) is not None
    return "; official files unchanged" if there else "; official files not here, so not compared"


@data.command()
@click.argument("name", required=False)
@source_option
@options_option
@plugin_option
def check(name: str | None, sources: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Look at every value of a prepared set, or of all of them: hashes, counts, ranges, units.

    NAME is that of a set; without it, all that are prepared count. What may be so and is implausible, such as depth
    that is unknown everywhere, is told after a '!' and is no failure.

    The official files are compared too, by their hashes, where they still lie in the folder that they were prepared
    from, or in the one that --source names.

    \b
    Example:
      mtbench data check
      mtbench data check nyuv2 --option classes=40 --source ~/nyuv2
    """
    storage = Storage.default()
    if name is None and options:
        raise UsageError("--option needs the name of a data set")
    chosen = [build_dataset(name, **parse_options(options))] if name else prepared_sets(storage)
    if not chosen:
        raise UserError(f"nothing is prepared in {storage.cache}; 'mtbench data list' says how")
    names = list(dict.fromkeys(dataset.name for dataset in chosen))
    named = parse_sources(sources, names, only=True)
    storage = Storage(
        storage.cache,
        {piece.name: named[whole.name] for whole in chosen if whole.name in named for piece in whole.pieces},
    )
    bad = 0
    pieces = [piece for whole in chosen for piece in whole.pieces]
    for dataset in pieces:
        if not dataset.is_ready(storage) and not dataset.outdated(storage):
            raise UserError(f"{dataset.name} is not prepared with these options; run 'mtbench data prepare {name}'")
        problems, implausible = examine(dataset, storage)
        bad += bool(problems)
        for problem in problems:
            console.print(f"[red]✗[/] {escape(dataset.name)}: {escape(problem)}", soft_wrap=True)
        for line in implausible:
            console.print(f"[yellow]![/] {escape(dataset.name)}: {escape(line)}", soft_wrap=True)
        if not problems:
            card = data_card(dataset, storage)
            title = card["stated"]["title"] if card["stated"] else "no data card"
            counts = ", ".join(f"{count} {split}" for split, count in dataset.manifest(storage)["samples"].items())
            files = files_seen(dataset, storage)
            console.print(f"[green]✓[/] {escape(dataset.name)}: {counts}; {escape(title)}{files}", soft_wrap=True)
            if (kept := dataset.folder(storage) / CARD_FILE).exists():
                console.print(f"  card: {escape(str(kept))}", soft_wrap=True)
    if bad:
        raise UserError(
            f"{bad} of {len(pieces)} prepared sets are not sound: delete their folders and prepare them again"
        )
