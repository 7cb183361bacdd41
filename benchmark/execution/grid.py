"""The loop of a grid: which run is given to whom, and what becomes of it. The same for every executor."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from time import monotonic, sleep

from benchmark.errors import UserError
from benchmark.execution.claims import Claim, Claims
from benchmark.execution.executor import Began, Ended, EpochDone, Executor, Happening, Lost, Note, Refused, Stored
from benchmark.execution.observer import Observer
from benchmark.files import sweep
from benchmark.record import RunRecord
from benchmark.spec import RunSpec
from benchmark.store import MASK_ENDS, MASK_LEVELS, MASKS, Stamp, Store
from benchmark.training.checkpoint import Policy, drop
from benchmark.training.hardware import Hardware
from benchmark.training.run import Arrays, Outcome, lost

#: Seconds that the loop waits for something to happen before it looks around.
PULSE = 1.0
#: Seconds between two looks at a run that another runner does.
LOOK = 2.0

#: Gives one more run, told the ids of those under way here; None where there is none for now.
Supply = Callable[[Collection[str]], RunSpec | None]

#: How a run ended that would end so again: its checkpoints are of no more use.
CONCLUSIVE = ("ok", "diverged")


def run_all(
    specs: Sequence[RunSpec],
    *,
    store: Store,
    executor: Executor,
    observer: Observer,
    hardware: Hardware,
    claims: Claims | None = None,
    retries: int = 0,
    data_hashes: Mapping[str, str] | None = None,
    checkpoints: Policy | None = None,
    unpictured: Collection[str] = (),
    deadline: float | None = None,
    supply: Supply | None = None,
) -> int:
    """Do every run once, among all runners on the store's folder, and put its record there as it ends.

    Runs that other runners have claimed are waited for, and done here where their owner dies. When this function is
    left by an exception, such as Ctrl-C, or at the deadline, the workers are stopped; every record in the store is
    whole.

    Args:
        hardware: what records of runs say whose worker was lost.
        claims: of this process; on the store's folder where None.
        retries: how often a run is given out again when its worker is lost.
        data_hashes: by run id the content hash of the data that its record must come from.
        checkpoints: of the runs, which are dropped when there is a record.
        unpictured: ids of runs whose pictures are not kept.
        deadline: by the monotonic clock, when to stop; None for when all is done.
        supply: asked for further runs, none of which has a record, whenever there is room for one. All is done when no
            run is left and there are no further ones.

    Returns:
        How many runs are left, which is 0 without a deadline.

    Raises:
        UserError: the folder cannot be written.
    """
    with claims or Claims(store.private / "claims") as held:
        loop = _Loop(specs, store, executor, observer, held)
        loop.hardware, loop.retries = hardware, retries
        loop.data_hashes, loop.checkpoints = dict(data_hashes or {}), checkpoints
        loop.unpictured, loop.supply = frozenset(unpictured), supply
        try:
            loop.go(inf if deadline is None else deadline)
        finally:
            for happening in executor.close():
                loop.take(happening)
        return loop.left


class _Loop:
    """The runs of one grid: pending, here, or elsewhere."""

    hardware: Hardware
    retries: int
    data_hashes: Mapping[str, str]
    checkpoints: Policy | None
    unpictured: frozenset[str]
    supply: Supply | None

    def __init__(
        self, specs: Sequence[RunSpec], store: Store, executor: Executor, observer: Observer, claims: Claims
    ) -> None:
        self.store = store
        self.executor = executor
        self.observer = observer
        self.claims = claims
        self.pending = deque(specs)
        self.here: dict[str, tuple[RunSpec, Claim | None]] = {}
        self.elsewhere: deque[RunSpec] = deque()
        self.before: dict[str, Stamp | None] = {spec.id: store.stamp(spec) for spec in specs}
        self.losses: Counter[str] = Counter()
        self.next_look = 0.0

    @property
    def left(self) -> int:
        """Runs that have not ended."""
        return len(self.pending) + len(self.here) + len(self.elsewhere)

    def go(self, deadline: float) -> None:
        """Until every run has ended, here or elsewhere, or time is up."""
        while monotonic() < deadline:
            self._fill_up()
            if not self.left:
                return
            self._look_elsewhere()
            while self.pending and self.executor.free() > 0:
                self._give_out(self.pending.popleft())
            if self.here:
                for happening in self.executor.happenings(PULSE):
                    self.take(happening)
            elif self.elsewhere and not self.pending:
                sleep(max(0.0, min(PULSE, self.next_look - monotonic())))

    def _fill_up(self) -> None:
        """As many further runs as there is room for."""
        while self.supply and not self.pending and self.executor.free() > 0:
            spec = self.supply({*self.here, *(run.id for run in self.elsewhere)})
            if spec is None:
                return
            self.before.setdefault(spec.id, None)  # a record that comes until it is claimed is another runner's
            self._give_out(spec)

    def _look_elsewhere(self) -> None:
        """Try again to take what others have; one of them may have died."""
        if self.elsewhere and monotonic() >= self.next_look:
            waiting, self.elsewhere = self.elsewhere, deque()
            for spec in waiting:
                if not self._finished_elsewhere(spec):
                    self.pending.append(spec)
            self.next_look = monotonic() + LOOK

    def _finished_elsewhere(self, spec: RunSpec) -> bool:
        """Whether another runner has left a record since this loop began."""
        if self.store.stamp(spec) == self.before[spec.id] or (record := self.store.peek(spec)) is None:
            return False
        self.observer.started(spec)
        self.observer.finished(spec, record)
        return True

    def _give_out(self, spec: RunSpec) -> None:
        if self.executor.stores:
            self.here[spec.id] = spec, None
            self.observer.started(spec)
            self.executor.submit(spec)
            return
        claim = self.claims.take(spec.id)
        if claim is None:
            if not self._finished_elsewhere(spec):
                self.elsewhere.append(spec)
            return
        # Only now is it sure that nobody is about to write a record.
        if self._finished_elsewhere(spec):
            self.claims.release(claim)
            return
        self.here[spec.id] = spec, claim
        self.observer.started(spec)
        self._clear_the_way(spec, claim)
        self.executor.submit(spec)

    def _clear_the_way(self, spec: RunSpec, claim: Claim) -> None:
        """Set an unusable record aside. Only the owner may: another's could have just been written."""
        if claim.generation > 1:  # somebody died over this run
            self._sweep(spec)
        try:
            self.store.get(spec)
        except UserError as error:
            aside = self.store.set_aside(spec)
            self.observer.note(spec, f"{error}; kept as {aside.name}, done again")

    def _sweep(self, spec: RunSpec) -> None:
        """Remove what was half written when a process was killed: it lists folders, which is too much for every run."""
        path = self.store.path(spec)
        for written in (path, path.with_suffix(".npz")):
            sweep(written)
        if self.checkpoints:
            sweep(self.checkpoints.folder / f"{spec.id}.ckpt")

    def take(self, happening: Happening) -> None:
        """Act on what an executor tells of a run."""
        if happening.run not in self.here:
            return
        spec, claim = self.here[happening.run]
        match happening:
            case Began():
                pass
            case EpochDone(epoch=epoch):
                if claim is None or self.claims.holds(claim):
                    self.observer.epoch(spec, epoch)
                else:  # this process was silent for so long that another took the run over
                    self.executor.cancel(spec.id)
                    self._leave(spec)
            case Note(text=text):
                self.observer.note(spec, text)
            case Refused(reason=reason):
                self.observer.refused(spec, reason)
                self._release(spec)
            case Lost(reason=reason):
                self.losses[spec.id] += 1
                if self.losses[spec.id] <= self.retries:
                    self._sweep(spec)
                    self.executor.submit(spec)
                else:
                    self._keep(spec, Ended(spec.id, lost(spec, reason, hardware=self.hardware)))
            case Ended():
                self._keep(spec, happening)
            case Stored():
                self._read(spec)

    def _keep(self, spec: RunSpec, ended: Ended) -> None:
        """Put the record of a run into the store, if it is this process's to do."""
        outcome = ended.outcome
        claim = self.here[spec.id][1]
        if claim is not None and not self.claims.holds(claim):
            self._leave(spec)
            return
        if reason := self._strange_data(outcome.record):
            self.observer.refused(spec, reason)
        else:
            self.store.put(outcome.record, self._kept(outcome), outcome.truth)
            if outcome.record.status in CONCLUSIVE and self.checkpoints and not self.checkpoints.keep:
                drop(self.checkpoints.folder, spec.id)
            self.observer.finished(spec, outcome.record)
        self._release(spec)

    def _kept(self, outcome: Outcome) -> Arrays | None:
        """What of a run's arrays goes into the store: of pictures, those of other seeds may do."""
        if outcome.predictions is None or outcome.record.id not in self.unpictured:
            return outcome.predictions
        tasks = {task.name for task in outcome.record.tasks}
        masks = (MASKS, MASK_ENDS, MASK_LEVELS)
        return {n: array for n, array in outcome.predictions.items() if n not in tasks and not n.startswith(masks)}

    def _read(self, spec: RunSpec) -> None:
        """The record that a worker has written."""
        if record := self.store.peek(spec):
            self.observer.finished(spec, record)
        else:
            self.observer.refused(spec, f"the worker wrote a record, but there is none in {self.store.root}")
        self._release(spec)

    def _strange_data(self, record: RunRecord) -> str | None:
        known, found = self.data_hashes.get(record.id), record.provenance.data_hash
        if known is None or found is None or known == found:
            return None
        return (
            f"the worker's {record.spec.dataset.name} has the content hash {found[:12]}, not {known[:12]} as the data "
            "here; prepare it there from the same files"
        )

    def _leave(self, spec: RunSpec) -> None:
        """Another runner has the run."""
        self.here.pop(spec.id)
        self.observer.handed_over(spec)
        self.elsewhere.append(spec)

    def _release(self, spec: RunSpec) -> None:
        _, claim = self.here.pop(spec.id)
        if claim is not None:
            self.claims.release(claim)
