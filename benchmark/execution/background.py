"""A run in a thread of its own, so that the main thread stays free to handle signals."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread

from benchmark.execution.apart import work_in_arithmetic
from benchmark.execution.executor import Ended, Lost, RecordStored, Refused, RunEvent, Setup
from benchmark.runs.spec import RunSpec
from benchmark.training.checkpoint import Stopped

#: Seconds between two checks for a signal: Python handles signals only between instructions of the main thread.
PULSE = 0.5


class Background:
    """One run in progress.

    Args:
        spec: the run.
        setup: of this process, whose plugins are loaded.
        loop: what does the run; ``work_in_arithmetic`` by default.
    """

    def __init__(self, spec: RunSpec, setup: Setup, loop: Callable[..., RunEvent] = work_in_arithmetic) -> None:
        self.spec = spec
        self.setup = setup
        self.stop = Event()
        self._queue: SimpleQueue[RunEvent | BaseException] = SimpleQueue()
        self._thread = Thread(target=self._work, args=(loop,), daemon=True)
        self._thread.start()

    def events(self) -> Iterator[RunEvent]:
        """What happens, to the end of the run.

        An exception in this thread, such as that of a signal, asks the run for a checkpoint, waits for it as long as
        the set-up grants, and is raised again.
        """
        try:
            while True:
                try:
                    event = self._queue.get(timeout=PULSE)
                except Empty:
                    continue
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, (Ended, RecordStored, Refused, Lost)):
                    return
        finally:
            self.end()

    def end(self) -> None:
        """Ask the run for a checkpoint, and wait for it."""
        self.stop.set()
        self._thread.join(self.setup.grace)

    def _work(self, loop: Callable[..., RunEvent]) -> None:
        try:
            self._queue.put(loop(self.spec, self.setup, self._queue.put, self.stop.is_set))
        except Stopped:
            self._queue.put(Lost(self.spec.id, "the worker was told to end"))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._queue.put(error)
