"""``python -m tests.portable``: computes the proof on this processor and on emulated ones, and compares.

Exits with 1 where a digest differs, and names the first that does.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from tests.portable import golden
from tests.portable.compare import differing, joined, table, verdict
from tests.portable.processors import EMULATED, NATIVE, SHORT, Unfinished, computed

#: Between these lines of a document stands the table.
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"


def words() -> argparse.Namespace:
    """The command's."""
    parser = argparse.ArgumentParser(prog="python -m tests.portable", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"less of everything, on {', '.join(SHORT)} only")
    parser.add_argument("--processors", nargs="*", choices=EMULATED, help="the emulated ones; all unless said")
    parser.add_argument("--only", nargs="*", default=(), metavar="BEGINNING", help="cells whose names begin so")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="put the table between its marks in this document; with --only, the rows of these cells",
    )
    parser.add_argument(
        "--write-golden", action="store_true", help="compute here alone and commit to it in golden.json"
    )
    return parser.parse_args()


def committed(native: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """The column of the committed digests; none where they are of other packages."""
    known = golden.read()
    if reason := golden.other_versions(native, known):
        sys.stderr.write(f"The committed digests are of other packages and are not looked at: {reason}\n")
        return {}
    return {"committed": golden.of_the_same(known["digests"], native["digests"])}


def main() -> int:
    """See above."""
    asked = words()
    if asked.write_golden:
        golden.commit(computed(NATIVE, short=False))
        return 0
    emulated = asked.processors if asked.processors is not None else SHORT if asked.short else list(EMULATED)
    found = {}
    for processor in (NATIVE, *emulated):
        sys.stderr.write(f"== {processor}\n")
        found[processor] = computed(processor, short=asked.short, only=asked.only)
    columns = {processor: one["digests"] for processor, one in found.items()}
    columns |= committed(found[NATIVE])
    text = table(columns)
    sys.stdout.write(f"{text}\n{verdict(columns)}\n")
    if asked.table:
        before, _, rest = asked.table.read_text().partition(BEGIN)
        old, _, after = rest.partition(END)
        whole = joined(old, text) if asked.only else text
        asked.table.write_text(f"{before}{BEGIN}\n\n{whole}\n{END}{after}")
    return 1 if differing(columns) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unfinished, UserError) as error:
        sys.exit(f"{error}")
