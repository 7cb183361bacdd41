"""Segments: many finished records and their pictures in one file that is written once and never changed.

A segment is a zip archive, so that any tool can look into it. ``records/0000`` and so on hold the files of up to
``TOGETHER`` records, end to end, deflated as one; ``files/0000`` and so on hold what lies beside these records; the
last member, ``index.json``, says where each of them begins. The archive's comment says where the index lies and what
its SHA-256 is, and the index has the SHA-256 of each file: nothing that is read was damaged, and damage in one place
leaves the others readable. The name is a hash of the files' names and contents. The same files give the same segment,
byte for byte where zlib is of the same version.
"""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from benchmark.errors import UserError

#: Folder of a data set's segments, below the data set's own, and how their names end.
FOLDER = "packs"
SUFFIX = ".pack"
VERSION = 1
#: Records that are compressed as one: more make a segment no smaller, and one record dearer to read.
TOGETHER = 64
#: zlib's level: 9 takes five times as long and makes a segment a twentieth smaller.
LEVEL = 6
#: Zip files cannot say less; the same content gives the same bytes.
NO_TIME = (1980, 1, 1, 0, 0, 0)
#: The archive's comment: where the compressed index begins, how many bytes it has, and their SHA-256.
COMMENT = "mtbench pack {version}: index at {start:015d}, {size:012d} bytes, sha256 {sha256}"
COMMENT_LENGTH = len(COMMENT.format(version=1, start=0, size=0, sha256="0" * 64))
COMMENT_FORM = re.compile(rb"mtbench pack (\d): index at (\d{15}), (\d{12}) bytes, sha256 ([0-9a-f]{64})")
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


class Block(NamedTuple):
    """Records that are compressed as one: their place in the segment, and their bytes when they are not compressed."""

    start: int
    compressed: int
    size: int


class Companion(NamedTuple):
    """A file that lies beside a record: its place in the segment."""

    start: int
    size: int
    sha256: str


class Packed(NamedTuple):
    """A record in a segment: the name of its file, its status, where it lies and what its content must be."""

    segment: Path
    name: str
    status: str
    block: Block
    offset: int
    length: int
    sha256: str
    files: Mapping[str, Companion]


def segment_name(items: Sequence[Item]) -> str:
    """The name of the segment of these files: a hash of their names and contents."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.name):
        digest.update(json.dumps([item.name, _sha256(item.content)]).encode())
        for ending, content in sorted(item.files.items()):
            digest.update(json.dumps([ending, _sha256(content)]).encode())
    return f"{digest.hexdigest()[:16]}{SUFFIX}"


def segment_bytes(items: Sequence[Item]) -> bytes:
    """A segment of some records, whose names differ; their order does not matter."""
    items = sorted(items, key=lambda item: item.name)
    blocks: list[Block] = []
    columns: dict[str, list[Any]] = {key: [] for key in ("name", "status", "block", "offset", "length", "sha256")}
    files: list[tuple[int, str, int, int, str]] = []
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for first in range(0, len(items), TOGETHER):
            part = items[first : first + TOGETHER]
            name = f"{first // TOGETHER:04d}"
            text = b"".join(item.content for item in part)
            start, compressed = _add(archive, f"records/{name}", text, ZIP_DEFLATED)
            beside = [(n, end, item.files[end]) for n, item in enumerate(part, first) for end in sorted(item.files)]
            place = _add(archive, f"files/{name}", b"".join(f for *_, f in beside), ZIP_STORED)[0] if beside else 0
            for number, ending, content in beside:
                files.append((number, ending, place, len(content), _sha256(content)))
                place += len(content)
            offset = 0
            for item in part:
                row = (item.name, item.status, len(blocks), offset, len(item.content), _sha256(item.content))
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
                offset += len(item.content)
            blocks.append(Block(start, compressed, len(text)))
        index = json.dumps({"blocks": blocks, "records": columns, "files": files}, separators=(",", ":")).encode()
        start, size = _add(archive, "index.json", index, ZIP_DEFLATED)
        digest = _sha256(buffer.getbuffer()[start : start + size])
        archive.comment = COMMENT.format(version=VERSION, start=start, size=size, sha256=digest).encode()
    return buffer.getvalue()


def _add(archive: ZipFile, name: str, content: bytes, how: int) -> tuple[int, int]:
    """Write a member; where its bytes begin in the file, and how many they are."""
    info = ZipInfo(name, NO_TIME)
    info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, how
    archive.writestr(info, content, compresslevel=LEVEL)
    return info.header_offset + len(info.FileHeader()), info.compress_size


def read_index(path: Path) -> list[Packed]:
    """The records of a segment, in the order of their names.

    Raises:
        UserError: the file cannot be read, is no segment, or one whose index is damaged.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - COMMENT_LENGTH))
            found = COMMENT_FORM.fullmatch(file.read())
            if not found:
                raise UserError(f"{path} is no whole segment of records: its end is damaged or missing")
            if int(found[1]) != VERSION:
                raise UserError(f"{path} is a segment of version {int(found[1])}; this suite reads {VERSION}")
            file.seek(int(found[2]))
            content = file.read(int(found[3]))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    if _sha256(content).encode() != found[4]:
        raise UserError(f"{path} is damaged: its index has another checksum")
    try:
        return list(_parse(path, json.loads(zlib.decompress(content, wbits=-15))))
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, zlib.error) as error:
        raise UserError(f"{path} is damaged: its index makes no sense ({error})") from error


def _parse(path: Path, index: Mapping[str, Any]) -> Iterator[Packed]:
    blocks = [Block(*map(int, block)) for block in index["blocks"]]
    files: dict[int, dict[str, Companion]] = {}
    for number, ending, start, size, digest in index["files"]:
        files.setdefault(number, {})[ending] = Companion(int(start), int(size), str(digest))
    columns = (index["records"][key] for key in ("name", "status", "block", "offset", "length", "sha256"))
    for number, (name, status, block, offset, length, digest) in enumerate(zip(*columns, strict=True)):
        if UNSAFE.search(name) or name.startswith("."):
            raise ValueError(f"{name[:80]!r} cannot be the name of a file")
        yield Packed(path, name, status, blocks[block], offset, length, digest, files.get(number, {}))


class Reader:
    """Reads files out of segments; remembers the last block, since records are mostly read in the order of their names.

    What it gives has the SHA-256 that the index says.
    """

    def __init__(self) -> None:
        self._last: tuple[Path, Block] | None = None
        self._text = b""

    def record(self, packed: Packed) -> bytes:
        """A record's file.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        if self._last != (packed.segment, packed.block):
            content = _bytes(packed.segment, packed.block.start, packed.block.compressed)
            try:
                self._text = zlib.decompressobj(-15).decompress(content, packed.block.size)
            except zlib.error:
                self._text = b""  # none of them has its checksum
            self._last = (packed.segment, packed.block)
        found = self._text[packed.offset : packed.offset + packed.length]
        if _sha256(found) != packed.sha256:
            raise UserError(f"{packed.segment} is damaged at {packed.name}: the record has another checksum")
        return found

    def companion(self, packed: Packed, ending: str) -> bytes:
        """What lies beside a record, by the end of its name.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        place = packed.files[ending]
        found = _bytes(packed.segment, place.start, place.size)
        if _sha256(found) != place.sha256:
            raise UserError(f"{packed.segment} is damaged at {packed.name}: its {ending} has another checksum")
        return found

    def item(self, packed: Packed) -> Item:
        """A record and all that lies beside it.

        Raises:
            UserError: the segment is gone or damaged there.
        """
        files = {ending: self.companion(packed, ending) for ending in packed.files}
        return Item(packed.name, packed.status, self.record(packed), files)


class Shelf:
    """The segments of a results folder. Each is opened once, however often one asks.

    Args:
        root: the results folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: dict[tuple[Path, int, int], list[Packed] | str] = {}
        self._merged: dict[str, tuple[tuple[object, ...], dict[str, list[Packed]]]] = {}

    def find(self, dataset: str, name: str) -> Sequence[Packed]:
        """The packed records of this name in a data set's folder, from the one that counts to the least."""
        return self._folder(dataset).get(name, ())

    def records(self) -> dict[str, list[Packed]]:
        """By ``<data set>/<name>`` the packed records of that name, from the one that counts to the least."""
        return {
            f"{dataset}/{name}": found for dataset in self._datasets() for name, found in self._folder(dataset).items()
        }

    def segments(self) -> list[Path]:
        """The files, in the order of their names, whether they can be read or not."""
        return [path for dataset in self._datasets() for path, *_ in self._files(dataset)]

    def problems(self) -> list[tuple[Path, str]]:
        """The segments that cannot be read at all, and why."""
        stamps = [stamp for dataset in self._datasets() for stamp in self._files(dataset)]
        found = [(stamp[0], self._open(stamp)) for stamp in stamps]
        return [(path, reason) for path, reason in found if isinstance(reason, str)]

    def _datasets(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and entry.name[0] != ".")
        except OSError:
            return []

    def _files(self, dataset: str) -> list[tuple[Path, int, int]]:
        try:
            with os.scandir(self.root / dataset / FOLDER) as entries:
                found = [e for e in entries if e.name.endswith(SUFFIX) and not e.name.startswith(".")]
                return sorted((Path(e.path), e.stat().st_mtime_ns, e.stat().st_size) for e in found)
        except OSError:
            return []

    def _folder(self, dataset: str) -> dict[str, list[Packed]]:
        stamps = self._files(dataset)
        known, merged = self._merged.get(dataset, ((), {}))
        if known != tuple(stamps):
            merged = {}
            for records in map(self._open, stamps):
                for packed in records if not isinstance(records, str) else ():
                    merged.setdefault(packed.name, []).append(packed)
            for found in merged.values():
                if len(found) > 1:
                    found.sort(key=_rank)
            self._merged[dataset] = tuple(stamps), merged
        return merged

    def _open(self, stamp: tuple[Path, int, int]) -> list[Packed] | str:
        """A segment's records, or what is wrong with it."""
        if stamp not in self._opened:
            try:
                self._opened[stamp] = read_index(stamp[0])
            except UserError as error:
                self._opened[stamp] = str(error)
        return self._opened[stamp]


def _rank(packed: Packed) -> tuple[bool, int, str, Path]:
    """A run that went well counts before others, one with pictures before one without; else whatever is fixed."""
    return packed.status != "ok", -len(packed.files), packed.sha256, packed.segment


def _bytes(path: Path, start: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
