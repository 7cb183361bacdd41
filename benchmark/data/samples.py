"""A few samples of a prepared set with their truth, small enough to be kept beside records and shown on a page."""

from math import ceil

import numpy as np

from benchmark.data.dataset import IMAGE, DataSet, Storage
from benchmark.data.measured import pictured
from benchmark.data.pictures import area_resized, nearest
from benchmark.data.prepared import load_unchecked
from benchmark.errors import UserError

#: The split that samples are of: pages of boards show test samples.
SHOWN = "train"
#: Pixels along the longer side.
LONGEST = 96
#: Bits of a half-precision number that are dropped, of its 11: no picture shows them, and they compress badly.
DROPPED = 4


def samples(dataset: DataSet, storage: Storage) -> dict[str, np.ndarray]:
    """Samples spread evenly over the training split.

    Returns:
        ``id`` (N,), ``image`` (N, C, H, W) uint8 and a target per task, (N, …) in its stored form; dense ones and
        pictures made smaller, and real numbers rounded to 7 bits.

    Raises:
        UserError: the set is not prepared, or is damaged.
    """
    file = dataset.folder(storage) / f"{SHOWN}-id.npy"
    try:
        count = len(load_unchecked(file))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}); delete its folder and run again") from error
    found = dataset.few(SHOWN, pictured(count), storage)
    dense = {task.name for task in dataset.tasks if task.dense}
    size = _size(found[IMAGE].shape[-2:])
    small = {name: nearest(array, size) if name in dense else array for name, array in found.items()}
    small[IMAGE] = np.stack([_resized(image, size) for image in found[IMAGE]])
    return {name: _rounded(array) for name, array in small.items()}


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = shape
    factor = min(1.0, LONGEST / max(height, width))
    return ceil(height * factor), ceil(width * factor)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, H, W) uint8 with any number of channels -> (C, *size)."""
    bands = [area_resized(np.repeat(band[..., None], 3, -1), size)[0] for band in image]
    return np.stack(bands)


def _rounded(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float16:
        return array
    bits = np.ascontiguousarray(array).view(np.uint16) & np.uint16(0xFFFF << DROPPED & 0xFFFF)
    return bits.view(np.float16)
