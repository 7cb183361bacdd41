"""The contract of a data set: fixed splits, prepared once, loaded as whole tensors."""

import hashlib
import json
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch

from benchmark.data.card import DataCard
from benchmark.data.files import is_file
from benchmark.data.mapped import placed
from benchmark.data.prepared import (
    MANIFEST,
    array_hash,
    file_hash,
    load_array,
    load_unchecked,
    read_manifest,
    require_space,
    scratch_prefix,
    stored_bytes,
    sweep_scratch,
    write_manifest,
    write_sources,
    writing,
)
from benchmark.data.sources import changed_sources, listed, source_root
from benchmark.data.split import AnySplit, Split
from benchmark.errors import UserError, unknown
from benchmark.keptfiles import cache_folder
from benchmark.registry import DATASETS
from benchmark.tasks import Intrinsics, Stored, Task, check_tasks

SPLITS = ("train", "val", "test")
#: Means and standard deviations of red, green and blue, of values in [0, 1].
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]

IMAGE = "image"
ID = "id"

#: Told how many of how many samples of a split are ready.
Progress = Callable[[str, int, int], None]


def silent(split: str, done: int, total: int) -> None:
    """A ``Progress`` that shows nothing."""


@dataclass(frozen=True)
class Storage:
    """Where data lie on this machine, as paths or texts; never part of a run's identity.

    Attributes:
        cache: folder of prepared data.
        sources: per data set, the folder of its official files, where it is not the usual one.
    """

    cache: Path
    sources: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache", Path(self.cache))
        object.__setattr__(self, "sources", {name: Path(folder) for name, folder in self.sources.items()})

    @classmethod
    def default(cls, sources: Mapping[str, str | Path] | None = None) -> "Storage":
        """The suite's cache, see ``cache_folder``."""
        return cls(cache_folder(), {name: Path(folder) for name, folder in (sources or {}).items()})


D = TypeVar("D", bound="DataSet")


class DataSet(ABC):
    """A set of pictures with a target per task.

    A subclass is registered with ``register_dataset``; its keyword-only constructor arguments are its options; they
    and its name and version are its identity. It defines ``build``; preparation, caching and loading are done here.
    """

    #: The registered name.
    name: ClassVar[str]
    #: Version of the code that makes the data; raise it whenever the same options would give other bytes.
    version: ClassVar[int]
    #: Raised when a mend gives every processor the bytes that so far only some had: the version stays, since good
    #: folders hold these bytes, but no older folder is known to, so that all of them are made again.
    revision: ClassVar[int] = 0
    #: Options that shrink the set to what a trial of minutes on a CPU needs.
    smoke: ClassVar[Mapping[str, Any]] = {}
    #: What people must know of the set before they use it; None where nobody has written it down.
    card: ClassVar[DataCard | None] = None
    tasks: tuple[Task, ...]
    #: The protocol's augmentations that leave every target true or turn it with the picture; a set whose targets tell
    #: left from right, or where things are, names fewer.
    augmentations: ClassVar[frozenset[str]] = frozenset({"flip", "scale_crop"})
    #: False where every task has its own pictures, see ``PerTaskInputDataSet``.
    joint: ClassVar[bool] = True
    #: What is prepared: the three splits, and at most one more whose targets are unknown because they are withheld.
    splits: ClassVar[tuple[str, ...]] = SPLITS
    #: Whether samples are drawn with replacement, so that an id may be there twice.
    drawn: ClassVar[bool] = False
    #: The name of that split: what a finished network makes of it is kept, for those who know the targets.
    withheld: ClassVar[str | None] = None

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture."""

    @property
    @abstractmethod
    def samples(self) -> Mapping[str, int]:
        """Number of samples by split."""

    @property
    def intrinsics(self) -> Intrinsics | None:
        """The camera of the pictures as they are stored; None where it is not one and known."""
        return None

    @property
    def colours(self) -> Mapping[str, Colours]:
        """By task what pictures are normalised by before a network sees them, where every task has its own pictures;
        without an entry they are not.
        """
        return {}

    @abstractmethod
    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        """Make one split from nothing or from the official files.

        Args:
            split: ``train``, ``val`` or ``test``.
            source: the folder that the user named for this data set; None for the usual one.
            progress: to be called now and then.

        Returns:
            ``image`` (N, C, H, W) uint8, ``id`` (N,), and one array (N, …) per task under the task's name.

        Raises:
            UserError: official files are missing or broken; the message says how to get them.
        """

    @property
    def fields(self) -> Mapping[str, Stored | None]:
        """How pictures and targets are stored and what their values mean; None where a kind of task does not say."""
        image = Stored("uint8", self.image_shape, "", 0, 255)
        return {IMAGE: image, **{task.name: task.stored(self.image_shape[1:]) for task in self.tasks}}

    def source_files(self, source: Path | None) -> Sequence[Path]:
        """The official files that ``build`` reads, whose hashes go into the manifest."""
        return ()

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's options, by name: every registered option is kept under its name, see ``LATER``."""
        entry = DATASETS[self.name]
        return entry.identity({name: getattr(self, name) for name in entry.defaults})

    @property
    def identity(self) -> str:
        """Short hash of name, version and options."""
        text = json.dumps([self.name, self.version, self.options], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def folder(self, storage: Storage) -> Path:
        """Where the prepared form lies."""
        return storage.cache / f"{self.name}-v{self.version}-{self.identity}"

    def is_ready(self, storage: Storage) -> bool:
        """Whether the prepared form is there and can be used."""
        return is_file(self.folder(storage) / MANIFEST) and self.outdated(storage) is None

    def outdated(self, storage: Storage) -> str | None:
        """Why the prepared form that is there must be made again, in one line; None where there is no reason."""
        try:
            manifest = read_manifest(self.folder(storage) / MANIFEST)
        except UserError:
            return None  # not there; or damaged, which whoever reads it is told
        if manifest.get("revision", 0) >= self.revision:
            return None
        return (
            f"{self.folder(storage)} (content hash {manifest['content_hash'][:12]}) comes from an earlier version, "
            "whose bytes depended on the processor"
        )

    def prepare(self, storage: Storage, progress: Progress = silent) -> None:
        """Make the prepared form unless it is there; make an outdated one again.

        Everything is written into a temporary folder that is renamed at the end, so that a folder under the final
        name is always complete, whoever else prepares the same set at the same time.

        Raises:
            UserError: official files are missing, the cache folder cannot be written, or the prepared form was made
                from other files than those of the folder that the user names now.
        """
        named = self._source(storage)
        if self.is_ready(storage):
            made_from = self.manifest(storage).get("source")
            if named and named != made_from and (flaw := self._other_files(storage)):
                raise UserError(
                    f"{self.folder(storage)} was prepared from {made_from or 'the usual folder'}, not from {named}: "
                    f"{flaw}; delete it to prepare it again, or leave --source out"
                )
            return
        self._make(storage, progress)

    def _other_files(self, storage: Storage) -> str | None:
        """In what the files of the named folder differ from those that were read; None where they are the same."""
        manifest = self.manifest(storage)
        root = source_root(self, storage, manifest)
        return (
            "which files were read is not known"
            if root is None
            else changed_sources(root, listed(self, storage, manifest))
        )

    def _make(self, storage: Storage, progress: Progress) -> None:
        """Make the folder under its final name, whole or not at all."""
        folder = self.folder(storage)
        known = [stored for stored in self.fields.values() if stored is not None]
        require_space(storage.cache, stored_bytes(known, sum(self.samples.values())))
        with writing(storage.cache):
            sweep_scratch(storage.cache)
            scratch = Path(tempfile.mkdtemp(prefix=scratch_prefix(self.name), dir=storage.cache))
        try:
            # A folder inside: the outer one is closed to other users of a shared cache.
            self._write(scratch / folder.name, storage, progress)
            self.publish(scratch / folder.name, storage)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def publish(self, made: Path, storage: Storage) -> None:
        """Put a finished folder under its final name, in place of an outdated one, unless somebody else was first."""
        folder = self.folder(storage)
        if self.outdated(storage):
            with suppress(OSError):  # somebody else has just moved it
                folder.rename(made.with_name(f"{made.name}-outdated"))  # and is removed with what surrounds it
        try:
            made.rename(folder)
        except OSError as error:
            # Another process was first: its folder is complete, ours is the same and not needed.
            if not self.is_ready(storage):
                raise UserError(f"{folder} is in the way ({error.strerror}); delete it and run again") from error

    def _source(self, storage: Storage) -> str | None:
        source = storage.sources.get(self.name)
        return str(source.resolve()) if source else None

    def _write(self, folder: Path, storage: Storage, progress: Progress) -> None:
        with writing(storage.cache):
            folder.mkdir()
        hashes = {}
        for split in self.splits:
            arrays = self.build(split, storage.sources.get(self.name), progress)
            self._check(split, arrays)
            for name in sorted(arrays):
                array = np.ascontiguousarray(arrays[name])
                hashes[f"{split}-{name}"] = array_hash(array)
                with writing(storage.cache):
                    np.save(folder / f"{split}-{name}.npy", array, allow_pickle=False)
        source = storage.sources.get(self.name)
        read = {file.resolve(): file_hash(file) for file in self.source_files(source)}
        with writing(storage.cache):
            root = Path(os.path.commonpath([file.parent for file in read])) if read else folder
            self.finish(folder, storage, hashes, write_sources(folder, root, read))

    def finish(
        self, folder: Path, storage: Storage, hashes: Mapping[str, str], sources: Mapping[str, Any] | None
    ) -> None:
        """Write the manifest, after everything else."""
        head = {
            "dataset": self.name,
            "version": self.version,
            "revision": self.revision,
            "options": self.options,
            "source": self._source(storage),
        }
        write_manifest(folder, head, hashes=hashes, fields=self.fields, splits=self.splits, sources=sources)

    def _check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        expected = sorted([IMAGE, ID, *(task.name for task in self.tasks)])
        if sorted(arrays) != expected:
            raise ValueError(f"{self.name}: split '{split}' must hold {expected}, found {sorted(arrays)}")
        count = self.samples[split]
        lengths = {name: len(array) for name, array in arrays.items()}
        if set(lengths.values()) != {count}:
            raise ValueError(f"{self.name}: split '{split}' must hold {count} samples, found {lengths}")
        images = arrays[IMAGE]
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"{self.name}: images must be uint8 of shape {self.image_shape}, "
                f"found {images.dtype} of shape {images.shape[1:]}"
            )

    def content_hash(self, storage: Storage) -> str:
        """SHA-256 over all prepared arrays.

        Raises:
            UserError: the prepared form is missing or damaged.
        """
        return cast(str, self.manifest(storage)["content_hash"])

    def manifest(self, storage: Storage) -> dict[str, Any]:
        """What the prepared form says of itself.

        Raises:
            UserError: the prepared form is missing, damaged or outdated.
        """
        if reason := self.outdated(storage):
            raise UserError(f"{reason}; 'mtbench data prepare {self.name}', with the same options, makes it again")
        return read_manifest(self.folder(storage) / MANIFEST)

    @property
    def pieces(self) -> Sequence["DataSet"]:
        """The data sets whose prepared forms make up this one's: itself, unless it is put together from others."""
        return (self,)

    def load(self, split: str, storage: Storage, device: torch.device | str = "cpu") -> AnySplit:
        """Load one split of the prepared form, and make sure that it is what was prepared.

        Pictures that are too many for ``device`` stay on the disk, see ``mapped``.

        Raises:
            UserError: the prepared form is missing or damaged.
        """
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        folder = self.folder(storage)
        hashes = self.manifest(storage)["arrays"]

        def read(name: str) -> np.ndarray:
            return load_array(folder / f"{split}-{name}.npy", hashes[f"{split}-{name}"])

        return Split(
            images=placed(read(IMAGE), device),
            targets={task.name: torch.from_numpy(read(task.name)).to(device) for task in self.tasks},
            ids=read(ID),
        )

    def few(self, split: str, places: Sequence[int], storage: Storage) -> dict[str, np.ndarray]:
        """The samples at a few places of a prepared split: ``image``, as networks see it, ``id`` and every target.

        Nothing else is read, and nothing is made sure of.

        Raises:
            UserError: an array is missing or damaged.
        """
        return {
            name: self._few(f"{split}-{name}", places, storage) for name in (IMAGE, ID, *(t.name for t in self.tasks))
        }

    def _few(self, name: str, places: Sequence[int], storage: Storage) -> np.ndarray:
        file = self.folder(storage) / f"{name}.npy"
        try:
            return np.array(load_unchecked(file)[list(places)])
        except (OSError, ValueError, IndexError) as error:
            raise UserError(f"{file} is damaged ({error}); delete its folder and run again") from error


DATASETS.contract = DataSet


def register_dataset(cls: type[D]) -> type[D]:
    """Class decorator: registers a data set under its ``name`` and ``version``.

    Raises:
        UsageError: its tasks cannot be told apart; those that only an object has are looked at when one is built.
    """
    if isinstance(tasks := getattr(cls, "tasks", None), tuple):
        check_tasks(f"the data set '{cls.name}'", tasks)
    return DATASETS.register(cls.name, version=cls.version)(cls)


def build_dataset(name: str, **options: Any) -> DataSet:
    """Build a registered data set.

    Raises:
        UsageError: the name or an option is unknown, and the message lists the known ones; or the tasks cannot be told
            apart.
    """
    built = cast(DataSet, DATASETS[name].build(**options))
    check_tasks(f"the data set '{name}'", built.tasks)
    return built
