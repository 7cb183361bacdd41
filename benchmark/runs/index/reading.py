"""Record files -> what the index keeps of them, in several processes where many are to be read."""

import gc
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from benchmark.data.workers import Pool
from benchmark.errors import UserError
from benchmark.runs.index.rows import COLUMNS, Row, row_of
from benchmark.runs.index.summary import SENSELESS, SegmentSummary
from benchmark.runs.layout import place
from benchmark.runs.packs import Packed, Reader
from benchmark.runs.record import RunRecord, parse_record
from benchmark.runs.store import Store

#: What is to be read: a file's name, and where it lies in a segment.
Part = Sequence[tuple[str, Packed | None]]

#: Files of one job: enough that a few thousand files, which one process reads sooner than others start, stay with it. A
#: job of packed records is a segment.
TOGETHER = 750
#: One process takes in what about so many read.
MOST_WORKERS = 8


@dataclass(frozen=True)
class IndexBatch:
    """What some files hold, in their order.

    Attributes:
        names: the files.
        rows: of each why it is no usable record, or None, and then its ``COLUMNS``.
    """

    names: Sequence[str]
    rows: list[Row]


def read(store: Store, names: Sequence[str], packed: Mapping[str, Packed], workers: int) -> Generator[IndexBatch]:
    """What the files hold, in batches whose order is the same however many processes read.

    Args:
        names: of files below the store's folder.
        packed: by name, those that lie in segments.
        workers: processes at most. Where none can be made, or one is killed, this one goes on alone.
    """
    files = [name for name in names if name not in packed]
    parts: list[Part] = [[(name, None) for name in files[i : i + TOGETHER]] for i in range(0, len(files), TOGETHER)]
    lying = sorted((packed[name].segment, name) for name in names if name in packed)
    parts += [[(name, packed[name]) for _, name in part] for _, part in groupby(lying, lambda found: found[0])]
    work, done = partial(_read_part, store.root), 0
    try:
        with Pool(min(workers, MOST_WORKERS), len(parts)) as pool:
            waiting: dict[int, IndexBatch] = {}
            for (number, _), batch in pool.run(work, list(enumerate(parts))):
                waiting[number] = batch
                while done in waiting:
                    yield waiting.pop(done)
                    done += 1
    except (OSError, ImportError, RuntimeError, UserError):
        for part in enumerate(parts[done:]):
            yield work(part)


def _read_part(root: Path, part: tuple[int, Part]) -> IndexBatch:
    store, reader = Store(root), Reader()
    rows: list[Row] = []
    with without_collector():
        summary = _summary(part[1][0][1])
        for name, packed in part[1]:
            try:
                rows.append((None, *(_known(summary, packed, reader) or _read(store, reader, name, packed))))
            except UserError as error:
                rows.append((str(error).encode(errors="replace").decode(), *[None] * len(COLUMNS)))
    return IndexBatch([name for name, _ in part[1]], rows)


def _summary(packed: Packed | None) -> SegmentSummary | None:
    """That of the segment in which all of a part lies."""
    try:
        return SegmentSummary(packed.segment) if packed else None
    except (UserError, *SENSELESS):
        return None  # it went just now, or is damaged, as its records will say; or it makes no sense


def _known(summary: SegmentSummary | None, packed: Packed | None, reader: Reader) -> Row | None:
    """What the segment's summary says of a record; None where it must be read."""
    try:
        return summary.find(packed, reader) if summary and packed else None
    except (UserError, *SENSELESS):
        return None  # it is damaged, and may lie in another segment, too; or its summary makes no sense


def _read(store: Store, reader: Reader, name: str, packed: Packed | None) -> Row:
    return row_of(_record(store, reader, name, packed))


def _record(store: Store, reader: Reader, name: str, packed: Packed | None) -> RunRecord:
    """A record by its file's name; without a look at all segments, where it is known in which it lies."""
    if packed is not None:
        try:
            record = parse_record(reader.record(packed), str(store.root / name))
        except UserError:
            return store.read(name)  # it may lie in another one, too
        if place(record.spec) == name:
            return record
    return store.read(name)


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch the garbage collector off: records have no cycles, and it would take a fifth of the time in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
