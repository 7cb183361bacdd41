"""What `mtbench list --verbose` tells of everything: a card for each name, as wide as the terminal."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from benchmark.registry import ARCHITECTURES, BACKBONES, DATASETS, WEIGHTINGS, Registry
from benchmark.runs.grid import Grids, load_grid
from benchmark.runs.spec import plain
from benchmark.tasks import KINDS
from benchmark.weighting import card

#: A label and its text; labels repeat for lists' first lines only.
Facts = Iterator[tuple[str, str]]


def cards(title: str, entries: list[dict[str, Any]]) -> Iterator[RenderableType]:
    """A card for each of the entries of ``listing.described`` under a title."""
    for entry in entries:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        # Addresses are longer than a narrow terminal: they are cut, not left out.
        table.add_column(overflow="fold")
        for label, text in FACTS[title](entry["name"]):
            table.add_row(label, Text(text))
        head = Text.assemble((entry["name"], "bold"), "  ", entry["summary"])
        yield Group(head, Padding(table, (0, 0, 1, 2)))


def weighting(name: str) -> Facts:
    """A weighting's paper, formula, needs, cost, options and deviations; without a card, what is known without one."""
    entry, found = WEIGHTINGS[name], card(name)
    options = {**entry.defaults, **entry.preset}
    if found:
        yield "paper", found.paper
        yield "url", found.url
        yield "formula", found.formula
    for label, method in (("needs", "needs"), ("passes", "cost")):
        describe = getattr(entry.factory, method, None)
        if describe:
            yield label, describe(options)
    if found:
        yield "Σ weights", found.sum_of_weights
    yield from _options(WEIGHTINGS, name, found.hyperparameters if found else {})
    labels = iter(["deviations"])
    for deviation in found.deviations if found else ():
        yield next(labels, ""), f"• {deviation}"


def architecture(name: str) -> Facts:
    """An architecture's options, and what its class says of itself."""
    yield "version", str(ARCHITECTURES[name].version)
    yield from _options(ARCHITECTURES, name)
    yield from _rest(ARCHITECTURES[name].factory)


def dataset(name: str) -> Facts:
    """A data set's card and options."""
    entry = DATASETS[name]
    yield "version", str(entry.version)
    yield from _options(DATASETS, name)
    if found := entry.factory.card:
        labels = ("title", "summary", "sizes", "splits", "licence", "citation", "homepage", "obtain")
        yield from ((label, text) for label in labels if (text := getattr(found, label)))
    yield from _rest(entry.factory)


def kind(name: str) -> Facts:
    """A kind of task's metrics with their definitions."""
    found = KINDS[name]
    yield "dense", "a prediction for every pixel" if found.dense else "one prediction for a picture"
    labels = iter(["metrics"])
    for metric in found.metrics:
        unit = f" in {metric.unit}" if metric.unit else ""
        better = "higher" if metric.higher_is_better else "lower"
        yield next(labels, ""), f"{metric.name}: {metric.title}{unit}, {better} is better. {metric.definition}"


def backbone(name: str) -> Facts:
    """How a family's names are formed, and what it says of itself."""
    form, text = BACKBONES[name]
    yield "form", form
    if rest := text.partition("\n")[2].strip():
        yield "", rest


def grid(name: str) -> Facts:
    """What a grid holds."""
    found = load_grid(name)
    if isinstance(found, Grids):
        yield "includes", ", ".join(found.include)
        return
    for label, listed in (("architectures", found.architectures), ("weightings", found.weightings)):
        yield label, "all" if listed == "all" else ", ".join(dict.fromkeys(choice.name for choice in listed))
    yield "data sets", ", ".join(found.datasets)
    yield "seeds", ", ".join(map(str, found.seeds))
    yield "protocol", ", ".join(f"{key} {plain(value)}" for key, value in found.protocol.items())


#: By title of a list, what its cards say of a name.
FACTS: Mapping[str, Callable[[str], Facts]] = {
    "architectures": architecture,
    "weightings": weighting,
    "datasets": dataset,
    "kinds": kind,
    "backbones": backbone,
    "grids": grid,
}


def _options(registry: Registry[Any], name: str, origins: Mapping[str, str] | None = None) -> Facts:
    entry, labels, origins = registry[name], iter(["options"]), origins or {}
    for option, value in entry.defaults.items():
        default = option if option in entry.required else f"{option}={value}"
        yield next(labels, ""), f"{default}: {origins[option]}" if option in origins else default


def _rest(thing: Any) -> Facts:
    """What a class's docstring says after its first line."""
    if rest := inspect.cleandoc(thing.__doc__ or "").partition("\n")[2].strip():
        yield "", rest
