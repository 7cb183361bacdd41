"""Checked bundles become part of a results folder."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.analysis import boards
from benchmark.analysis.noise import judge
from benchmark.analysis.repeats import RerunResult, first_difference, other_packages
from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.runs.files import write_atomically
from benchmark.runs.record import RunRecord, record_bytes
from benchmark.runs.store import Store
from benchmark.runs.trust import Standing, Trust, keep_trust, standing, trust_bytes
from benchmark.submission.checking import Checked, CheckedRun, check
from benchmark.submission.inspecting import cost_flaws
from benchmark.submission.text import shown

#: Folder of a store with the sources of foreign plugins, as text.
SOURCES = "submissions"


def add(path: Path, store: Store, storage: Storage) -> tuple[Checked, list[RunRecord]]:
    """Check a bundle and put its runs into ``store``, each with a note of who vouches for it.

    All or nothing: a bundle with an error adds no run. A run that the store has already stays as it is.

    Returns:
        The check, and the records that are new.

    Raises:
        UserError: the bundle has an error, contradicts the store, or would replace its references.
    """
    checked = check(path, storage, store)
    if checked.errors:
        more = f" (and {len(checked.errors) - 1} more)" if len(checked.errors) > 1 else ""
        raise UserError(f"{path} is not added: {checked.errors[0].text}{more}; 'mtbench submit check' lists all")
    known = store.scan()[0] if store.root.is_dir() else []
    new = [run for run in checked.runs if not _is_there(store, run.record)]
    _check_boards(known, [run.record for run in new])
    for digest, source in checked.sources.items():
        _keep_source(store, digest, source)
    for run in new:
        store.put(run.record, note=trust_bytes(_trust(run, checked)))
    return checked, [run.record for run in new]


def confirm(store: Store, reruns: Store) -> list[tuple[RunRecord, RerunResult | None]]:
    """Compare submitted runs of ``store`` with runs of the same identity made here, in ``reruns``.

    A submitted run gets the level ``rerun`` where its record holds (``analysis.noise.judge``): in portable arithmetic
    every bit comes back; natively the rerun lies within the noise of the row, which is taken from what was run here,
    in either folder, and never from what was submitted.

    Returns:
        Each submitted record, however it ended, and whether it holds; None where it has no rerun.
    """
    own = {record.id: record for record in reruns.scan()[0] if _was_run_here(reruns, record)}
    known = store.scan()[0]
    made_here = list(({record.id: record for record in known if _was_run_here(store, record)} | own).values())
    found: list[tuple[RunRecord, RerunResult | None]] = []
    for record in known:
        trust = standing(store, record).trust
        if trust is None:
            continue
        again = own.get(record.id)
        verdict = _judged(record, again, made_here) if again else None
        if verdict and verdict.holds:
            keep_trust(store, record, trust.model_copy(update={"level": "rerun"}))
        found.append((record, verdict))
    return found


def _judged(record: RunRecord, again: RunRecord, made_here: Sequence[RunRecord]) -> RerunResult:
    if flaw := next(cost_flaws(record), None):
        return RerunResult(False, flaw)
    verdict = judge(record, again, others=lambda: made_here)
    others = other_packages(record.provenance.packages, again.provenance.packages)
    if verdict.holds or not others:
        return verdict
    return replace(verdict, words=f"{verdict.words} (made with {'; '.join(others)})")


def _was_run_here(store: Store, record: RunRecord) -> bool:
    """Whether no submission brought a record."""
    return standing(store, record) == Standing("rerun")


def _trust(run: CheckedRun, checked: Checked) -> Trust:
    recomputed = run.recomputed
    return Trust(
        run=run.record.id,
        level="recomputed" if recomputed else "self-reported",
        record_sha256=hashlib.sha256(record_bytes(run.record)).hexdigest(),
        bundle_sha256=checked.digest,
        submitter=checked.manifest.submitter,
        note=checked.manifest.note,
        epoch=run.record.curves[-1].epoch if recomputed else None,
        deviation=recomputed.deviation if recomputed else None,
        metrics=recomputed.metrics if recomputed else {},
        plugins=run.record.provenance.plugins,
        predictions=dict(run.digests),
        doubts=tuple(f.words for f in checked.findings if f.run == run.record.id and f.level == "warning"),
    )


def _is_there(store: Store, record: RunRecord) -> bool:
    """Whether the store has the run already: its times, and where it was made, may be others.

    Raises:
        UserError: it has it with other numbers.
    """
    known = store.get(record.spec)
    if known is None:
        return False
    if difference := first_difference(known, record):
        raise UserError(
            f"{shown(record.spec.label)} ({record.id}) is there already, with other numbers ({shown(difference)}); "
            "compare them, and remove one of the two"
        )
    return True


def _check_boards(known: Iterable[RunRecord], new: Iterable[RunRecord]) -> None:
    """No submission may change what stands beside what, or take Δm from a board by a second reference of a seed."""
    known, new = list(known), list(new)
    ids = {record.id for record in new}
    together = boards([*known, *new])
    before = {frozenset(record.id for record in board.records) for board in boards(known)}
    after = {frozenset(record.id for record in board.records) - ids for board in together} - {frozenset()}
    if before != after:
        raise UserError(
            "its single-task runs would tear the present boards apart, since they share some of their options; leave "
            "them out of the bundle"
        )
    for board in together:
        seeds: dict[int, list[RunRecord]] = {}
        for record in board.records:
            if record.reference and record.status == "ok":
                seeds.setdefault(record.spec.seed, []).append(record)
        for seed, records in seeds.items():
            foreign = [record for record in records if record.id in ids]
            if foreign and len(records) > 1:
                raise UserError(
                    f"{shown(foreign[0].spec.label)} ({foreign[0].id}) would be a second single-task reference of seed "
                    f"{seed}, and Δm of the whole board would be lost; leave it out of the bundle"
                )


def _keep_source(store: Store, digest: str, source: str) -> None:
    folder = store.root / SOURCES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{digest}.txt", source.encode())
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror})") from error
