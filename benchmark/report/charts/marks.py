"""One colour per architecture and one marker per weighting, the same in every figure, table and legend of a report."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from benchmark.registry import ARCHITECTURES, WEIGHTINGS

#: The same on white and on dark, so that a method keeps its colour. Chosen by search: all have a contrast of 3:1 with
#: both pages, and the first eight differ by ΔE(OKLab) ≥ 8 in pairs, also as people with protanopia, deuteranopia or
#: tritanopia see them.
COLOURS = (
    "#8c949a", "#6e55be", "#3960ff", "#1d9bdf", "#267246", "#d77065", "#ad4f89", "#7d7e16", "#bb2e42", "#067c70",
    "#835e01", "#b702a9", "#ca66ff", "#fe3fab", "#00aa01", "#9b06fa", "#fd020e", "#0ca687", "#927ed9", "#fb0ef3",
)  # fmt: skip
#: Outlines about the origin, of about the same area, with room for a letter; y points down. With the letter's y.
SHAPES = (
    ("M-1 0A1 1 0 1 1 1 0A1 1 0 1 1-1 0Z", 0.0),  # circle
    ("M-.9-.9H.9V.9H-.9Z", 0.0),  # square
    ("M0-1.25L1.25 0 0 1.25-1.25 0Z", 0.0),  # diamond
    ("M0-1.2L1.3 1H-1.3Z", 0.28),  # triangle
    ("M0 1.2L1.3-1H-1.3Z", -0.28),  # triangle upside down
    ("M-.6-1.03H.6L1.2 0 .6 1.03H-.6L-1.2 0Z", 0.0),  # hexagon
    ("M0-1.15L1.1-.36.68.95H-.68L-1.1-.36Z", 0.05),  # pentagon
)

#: The shape of no weighting.
NONE = {"none": 0}


@dataclass(frozen=True)
class Marker:
    """A weighting's marker: a shape and the letter in it, none for the absence of a weighting."""

    shape: int
    letter: str


@dataclass(frozen=True)
class Marks:
    """Places in ``COLOURS`` by architecture, and markers by weighting; both by registered names."""

    architectures: Mapping[str, int]
    weightings: Mapping[str, Marker]

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]], weightings: Iterable[str] | None = None) -> "Marks":
        """Marks for every (architecture, weighting) of a report, and for further ``weightings``."""
        pairs = list(pairs)
        return cls(
            assign({a for a, _ in pairs}, ARCHITECTURES.marks, len(COLOURS)),
            markers({w for _, w in pairs} if weightings is None else weightings),
        )

    def colour(self, architecture: str | None) -> str:
        """The CSS class that sets the colour; that of plain text without architecture."""
        place = self.architectures.get(architecture) if architecture is not None else None
        return f"c{place}" if place is not None else "cx"

    def icon(self, architecture: str | None, weighting: str | None) -> Markup:
        """The mark as a small inline picture, made by the style sheet.

        Without weighting it is a bar in the architecture's colour, without architecture the marker in that of text.
        """
        colour = self.colour(architecture)
        if weighting is None:
            return Markup(f'<i class="mk bar {colour}" aria-hidden="true"></i>')
        marker = self.weightings[weighting]
        letter = Markup(f' data-l="{escape(marker.letter)}"') if marker.letter else ""
        return Markup(f'<i class="mk s{marker.shape} {colour}"{letter} aria-hidden="true"></i>')

    def drawn(
        self, architecture: str | None, weighting: str, at: tuple[float, float], size: float = 7, *, letter: bool = True
    ) -> Markup:
        """The mark as part of an SVG figure."""
        marker = self.weightings[weighting]
        outline, baseline = SHAPES[marker.shape]
        x, y = at
        text = ""
        if marker.letter and letter:
            text = f'<text class="ml" x="{x:.1f}" y="{y + size * (0.42 + baseline):.1f}">{escape(marker.letter)}</text>'
        path = (
            f'<path class="{self.colour(architecture)} mf" d="{outline}" '
            f'transform="translate({x:.1f} {y:.1f}) scale({size:g})"/>'
        )
        return Markup(path + text)


def markers(names: Iterable[str]) -> dict[str, Marker]:
    """A marker for each weighting: its first letter, in a shape that tells it from others of that letter.

    A name keeps its shape from report to report unless another newcomer of the same letter claims it.
    """
    by_letter: dict[str, set[str]] = {}
    for name in names:
        by_letter.setdefault(_letter(name), set()).add(name)
    return {
        name: Marker(shape, letter)
        for letter, group in by_letter.items()
        for name, shape in assign(group, NONE | WEIGHTINGS.marks, len(SHAPES)).items()
    }


def _letter(name: str) -> str:
    if name == "none":
        return ""
    return next((sign.upper() for sign in name if sign.isalnum()), "?")[:1]


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


def palette_css() -> str:
    """The classes that set the colours, the same in both themes."""
    return "".join(f".c{i}{{--c:{colour}}}" for i, colour in enumerate(COLOURS)) + ".cx{--c:var(--muted)}\n"
