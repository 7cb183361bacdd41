"""Runs on this machine: one process per worker, so that nothing that happens in a run can harm the others."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread
from typing import Any

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.execution.observer import Observer
from benchmark.registry import load_plugin_file
from benchmark.spec import RunSpec
from benchmark.store import EpochRecord, Store
from benchmark.training.hardware import Hardware
from benchmark.training.provenance import git_state
from benchmark.training.run import Outcome, execute, lost

#: How long a stopped worker may take to end before it is killed, in seconds.
GRACE = 5.0


@dataclass(frozen=True)
class Setup:
    """What every worker needs besides its runs."""

    storage: Storage
    hardware: Hardware
    plugins: tuple[Path, ...] = ()
    keep_predictions: bool = False


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(runs: int, hardware: Hardware) -> int:
    """As many runs at once as there are processors for their threads; one on a GPU."""
    return max(1, min(runs, cores() // hardware.threads)) if hardware.device == "cpu" else 1


def run_all(specs: Sequence[RunSpec], *, store: Store, setup: Setup, observer: Observer) -> None:
    """Do every run and put its record into ``store`` as it ends.

    ``setup.hardware.workers`` run at once. A worker that dies leaves a record of status ``failed``; after any run that
    did not go well a new one takes its place, since nobody knows what state the old one is in. When this function is
    left by an exception, such as Ctrl-C, the workers are stopped; every record in the store is whole.
    """
    pending = deque(specs)
    pool: list[_Worker] = []
    try:
        pool += (_Worker(setup) for _ in range(min(setup.hardware.workers, len(specs))))
        for worker in pool:
            worker.assign(pending, observer)
        while busy := [worker for worker in pool if worker.spec]:
            for worker in _ready(busy):
                if worker.receive(store, observer):
                    continue
                if not worker.sound and pending:
                    worker.stop()
                    place = pool.index(worker)
                    pool[place] = worker = _Worker(setup)
                worker.assign(pending, observer)
    finally:
        for worker in pool:
            worker.stop()


def _ready(workers: Iterable["_Worker"]) -> list["_Worker"]:
    by_connection = {worker.connection: worker for worker in workers}
    return [by_connection[connection] for connection in wait(list(by_connection)) if isinstance(connection, Connection)]


class _Worker:
    """A process that does one run at a time, and the run that it is doing."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self.setup = setup
        self.connection, there = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(there, setup), daemon=True)
        self.process.start()
        there.close()  # so that a dead worker reads as the end of the pipe
        self.spec: RunSpec | None = None
        self.sound = True

    def assign(self, pending: deque[RunSpec], observer: Observer) -> None:
        """Give the worker the next run, if there is one."""
        self.spec = pending.popleft() if pending else None
        if self.spec:
            observer.started(self.spec)
            try:
                self.connection.send(self.spec)
            except OSError:
                return  # it is dead: the next receive will say so

    def receive(self, store: Store, observer: Observer) -> bool:
        """Take one message; whether the run goes on."""
        assert self.spec is not None  # only busy workers are asked
        try:
            message: EpochRecord | Outcome | str = self.connection.recv()
        except (EOFError, OSError):
            self.sound = False
            self.process.join()
            message = lost(self.spec, _reason(self.process.exitcode), hardware=self.setup.hardware)
        if isinstance(message, EpochRecord):
            observer.epoch(self.spec, message)
            return True
        if isinstance(message, str):
            observer.refused(self.spec, message)
        else:
            self.sound = self.sound and message.record.status == "ok"
            store.put(message.record, message.predictions, message.truth)
            observer.finished(self.spec, message.record)
        return False

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.terminate()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, whatever killed that and whatever runs here."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ": the kernel does this when memory runs out" if -code == signal.SIGKILL else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended by itself with exit code {code}"


def _work(connection: "Connection[Any, Any]", setup: Setup) -> None:
    """A worker's life: runs come in, epochs and outcomes go out, until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    Thread(target=_end_with_parent, daemon=True).start()
    git_state()  # remembered from here on: this is the code that the process has just loaded
    for plugin in setup.plugins:
        load_plugin_file(plugin)
    try:
        while True:
            spec: RunSpec = connection.recv()
            try:
                outcome = execute(
                    spec,
                    storage=setup.storage,
                    hardware=setup.hardware,
                    on_epoch=connection.send,
                    keep_predictions=setup.keep_predictions,
                )
            except UserError as error:
                connection.send(str(error))
            else:
                connection.send(outcome)
    except (EOFError, OSError):
        return  # the parent is gone
