"""Foreign checkpoints in safetensors: a bounded header of names, types and shapes, then plain numbers. Nothing is run.

The library's own reader is not asked: it takes headers of 100 MB, and the whole file at once.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.submission.text import parse, shown

#: An honest header has about 100 bytes for each tensor.
LARGEST_HEADER = 4 << 20
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 8
LONGEST_NAME = 300
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Described:
    """What the header says of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.numbers * self.dtype.itemsize


def read_header(stream: IO[bytes], size: int, name: str) -> dict[str, Described]:
    """What a checkpoint holds, in the order of its bytes; the stream then stands at the first tensor.

    Args:
        size: of the whole file.
        name: of the file, for messages.

    Raises:
        UserError: the header is no safetensors header, too large, or its tensors do not fill the file from its first
            byte to its last, each byte once.
    """
    start = stream.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(LARGEST_HEADER, size - 8):
        raise UserError(f"{name} is no safetensors file with a header of at most {LARGEST_HEADER} bytes")
    content = stream.read(length)
    if len(content) != length or content[:1] != b"{":
        raise UserError(f"{name} is no safetensors file: its header is cut short, or no JSON object")
    raw = parse(content, f"the header of {name}")
    if not isinstance(raw, dict) or len(raw) > MOST_TENSORS:
        raise UserError(f"{name} must hold at most {MOST_TENSORS} tensors by name")
    if not isinstance(raw.pop(METADATA, {}), dict):
        raise UserError(f"the metadata of {name} are no JSON object")
    found = [(*_described(key, value, name), key) for key, value in raw.items()]
    found.sort(key=lambda entry: entry[:2])
    end = 0
    for begin, stop, _, key in found:
        if begin != end:
            raise UserError(f"{name}: the bytes of '{shown(key)}' begin at {begin}, not at {end} where others end")
        end = stop
    if not found or end != size - 8 - length:
        raise UserError(f"{name} holds tensors of {end} bytes, and {size - 8 - length} bytes for them")
    return {key: described for _, _, described, key in found}


def _described(key: str, value: Any, name: str) -> tuple[int, int, Described]:
    """Where a tensor's bytes begin and end, and what they are."""
    what = f"{name}: '{shown(key)[:80]}'"
    if not key or len(key) > LONGEST_NAME or not key.isprintable():
        raise UserError(f"{what} is no name of a tensor")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise UserError(f"{what} must be described by dtype, shape and data_offsets alone")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UserError(f"{what} has the type {shown(dtype)[:40]}; expected one of {', '.join(DTYPES)}")
    if not _are_sizes(shape) or len(shape) > MOST_DIMENSIONS:
        raise UserError(f"{what} has the shape {shown(shape)[:80]}, which is none")
    described = Described(DTYPES[dtype], tuple(shape))
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != described.size:
        raise UserError(f"{what} has {shown(offsets)[:80]} as the place of its {described.size} bytes")
    return offsets[0], offsets[1], described


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**48 for size in value)


def read_tensors(stream: IO[bytes], header: Mapping[str, Described], name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors one after another, each found finite.

    Args:
        stream: behind the header.
        header: what ``read_header`` gave.

    Raises:
        UserError: the file is cut short, or a number is not finite.
    """
    for key, described in header.items():
        content = bytearray(described.size)
        view, filled = memoryview(content), 0
        while filled < len(view) and (part := stream.read(min(1 << 20, len(view) - filled))):
            view[filled : filled + len(part)] = part
            filled += len(part)
        if filled != described.size:
            raise UserError(f"{name}: '{shown(key)}' is cut short")
        if described.dtype is torch.bool and any(byte > 1 for byte in set(content)):
            raise UserError(f"{name}: '{shown(key)}' holds truth values that are neither 0 nor 1")
        tensor = torch.frombuffer(content, dtype=described.dtype) if content else torch.empty(0, dtype=described.dtype)
        if described.dtype.is_floating_point and not torch.isfinite(tensor).all():
            raise UserError(f"{name}: '{shown(key)}' holds numbers that are not finite")
        yield key, tensor.reshape(described.shape)
