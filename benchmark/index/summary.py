"""What a segment says of its records in sum, so that the index need not read their texts.

It is written with the segment, from the records themselves, and holds their rows and which of the decimals of each text
are its metrics. Where the columns of the index are others than those of its writer, it is not used.
"""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.index.rows import COLUMNS, Keys, Row, numbers_of, parse_keys, row_of, write_keys
from benchmark.packs import Packed, Reader, read_summary
from benchmark.packs.text import is_split, split
from benchmark.record import RunRecord


def summarise(contents: Sequence[tuple[RunRecord, bytes]]) -> dict[str, Any]:
    """The summary of some records.

    Args:
        contents: each with its file.
    """
    layouts: dict[tuple[str, tuple[int, ...]], int] = {}
    rows, places = [], []
    for record, content in contents:
        keys, numbers = numbers_of(record)
        chosen = _places(content, numbers) if record.spec.seed < 2**63 else None
        rows.append(row_of(record))
        places.append(None if chosen is None else layouts.setdefault((write_keys(keys), chosen), len(layouts)))
    return {"columns": COLUMNS, "layouts": list(layouts), "rows": rows, "places": places}


def _places(content: bytes, numbers: np.ndarray) -> tuple[int, ...] | None:
    """Where a record's metrics are among the decimals of its text; None where they are not all there."""
    order = count()
    raw = json.loads(content, parse_float=lambda word: _Decimal(word, next(order) if is_split(word) else -1))
    found = [
        value
        for epoch in raw["curves"]
        for tasks in epoch["metrics"].values()
        for values in tasks.values()
        for value in values.values()
    ]
    places = tuple(value.place if isinstance(value, _Decimal) else -1 for value in found)
    if -1 in places or not np.array_equal(split(content)[1][list(places)], numbers):
        return None  # such as one that is null, or a decimal in the words of an error
    return places


class _Decimal(float):
    """A decimal and its place among those that are split from the text."""

    def __new__(cls, word: str, place: int) -> "_Decimal":
        return super().__new__(cls, word)

    def __init__(self, word: str, place: int) -> None:
        self.place = place


class Summary:
    """A segment's summary; it knows nothing where there is none that can be used.

    Raises:
        UserError: the segment cannot be read.
    """

    def __init__(self, segment: Path) -> None:
        found = read_summary(segment)
        fits = isinstance(found, dict) and found.get("columns") == list(COLUMNS)
        self.rows: list[Row] = [tuple(row) for row in found["rows"]] if fits else []
        self.places: list[int | None] = found["places"] if fits else []
        self.layouts: list[tuple[Keys, np.ndarray]] = (
            [(parse_keys(keys), np.array(chosen, dtype=np.intp)) for keys, chosen in found["layouts"]] if fits else []
        )

    def find(self, packed: Packed, reader: Reader) -> tuple[Row, Keys, np.ndarray] | None:
        """A record's row and numbers; None where they must be read from its text.

        Raises:
            UserError: the segment is damaged there.
        """
        layout = self.places[packed.number] if packed.number < len(self.places) else None
        if layout is None:
            return None
        reader.check(packed)
        keys, chosen = self.layouts[layout]
        return self.rows[packed.number], keys, reader.numbers(packed)[chosen]
