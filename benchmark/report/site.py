"""The folder of a report: built beside the old one, swapped in whole."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmark.errors import UserError

#: Marks a folder as a report and lists its files; only what is listed is ever deleted.
MARKER = ".mtbench-report"
_FIRST_LINE = "A report made by mtbench. Everything listed here is replaced by the next one."


def check_target(out: Path) -> None:
    """Refuse, before anything is built, to replace what no report has written.

    Raises:
        UserError: ``out`` is a file, or a folder that holds something else than a report.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; name a folder for the report with --out")
    try:
        present = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
        lines = (out / MARKER).read_text().splitlines() if MARKER in present else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the report folder {out} ({error}); name another with --out") from error
    foreign = sorted(present - {MARKER, *lines[1:]})
    if foreign and lines[:1] != [_FIRST_LINE]:
        raise UserError(f"{out} is not empty and holds no report; name another folder with --out")
    if foreign:
        raise UserError(f"{out / foreign[0]} is no part of the report there; move it away or name another with --out")


def replace(out: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Make ``out`` hold exactly ``files``, by path; of several of one path the last. They are written as they come.

    They are written into a temporary folder beside ``out`` that takes its place at the end: whatever stops this earlier
    leaves the old report as it was.

    Raises:
        UserError: the folder cannot be written.
    """
    out = out.resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            _write(scratch / "new", files)
            _swap(scratch / "new", out, scratch / "old")
        finally:
            if out.exists() or not (scratch / "old").exists():
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write the report folder {out} ({reason}); name another with --out") from error


def _write(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    names, folders = set(), set()
    for path, content in files:
        target = folder / path
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.add(target.parent)
        target.write_bytes(content)
        names.add(path)
    (folder / MARKER).write_text("\n".join([_FIRST_LINE, *sorted(names)]) + "\n", encoding="utf-8")


def _swap(new: Path, out: Path, old: Path) -> None:
    if not out.exists():
        new.rename(out)
        return
    out.rename(old)
    try:
        new.rename(out)
    except BaseException:
        old.rename(out)
        raise
