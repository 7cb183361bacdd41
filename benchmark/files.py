"""Files that are written whole or not at all, and arrays as the content of files."""

import os
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write under a temporary name, make it durable, rename: readers see the old file or the new one, never a part."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
        _make_durable(path.parent)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def sweep(path: Path) -> None:
    """Remove what writers of a file that were killed left beside it. Only for whoever alone may write it now."""
    with suppress(OSError):
        for scrap in path.parent.glob(f".{escape(path.name)}-*"):
            scrap.unlink(missing_ok=True)


def _make_durable(folder: Path) -> None:
    """Let the names in a folder outlive a loss of power, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as compressed .npz bytes, the same for the same arrays."""
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz file; None where it is missing or damaged: pictures are no numbers."""
    try:
        return unpacked(path.read_bytes())
    except OSError:
        return None


def unpacked(content: bytes, prefixes: tuple[str, ...] = ("",)) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz file's content whose names begin so; None where it is damaged."""
    try:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name.startswith(prefixes)}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error):
        return None
