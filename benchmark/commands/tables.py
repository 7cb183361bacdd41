"""Tables: as wide as a terminal there, as wide as they need to be elsewhere, so that no name is cut or folded."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

#: Columns of characters that no table comes to.
WIDEST = 100_000


def print_table(console: Console, table: Table) -> None:
    """Print a table; into a pipe or a file at its full width."""
    if not console.is_terminal:
        table.expand = False
        wide = Console(file=console.file, width=WIDEST)
        console = Console(file=console.file, width=max(1, Measurement.get(wide, wide.options, table).maximum))
    console.print(table)
