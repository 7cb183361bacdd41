"""What all figures share: type, colours, room for a footnote, and files that are the same from the same numbers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import matplotlib.style
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from benchmark.errors import UserError
from benchmark.report.charts.marks import COLOURS, Marks
from benchmark.runs.files import write_atomically

#: Inches: a column of the usual two-column paper.
WIDTH = 3.3
#: Points, of words and of numbers and notes.
LARGE, SMALL = 6.5, 5.8
FONT = "DejaVu Sans"  # comes with matplotlib, so that every machine has the same
#: By format what its file would say of the moment of writing, which must not be there.
FORMATS: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": LARGE,
    "axes.labelsize": LARGE,
    "axes.titlesize": LARGE,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "axes.linewidth": 0.5,
    "axes.labelpad": 2.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.linewidth": 0.9,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.minor.size": 1.2,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.4,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.3,
    "legend.columnspacing": 0.9,
    "legend.borderaxespad": 0.4,
    "legend.borderpad": 0.0,
    "legend.labelspacing": 0.35,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.04,
    "figure.dpi": 300,
    "savefig.dpi": 300,
    # Letters of PDF files as TrueType, which journals ask for; those of SVG files as outlines, which need no font.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "mtbench",
}

#: Of what has no method.
PLAIN = COLOURS[0]
#: Markers of matplotlib in the order of ``report.marks.SHAPES``.
SHAPES = ("o", "s", "D", "^", "v", "h", "p")
#: By verdict a colour and a marker, so that neither is needed to tell them apart.
VERDICT_MARKS = {
    "better": ("#00807a", "^"),
    "equivalent": ("#4641f0", "s"),
    "worse": ("#b3001b", "v"),
    "undecided": ("#777777", "o"),
}


@dataclass(frozen=True)
class Palette:
    """Colours by architecture and markers by weighting; what has none is drawn plain."""

    colours: Mapping[str, str] = field(default_factory=dict)
    markers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_labels(cls, labels: Iterable[tuple[tuple[str, str], tuple[str, str]]]) -> "Palette":
        """Those of the report's pages.

        Args:
            labels: of each run the registered names of architecture and weighting, and what a board calls them.
        """
        labels = list(labels)
        marks = Marks.from_pairs(kind for kind, _ in labels)
        return cls(
            {label[0]: COLOURS[marks.architectures[kind[0]]] for kind, label in labels},
            {label[1]: SHAPES[marks.weightings[kind[1]].shape] for kind, label in labels},
        )

    def colour(self, architecture: str) -> str:
        """Of an architecture."""
        return self.colours.get(architecture, PLAIN)

    def marker(self, weighting: str) -> str:
        """Of a weighting."""
        return self.markers.get(weighting, SHAPES[0])


@contextmanager
def style() -> Iterator[None]:
    """Inside, figures look the same whatever the user's settings of matplotlib are."""
    with matplotlib.style.context([sns.axes_style("ticks"), SETTINGS], after_reset=True):
        yield


def sheet(width: float, height: float, note: str) -> Figure:
    """An empty figure, in inches, with a footnote below the height."""
    lines = wrapped(note, width - 0.08, SMALL)
    foot = (len(lines) * 1.25 * SMALL + 3) / 72
    figure = Figure(figsize=(width, height + foot), layout="constrained")
    figure.get_layout_engine().set(rect=(0, foot / (height + foot), 1, height / (height + foot)))  # type: ignore[union-attr,call-arg]
    figure.text(
        0.04 / width, 0.02 / (height + foot), "\n".join(lines), fontsize=SMALL, color="#444444", va="bottom",
        linespacing=1.2,
    )  # fmt: skip
    return figure


def settle(figure: Figure) -> None:
    """Lay the figure out for good: laid out anew for each file it would move by a little."""
    for _ in range(3):  # the ticks' names and the room for them depend on one another
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:  # the solver's last bits are not the same each time
        left, low, wide, high = (round(float(part), 4) for part in axes.get_position(original=True).bounds)
        axes.set_position((left, low, wide, high))
        axes.set_in_layout(True)


def wrapped(text: str, inches: float, size: float) -> list[str]:
    """The text in lines that are no wider than so many inches, unless a word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= inches:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def text_width(text: str, size: float) -> float:
    """Inches of a line of text.

    Outlines of a TrueType font have points where they turn back, so that no curve has to be searched for its ends.
    """
    outline = TextPath((0, 0), text, size=size, prop=FontProperties(family=FONT))
    across = outline.vertices[outline.codes != TextPath.CLOSEPOLY, 0]
    return float(np.ptp(across)) / 72


def window(values: Iterable[float], least: float = 0.0) -> tuple[float, float]:
    """Ends of an axis that shows the values but for far outliers, beyond Tukey's outer fences.

    Args:
        values: those that are not finite do not count.
        least: half of the width that the axis has at least, about 0.
    """
    found = np.array([value for value in values if np.isfinite(value)], dtype=float)
    if not len(found):
        return -max(least, 1.0), max(least, 1.0)
    first, third = np.quantile(found, (0.25, 0.75))
    far = 3.5 * max(third - first, least)
    inside = found[(found >= first - far) & (found <= third + far)]
    low, high = min(inside.min(), -least), max(inside.max(), least)
    room = 0.04 * (high - low)
    return float(low - room), float(high + room)


def tidy(axes: Axes) -> None:
    """Thin lines behind the data."""
    axes.grid(True, axis="both")
    axes.tick_params(which="both", color="#444444")


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all, in the format of the file's ending.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    content, kind = BytesIO(), path.suffix.removeprefix(".")
    with style():
        figure.savefig(content, format=kind, metadata=FORMATS[kind])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); name another folder with --out") from error
