"""One metric of each task by epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.figures.style import WIDTH, Palette, settle, sheet, style, tidy, window
from benchmark.figures.words import means, row_names

#: Inches of a panel's height.
PANEL = 1.35
#: Inches of a figure from which panels stand beside one another.
BESIDE = 5.0
#: Share of training whose values do not stretch an axis: errors at the start would hide later differences.
START = 1 / 3
DASHES = ((1, 0), (3, 1.2), (1, 1), (4, 1, 1, 1), (6, 2))


def curves(
    data: pd.DataFrame,
    rows: Sequence[tuple[str, str]],
    *,
    titles: Mapping[str, str],
    why: str = "",
    palette: Palette | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw a panel per task: the mean over seeds of each of ``rows``, with a band from the least to the greatest seed.

    Args:
        data: of one metric per task: ``architecture``, ``weighting``, ``seed``, ``epoch``, ``task``, ``value``.
        rows: those in colour; the others are thin and grey.
        titles: by task, in the order of the panels, what the metric is called.
        why: why these rows, for the footnote.
        palette: colours of architectures.
        width: in inches.
    """
    palette = palette or Palette()
    data = data[np.isfinite(data["value"])]
    beside = width >= BESIDE
    with style():
        high = PANEL if beside else PANEL * len(titles)
        legend = -(-len(rows) // _columns(width)) * 0.12 + 0.1
        figure = sheet(width, high + legend + 0.12, _note(data, rows, why))
        shape = (1, len(titles)) if beside else (len(titles), 1)
        panels = figure.subplots(*shape, sharex=True, squeeze=False).ravel()
        for axes, (task, title) in zip(panels, titles.items(), strict=True):
            _panel(axes, data[data["task"] == task], rows, palette)
            axes.set(xlabel="", ylabel=title)
        for axes in panels if beside else panels[-1:]:
            axes.set_xlabel("epoch")
        figure.align_ylabels(panels)
        figure.legend(handles=_legend(rows, palette), loc="outside upper center", ncols=_columns(width))
        settle(figure)
    return figure


def _columns(width: float) -> int:
    return max(1, int(width / 1.1))


def _panel(axes: Axes, data: pd.DataFrame, rows: Sequence[tuple[str, str]], palette: Palette) -> None:
    known = data.set_index(["architecture", "weighting"]).index
    middle = data.groupby(["architecture", "weighting", "epoch"])["value"].mean().reset_index()
    others = middle[~middle.set_index(["architecture", "weighting"]).index.isin(rows)]
    for _, line in others.groupby(["architecture", "weighting"]):
        axes.plot(line["epoch"], line["value"], color="#d5d5d5", lw=0.35, gid="other", zorder=1)
    for place, row in enumerate(rows):
        own = data[known == row]
        if own.empty:
            continue
        sns.lineplot(
            own, x="epoch", y="value", errorbar=("pi", 100), color=palette.colour(row[0]), ax=axes, legend=False,
            err_kws={"alpha": 0.1, "lw": 0}, marker="o" if own["epoch"].nunique() < 12 else None, markersize=2,
            markeredgewidth=0, linewidth=0.9, dashes=False, gid="row", zorder=3,
        )  # fmt: skip
        axes.lines[-1].set_dashes(_dashes(rows, place))
    shown = pd.concat([middle, data[known.isin(rows)]])  # bands end in seeds
    late = shown.loc[shown["epoch"] > START * shown["epoch"].max(), "value"]
    axes.set_ylim(*_apart(*window(late), late))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    tidy(axes)


def _apart(low: float, high: float, values: pd.Series) -> tuple[float, float]:
    """The window without the 0 that it holds for differences' sake."""
    inside = values[(values >= low) & (values <= high)]
    if inside.empty:
        return low, high
    room = 0.06 * (float(inside.max()) - float(inside.min())) or 0.05 * abs(float(inside.max())) or 1.0
    return float(inside.min()) - room, float(inside.max()) + room


def _dashes(rows: Sequence[tuple[str, str]], place: int) -> tuple[float, ...]:
    """Rows of one architecture, which have one colour, differ in their dashes."""
    before = sum(row[0] == rows[place][0] for row in rows[:place])
    return DASHES[before % len(DASHES)]


def _legend(rows: Sequence[tuple[str, str]], palette: Palette) -> list[Line2D]:
    found = []
    for place, (row, name) in enumerate(zip(rows, row_names(rows), strict=True)):
        line = Line2D([], [], color=palette.colour(row[0]), lw=0.9, label=name)
        line.set_dashes(_dashes(rows, place))
        found.append(line)
    return found


def _note(data: pd.DataFrame, rows: Sequence[tuple[str, str]], why: str) -> str:
    shown = data[data.set_index(["architecture", "weighting"]).index.isin(rows)]
    counts = shown.groupby(["architecture", "weighting"])["seed"].nunique()
    parts = [f"On validation. Lines: {means(counts).lower()}."]
    if counts.max() > 1:
        parts.append("Bands: from the least to the greatest seed.")
    if why:
        parts.append(why)
    others = data.groupby(["architecture", "weighting"]).ngroups - len(counts)
    if others:
        parts.append(f"Grey: the other {others} rows.")
    return " ".join(parts)
