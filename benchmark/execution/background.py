"""A run in a thread, so that the thread of its process stays free to hear that it is to end."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread

from benchmark.execution.apart import work_where_it_can
from benchmark.execution.executor import Ended, Happening, Lost, Refused, Setup, Stored
from benchmark.spec import RunSpec
from benchmark.training.checkpoint import Stopped

#: Seconds between two looks for a signal, which Python handles between two instructions of the main thread only.
PULSE = 0.5


class Background:
    """One run in progress.

    Args:
        spec: the run.
        setup: of this process, whose plugins are loaded.
        loop: what does the run; ``work_where_it_can`` by default.
    """

    def __init__(self, spec: RunSpec, setup: Setup, loop: Callable[..., Happening] = work_where_it_can) -> None:
        self.spec = spec
        self.setup = setup
        self.stop = Event()
        self._queue: SimpleQueue[Happening | BaseException] = SimpleQueue()
        self._thread = Thread(target=self._work, args=(loop,), daemon=True)
        self._thread.start()

    def happenings(self) -> Iterator[Happening]:
        """What happens, to the end of the run.

        An exception in this thread, such as that of a signal, asks the run for a checkpoint, waits for it as long as
        the set-up grants, and goes on its way.
        """
        try:
            while True:
                try:
                    happening = self._queue.get(timeout=PULSE)
                except Empty:
                    continue
                if isinstance(happening, BaseException):
                    raise happening
                yield happening
                if isinstance(happening, (Ended, Stored, Refused, Lost)):
                    return
        finally:
            self.end()

    def end(self) -> None:
        """Ask the run for a checkpoint, and wait for it."""
        self.stop.set()
        self._thread.join(self.setup.grace)

    def _work(self, loop: Callable[..., Happening]) -> None:
        try:
            self._queue.put(loop(self.spec, self.setup, self._queue.put, self.stop.is_set))
        except Stopped:
            self._queue.put(Lost(self.spec.id, "the worker was told to end"))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._queue.put(error)
