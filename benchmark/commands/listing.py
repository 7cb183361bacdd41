"""`mtbench list`: what can be named in a grid."""

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmark.commands.cards import cards
from benchmark.commands.options import plugin_option
from benchmark.commands.tables import print_table
from benchmark.registry import ARCHITECTURES, BACKBONES, DATASETS, WEIGHTINGS, load_plugin_files
from benchmark.runs.grid import grid_names, load_grid
from benchmark.tasks import KINDS, TaskKind

console = Console(highlight=False)

#: Headings of the tables that have others than name, options and what it is.
COLUMNS = {
    "kinds": ("name", "metrics", "what it is"),
    "backbones": ("name", "form", "what it is"),
    "grids": ("name", "what it is"),
}


@click.command("list")
@click.argument(
    "kind",
    type=click.Choice(["architectures", "weightings", "datasets", "kinds", "backbones", "grids"]),
    required=False,
)
@click.option("--verbose", "-v", is_flag=True, help="A card for each: papers, formulas, costs, definitions, licences.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
@plugin_option
def list_(kind: str | None, verbose: bool, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """List what can be named in a grid, with its options and their defaults (a bare name: none, it must be given).

    KIND narrows the list; kinds are those of tasks, with their metrics. Backbones are what the option of that name of
    architectures takes.

    \b
    Example:
      mtbench list
      mtbench list architectures
      mtbench list weightings --verbose
      mtbench list --json
    """
    load_plugin_files(plugins)
    chosen = {title: found for title, found in described().items() if kind in (None, title)}
    if as_json:
        click.echo(json.dumps(chosen, indent=1))
        return
    for title, entries in chosen.items():
        columns = COLUMNS.get(title, ("name", "options", "what it is"))
        heading = "kinds of task" if title == "kinds" else title
        if verbose:
            if kind is None:
                console.print(Text(heading, "italic"))
            console.print(*cards(title, entries))
            continue
        table = Table(*columns, title=heading, title_justify="left", expand=True)
        for entry in entries:
            table.add_row(*(escape(cell) for cell in _cells(title, entry)))
        print_table(console, table)


def _cells(title: str, entry: Mapping[str, Any]) -> list[str]:
    """An entry of ``described`` as a row of its table."""
    if title == "grids":
        return [entry["name"], entry["summary"]]
    if title == "backbones":
        return [entry["name"], entry["form"], entry["summary"]]
    if title == "kinds":
        names = [metric["name"] for metric in entry["metrics"] if not metric["legacy"]]
        return [entry["name"], ", ".join(names), entry["summary"]]
    defaults = {**dict.fromkeys(entry["required"]), **entry["options"]}
    options = [name if name in entry["required"] else f"{name}={value}" for name, value in defaults.items()]
    return [entry["name"], ", ".join(options), entry["summary"]]


def described() -> dict[str, list[dict[str, Any]]]:
    """What the list shows, in plain containers: by title, one entry per name."""
    registries = {"architectures": ARCHITECTURES, "weightings": WEIGHTINGS, "datasets": DATASETS}
    found: dict[str, list[dict[str, Any]]] = {
        title: [
            {
                "name": name,
                "version": entry.version,
                "options": {k: v for k, v in entry.defaults.items() if k not in entry.required},
                "required": entry.required,
                "summary": entry.summary,
            }
            for name in registry
            for entry in (registry[name],)
        ]
        for title, registry in registries.items()
    }
    found["kinds"] = [
        {
            "name": name,
            "dense": kind.dense,
            "metrics": [dataclasses.asdict(metric) for metric in kind.metrics],
            "summary": _first_line(kind),
        }
        for name, kind in sorted(KINDS.items())
    ]
    found["backbones"] = [
        {"name": name, "form": form, "summary": text.partition("\n")[0]}
        for name, (form, text) in sorted(BACKBONES.items())
    ]
    found["grids"] = [{"name": name, "summary": load_grid(name).description} for name in grid_names()]
    return found


def _first_line(kind: TaskKind) -> str:
    return inspect.cleandoc(type(kind).__doc__ or "").partition("\n")[0]
