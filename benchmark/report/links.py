"""Where pages lie. Names of files are readable, stable and distinct."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.report.rows import Row
from benchmark.report.titles import SHORT, slug
from benchmark.runs.record import RunRecord

ROWS = "rows"
#: Hex digits that tell rows of one architecture and weighting apart.
DIGITS = 8


@dataclass(frozen=True)
class Links:
    """Pages of methods and data sets by kind and registered name, from the report's root."""

    pages: Mapping[tuple[str, str], str]

    @classmethod
    def from_names(cls, names: Mapping[str, Iterable[str]]) -> "Links":
        """Links to a page for each name of each kind."""
        found = {}
        for kind, members in names.items():
            unique = sorted(set(members))
            short = Counter(slug(name) for name in unique)
            for name in unique:
                stem = slug(name)
                if short[stem] > 1:
                    stem += "-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
                found[kind, name] = f"{kind}/{stem}.html"
        return cls(found)

    def to(self, kind: str, name: str) -> str:
        """The page of a method or data set."""
        return self.pages[kind, name]

    def names(self, kind: str) -> list[str]:
        """All names of a kind that have a page."""
        return [name for found, name in self.pages if found == kind]


def row_link(row: Row) -> str:
    """The page of a row. It keeps its address as seeds come and other rows appear."""
    first = row.records[0]
    # Of rows that can hardly be told apart, the label says which: see ``Board.labels``.
    apart = first.id if row.architecture.endswith(f"[{first.id}]") else ""
    text = json.dumps([row.board, row.identity, apart], sort_keys=True)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:DIGITS]
    words = [first.spec.dataset.name, row.board[:SHORT], *(name for name in row.kind if name != "none")]
    return f"{ROWS}/{'-'.join([*(slug(word) for word in words), digest])}.html"


def run_link(row: Row, record: RunRecord) -> str:
    """A run's place on its row's page."""
    return f"{row_link(row)}#{seed_anchor(record)}"


def seed_anchor(record: RunRecord) -> str:
    """The name of a run's place on its row's page."""
    return f"seed-{record.spec.seed}"
