"""Segments: many finished records and their pictures in one file that is written once and never changed.

A segment is a zip archive, so that any tool can look into it. ``records/0000`` and so on hold the texts of up to
``TOGETHER`` records, end to end, without the decimals, which are in ``numbers/0000`` (see ``packs.text``);
``files/0000`` holds what lies beside these records. ``index.json``, the last member, says where each of them begins,
and the archive's comment where the index lies. ``summary.json`` may hold what can be read from the records, for whoever
lists them (``benchmark.runs.index``). Everything has its SHA-256 in the index, and the index in the comment: nothing
that is read was damaged, and damage in one place leaves the others readable.

The name is a hash of the files' names and contents. The same files give the same segment, byte for byte where zlib is
of the same version.
"""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from benchmark.errors import UserError
from benchmark.runs.packs.text import from_planes, join, split, to_planes

#: What follows a record's name in the file that says who vouches for it (``benchmark.runs.trust``).
TRUST_SUFFIX = ".trust.json"

VERSION = 1
#: Records that are compressed together: more would make a segment no smaller, and reading one record slower.
TOGETHER = 64
#: zlib's level: 9 takes five times as long and makes a segment a twentieth smaller.
LEVEL = 6
#: The earliest time that zip files can hold: with a fixed time the same content gives the same bytes.
NO_TIME = (1980, 1, 1, 0, 0, 0)
#: The archive's comment: where the compressed index begins, how many bytes it has, and their SHA-256.
COMMENT = "mtbench pack {version}: index at {start:015d}, {size:012d} bytes, sha256 {sha256}"
COMMENT_LENGTH = len(COMMENT.format(version=1, start=0, size=0, sha256="0" * 64))
COMMENT_FORM = re.compile(rb"mtbench pack (\d): index at (\d{15}), (\d{12}) bytes, sha256 ([0-9a-f]{64})")
#: What lies beside most records.
NOTHING: Mapping[str, Any] = {}
#: What the name of a record's file must not hold.
UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Item:
    """What a segment is made of.

    Attributes:
        name: of the record's file.
        status: of the record.
        content: the record's file.
        files: what lies beside it, by the ending that stands in place of ``.json``.
    """

    name: str
    status: str
    content: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)


class Place(NamedTuple):
    """Bytes in a segment, and what they must be."""

    start: int
    size: int
    sha256: str


class Block(NamedTuple):
    """Records that are compressed as one: their texts, and their numbers."""

    texts: Place
    numbers: Place


class Packed(NamedTuple):
    """A record in a segment.

    Attributes:
        number: of the record in the segment, from 0.
        name, status, length, sha256: of its file.
        offset, text: where in its block's texts its own begins, and how many bytes that has.
        first, decimals: where among its block's numbers its own begin, and how many they are.
        files: what lies beside it, by ending.
    """

    segment: Path
    number: int
    name: str
    status: str
    length: int
    sha256: str
    block: Block
    offset: int
    text: int
    first: int
    decimals: int
    files: Mapping[str, Place]


#: What the index says of each record, in columns of these names.
COLUMNS = ("name", "status", "length", "sha256", "block", "offset", "text", "first", "decimals")


def segment_name(items: Sequence[Item]) -> str:
    """The name of the segment of these files: a hash of their names and contents."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.name):
        digest.update(json.dumps([item.name, _sha256(item.content)]).encode())
        for ending, content in sorted(item.files.items()):
            digest.update(json.dumps([ending, _sha256(content)]).encode())
    return f"{digest.hexdigest()[:16]}.pack"


def segment_bytes(items: Sequence[Item], summary: object = None) -> bytes:
    """A segment of some records, whose names differ.

    Args:
        items: their order does not matter.
        summary: whatever JSON can say of them, in the order of their names; ``read_summary`` gives it back.
    """
    items, buffer = sorted(items, key=lambda item: item.name), BytesIO()
    index: dict[str, Any] = {"blocks": [], "records": {column: [] for column in COLUMNS}, "files": []}
    with ZipFile(buffer, "w") as archive:
        for number, first in enumerate(range(0, len(items), TOGETHER)):
            _add_block(archive, index, number, items[first : first + TOGETHER])
        if summary is not None:
            index["summary"] = _add_deflated(archive, "summary.json", _json(summary))
        place = _add_deflated(archive, "index.json", _json(index))
        archive.comment = COMMENT.format(version=VERSION, **place._asdict()).encode()
    return buffer.getvalue()


def _add_block(archive: ZipFile, index: dict[str, Any], number: int, items: Sequence[Item]) -> None:
    """Write some records as the block of this number, and into the index where they are."""
    parts = [split(item.content) for item in items]
    offset = first = 0
    for item, (text, numbers) in zip(items, parts, strict=True):
        digest = _sha256(item.content)
        row = (item.name, item.status, len(item.content), digest, number, offset, len(text), first, len(numbers))
        for column, value in zip(COLUMNS, row, strict=True):
            index["records"][column].append(value)
        offset, first = offset + len(text), first + len(numbers)
    texts = _add_deflated(archive, f"records/{number:04d}", b"".join(text for text, _ in parts))
    planes = to_planes(np.concatenate([numbers for _, numbers in parts]))
    index["blocks"].append(Block(texts, _add_deflated(archive, f"numbers/{number:04d}", planes)))
    beside = [(n, end, item.files[end]) for n, item in enumerate(items) for end in sorted(item.files)]
    if beside:
        content = b"".join(content for *_, content in beside)
        start = _add(archive, f"files/{number:04d}", content, ZIP_STORED)
        for n, ending, content in beside:
            record = number * TOGETHER + n
            index["files"].append((record, ending, Place(start, len(content), _sha256(content))))
            start += len(content)


def _add_deflated(archive: ZipFile, name: str, content: bytes) -> Place:
    start = _add(archive, name, content, ZIP_DEFLATED)
    size = archive.getinfo(name).compress_size
    stream = archive.fp
    assert stream is not None  # it is open
    end = stream.tell()
    stream.seek(start)
    digest = _sha256(stream.read(size))
    stream.seek(end)
    return Place(start, size, digest)


def _add(archive: ZipFile, name: str, content: bytes, how: int) -> int:
    """Write a member; where its bytes begin in the file."""
    info = ZipInfo(name, NO_TIME)
    info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, how
    archive.writestr(info, content, compresslevel=LEVEL)
    return info.header_offset + len(info.FileHeader())


def read_index(path: Path) -> list[Packed]:
    """The records of a segment, in the order of their names.

    Raises:
        UserError: the file cannot be read, is no segment, or one whose index is damaged.
    """
    try:
        return _parse(path, _read_index(path))
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, zlib.error) as error:
        raise UserError(f"{path} is damaged: its index makes no sense ({error})") from error


def read_summary(path: Path) -> Any:
    """What a segment's writer said of its records in sum; None where nothing was said, or it is damaged.

    Raises:
        UserError: see ``read_index``.
    """
    index = _read_index(path)
    try:
        return json.loads(_inflated(path, Place(*index["summary"]), "its summary")) if "summary" in index else None
    except (TypeError, ValueError, UserError):
        return None


def _read_index(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - COMMENT_LENGTH))
            found = COMMENT_FORM.fullmatch(file.read())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if not found:
        raise UserError(f"{path} is no whole segment of records: its end is damaged or missing")
    if int(found[1]) != VERSION:
        raise UserError(f"{path} is a segment of version {int(found[1])}; this suite reads {VERSION}")
    place = Place(int(found[2]), int(found[3]), found[4].decode())
    return json.loads(_inflated(path, place, "its index"))


def _parse(path: Path, index: Mapping[str, Any]) -> list[Packed]:
    blocks = [Block(Place(*texts), Place(*numbers)) for texts, numbers in index["blocks"]]
    files: dict[int, dict[str, Place]] = {}
    for number, ending, place in index["files"]:
        files.setdefault(number, {})[ending] = Place(*place)
    columns = {column: index["records"][column] for column in COLUMNS}
    names = columns["name"]
    # All at once: a store has a hundred thousand of them.
    if UNSAFE.search("".join(names)) or any(name.startswith(".") for name in names):
        unsafe = next(name for name in names if UNSAFE.search(name) or name.startswith("."))
        raise ValueError(f"{unsafe[:80]!r} cannot be the name of a file")
    columns["block"] = [blocks[block] for block in columns["block"]]
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("its columns differ in length")
    beside = [files.get(number, NOTHING) for number in range(len(names))]
    return list(map(Packed, repeat(path), range(len(names)), *columns.values(), beside))


class Reader:
    """Reads files out of segments; remembers the last block, since records are mostly read in the order of their names.

    What it gives has the SHA-256 that the index says.
    """

    def __init__(self) -> None:
        self._texts: tuple[tuple[Path, Place], bytes] | None = None
        self._numbers: tuple[tuple[Path, Place], np.ndarray] | None = None
        self._checked: tuple[Path, Place] | None = None

    def record(self, packed: Packed) -> bytes:
        """A record's file.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        key = (packed.segment, packed.block.texts)
        if self._texts is None or self._texts[0] != key:
            self._texts = key, _inflated(*key, packed.name)
        text = self._texts[1][packed.offset : packed.offset + packed.text]
        content = join(text, self.numbers(packed))
        if _sha256(content) != packed.sha256:
            raise UserError(f"{packed.segment} is damaged at {packed.name}: it has another checksum")
        return content

    def numbers(self, packed: Packed) -> np.ndarray:
        """The decimals of a record's file, float64 (N,), in the order in which they stand there.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        key = (packed.segment, packed.block.numbers)
        if self._numbers is None or self._numbers[0] != key:
            self._numbers = key, from_planes(_inflated(*key, packed.name))
        return self._numbers[1][packed.first : packed.first + packed.decimals]

    def check(self, packed: Packed) -> None:
        """Compare the checksum of the texts in a record's block, without inflating them.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        key = (packed.segment, packed.block.texts)
        if self._checked != key:
            _bytes(*key, packed.name)
            self._checked = key

    def companion(self, packed: Packed, ending: str) -> bytes:
        """What lies beside a record, by the end of its name.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        return _bytes(packed.segment, packed.files[ending], f"what lies beside {packed.name}")

    def item(self, packed: Packed) -> Item:
        """A record and all that lies beside it.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        files = {ending: self.companion(packed, ending) for ending in packed.files}
        return Item(packed.name, packed.status, self.record(packed), files)


def _inflated(path: Path, place: Place, name: str) -> bytes:
    try:
        return zlib.decompress(_bytes(path, place, name), wbits=-15)
    except zlib.error as error:
        raise UserError(f"{path} is damaged at {name}: it cannot be inflated ({error})") from error


def _bytes(path: Path, place: Place, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(place.start)
            found = file.read(place.size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if _sha256(found) != place.sha256:
        raise UserError(f"{path} is damaged at {name}: it has another checksum")
    return found


def _json(what: object) -> bytes:
    return json.dumps(what, separators=(",", ":")).encode()


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
