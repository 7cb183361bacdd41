"""What is known of a run while it is on, what comes of it, and who follows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np

from benchmark.runs.artifacts import Arrays
from benchmark.runs.record import Cost, EpochRecord, Numerics, OptimizerGroup, RunRecord
from benchmark.training import provenance as source
from benchmark.training.checkpoint import Policy


@dataclass(frozen=True)
class Outcome:
    """A record; and, of a run that went well, what is kept beside it.

    Attributes:
        record: of the run.
        predictions: decisions for the pictured test samples, and what else was to be kept, see
            ``benchmark.runs.artifacts``.
        truth: the pictured samples themselves: ``image``, ``id`` and a target per task.
        sound: False where the process should do no other run.
        traceback: of a run that failed, all of it, with paths of the machine that did it.
    """

    record: RunRecord
    predictions: Arrays | None = None
    truth: dict[str, np.ndarray] | None = None
    sound: bool = True
    traceback: str | None = None


@dataclass
class Progress:
    """What is known of a run so far: all that its record will say, however it ends."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Asked at the start: what is committed while a run is on did not make its numbers.
    git: tuple[str | None, bool | None] = field(default_factory=lambda: source.git_state())
    clock: float = field(default_factory=perf_counter)
    #: Seconds of the run before it was resumed here.
    earlier: float = 0.0
    curves: list[EpochRecord] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    fallbacks: int | None = None
    predictions: Arrays | None = None
    truth: dict[str, np.ndarray] | None = None
    sound: bool = True
    traceback: str | None = None
    #: Of the process that did the run; None where that is gone.
    numerics: Numerics | None = None
    #: Times that the run went on from a checkpoint.
    resumed: int = 0
    optimizer_groups: tuple[OptimizerGroup, ...] = ()
    trace: Mapping[int, str] = field(default_factory=dict)

    def learn(self, **cost: int | float | None) -> None:
        """Fill in parts of the cost; the peak is the highest that was ever learnt."""
        if (peak := cost.get("peak_bytes")) is not None and self.cost.peak_bytes is not None:
            cost["peak_bytes"] = max(int(peak), self.cost.peak_bytes)
        self.cost = self.cost.model_copy(update=cost)

    def keep(self, arrays: Arrays) -> None:
        """Keep further arrays beside the record."""
        self.predictions = (self.predictions or {}) | arrays

    def seconds(self) -> float:
        """Wall time, without that between an interruption and its resumption."""
        return self.earlier + perf_counter() - self.clock

    def state(self, peak_bytes: int | None) -> dict[str, Any]:
        """What a checkpoint must know, in plain containers."""
        self.learn(peak_bytes=peak_bytes)
        return {
            "started": self.started.isoformat(),
            "git": list(self.git),
            "seconds": self.seconds(),
            "curves": [epoch.model_dump_json() for epoch in self.curves],
            "peak_bytes": self.cost.peak_bytes,
            "spilled": self.cost.spilled,
            "resumed": self.resumed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        curves = [EpochRecord.model_validate_json(text) for text in state["curves"]]
        if [epoch.epoch for epoch in curves] != list(range(1, int(state["epoch"]) + 1)):
            raise ValueError("its curves are not those of its epochs")
        if state["peak_bytes"] is not None and not isinstance(state["peak_bytes"], int):
            raise ValueError("its peak is no number of bytes")
        if not isinstance(state["git"][0], str | None) or not isinstance(state["git"][1], bool | None):
            raise ValueError("its commit is none")
        if not isinstance(state["spilled"], bool):
            raise ValueError("whether activations were spilled is no truth value")
        if not isinstance(state["resumed"], int):
            raise ValueError("how often it was resumed is no number")
        started, (commit, dirty), seconds = (
            datetime.fromisoformat(state["started"]),
            state["git"],
            float(state["seconds"]),
        )
        self.learn(peak_bytes=state["peak_bytes"], spilled=self.cost.spilled or state["spilled"])
        self.curves, self.started, self.git, self.earlier = curves, started, (commit, dirty), seconds
        self.resumed = state["resumed"] + 1


def nothing(_: object) -> None:
    """Whoever asked is not told."""


@dataclass(frozen=True)
class Watcher:
    """Who follows a run, and may stop it.

    Attributes:
        epoch: told of each epoch that is done here.
        note: told in one line of what is unusual and stops nothing.
        stop: asked between two steps whether the run is to stop.
        checkpoints: None keeps none.
        keep_predictions: whether the outcome also holds the last epoch's decisions for the whole test split.
        keep_model: whether it also holds the network after the last epoch.
    """

    epoch: Callable[[EpochRecord], None] = nothing
    note: Callable[[str], None] = nothing
    stop: Callable[[], bool] = lambda: False
    checkpoints: Policy | None = None
    keep_predictions: bool = False
    keep_model: bool = False
