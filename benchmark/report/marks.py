"""One colour per architecture and one marker per weighting, the same in every figure, table and legend."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.markers import MarkerStyle

#: (On white, on dark). Chosen by search: the first eight differ by ΔE(OKLab) ≥ 8 in pairs, also as people with
#: protanopia, deuteranopia or tritanopia see them, and have a contrast of 3:1 with the page.
COLOURS = (
    ("#222222", "#8a8d92"), ("#310788", "#9c37ac"), ("#4641f0", "#444dfa"), ("#319bd4", "#07a0ff"),
    ("#005400", "#007908"), ("#cf8075", "#ea8a16"), ("#904f7e", "#f9b4e4"), ("#7b7719", "#e5ff44"),
    ("#b3001b", "#ff6b6b"), ("#00807a", "#3fd6c8"), ("#7a4a1e", "#c98d54"), ("#c02fc0", "#ff7df5"),
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*", "d", "8", "H")

#: Names that came first keep their place, whatever else a report shows.
SETTLED_COLOURS = {
    "single-task": 0, "stan": 1, "split-wide": 2, "split-deep": 3, "dense": 4, "cross-stitch": 5, "mtan": 6, "split": 7,
}  # fmt: skip
SETTLED_MARKERS = {"none": 0, "equal": 1, "uncertainty": 2, "dwa": 3}


@dataclass(frozen=True)
class Marks:
    """Places in ``COLOURS`` by architecture and in ``MARKERS`` by weighting."""

    architectures: Mapping[str, int]
    weightings: Mapping[str, int]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> "Marks":
        """Marks for every (architecture, weighting) of a report."""
        pairs = list(pairs)
        return cls(
            assign({a for a, _ in pairs}, SETTLED_COLOURS, len(COLOURS)),
            assign({w for _, w in pairs}, SETTLED_MARKERS, len(MARKERS)),
        )

    def colour(self, architecture: str) -> str:
        """The colour for figures; pages replace it by ``variable`` so that it follows the reader's theme."""
        return COLOURS[self.architectures[architecture]][0]

    def variable(self, architecture: str) -> str:
        """The colour as a CSS variable."""
        return f"var(--c{self.architectures[architecture]})"

    def marker(self, weighting: str) -> str:
        """The matplotlib marker."""
        return MARKERS[self.weightings[weighting]]

    def icon(self, architecture: str | None, weighting: str | None) -> Markup:
        """The mark as a small inline picture.

        Without weighting it is a bar in the architecture's colour, without architecture the marker's outline.
        """
        fill = self.variable(architecture) if architecture is not None else "none"
        shape = outline(self.marker(weighting)) if weighting is not None else "M-1.3-.5H1.3V.5H-1.3Z"
        stroke = "" if architecture is not None else ' stroke="currentColor" stroke-width=".2"'
        return Markup(  # all parts are constants of this module
            f'<svg class="mark" viewBox="-1.5 -1.5 3 3" aria-hidden="true"><path d="{shape}" '
            f'style="fill:{fill}"{stroke}/></svg>'
        )


def assign(names: Iterable[str], settled: Mapping[str, int], places: int) -> dict[str, int]:
    """A place for each name: its settled one, else the first free one from where its hash points.

    Thus a name keeps its place from report to report unless another newcomer claims the same one. When no place is
    free, places are shared.
    """
    names = set(names)
    result = {name: settled[name] for name in sorted(names) if name in settled}
    for name in sorted(names - set(settled)):
        start = int(hashlib.sha256(name.encode("utf-8", "replace")).hexdigest(), 16) % places
        order = [(start + step) % places for step in range(places)]
        taken = set(result.values())
        unused = [place for place in order if place not in taken and place not in settled.values()]
        free = unused or [place for place in order if place not in taken] or order
        result[name] = free[0]
    return result


def outline(marker: str) -> str:
    """A matplotlib marker as the data of an SVG path within a square of side 2 about the origin."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    size = abs(path.get_extents().get_points()).max()
    commands = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts = []
    for points, code in path.iter_segments(curves=True, simplify=False):
        numbers = [] if code == path.CLOSEPOLY else _upright(points / size)
        parts.append(commands[int(code)] + " ".join(f"{number:.3f}" for number in numbers))
    return "".join(parts)


def _upright(points: Sequence[float]) -> list[float]:
    """SVG's y axis points down."""
    return [-value if i % 2 else value for i, value in enumerate(points)]


def palette_css() -> str:
    """The colours as CSS variables for both themes."""
    light = "".join(f"--c{i}:{colours[0]};" for i, colours in enumerate(COLOURS))
    dark = "".join(f"--c{i}:{colours[1]};" for i, colours in enumerate(COLOURS))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
