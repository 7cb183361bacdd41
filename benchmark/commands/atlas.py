"""`mtbench atlas`: which weightings are one rule under two names, and what each one depends on."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from benchmark import atlas
from benchmark.commands.options import plugin_option, results_option
from benchmark.commands.tables import print_table
from benchmark.registry import WEIGHTINGS, load_plugin_files

console = Console(highlight=False)


@click.command("atlas")
@click.option("--weighting", "weightings", multiple=True, help="Only this weighting. May be given again.")
@click.option(
    "--matrices",
    type=click.IntRange(1),
    default=atlas.USUAL.matrices,
    show_default=True,
    help="Random matrices of gradients on which rules are compared.",
)
@results_option
@plugin_option
def atlas_command(weightings: tuple[str, ...], matrices: int, results: Path, plugins: tuple[Path, ...]) -> None:
    """Compare all weightings on random gradients: which are one rule, and what each one depends on.

    Two rules are identical, the same up to the length of their directions, or distinct, on every matrix and after steps
    in which they learn and remember. Of each is told whether it depends on the order of the tasks, on the scale of one
    task's loss, and on a task that has no label. Default options; weightings that need an option are left out.

    \b
    Example:
      mtbench atlas
      mtbench atlas --weighting equal --weighting my-weighting --plugin my_method.py --results elsewhere
    """
    load_plugin_files(plugins)
    names = list(dict.fromkeys(weightings)) or [name for name in WEIGHTINGS if not WEIGHTINGS[name].required]
    settings = atlas.USUAL.model_copy(update={"matrices": matrices})
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("weightings", total=len(names))
        record = atlas.survey(names, settings, lambda name: progress.advance(bar))
    path = atlas.save(record, results)
    _show(record)
    console.print(f"The atlas is in {escape(str(path))}", soft_wrap=True)


def _show(record: atlas.AtlasRecord) -> None:
    table = Table("weighting", "draws", "order", "turned by a loss ×10", "absent task", "identical", "same direction")
    for method in record.methods:
        name = method.weighting.name
        if method.error:
            table.add_row(escape(name), escape(method.error))
            continue
        table.add_row(
            escape(name),
            "yes" if method.draws else "no",
            "matters" if method.depends("order") else "no",
            f"{method.turn:.3g}°",
            "matters" if method.depends("absent") else "no",
            *(escape(", ".join(record.alike(name, how))) for how in ("identical", "same direction")),
        )
    print_table(console, table)
