"""What can do runs: the contract between the loop of a grid and the places where its runs are done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.data import Storage
from benchmark.spec import RunSpec
from benchmark.store import EpochRecord
from benchmark.training.hardware import Hardware
from benchmark.training.run import Outcome


@dataclass(frozen=True)
class Setup:
    """What every worker needs besides its runs."""

    storage: Storage
    hardware: Hardware
    plugins: tuple[Path, ...] = ()


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
class Ended:
    """The run came to an end of its own, good or bad."""

    run: str
    outcome: Outcome


@dataclass(frozen=True)
class Refused:
    """The run could not begin, for a reason that its user must mend."""

    run: str
    reason: str


@dataclass(frozen=True)
class Lost:
    """The worker is gone, and with it the run; it may be tried again."""

    run: str
    reason: str


Happening = Began | EpochDone | Ended | Refused | Lost


class Executor(Protocol):
    """A place where runs are done. Used by one thread."""

    def free(self) -> int:
        """How many more runs it takes now; the loop gives it no more than that."""

    def submit(self, spec: RunSpec) -> None:
        """Take a run."""

    def happenings(self, timeout: float) -> Sequence[Happening]:
        """What happened since the last call; waits up to ``timeout`` seconds for something to happen."""

    def cancel(self, run: str) -> None:
        """Stop a run that was submitted; nothing more is heard of it."""

    def close(self) -> None:
        """Stop everything; workers get the time to write a checkpoint."""
