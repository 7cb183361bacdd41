"""Runs on this machine: one process per worker, so that nothing that happens in a run can harm the others."""

import math
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from time import monotonic, sleep
from typing import Any

from benchmark.arithmetic import VARIABLES, Arithmetic, environment_for
from benchmark.data.workers import cores, follow_parent
from benchmark.execution.executor import Ended, EpochDone, Lost, Note, Refused, RunEvent, Setup, spilling, work
from benchmark.processes import ForkContext
from benchmark.runs.files import sweep
from benchmark.runs.spec import RunSpec
from benchmark.training.checkpoint import SUFFIX, Stopped
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Outcome
from benchmark.training.provenance import git_state

#: Workers that have imported all that a run needs when they start.
RUN_PROCESSES = ForkContext(("benchmark.execution.preload",), VARIABLES)


def default_workers(runs: int, hardware: Hardware) -> int:
    """As many runs at once as there are processors for their threads; one on a GPU, see ``sharing``.

    On the CPU two runs of one thread each do more than one of two: threads wait for each other in every operation.
    """
    return max(1, min(runs, cores() // hardware.threads)) if hardware.device == "cpu" else 1


class LocalExecutor:
    """A pool of processes: ``setup.hardware.workers`` at most, each started for the arithmetic of its runs.

    After any run that did not go well a new process takes the place of its own, since nobody knows what state that is
    in; and where there are plugins, after every run, since not all that foreign code changes can be seen.
    """

    stores = False

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.pool: list[_Worker] = []
        #: Runs whose worker was killed, and which now spill.
        self.spilling: set[str] = set()

    def free(self) -> int:
        """See ``Executor``."""
        return self.setup.hardware.workers - sum(worker.run is not None for worker in self.pool)

    def submit(self, spec: RunSpec) -> None:
        """See ``Executor``."""
        arithmetic = spec.protocol.arithmetic
        idle = [worker for worker in self.pool if worker.run is None]
        fit = next((worker for worker in idle if worker.arithmetic == arithmetic), None)
        if fit is None:
            for other in idle[: max(0, len(self.pool) + 1 - self.setup.hardware.workers)]:
                self._end(other)
            fit = _Worker(self.setup, arithmetic)
            self.pool.append(fit)
        fit.assign(spec, spills=spec.id in self.spilling)

    def events(self, timeout: float) -> Sequence[RunEvent]:
        """See ``Executor``."""
        busy = {worker.connection: worker for worker in self.pool if worker.run is not None}
        if not busy:
            sleep(timeout)
            return []
        for worker in busy.values():
            timeout = min(timeout, worker.enforce(self.setup))
        ready = [busy[connection] for connection in wait(list(busy), timeout) if isinstance(connection, Connection)]
        found = [(worker, worker.receive()) for worker in ready]
        self._replace_unsound()
        return [self._second_try(worker, event) for worker, event in found]

    def _second_try(self, worker: "_Worker", event: RunEvent) -> RunEvent:
        """A run whose worker was killed is given out once more, to spill, where that was asked for: a note."""
        wanted = self.setup.spill and worker.process.exitcode == -signal.SIGKILL
        if not isinstance(event, Lost) or event.final or not wanted or event.run in self.spilling:
            return event
        assert worker.spec is not None  # it had a run
        self.spilling.add(event.run)
        if self.setup.checkpoints:
            sweep(self.setup.checkpoints.folder / f"{event.run}{SUFFIX}")
        self.submit(worker.spec)
        return Note(event.run, spilling(event.reason))

    def cancel(self, run: str) -> None:
        """See ``Executor``."""
        for worker in [worker for worker in self.pool if worker.run == run]:
            worker.sound = False
            worker.run = None
        self._replace_unsound()

    def close(self) -> Sequence[RunEvent]:
        """Stop all at once, and wait for their checkpoints, or for the records of those that were about to end."""
        deadline = monotonic() + self.setup.grace
        for worker in self.pool:
            worker.process.terminate()
        last: list[RunEvent] = []
        for worker in self.pool:
            last += worker.endings(deadline)
            worker.stop(max(0.0, deadline - monotonic()))
        self.pool.clear()
        return last

    def _replace_unsound(self) -> None:
        for worker in [worker for worker in self.pool if not worker.sound and worker.run is None]:
            self._end(worker)

    def _end(self, worker: "_Worker") -> None:
        worker.process.terminate()
        worker.stop(self.setup.grace)
        self.pool.remove(worker)


class _Worker:
    """A process that does one run at a time, and the run that it is doing."""

    def __init__(self, setup: Setup, arithmetic: Arithmetic) -> None:
        self.connection, there = RUN_PROCESSES.Pipe()
        self.process = RUN_PROCESSES.Process(target=_serve, args=(there, setup), daemon=True)
        self.arithmetic = arithmetic
        self.once = bool(setup.plugins)
        with environment_for(arithmetic):
            self.process.start()
        there.close()  # so that a dead worker reads as the end of the pipe
        self.run: str | None = None
        self.spec: RunSpec | None = None
        self.sound = True
        self.begun = monotonic()
        #: The time limit that the run has passed, in seconds.
        self.passed: float | None = None

    def assign(self, spec: RunSpec, spills: bool) -> None:
        """Give the worker a run."""
        self.run, self.spec, self.begun = spec.id, spec, monotonic()
        try:
            self.connection.send((spec, spills))
        except OSError:
            return  # it is dead: the next receive will say so

    def enforce(self, setup: Setup) -> float:
        """Ask a run to end whose time is up, and end its process after the grace; seconds until this is to be done."""
        if setup.time_limit is None:
            return math.inf
        left = self.begun + setup.time_limit - monotonic()
        if left <= 0 and self.passed is None:
            self.passed = setup.time_limit
            self.process.terminate()
        if left + setup.grace <= 0:
            self.process.kill()  # it does not come to an end of its step
        return max(0.0, left if left > 0 else left + setup.grace)

    def receive(self) -> RunEvent:
        """Take one message."""
        assert self.run is not None  # only busy workers are asked
        try:
            event: RunEvent = self.connection.recv()
        except (EOFError, OSError):
            self.sound = False
            self.process.join()
            event = Lost(self.run, self._reason(), final=self.passed is not None)
        if not isinstance(event, (EpochDone, Note)):
            self.run = None
            well = isinstance(event, Refused) or (isinstance(event, Ended) and _went_well(event.outcome))
            self.sound = self.sound and well and not self.once and self.passed is None
        return event

    def _reason(self) -> str:
        if self.passed is None:
            return _reason(self.process.exitcode)
        return (
            f"it took longer than its time limit of {self.passed:g} s, and was ended; it may stand still, or need a "
            "greater --time-limit"
        )

    def endings(self, deadline: float) -> Iterator[Ended]:
        """The end of the run, where there is one, of a process that has been told to end."""
        while self.run is not None and self.connection.poll(max(0.0, deadline - monotonic())):
            if isinstance(event := self.receive(), Ended):
                yield event

    def stop(self, grace: float) -> None:
        """End the process, which has been told to end, whatever it is doing."""
        self.connection.close()
        self.process.join(grace)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _went_well(outcome: Outcome) -> bool:
    """Without a try that ended out of memory, or anything else that may stay in the process."""
    return outcome.sound and outcome.record.status == "ok" and not outcome.record.cost.spilled


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ": the kernel does this when memory runs out" if -code == signal.SIGKILL else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended by itself with exit code {code}"


class _Ending:
    """The wish of whoever started this process that it end: at once while it waits, after the step while it trains."""

    def __init__(self) -> None:
        self.wished = False
        self.training = False
        signal.signal(signal.SIGTERM, self._wish)

    def _wish(self, number: int, frame: object) -> None:
        self.wished = True
        if not self.training:
            os._exit(0)


def _serve(connection: "Connection[Any, Any]", setup: Setup) -> None:
    """A worker's life: runs come in, events go out, until the other side closes."""
    follow_parent()
    ending = _Ending()
    git_state()  # remembered from here on, and known already where a server has loaded the code
    setup.load_plugins()

    def tell(event: RunEvent) -> None:
        try:
            connection.send(event)
        except OSError:
            ending.wished = True  # nobody listens any more

    try:
        while True:
            spec, spills = connection.recv()
            ending.training = True
            given = replace(setup, hardware=setup.hardware.spilling()) if spills else setup
            tell(work(spec, given, tell, lambda: ending.wished))
            ending.training = False
            if ending.wished:
                return
    except (EOFError, OSError, Stopped):
        return  # the parent is gone, or wants this process to be
