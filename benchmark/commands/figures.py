"""`mtbench figures`: static figures of the boards, as a paper prints them."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.boards import board_options, boards_of, chosen_boards
from benchmark.commands.judging import judging_options, parse_baselines
from benchmark.commands.options import plugin_option, results_option
from benchmark.errors import UserError
from benchmark.registry import load_plugin_files
from benchmark.report.titles import stems
from benchmark.runs.store import Store

console = Console(highlight=False)


@click.command()
@results_option
@board_options
@judging_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("figures"),
    show_default=True,
    help="Folder of figures.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["pdf", "svg", "png"]),
    multiple=True,
    default=["pdf"],
    show_default=True,
    help="Of the files. May be given again.",
)
@click.option("--width", type=click.FloatRange(2, 20), default=3.3, show_default=True, help="Of a figure, in inches.")
@plugin_option
def figures(
    results: Path,
    keys: tuple[str, ...],
    datasets: tuple[str, ...],
    margin: float,
    baselines: tuple[str, ...],
    out: Path,
    formats: tuple[str, ...],
    width: float,
    plugins: tuple[Path, ...],
) -> None:
    """Draw a board for print: differences from baselines, Δm against cost, curves, architectures × weightings.

    The same records give the same files. PDF has its letters as TrueType, SVG as outlines.

    \b
    Example:
      mtbench figures
      mtbench figures --dataset scenes --baseline single-task --format pdf --format png --width 7
    """
    from benchmark.figures import Palette, baseline_on, drawings, save  # slow to import, and only wanted here

    load_plugin_files(plugins)
    held, store = parse_baselines(baselines), Store(results)
    chosen = chosen_boards(store, keys, datasets)
    every = boards_of(store)
    names = dict(zip((board.key for board in every), stems(every), strict=True))
    made = 0
    for board in chosen:
        palette = Palette.from_labels(
            ((record.spec.architecture.name, record.spec.weighting_name), board.labels[record.id])
            for record in board.records
        )
        named = []
        for baseline in held:
            if found := baseline_on(board, baseline):
                named.append(found)
            else:
                words = f"{names[board.key]}: no forest {baseline}, which no row of the board has"
                console.print(f"[yellow]Not drawn:[/] {escape(words)}", soft_wrap=True)
        for drawing in drawings(board, named, margin=margin, palette=palette, width=width):
            name = f"{names[board.key]}-{drawing.name}"
            if drawing.figure is None:
                console.print(f"[yellow]Not drawn:[/] {escape(f'{name}: {drawing.reason}')}", soft_wrap=True)
                continue
            for ending in formats:
                save(drawing.figure, out / f"{name}.{ending}")
                made += 1
    if not made:
        raise UserError("nothing could be drawn: the lines above say why; 'mtbench run' makes the records")
    console.print(f"{made} files are in {escape(str(out))}", soft_wrap=True)
