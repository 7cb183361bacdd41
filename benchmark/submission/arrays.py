"""Foreign .npz files: bounded, never unpickled, and of the shape that was expected or not read at all."""

import math
from collections.abc import Mapping
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np

from benchmark.errors import UserError
from benchmark.submission.bundle import CHUNK, check_end
from benchmark.submission.text import shown

#: An honest header of an array has about 80 bytes.
LONGEST_HEADER = 10_000
#: Types of decisions and of ids; besides, ids may be texts of so many bytes.
NUMBERS = ("int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")
LONGEST_ID = 1024


def read_arrays(stream: IO[bytes], expected: Mapping[str, tuple[int, ...]], name: str) -> dict[str, np.ndarray]:
    """The arrays named in ``expected``, if the file holds exactly these, in these shapes.

    Args:
        stream: seekable.
        expected: shape by name.
        name: of the file, for messages.

    Raises:
        UserError: names, shapes or types are others, the file is damaged, or holds pickled objects.
    """
    try:
        check_end(stream, name)
        with ZipFile(stream) as archive:
            infos = archive.infolist()
            found = [info.filename.removesuffix(".npy") for info in infos]
            if sorted(found) != sorted(expected):
                raise UserError(
                    f"{name} must hold {', '.join(sorted(expected))}, and holds {shown(', '.join(sorted(found)))}"
                )
            arrays = {}
            for key, info in zip(found, infos, strict=True):
                if info.flag_bits & 0x1 or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                    raise UserError(f"{name}: '{key}' is encrypted or compressed in an unknown way")
                with archive.open(info) as member:
                    arrays[key] = _array(member, expected[key], f"{name}: '{key}'")
            return arrays
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name} is damaged ({shown(error) or type(error).__name__})") from error


def _array(stream: IO[bytes], shape: tuple[int, ...], name: str) -> np.ndarray:
    """One array, read only after its header has said what was expected."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        found, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=LONGEST_HEADER)
    elif version == (2, 0):
        found, fortran, dtype = np.lib.format.read_array_header_2_0(stream, max_header_size=LONGEST_HEADER)
    else:
        raise UserError(f"{name} has an unknown format {version}")
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        raise UserError(f"{name} holds objects; predictions are plain numbers, and nothing is ever unpickled")
    if not (dtype.isnative and (dtype.name in NUMBERS or (dtype.kind in "US" and 0 < dtype.itemsize <= LONGEST_ID))):
        raise UserError(f"{name} has the type {shown(dtype)}, which is no plain number")
    if tuple(found) != shape or fortran:
        raise UserError(f"{name} must have the shape {shape}, and has {shown(tuple(found))}")
    size = math.prod(shape) * dtype.itemsize
    parts, left = [], size + 1
    while left > 0 and (part := stream.read(min(CHUNK, left))):
        parts.append(part)
        left -= len(part)
    content = b"".join(parts)
    if len(content) != size:
        raise UserError(f"{name} holds {len(content)} bytes, not the {size} of its shape")
    return np.frombuffer(content, dtype=dtype).reshape(shape)
