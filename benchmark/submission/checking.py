"""What is wrong with a bundle, in words; and what its predictions or checkpoints give."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.record import RunRecord
from benchmark.spec import first_error
from benchmark.submission.bundle import MANIFEST, Bundle, Manifest, RunNote, file_digest
from benchmark.submission.evaluating import blank, described, judged, too_costly
from benchmark.submission.inspecting import dataset_of, problems, read, strangers
from benchmark.submission.recomputing import Recomputed, prepared, recompute
from benchmark.submission.text import parse, shown


@dataclass(frozen=True)
class Finding:
    """One thing that was found, in one line.

    Attributes:
        level: an ``error`` keeps the bundle out; a ``warning`` is for a reader to judge; ``good`` was checked and
            holds.
        text: may quote the submission; control characters are gone, everything else is for the reader to escape.
    """

    level: Literal["error", "warning", "good"]
    text: str


@dataclass(frozen=True)
class CheckedRun:
    """A run of a bundle that may be believed as far as it says.

    Attributes:
        recomputed: what its predictions, else its checkpoint, give; None where it has none, where their data set is not
            prepared here, and where a checkpoint's architecture is not known here or would take too long.
    """

    record: RunRecord
    recomputed: Recomputed | None = None


@dataclass
class Checked:
    """A bundle after its check.

    Attributes:
        digest: SHA-256 of the bundle.
        runs: those without error.
        sources: each plugin's source, as text, by its SHA-256.
    """

    manifest: Manifest
    digest: str
    runs: list[CheckedRun] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        """What keeps the bundle out."""
        return [finding for finding in self.findings if finding.level == "error"]


def check(path: Path, storage: Storage) -> Checked:
    """Check a bundle: form, hashes, versions, completeness, and metrics where they can be recomputed.

    Nothing of it is run, unpickled or written.

    Args:
        storage: where prepared data sets lie; nothing is prepared for a bundle's sake, whose options may ask for
            anything.

    Raises:
        UserError: the file cannot be read as a bundle at all.
    """
    with Bundle(path) as bundle:
        found = Checked(_manifest(bundle), file_digest(path))
        found.findings += _files(bundle, found.manifest)
        if found.errors:
            return found  # what does not have its hash is not looked at
        _plugins(bundle, found)
        for run in found.manifest.runs:
            _run(bundle, run, found, storage)
    return found


def _manifest(bundle: Bundle) -> Manifest:
    content = bundle.read(MANIFEST)
    raw = parse(content, MANIFEST)
    schema = raw.get("bundle_schema") if isinstance(raw, dict) else None
    if schema != 1 or isinstance(schema, bool):
        raise UserError(f"{MANIFEST} has bundle schema {shown(repr(schema))[:40]}; this suite reads 1")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{MANIFEST} is no valid manifest: {shown(first_error(error))}") from error


def _files(bundle: Bundle, manifest: Manifest) -> Iterator[Finding]:
    """Whether the bundle holds what its manifest lists, and nothing else."""
    listed, there = set(manifest.files), set(bundle.members) - {MANIFEST}
    for name in sorted(listed - there):
        yield Finding("error", f"{shown(name)} is listed and missing")
    for name in sorted(there - listed):
        yield Finding("error", f"{name} is there and not listed")
    for name in sorted(listed & there):
        try:
            if bundle.members[name].file_size != manifest.files[name].size:
                yield Finding("error", f"{name} has not the size that the manifest says")
            elif bundle.digest(name) != manifest.files[name].sha256:
                yield Finding("error", f"{name} has not the SHA-256 that the manifest says: it was changed")
        except UserError as error:
            yield Finding("error", shown(error))
    runs = [run.id for run in manifest.runs]
    if len(set(runs)) < len(runs):
        yield Finding("error", "the manifest names a run twice")
    expected = {f"records/{run}.json" for run in runs}
    expected |= {f"predictions/{run.id}.npz" for run in manifest.runs if run.predictions}
    expected |= {f"models/{run.id}.safetensors" for run in manifest.runs if run.model}
    for name in sorted(expected - listed):
        yield Finding("error", f"{name} belongs to a run of the manifest and is not listed")
    for name in sorted(n for n in listed - expected if not n.startswith("plugins/")):
        yield Finding("error", f"{shown(name)} belongs to no run of the manifest")


def _plugins(bundle: Bundle, found: Checked) -> None:
    for name in sorted(n for n in bundle.members if n.startswith("plugins/")):
        content = bundle.read(name)
        found.sources[found.manifest.files[name].sha256] = content.decode("utf-8", errors="replace")


def _run(bundle: Bundle, run: RunNote, found: Checked, storage: Storage) -> None:
    """Check one run; it joins ``found.runs`` unless there is an error."""
    try:
        record = read(bundle.read(f"records/{run.id}.json"), run.id)
    except UserError as error:
        found.findings.append(Finding("error", shown(error)))
        return
    label = f"{shown(record.spec.label)} ({run.id})"
    found.findings += (own := [Finding("error", f"{label}: {text}") for text in problems(record)])
    own += (missing := [Finding("error", f"{label}: {text}") for text in _missing_sources(record, found)])
    found.findings += missing
    if own:
        return
    found.findings += [Finding("warning", f"{label}: {text}") for text in _notable(record)]
    recomputed = None
    if record.status == "ok" and (run.predictions or run.model):
        try:
            recomputed, finding = _recomputed(bundle, run, record, storage)
        except UserError as error:
            found.findings.append(Finding("error", f"{label}: {shown(error)}"))
            return
        found.findings.append(Finding(finding.level, f"{label}: {finding.text}"))
        if finding.level == "error":
            return
    elif record.status == "ok":
        found.findings.append(
            Finding("warning", f"{label}: without predictions or a checkpoint, nothing can be recomputed")
        )
    found.runs.append(CheckedRun(record, recomputed))


def _missing_sources(record: RunRecord, found: Checked) -> Iterator[str]:
    for name, digest in record.provenance.plugins.items():
        if digest not in found.sources:
            yield f"the source of its plugin {shown(name)} is not in the bundle"


def _notable(record: RunRecord) -> Iterator[str]:
    """What a reader should know, and what is no error."""
    if record.status != "ok":
        yield f"it ended as {record.status}: {shown(record.error)}"
    if record.provenance.git_dirty:
        yield "it was run with uncommitted changes to the suite"
    if not record.provenance.plugins and (foreign := list(strangers(record))):
        yield f"not known here, and without source: {', '.join(foreign)}"


def _recomputed(bundle: Bundle, run: RunNote, record: RunRecord, storage: Storage) -> tuple[Recomputed | None, Finding]:
    """What a run's predictions give, or failing these its checkpoint; a checkpoint is looked at in any case."""
    dataset, why = dataset_of(record)
    header = described(bundle, record, dataset) if run.model else {}
    if dataset is None:
        return None, Finding("warning", f"nothing was recomputed: {why}")
    split = prepared(record, storage, dataset)
    if split is None:
        return None, Finding(
            "warning",
            f"nothing was recomputed: '{record.spec.dataset.name}' with these options and the data hash "
            f"{shown(record.provenance.data_hash)[:12]} is not prepared here",
        )
    if run.predictions:
        what, result = "predictions", recompute(bundle, record, dataset, split)
    elif blank(record, dataset) is None:
        return None, Finding(
            "warning", "nothing was recomputed: the checkpoint's architecture is not registered here in its version"
        )
    elif too_costly(record, dataset, split):
        return None, Finding(
            "warning", "nothing was recomputed: judging the checkpoint would take too long; submit predictions"
        )
    else:
        what, result = "checkpoint", judged(bundle, record, dataset, split, header)
    if result.differences:
        verb = "give" if what == "predictions" else "gives"
        return result, Finding("error", f"the {what} {verb} other metrics: {'; '.join(result.differences[:3])}")
    return result, Finding(
        "good",
        f"the last epoch's test metrics were recomputed from the {what}; they differ by at most "
        f"{100 * result.deviation:.2g} %",
    )
