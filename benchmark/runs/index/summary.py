"""What a segment says of its records in sum, so that the index need not read their texts.

It is written with the segment, from the records themselves, and holds their rows. Where the columns of the index are
others than those of its writer, it is not used.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmark.runs.index.rows import COLUMNS, Row, row_of
from benchmark.runs.packs import Packed, Reader, read_summary
from benchmark.runs.record import RunRecord

#: As the first suites wrote them: the first of a row's values was always null, and there was no code of plugins. They
#: also wrote where the metrics are among the decimals of a text, which nothing reads any more.
FIRST_COLUMNS = ("problem", *(column for column in COLUMNS if column != "code"))
SEED = COLUMNS.index("seed")


def summarise(records: Sequence[RunRecord]) -> dict[str, Any]:
    """The summary of some records."""
    return {"columns": COLUMNS, "rows": [row_of(record) for record in records]}


#: What reading a summary raises that its checksum does not tell from a sound one, and that no suite has written.
SENSELESS = (KeyError, TypeError, ValueError, IndexError)


class SegmentSummary:
    """A segment's summary; it knows nothing where there is none that can be used.

    Attributes:
        usable: whether there is one that this index can use; None where there is none at all.

    Raises:
        UserError: the segment cannot be read. Of a summary that makes no sense ``SENSELESS``, here and in ``find``.
    """

    def __init__(self, segment: Path) -> None:
        found = read_summary(segment)
        columns = tuple(found.get("columns") or ()) if isinstance(found, dict) else ()
        self.usable = None if found is None else columns in (COLUMNS, FIRST_COLUMNS)
        rows: list[Row] = [tuple(row) for row in found["rows"]] if self.usable else []
        self.rows = [(*row[1:], None) for row in rows] if columns == FIRST_COLUMNS else rows

    def holds(self, packed: Packed, record: RunRecord, reader: Reader) -> bool:
        """Whether a record says what the summary says of it.

        Raises:
            UserError: the segment is damaged there.
        """
        row = self.find(packed, reader)
        return row is None or row == row_of(record)

    def find(self, packed: Packed, reader: Reader) -> Row | None:
        """A record's row; None where it must be read from its text.

        Raises:
            UserError: the segment is damaged there.
        """
        row = self.rows[packed.number] if packed.number < len(self.rows) else None
        if row is None:
            return None
        if len(row) != len(COLUMNS):
            raise ValueError(f"the row of {packed.name} has {len(row)} values, not {len(COLUMNS)}")
        seed = row[SEED]
        # SQLite holds whole numbers of 64 bits; whoever reads the text says what is wrong with a greater one.
        if not isinstance(seed, int) or seed >= 2**63:
            return None
        reader.check(packed)
        return row


def is_true(segment: Path, records: Iterable[tuple[Packed, RunRecord]], reader: Reader) -> bool | None:
    """Whether these records of a segment say what its summary says of them; None where this index does not use it.

    A segment without a summary says nothing that is not true.

    Raises:
        UserError: the segment cannot be read.
    """
    try:
        summary = SegmentSummary(segment)
        if summary.usable:
            return all(summary.holds(*one, reader) for one in records)
        return True if summary.usable is None else None
    except SENSELESS:
        return False
