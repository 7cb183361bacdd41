"""`mtbench report`: leaderboard pages from records."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.options import plugin_option, results_option
from benchmark.registry import load_plugin_files
from benchmark.report import build
from benchmark.runs.store import Store

console = Console(highlight=False)


@click.command()
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reports"),
    show_default=True,
    help="Folder of pages.",
)
@plugin_option
def report(results: Path, out: Path, plugins: tuple[Path, ...]) -> None:
    """Build the leaderboard pages from the records.

    Numbers need no plugin. With it, pages say what its methods, data sets and metrics say of themselves.

    \b
    Example:
      mtbench report
      mtbench report --results results --out reports
    """
    load_plugin_files(plugins)
    page = build(Store(results), out)
    console.print(f"The leaderboard is at {escape(str(page.resolve()))}", soft_wrap=True)
