"""What is wrong with a bundle, in words; and what its predictions or checkpoints give."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import first_error
from benchmark.runs.store import Store
from benchmark.submission.bundle import MANIFEST, Bundle, Manifest, RunNote, file_digest
from benchmark.submission.comparing import LARGE, WHOLE, copies, missing_seeds, of_run, of_store
from benchmark.submission.evaluating import blank, described, judged, member, other_costs, too_costly
from benchmark.submission.inspecting import dataset_of, plugin_files, problems, read, strangers, unnamed
from benchmark.submission.recomputing import Recomputed, prepared, recompute
from benchmark.submission.text import parse, shown


@dataclass(frozen=True)
class Finding:
    """One thing that was found, in one line.

    Attributes:
        level: an ``error`` keeps the bundle out; a ``warning`` is for a reader to judge; ``good`` was checked and
            holds.
        words: may quote the submission; control characters are gone, everything else is for the reader to escape.
        run: of which it tells; empty for the bundle.
        label: of that run, in words.
    """

    level: Literal["error", "warning", "good"]
    words: str
    run: str = ""
    label: str = ""

    @property
    def text(self) -> str:
        """What is to be said, with the run."""
        return f"{self.label} ({self.run}): {self.words}" if self.run else self.words

    @classmethod
    def about(cls, record: RunRecord, level: Literal["error", "warning", "good"], words: str) -> "Finding":
        """A finding about a run."""
        return cls(level, words, record.id, shown(record.spec.label))


@dataclass(frozen=True)
class CheckedRun:
    """A run of a bundle that may be believed as far as it says.

    Attributes:
        recomputed: what its predictions, else its checkpoint, give; None where it has none, where their data set is not
            prepared here, and where a checkpoint's architecture is not known here or would take too long.
        digests: hashes of its predictions or network, see ``comparing``.
    """

    record: RunRecord
    recomputed: Recomputed | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


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


def check(path: Path, storage: Storage, store: Store | None = None) -> Checked:
    """Check a bundle: form, hashes, versions, completeness, and metrics where they can be recomputed.

    Nothing of it is run, unpickled or written.

    Args:
        storage: where prepared data sets lie; nothing is prepared for a bundle's sake, whose options may ask for
            anything.
        store: whose runs the predictions are compared with.

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
    _compare(found, store)
    return found


def _compare(found: Checked, store: Store | None) -> None:
    """Find predictions that two runs share, which keep both out, and seeds that are missing."""
    known = [of_run(run.record, run.digests) for run in found.runs if run.digests]
    there = [
        one
        for dataset in sorted({run.record.spec.dataset.name for run in found.runs if run.digests})
        for one in (of_store(store, dataset) if store else ())
    ]
    copied = {own.run: text for own in known for text in copies(own, [*known, *there])}
    seeds = {run.id: run.seeds for run in found.manifest.runs}
    lost = missing_seeds((run.record, seeds[run.record.id]) for run in found.runs)
    records = {run.record.id: run.record for run in found.runs}
    found.findings += [Finding.about(records[run], "error", text) for run, text in copied.items()]
    found.findings += [Finding.about(records[run], "warning", text) for run, text in lost]
    found.runs = [run for run in found.runs if run.record.id not in copied]


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
    wrong = [*problems(record), *_missing_sources(record, found)]
    found.findings += [Finding.about(record, "error", text) for text in wrong]
    if wrong:
        return
    found.findings += [Finding.about(record, "warning", text) for text in _notable(record, found)]
    recomputed, digests = None, dict[str, str]()
    if record.status == "ok" and (run.predictions or run.model):
        try:
            recomputed, finding = _recomputed(bundle, run, record, storage)
        except UserError as error:
            found.findings.append(Finding.about(record, "error", shown(error)))
            return
        found.findings.append(Finding.about(record, finding.level, finding.words))
        if finding.level == "error":
            return
        if recomputed and recomputed.true:
            text = f"its predictions of '{shown(recomputed.true[0])}' are the truth, wherever that is known"
            found.findings.append(Finding.about(record, "error", text))
            return
        digests = dict(recomputed.digests) if recomputed else {}
        digests |= _file_digest(found.manifest, member(record) if run.model else f"predictions/{run.id}.npz")
    elif record.status == "ok":
        words = "without predictions or a checkpoint, nothing can be recomputed"
        found.findings.append(Finding.about(record, "warning", words))
    found.runs.append(CheckedRun(record, recomputed, digests))


def _file_digest(manifest: Manifest, name: str) -> dict[str, str]:
    note = manifest.files[name]
    return {WHOLE: note.sha256} if note.size > LARGE else {}


def _missing_sources(record: RunRecord, found: Checked) -> Iterator[str]:
    for name, digest in plugin_files(record).items():
        if digest not in found.sources:
            files = [file for file, content in record.provenance.plugins.items() if content == digest]
            yield f"the source of its plugin {shown(files[0] if files else name)} is not in the bundle"


def _notable(record: RunRecord, found: Checked) -> Iterator[str]:
    """What a reader should know, and what is no error."""
    if record.status != "ok":
        yield f"it ended as {record.status}: {shown(record.error)}"
    if record.provenance.git_dirty:
        yield "it was run with uncommitted changes to the suite"
    if not plugin_files(record) and (foreign := list(strangers(record))):
        yield f"not known here, and without source: {', '.join(foreign)}"
    for part, name in unnamed(record, found.sources).items():
        yield f"the source that it says it ran with does not name the {part} '{shown(name)}'"


def _recomputed(bundle: Bundle, run: RunNote, record: RunRecord, storage: Storage) -> tuple[Recomputed | None, Finding]:
    """What a run's predictions give, or failing these its checkpoint; a checkpoint is looked at in any case."""
    dataset, why = dataset_of(record)
    header = described(bundle, record, dataset) if run.model else {}
    if dataset is None:
        return None, Finding("warning", f"nothing was recomputed: {why}")
    split = prepared(record, storage, dataset)
    if flaw := other_costs(record, dataset, split):
        raise UserError(flaw)
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
