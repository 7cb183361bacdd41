"""What a store's records say, in one derived file beside them: 100,000 records are listed, filtered and framed from it.

The records stay the truth. The index is an SQLite image that is read whole, checked against its own checksum, and
replaced whole; nobody ever locks it, so that it is safe on a network file system and whoever dies while writing it
harms nothing. A row counts only while its file has the size, inode and modification time (in nanoseconds) that it had
when it was read, or, packed, the SHA-256; every other file is read again. An index that is missing, damaged, of another
version or in a folder that cannot be written costs time and nothing else.
"""

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import UserError
from benchmark.runs.files import write_atomically
from benchmark.runs.index.reading import IndexBatch, read, without_collector
from benchmark.runs.index.rows import COLUMNS
from benchmark.runs.layout import is_record
from benchmark.runs.record import RunRecord
from benchmark.runs.store import PACKED_INODE, Problem, Stamp, Store, packed_stamp

if TYPE_CHECKING:
    import pandas as pd

ROWS = "index.sqlite"
#: What earlier indices wrote beside themselves.
OLD_NUMBERS = "index-*.f64"
#: In the image's header: that this is an index, and which version of the tables below.
APPLICATION_ID = 0x6D746205
#: Bytes of the checksum that follows the image.
CHECKSUM = 4
#: A file that changed this recently may change again within its clock's tick (two seconds on FAT, one on old NFS).
SETTLED_NS = 2_000_000_000
#: The index is written again when more than one in so many rows changed; until then, those few are read each time.
PATIENCE = 1000

TABLES = """
CREATE TABLE files (
  name TEXT PRIMARY KEY, mtime_ns INTEGER, size INTEGER, inode INTEGER, problem TEXT,
  run TEXT, dataset TEXT, architecture TEXT, weighting TEXT, seed INTEGER, reference INTEGER, status TEXT, error TEXT,
  spec TEXT, epochs INTEGER, data_hash TEXT, started TEXT, parameters REAL, seconds_per_step REAL, train_seconds REAL,
  wall_seconds REAL, peak_bytes REAL, code TEXT
);
"""
#: Those by which rows can be chosen.
CHOOSABLE = frozenset({"run", "dataset", "architecture", "weighting", "seed", "status", "data_hash"})

Wanted = Sequence[str] | Sequence[int]


class Index:
    """The rows of a store's records, brought up to date when it is made.

    Args:
        store: whose folder exists or will.
        workers: processes that read, where thousands of files are new. With more than one, the program must be one
            that ``multiprocessing`` may import: its work under ``if __name__ == "__main__"``.

    Attributes:
        read: how many files had to be read, because the index did not know them as they are.
    """

    def __init__(self, store: Store, *, workers: int = 1) -> None:
        self.store = store
        self.workers = workers
        self.path = store.private / ROWS
        self._base = _load(self.path)
        with without_collector():
            self.read = self._refresh()

    def runs(self, **wanted: Wanted) -> "pd.DataFrame":
        """One row per usable record, ordered by file: columns ``COLUMNS``.

        Args:
            wanted: by column of ``CHOOSABLE`` the values that are meant, such as ``status=["ok"]``.
        """
        import pandas as pd  # takes half a second, which commands that do runs need not wait for

        text, values = _condition(wanted)
        table = pd.read_sql_query(f"SELECT {', '.join(COLUMNS)} FROM files {text}", self._base, params=values)
        table["reference"] = table["reference"].astype(bool)
        return table

    def records(self, **wanted: Wanted) -> Iterator[RunRecord]:
        """The records that are meant, in the order of their files, read one by one: the memory of one at a time."""
        text, values = _condition(wanted)
        for (name,) in self._base.execute(f"SELECT name FROM files {text}", values).fetchall():
            yield self.store.read(name)

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        """Status and error of every usable record by run id."""
        rows = self._base.execute("SELECT run, status, error FROM files WHERE problem IS NULL")
        with without_collector():
            return {run: (status, error) for run, status, error in rows}

    def codes(self) -> dict[str, dict[str, str]]:
        """By run id ``RunRecord.code``, of those records that are of plugins' code."""
        rows = self._base.execute("SELECT run, code FROM files WHERE code IS NOT NULL")
        return {run: json.loads(code) for run, code in rows}

    def data_hashes(self, dataset: str) -> set[str]:
        """The content hashes of the data that a data set's records of status ``ok`` come from.

        Args:
            dataset: as it stands in the JSON of a spec.
        """
        rows = self._base.execute("SELECT spec, data_hash FROM files WHERE status = 'ok' AND data_hash IS NOT NULL")
        return {found for spec, found in rows if f'"dataset":{dataset},' in spec}

    @property
    def problems(self) -> list[Problem]:
        """What is no usable record, and why, ordered by path; then segments that are damaged or contradict."""
        rows = self._base.execute("SELECT name, problem FROM files WHERE problem IS NOT NULL ORDER BY name")
        files = [Problem(self.store.root / name, problem) for name, problem in rows]
        return [*files, *(Problem(*found) for found in self.store.shelf.problems()), *self.store.contradictions()]

    def _refresh(self) -> int:
        """Read what changed since the index was written, and write it again if that was anything."""
        found = _stamps(self.store.root)
        packed = {name: several[0] for name, several in self.store.shelf.records().items() if name not in found}
        found |= {name: packed_stamp(one) for name, one in packed.items()}
        rows = self._base.execute("SELECT name, mtime_ns, size, inode FROM files")
        known = {name: (mtime, size, inode) for name, mtime, size, inode in rows}
        if known == found:
            return 0
        gone = [(name,) for name in known.keys() - found.keys()]
        stale = sorted(name for name, stamp in found.items() if known.get(name) != stamp)
        now = self._now()
        with self._base, closing(read(self.store, stale, packed, self.workers)) as batches:
            self._base.executemany("DELETE FROM files WHERE name = ?", gone)
            for batch in batches:
                self._insert(batch, found, now)
        if len(stale) + len(gone) > len(found) // PATIENCE:
            self._save()
        return len(stale)

    def _insert(self, batch: IndexBatch, found: dict[str, Stamp], now: int) -> None:
        rows = []
        for name, row in zip(batch.names, batch.rows, strict=True):
            mtime, size, inode = found[name]
            # A time in the future is that of a clock that jumped: it says nothing about what settled. What is packed
            # never changes, but a damaged segment may be replaced by a whole one.
            settled = row[0] is None if inode == PACKED_INODE else mtime < now - SETTLED_NS
            rows.append((name, mtime if settled else -1, size, inode, *row))
        self._base.executemany(f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * len(rows[0]))})", rows)

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

    def _save(self) -> None:
        image = self._base.serialize()
        try:
            write_atomically(self.path, image + zlib.crc32(image).to_bytes(CHECKSUM, "big"))
            for other in self.path.parent.glob(OLD_NUMBERS):
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
                base.execute(f"SELECT {', '.join(COLUMNS)} FROM files LIMIT 1")
                return base
    except (OSError, sqlite3.Error):
        pass
    base.close()
    return _empty()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder and is not hidden; nothing where the folder is not there."""
    try:
        return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"cannot read the results folder {folder} ({error.strerror}); name another with --results"
        ) from error


def _stamps(root: Path) -> dict[str, Stamp]:
    """Every record file's name below ``root`` with what changes when it does."""
    found = {}
    for folder in _entries(root):
        for entry in _entries(Path(folder.path)) if folder.is_dir() else ():
            if is_record(entry.name):
                try:
                    state = entry.stat()
                except OSError:
                    continue  # it went while we looked
                name = f"{folder.name}/{entry.name}"
                # One that is no Unicode is no record's: it is listed, escaped, and cannot be read.
                if not name.isascii():
                    name = os.fsencode(name).decode(errors="backslashreplace")
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
