"""Runs one at a time, in this process where its arithmetic allows: for a cluster's job that does one run."""

from collections import deque
from collections.abc import Callable, Sequence

from benchmark.execution.apart import work_in_arithmetic
from benchmark.execution.executor import Lost, RunEvent, Setup
from benchmark.runs.spec import RunSpec


class WorkerLost(Exception):
    """The process that did the run is gone: whoever gave the run out may give it out again."""


class InlineExecutor:
    """Does a run inside ``events``.

    Args:
        setup: of this process, whose plugins are loaded.
        tell: is told at once of what happens before a run's end.
        stop: asked between two steps whether the run is to stop; then ``events`` raises ``Stopped``.
    """

    stores = False

    def __init__(
        self,
        setup: Setup,
        tell: Callable[[RunEvent], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.setup = setup
        self.tell = tell
        self.stop = stop
        self._waiting: deque[RunSpec] = deque()

    def free(self) -> int:
        """See ``Executor``."""
        return 1 - len(self._waiting)

    def submit(self, spec: RunSpec) -> None:
        """See ``Executor``."""
        self._waiting.append(spec)

    def events(self, timeout: float) -> Sequence[RunEvent]:
        """See ``Executor``.

        Raises:
            WorkerLost: the run was done in a process of its own, which is gone.
        """
        if not self._waiting:
            return []
        event = work_in_arithmetic(self._waiting.popleft(), self.setup, self.tell, self.stop)
        if isinstance(event, Lost) and not event.final:
            raise WorkerLost(event.reason)
        return [event]

    def cancel(self, run: str) -> None:
        """See ``Executor``: nothing to do, since no run is in progress between calls."""

    def close(self) -> Sequence[RunEvent]:
        """See ``Executor``: nothing to stop, since no run is in progress between calls."""
        return []
