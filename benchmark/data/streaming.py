"""Data sets that are larger than memory: prepared chunk by chunk, by all processors, resumable.

A preparation works in ``.<folder>.partial`` beside the folder's final place:

* ``<folder>/``: the arrays in full size, their disk space reserved, filled chunk by chunk;
* ``journal``: what is being made, on its first line, then one line per chunk that is down on the disk;
* ``lock``: held by the process that prepares; another one waits for it and then finds the set ready.

After an interruption the next preparation goes on behind the journal, unless the sources, the options or the code have
changed: then it starts again. At the end the inner folder is renamed to its final place.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from benchmark.data.dataset import ID, DataSet, Progress, Storage, build_dataset
from benchmark.data.files import file_status
from benchmark.data.prepared import (
    array_hash,
    code_versions,
    create_array,
    file_hash,
    load_unchecked,
    require_space,
    stored_bytes,
    sweep_scratch,
    write_rows,
    write_sources,
    writing,
)
from benchmark.data.workers import Pool, cores
from benchmark.errors import UserError
from benchmark.registry import load_plugin_file
from benchmark.tasks import Stored

JOURNAL = "journal"
LOCK = "lock"
#: What ``Progress`` is told while source files and finished arrays are hashed.
HASHING = "hashing"
#: Source files hashed by one job.
FILES_PER_JOB = 32


@dataclass(frozen=True)
class Plan:
    """What will be prepared from a folder of official files.

    Attributes:
        root: the folder.
        ids: by split, (N,) what each sample is called in its source.
        files: every file that is read.
    """

    root: Path
    ids: Mapping[str, np.ndarray]
    files: Sequence[Path]


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples of a split."""

    split: str
    start: int
    ids: np.ndarray


class StreamedDataSet(DataSet):
    """A data set whose splits are made a few samples at a time from a user's copy of the official files.

    A subclass says in ``plan`` which samples there are and makes any few of them in ``make``. ``samples`` are the
    numbers that the official files give; the manifest holds those that were found.
    """

    #: Samples made at once by one process: what they take is all that it holds in memory.
    chunk: ClassVar[int] = 8

    @property
    def fields(self) -> dict[str, Stored]:
        """How pictures and targets are stored; space is reserved by it, so that a kind of task must say it."""
        known = {name: field for name, field in super().fields.items() if field is not None}
        if silent := super().fields.keys() - known:
            raise ValueError(
                f"{self.name}: define 'fields', the kind of {sorted(silent)} does not say how it is stored"
            )
        return known

    @abstractmethod
    def plan(self, source: Path) -> Plan:
        """Look through the official files without reading them whole.

        Raises:
            UserError: files are missing or are not the official ones.
        """

    @abstractmethod
    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Make some samples of a split: one array (len(ids), …) per field. Called in any process, in any order.

        Raises:
            UserError: a file is missing or broken, or a value is not what it may be.
        """

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        """One split in memory. See ``DataSet.build``."""
        plan = self.plan(self._named(source))
        ids = plan.ids[split]
        parts = []
        for start in range(0, len(ids), self.chunk):
            parts.append(self.made(plan.root, split, ids[start : start + self.chunk]))
            progress(split, min(start + self.chunk, len(ids)), len(ids))
        return {ID: ids, **{name: np.concatenate([part[name] for part in parts]) for name in self.fields}}

    def _named(self, source: Path | None) -> Path:
        if source is None:
            how = f" {self.card.obtain}" if self.card else ""
            raise UserError(
                f"'{self.name}' is made from files of your own: name their folder by "
                f"'mtbench data prepare {self.name} --source DIR'.{how}"
            )
        return source.resolve()

    def made(self, root: Path, split: str, ids: Sequence[Any] | np.ndarray) -> dict[str, np.ndarray]:
        """What ``make`` gives, after making sure that it is what ``fields`` promises."""
        arrays = self.make(root, split, [str(i) if isinstance(i, str) else int(i) for i in ids])
        for name, field in self.fields.items():
            array = arrays[name]
            if array.dtype != field.dtype or array.shape != (len(ids), *field.shape):
                raise ValueError(
                    f"{self.name}: '{name}' must be {field.dtype} of shape {(len(ids), *field.shape)}, "
                    f"found {array.dtype} of shape {array.shape}"
                )
        return arrays

    def _make(self, storage: Storage, progress: Progress) -> None:
        source = self._named(storage.sources.get(self.name))
        with _alone(self.partial(storage), storage.cache):
            if self.is_ready(storage):
                return
            sweep_scratch(storage.cache)
            plan = self.plan(source)
            for split in self.splits:
                if not len(plan.ids[split]):
                    raise UserError(f"{source} has no sample for the split '{split}' of '{self.name}'")
            Preparation(self, plan, storage, progress).run()

    def partial(self, storage: Storage) -> Path:
        """Where an unfinished preparation lies."""
        folder = self.folder(storage)
        return folder.with_name(f".{folder.name}.partial")

    def share_done(self, storage: Storage) -> float | None:
        """How much of an interrupted preparation is done, 0 to 1; None where there is none."""
        try:
            first, *lines = (self.partial(storage) / JOURNAL).read_text().splitlines()
            return len(lines) / max(1, json.loads(first)["chunks"])
        except (OSError, ValueError, KeyError):
            return None


def bounded(fields: Mapping[str, Stored], **highest: float) -> dict[str, Stored]:
    """The same fields with upper ends of the ranges of some; numbers that half precision lacks get single precision."""
    return {name: _bounded(f, highest[name]) if name in highest else f for name, f in fields.items()}


def _bounded(field: Stored, high: float) -> Stored:
    too_large = field.dtype == "float16" and high > float(np.finfo(np.float16).max)
    return replace(field, high=high, dtype="float32" if too_large else field.dtype)


def unfinished_sets(storage: Storage) -> list[StreamedDataSet]:
    """Every set whose preparation was interrupted and can go on with the present code."""
    found = []
    for file in sorted(storage.cache.glob(f".*.partial/{JOURNAL}")):
        try:
            head = json.loads(file.read_text().partition("\n")[0])
            dataset = build_dataset(head["dataset"], **head["options"])
        except (OSError, ValueError, KeyError, TypeError, UserError):
            continue
        if isinstance(dataset, StreamedDataSet) and dataset.partial(storage) == file.parent:
            found.append(dataset)
    return found


@contextmanager
def _alone(folder: Path, cache: Path) -> Iterator[None]:
    """Hold the lock of a partial folder, which is made; wait for whoever has it."""
    while True:
        with writing(cache):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stream = (folder / LOCK).open("w")
            except FileNotFoundError:
                continue  # the one before has just removed the folder
        with stream:
            with writing(cache):
                fcntl.flock(stream, fcntl.LOCK_EX)
            if not (folder / LOCK).exists() or not os.path.samestat(os.fstat(stream.fileno()), (folder / LOCK).stat()):
                continue  # the one before finished and removed the folder meanwhile
            try:
                yield
            finally:
                if not (folder / JOURNAL).exists():
                    shutil.rmtree(folder, ignore_errors=True)
            return


class Preparation:
    """One streamed data set on its way to its prepared form."""

    def __init__(self, dataset: StreamedDataSet, plan: Plan, storage: Storage, progress: Progress) -> None:
        self.dataset, self.plan, self.storage, self.progress = dataset, plan, storage, progress
        self.partial = dataset.partial(storage)
        self.folder = self.partial / dataset.folder(storage).name
        self.setting = _Setting(
            name=dataset.name,
            options=json.dumps(dataset.options),
            plugin=_plugin(dataset),
            root=plan.root,
            folder=self.folder,
            cache=storage.cache,
        )
        self.chunks = [
            Chunk(split, start, plan.ids[split][start : start + dataset.chunk])
            for split in dataset.splits
            for start in range(0, len(plan.ids[split]), dataset.chunk)
        ]

    def run(self) -> None:
        """Make what is not made yet, then put the whole under its final name."""
        done = self._resume() or self._begin()
        todo = [chunk for chunk in self.chunks if (chunk.split, chunk.start) not in done]
        batches = [self.plan.files[i : i + FILES_PER_JOB] for i in range(0, len(self.plan.files), FILES_PER_JOB)]
        with Pool(cores(), len(todo) + len(batches)) as pool:
            self._fill(pool, todo)
            hashes = self._hash(pool, batches)
        with writing(self.storage.cache):
            sources = write_sources(self.folder, self.plan.root, {file: hashes[file] for file in self.plan.files})
            arrays = {file.stem: digest for file, digest in hashes.items() if file.parent == self.folder}
            self.dataset.finish(self.folder, self.storage, arrays, sources)
        self.dataset.publish(self.folder, self.storage)
        shutil.rmtree(self.partial, ignore_errors=True)

    @property
    def _head(self) -> dict[str, Any]:
        """What decides the arrays' bytes; where it is the same, finished chunks can be kept."""
        files = [[str(file), (stat := file_status(file)).st_size, stat.st_mtime_ns] for file in self.plan.files]
        ids = {split: array_hash(ids) for split, ids in self.plan.ids.items()}
        text = json.dumps([files, ids, code_versions(), self.dataset.identity])
        made = {"dataset": self.dataset.name, "options": self.dataset.options}
        return {"making": hashlib.sha256(text.encode()).hexdigest(), "chunks": len(self.chunks), **made}

    def _resume(self) -> set[tuple[str, int]]:
        """The chunks that are done already."""
        try:
            first, *lines = (self.partial / JOURNAL).read_text().split("\n")[:-1]  # a last line without end is no line
            if json.loads(first) != self._head:
                return set()
            return {(split, int(start)) for split, start in map(str.split, lines)}
        except (OSError, ValueError):
            return set()

    def _begin(self) -> set[tuple[str, int]]:
        """Empty the partial folder and reserve the disk space of all arrays."""
        with writing(self.storage.cache):
            (self.partial / JOURNAL).unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        fields = self.dataset.fields
        require_space(self.storage.cache, stored_bytes(fields.values(), sum(map(len, self.plan.ids.values()))))
        with writing(self.storage.cache):
            self.folder.mkdir()
            for split, ids in self.plan.ids.items():
                for name, field in fields.items():
                    create_array(self.folder / f"{split}-{name}.npy", field.dtype, (len(ids), *field.shape))
                np.save(self.folder / f"{split}-{ID}.npy", ids, allow_pickle=False)
            (self.partial / JOURNAL).write_text(json.dumps(self._head) + "\n")
        return set()

    def _fill(self, pool: Pool, todo: Sequence[Chunk]) -> None:
        total = {split: len(self.plan.ids[split]) for split in self.dataset.splits}
        done = {
            split: total[split] - sum(len(c.ids) for c in todo if c.split == split) for split in self.dataset.splits
        }
        for split in self.dataset.splits:
            self.progress(split, done[split], total[split])
        with (self.partial / JOURNAL).open("a") as journal:
            for chunk, _ in pool.run(partial(_fill_chunk, self.setting), todo):
                with writing(self.storage.cache):
                    journal.write(f"{chunk.split} {chunk.start}\n")
                    journal.flush()
                done[chunk.split] += len(chunk.ids)
                self.progress(chunk.split, done[chunk.split], total[chunk.split])

    def _hash(self, pool: Pool, batches: Sequence[Sequence[Path]]) -> dict[Path, str]:
        """The hashes of all source files and of all arrays."""
        arrays = [[file] for file in sorted(self.folder.glob("*.npy"))]
        total = len(self.plan.files) + len(arrays)
        hashes: dict[Path, str] = {}
        for _, found in pool.run(partial(_hash_files, self.folder), [*batches, *arrays]):
            hashes.update(found)
            self.progress(HASHING, len(hashes), total)
        return hashes


@dataclass(frozen=True)
class _Setting:
    """What other processes need to make chunks: a data set by its name, since classes of plugins do not travel."""

    name: str
    options: str
    plugin: Path | None
    root: Path
    folder: Path
    cache: Path


def _plugin(dataset: DataSet) -> Path | None:
    """The plugin file that a data set comes from, which other processes must load too."""
    module = sys.modules[type(dataset).__module__]
    return Path(str(module.__file__)) if module.__name__.startswith("mtbench_plugin_") else None


@cache
def _dataset(setting: _Setting) -> StreamedDataSet:
    if setting.plugin:
        load_plugin_file(setting.plugin)
    return cast(StreamedDataSet, build_dataset(setting.name, **json.loads(setting.options)))


def _fill_chunk(setting: _Setting, chunk: Chunk) -> None:
    """Make a chunk and write it to the disk."""
    dataset = _dataset(setting)
    arrays = dataset.made(setting.root, chunk.split, chunk.ids)
    with writing(setting.cache):
        for name in dataset.fields:
            write_rows(setting.folder / f"{chunk.split}-{name}.npy", chunk.start, arrays[name])


def _hash_files(folder: Path, files: Sequence[Path]) -> dict[Path, str]:
    """Hashes of the arrays in ``folder``, by their content, and of other files, by their bytes."""
    return {file: array_hash(load_unchecked(file)) if file.parent == folder else file_hash(file) for file in files}
