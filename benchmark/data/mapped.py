"""Pictures that are too many for the device: they stay on the disk and come in batches, through pinned memory."""

import os
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import UserError

#: Names the most bytes of one array that are kept on the device; larger ones are streamed.
VARIABLE = "MTBENCH_RESIDENT_BYTES"
#: Without it, the share of a GPU's free memory that one array may take; the rest is for what else there is.
SHARE = 0.5


def placed(array: np.ndarray, device: torch.device | str) -> "Tensor | MappedImages":
    """An array on the device, or, where it is too large for it, streamed to it.

    On a processor, arrays are mapped into memory anyway, and are streamed only if the variable says so.

    Raises:
        UserError: the environment's limit is no number.
    """
    device = torch.device(device)
    limit = resident_bytes(device)
    if limit is not None and array.nbytes > limit:
        return MappedImages(array, device)
    return torch.from_numpy(array).to(device)


def resident_bytes(device: torch.device) -> float | None:
    """The most bytes of one array that are kept on the device; None for no limit."""
    stated = os.environ.get(VARIABLE, "")
    if stated:
        if not stated.isdecimal():
            raise UserError(f"{VARIABLE} must be a whole number of bytes, found '{stated}'")
        return int(stated)
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return SHARE * free


class MappedImages:
    """Reads like a tensor (N, …) on the device where it is indexed by places, and is an array on the disk.

    Args:
        array: (N, …), mapped into memory.
        device: where batches go.
    """

    def __init__(self, array: np.ndarray, device: torch.device) -> None:
        self.array = array
        self.device = device
        self._reader = ThreadPoolExecutor(1, "pictures")
        self._coming: tuple[Tensor, Future[Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> torch.Size:
        """(N, …)."""
        return torch.Size(self.array.shape)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The samples at (B,) places -> (B, …) on the device."""
        coming, self._coming = self._coming, None
        wanted = indices.cpu()
        read = coming[1].result() if coming and torch.equal(coming[0], wanted) else self._read(wanted)
        return read.to(self.device, non_blocking=True)

    def expect(self, indices: Tensor) -> None:
        """Begin to read the samples that will be asked for next."""
        wanted = indices.cpu()
        self._coming = wanted, self._reader.submit(self._read, wanted)

    def _read(self, indices: Tensor) -> Tensor:
        # Pinned memory comes from torch's cache, which gives it out again only after the copy from it is done.
        read = torch.empty(len(indices), *self.shape[1:], dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        places = indices.numpy()
        order = places.argsort(kind="stable")  # along the disk
        read.numpy()[order] = self.array[places[order]]
        return read
