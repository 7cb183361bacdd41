"""``python -m tests.portable``: computes the proof on this processor and on emulated ones, and compares.

Exits with 1 where a digest differs, and names the first that does.
"""

import argparse
import sys
from pathlib import Path

from tests.portable import golden
from tests.portable.compare import differing, table, verdict
from tests.portable.processors import EMULATED, NATIVE, SHORT, Unfinished, computed

#: Between these lines of a document stands the table.
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"


def words() -> argparse.Namespace:
    """The command's."""
    parser = argparse.ArgumentParser(prog="python -m tests.portable", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"less of everything, on {', '.join(SHORT)} only")
    parser.add_argument("--processors", nargs="*", choices=EMULATED, help="the emulated ones; all unless said")
    parser.add_argument("--only", default="", metavar="BEGINNING", help="cells whose names begin so")
    parser.add_argument("--table", type=Path, metavar="FILE", help="put the table between its marks in this document")
    parser.add_argument(
        "--write-golden", action="store_true", help="compute here alone and commit to it in golden.json"
    )
    return parser.parse_args()


def main() -> int:
    """See above."""
    asked = words()
    if asked.write_golden:
        golden.write(computed(NATIVE, short=False))
        return 0
    emulated = asked.processors if asked.processors is not None else SHORT if asked.short else list(EMULATED)
    found = {}
    for processor in (NATIVE, *emulated):
        sys.stderr.write(f"== {processor}\n")
        found[processor] = computed(processor, short=asked.short, only=asked.only)
    columns = {processor: one["digests"] for processor, one in found.items()}
    text = table(columns)
    sys.stdout.write(f"{text}\n{verdict(columns)}\n")
    if asked.table:
        before, _, rest = asked.table.read_text().partition(BEGIN)
        asked.table.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}")
    return 1 if differing(columns) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unfinished as error:
        sys.exit(f"{error}")
