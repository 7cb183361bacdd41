"""Whether the official files that a prepared set was made from are still what they were."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.files import is_file
from benchmark.data.prepared import SOURCES, file_hash
from benchmark.data.workers import cores
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.data.dataset import DataSet, Storage


def listed(dataset: "DataSet", storage: "Storage", manifest: Mapping[str, Any]) -> dict[str, str]:
    """The hash of every file that was read, by path below the folder of official files; empty where none was.

    Raises:
        UserError: the list is missing or is not what the preparation wrote.
    """
    if not manifest.get("sources"):
        return {}
    try:
        content = (dataset.folder(storage) / SOURCES).read_bytes()
    except OSError as error:
        raise UserError(f"{SOURCES} cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != manifest["sources"]["sha256"]:
        raise UserError(f"{SOURCES} is not what was prepared")
    return {path: digest for digest, _, path in (line.partition("  ") for line in content.decode().splitlines())}


def source_root(dataset: "DataSet", storage: "Storage", manifest: Mapping[str, Any]) -> Path | None:
    """The folder below which the files that were read lie: the one that the user names, else where they were then.

    None where nothing was read, and where no folder is named and none of the files is there any more.
    """
    files = manifest.get("sources")
    if not files:
        return None
    source, named = manifest.get("source"), storage.sources.get(dataset.name)
    root = files.get("root") or source or ""
    if named is not None:
        # An archive may be unpacked into a folder of its own below the one that is named.
        below = Path(root).relative_to(source) if source and Path(root).is_relative_to(source) else Path()
        first = next(iter(listed(dataset, storage, manifest)))
        return next((place for place in (named / below, named) if is_file(place / first)), named / below)
    if not root or not any(is_file(Path(root) / path) for path in listed(dataset, storage, manifest)):
        return None
    return Path(root)


def changed_sources(root: Path, expected: Mapping[str, str]) -> str | None:
    """What is wrong with the official files, in one line; None where they are what was prepared."""

    def flaw(entry: tuple[str, str]) -> str | None:
        path, digest = entry
        try:
            if not is_file(root / path):
                return f"{path} is missing"
            found = file_hash(root / path)
        except UserError as error:
            return str(error)
        return None if found == digest else f"{path} has the SHA-256 {found[:12]}…, expected {digest[:12]}…"

    with ThreadPoolExecutor(cores()) as pool:  # hashing large blocks leaves the interpreter's lock alone
        flaws = [found for found in pool.map(flaw, sorted(expected.items())) if found]
    if not flaws:
        return None
    few = f"{len(flaws)} of {len(expected)} source files in {root}"
    return f"{few} {'is' if len(flaws) == 1 else 'are'} not what was prepared: {flaws[0]}"
