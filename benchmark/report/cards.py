"""What is said of methods and data sets: their cards, and what their classes say of themselves."""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from benchmark.errors import UserError
from benchmark.model import Flow
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS, Registry
from benchmark.report.flow import diagram

REGISTRIES: Mapping[str, Registry[Any]] = {
    "architectures": ARCHITECTURES,
    "weightings": WEIGHTINGS,
    "datasets": DATASETS,
}
#: Words for the fields of cards that a reader would not guess.
TITLES = {
    "sum_of_weights": "sum of the weights",
    "url": "where",
    "homepage": "official page",
    "obtain": "how to get it",
}


@dataclass(frozen=True)
class CardPart:
    """One part of a card: text, a list, or pairs of a name and a text."""

    title: str
    text: str = ""
    items: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    verbatim: bool = False


@dataclass(frozen=True)
class About:
    """What a page says of a registered thing before its results.

    Attributes:
        summary: one line.
        paragraphs: the rest of what its class says.
        entries: its card's parts.
        bibtex: entries to cite.
        known: whether it is registered here; a plugin that is not loaded is known by its records alone.
        diagram: of an architecture, how its features flow; empty where it does not say.
        redistribution: of data, whether its pictures may be passed on; None where that is no question, or nobody says.
    """

    summary: str = ""
    paragraphs: tuple[str, ...] = ()
    entries: tuple[CardPart, ...] = ()
    bibtex: str = ""
    known: bool = False
    redistribution: bool | None = None
    diagram: str = ""


def about(kind: str, name: str) -> About:
    """What is known of the ``kind`` (a key of ``REGISTRIES``) called ``name``."""
    try:
        if name not in REGISTRIES[kind]:
            return About()
        entry = REGISTRIES[kind][name]
    except UserError:  # an installed plugin cannot be imported: its methods are known by their records alone
        return About()
    paragraphs = _paragraphs(inspect.getdoc(entry.factory) or "")
    card = getattr(entry.factory, "card", None)
    card = card if is_dataclass(card) else None
    parts = _parts({part.name: getattr(card, part.name) for part in fields(card)}) if card else []
    needs = getattr(entry.factory, "needs", None) if kind == "weightings" else None
    if callable(needs):
        parts.insert(2 if card else 0, CardPart("needs in a step", str(needs(entry.defaults | dict(entry.preset)))))
    parts += _options(entry.defaults, getattr(card, "hyperparameters", None))
    bibtex = str(getattr(card, "bibtex", "") or "")
    passed_on = getattr(card, "redistribution", None)
    flow = getattr(card, "flow", None)
    drawn = diagram(flow) if isinstance(flow, Flow) else ""
    return About(entry.summary, tuple(paragraphs[1:]), tuple(parts), bibtex, True, passed_on, drawn)


def as_stated(card: Mapping[str, Any]) -> About:
    """What is known of a data set that is not registered here, from the card that was kept with its records."""
    return About(str(card.get("summary", "")), entries=tuple(_parts({k: v for k, v in card.items() if k != "summary"})))


def _options(defaults: Mapping[str, Any], origins: Any) -> list[CardPart]:
    origins = origins if isinstance(origins, Mapping) else {}
    pairs = [
        (f"{name} = {'required' if value is inspect.Parameter.empty else value}", str(origins.get(name, "")))
        for name, value in defaults.items()
    ]
    return [CardPart("options and the origin of their defaults", pairs=tuple(pairs))] if pairs else []


def _parts(card: Mapping[str, Any]) -> list[CardPart]:
    """A card's fields in their order; whatever fields a kind of card has."""
    found = []
    for name, value in card.items():
        title = TITLES.get(name, name.replace("_", " "))
        if name in ("bibtex", "hyperparameters", "flow") or not value or isinstance(value, bool):
            continue
        if isinstance(value, Mapping):
            found.append(CardPart(title, pairs=tuple((str(k), str(v)) for k, v in value.items())))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found.append(CardPart(title, items=tuple(str(item) for item in value)))
        else:
            text = str(value)
            found.append(CardPart(title, text=text, verbatim=name == "formula"))
    return found


def _paragraphs(doc: str) -> list[str]:
    """The paragraphs of a docstring before its sections, each on one line; a list has a line per item."""
    body = re.split(r"^(?:Args|Attributes|Returns|Raises|Example)s?:\s*$", doc, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", body) if block.strip()]
    return ["\n".join(" ".join(part.split()) for part in re.split(r"\n(?=\s*- )", block)) for block in blocks]
