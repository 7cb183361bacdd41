"""A bundle is a zip file with a fixed set of names. Here it is read, distrusting every byte.

```
manifest.json               what is in the bundle: sizes, hashes, which file belongs to which run
records/<run>.json          a record, as the store writes it
predictions/<run>.npz       test-<task> and test-<task>-id: decisions for the whole test split, after the last epoch;
                            benchmark.runs.artifacts says what they are called where a task's name is mistakable
models/<run>.safetensors    the network after the last epoch: its parameters and buffers by name
plugins/<file>.py           the source of plugins that the runs used: data, never run
```
"""

import hashlib
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pydantic import Field

from benchmark.errors import UserError
from benchmark.runs.spec import Count, Frozen
from benchmark.submission.text import shown

MANIFEST = "manifest.json"
BUNDLE_SCHEMA: Literal[1] = 1

RUN = r"[0-9a-f]{16}"
#: The only names that a member may have, and the most bytes that it may unpack to.
MEMBERS = (
    (re.compile(r"manifest\.json"), 1 << 20),
    (re.compile(rf"records/{RUN}\.json"), 32 << 20),
    (re.compile(rf"predictions/{RUN}\.npz"), 1 << 30),
    (re.compile(rf"models/{RUN}\.safetensors"), 1 << 30),
    (re.compile(r"plugins/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.py"), 1 << 20),
)
FORMS = ("records/<run>.json", "predictions/<run>.npz", "models/<run>.safetensors", "plugins/<name>.py")
MOST_MEMBERS = 2000
#: Members that are no text, and are not compressed by the zip file.
STORED = ("predictions/", "models/")
#: All that is parsed or kept as text, together: in memory it takes many times as much.
LARGEST_TEXT = 128 << 20
LARGEST_FILE = 4 << 30
LARGEST_DIRECTORY = 1 << 20
#: A member that unpacks to more than so many times its packed size, beyond the first mebibyte, is a bomb.
MOST_RATIO = 200
FREE_OF_RATIO = 1 << 20
CHUNK = 1 << 20

#: What zipfile raises for damaged or unsupported archives.
DAMAGE = (BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError, struct.error)


class FileNote(Frozen):
    """What the manifest says of a member."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class RunNote(Frozen):
    """One run of a bundle: the run's id names its record, and its predictions and checkpoint where it has them.

    Attributes:
        seeds: with which its cell was run where the bundle was packed, however the runs ended; None where a bundle of
            an earlier suite does not say it.
    """

    id: str = Field(pattern=rf"^{RUN}$")
    predictions: bool
    model: bool = False
    seeds: tuple[Count, ...] | None = Field(default=None, max_length=100_000)


class Manifest(Frozen):
    """The table of contents.

    Attributes:
        submitter, note: the submitter's words, shown as text.
        files: every other member by name.
    """

    bundle_schema: Literal[1] = BUNDLE_SCHEMA
    suite_version: str = Field(max_length=100)
    submitter: str = Field(max_length=200)
    note: str = Field(default="", max_length=2000)
    runs: tuple[RunNote, ...] = Field(min_length=1)
    files: dict[str, FileNote]


class Bundle:
    """An open bundle whose names, kinds, sizes and ratios were found harmless. Nothing is ever unpacked to a path.

    Raises:
        UserError: the file is missing, no zip file, or not harmless.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                check_end(stream, str(path))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from error
        with damage(path):
            self.archive = ZipFile(path)
        try:
            self.members = _harmless(self.archive.infolist(), path)
        except BaseException:
            self.archive.close()
            raise

    def __enter__(self) -> "Bundle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.archive.close()

    def read(self, name: str) -> bytes:
        """A member's whole content, never more than it declared.

        Raises:
            UserError: it is missing, damaged, or longer or shorter than declared.
        """
        with self.open(name) as stream:
            parts, left = [], self.members[name].file_size + 1
            with damage(self.path, name):
                while left > 0 and (part := stream.read(min(CHUNK, left))):
                    parts.append(part)
                    left -= len(part)
        content = b"".join(parts)
        if len(content) != self.members[name].file_size:
            raise UserError(f"{name}: {len(content)} bytes, {self.members[name].file_size} declared")
        return content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A member as a stream.

        Raises:
            UserError: it is missing or damaged.
        """
        if name not in self.members:
            raise UserError(f"{name} is missing from the bundle")
        with damage(self.path, name):
            stream = self.archive.open(self.members[name])
        with stream:
            yield stream

    def digest(self, name: str) -> str:
        """SHA-256 of a member, read in pieces."""
        found, size = hashlib.sha256(), 0
        with self.open(name) as stream, damage(self.path, name):
            while part := stream.read(CHUNK):
                size += len(part)
                if size > self.members[name].file_size:
                    raise UserError(f"{name} is longer than declared")
                found.update(part)
        return found.hexdigest()


@contextmanager
def damage(path: Path, name: str = "") -> Iterator[None]:
    """Report whatever zipfile makes of a damaged archive in one line."""
    try:
        yield
    except DAMAGE as error:
        where = f"{name} in {path}" if name else f"{path}"
        raise UserError(f"{where} cannot be read as part of a zip file ({shown(error)})") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


def check_end(stream: IO[bytes], name: str) -> None:
    """Refuse, before zipfile reads the directory into memory, what has none, a huge one, or tricks around it.

    Raises:
        UserError: the stream does not end like a small, plain zip file.
    """
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 42))
    tail = stream.read(42)
    end = tail[-22:]
    if size > LARGEST_FILE:
        raise UserError(f"{name} has {size} bytes; at most {LARGEST_FILE} are allowed")
    if len(end) < 22 or end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise UserError(f"{name} is no zip file without comment; make bundles with 'mtbench submit pack'")
    members, directory = struct.unpack("<HI", end[10:16])
    if len(tail) == 42 and tail[:4] == b"PK\x06\x07":
        raise UserError(f"{name} is a zip64 file; a bundle and its parts are plain ones")
    if members > MOST_MEMBERS or directory > LARGEST_DIRECTORY:
        raise UserError(f"{name} says that it has {members} members in {directory} bytes; too many")
    stream.seek(0)


def _harmless(infos: list[ZipInfo], path: Path) -> dict[str, ZipInfo]:
    if len(infos) > MOST_MEMBERS:
        raise UserError(f"{path} has {len(infos)} members; a bundle has at most {MOST_MEMBERS}")
    found: dict[str, ZipInfo] = {}
    for info in infos:
        if flaw := _flaw(info):
            raise UserError(f"{path}: the member '{shown(info.orig_filename)}' {flaw}")
        if info.filename in found:
            raise UserError(f"{path}: the member '{info.filename}' is there twice")
        found[info.filename] = info
    if len({name.lower() for name in found}) < len(found):
        raise UserError(f"{path}: two members have names that some systems take for one")
    total = sum(info.file_size for info in infos)
    if total > LARGEST_FILE:
        raise UserError(f"{path} would unpack to {total} bytes; a bundle has at most {LARGEST_FILE}")
    text = sum(info.file_size for info in infos if not info.filename.startswith(STORED))
    if text > LARGEST_TEXT:
        raise UserError(
            f"{path} would unpack to {text} bytes besides predictions and checkpoints; "
            f"at most {LARGEST_TEXT} are allowed"
        )
    if MANIFEST not in found:
        raise UserError(f"{path} has no {MANIFEST}; make bundles with 'mtbench submit pack'")
    return found


def _flaw(info: ZipInfo) -> str | None:
    """What is wrong with a member, without reading it."""
    limit = next((most for name, most in MEMBERS if name.fullmatch(info.filename)), None)
    if limit is None or info.orig_filename != info.filename:
        return f"is none of manifest.json, {', '.join(FORMS)}"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is no plain file but a link or the like"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "is compressed in another way than deflate"
    if info.filename.startswith(STORED) and info.compress_type != ZIP_STORED:
        return "is compressed; predictions and checkpoints are only stored here"
    if info.file_size > limit:
        return f"would unpack to {info.file_size} bytes; at most {limit} are allowed"
    if info.file_size > FREE_OF_RATIO and info.file_size > MOST_RATIO * max(1, info.compress_size):
        return f"would unpack to {info.file_size} bytes from {info.compress_size}: a bomb"
    return None
