"""The options that select verdicts, and how verdicts are printed."""

from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from benchmark.analysis.contest import Contest, Row, baseline_of
from benchmark.analysis.power import seeds_needed
from benchmark.analysis.verdicts import MARGIN, VERDICTS, Baseline, smallest_difference


def judging_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options; the command gets ``margin`` and ``baselines``, names of methods."""
    for option in (
        click.option(
            "--baseline",
            "baselines",
            multiple=True,
            help="What rows are held against: the reference, a weighting on the same architecture, or an architecture "
            "under the same weighting. May be given again. Default: single-task, equal and split.",
        ),
        click.option(
            "--margin",
            type=click.FloatRange(0, min_open=True),
            default=MARGIN,
            show_default=True,
            help="Points of Δm within which rows count as equivalent.",
        ),
    ):
        command = option(command)
    return command


def parse_baselines(words: Sequence[str]) -> list[Baseline]:
    """Baselines by names of methods; without names the usual ones.

    Raises:
        UsageError: there is no such method.
    """
    if not words:
        return Baseline.usual()
    return [baseline_of(word) for word in dict.fromkeys(words)]


def counted(found: pd.DataFrame, compared: int) -> dict[str, int]:
    """How many rows have each verdict; those without a record are undecided."""
    words = list(found["verdict"])
    return {word: words.count(word) + (compared - len(found)) * (word == "undecided") for word in VERDICTS}


def verdict_table(contest: Contest, baselines: Sequence[Baseline], margin: float, setting: str = "") -> Table:
    """One line per baseline: verdicts, and the smallest difference that the seeds tell.

    Args:
        setting: in words, where the data set has several.
    """
    columns = ("against", "rows", *VERDICTS, "tells", "seeds")
    name = f"{contest.name} at {setting}" if setting else contest.name
    table = Table(*columns, title=f"{escape(name)}: Δm, margin {margin:g} points", title_justify="left")
    for baseline in baselines:
        pairs = contest.pairs(baseline)
        if pairs:
            found = contest.verdicts(baseline, margin)
            counts = counted(found, len(pairs))
            table.add_row(
                escape(name_of(baseline)), str(len(pairs)), *(str(counts[word]) for word in VERDICTS), *how(found)
            )
    return table


def name_of(baseline: Baseline) -> str:
    """Of a baseline, in a word."""
    return baseline.architecture or baseline.weighting or "the reference"


def how(found: pd.DataFrame) -> tuple[str, str]:
    """The smallest difference that can be detected, and whether runs were paired, in words."""
    finite = found[np.isfinite(found["low"])]
    if finite.empty:
        return "nothing yet", ""
    return f"± {smallest_difference(found):.2g}" if np.isfinite(smallest_difference(found)) else "nothing yet", (
        "compared within seeds" if found["paired"].any() else "all of both"
    )


def needs(contest: Contest, baseline: Baseline, margin: float) -> dict[Row, float]:
    """By row, compared or a baseline, with how many seeds the margin would be told; NaN where no noise is known."""
    pairs, found = contest.pairs(baseline), contest.verdicts(baseline, margin)
    needed = seeds_needed(found, margin, rows=max(len(pairs), 1))
    own: dict[Any, float] = dict(zip(zip(found["architecture"], found["weighting"], strict=True), needed, strict=True))
    typical = float(needed.median()) if len(needed) else np.nan
    wanted: dict[Row, float] = {}
    for row, other in pairs:
        for name in (row, other):
            wanted[name] = np.fmax(wanted.get(name, np.nan), own.get(row, typical))
    return wanted
