"""Runs as elements of array jobs of Slurm, through submitit, which needs a folder that all nodes share.

Each element is a small runner: it leases its run, does it or goes on from its checkpoint, and writes the record. So
what is queued or runs goes on when the driver ends, and a second driver does no harm.
"""

import json
import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import current_thread, main_thread
from time import monotonic, sleep
from typing import Any

from benchmark.errors import UserError
from benchmark.execution.background import Background
from benchmark.execution.executor import EpochDone, Lost, Note, RecordStored, Refused, RunEvent, Setup
from benchmark.execution.inline import InlineExecutor
from benchmark.execution.remote import Parcel, prepared
from benchmark.execution.scheduler import run_all
from benchmark.runs.code import is_done
from benchmark.runs.record import EpochRecord, RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store

#: Elements of one array, and runs that are queued at once: Slurm's usual MaxArraySize is 1001.
ARRAY = 1000
#: Seconds between two checks of jobs and their progress.
CHECK_INTERVAL = 2.0
#: Seconds between two queries of Slurm's queue, which many users share, and until a job without result that is not in
#: it is lost: NFS clients may not see a new file for up to a minute (nfs(5), acdirmax).
QUEUE_LOOK = 30.0
GONE = 75.0
#: Seconds for which an element that was told to end waits for its end. Slurm queues again those that it preempts, but
#: not those that leave before their grace is over.
STAY = 600.0


@dataclass
class Element:
    """What an element of the array does; submitit calls it, and ``checkpoint`` before time is up.

    When it is preempted or cancelled, it only gets SIGTERM, some time before it is killed: then it writes a checkpoint,
    gives its lease up and stays.

    Attributes:
        text: the run's spec as JSON.
        root: the folder of records.
        progress: the file in which the driver reads how far the run is.
        data_hash: of the data that the record must come from.
        pictures: whether its pictures are kept.
    """

    text: str
    parcel: Parcel
    root: Path
    progress: Path
    data_hash: str | None
    pictures: bool = True
    _run: Background | None = field(default=None, repr=False)
    _terminating: bool = field(default=False, repr=False)

    def __call__(self) -> dict[str, str]:
        """Do the run: what came of it, in words that outlive versions."""
        with self._handling_sigterm():
            said = self._do()
            deadline = monotonic() + STAY
            while self._terminating and "Lost" in said and monotonic() < deadline:
                sleep(CHECK_INTERVAL)
        return said

    def _do(self) -> dict[str, str]:
        spec = RunSpec.model_validate_json(self.text)
        try:
            setup = self.parcel.unpack()
            prepared(spec, setup)
            cell = partial(_cell, root=self.root, data_hash=self.data_hash, pictures=self.pictures)
            self._run = Background(spec, setup, cell)
            if self._terminating:
                self._run.end()
            for event in self._run.events():
                match event:
                    case EpochDone(epoch=epoch):
                        self._write(epoch=json.loads(epoch.model_dump_json()))
                    case Note(text=text):
                        self._write(note=text)
                    case Refused(reason=reason) | Lost(reason=reason):
                        return {type(event).__name__: reason}
        except UserError as error:
            return {"Refused": str(error)}
        return {"Stored": spec.id}

    def checkpoint(self) -> Any:
        """Stop the run after its step, and queue it again; it goes on from its checkpoint."""
        import submitit

        if self._run:
            self._run.end()
        self._run = None
        return submitit.helpers.DelayedSubmission(self)

    @contextmanager
    def _handling_sigterm(self) -> Iterator[None]:
        """Handle SIGTERM, which submitit ignores, within the context."""
        self._terminating = False
        if current_thread() is not main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._end)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _end(self, number: int, frame: object) -> None:
        self._terminating = True
        if self._run:
            self._run.end()

    def _write(self, **what: Any) -> None:
        with suppress(OSError), self.progress.open("a") as file:  # progress is no part of the result
            file.write(json.dumps(what) + "\n")


def _cell(
    spec: RunSpec, setup: Setup, tell: Any, stop: Any, *, root: Path, data_hash: str | None, pictures: bool = True
) -> RecordStored | Refused:
    """One run by the loop of a grid of its own, among all others on the folder."""
    store, observer = Store(root), _NoteObserver(tell)
    known = store.peek(spec)
    if is_done(known, spec):
        return RecordStored(spec.id)
    run_all(
        [spec],
        store=store,
        executor=InlineExecutor(setup, tell, stop),
        observer=observer,
        hardware=setup.hardware,
        data_hashes={spec.id: data_hash} if data_hash else {},
        checkpoints=setup.checkpoints,
        unpictured=() if pictures else (spec.id,),
    )
    return Refused(spec.id, observer.reason) if observer.reason else RecordStored(spec.id)


class _NoteObserver:
    """An observer that passes notes on."""

    def __init__(self, tell: Any) -> None:
        self.tell = tell
        self.reason: str | None = None

    def started(self, spec: RunSpec) -> None:
        """See ``Observer``."""

    def epoch(self, spec: RunSpec, epoch: EpochRecord) -> None:
        """See ``Observer``."""

    def finished(self, spec: RunSpec, record: RunRecord) -> None:
        """See ``Observer``."""

    def refused(self, spec: RunSpec, reason: str) -> None:
        """See ``Observer``."""
        self.reason = reason

    def handed_over(self, spec: RunSpec) -> None:
        """See ``Observer``."""

    def note(self, spec: RunSpec, text: str) -> None:
        """See ``Observer``."""
        self.tell(Note(spec.id, text))


class SlurmExecutor:
    """Array jobs, one element a run.

    Args:
        parcel: what every element needs.
        store: whose folder all nodes share; jobs, their logs and progress are in its private folder.
        data_hashes: by run id, of the data that the record must come from.
        unpictured: ids of runs whose pictures are not kept.
        parameters: of submitit's ``AutoExecutor``, such as ``timeout_min`` or ``slurm_partition``.
        cluster: ``slurm``; ``local`` runs the elements as processes here.

    Raises:
        UserError: submitit is not installed, there is no Slurm here, or a parameter is unknown.
    """

    stores = True

    def __init__(
        self,
        parcel: Parcel,
        *,
        store: Store,
        data_hashes: Mapping[str, str],
        parameters: Mapping[str, Any],
        unpictured: Collection[str] = (),
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError("the executor 'slurm' needs submitit: pip install 'mtbench[slurm]'") from error
        self.parcel, self.store, self.data_hashes = parcel, store, data_hashes
        self.unpictured = frozenset(unpictured)
        self.folder = store.private.resolve() / "slurm"
        try:
            (self.folder / "progress").mkdir(parents=True, exist_ok=True)
            self.submitit: Any = submitit.AutoExecutor(folder=self.folder / "%j", cluster=cluster)
            self.submitit.update_parameters(name="mtbench", cpus_per_task=parcel.threads, **parameters)
        except (OSError, RuntimeError, NameError, TypeError, ValueError) as error:
            raise UserError(f"Slurm cannot be used ({error}); see --slurm and submitit's parameters") from error
        self._waiting: list[RunSpec] = []
        self._jobs: dict[str, Any] = {}
        self._read: dict[str, int] = {}
        self._queue = _Queue() if cluster == "slurm" else None

    def free(self) -> int:
        """See ``Executor``."""
        return ARRAY - len(self._jobs) - len(self._waiting)

    def submit(self, spec: RunSpec) -> None:
        """See ``Executor``: elements are gathered until the loop has no more, and become one array."""
        self._waiting.append(spec)

    def events(self, timeout: float) -> Sequence[RunEvent]:
        """See ``Executor``."""
        self._flush()
        deadline = monotonic() + max(timeout, CHECK_INTERVAL)
        while True:
            found = [event for run in list(self._jobs) for event in self._news(run)]
            if found or monotonic() >= deadline:
                return found
            sleep(min(CHECK_INTERVAL, max(0.0, deadline - monotonic())))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            with self.submitit.batch():
                jobs = [self.submitit.submit(self._element(spec)) for spec in waiting]
        except (OSError, RuntimeError) as error:
            raise UserError(f"Slurm does not take the jobs ({' '.join(str(error).split())[:300]})") from error
        self._jobs |= {spec.id: job for spec, job in zip(waiting, jobs, strict=True)}

    def _element(self, spec: RunSpec) -> Element:
        progress = self._progress(spec.id)
        progress.unlink(missing_ok=True)
        self._read[spec.id] = 0
        root = self.store.root.resolve()
        data_hash, pictures = self.data_hashes.get(spec.id), spec.id not in self.unpictured
        return Element(spec.model_dump_json(), self.parcel, root, progress, data_hash, pictures)

    def _progress(self, run: str) -> Path:
        return self.folder / "progress" / f"{run}.jsonl"

    def _news(self, run: str) -> list[RunEvent]:
        job = self._jobs[run]
        ended = self._has_ended(job)
        found = self._lines(run)
        if ended:
            del self._jobs[run]
            found.append(self._end(run, job))
        return found

    def _has_ended(self, job: Any) -> bool:
        # submitit would ask for the accounts, which not every Slurm keeps, and whose delays it makes longer still.
        return (
            job.done() if self._queue is None else job.paths.result_pickle.exists() or self._queue.is_gone(job.job_id)
        )

    def _lines(self, run: str) -> list[RunEvent]:
        """What the run's element has written since the last look; a line in the making waits."""
        try:
            with self._progress(run).open("rb") as file:
                file.seek(self._read[run])
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read[run] += len(whole)
        found: list[RunEvent] = []
        for line in whole.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                what = json.loads(line)
                epoch = what.get("epoch")
                found.append(EpochDone(run, EpochRecord.model_validate(epoch)) if epoch else Note(run, what["note"]))
        return found

    def _end(self, run: str, job: Any) -> RunEvent:
        try:
            if not job.paths.result_pickle.exists():  # of which submitit would wait some more
                raise FileNotFoundError(job.stderr() or "it left no word")
            said = job.result()
        except Exception as error:  # noqa: BLE001 - whatever ended a job elsewhere: submitit raises what it finds
            return Lost(run, f"job {job.job_id} ended without a result: {' '.join(str(error).split())[-300:]}")
        kind, text = next(iter(said.items()))
        if kind == "Stored":
            return RecordStored(run)
        return Refused(run, text) if kind == "Refused" else Lost(run, text)

    def cancel(self, run: str) -> None:
        """See ``Executor``."""
        if job := self._jobs.pop(run, None):
            job.cancel()

    def close(self) -> Sequence[RunEvent]:
        """Leave the jobs: they go on without a driver, and write their records themselves."""
        return []


class _Queue:
    """What Slurm still has to do for this user: waiting, running, ending or about to go on."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._asked = -QUEUE_LOOK
        self._answered: float | None = None
        self._missed: dict[str, float] = {}

    def is_gone(self, job: str) -> bool:
        """Whether Slurm has not known a job for so long that its result would have been seen."""
        if monotonic() - self._asked >= QUEUE_LOOK:
            self._ask()
        if job in self._known or self._answered is None:
            self._missed.pop(job, None)
            return False
        return self._answered - self._missed.setdefault(job, self._answered) >= GONE

    def _ask(self) -> None:
        """Ask Slurm. While it does not answer, no waiting time counts, so that no job is taken for lost."""
        self._asked = monotonic()
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
        with suppress(OSError, subprocess.SubprocessError):
            found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            self._known, self._answered = frozenset(found.stdout.split()), monotonic()
