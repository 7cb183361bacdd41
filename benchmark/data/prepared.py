"""The prepared form on disk: a folder of .npy arrays, one per field and split, and the manifest that vouches for them.

Its layout:

* ``<split>-<field>.npy``: (N, …) of one field (``image``, ``id``, or a task's name) of one split; may be memory-mapped.
* ``manifest.json``: what the arrays are, what they were made from, and their hashes. It is written last, in a folder of
  another name that is then renamed: a folder under its final name is complete.
* ``sources.sha256``: the hash of every file that was read, as ``sha256sum --check`` takes it; absent where nothing was.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from math import isfinite, prod
from pathlib import Path
from time import time
from typing import Any, cast

import numpy as np

from benchmark.data.files import file_status
from benchmark.errors import UserError, reason
from benchmark.processes import birth, room
from benchmark.tasks import Stored

MANIFEST = "manifest.json"
SOURCES = "sources.sha256"
MANIFEST_SCHEMA = 2
#: Folders of these schemas can be used; the first had no fields, ids, sources and code.
READABLE_SCHEMAS = (1, 2)

#: Arrays from this many bytes on are mapped, so that processes that use the same set share one copy of it.
MAPPED_FROM = 1 << 26
#: Bytes hashed at a time.
BLOCK = 1 << 24
#: Seconds after which nobody goes on with a preparation.
OLD = 24 * 3600.0
#: Samples looked at together.
SOME = 32
#: Ids of splits up to this length stand in the manifest itself.
LISTED_IDS = 1000
#: Share of the disk space that is asked for beyond the arrays' own bytes: headers, manifest, the file system's.
MARGIN = 1.01


def array_hash(array: np.ndarray) -> str:
    """SHA-256 of type, shape and values; of a mapped array, without reading it whole into memory."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    values = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, len(values), BLOCK):
        digest.update(values[start : start + BLOCK].data)
    return digest.hexdigest()


def content_hash(hashes: Mapping[str, str]) -> str:
    """SHA-256 over the hashes of all arrays, by name of file."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from error


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Report what hinders writing into the cache as the user's to mend."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write the data cache {cache} ({error.strerror}); make room, or set MTBENCH_CACHE to another folder"
        ) from error


def scratch_prefix(name: str) -> str:
    """How the temporary folder of a preparation by this process is called: it says whose it is."""
    return f".{name}-{_room()}-{os.getpid()}-{birth(os.getpid())}-"


def sweep_scratch(cache: Path) -> None:
    """Remove the temporary folders of preparations that were killed.

    Those are the ones whose process could be seen from here and is gone, and those of other machines, of before a
    restart, in which nothing was written for a day.
    """
    form = re.compile(r"\..+-([0-9a-f]{8})-(\d+)-(\d+)-[^-]+")
    for path in cache.iterdir():
        if found := form.fullmatch(path.name):
            here = found[1] == _room()
            if birth(int(found[2])) != found[3] if here else _last_written(path) < time() - OLD:
                shutil.rmtree(path, ignore_errors=True)


def _last_written(folder: Path) -> float:
    """When something in a folder last changed, in seconds since 1970; now, where somebody is removing it."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time()


def _room() -> str:
    return hashlib.sha256(str(room()).encode()).hexdigest()[:8]


def require_space(cache: Path, needed: int) -> None:
    """Make sure that ``needed`` bytes are free where the cache folder lies.

    Raises:
        UserError: they are not.
    """
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
    if free < needed * MARGIN:
        raise UserError(
            f"the data cache {cache} needs {megabytes(needed * MARGIN)} of free disk, found {megabytes(free)}; "
            "make room, or set MTBENCH_CACHE to another folder"
        )


def megabytes(count: float) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def stored_bytes(fields: Iterable[Stored], samples: int) -> int:
    """Bytes of ``samples`` samples of these fields."""
    return samples * sum(np.dtype(field.dtype).itemsize * prod(field.shape) for field in fields)


def load_array(file: Path, expected: str) -> np.ndarray:
    """Read an array, and make sure that it is what was prepared. Large ones are mapped, copied only where written to.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    try:
        if file.stat().st_size >= MAPPED_FROM:
            array: np.ndarray = np.lib.format.open_memmap(file, mode="c")
        else:
            with file.open("rb") as stream:
                array = np.load(stream, allow_pickle=False)
        if array_hash(array) != expected:
            raise ValueError("its content is not what was prepared")
    except Exception as error:  # NumPy's reader raises anything on damaged bytes, MemoryError for one
        raise UserError(f"{file} cannot be used ({reason(error)}); delete its folder and run again") from error
    return array


def load_unchecked(file: Path) -> np.ndarray:
    """Map an array that this process, or one of its own, has just written."""
    return np.lib.format.open_memmap(file, mode="r")


def opened(folder: Path, split: str, field: str) -> np.ndarray:
    """One field of one split of a prepared set, mapped.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    try:
        return load_unchecked(folder / f"{split}-{field}.npy")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is damaged ({error}); delete it and run again") from error


def parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """A few samples after the others, in memory."""
    for start in range(0, len(array), SOME):
        yield np.array(array[start : start + SOME])


def create_array(file: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Make an .npy file of this type and shape with its disk space reserved, to be filled by ``write_rows``.

    Raises:
        OSError: the disk is full, which is thus found before anything is computed.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.flush()
        length = np.dtype(dtype).itemsize * prod(shape)
        if length:
            os.posix_fallocate(stream.fileno(), stream.tell(), length)


def write_rows(file: Path, start: int, rows: np.ndarray) -> None:
    """Write samples ``start``, ``start + 1``, … of an array made by ``create_array``, down to the disk.

    Plain writes rather than a mapping: a write that fails raises, where a mapping would kill the process.

    Raises:
        OSError: the disk is full or the file is gone.
    """
    with file.open("r+b") as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype != rows.dtype or shape[1:] != rows.shape[1:]:
            raise ValueError(f"{file.name} takes {dtype} of shape {shape[1:]}, got {rows.dtype} of {rows.shape[1:]}")
        stream.seek(start * dtype.itemsize * prod(shape[1:]), os.SEEK_CUR)
        stream.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        stream.flush()
        os.fsync(stream.fileno())


@cache
def code_versions() -> dict[str, str]:
    """Versions of what makes the bytes of a prepared form, besides the data set's own."""
    return {name: version(name) for name in ("mtbench", "numpy", "pillow", "torch")}


def describe(field: Stored | None, array: np.ndarray) -> dict[str, Any]:
    """A field as the manifest states it; what a kind of task does not say is null."""
    stated = {} if field is None else asdict(field)
    limits = {key: value for key in ("low", "high") if isfinite(value := stated.get(key, float("inf")))}
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape[1:]),
        "unit": stated.get("unit"),
        "low": limits.get("low"),
        "high": limits.get("high"),
        "invalid": stated.get("invalid"),
        "unit_vectors": stated.get("unit_vectors", False),
    }


def describe_ids(ids: np.ndarray) -> list[Any] | dict[str, Any]:
    """A split's sample ids, or of a long one their number and hash."""
    return ids.tolist() if len(ids) <= LISTED_IDS else {"count": len(ids), "sha256": array_hash(ids)}


def write_sources(folder: Path, root: Path, hashes: Mapping[Path, str]) -> dict[str, Any] | None:
    """Write ``sources.sha256``, paths relative to ``root``; return what the manifest says of it."""
    if not hashes:
        return None
    lines = sorted(f"{digest}  {file.relative_to(root)}\n" for file, digest in hashes.items())
    (folder / SOURCES).write_text("".join(lines))
    size = sum(file_status(file).st_size for file in hashes)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return {"files": len(hashes), "bytes": size, "sha256": digest, "root": str(root)}


def read_manifest(file: Path) -> dict[str, Any]:
    """Read a manifest and make sure that it is whole.

    Raises:
        UserError: it is missing, damaged or of an unknown schema.
    """
    try:
        manifest = json.loads(file.read_text())
        if manifest["schema"] not in READABLE_SCHEMAS:
            raise ValueError("made by another version of mtbench")
        if content_hash(manifest["arrays"]) != manifest["content_hash"]:
            raise ValueError("its content hash does not fit")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be used ({reason(error)}); delete its folder and run again") from error
    return cast(dict[str, Any], manifest)


def write_manifest(
    folder: Path,
    head: Mapping[str, Any],
    *,
    hashes: Mapping[str, str],
    fields: Mapping[str, Stored | None],
    splits: Sequence[str],
    sources: Mapping[str, Any] | None,
) -> None:
    """Write the manifest of a folder whose arrays are all there.

    Args:
        folder: where the arrays lie.
        head: the data set's name, version, options and source.
        hashes: of every array, by name of file without ending.
        fields: what each field's values mean.
        splits: names of the splits.
        sources: what ``write_sources`` returned.
    """

    def opened(split: str, field: str) -> np.ndarray:
        return load_unchecked(folder / f"{split}-{field}.npy")

    manifest = {
        "schema": MANIFEST_SCHEMA,
        **head,
        "samples": {split: len(opened(split, "id")) for split in splits},
        "fields": {name: describe(field, opened(splits[0], name)) for name, field in fields.items()},
        "ids": {split: describe_ids(np.array(opened(split, "id"))) for split in splits},
        "sources": sources,
        "code": code_versions(),
        "arrays": dict(hashes),
        "content_hash": content_hash(hashes),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
