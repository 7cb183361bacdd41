"""Rows of the index -> the long frame, without a Python object per number."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from benchmark.data.workers import cores
from benchmark.index.rows import parse_keys
from benchmark.tasks import KINDS, Metric

#: Of a run: id, architecture, weighting, seed, reference, status, layout, and where its numbers begin.
Row = tuple[str, str, str, int, int, str, int, int]

#: Threads that fill columns; more than that wait for the memory.
MOST_THREADS = 4


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
            _narrow(np.array([key[1] for key in known], dtype=np.int64)),
            [key[2] for key in known],
            [key[3] for key in known],
            [key[4] for key in known if key[4] is not None],
        )


@dataclass(frozen=True)
class _Stretch:
    """Runs of one layout that follow each other: ``runs`` among all runs, ``rows`` among those of the frame."""

    number: int
    runs: slice
    rows: slice


class Table:
    """Every number of the runs that are meant.

    With millions of rows, its time is that of touching new memory: each column is made once and filled in place, and
    several are at a time, while numpy copies without Python's lock.

    Args:
        rows: the runs.
        layouts: their texts by number.
        numbers: gives those of all records, in any thread.
    """

    def __init__(self, rows: Sequence[Row], layouts: dict[int, str], numbers: Callable[[], np.ndarray]) -> None:
        self.rows = rows
        self.give = numbers
        self.starts = np.array([row[7] for row in rows], dtype=np.intp)
        self.layouts = {number: _Layout.parse(layouts[number]) for number in {row[6] for row in rows}}
        self.stretches = list(self._stretches())
        #: Whether the frame that was made holds the very numbers that were given.
        self.whole = False

    def _stretches(self) -> Iterator[_Stretch]:
        run = row = 0
        for number, group in groupby(row[6] for row in self.rows):
            count = len(list(group))
            size = count * len(self.layouts[number].chosen)
            yield _Stretch(number, slice(run, run + count), slice(row, row + size))
            run, row = run + count, row + size

    @property
    def length(self) -> int:
        """Rows of the frame."""
        return self.stretches[-1].rows.stop if self.stretches else 0

    def frame(self) -> pd.DataFrame:
        """The columns of ``analysis.frame``, in its order."""
        columns: dict[str, Callable[[], Any]] = {
            "run": lambda: self._names(0),
            "architecture": lambda: self._names(1),
            "weighting": lambda: self._names(2),
            "seed": lambda: self._repeated(_narrow(np.array([row[3] for row in self.rows], dtype=np.int64))),
            "reference": lambda: self._repeated(np.array([row[4] for row in self.rows], dtype=bool)),
            "status": lambda: self._names(5),
            "epoch": lambda: self._tiled(lambda layout: layout.epochs, np.int32),
            "split": lambda: self._words(lambda layout: layout.splits),
            "task": lambda: self._words(lambda layout: layout.tasks),
            "metric": lambda: self._words(lambda layout: [metric.name for metric in layout.metrics]),
            "value": self._values,
            "higher_is_better": lambda: self._flags("higher_is_better"),
            "legacy": lambda: self._flags("legacy"),
        }
        with ThreadPoolExecutor(min(cores(), MOST_THREADS)) as threads:
            order = sorted(columns, key=lambda name: name != "value")  # first what waits for a disk
            futures = {name: threads.submit(columns[name]) for name in order}
            return pd.DataFrame({name: futures[name].result() for name in columns}, copy=False)

    def _names(self, place: int) -> pd.Categorical:
        words = [row[place] for row in self.rows]
        places = {word: place for place, word in enumerate(sorted(set(words)))}
        codes = np.array([places[word] for word in words], dtype=np.min_scalar_type(-len(places)))
        dtype = pd.CategoricalDtype(list(places))
        return pd.Categorical.from_codes(self._repeated(codes), dtype=dtype, validate=False)

    def _words(self, what: Callable[[_Layout], list[str]]) -> pd.Categorical:
        dtype = pd.CategoricalDtype(sorted({word for layout in self.layouts.values() for word in what(layout)}))
        codes = self._tiled(lambda layout: pd.Categorical(what(layout), dtype=dtype).codes, np.int8)
        return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)

    def _flags(self, name: str) -> np.ndarray:
        return self._tiled(lambda layout: np.array([getattr(m, name) for m in layout.metrics], dtype=bool), np.bool_)

    def _repeated(self, column: np.ndarray) -> np.ndarray:
        """A column in which all numbers of a run say the same."""
        return self._filled(column.dtype, lambda stretch: column[stretch.runs, None])

    def _tiled(self, what: Callable[[_Layout], np.ndarray], empty: type) -> np.ndarray:
        """A column in which all runs of a layout say the same; of type ``empty`` where there are none."""
        pieces = {number: what(layout) for number, layout in self.layouts.items()}
        dtype = np.result_type(*pieces.values()) if pieces else np.dtype(empty)
        return self._filled(dtype, lambda stretch: pieces[stretch.number])

    def _values(self) -> np.ndarray:
        numbers = self.give()
        known = all(len(layout.chosen) == layout.width for layout in self.layouts.values())
        self.whole = known and self.length == len(numbers)
        return numbers if self.whole else self._filled(np.dtype(np.float64), partial(self._block, numbers))

    def _block(self, numbers: np.ndarray, stretch: _Stretch) -> np.ndarray:
        layout, starts = self.layouts[stretch.number], self.starts[stretch.runs]
        if (np.diff(starts) == layout.width).all():  # they follow each other
            block = numbers[starts[0] : starts[-1] + layout.width].reshape(len(starts), layout.width)
        else:
            block = numbers[starts[:, None] + np.arange(layout.width)]
        return block if len(layout.chosen) == layout.width else block[:, layout.chosen]

    def _filled(self, dtype: np.dtype, block: Callable[[_Stretch], np.ndarray]) -> np.ndarray:
        """A column from what each stretch says: (runs, numbers of a run), or what broadcasts to that."""
        column = np.empty(self.length, dtype=dtype)
        for stretch in self.stretches:
            column[stretch.rows].reshape(stretch.runs.stop - stretch.runs.start, -1)[:] = block(stretch)
        return column


def _narrow(column: np.ndarray) -> np.ndarray:
    """Whole numbers in 32 bits, where they fit."""
    return column.astype(np.int32) if column.max(initial=0) < 2**31 and column.min(initial=0) >= -(2**31) else column
