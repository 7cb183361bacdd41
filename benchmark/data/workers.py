"""Many small jobs over all processors: processes that share nothing, end with their parent, and never hang."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

import torch

from benchmark.arithmetic import VARIABLES
from benchmark.errors import UserError
from benchmark.processes import ForkContext

J = TypeVar("J")
R = TypeVar("R")

#: Processes that have imported what data sets need when they start.
JOB_PROCESSES = ForkContext(("benchmark.data",), VARIABLES)
#: The server takes seconds to start: with fewer jobs for each than this, one process does them all.
JOBS_PER_WORKER = 8


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Does jobs in worker processes, or in this one where there are too few to be worth it.

    Args:
        workers: processes at most.
        jobs: how many jobs there will be.
    """

    def __init__(self, workers: int, jobs: int) -> None:
        self.workers = max(1, min(workers, jobs // JOBS_PER_WORKER))
        self._executor: ProcessPoolExecutor | None = None
        if self.workers > 1:
            self._executor = ProcessPoolExecutor(self.workers, mp_context=JOB_PROCESSES, initializer=_begin)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)

    def run(self, work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R]]:
        """Do every job; yield each with its result as it ends.

        Raises:
            UserError: a worker process was killed.
            Exception: whatever a job raised; no further job is begun.
        """
        if self._executor is None:
            for job in jobs:
                yield job, work(job)
            return
        waiting = deque(jobs)
        futures: dict[Future[R], J] = {}
        try:
            while waiting or futures:
                # No more than needed to keep all busy: after Ctrl-C, what was handed out is waited for.
                while waiting and len(futures) <= self.workers:
                    job = waiting.popleft()
                    futures[self._executor.submit(work, job)] = job
                for future in wait_for(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, as the kernel does when memory runs out; the same command goes on from "
                "there, and needs less memory under 'taskset --cpu-list 0', which leaves it one process"
            ) from error
        finally:
            for future in futures:
                future.cancel()


def follow_parent() -> None:
    """To be called first in a new process: it ends with the one that started it, and leaves Ctrl-C to that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    Thread(target=end_with_parent, daemon=True).start()


def _begin() -> None:
    follow_parent()
    torch.set_num_threads(1)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, whatever killed that and whatever runs here."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
