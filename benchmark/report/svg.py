"""matplotlib figures as part of a page: SVG in its fonts, its colours in both themes, and the same bytes every time."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report.marks import COLOURS

#: Stand-ins that the pages replace by their theme's colours.
INK, MUTED, GRID, PAPER = "#101112", "#707172", "#d0d1d2", "#fefdfc"

_THEME = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--paper)"} | {
    light: f"var(--c{i})" for i, (light, _) in enumerate(COLOURS)
}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mtbench",
    "text.parse_math": False,  # "$" in a name is a dollar
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout on every machine
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib's settings for all figures of a report; the caller's come back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def canvas(width: float, height: float, margins: Sequence[float]) -> tuple[Figure, Axes]:
    """A figure of ``width`` × ``height`` points with one pair of axes; margins in points: left, bottom, right, top."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    left, bottom, right, top = margins
    box = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    axes = figure.add_axes(box)
    axes.patch.set_visible(False)
    return figure, axes


def inline(figure: Figure, prefix: str, label: str, tips: Mapping[str, str] | None = None) -> Markup:
    """The figure as an ``<svg>`` element.

    Args:
        figure: drawn under ``settings``.
        prefix: unique on the page; told apart by it, the ids of several figures do not clash.
        label: what the figure shows, for those who cannot see it.
        tips: by the gid of an artist, the words that appear under the pointer.
    """
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*</defs>", "", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"\b(id=\"|url\(#|href=\"#)", rf"\g<1>{prefix}-", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _THEME.get(found[0], found[0]), text)
    text = re.sub(r"\n\s*", "\n", text)
    text = re.sub(r" ?\n(?=[LCQz])", "", text)
    for gid, words in (tips or {}).items():
        text = text.replace(f'<g id="{prefix}-{gid}">', f'<g class="tip"><title>{escape(words)}</title>')
    size = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg class="figure" role="img" aria-label="{escape(label)}" {size[0] if size else ""}>'
    # Axis labels and ticks were escaped by matplotlib, the rest here.
    return Markup(re.sub(r"^<svg[^>]*>", lambda _: head, text, count=1))
