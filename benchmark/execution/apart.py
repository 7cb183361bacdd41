"""Work in a process of its own, where this one was not started for the arithmetic that the work needs."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from benchmark.arithmetic import Arithmetic, environment_for, started_for
from benchmark.data.workers import follow_parent
from benchmark.execution.executor import Ended, Happening, Lost, Refused, Setup, work
from benchmark.execution.local import LocalExecutor
from benchmark.registry import load_plugin_file
from benchmark.spec import RunSpec
from benchmark.training.checkpoint import Stopped

T = TypeVar("T")

#: Seconds between two looks whether the run is to stop.
PULSE = 0.5


def work_where_it_can(
    spec: RunSpec, setup: Setup, tell: Callable[[Happening], None], stop: Callable[[], bool]
) -> Ended | Refused | Lost:
    """``executor.work`` in this process, or in one that is started for the run's arithmetic.

    Raises:
        Stopped: the run is to stop; a checkpoint is written where the set-up has a folder for them.
    """
    if started_for(spec.protocol.arithmetic):
        return work(spec, setup, tell, stop)
    executor = LocalExecutor(replace(setup, hardware=replace(setup.hardware, workers=1)))
    try:
        executor.submit(spec)
        while not stop():
            for happening in executor.happenings(PULSE):
                if isinstance(happening, Lost) and stop():
                    raise Stopped  # whoever asked this process to end may have asked the other one, too
                if isinstance(happening, (Ended, Refused, Lost)):
                    return happening
                tell(happening)
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
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(tuple(plugins),))
    with environment_for(arithmetic), pool:
        return pool.submit(function, *args).result()


def _begin(plugins: Sequence[Path]) -> None:
    follow_parent()
    for plugin in plugins:
        load_plugin_file(plugin)
