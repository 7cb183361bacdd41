"""Runs and function calls in a separate process, where this one was not started for the arithmetic that they need."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from benchmark.arithmetic import Arithmetic, environment_for, started_for
from benchmark.data.workers import follow_parent
from benchmark.execution.executor import Ended, Lost, Refused, RunEvent, Setup, work
from benchmark.execution.local import RUN_PROCESSES, LocalExecutor
from benchmark.registry import load_plugin_files
from benchmark.runs.spec import RunSpec
from benchmark.training.checkpoint import Stopped

T = TypeVar("T")

#: Whether a run here has changed this process so that it should do no other.
_changed = False

#: Seconds between two checks whether the run is to stop.
PULSE = 0.5


def work_in_arithmetic(
    spec: RunSpec, setup: Setup, tell: Callable[[RunEvent], None], stop: Callable[[], bool]
) -> Ended | Refused | Lost:
    """``executor.work`` in this process, or in one that is started for the run's arithmetic or to have a time limit.

    After a run that has changed this process, those that follow get a process of their own.

    Raises:
        Stopped: the run is to stop; a checkpoint is written where the set-up has a folder for them.
    """
    global _changed
    if started_for(spec.protocol.arithmetic) and not _changed and setup.time_limit is None:
        ended = work(spec, setup, tell, stop)
        _changed = isinstance(ended, Ended) and not ended.outcome.sound
        return ended
    executor = LocalExecutor(replace(setup, hardware=replace(setup.hardware, workers=1)))
    try:
        executor.submit(spec)
        while not stop():
            for event in executor.events(PULSE):
                if isinstance(event, Lost) and stop():
                    raise Stopped  # whoever asked this process to end may have asked the other one, too
                if isinstance(event, (Ended, Refused, Lost)):
                    return event
                tell(event)
        raise Stopped
    finally:
        executor.close()


def call_in(arithmetic: Arithmetic, plugins: Sequence[Path], function: Callable[..., T], *args: object) -> T:
    """The result of a function in a process that computes in this arithmetic, with the plugins loaded.

    Raises:
        Exception: what the function raises.
    """
    if started_for(arithmetic):
        return function(*args)
    pool = ProcessPoolExecutor(1, mp_context=RUN_PROCESSES, initializer=_begin, initargs=(tuple(plugins),))
    with environment_for(arithmetic), pool:
        try:
            return pool.submit(function, *args).result()
        except KeyboardInterrupt:  # the pool would wait for the function's end
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin(plugins: Sequence[Path]) -> None:
    follow_parent()
    load_plugin_files(plugins)
