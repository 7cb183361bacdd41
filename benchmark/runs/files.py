"""Files that are written whole or not at all, and arrays as the content of files."""

import os
import tempfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from glob import escape
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import numpy as np
from pydantic import BaseModel

from benchmark.errors import UserError

#: Where a file of a results folder cannot be written.
ELSEWHERE = "name another folder with --results"


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


def write_model(model: BaseModel, path: Path, *, advice: str, indent: int | None = 1) -> Path:
    """Write a model as JSON, whole or not at all; return the file. ``spec.read_file`` reads it.

    Args:
        model: what is written.
        path: the file; its folder is made where it is missing.
        advice: what to do where the file cannot be written; it ends the message.
        indent: of the JSON; None for one line.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (model.model_dump_json(indent=indent) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); {advice}") from error
    return path


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
    """Arrays as compressed .npz bytes, the same for the same arrays.

    The bytes are those of ``np.savez_compressed``, which has parameters of its own and so takes not every name.
    """
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def unpack(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz file; None where it is missing or damaged: pictures are no numbers."""
    try:
        return unpacked(path.read_bytes())
    except OSError:
        return None


def unpacked(content: bytes, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz file's content whose names are wanted; None where it is damaged."""
    try:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if wanted(name)}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error):
        return None
