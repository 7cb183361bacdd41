"""Predictions that are too alike: those of two runs, and those of a run and the truth; and seeds that are missing."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.analysis.repeats import cell_of
from benchmark.analysis.submitted import is_of_suite
from benchmark.runs.artifacts import OfSplit, name_of
from benchmark.runs.files import unpack
from benchmark.runs.record import RunRecord
from benchmark.runs.store import Store
from benchmark.runs.trust import standing
from benchmark.submission.text import shown
from benchmark.tasks import Task

#: Of fewer decisions between classes, two honest runs may agree in all, or a run with the truth.
ENOUGH = 1000
#: In place of a task: of the whole file, predictions or network, where it is larger than so many bytes.
WHOLE = ""
LARGE = 4096
#: Seeds that are listed.
MOST_SHOWN = 10


@dataclass(frozen=True)
class KnownPredictions:
    """Hashes of predictions by task, and whose they are."""

    spec_words: str
    run: str
    seed: int
    of_suite: bool
    digests: Mapping[str, str]


def digest(decisions: np.ndarray) -> str | None:
    """A hash of decisions, whatever type of number they were stored in; None of so few that others may have the same.

    Args:
        decisions: (N, …) classes or, rounded to half precision, values.
    """
    real = decisions.dtype.kind == "f"
    if decisions.size == 0 or (not real and decisions.size < ENOUGH) or (decisions == decisions.flat[0]).all():
        return None
    plain = np.ascontiguousarray(decisions, dtype="<f2" if real else "<i8")
    return hashlib.sha256(repr((plain.dtype.str, plain.shape)).encode() + plain.tobytes()).hexdigest()


def is_truth(task: Task, decisions: np.ndarray, targets: np.ndarray) -> bool:
    """Whether all of a task's decisions are its targets, wherever these are known; False of too few to say.

    Args:
        decisions, targets: (N, …) of one form.
    """
    stored = task.stored((1, 1))
    invalid = stored.invalid if stored else None
    unknown = np.zeros(targets.shape, dtype=bool) if invalid is None else targets == invalid
    unknown |= targets != targets  # not a number
    known = int((~unknown).sum())
    return known >= ENOUGH and bool(np.array_equal(decisions[~unknown], targets[~unknown]))


def of_run(record: RunRecord, digests: Mapping[str, str]) -> KnownPredictions:
    """A run's predictions, to be compared with others'."""
    return KnownPredictions(shown(record.spec.label), record.id, record.spec.seed, is_of_suite(record), digests)


def of_store(store: Store, dataset: str) -> Iterator[KnownPredictions]:
    """What a store knows of the predictions of a data set: kept ones of runs made here, and submitted ones."""
    if not store.root.is_dir():
        return
    for record in store.scan()[0]:
        if record.spec.dataset.name != dataset:
            continue
        trust = standing(store, record).trust
        digests = trust.predictions if trust else _kept(store, record)
        if digests:
            yield of_run(record, digests)


def _kept(store: Store, record: RunRecord) -> dict[str, str]:
    path = store.whole_test(record)
    arrays = unpack(path) if path else None
    names = [task.name for task in record.tasks]
    found = {name: (arrays or {}).get(name_of(OfSplit("test", name), names)) for name in names}
    return {name: key for name, array in found.items() if array is not None and (key := digest(array))}


def copies(own: KnownPredictions, others: Iterable[KnownPredictions]) -> Iterator[str]:
    """Which other runs have the same predictions, in words.

    Of one seed, two methods of the suite may compute the same: constant weights of 1 are equal weights.
    """
    for other in others:
        same = [task for task, found in own.digests.items() if other.digests.get(task) == found]
        honest = own.of_suite and other.of_suite and own.seed == other.seed
        if other.run != own.run and same and not honest:
            what = "file of predictions or network is that" if same == [WHOLE] else "predictions are, one by one, those"
            yield f"its {what} of {other.spec_words} ({other.run})"


def missing_seeds(records: Iterable[tuple[RunRecord, tuple[int, ...] | None]]) -> Iterator[tuple[str, str]]:
    """What a bundle says of seeds that it does not hold: run ids and words.

    Args:
        records: of the bundle, each with the seeds with which its cell was run, as the bundle says.
    """
    cells: dict[str, list[tuple[RunRecord, tuple[int, ...] | None]]] = defaultdict(list)
    for record, seeds in records:
        cells[cell_of(record)].append((record, seeds))
    for members in cells.values():
        there = {record.spec.seed for record, _ in members}
        said = {seed for _, seeds in members for seed in seeds or ()}
        first = min((record for record, _ in members), key=lambda record: record.spec.seed)
        if lost := sorted(said - there):
            yield first.id, f"its row was also run with {_seeds(lost)}, which the bundle lacks"
        elif gap := sorted(set(range(min(there), min(max(there), min(there) + ENOUGH))) - there):
            yield first.id, f"the seeds of its row have a gap: {_seeds(gap)} between {min(there)} and {max(there)}"
        if any(seeds is None for _, seeds in members):
            yield first.id, "the bundle does not say with which seeds its row was run"


def _seeds(seeds: list[int]) -> str:
    more = f" and {len(seeds) - MOST_SHOWN} more" if len(seeds) > MOST_SHOWN else ""
    return f"the seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds[:MOST_SHOWN]))}{more}"
