"""`mtbench model`: what a network consists of and costs, before it is trained."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.commands.options import plugin_option
from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES, DATASETS, Registry, load_plugin_files
from benchmark.runs.filters import parse_options
from benchmark.runs.spec import Component
from benchmark.speed.outline import ELSEWHERE, Outline, PartCost, outline

console = Console(highlight=False)

#: Numbers that training keeps for each that is trained: itself, its gradient, and Adam's two means.
KEPT_BY_ADAM = 4


@click.command("model")
@click.argument("name")
@click.option(
    "--backbone", help="The backbone, such as segnet, wrn-28-4 or timm:resnet50; the network's own by default."
)
@click.option(
    "--dataset",
    default="scenes",
    show_default=True,
    help="Whose tasks and pictures count, with options if any: scenes:height=96,width=128. It need not be prepared.",
)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Pictures of a training step.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object, in numbers and bytes.")
@plugin_option
def model(
    *, name: str, backbone: str | None, dataset: str, batch: int, as_json: bool, plugins: tuple[Path, ...]
) -> None:
    """Show a network's stages: shapes, parameters shared and per task, operations, memory; NAME may have options.

    FLOPs are those of one picture's forward pass. Memory is what a training step in fp32 keeps of the whole batch for
    its backward pass; what parameters, gradients and Adam hold comes on top, and is told below the table. Nothing is
    computed for it, and no data are needed. Weights of a file change none of these numbers.

    \b
    Example:
      mtbench model mtan
      mtbench model split --backbone timm:resnet50 --dataset nyuv2 --batch 8
      mtbench model cross-stitch:stitch=vector,width=16 --backbone unet --json
    """
    load_plugin_files(plugins)
    architecture = _component(ARCHITECTURES, name, {} if backbone is None else {"backbone": backbone})
    data = _component(DATASETS, dataset)
    found = outline(architecture, data, batch)
    if as_json:
        click.echo(json.dumps(_described(architecture, data, found), indent=1))
        return
    console.print(_table(architecture, data, found))
    for line in _summary(found):
        console.print(escape(line), soft_wrap=True)


def _component(registry: Registry[Any], word: str, more: Mapping[str, Any] | None = None) -> Component:
    """A registered thing from ``name:option=value,…``."""
    name, _, options = word.partition(":")
    given = parse_options(options, name) if options else {}
    for option in more or {}:
        if option in given:
            raise UsageError(f"'{option}' is given twice, in '{word}' and by --{option}: leave one out")
    return Component.from_registry(registry, name, {**given, **(more or {})})


def _described(architecture: Component, data: Component, found: Outline) -> dict[str, Any]:
    total = asdict(found.total)
    return {
        "architecture": architecture.model_dump(),
        "dataset": data.model_dump(),
        "batch": found.batch,
        "stages": [asdict(part) for part in found.parts],
        "total": {key: total[key] for key in ("shared", "own", "flops", "activation_bytes")}
        | {"parameters": found.parameters, "frozen": found.frozen},
    }


def grouped(parts: Sequence[PartCost]) -> list[PartCost]:
    """Parts that follow each other, have one shape and differ in one number of their names, as one: all their costs."""
    rows: list[list[PartCost]] = []
    for part in parts:
        if rows and part.shape == rows[-1][0].shape and _pattern([*rows[-1], part]):
            rows[-1].append(part)
        else:
            rows.append([part])
    return [_sum(row) for row in rows]


def _pattern(row: Sequence[PartCost]) -> str | None:
    """The names of a row as one, with a star for the number in which they differ; None where they differ in more."""
    first, *others = [re.split(r"(\d+)", part.name) for part in row]
    places = {i for words in others for i in range(max(len(words), len(first))) if words[i : i + 1] != first[i : i + 1]}
    if len(places) != 1 or not first[next(iter(places)) :] or not first[next(iter(places))].isdecimal():
        return None
    return "".join("*" if i in places else word for i, word in enumerate(first))


def _sum(row: Sequence[PartCost]) -> PartCost:
    if len(row) == 1:
        return row[0]
    tasks = list(dict.fromkeys(task for part in row for task in part.own))
    return PartCost(
        f"{_pattern(row)} ({len(row)} ×)",
        row[0].shape,
        sum(part.shared for part in row),
        {task: sum(part.own.get(task, 0) for part in row) for task in tasks},
        sum(part.flops for part in row),
        sum(part.activation_bytes for part in row),
    )


def _table(architecture: Component, data: Component, found: Outline) -> Table:
    options = ", ".join(f"{key} {value}" for key, value in architecture.options.items())
    title = f"{architecture.name} ({options}) on {data.name}, batch {found.batch}"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("stage", overflow="fold", min_width=12)
    for heading in ("output", "shared", *found.tasks, "MFLOP", "MB kept"):
        table.add_column(escape(heading), justify="right", no_wrap=heading not in found.tasks)
    rows = [part for part in grouped(found.parts) if part.name != ELSEWHERE or any(_numbers(part))]
    for part in rows:
        table.add_row(*_cells(part, found.tasks))
    table.add_section()
    table.add_row(*_cells(found.total, found.tasks))
    return table


def _numbers(part: PartCost) -> list[int]:
    return [part.shared, *part.own.values(), part.flops, part.activation_bytes]


def _cells(part: PartCost, tasks: Sequence[str]) -> list[str]:
    counts = [part.shared, *(part.own.get(task, 0) for task in tasks)]
    return [
        escape(part.name),
        " × ".join(map(str, part.shape)) if part.shape else "",
        *(f"{count:,}" if count else "–" for count in counts),
        f"{part.flops / 1e6:,.1f}",
        f"{part.activation_bytes / 1e6:,.1f}",
    ]


def _summary(found: Outline) -> list[str]:
    held = 4 * (KEPT_BY_ADAM * (found.parameters - found.frozen) + found.frozen)
    total = found.total
    frozen = f", {found.frozen:,} of them frozen" if found.frozen else ""
    return [
        f"{found.parameters:,} parameters{frozen}: {total.shared:,} shared, {sum(total.own.values()):,} of one task.",
        f"A training step holds {held / 1e6:,.0f} MB for parameters, gradients and Adam, and "
        f"{total.activation_bytes / 1e6:,.0f} MB of activations, in fp32; what operations need meanwhile is not in it.",
    ]
