"""``nyu_depth_v2_labeled.mat``: MATLAB's version 7.3 is HDF5, which lists every array's axes in reverse.

| array | h5py's shape | type | what |
|---|---|---|---|
| ``images`` | (N, 3, 640, 480) | uint8 | RGB |
| ``depths`` | (N, 640, 480) | float32 | metres, holes filled in by colourisation |
| ``rawDepths`` | (N, 640, 480) | float32 | metres as measured, 0 unknown |
| ``labels`` | (N, 640, 480) | uint16 | 0 unlabelled, 1 to 894 |
| ``scenes`` | (1, N) | references | of strings, each an array of character codes |

Source: https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html (Silberman, Hoiem, Kohli & Fergus, ECCV 2012).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from benchmark.data.files import is_file
from benchmark.errors import UserError

FILE = "nyu_depth_v2_labeled.mat"
HELP = "download it again from https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"

HEIGHT, WIDTH = 480, 640
#: Shape of one frame as stored, and type, by array.
ARRAYS = {
    "images": ((3, WIDTH, HEIGHT), "uint8"),
    "depths": ((WIDTH, HEIGHT), "float32"),
    "rawDepths": ((WIDTH, HEIGHT), "float32"),
    "labels": ((WIDTH, HEIGHT), "uint16"),
}
#: Metres; the official tools cut depth off at 10, and what is this far beyond is no depth in metres.
ABSURD_DEPTH = 20.0
#: Bytes of decompressed chunks that HDF5 keeps for each array.
CHUNK_CACHE = 1 << 24


@dataclass(frozen=True)
class Frame:
    """One frame in the order of rows and columns.

    Attributes:
        image: (480, 640, 3) uint8.
        filled, measured: (480, 640) float32 metres; 0 unknown.
        labels: (480, 640) uint16 raw classes; 0 unlabelled.
    """

    image: np.ndarray
    filled: np.ndarray
    measured: np.ndarray
    labels: np.ndarray


class Labeled:
    """The open file; ``open_labeled`` makes it."""

    def __init__(self, file: Path, handle: h5py.File) -> None:
        self.file, self.handle = file, handle
        for name, (shape, dtype) in ARRAYS.items():
            with _reading(file):
                array = handle.get(name)
            if not isinstance(array, h5py.Dataset):
                raise UserError(f"{file} holds no array '{name}'; {HELP}")
            if array.shape[1:] != shape or array.dtype != dtype:
                raise UserError(
                    f"{file} holds '{name}' as {array.dtype} of shape {array.shape}, "
                    f"expected {dtype} of {('frames', *shape)}; {HELP}"
                )
        counts = {name: len(handle[name]) for name in ARRAYS}
        if len(set(counts.values())) > 1:
            raise UserError(f"{file} holds arrays of different lengths, {counts}; {HELP}")
        self.frames = counts["images"]

    def scenes(self) -> list[str]:
        """The name of every frame's scene."""
        with _reading(self.file):
            scenes = self.handle.get("scenes")
        whole = isinstance(scenes, h5py.Dataset) and scenes.shape == (1, self.frames)
        if not whole or not h5py.check_ref_dtype(scenes.dtype):
            raise UserError(f"{self.file} holds no 'scenes', references of shape {(1, self.frames)}; {HELP}")
        with _reading(self.file):
            return ["".join(map(chr, np.ravel(self.handle[reference]))) for reference in scenes[0]]

    def frame(self, number: int) -> Frame:
        """Read one frame, numbered from 1."""
        image, filled, measured, labels = (self._read(name, number) for name in ARRAYS)
        return Frame(image.transpose(2, 1, 0), self._depth(filled, number), self._depth(measured, number), labels.T)

    def _read(self, name: str, number: int) -> np.ndarray:
        with _reading(self.file):
            return np.asarray(self.handle[name][number - 1])

    def _depth(self, stored: np.ndarray, number: int) -> np.ndarray:
        depth = stored.T
        if not np.isfinite(depth).all() or depth.min() < 0 or depth.max() > ABSURD_DEPTH:
            raise UserError(
                f"{self.file} holds depth from {depth.min()} to {depth.max()} in frame {number}, "
                f"expected metres from 0 to 10; {HELP}"
            )
        return depth


@contextmanager
def open_labeled(folder: Path) -> Iterator[Labeled]:
    """Open the file in ``folder``.

    Raises:
        UserError: it is missing, cut off, or not the official one.
    """
    file = folder / FILE
    if not is_file(file):
        raise UserError(f"{folder} holds no {FILE}; {HELP}")
    with _reading(file):
        handle = h5py.File(file, "r", rdcc_nbytes=CHUNK_CACHE)
    with handle:
        yield Labeled(file, handle)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Report what HDF5 raises for damage of any sort as the file's fault."""
    try:
        yield
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read as MATLAB 7.3 ({reason}); {HELP}") from error
