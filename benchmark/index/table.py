"""Rows of the index -> the long frame, without a Python object per number."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from benchmark.index.reading import parse_keys
from benchmark.tasks import KINDS, Metric

#: Of a run: id, architecture, weighting, seed, reference, status, layout, and where its numbers begin.
Row = tuple[str, str, str, int, int, str, int, int]


@dataclass(frozen=True)
class _Layout:
    """What the ``width`` numbers of some records are: parallel arrays, one element a number that is a known metric."""

    width: int
    chosen: np.ndarray
    epochs: np.ndarray
    splits: list[str]
    tasks: list[str]
    metrics: list[Metric]

    @classmethod
    def parse(cls, text: str) -> "_Layout":
        every = [
            (epoch, split, task, KINDS[kind].metrics if kind in KINDS else (), name)
            for epoch, split, task, kind, names in parse_keys(text)
            for name in names
        ]
        named = [(*key[:3], next((m for m in key[3] if m.name == key[4]), None)) for key in every]
        known = [(place, *key) for place, key in enumerate(named) if key[3] is not None]
        return cls(
            len(every),
            np.array([key[0] for key in known], dtype=np.intp),
            np.array([key[1] for key in known], dtype=np.int64),
            [key[2] for key in known],
            [key[3] for key in known],
            [key[4] for key in known if key[4] is not None],
        )


class Table:
    """Every number of the runs that are meant.

    Args:
        rows: the runs.
        layouts: their texts by number.
        numbers: of all records.
    """

    def __init__(self, rows: Sequence[Row], layouts: dict[int, str], numbers: np.ndarray) -> None:
        self.rows = rows
        self.numbers = numbers
        self.layouts = {number: _Layout.parse(layouts[number]) for number in {row[6] for row in rows}}
        self.lengths = np.array([len(self.layouts[row[6]].chosen) for row in rows], dtype=np.intp)
        #: Layout and number of runs of the same layout that follow each other.
        self.stretches = [(number, len(list(group))) for number, group in groupby(row[6] for row in rows)]

    def frame(self) -> pd.DataFrame:
        """The columns of ``analysis.frame``, in its order."""
        layouts = self.layouts.items()
        columns = {
            "run": self._names(0),
            "architecture": self._names(1),
            "weighting": self._names(2),
            "seed": np.repeat(np.array([row[3] for row in self.rows], dtype=np.int64), self.lengths),
            "reference": np.repeat(np.array([row[4] for row in self.rows], dtype=bool), self.lengths),
            "status": self._names(5),
            "epoch": self._tiled({n: layout.epochs for n, layout in layouts}, np.int64),
            "split": self._words({n: layout.splits for n, layout in layouts}),
            "task": self._words({n: layout.tasks for n, layout in layouts}),
            "metric": self._words({n: [m.name for m in layout.metrics] for n, layout in layouts}),
            "value": self._values(),
            "higher_is_better": self._flags("higher_is_better"),
            "legacy": self._flags("legacy"),
        }
        return pd.DataFrame(columns, copy=False)

    def _names(self, place: int) -> pd.Categorical:
        column = pd.Categorical([row[place] for row in self.rows])
        return pd.Categorical.from_codes(np.repeat(column.codes, self.lengths), dtype=column.dtype, validate=False)

    def _words(self, columns: dict[int, list[str]]) -> pd.Categorical:
        dtype = pd.CategoricalDtype(sorted({word for column in columns.values() for word in column}))
        codes = {number: pd.Categorical(column, dtype=dtype).codes for number, column in columns.items()}
        return pd.Categorical.from_codes(self._tiled(codes, np.int8), dtype=dtype, validate=False)

    def _flags(self, name: str) -> np.ndarray:
        flags = {n: np.array([getattr(m, name) for m in layout.metrics], bool) for n, layout in self.layouts.items()}
        return self._tiled(flags, np.bool_)

    def _tiled(self, columns: dict[int, np.ndarray], dtype: type) -> np.ndarray:
        """A column from each run's piece of it."""
        return _together([np.tile(columns[number], count) for number, count in self.stretches], dtype)

    def _values(self) -> np.ndarray:
        pieces, done = [], 0
        for number, count in self.stretches:
            layout, first, done = self.layouts[number], self.rows[done][7], done + count
            last = self.rows[done - 1][7]
            if last - first == (count - 1) * layout.width:  # they follow each other
                block = self.numbers[first : last + layout.width].reshape(count, layout.width)
            else:
                starts = np.array([row[7] for row in self.rows[done - count : done]])
                block = self.numbers[starts[:, None] + np.arange(layout.width)]
            pieces.append((block if len(layout.chosen) == layout.width else block[:, layout.chosen]).ravel())
        return _together(pieces, np.float64)


def _together(pieces: list[np.ndarray], dtype: type) -> np.ndarray:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces) if pieces else np.array([], dtype=dtype)
