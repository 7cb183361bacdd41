"""`mtbench plan`: what the records can tell, and what it would take to tell more."""

import click
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.analysis.contest import Contest, Row, setting_words, settings
from benchmark.analysis.looks import LAST
from benchmark.analysis.power import CHANCE, Noise, noise
from benchmark.analysis.submitted import proven
from benchmark.analysis.verdicts import Baseline
from benchmark.commands.judging import judging_options, name_of, needs, parse_baselines, verdict_table
from benchmark.commands.selection import Selection, grid_options
from benchmark.commands.tables import print_table
from benchmark.data import build_dataset
from benchmark.runs.index import Index
from benchmark.wording import counted, duration

console = Console(highlight=False)


@click.command()
@grid_options
@judging_options
def plan(selection: Selection, *, margin: float, baselines: tuple[str, ...]) -> None:
    """Say from a grid's records what its boards can tell, and how many seeds and hours a margin would take.

    For each board: the verdicts so far and the smallest difference that its seeds tell; what the noise of a row is made
    of; and for each baseline how many seeds, runs and hours of one worker it would take to tell the margin, with a
    chance of 80 %. A few seeds of a few rows will do for a start.

    \b
    Example:
      mtbench plan --grid study-architectures
      mtbench plan --grid study-weightings --margin 1 --baseline equal
    """
    held = parse_baselines(baselines)
    index = Index(selection.store)
    names = list(dict.fromkeys(spec.dataset.name for spec in selection.specs))
    records = proven(index.records(dataset=names), index.store)
    groups = settings(selection.specs)
    for specs, setting in zip(groups, setting_words(groups, selection.settings), strict=True):
        contest = Contest.among(specs, records)
        print_table(console, verdict_table(contest, held, margin, setting))
        console.print(in_words(noise(contest.data, contest.chosen, pictures(contest))))
        print_table(console, cost_table(contest, held, margin))


def pictures(contest: Contest) -> dict[str, int]:
    """How many samples its splits have."""
    dataset = next(iter(contest.cells.values())).dataset
    pieces = build_dataset(dataset.name, **dataset.options).pieces
    return {split: max(piece.samples[split] for piece in pieces) for split in ("val", "test")}


def in_words(found: Noise) -> str:
    """What the noise is made of."""
    parts = {"seeds": found.seeds, "of which epochs": found.epochs, "test pictures": found.pictures}
    told = ", ".join(f"{name} {'not known' if sd is None else f'{sd:.2g}'}" for name, sd in parts.items())
    return f"SD of a row's Δm in points: {told}. More seeds do nothing against the last."


def cost_table(contest: Contest, baselines: list[Baseline], margin: float) -> Table:
    """Seeds, runs and hours for each baseline, and for all of them."""
    title = f"To tell {margin:g} points with a chance of {CHANCE:.0%}".replace("%", " %")
    table = Table("against", "seeds of the usual row", "of most rows", "further runs", "on one worker", title=title)
    table.title_justify = "left"
    have = {row: sum(record.status == "ok" for record in own) for row, own in contest.by_row.items()}
    together: dict[Row, float] = {}
    for baseline in baselines:
        wanted = needs(contest, baseline, margin)
        if wanted:
            together = {
                row: np.fmax(together.get(row, np.nan), wanted.get(row, np.nan)) for row in {*together, *wanted}
            }
            table.add_row(escape(name_of(baseline)), *_costs(contest, wanted, have))
    if len(baselines) > 1 and together:
        table.add_row("all of them", *_costs(contest, together, have))
    return table


def _costs(contest: Contest, wanted: dict[Row, float], have: dict[Row, int]) -> tuple[str, str, str, str]:
    seeds = np.array(list(wanted.values()), dtype=float)
    if np.isnan(seeds).all():
        return "not known: no row has three seeds", "", "", ""
    usual, most = (float(np.nanquantile(seeds, q, method="higher")) for q in (0.5, 0.9))
    lacking = {
        row: max(0.0, n - have.get(row, 0)) for row, n in wanted.items() if np.isfinite(n) and row in contest.cells
    }
    seconds = sum(n * contest.seconds[row] for row, n in lacking.items())
    runs = f"{sum(lacking.values()):.0f}"
    if hopeless := int(np.isinf(seeds).sum()):
        runs += f", and {counted(hopeless, 'row')} beyond {LAST:.0f} seeds"
    words = ["beyond" if np.isinf(n) else f"{n:.0f}" for n in (usual, most)]
    return words[0], words[1], runs, duration(seconds)
