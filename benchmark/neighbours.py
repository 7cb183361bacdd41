"""The Python files beside a plugin file that it imports: they belong to it, and their text to its code."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.errors import UserError

#: Folders of loaded plugins that import what lies beside them.
FOLDERS: set[Path] = set()


def neighbours(file: Path) -> list[Path]:
    """The files in a plugin's folder that it imports, itself or through others of them; of a package all.

    Only names that are written in import statements are seen. What is installed stays what it is.

    Raises:
        UserError: such a name is also that of a file beside another plugin, so that one would be taken for the other.
    """
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        for name in _imported(waiting.pop()):
            files = _files(file.parent, name)
            if files and name not in sys.stdlib_module_names and _is_meant(name, files, file):
                new = [path for path in files if path not in found and path != file]
                found |= dict.fromkeys(new)
                waiting += new
    return sorted(found)


def digest(file: Path, beside: Sequence[Path]) -> str:
    """SHA-256 of a plugin's code: of its text, and where it has neighbours, of theirs and their names."""
    own = hashlib.sha256(file.read_bytes()).hexdigest()
    if not beside:
        return own
    lines = [f"{path.relative_to(file.parent)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in beside]
    return hashlib.sha256("\n".join([own, *lines]).encode()).hexdigest()


def make_importable(folder: Path) -> None:
    """Let what lies in a plugin's folder be imported, after all that is installed."""
    FOLDERS.add(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def forget(files: Sequence[Path], before: set[str]) -> None:
    """Forget modules of these files that were imported since, so that they are imported anew."""
    for name in set(sys.modules) - before:
        place = getattr(sys.modules[name], "__file__", None)
        if place and Path(place).resolve() in files:
            del sys.modules[name]


def _imported(file: Path) -> Iterator[str]:
    """First parts of the names that a file imports, wherever in it; none of one that is no Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _files(folder: Path, name: str) -> list[Path]:
    """The files of a module, or of a package, in a folder; none where there is no such one."""
    if (folder / name / "__init__.py").is_file():
        return sorted((folder / name).rglob("*.py"))
    return [folder / f"{name}.py"] if (folder / f"{name}.py").is_file() else []


def _is_meant(name: str, files: Sequence[Path], file: Path) -> bool:
    """Whether Python takes these files for what a plugin imports by a name: not where another module has it already.

    Raises:
        UserError: what has it lies beside another plugin.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return True
    origin = Path(spec.origin).resolve()
    if origin not in files and any(origin.is_relative_to(folder) for folder in FOLDERS):
        raise UserError(
            f"the plugin {file} imports '{name}', which is a file beside it and also {origin}, beside another plugin: "
            "give one of the two another name"
        )
    return origin in files
