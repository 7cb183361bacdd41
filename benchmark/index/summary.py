"""What a segment says of its records in sum, so that the index need not read their texts.

It is written with the segment, from the records themselves, and holds their rows and which of the decimals of each text
are its metrics. Where the columns of the index are others than those of its writer, it is not used.
"""

import json
from collections.abc import Iterable, Sequence
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


#: What reading a summary raises that its checksum does not tell from a sound one, and that no suite has written.
SENSELESS = (KeyError, TypeError, ValueError, IndexError)


class _Decimal(float):
    """A decimal and its place among those that are split from the text."""

    def __new__(cls, word: str, place: int) -> "_Decimal":
        return super().__new__(cls, word)

    def __init__(self, word: str, place: int) -> None:
        self.place = place


class Summary:
    """A segment's summary; it knows nothing where there is none that can be used.

    Attributes:
        usable: whether there is one that this index can use; None where there is none at all.

    Raises:
        UserError: the segment cannot be read. Of a summary that makes no sense ``SENSELESS``, here and in ``find``.
    """

    def __init__(self, segment: Path) -> None:
        found = read_summary(segment)
        self.usable = None if found is None else isinstance(found, dict) and found.get("columns") == list(COLUMNS)
        self.rows: list[Row] = []
        self.places: list[int | None] = []
        self.layouts: list[tuple[Keys, np.ndarray]] = []
        if self.usable:
            self.rows = [tuple(row) for row in found["rows"]]
            self.places = found["places"]
            self.layouts = [(parse_keys(keys), np.array(chosen, dtype=np.intp)) for keys, chosen in found["layouts"]]

    def holds(self, packed: Packed, record: RunRecord, reader: Reader) -> bool:
        """Whether a record says what the summary says of it.

        Raises:
            UserError: the segment is damaged there.
        """
        known = self.find(packed, reader)
        if known is None:
            return True
        row, keys, numbers = known
        own_keys, own = numbers_of(record)
        return (row, keys) == (row_of(record), own_keys) and np.array_equal(numbers, own)

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


def is_true(segment: Path, records: Iterable[tuple[Packed, RunRecord]], reader: Reader) -> bool | None:
    """Whether these records of a segment say what its summary says of them; None where this index does not use it.

    A segment without a summary says nothing that is not true.

    Raises:
        UserError: the segment cannot be read.
    """
    try:
        summary = Summary(segment)
        if summary.usable:
            return all(summary.holds(*one, reader) for one in records)
        return True if summary.usable is None else None
    except SENSELESS:
        return False
