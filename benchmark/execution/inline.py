"""Runs one at a time, in this very process where it can: for a job of a cluster that does one cell."""

from collections import deque
from collections.abc import Callable, Sequence

from benchmark.execution.apart import work_where_it_can
from benchmark.execution.executor import Happening, Lost, Setup
from benchmark.spec import RunSpec


class WorkerLost(Exception):
    """The process that did the run is gone: whoever gave the run out may give it out again."""


class InlineExecutor:
    """A run is done while one waits for what happens.

    Args:
        setup: of this process, whose plugins are loaded.
        tell: is told at once of what happens before a run's end.
        stop: asked between two steps whether the run is to stop; then ``happenings`` raises ``Stopped``.
    """

    stores = False

    def __init__(
        self,
        setup: Setup,
        tell: Callable[[Happening], None] = lambda _: None,
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

    def happenings(self, timeout: float) -> Sequence[Happening]:
        """See ``Executor``.

        Raises:
            WorkerLost: the run was done in a process of its own, which is gone.
        """
        if not self._waiting:
            return []
        happening = work_where_it_can(self._waiting.popleft(), self.setup, self.tell, self.stop)
        if isinstance(happening, Lost):
            raise WorkerLost(happening.reason)
        return [happening]

    def cancel(self, run: str) -> None:
        """See ``Executor``: a run that goes on here cannot be told."""

    def close(self) -> Sequence[Happening]:
        """See ``Executor``: nothing goes on here unless it is asked for."""
        return []
