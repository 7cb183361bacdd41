"""The scheduler: gives runs to an executor and stores their records. The same for every executor."""

import shlex
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from pathlib import Path
from time import monotonic, sleep

from benchmark.errors import UserError
from benchmark.execution.executor import Began, Ended, EpochDone, Executor, Lost, Note, RecordStored, Refused, RunEvent
from benchmark.execution.leases import Lease, Leases
from benchmark.execution.observer import Observer
from benchmark.runs.artifacts import Arrays, OfMasks
from benchmark.runs.files import sweep
from benchmark.runs.layout import ERROR_SUFFIX
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Stamp, Store
from benchmark.training.checkpoint import SUFFIX, Policy, drop
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Outcome
from benchmark.training.run import lost

#: Seconds that the loop waits for an event before it tries again what other runners have leased.
PULSE = 1.0
#: Seconds between two checks of a run that another runner does.
RETRY_INTERVAL = 2.0
#: Seconds that a run's numbers wait for room in the results folder, until they are put elsewhere.
WAIT_FOR_ROOM = 600.0

#: From the ids of the runs in progress, one further run; None where there is none for now.
Supply = Callable[[Collection[str]], RunSpec | None]

#: Statuses of runs that would end the same way again: their checkpoints are deleted.
CONCLUSIVE = ("ok", "diverged")


def run_all(
    specs: Sequence[RunSpec],
    *,
    store: Store,
    executor: Executor,
    observer: Observer,
    hardware: Hardware,
    leases: Leases | None = None,
    retries: int = 0,
    data_hashes: Mapping[str, str] | None = None,
    checkpoints: Policy | None = None,
    unpictured: Collection[str] = (),
    deadline: float | None = None,
    supply: Supply | None = None,
    fail_fast: bool = False,
) -> int:
    """Do every run once, among all runners on the store's folder, and put its record there as it ends.

    Runs that other runners have leased are waited for, and done here where their owner dies. When this function is
    left by an exception, such as Ctrl-C, or at the deadline, the workers are stopped; every record in the store is
    whole.

    Args:
        hardware: what records of runs say whose worker was lost.
        leases: of this process; on the store's folder where None.
        retries: how often a run is given out again when its worker is lost.
        data_hashes: by run id the content hash of the data that its record must come from.
        checkpoints: of the runs, which are dropped when there is a record.
        unpictured: ids of runs whose pictures are not kept.
        deadline: by the monotonic clock, when to stop; None for when all is done.
        supply: asked for further runs, none of which has a record, whenever there is room for one. All is done when no
            run is left and there are no further ones.
        fail_fast: whether all is stopped, as at the deadline, when a run does not go well.

    Returns:
        How many runs are left, which is 0 without a deadline and without ``fail_fast``.

    Raises:
        UserError: the folder cannot be written.
    """
    with leases or Leases(store.private / "claims") as held:
        loop = _Loop(specs, store, executor, observer, held)
        loop.hardware, loop.retries = hardware, retries
        loop.data_hashes, loop.checkpoints = dict(data_hashes or {}), checkpoints
        loop.unpictured, loop.supply = frozenset(unpictured), supply
        loop.fail_fast = fail_fast
        try:
            loop.run(inf if deadline is None else deadline)
        finally:
            loop.finish(executor.close())
        return loop.unfinished


class _Loop:
    """The runs of one grid: pending, in progress here, or leased by other runners (elsewhere)."""

    hardware: Hardware
    retries: int
    data_hashes: Mapping[str, str]
    checkpoints: Policy | None
    unpictured: frozenset[str]
    supply: Supply | None
    fail_fast: bool

    def __init__(
        self, specs: Sequence[RunSpec], store: Store, executor: Executor, observer: Observer, leases: Leases
    ) -> None:
        self.store = store
        self.executor = executor
        self.observer = observer
        self.leases = leases
        self.pending = deque(specs)
        self.here: dict[str, tuple[RunSpec, Lease | None]] = {}
        self.elsewhere: deque[RunSpec] = deque()
        self.before: dict[str, Stamp | None] = {spec.id: store.stamp(spec) for spec in specs}
        self.losses: Counter[str] = Counter()
        self.next_retry = 0.0
        self.failed = self.closing = False
        #: Where outcomes are put that could not be written into the store.
        self.refuge: Path | None = None

    @property
    def unfinished(self) -> int:
        """Runs that have not ended."""
        return len(self.pending) + len(self.here) + len(self.elsewhere)

    def run(self, deadline: float) -> None:
        """Schedule until every run has ended, here or elsewhere, or the deadline has passed."""
        while monotonic() < deadline and not (self.fail_fast and self.failed):
            self._submit_further()
            if not self.unfinished:
                return
            self._retry_elsewhere()
            while self.pending and self.executor.free() > 0:
                self._claim_and_submit(self.pending.popleft())
            if self.here:
                for event in self.executor.events(PULSE):
                    self.handle(event)
            elif self.elsewhere and not self.pending:
                sleep(max(0.0, min(PULSE, self.next_retry - monotonic())))

    def finish(self, events: Sequence[RunEvent]) -> None:
        """Handle what happened while the executor was closed: every run's end, whatever becomes of another's."""
        self.closing, failure = True, None
        for event in events:
            try:
                self.handle(event)
            except UserError as error:
                failure = failure or error
        if failure:
            raise failure

    def _submit_further(self) -> None:
        """Submit further runs from ``supply`` while the executor takes more."""
        while self.supply and not self.pending and self.executor.free() > 0:
            spec = self.supply({*self.here, *(run.id for run in self.elsewhere)})
            if spec is None:
                return
            self.before.setdefault(spec.id, None)  # a record that appears before the lease is another runner's
            self._claim_and_submit(spec)

    def _retry_elsewhere(self) -> None:
        """Try again to lease the runs that others have leased; one of them may have died."""
        if self.elsewhere and monotonic() >= self.next_retry:
            waiting, self.elsewhere = self.elsewhere, deque()
            for spec in waiting:
                if not self._finished_elsewhere(spec):
                    self.pending.append(spec)
            self.next_retry = monotonic() + RETRY_INTERVAL

    def _finished_elsewhere(self, spec: RunSpec) -> bool:
        """Whether another runner has left a record since this loop began."""
        if self.store.stamp(spec) == self.before[spec.id] or (record := self.store.peek(spec)) is None:
            return False
        self.observer.started(spec)
        self._tell_end(spec, record)
        return True

    def _claim_and_submit(self, spec: RunSpec) -> None:
        if self.executor.stores:
            self.here[spec.id] = spec, None
            self.observer.started(spec)
            self.executor.submit(spec)
            return
        lease = self.leases.take(spec.id)
        if lease is None:
            if not self._finished_elsewhere(spec):
                self.elsewhere.append(spec)
            return
        # Only with the lease is it certain that no other runner is about to write a record.
        if self._finished_elsewhere(spec):
            self.leases.release(lease)
            return
        self.here[spec.id] = spec, lease
        self.observer.started(spec)
        self._set_unusable_aside(spec, lease)
        self.executor.submit(spec)

    def _set_unusable_aside(self, spec: RunSpec, lease: Lease) -> None:
        """Set an unusable record aside. Only the owner may: another's could have just been written."""
        if lease.generation > 1:  # an earlier owner of the lease died
            self._sweep(spec)
        try:
            self.store.get(spec)
        except UserError as error:
            aside = self.store.set_aside(spec)
            self.observer.note(spec, f"{error}; kept as {aside.name}, done again")

    def _sweep(self, spec: RunSpec) -> None:
        """Remove temporary files of killed processes. It lists folders, which would be too slow for every run."""
        path = self.store.path(spec)
        for written in (path, path.with_suffix(".npz"), path.with_suffix(ERROR_SUFFIX)):
            sweep(written)
        if self.checkpoints:
            sweep(self.checkpoints.folder / f"{spec.id}{SUFFIX}")

    def handle(self, event: RunEvent) -> None:
        """Handle an executor's event."""
        if event.run not in self.here:
            return
        spec, lease = self.here[event.run]
        match event:
            case Began():
                pass
            case EpochDone(epoch=epoch):
                if lease is None or self.leases.holds(lease):
                    self.observer.epoch(spec, epoch)
                else:  # this process was silent for too long, and another runner has leased the run
                    self.executor.cancel(spec.id)
                    self._hand_over(spec)
            case Note(text=text):
                self.observer.note(spec, text)
            case Refused(reason=reason):
                self._tell_refusal(spec, reason)
                self._release(spec)
            case Lost(reason=reason, final=final):
                self.losses[spec.id] += 1
                if self.losses[spec.id] <= self.retries and not final:
                    self._sweep(spec)
                    self.executor.submit(spec)
                else:
                    self._store_record(spec, Ended(spec.id, lost(spec, reason, hardware=self.hardware)))
            case Ended():
                self._store_record(spec, event)
            case RecordStored():
                self._report_stored(spec)

    def _store_record(self, spec: RunSpec, ended: Ended) -> None:
        """Put the record of a run into the store, if this process still owns its lease."""
        outcome = ended.outcome
        lease = self.here[spec.id][1]
        if lease is not None and not self.leases.holds(lease):
            self._hand_over(spec)
            return
        if reason := self._data_mismatch(outcome.record):
            self._tell_refusal(spec, reason)
        else:
            self._put(spec, outcome)
            if outcome.record.status in CONCLUSIVE and self.checkpoints and not self.checkpoints.keep:
                drop(self.checkpoints.folder, spec.id)
            self._tell_end(spec, outcome.record)
        self._release(spec)

    def _put(self, spec: RunSpec, outcome: Outcome) -> None:
        """Store a run's outcome. Where it cannot be written, wait for room, and in the end put it into another folder.

        Raises:
            UserError: that was done.
        """
        until: float | None = None
        while True:
            try:
                self._write(self.store, outcome)
                return
            except UserError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                if self.closing or self.refuge or (until is not None and monotonic() >= until):
                    raise UserError(f"{error}. {self._flee(outcome)}") from error
                if until is None:
                    until = monotonic() + WAIT_FOR_ROOM
                    wait = f"its numbers are kept, and are written when there is room within {WAIT_FOR_ROOM:.0f} s"
                    self.observer.note(spec, f"{error}; {wait}")
            try:
                sleep(RETRY_INTERVAL)
            except BaseException:  # Ctrl-C
                self.observer.note(spec, self._flee(outcome))
                raise

    def _write(self, store: Store, outcome: Outcome, *, arrays: bool = True) -> None:
        kept, truth = (self._arrays_to_store(outcome), outcome.truth) if arrays else (None, None)
        store.put(outcome.record, kept, truth, traceback=outcome.traceback)

    def _flee(self, outcome: Outcome) -> str:
        """Put an outcome into a folder of its own among the temporary ones, without its pictures if need be; words."""
        try:
            self.refuge = self.refuge or Path(tempfile.mkdtemp(prefix="mtbench-results-"))
            store = Store(self.refuge)
            try:
                self._write(store, outcome)
            except UserError:
                self._write(store, outcome, arrays=False)
        except (OSError, UserError) as error:
            return f"Nor can {tempfile.gettempdir()} ({error}): the numbers of {outcome.record.spec.label} are lost"
        source = shlex.quote(str(self.refuge))
        return f"What was finished is in {source}: when there is room, 'mtbench store merge --from {source}'"

    def _tell_end(self, spec: RunSpec, record: RunRecord) -> None:
        self.failed = self.failed or record.status != "ok"
        self.observer.finished(spec, record)

    def _tell_refusal(self, spec: RunSpec, reason: str) -> None:
        self.failed = True
        self.observer.refused(spec, reason)

    def _arrays_to_store(self, outcome: Outcome) -> Arrays | None:
        """The run's arrays to store; no pictures and masks of a run whose pictures are not kept."""
        if outcome.predictions is None or outcome.record.id not in self.unpictured:
            return outcome.predictions
        return {key: array for key, array in outcome.predictions.items() if not isinstance(key, str | OfMasks)}

    def _report_stored(self, spec: RunSpec) -> None:
        """The record that a worker has written."""
        if record := self.store.peek(spec):
            self._tell_end(spec, record)
        else:
            self._tell_refusal(spec, f"the worker wrote a record, but there is none in {self.store.root}")
        self._release(spec)

    def _data_mismatch(self, record: RunRecord) -> str | None:
        known, found = self.data_hashes.get(record.id), record.provenance.data_hash
        if known is None or found is None or known == found:
            return None
        return (
            f"the worker's {record.spec.dataset.name} has the content hash {found[:12]}, not {known[:12]} as the data "
            "here; prepare it there from the same files"
        )

    def _hand_over(self, spec: RunSpec) -> None:
        """Another runner has the run."""
        self.here.pop(spec.id)
        self.observer.handed_over(spec)
        self.elsewhere.append(spec)

    def _release(self, spec: RunSpec) -> None:
        _, lease = self.here.pop(spec.id)
        if lease is not None:
            self.leases.release(lease)
