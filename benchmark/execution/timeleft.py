"""How long a grid in progress will still take, from what its runs took so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

#: Runs for each worker up to which the longest may end after all others.
FEW = 4


@dataclass
class _Running:
    """A run in progress.

    Attributes:
        begun, latest: when it was begun, and when it told last.
        first: when its first epoch was done, and the share of the run that this was.
        share: of the run that is done.
    """

    begun: float
    latest: float
    first: tuple[float, float] | None = None
    share: float = 0.0


class TimeLeft:
    """Seconds until the last run ends, at the pace of the runs so far.

    A run's first epoch tells nothing of the pace: in it is all that comes before training, starting a process,
    importing and loading. From the second on the time between epochs does, and what a run took that has ended.

    Args:
        work: of every run, by id, in any unit; runs take time in proportion to it.
        clock: seconds.
    """

    def __init__(self, work: Mapping[str, float], clock: Callable[[], float] = monotonic) -> None:
        self.work = work
        self.clock = clock
        self._waiting = dict(work)
        self._waiting_work = sum(work.values())
        self._ended_work = self._ended_seconds = 0.0
        self._running: dict[str, _Running] = {}
        self._most = 1

    def began(self, run: str) -> None:
        """A run was begun."""
        now = self.clock()
        self._waiting_work -= self._waiting.pop(run, 0.0)
        self._running[run] = _Running(now, now)
        self._most = max(self._most, len(self._running))

    def epoch(self, run: str, share: float) -> None:
        """A share of a run's epochs is done."""
        known = self._running[run]
        known.latest, known.share = self.clock(), share
        known.first = known.first or (known.latest, share)

    def end(self, run: str, seconds: float | None) -> None:
        """A run ended well, in so many seconds; None where it did not, which tells nothing of the others."""
        self._running.pop(run, None)
        if seconds:
            self._ended_work += self.work[run]
            self._ended_seconds += seconds

    def forget(self, run: str) -> None:
        """Another runner has the run."""
        self._running.pop(run, None)

    def seconds(self) -> float | None:
        """Until the last run ends; None while no run has done two epochs."""
        if (pace := self._pace()) is None:
            return None
        now = self.clock()
        left = {}
        for run, known in self._running.items():
            own = self._own_pace(run, known) or pace
            # Before the first epoch nobody knows how much of the time went by before training.
            since = now - known.latest if known.first else 0.0
            left[run] = max(0.0, own * self.work[run] * (1 - known.share) - since)
        places = min(self._most, len(left) + len(self._waiting)) or 1
        longest = max(left.values(), default=0.0)
        if 0 < len(self._waiting) <= FEW * places:  # where there are more, the sum of all is longer
            first = min(left.values()) if len(left) == self._most else 0.0
            longest = max(longest, first + pace * max(self._waiting.values()))
        return max((sum(left.values()) + pace * self._waiting_work) / places, longest)

    def _pace(self) -> float | None:
        """Seconds of a run for a unit of work."""
        work, seconds = self._ended_work, self._ended_seconds
        for run, known in self._running.items():
            if known.first and known.share > known.first[1]:
                work += self.work[run] * (known.share - known.first[1])
                seconds += known.latest - known.first[0]
        return seconds / work if work else None

    def _own_pace(self, run: str, known: _Running) -> float | None:
        if not known.first or known.share <= known.first[1]:
            return None
        return (known.latest - known.first[0]) / (self.work[run] * (known.share - known.first[1]))
