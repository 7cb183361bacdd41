"""`mtbench grid`: grid files, checked and shown."""

import json
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.options import plugin_option
from benchmark.registry import load_plugin_files
from benchmark.runs.expansion import expand, undefined
from benchmark.runs.filters import AS_IN_THE_GRID
from benchmark.runs.grid import Grid, grid_names, grid_text, load_grid
from benchmark.training.checks import check_runs

console = Console(highlight=False)


@click.group()
def grid() -> None:
    """Check grid files, show those of the suite.

    \b
    Example:
      mtbench grid show quick > my-grid.toml
      mtbench grid check my-grid.toml
    """


@grid.command("check")
@click.argument("name", metavar="NAME|FILE.toml")
@plugin_option
def check(name: str, plugins: tuple[Path, ...]) -> None:
    """Say whether a grid file is valid, and what it comes to: no run is done, no data set prepared.

    What 'mtbench run' would refuse before its first run, such as an option's value, is refused here.

    NAME|FILE.toml is a grid of the suite or a file.

    \b
    Example:
      mtbench grid check my-grid.toml
      mtbench grid check my-grid.toml --plugin my_method.py
    """
    load_plugin_files(plugins)
    found = load_grid(name)
    specs = expand(found, AS_IN_THE_GRID)
    check_runs(specs)
    for cell in undefined(found):
        console.print(f"[yellow]Left out:[/] {escape(str(cell))}", soft_wrap=True)
    for dataset, count in Counter(spec.dataset.name for spec in specs).items():
        own = [spec for spec in specs if spec.dataset.name == dataset]
        cells = {(spec.architecture.model_dump_json(), spec.weighting_words) for spec in own}
        seeds = sorted({spec.seed for spec in own})
        console.print(
            f"{escape(dataset)}: {count} run{'s' * (count != 1)} of {len(cells)} row{'s' * (len(cells) != 1)}, "
            f"seeds {', '.join(map(str, seeds[:10]))}{' …' * (len(seeds) > 10)}",
            soft_wrap=True,
        )


@grid.command("show")
@click.argument("name", type=click.Choice(grid_names()))
def show(name: str) -> None:
    """Print a grid of the suite, to begin one's own from.

    NAME is one that 'mtbench list grids' shows.

    \b
    Example:
      mtbench grid show quick > my-grid.toml
    """
    click.echo(grid_text(name), nl=False)


@grid.command("schema")
def schema() -> None:
    """Print the JSON Schema of grid files, for editors.

    \b
    Example:
      mtbench grid schema > grid.schema.json
    """
    click.echo(json.dumps(Grid.model_json_schema(), indent=1))
