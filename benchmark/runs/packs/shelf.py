"""The segments of a results folder, and which of several records of one name counts."""

import os
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.runs.packs.segment import TRUST_SUFFIX, Packed, read_index

#: Folder of a data set's segments, below the data set's own, and how their names end.
FOLDER = "packs"
SUFFIX = ".pack"


class Shelf:
    """The segments of a results folder. Each is opened once, however often one asks.

    Args:
        root: the results folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: dict[tuple[Path, int, int], list[Packed] | str] = {}
        self._merged: dict[str, tuple[tuple[object, ...], dict[str, list[Packed]]]] = {}

    def find(self, dataset: str, name: str) -> Sequence[Packed]:
        """The packed records of this name in a data set's folder, from the one that counts to the least."""
        return self._folder(dataset).get(name, ())

    def records(self) -> dict[str, list[Packed]]:
        """By ``<data set>/<name>`` the packed records of that name, from the one that counts to the least."""
        return {
            f"{dataset}/{name}": found for dataset in self._datasets() for name, found in self._folder(dataset).items()
        }

    def segments(self) -> list[Path]:
        """The files, in the order of their names, whether they can be read or not."""
        return [path for dataset in self._datasets() for path, *_ in self._files(dataset)]

    def problems(self) -> list[tuple[Path, str]]:
        """The segments that cannot be read at all, and why."""
        stamps = [stamp for dataset in self._datasets() for stamp in self._files(dataset)]
        found = [(stamp[0], self._open(stamp)) for stamp in stamps]
        return [(path, reason) for path, reason in found if isinstance(reason, str)]

    def _datasets(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and entry.name[0] != ".")
        except OSError:
            return []

    def _files(self, dataset: str) -> list[tuple[Path, int, int]]:
        try:
            with os.scandir(self.root / dataset / FOLDER) as entries:
                found = [e for e in entries if e.name.endswith(SUFFIX) and not e.name.startswith(".")]
                return sorted((Path(e.path), e.stat().st_mtime_ns, e.stat().st_size) for e in found)
        except OSError:
            return []

    def _folder(self, dataset: str) -> dict[str, list[Packed]]:
        stamps = self._files(dataset)
        known, merged = self._merged.get(dataset, ((), {}))
        if known != tuple(stamps):
            merged = {}
            for records in map(self._open, stamps):
                for packed in records if not isinstance(records, str) else ():
                    merged.setdefault(packed.name, []).append(packed)
            for found in merged.values():
                if len(found) > 1:
                    found.sort(key=_rank)
            self._merged[dataset] = tuple(stamps), merged
        return merged

    def _open(self, stamp: tuple[Path, int, int]) -> list[Packed] | str:
        """A segment's records, or what is wrong with it."""
        if stamp not in self._opened:
            try:
                self._opened[stamp] = read_index(stamp[0])
            except UserError as error:
                self._opened[stamp] = str(error)
        return self._opened[stamp]


def _rank(packed: Packed) -> tuple[bool, bool, bool, str, Path]:
    """A run that went well counts first, then one made here, then one with pictures; else whatever is fixed."""
    foreign, bare = TRUST_SUFFIX in packed.files, ".npz" not in packed.files
    return packed.status != "ok", foreign, bare, packed.sha256, packed.segment
