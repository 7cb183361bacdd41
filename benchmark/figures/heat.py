"""Δm of every architecture under every weighting."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from benchmark.figures.style import SMALL, VERDICT_MARKS, WIDTH, settle, sheet, style, text_width
from benchmark.figures.words import means, row_names, signed

#: What stands behind a number, by verdict.
SIGNS = {"better": "▲", "equivalent": "=", "worse": "▼", "undecided": ""}
#: Inches of a line of cells.
LINE = 0.19


def heat(points: pd.DataFrame, *, against: str = "single-task", width: float = WIDTH) -> Figure | None:
    """Draw Δm by architecture and weighting, of weightings that stand under several architectures.

    Args:
        points: ``architecture``, ``weighting``, ``mean``, ``n``, ``verdict`` (against the baseline).
        against: the verdicts' baseline, in words.
        width: in inches.

    Returns:
        None where no weighting stands under two architectures.
    """
    crossed = points[points["weighting"] != "none"]
    under = crossed.groupby("weighting")["architecture"].nunique()
    shown = crossed[crossed["weighting"].isin(under[under > 1].index)]
    if shown.empty:
        return None
    values, marks = (
        shown.pivot(index="weighting", columns="architecture", values=name) for name in ("mean", "verdict")
    )
    best = values.mean().sort_values(ascending=False, kind="stable").index
    order = values.mean(axis=1).sort_values(ascending=False, kind="stable").index
    values, marks = values.loc[order, best], marks.loc[order, best]
    if len(best) > len(order):  # the long side downwards, where names have room
        values, marks = values.T, marks.T
    words = [
        ["" if np.isnan(v) else f"{signed(v)} {SIGNS.get(m, '')}".rstrip() for v, m in zip(a, b, strict=True)]
        for a, b in zip(values.to_numpy(dtype=float), marks.to_numpy(), strict=True)
    ]
    most = float(np.nanquantile(np.abs(values.to_numpy(dtype=float)), 0.9)) or 1.0
    with style():
        figure = sheet(width, LINE * len(values) + 0.85, _note(points, shown, against))
        axes = figure.subplots()
        colours = [VERDICT_MARKS["worse"][0], "#ffffff", VERDICT_MARKS["better"][0]]
        sns.heatmap(
            values, ax=axes, annot=np.array(words), fmt="", cmap=sns.blend_palette(colours, as_cmap=True), vmin=-most,
            vmax=most, linewidths=0.5, linecolor="#ffffff", annot_kws={"fontsize": SMALL},
            cbar_kws={"label": "Δm, %", "fraction": 0.06, "pad": 0.02, "extend": "both"},
        )  # fmt: skip
        axes.set(xlabel="", ylabel="")
        axes.set_facecolor("#eeeeee")
        axes.set_yticks(axes.get_yticks(), row_names([(name, "none") for name in values.index]), rotation=0)
        axes.set_xticks(axes.get_xticks(), row_names([(name, "none") for name in values.columns]))
        labels = axes.get_xticklabels()
        if max(text_width(label.get_text(), SMALL) for label in labels) > 0.62 * width / len(labels):
            for label in labels:
                label.set(ha="right", rotation=30, rotation_mode="anchor")
        axes.tick_params(length=0)
        axes.collections[0].colorbar.outline.set_visible(False)  # type: ignore[union-attr]
        settle(figure)
    return figure


def _note(points: pd.DataFrame, shown: pd.DataFrame, against: str) -> str:
    parts = [f"{means(shown['n'])}. ▲ better than {against}, ▼ worse, = equivalent, no sign: undecided."]
    parts.append("Verdicts hold for all rows together.")
    left = points[~points.index.isin(shown.index)]
    once = left.loc[left["weighting"] != "none", "weighting"].nunique()
    if once:
        words = "weighting that stands" if once == 1 else "weightings that stand"
        parts.append(f"Not shown: {once} {words} under one architecture alone.")
    return " ".join(parts)
