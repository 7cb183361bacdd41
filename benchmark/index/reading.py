"""Record files -> what the index keeps of them, in several processes where many are to be read."""

import gc
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.data.workers import Pool
from benchmark.errors import UserError
from benchmark.packs import Packed, Reader
from benchmark.record import RunRecord, parse_record
from benchmark.store import Store, place

#: What the numbers of a record are: of each evaluated epoch, split and task the names of its metrics, in order.
Keys = tuple[tuple[int, str, str, str | None, tuple[str, ...]], ...]
#: What the index says of one file; see ``COLUMNS``.
Row = tuple[object, ...]

COLUMNS = (
    "problem",
    "run", "dataset", "architecture", "weighting", "seed", "reference", "status", "error", "spec", "epochs",
    "data_hash", "started", "parameters", "seconds_per_step", "train_seconds", "wall_seconds", "peak_bytes",
)  # fmt: skip

#: Files of one job: enough that a few thousand files, which one process reads sooner than others start, stay with it.
TOGETHER = 750
#: One process takes in what about so many read.
MOST_WORKERS = 8


@dataclass(frozen=True)
class Batch:
    """What some files hold, in their order.

    Attributes:
        names: the files.
        rows: of each its ``COLUMNS``: why it is no usable record, or what it says.
        places: of each which of ``layouts`` its numbers have; None where it is no usable record.
        layouts: what numbers are.
        numbers: of each usable record, float64.
    """

    names: Sequence[str]
    rows: list[Row]
    places: list[int | None]
    layouts: list[Keys]
    numbers: list[np.ndarray]


def read(store: Store, names: Sequence[str], packed: Mapping[str, Packed], workers: int) -> Generator[Batch]:
    """What the files hold, in their order, which is the same however many processes read.

    Args:
        names: of files below the store's folder.
        packed: by name, those that lie in segments.
        workers: processes at most. Where none can be made, or one is killed, this one goes on alone.
    """
    files = [(name, packed.get(name)) for name in names]
    parts = [files[i : i + TOGETHER] for i in range(0, len(files), TOGETHER)]
    work, done = partial(_read_part, store.root), 0
    try:
        with Pool(min(workers, MOST_WORKERS), len(parts)) as pool:
            waiting: dict[int, Batch] = {}
            for (number, _), batch in pool.run(work, list(enumerate(parts))):
                waiting[number] = batch
                while done in waiting:
                    yield waiting.pop(done)
                    done += 1
    except (OSError, ImportError, RuntimeError, UserError):
        for part in enumerate(parts[done:]):
            yield work(part)


def _read_part(root: Path, part: tuple[int, Sequence[tuple[str, Packed | None]]]) -> Batch:
    store, reader, layouts = Store(root), Reader(), dict[Keys, int]()
    rows, places, numbers = list[Row](), list[int | None](), list[np.ndarray]()
    with _without_collector():
        for name, packed in part[1]:
            try:
                record = _record(store, reader, name, packed)
                if max([record.spec.seed, *[epoch.epoch for epoch in record.curves]]) >= 2**63:
                    raise UserError(f"{name} holds a seed or an epoch beyond 64 bits")
            except UserError as error:
                rows.append((str(error).encode(errors="replace").decode(), *[None] * (len(COLUMNS) - 1)))
                places.append(None)
                continue
            keys, values = _numbers(record)
            rows.append(_row(record))
            places.append(layouts.setdefault(keys, len(layouts)))
            numbers.append(values)
    return Batch([name for name, _ in part[1]], rows, places, list(layouts), numbers)


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
def _without_collector() -> Iterator[None]:
    """Records have no cycles: a collector that goes through them takes a fifth of the time, and frees nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _row(record: RunRecord) -> Row:
    spec, cost = record.spec, record.cost
    return (
        None,
        record.id, spec.dataset.name, spec.architecture.name, spec.weighting_name, spec.seed,
        record.reference, record.status, record.error, spec.model_dump_json(), len(record.curves),
        record.provenance.data_hash, record.provenance.started,
        _small(cost.parameters), cost.seconds_per_step, cost.train_seconds, cost.wall_seconds,
        _small(cost.peak_bytes),
    )  # fmt: skip


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
    keys, numbers = [], list[float | None]()
    for epoch in record.curves:
        for split, tasks in epoch.metrics.items():
            for task, values in tasks.items():
                keys.append((epoch.epoch, split, task, kinds.get(task), tuple(values)))
                numbers.extend(values.values())
    return tuple(keys), np.array(numbers, dtype=np.float64)  # None becomes NaN


def write_keys(keys: Keys) -> str:
    """As the index keeps them."""
    return json.dumps(keys)


def parse_keys(text: str) -> Keys:
    """What ``write_keys`` wrote."""
    return tuple((epoch, split, task, kind, tuple(names)) for epoch, split, task, kind, names in json.loads(text))
