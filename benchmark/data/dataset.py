"""The contract of a data set: fixed splits, prepared once, loaded as whole tensors."""

import hashlib
import json
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import UserError, unknown
from benchmark.registry import DATASETS
from benchmark.tasks import Task

SPLITS = ("train", "val", "test")
IMAGE = "image"
MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1

#: Told how many of how many samples of a split are ready.
Progress = Callable[[str, int, int], None]


def silent(split: str, done: int, total: int) -> None:
    """A ``Progress`` that shows nothing."""


@dataclass(frozen=True)
class Split:
    """One split on one device.

    Attributes:
        images: (N, 3, H, W) or (N, 1, H, W) uint8.
        targets: per task (N, …) in its stored form.
        ids: (N,) what each sample is called in its source.
    """

    images: Tensor
    targets: Mapping[str, Tensor]
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Storage:
    """Where data lie on this machine; never part of a run's identity.

    Attributes:
        cache: folder of prepared data.
        sources: per data set, the folder of its official files, where it is not the usual one.
    """

    cache: Path
    sources: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def default(cls, sources: Mapping[str, Path] | None = None) -> "Storage":
        """``$MTBENCH_CACHE``, else ``mtbench`` in the user's cache folder."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(Path(os.environ.get("MTBENCH_CACHE") or home / "mtbench"), dict(sources or {}))


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
    tasks: tuple[Task, ...]

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture."""

    @property
    @abstractmethod
    def samples(self) -> Mapping[str, int]:
        """Number of samples by split."""

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
    def options(self) -> dict[str, Any]:
        """The constructor's options, by name: every registered option is kept under its name."""
        return {name: getattr(self, name) for name in DATASETS[self.name].defaults}

    @property
    def identity(self) -> str:
        """Short hash of name, version and options."""
        text = json.dumps([self.name, self.version, self.options], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def folder(self, storage: Storage) -> Path:
        """Where the prepared form lies."""
        return storage.cache / f"{self.name}-v{self.version}-{self.identity}"

    def is_ready(self, storage: Storage) -> bool:
        """Whether the prepared form is there."""
        return (self.folder(storage) / MANIFEST).is_file()

    def prepare(self, storage: Storage, progress: Progress = silent) -> None:
        """Make the prepared form unless it is there.

        Everything is written into a temporary folder that is renamed at the end, so that a folder under the final
        name is always complete, whoever else prepares the same set at the same time.

        Raises:
            UserError: official files are missing, or the cache folder cannot be written.
        """
        if self.is_ready(storage):
            return
        try:
            storage.cache.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=storage.cache))
        except OSError as error:
            raise UserError(
                f"cannot write the data cache {storage.cache} ({error.strerror}); set MTBENCH_CACHE"
            ) from error
        try:
            self._write(scratch, storage.sources.get(self.name), progress)
            try:
                scratch.rename(self.folder(storage))
            except OSError:
                # Another process was first: its folder is complete, ours is the same and not needed.
                if not self.is_ready(storage):
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _write(self, folder: Path, source: Path | None, progress: Progress) -> None:
        digest = hashlib.sha256()
        counts = {}
        for split in SPLITS:
            arrays = self.build(split, source, progress)
            self._check(split, arrays)
            counts[split] = len(arrays[IMAGE])
            for name in sorted(arrays):
                array = np.ascontiguousarray(arrays[name])
                digest.update(f"{split}/{name} {array.dtype} {array.shape}".encode())
                digest.update(array.tobytes())
                np.save(folder / f"{split}-{name}.npy", array, allow_pickle=False)
        manifest = {
            "schema": MANIFEST_SCHEMA,
            "dataset": self.name,
            "version": self.version,
            "options": self.options,
            "samples": counts,
            "content_hash": digest.hexdigest(),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")

    def _check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        expected = {IMAGE, "id", *(task.name for task in self.tasks)}
        if set(arrays) != expected:
            raise ValueError(f"{self.name}: split '{split}' must hold {sorted(expected)}, found {sorted(arrays)}")
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1 or arrays[IMAGE].dtype != np.uint8:
            raise ValueError(f"{self.name}: split '{split}' needs uint8 images and equal lengths, found {lengths}")

    def content_hash(self, storage: Storage) -> str:
        """SHA-256 over all prepared arrays."""
        return cast(str, self._manifest(storage)["content_hash"])

    def _manifest(self, storage: Storage) -> dict[str, Any]:
        file = self.folder(storage) / MANIFEST
        try:
            return cast(dict[str, Any], json.loads(file.read_text()))
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read ({error}); delete its folder and run again") from error

    def load(self, split: str, storage: Storage, device: torch.device | str = "cpu") -> Split:
        """Load one split of the prepared form onto ``device``.

        Raises:
            UserError: the prepared form is missing or damaged.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        folder = self.folder(storage)
        count = self._manifest(storage)["samples"][split]

        def read(name: str) -> np.ndarray:
            file = folder / f"{split}-{name}.npy"
            try:
                array = np.load(file, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise UserError(f"{file} cannot be read ({error}); delete its folder and run again") from error
            if len(array) != count:
                raise UserError(f"{file} holds {len(array)} samples, not {count}; delete its folder and run again")
            return cast(np.ndarray, array)

        return Split(
            images=torch.from_numpy(read(IMAGE)).to(device),
            targets={task.name: torch.from_numpy(read(task.name)).to(device) for task in self.tasks},
            ids=read("id"),
        )


def register_dataset(cls: type[D]) -> type[D]:
    """Class decorator: registers a data set under its ``name`` and ``version``."""
    return DATASETS.register(cls.name, version=cls.version)(cls)


def build_dataset(name: str, **options: Any) -> DataSet:
    """Build a registered data set.

    Raises:
        UsageError: the name or an option is unknown; the message lists the known ones.
    """
    return cast(DataSet, DATASETS[name].build(**options))
