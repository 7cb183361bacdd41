"""The folders of .npy files in which the multi-task literature passes its preprocessed sets on.

``train`` and ``val`` hold one folder per field, and those ``0.npy``, ``1.npy``, …; pictures are (H, W, 3), as
fractions or bytes, depth (H, W, 1), normals (H, W, 3), labels (H, W). Stored types are not documented: any numeric one
will do. So will channels in front, depth without its last axis, and 255 for no label in labels without sign.
Source: the loaders of https://github.com/lorenmt/mtan and of the projects that build on it.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.dataset import IMAGE, SPLITS
from benchmark.data.files import entries, is_folder
from benchmark.data.pictures import area_resized, nearest
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UserError, reason

#: Fractions may be this much out of range by rounding.
SLACK = 1e-3
#: Share of the training files that is held out as val.
VAL_SHARE = 0.1


def middle_blocks(count: int, period: int) -> np.ndarray:
    """Which of ``count`` files in a row are held out: the middle tenth of each ``period`` files, about, at least one.

    Nothing is known of the files but their order. Neighbours are likely to show the same place, so that single files
    held out here and there would be seen in training already; of blocks, only the ends are.

    Returns:
        (count,) bool.
    """
    periods = max(1, round(count / period))
    place = ((np.arange(count) + 0.5) * periods / max(count, 1)) % 1
    held_out = abs(place - 0.5) <= VAL_SHARE / 2
    if count > 1 and not held_out.any():  # of few and even numbers of files, none lies in the middle
        held_out[count // 2] = True
    return held_out


class NpyFolders(StreamedDataSet):
    """A set that is read from such folders. The folder ``val`` is the test split; val is cut from ``train``."""

    #: Files in the folders ``train`` and ``val``.
    official: ClassVar[Mapping[str, int]]
    #: See ``middle_blocks``.
    period: ClassVar[int]
    #: Height and width of the files' arrays.
    stored_size: tuple[int, int]
    limit: int

    @property
    @abstractmethod
    def folders(self) -> Mapping[str, Sequence[str]]:
        """By field, the names that its folder may have."""

    @property
    @abstractmethod
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """By field, what the files' values may be."""

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, or the limit."""
        val = int(middle_blocks(self.official["train"], self.period).sum())
        numbers = {"train": self.official["train"] - val, "val": val, "test": self.official["val"]}
        return {split: min(count, self.limit or count) for split, count in numbers.items()}

    def plan(self, source: Path) -> Plan:
        """Count the files. See ``StreamedDataSet.plan``."""
        counts = {half: self._count(source, half) for half in self.official}
        held_out = middle_blocks(counts["train"], self.period)
        numbers = {
            "train": np.flatnonzero(~held_out),
            "val": np.flatnonzero(held_out),
            "test": np.arange(counts["val"]),
        }
        ids = {
            split: np.array([f"{'val' if split == 'test' else 'train'}/{n}" for n in numbers[split]], dtype=str)
            for split in SPLITS
        }
        ids = {split: names[: self.limit or None] for split, names in ids.items()}
        files = [self._file(source, field, name) for split in SPLITS for name in ids[split] for field in self.folders]
        return Plan(source, ids, files)

    def _count(self, source: Path, half: str) -> int:
        counts = {}
        ending = self._ending(source)
        for field in self.folders:
            folder = self._folder(source, half, field)
            names = [file.stem for file in entries(folder) if file.suffix == ending and file.stem.isdecimal()]
            if odd := [name for name in names if name != str(int(name))]:
                found, wanted = f"{odd[0]}{ending}", f"{int(odd[0])}{ending}"
                raise UserError(f"{folder} holds {found}, expected it to be named {wanted}; {self._help}")
            numbers = sorted(map(int, names))
            if numbers != list(range(len(numbers))):
                missing = min(set(range(len(numbers))) - set(numbers))
                raise UserError(f"{folder} holds {len(numbers)} files but no {missing}{ending}; {self._help}")
            counts[folder.name] = len(numbers)
        (count, *_), expected = counts.values(), self.official[half]
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{count} in '{name}'" for name, count in counts.items())
            raise UserError(f"{source / half} holds different numbers of files, {said}; {self._help}")
        if count != expected and not (self.limit and count < expected):
            raise UserError(f"{source / half} holds {count} files of each field, expected {expected}; {self._help}")
        return count

    def _folder(self, source: Path, half: str, field: str) -> Path:
        names = self._names(source, field)
        for name in names:
            if is_folder(source / half / name):
                return source / half / name
        raise UserError(f"there is no folder {source / half / names[0]}; {self._help}")

    def _names(self, source: Path, field: str) -> Sequence[str]:
        """The names that a field's folder may have in these files."""
        return self.folders[field]

    def _ending(self, source: Path) -> str:
        """That of the files."""
        return ".npy"

    def _file(self, source: Path, field: str, name: str) -> Path:
        half, _, number = name.partition("/")
        return self._folder(source, half, field) / f"{number}{self._ending(source)}"

    @property
    def _help(self) -> str:
        assert self.card is not None
        return f"see {self.card.homepage}"

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read and convert a few files. See ``StreamedDataSet.make``."""
        return {field: np.stack([self._sample(root, field, name) for name in ids]) for field in self.folders}

    def _sample(self, root: Path, field: str, name: str) -> np.ndarray:
        file, stored = self._file(root, field, name), self.fields[field]
        channels = len(stored.shape) == 3
        array = self._read(file, field, (*self.stored_size, stored.shape[0]) if channels else self.stored_size)
        if stored.unit == "class" and array.dtype.kind == "u":
            array = np.where(array == np.iinfo(array.dtype).max, -1, array.astype(np.int64))  # 255 has no other use
        low, high = (0, 255) if field == IMAGE and array.dtype == np.uint8 else self.ranges[field]
        if not np.isfinite(array).all() or array.min() < low - SLACK or array.max() > high + SLACK:
            raise UserError(
                f"{file} holds values from {array.min():g} to {array.max():g}, "
                f"expected {low:g} to {high:g}; {self._help}"
            )
        size = self.image_shape[1:]
        if field == IMAGE:
            if array.dtype != np.uint8:
                array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
            return area_resized(array, size)
        if stored.unit == "class" and (array != np.rint(array)).any():
            raise UserError(f"{file} holds classes that are no whole numbers; {self._help}")
        moved = array.transpose(2, 0, 1) if channels else array
        return nearest(moved, size).clip(low, high).astype(stored.dtype)

    def _load(self, file: Path, field: str) -> Any:
        """What a file holds."""
        try:
            with file.open("rb") as stream:
                return np.load(stream, allow_pickle=False)
        except Exception as error:  # NumPy's reader raises anything on damaged bytes
            raise UserError(f"{file} cannot be read as .npy ({reason(error)}); {self._help}") from error

    def _read(self, file: Path, field: str, shape: tuple[int, ...]) -> np.ndarray:
        array = self._load(file, field)
        laid = _laid(array, shape) if isinstance(array, np.ndarray) and array.dtype.kind in "fiu" else None
        if laid is None:
            found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "no array"
            advice = self.advice(array.shape) if isinstance(array, np.ndarray) else ""
            raise UserError(f"{file} holds {found}, expected numbers of shape {shape}; {advice or self._help}")
        return laid

    def advice(self, shape: tuple[int, ...]) -> str:
        """What to do where files hold arrays of another shape than the options say; empty for nothing in particular."""
        return ""


def _laid(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array in the shape that is wanted: as it is, channels first, or with one axis of length 1 more or less."""
    if array.shape == shape:
        return array
    if len(shape) == 3 and array.shape == (shape[2], *shape[:2]):
        return array.transpose(1, 2, 0)
    spare = (shape[:2], (*shape[:2], 1), (1, *shape[:2]))
    return array.reshape(shape) if array.shape in spare and shape[2:] in ((), (1,)) else None
