"""Executors: the contract between the scheduler and the places where runs are done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.registry import load_plugin_files
from benchmark.runs.record import EpochRecord
from benchmark.runs.spec import RunSpec
from benchmark.training.checkpoint import Policy
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Outcome, Watcher
from benchmark.training.run import execute

#: Seconds that a worker gets to write a checkpoint when it is to end.
GRACE = 10.0


@dataclass(frozen=True)
class Setup:
    """What every worker needs besides its runs.

    Attributes:
        plugins: files, which are there for local workers.
        checkpoints: None keeps none.
        grace: seconds that a worker gets to write a checkpoint when it is to end.
        keep_predictions: whether runs bring their decisions for the whole test split.
        keep_model: whether they bring their network.
        spill: whether a run that ends out of memory is tried once more with its activations off the device.
        time_limit: seconds that a run may take; None for any time. A process that stands still can only be ended from
            outside: with a limit every run is done in a process of its own.
    """

    storage: Storage
    hardware: Hardware
    plugins: tuple[Path, ...] = ()
    checkpoints: Policy | None = None
    grace: float = GRACE
    keep_predictions: bool = False
    keep_model: bool = False
    spill: bool = False
    time_limit: float | None = None

    def load_plugins(self) -> None:
        """Register what the plugins hold, in this process.

        Raises:
            UserError: one cannot be loaded.
        """
        load_plugin_files(self.plugins)


@dataclass(frozen=True)
class Began:
    """A worker took the run up: at once, or after it stood in a cluster's queue."""

    run: str


@dataclass(frozen=True)
class EpochDone:
    """The run finished an epoch."""

    run: str
    epoch: EpochRecord


@dataclass(frozen=True)
class Note:
    """Something unusual, in one line, that does not end the run."""

    run: str
    text: str


@dataclass(frozen=True)
class Ended:
    """The run ended by itself, finished or failed."""

    run: str
    outcome: Outcome


@dataclass(frozen=True)
class RecordStored:
    """The run ended, and its worker has written the record into the store."""

    run: str


@dataclass(frozen=True)
class Refused:
    """The run could not begin, for a reason that the user must fix."""

    run: str
    reason: str


@dataclass(frozen=True)
class Lost:
    """The worker is gone, and with it the run.

    Attributes:
        final: whether it would be lost again, and is not to be tried once more.
    """

    run: str
    reason: str
    final: bool = False


def spilling(reason: str) -> str:
    """The note on a run that is tried once more."""
    return f"{reason}; tried once more with its activations off the device, which changes times only"


RunEvent = Began | EpochDone | Note | Ended | RecordStored | Refused | Lost


class Executor(Protocol):
    """A place where runs are done. Used by one thread.

    Attributes:
        stores: True where workers lease runs and write records themselves, in the store's folder, which they share.
    """

    stores: bool

    def free(self) -> int:
        """How many more runs it takes now; the loop gives it no more than that."""

    def submit(self, spec: RunSpec) -> None:
        """Take a run."""

    def events(self, timeout: float) -> Sequence[RunEvent]:
        """What happened since the last call; waits up to ``timeout`` seconds for something to happen."""

    def cancel(self, run: str) -> None:
        """Stop a run that was submitted; nothing more is heard of it."""

    def close(self) -> Sequence[RunEvent]:
        """Stop everything; workers get the time to write a checkpoint. The runs that ended meanwhile."""


def work(spec: RunSpec, setup: Setup, tell: Callable[[RunEvent], None], stop: Callable[[], bool]) -> Ended | Refused:
    """Do one run, in a worker that is set up.

    Args:
        tell: is told of what happens before the end.
        stop: asked between two steps whether the run is to stop.

    Raises:
        Stopped: it is; a checkpoint is written where the set-up has a folder for them.
    """
    watcher = Watcher(
        epoch=lambda epoch: tell(EpochDone(spec.id, epoch)),
        note=lambda text: tell(Note(spec.id, text)),
        stop=stop,
        checkpoints=setup.checkpoints,
        keep_predictions=setup.keep_predictions,
        keep_model=setup.keep_model,
    )
    try:
        outcome = execute(spec, storage=setup.storage, hardware=setup.hardware, watcher=watcher)
        if outcome.record.status == "out-of-memory" and setup.spill and not setup.hardware.spills:
            tell(Note(spec.id, spilling("out of memory")))
            outcome = execute(spec, storage=setup.storage, hardware=setup.hardware.spilling(), watcher=watcher)
        return Ended(spec.id, outcome)
    except UserError as error:
        return Refused(spec.id, str(error))
