"""What a grid in progress tells whoever watches it."""

from typing import Protocol

from benchmark.runs.record import EpochRecord, RunRecord
from benchmark.runs.spec import RunSpec


class Observer(Protocol):
    """Told of every event of a grid, in the process that started it."""

    def started(self, spec: RunSpec) -> None:
        """A worker began this run."""

    def epoch(self, spec: RunSpec, epoch: EpochRecord) -> None:
        """The run finished an epoch."""

    def finished(self, spec: RunSpec, record: RunRecord) -> None:
        """The run's record is in the store."""

    def refused(self, spec: RunSpec, reason: str) -> None:
        """The run could not begin; there is no record."""

    def handed_over(self, spec: RunSpec) -> None:
        """Another runner has taken the run over; its record will come from there."""

    def note(self, spec: RunSpec, text: str) -> None:
        """Something unusual, in one line, that does not end the run."""
