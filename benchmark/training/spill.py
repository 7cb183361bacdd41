"""Activations off the device: what a forward pass saves for its backward passes, in host memory or on disk.

Cutting a batch would change the mathematics: batch norm's statistics are those of the whole batch. Bytes that are put
away and brought back change nothing; a tensor comes back with its shape, strides and alignment, so that the same
kernels give the same bits.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import NoReturn
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from benchmark.errors import UserError

#: Bytes of a storage below which its tensors stay where they are.
SMALL = 2**16
#: Bytes to which allocators align, and kernels may look: a tensor comes back as far from such an address as it was.
ALIGNMENT = 64

#: Fills a vector with what was put away.
Fill = Callable[[Tensor], object]


class SpillError(UserError):
    """A file of activations that cannot be written or read."""


def spilled(kind: str) -> saved_tensors_hooks:
    """The context of one forward pass whose saved tensors are put away for as long as their graph lives.

    Inside, and in the backward passes, ``SpillError`` is raised where a file cannot be written or read.

    Args:
        kind: of device: from ``cuda`` into host memory, pinned where it can be; from ``cpu`` into a file without name.
    """
    return saved_tensors_hooks(_Pass(into_host_memory if kind == "cuda" else ScratchFile().keep).pack, _unpack)


def into_host_memory(flat: Tensor) -> Fill:
    """Put a vector away. Copies are in the order of the device's stream, so that nobody waits for them."""
    try:
        kept = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=True)
    except RuntimeError:  # there is no more memory that can be pinned, or no device that would gain
        kept = torch.empty(flat.shape, dtype=flat.dtype)
    pinned = kept.is_pinned()
    kept.copy_(flat, non_blocking=pinned)
    return lambda into: into.copy_(kept, non_blocking=pinned)


class ScratchFile:
    """A file that has no name and goes with this object, however the process ends.

    It is written and read, not mapped: limits of memory count mappings.
    """

    def __init__(self) -> None:
        self._file: FileIO | None = None
        self._end = 0

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def keep(self, flat: Tensor) -> Fill:
        """Put a vector away."""
        start, left = self._end, _bytes(flat)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=scratch_folder(), buffering=0)  # noqa: SIM115 - see __del__
            self._file.seek(start)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._fail("written", error.strerror or str(error))
        self._end += flat.nbytes
        return partial(self._fill, start)

    def _fill(self, start: int, flat: Tensor) -> None:
        assert self._file is not None  # something was put away
        left = _bytes(flat)
        try:
            self._file.seek(start)
            while left and (count := self._file.readinto(left)):
                left = left[count:]
        except OSError as error:
            self._fail("read", error.strerror or str(error))
        if left:
            self._fail("read", "it is too short")

    def _fail(self, what: str, reason: str) -> NoReturn:
        raise SpillError(
            f"activations cannot be {what} in {scratch_folder()} after {self._end / 2**20:.0f} MiB ({reason}); "
            "name a folder on a disk with more room in TMPDIR"
        )


def scratch_folder() -> Path:
    """$TMPDIR, else /var/tmp: /tmp is in memory on many systems."""
    usual = Path("/var/tmp")
    return Path(os.environ.get("TMPDIR") or (usual if os.access(usual, os.W_OK) else tempfile.gettempdir()))


def _bytes(flat: Tensor) -> memoryview:
    return flat.view(torch.uint8).numpy().data


@dataclass(eq=False)
class _Piece:
    """A stretch of a storage, put away.

    Attributes:
        storage: watched, so that no other gets its address while this piece is known by it.
    """

    storage: StorageWeakRef
    fill: Fill


@dataclass(frozen=True)
class _Away:
    """A tensor that was put away.

    Attributes:
        span: elements of the piece.
        lead: elements between an aligned address and its first.
    """

    piece: _Piece
    span: int
    lead: int
    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class _Pass:
    """What one forward pass has put away, each stretch of memory once."""

    def __init__(self, keep: Callable[[Tensor], Fill]) -> None:
        self.keep = keep
        self.pieces: WeakValueDictionary[tuple[int, ...], _Piece] = WeakValueDictionary()

    def pack(self, tensor: Tensor) -> Tensor | _Away:
        """What the graph holds in the tensor's place."""
        # A parameter, frozen or not, or a feature that the step holds itself.
        held = tensor.is_leaf and (tensor.requires_grad or isinstance(tensor, nn.Parameter))
        tensor = tensor.detach()
        odd = tensor.layout != torch.strided or tensor.is_conj() or tensor.is_neg() or tensor.numel() == 0
        if held or odd or (storage := tensor.untyped_storage()).nbytes() < SMALL:
            return tensor
        span = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
        # In-place operations count a version up: the same memory may be saved before one and after it.
        key = (storage._cdata, tensor._version, tensor.data_ptr(), span * tensor.itemsize)
        piece = self.pieces.get(key)
        if piece is None:
            piece = _Piece(StorageWeakRef(storage), self.keep(tensor.as_strided((span,), (1,))))
            self.pieces[key] = piece
        lead = tensor.data_ptr() % ALIGNMENT // tensor.itemsize
        return _Away(piece, span, lead, tensor.shape, tensor.stride(), tensor.dtype, tensor.device)


def _unpack(saved: Tensor | _Away) -> Tensor:
    """The tensor again; as often as there are backward passes."""
    if isinstance(saved, Tensor):
        return saved
    room = torch.empty(saved.lead + saved.span, dtype=saved.dtype, device=saved.device)
    saved.piece.fill(room[saved.lead :])
    return room.as_strided(saved.shape, saved.strides, saved.lead)
