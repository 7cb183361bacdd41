"""What of submitted runs counts on a board: what was run here is changed by nothing that others say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from benchmark.analysis.repeats import cell_of
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.record import RunRecord
from benchmark.runs.store import Store
from benchmark.runs.trust import Standing, standing

#: Who vouches for a run that was made here.
OWN = Standing("rerun")


@dataclass(frozen=True)
class Counted:
    """Records that boards are made of.

    Attributes:
        records: in the given order. Of a submitted run whose metrics were recomputed, those of other epochs are gone:
            no rule can choose them.
        foreign: by run id who vouches for what came in submissions.
        aside: submitted runs that do not count, and why.
    """

    records: list[RunRecord]
    foreign: Mapping[str, Standing] = field(default_factory=dict)
    aside: list[tuple[RunRecord, str]] = field(default_factory=list)


def counted(records: Iterable[RunRecord], store: Store) -> Counted:
    """Which records of a store stand on its boards, and with which epochs.

    A run that came in a submission and was not run again here does not count where it would change what others are
    held against or how a row stands that was run here: as a single-task reference, as a further seed of a row of which
    there are runs made here, and as a failure of a method that is the suite's own.
    """
    records = list(records)
    foreign = {record.id: found for record in records if (found := standing(store, record)) != OWN}
    if not foreign:
        return Counted(records)
    own = {cell_of(record) for record in records if foreign.get(record.id, OWN).level == "rerun"}
    kept, aside = [], []
    for record in records:
        found = foreign.get(record.id, OWN)
        if found.level != "rerun" and (reason := _reason(record, own)):
            aside.append((record, reason))
        else:
            kept.append(_vouched(record, found))
    return Counted(kept, foreign, aside)


def proven(records: Iterable[RunRecord], store: Store) -> list[RunRecord]:
    """Those records of a store whose runs were made here, or were submitted and run again here."""
    return [record for record in records if standing(store, record).level == "rerun"]


def unproven(foreign: Mapping[str, Standing]) -> set[str]:
    """The submitted runs that were not run again here: no row of such a run is what others are held against."""
    return {run for run, found in foreign.items() if found.level != "rerun"}


def _reason(record: RunRecord, own: set[str]) -> str | None:
    """Why a submitted run does not count until it is run again here; None where it does."""
    if record.reference:
        return "a single-task reference, against which Δm of all rows would be taken"
    if cell_of(record) in own:
        return "a further seed of a row that was run here"
    if record.status != "ok" and is_of_suite(record):
        return "a failure of a method that is the suite's own"
    return None


def is_of_suite(record: RunRecord) -> bool:
    """Whether architecture and weighting are registered here, and not by a plugin file."""
    spec = record.spec
    parts = [(ARCHITECTURES, spec.architecture), *([(WEIGHTINGS, spec.weighting)] if spec.weighting else [])]
    return all(part.name in registry and registry[part.name].code is None for registry, part in parts)


def _vouched(record: RunRecord, found: Standing) -> RunRecord:
    """The record with the metrics of those epochs alone that were recomputed, if any were."""
    if found.level != "recomputed":
        return record
    curves = tuple(e if found.covers(e.epoch) else e.model_copy(update={"metrics": {}}) for e in record.curves)
    return record.model_copy(update={"curves": curves})
