"""Differences from a baseline with their intervals, one line per row."""

from collections import Counter

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis import VERDICTS
from benchmark.figures.style import SMALL, VERDICT_MARKS, WIDTH, Palette, settle, sheet, style, tidy, window
from benchmark.figures.words import row_names, seeds, signed

#: Inches of one row.
LINE = 0.118
#: What is drawn first is told first.
ORDER = ("better", "equivalent", "worse", "undecided")


def forest(
    found: pd.DataFrame,
    *,
    dots: pd.DataFrame | None = None,
    against: str = "the baseline",
    palette: Palette | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw one quantity's differences, the greatest first.

    Args:
        found: lines of ``analysis.verdicts`` of one quantity, such as those with ``metric`` ``delta_m``.
        dots: the difference of each seed, to be drawn as a tick: ``architecture``, ``weighting``, ``difference``.
        against: the baseline, in words.
        palette: colours of the rows' names.
        width: in inches.
    """
    palette = palette or Palette()
    found = found.sort_values(["difference", "architecture", "weighting"], ascending=[False, True, True])
    found = found[np.isfinite(found["difference"])].reset_index(drop=True)
    rows = list(zip(found["architecture"], found["weighting"], strict=True))
    if dots is not None and found["n"].max() < 2:
        dots = None  # each would lie on its mean
    with style():
        figure = sheet(width, len(found) * LINE + 0.6, _note(found, against, dots is not None))
        axes = figure.subplots()
        margin = float(found["margin"].iloc[0])
        low, high = (np.where(np.isfinite(found[end]), found[end], found["difference"]) for end in ("low", "high"))
        across = window([*low, *high, *found["difference"], *(dots["difference"] if dots is not None else ())], margin)
        axes.set(xlim=across, ylim=(len(found) - 0.3, -0.7))
        axes.axvspan(-margin, margin, color="#e9e9f3", lw=0, zorder=0)
        axes.axvline(0, color="#444444", lw=0.6, zorder=1)
        if dots is not None:
            places = {row: place for place, row in enumerate(rows)}
            at = [places.get(row, np.nan) for row in zip(dots["architecture"], dots["weighting"], strict=True)]
            axes.plot(dots["difference"], at, ls="", marker="|", ms=4, mew=0.45, color="#222222", gid="seeds", zorder=4)
        for place, row in found.iterrows():
            _line(axes, int(str(place)), row, across)
        axes.set_yticks(range(len(rows)), row_names(rows))
        for label, (architecture, _) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_color(palette.colour(architecture))
        tidy(axes)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"Δm − Δm of {against}, points   (better →)")
        figure.legend(handles=_legend(found), loc="outside upper center", ncols=4)
        settle(figure)
    return figure


def _line(axes: Axes, place: int, row: pd.Series, across: tuple[float, float]) -> None:
    """One row: interval and mean; what lies beyond the axis ends in an arrow, with its number."""
    colour, marker = VERDICT_MARKS[row["verdict"]]
    low, high, middle = row["low"], row["high"], row["difference"]
    if np.isfinite(low) and np.isfinite(high):
        axes.plot([low, high], [place, place], color=colour, lw=0.9, solid_capstyle="butt", gid="interval", zorder=3)
        for end, beyond, sign in ((across[0], low < across[0], "<"), (across[1], high > across[1], ">")):
            if beyond:
                axes.plot(end, place, ls="", marker=sign, ms=2.5, color=colour, mew=0, clip_on=False, zorder=4)
    if across[0] <= middle <= across[1]:
        face = "white" if row["verdict"] == "undecided" else colour
        axes.plot(middle, place, ls="", marker=marker, ms=3, mfc=face, mec=colour, mew=0.7, gid="mean", zorder=5)
    else:
        left = middle < across[0]
        axes.annotate(
            signed(middle), (across[0] if left else across[1], place), xytext=(4 if left else -4, 0), color=colour,
            textcoords="offset points", va="center", ha="left" if left else "right", fontsize=SMALL,
        )  # fmt: skip


def _legend(found: pd.DataFrame) -> list[Line2D]:
    counts = Counter(found["verdict"])
    handles = []
    for verdict in ORDER:
        colour, marker = VERDICT_MARKS[verdict]
        face = "white" if verdict == "undecided" else colour
        words = f"{verdict} {counts[verdict]}"
        handles.append(Line2D([], [], ls="", marker=marker, ms=3.5, mfc=face, mec=colour, mew=0.7, label=words))
    return handles


def _note(found: pd.DataFrame, against: str, dotted: bool) -> str:
    margin, whole = found["margin"].iloc[0], np.isfinite(found["low"]) & np.isfinite(found["high"])
    rows = f"{len(found)} row{'s' * (len(found) > 1)}, {seeds(found['n'])} each"
    parts = [f"{rows}; {against}: {seeds(found['n_baseline'])}."]
    if whole.any():
        paired = ", seed by seed" if found["paired"].any() else ""
        parts.append(f"Lines: 95 % intervals that hold for all rows together, however often one looks{paired}.")
    if not whole.all():
        parts.append("Without a line: fewer than three seeds of the row or of what it is held against.")
    if dotted:
        parts.append("Ticks: seeds.")
    parts.append(f"Band: ±{margin:g} points, within which an interval says equivalent.")
    return " ".join(parts)


assert set(ORDER) == set(VERDICTS) == set(VERDICT_MARKS)
