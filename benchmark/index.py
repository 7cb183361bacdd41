"""What a store's records say, in one derived file beside them: 100,000 records are listed, filtered and framed from it.

The records stay the truth. The index is an SQLite image that is read whole, checked against its own checksum, and
replaced whole; nobody ever locks it, so that it is safe on a network file system and whoever dies while writing it
harms nothing. A row counts only while its file has the size, inode and modification time (in nanoseconds) that it had
when it was read; every other file is read again. An index that is missing, damaged, of another version or in a folder
that cannot be written costs time and nothing else.
"""

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.errors import UserError
from benchmark.store import Problem, RunRecord, Store, is_record, write_atomically
from benchmark.tasks import KINDS, Metric

ROWS = "index.sqlite"
#: The numbers of all records, raw float64 in the order of their files; the name holds their CRC-32.
NUMBERS = "index-{:08x}.f64"
#: In the image's header: that this is an index, and which version of the tables below.
APPLICATION_ID = 0x6D746203
#: Bytes of the checksum that follows the image.
CHECKSUM = 4
#: A file that changed this recently may change again within its clock's tick (two seconds on FAT, one on old NFS).
SETTLED_NS = 2_000_000_000
#: The index is written again when more than one in so many rows changed; until then, those few are read each time.
PATIENCE = 1000

#: ``numbers`` is where in the file of numbers a run's own begin; how many there are, its layout says.
TABLES = """
CREATE TABLE files (
  name TEXT PRIMARY KEY, mtime_ns INTEGER, size INTEGER, inode INTEGER, problem TEXT,
  run TEXT, dataset TEXT, architecture TEXT, weighting TEXT, seed INTEGER, reference INTEGER, status TEXT, error TEXT,
  spec TEXT, epochs INTEGER, data_hash TEXT, started TEXT, parameters REAL, seconds_per_step REAL, train_seconds REAL,
  wall_seconds REAL, peak_bytes REAL, layout INTEGER, numbers INTEGER
);
CREATE TABLE layouts (layout INTEGER PRIMARY KEY, keys TEXT UNIQUE);
"""
COLUMNS = 24
#: Columns of ``runs`` and those by which rows can be chosen.
RUN_COLUMNS = (
    "run", "dataset", "architecture", "weighting", "seed", "reference", "status", "error", "spec", "epochs",
    "data_hash", "started", "parameters", "seconds_per_step", "train_seconds", "wall_seconds", "peak_bytes",
)  # fmt: skip
CHOOSABLE = frozenset({"run", "dataset", "architecture", "weighting", "seed", "status", "data_hash"})

Stamp = tuple[int, int, int]
Wanted = Sequence[str] | Sequence[int]
#: What the numbers of a record are: of each evaluated epoch, split and task the names of its metrics, in order.
Keys = tuple[tuple[int, str, str, str | None, tuple[str, ...]], ...]


class Index:
    """The rows of a store's records, brought up to date when it is made.

    Args:
        store: whose folder exists or will.

    Attributes:
        read: how many files had to be read, because the index did not know them as they are.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.path = store.private / ROWS
        self._base = _load(self.path)
        self._numbers: np.ndarray | None = None  # read when they are wanted
        self.read = self._refresh()

    def runs(self, **wanted: Wanted) -> pd.DataFrame:
        """One row per usable record, ordered by file: columns ``RUN_COLUMNS``.

        Args:
            wanted: by column of ``CHOOSABLE`` the values that are meant, such as ``status=["ok"]``.
        """
        text, values = _condition(wanted)
        table = pd.read_sql_query(f"SELECT {', '.join(RUN_COLUMNS)} FROM files {text}", self._base, params=values)
        table["reference"] = table["reference"].astype(bool)
        return table

    def metrics(self, **wanted: Wanted) -> pd.DataFrame:
        """Every metric of every evaluated epoch, as ``analysis.frame`` gives it, with names as categories.

        Args:
            wanted: as for ``runs``.
        """
        text, values = _condition(wanted)
        numbers = self._all_numbers()  # first: it may read the records again
        rows = self._base.execute(
            "SELECT run, architecture, weighting, seed, reference, status, layout, numbers FROM files " + text, values
        ).fetchall()
        return _Frame(rows, dict(self._base.execute("SELECT layout, keys FROM layouts")), numbers).table()

    def paths(self, **wanted: Wanted) -> list[Path]:
        """The files of the records that are meant, in order."""
        text, values = _condition(wanted)
        return [self.store.root / name for (name,) in self._base.execute(f"SELECT name FROM files {text}", values)]

    def records(self, **wanted: Wanted) -> Iterator[RunRecord]:
        """The records that are meant, read from their files one by one: the memory of one at a time."""
        for path in self.paths(**wanted):
            yield self.store.read(path)

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        """Status and error of every usable record by run id."""
        rows = self._base.execute("SELECT run, status, error FROM files WHERE problem IS NULL")
        return {run: (status, error) for run, status, error in rows}

    def data_hashes(self, dataset: str) -> set[str]:
        """The content hashes of the data that a data set's records of status ``ok`` come from.

        Args:
            dataset: as it stands in the JSON of a spec.
        """
        rows = self._base.execute("SELECT spec, data_hash FROM files WHERE status = 'ok' AND data_hash IS NOT NULL")
        return {found for spec, found in rows if f'"dataset":{dataset},' in spec}

    @property
    def problems(self) -> list[Problem]:
        """The files that are no usable record, and why; ordered by path."""
        rows = self._base.execute("SELECT name, problem FROM files WHERE problem IS NOT NULL ORDER BY name")
        return [Problem(self.store.root / name, problem) for name, problem in rows]

    def _refresh(self) -> int:
        """Read what changed since the index was written, and write it again if that was anything."""
        found = _stamps(self.store.root)
        known = {name: stamp for name, *stamp in self._base.execute("SELECT name, mtime_ns, size, inode FROM files")}
        gone = [(name,) for name in known.keys() - found.keys()]
        stale = sorted(name for name, stamp in found.items() if known.get(name) != list(stamp))
        if not gone and not stale:
            return 0
        old = self._all_numbers() if len(stale) < len(found) else np.array([])
        now = self._now()
        layouts = {_keys(text): number for number, text in self._base.execute("SELECT layout, keys FROM layouts")}
        fresh: dict[str, np.ndarray] = {}
        with self._base:
            self._base.executemany("DELETE FROM files WHERE name = ?", gone)
            rows = (self._row(name, found[name], now, layouts, fresh) for name in stale)
            self._base.executemany(f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * COLUMNS)})", rows)
            texts = ((json.dumps(keys), number) for keys, number in layouts.items())
            self._base.executemany("INSERT OR IGNORE INTO layouts (keys, layout) VALUES (?, ?)", texts)
            self._gather(old, fresh)
        if len(stale) + len(gone) > len(found) // PATIENCE:
            self._save()
        return len(stale)

    def _gather(self, old: np.ndarray, fresh: dict[str, np.ndarray]) -> None:
        """Put the numbers of all records into one array, in the order of their files."""
        lengths = {
            n: sum(len(key[4]) for key in _keys(keys)) for n, keys in self._base.execute("SELECT * FROM layouts")
        }
        pieces, places, end = [], [], 0
        query = "SELECT name, layout, numbers FROM files WHERE problem IS NULL ORDER BY name"
        for name, layout, start in self._base.execute(query):
            pieces.append(fresh[name] if name in fresh else old[start : start + lengths[layout]])
            places.append((end, name))
            end += lengths[layout]
        self._numbers = np.concatenate(pieces) if pieces else np.array([], dtype=np.float64)
        self._base.executemany("UPDATE files SET numbers = ? WHERE name = ?", places)

    def _all_numbers(self) -> np.ndarray:
        """The numbers of all records. Where their file is lost or damaged, every record is read again."""
        if self._numbers is None:
            ((checksum,),) = self._base.execute("PRAGMA user_version").fetchall()
            try:
                numbers = np.fromfile(self.path.with_name(NUMBERS.format(checksum & 0xFFFFFFFF)), dtype=np.float64)
            except OSError:
                numbers = None
            if numbers is not None and zlib.crc32(numbers.data) == checksum & 0xFFFFFFFF:
                self._numbers = numbers
            else:
                self._numbers, self._base = np.array([]), _empty()
                self.read = self._refresh()
        return self._numbers

    def _now(self) -> int:
        """The time by the clock that stamps the store's files, which may be another machine's."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe = self.path.with_name(f".now-{os.getpid()}")
            probe.touch()
            now = probe.stat().st_mtime_ns
            probe.unlink(missing_ok=True)
        except OSError:
            return 0  # nothing settles, and nothing is written either
        return now

    def _row(
        self, name: str, stamp: Stamp, now: int, layouts: dict[Keys, int], fresh: dict[str, np.ndarray]
    ) -> tuple[object, ...]:
        """The row of one file; its numbers go into ``fresh``."""
        mtime, size, inode = stamp
        # A time in the future is that of a clock that jumped: it says nothing about what settled.
        where = (name, mtime if mtime < now - SETTLED_NS else -1, size, inode)
        try:
            record = self.store.read(self.store.root / name)
            if max([record.spec.seed, *(epoch.epoch for epoch in record.curves)]) >= 2**63:
                raise UserError(f"{name} holds a seed or an epoch beyond 64 bits")
        except UserError as error:
            return (*where, str(error).encode(errors="replace").decode(), *[None] * (COLUMNS - 5))
        keys, fresh[name] = _numbers(record)
        spec, cost = record.spec, record.cost
        return (
            *where, None,
            record.id, spec.dataset.name, spec.architecture.name, spec.weighting_name, spec.seed,
            record.reference, record.status, record.error, spec.model_dump_json(), len(record.curves),
            record.provenance.data_hash, record.provenance.started,
            _small(cost.parameters), cost.seconds_per_step, cost.train_seconds, cost.wall_seconds,
            _small(cost.peak_bytes), layouts.setdefault(keys, len(layouts)), None,
        )  # fmt: skip

    def _save(self) -> None:
        assert self._numbers is not None  # gathered just now
        checksum = zlib.crc32(self._numbers.data)
        self._base.execute(f"PRAGMA user_version = {checksum - 2**32 if checksum >= 2**31 else checksum}")
        image = self._base.serialize()
        numbers = self.path.with_name(NUMBERS.format(checksum))
        try:
            write_atomically(numbers, self._numbers.data)
            write_atomically(self.path, image + zlib.crc32(image).to_bytes(CHECKSUM, "big"))
            for other in self.path.parent.glob(NUMBERS.replace("{:08x}", "*")):
                if other != numbers:
                    other.unlink(missing_ok=True)
        except OSError:
            return  # a folder that may only be read, or a full disk: the next one reads the records again


def _empty() -> sqlite3.Connection:
    base = sqlite3.connect(":memory:")
    base.executescript(f"PRAGMA application_id = {APPLICATION_ID}; {TABLES}")
    return base


def _load(path: Path) -> sqlite3.Connection:
    """The database of an index file; an empty one where there is none that can be trusted."""
    base = sqlite3.connect(":memory:")
    try:
        image = memoryview(path.read_bytes())
        if len(image) > CHECKSUM and zlib.crc32(image[:-CHECKSUM]) == int.from_bytes(image[-CHECKSUM:], "big"):
            base.deserialize(image[:-CHECKSUM])
            if base.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,):
                base.execute(f"SELECT {', '.join(RUN_COLUMNS)}, layout, numbers FROM files LIMIT 1")
                return base
    except (OSError, sqlite3.Error):
        pass
    base.close()
    return _empty()


def _stamps(root: Path) -> dict[str, Stamp]:
    """Every record file's name below ``root`` with what changes when it does."""
    found = {}
    try:
        folders = [entry for entry in os.scandir(root) if not entry.name.startswith(".") and entry.is_dir()]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(
            f"cannot read the results folder {root} ({error.strerror}); name another with --results"
        ) from error
    for folder in folders:
        for entry in os.scandir(folder.path):
            if is_record(entry.name) and not entry.name.startswith("."):
                try:
                    state = entry.stat()
                except OSError:
                    continue  # it went while we looked
                # A name that is no Unicode is no record's: it is listed, escaped, and cannot be read.
                name = os.fsencode(f"{folder.name}/{entry.name}").decode(errors="backslashreplace")
                found[name] = (state.st_mtime_ns, state.st_size, state.st_ino)
    return found


def _condition(wanted: dict[str, Wanted]) -> tuple[str, list[str | int]]:
    """The SQL of a choice, and its values."""
    parts, values = ["problem IS NULL"], list[str | int]()
    for column, choice in wanted.items():
        if column not in CHOOSABLE:
            raise ValueError(f"records are chosen by {', '.join(sorted(CHOOSABLE))}, not by {column!r}")
        parts.append(f"{column} IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(choice)))
    return f"WHERE {' AND '.join(parts)} ORDER BY name", values


def _keys(text: str) -> Keys:
    return tuple((epoch, split, task, kind, tuple(names)) for epoch, split, task, kind, names in json.loads(text))


def _small(number: int | None) -> float | int | None:
    """What SQLite can hold: an integer of 64 bits, else the nearest float."""
    if number is None or abs(number) < 2**63:
        return number
    try:
        return float(number)
    except OverflowError:
        return None


def _numbers(record: RunRecord) -> tuple[Keys, np.ndarray]:
    """Every metric of the curves: what each number is, which runs of a kind share, and the (N,) numbers."""
    kinds = {task.name: task.kind for task in record.tasks}
    keys: list[tuple[int, str, str, str | None, tuple[str, ...]]] = []
    numbers: list[float | None] = []
    for epoch in record.curves:
        for split, tasks in epoch.metrics.items():
            for task, values in tasks.items():
                keys.append((epoch.epoch, split, task, kinds.get(task), tuple(values)))
                numbers += values.values()
    return tuple(keys), np.array(numbers, dtype=np.float64)  # None becomes NaN


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
            for epoch, split, task, kind, names in _keys(text)
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


Row = tuple[str, str, str, int, int, str, int, int]


class _Frame:
    """Rows of the index -> the long frame, without a Python object per number.

    Args:
        rows: run, architecture, weighting, seed, reference, status, layout, place of its numbers of each run.
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

    def table(self) -> pd.DataFrame:
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
