"""Where pages lie. Names of files are readable, stable and distinct."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.record import RunRecord
from benchmark.report.rows import Row
from benchmark.report.titles import slug

RUNS = "runs"


@dataclass(frozen=True)
class Links:
    """Pages of methods and data sets by kind and registered name, from the report's root."""

    pages: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, names: Mapping[str, Iterable[str]]) -> "Links":
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


def run_link(record: RunRecord) -> str:
    """The page of a run."""
    return f"{RUNS}/{record.id}.html"


def row_link(row: Row) -> str:
    """The page of a row's first run."""
    return run_link((row.finished or row.records)[0])
