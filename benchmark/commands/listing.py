"""What `mtbench list weightings --verbose` prints: a card per weighting."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from benchmark.registry import WEIGHTINGS
from benchmark.weighting import card


def cards() -> Iterator[RenderableType]:
    """Every registered weighting's card, as wide as the terminal."""
    for name in WEIGHTINGS:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        # Addresses are longer than a narrow terminal: they are cut, not left out.
        table.add_column(overflow="fold")
        for label, text in facts(name):
            table.add_row(label, Text(text))
        head = Text.assemble((name, "bold"), "  ", WEIGHTINGS[name].summary)
        yield Group(head, Padding(table, (0, 0, 1, 2)))


def facts(name: str) -> Iterator[tuple[str, str]]:
    """A weighting's label-and-text pairs in the order of reading; labels repeat for lists' first lines only.

    A plugin's weighting without a card shows what can be known without one.
    """
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
    origins = found.hyperparameters if found else {}
    labels = iter(["options"])
    for option, value in entry.defaults.items():
        default = option if option in entry.required else f"{option}={value}"
        yield next(labels, ""), f"{default}: {origins[option]}" if option in origins else default
    labels = iter(["deviations"])
    for deviation in found.deviations if found else ():
        yield next(labels, ""), f"• {deviation}"
