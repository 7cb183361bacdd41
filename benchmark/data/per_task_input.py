"""Data sets in which every task has its own pictures: several sets, one task each, under one name."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmark.data.dataset import DataSet, Progress, Storage, silent
from benchmark.data.split import PerTaskInputSplit, Split
from benchmark.renamed import attribute
from benchmark.tasks import Task

__getattr__ = partial(attribute, __name__)


class PerTaskInputDataSet(DataSet):
    """A data set put together from sets of one task each, whose pictures have nothing to do with each other.

    A subclass says in ``parts`` which. In a training step every task sees a batch of its own pictures, and the model
    is called once per task. Each part is prepared on its own, so that what several sets share is prepared once; the
    folder that the user names for this set is every part's.
    """

    joint = False

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, DataSet]:
        """By name of the task the set that holds it, and no other task."""

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """One per part."""
        return tuple(task for part in self.parts.values() for task in part.tasks)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of the first part."""
        return next(iter(self.parts.values())).image_shape

    @property
    def samples(self) -> dict[str, int]:
        """Over all parts."""
        return {split: sum(part.samples[split] for part in self.parts.values()) for split in self.splits}

    @property
    def pieces(self) -> Sequence[DataSet]:
        """The parts."""
        return tuple(self.parts.values())

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        """Not defined: every part is built on its own."""
        raise TypeError(f"'{self.name}' has no arrays of its own; its parts have")

    def folder(self, storage: Storage) -> Path:
        """The cache, where the parts' folders lie side by side."""
        return storage.cache

    def is_ready(self, storage: Storage) -> bool:
        """Whether every part is."""
        return all(part.is_ready(storage) for part in self.parts.values())

    def prepare(self, storage: Storage, progress: Progress = silent) -> None:
        """Prepare the parts one after another. See ``DataSet.prepare``."""
        source = storage.sources.get(self.name)
        known: dict[str, dict[str, tuple[int, int]]] = {}
        for name, part in self.parts.items():

            def tell(split: str, done: int, total: int, name: str = name) -> None:
                of = known.setdefault(split, {n: (0, p.samples.get(split, 0)) for n, p in self.parts.items()})
                of[name] = (done, total)
                progress(split, sum(done for done, _ in of.values()), sum(total for _, total in of.values()))

            part.prepare(Storage(storage.cache, {part.name: source} if source else {}), tell)

    def content_hash(self, storage: Storage) -> str:
        """SHA-256 over the parts' content hashes. See ``DataSet.content_hash``."""
        return cast(str, self.manifest(storage)["content_hash"])

    def manifest(self, storage: Storage) -> dict[str, Any]:
        """Samples over all parts, the parts' content hashes, and one over these. See ``DataSet.manifest``."""
        found = {name: part.manifest(storage) for name, part in self.parts.items()}
        hashes = {name: manifest["content_hash"] for name, manifest in found.items()}
        return {
            "samples": {split: sum(m["samples"][split] for m in found.values()) for split in self.splits},
            "parts": hashes,
            "content_hash": hashlib.sha256(json.dumps(hashes).encode()).hexdigest(),
        }

    def load(self, split: str, storage: Storage, device: torch.device | str = "cpu") -> PerTaskInputSplit:
        """Load one split of every part. See ``DataSet.load``."""
        return PerTaskInputSplit(
            {name: cast(Split, part.load(split, storage, device)) for name, part in self.parts.items()}
        )
