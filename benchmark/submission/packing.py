"""Making a bundle from a results folder."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from pydantic import ValidationError

from benchmark.analysis.repeats import cell_of
from benchmark.errors import UsageError, UserError
from benchmark.runs.record import RunRecord, record_bytes
from benchmark.runs.spec import first_error
from benchmark.runs.store import Store
from benchmark.submission.bundle import (
    CHUNK,
    LARGEST_FILE,
    MANIFEST,
    Bundle,
    FileNote,
    Manifest,
    RunNote,
    file_digest,
)
from benchmark.submission.inspecting import plugin_files

#: The earliest time that zip files can hold: with a fixed time the same content gives the same bytes.
NO_TIME = (1980, 1, 1, 0, 0, 0)


def pack(
    store: Store,
    records: Sequence[RunRecord],
    out: Path,
    *,
    submitter: str,
    note: str = "",
    plugins: Sequence[Path] = (),
) -> Manifest:
    """Write a bundle of runs, with what others need to judge them.

    Args:
        store: where the records come from; predictions for the whole test split, and networks, are taken where a run
            kept them.
        records: of the store.
        out: the bundle; never overwritten.
        submitter: who vouches for the numbers: a name, an address.
        note: what a reader should know.
        plugins: the files that registered the runs' methods, in the state in which they ran.

    Raises:
        UsageError: there is no record, or a plugin that a run used is missing or has changed.
        UserError: a file cannot be read or written, or the bundle would be too large.
    """
    if not records:
        raise UsageError("no run to pack: the results folder holds none that was asked for")
    if out.exists():
        raise UsageError(f"{out} exists; name another file")
    sources, seeds = _sources(records, plugins), _seeds(store)
    contents: dict[str, bytes | Path] = {}
    runs = []
    for record in records:
        whole = store.whole_test(record)
        contents[f"records/{record.id}.json"] = record_bytes(record)
        if whole is not None:
            contents[f"predictions/{record.id}.npz"] = whole
        if (model := store.model(record)) is not None:
            contents[f"models/{record.id}.safetensors"] = model
        runs.append(
            RunNote(
                id=record.id,
                predictions=whole is not None,
                model=model is not None,
                seeds=tuple(sorted({*seeds[cell_of(record)], record.spec.seed})),
            )
        )
    contents |= sources
    files = {name: _note(content) for name, content in contents.items()}
    if (total := sum(file.size for file in files.values())) > LARGEST_FILE // 2:
        raise UserError(f"the bundle would have {total} bytes; pack fewer runs at a time")
    try:
        manifest = Manifest(
            suite_version=version("mtbench"), submitter=submitter, note=note, runs=tuple(runs), files=files
        )
    except ValidationError as error:
        raise UsageError(f"the bundle cannot be described: {first_error(error)}") from error
    _write(out, {MANIFEST: (manifest.model_dump_json(indent=1) + "\n").encode()} | contents)
    return manifest


def _seeds(store: Store) -> dict[str, set[int]]:
    """By cell the seeds with which it was run, however the runs ended: who leaves one out of a bundle says so."""
    found: dict[str, set[int]] = defaultdict(set)
    for record in store.scan()[0]:
        found[cell_of(record)].add(record.spec.seed)
    return found


def _sources(records: Sequence[RunRecord], plugins: Sequence[Path]) -> dict[str, bytes | Path]:
    """Member names and contents of the plugins that the runs used, found by their hashes."""
    given: dict[str, tuple[str, bytes]] = {}
    for path in plugins:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"the plugin {path} cannot be read ({error.strerror})") from error
        given[hashlib.sha256(content).hexdigest()] = (path.stem, content)
    found: dict[str, bytes | Path] = {}
    for record in records:
        for name, digest in plugin_files(record).items():
            if digest not in given:
                raise UsageError(
                    f"{record.spec.label} used the plugin {_file(record, name, digest)} in a state that was not given; "
                    "name the file, as it was then, with --plugin"
                )
            stem, content = given[digest]
            plain = re.sub(r"[^A-Za-z0-9_.-]", "_", stem)[:60].lstrip("_.-") or "plugin"
            found[f"plugins/{plain}-{digest[:8]}.py"] = content
    return found


def _file(record: RunRecord, name: str, digest: str) -> str:
    """What a plugin file was called when the run used it."""
    return next((file for file, found in record.provenance.plugins.items() if found == digest), name)


def _note(content: bytes | Path) -> FileNote:
    if isinstance(content, Path):
        return FileNote(sha256=file_digest(content), size=content.stat().st_size)
    return FileNote(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def _refuse_what_others_would(written: Path, out: Path) -> None:
    """A bundle has the same limits for whoever makes it as for whoever gets it."""
    try:
        with Bundle(written):
            pass
    except UserError as error:
        reason = str(error).replace(str(written), str(out))
        raise UserError(f"nobody could take this bundle: {reason}; pack fewer runs at a time") from error


def _write(out: Path, contents: Mapping[str, bytes | Path]) -> None:
    scratch = out.with_name(f".{out.name}.part")
    try:
        with ZipFile(scratch, "w", allowZip64=False) as archive:
            for name, content in contents.items():
                info = ZipInfo(name, NO_TIME)
                info.external_attr = 0o100644 << 16
                info.compress_type = ZIP_STORED if isinstance(content, Path) else ZIP_DEFLATED
                if isinstance(content, bytes):
                    archive.writestr(info, content)
                    continue
                info.file_size = content.stat().st_size
                with content.open("rb") as source, archive.open(info, "w") as target:
                    while part := source.read(CHUNK):
                        target.write(part)
        _refuse_what_others_would(scratch, out)
        scratch.replace(out)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror})") from error
    finally:
        scratch.unlink(missing_ok=True)
