"""Files that decide a run's numbers, such as pretrained weights: named by their content, kept in the suite's cache.

An option of a method that reads ``file:PATH`` becomes ``sha256:…`` in a spec, so that a run's identity holds what the
file holds, and not where it lies. The file is copied into the cache under this name, where any process of this machine
finds it.
"""

import hashlib
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from benchmark.errors import UsageError, UserError

#: How an option names a file, and its content.
FILE, CONTENT = "file:", "sha256:"
#: Of the cache.
FOLDER = "files"


def cache_folder() -> Path:
    """``$MTBENCH_CACHE``, else ``mtbench`` in the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MTBENCH_CACHE") or home / "mtbench")


def keep(name: str) -> str:
    """Keep a file that an option names; its content's name.

    Args:
        name: ``file:PATH``.

    Returns:
        ``sha256:`` and 64 hex digits.

    Raises:
        UsageError: there is no such file.
        UserError: the cache cannot be written.
    """
    path = _path(name)
    digest = _known_digest(path, path.stat().st_mtime_ns, path.stat().st_size)
    kept = cache_folder() / FOLDER / digest
    if not kept.is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file, path.open("rb") as source:
                shutil.copyfileobj(source, file)
            Path(file.name).replace(kept)
        except OSError as error:
            raise UserError(
                f"cannot keep {path} in {kept.parent} ({error.strerror}); make room, or set MTBENCH_CACHE to another "
                "folder"
            ) from error
    return CONTENT + digest


def find(name: str) -> Path:
    """The file that an option names, with the content that it names.

    Args:
        name: ``file:PATH`` or ``sha256:…``.

    Raises:
        UsageError: it is neither, or there is no such file.
        UserError: it is not in this machine's cache, or is damaged there.
    """
    if name.startswith(FILE):
        return _path(name)
    if not name.startswith(CONTENT):
        raise UsageError(f"a file is named by '{FILE}PATH' (or '{CONTENT}…' of one that is kept), not by {name!r}")
    digest = name.removeprefix(CONTENT)
    path = cache_folder() / FOLDER / digest
    if not path.is_file():
        raise UserError(
            f"the file with SHA-256 {digest[:16]}… is not in {path.parent} on this machine: do 'mtbench run' here once "
            f"with '{FILE}PATH' in the option's place, or copy it there from a machine that has it"
        )
    if _known_digest(path, path.stat().st_mtime_ns, path.stat().st_size) != digest:
        raise UserError(f"the kept file {path} is damaged: its content is another; delete it, and name it once more")
    return path


def _path(name: str) -> Path:
    path = Path(name.removeprefix(FILE)).expanduser()
    if not path.is_file():
        raise UsageError(f"'{name}' names no file: expected '{FILE}PATH' of one on this machine, found none at {path}")
    return path.resolve()


@lru_cache(maxsize=256)
def _known_digest(path: Path, modified: int, size: int) -> str:
    """SHA-256 of a file as it was at a time, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
