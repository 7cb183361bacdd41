"""How many runs to do at once on a device: measured, since it depends on the networks as much as on the device."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import prod
from threading import Barrier, BrokenBarrierError
from time import perf_counter

import numpy as np
import torch

from benchmark.data import build_dataset
from benchmark.data.workers import cores, follow_parent
from benchmark.execution.executor import Setup
from benchmark.execution.local import RUN_PROCESSES
from benchmark.runs.spec import RunSpec
from benchmark.speed.estimate import run_flops, training_steps
from benchmark.speed.workload import Stepper, Workload

#: Runs at once that are tried, in this order.
COUNTS = (1, 2, 4, 8)
#: How many times the steps per second of all together the next count must bring: below it, runs wait for each other.
GAIN = 1.1
#: Steps before those that count, seconds of those that do, and seconds after which a process that is not ready is not
#: waited for.
WARM_UP, SECONDS, PATIENCE = 3, 2.0, 180.0
#: Bytes of a process on a GPU that torch does not count, about, and the share of the free memory that runs may fill:
#: evaluation, and what other networks need, were not measured.
CONTEXT, SHARE = 600 * 2**20, 0.75


@dataclass(frozen=True)
class Throughput:
    """What some runs at once do.

    Attributes:
        steps_per_second: of all together.
        peak_bytes: of one of them; None where the system does not tell.
    """

    workers: int
    steps_per_second: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Sharing:
    """How many runs to do at once, and why.

    Attributes:
        tried: what was measured, by rising number of workers; the last is the one to use.
        reason: why no more were tried.
    """

    tried: Sequence[Throughput]
    reason: str

    @property
    def workers(self) -> int:
        """The number to use; one where nothing could be measured."""
        return self.tried[-1].workers if self.tried else 1

    @property
    def slowdown(self) -> float:
        """How many times as long a run takes among the others as alone."""
        return self.workers * self.tried[0].steps_per_second / self.tried[-1].steps_per_second if self.tried else 1.0


def measure_throughput(spec: RunSpec, setup: Setup, count: int) -> Throughput:
    """Let ``count`` processes take a run's steps at the same time.

    Raises:
        Exception: whatever happens in one of them.
    """
    barrier = RUN_PROCESSES.Barrier(count)
    with ProcessPoolExecutor(count, mp_context=RUN_PROCESSES, initializer=_begin, initargs=(barrier, setup)) as pool:
        jobs = [pool.submit(_steps, spec, setup) for _ in range(count)]
        try:
            errors = [error for job in jobs if (error := job.exception())]
        except BaseException:  # Ctrl-C: stop the processes at once
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        errors.sort(key=lambda error: isinstance(error, BrokenBarrierError))  # last: those who waited for the others
        if errors:
            raise errors[0]
        found = [job.result() for job in jobs]
    peaks = [peak for _, peak in found if peak is not None]
    return Throughput(count, sum(rate for rate, _ in found), max(peaks, default=None))


Measure = Callable[[RunSpec, Setup, int], Throughput]


def choose_workers(specs: Sequence[RunSpec], setup: Setup, measure: Measure = measure_throughput) -> Sharing:
    """How many of these runs to do at once on the device that they share.

    The run whose step has the most operations decides, which is about the one that needs the most memory.

    Args:
        specs: the runs.
        setup: names the device and the plugins.
        measure: lets some processes take a run's steps at the same time.
    """
    costs = run_flops(specs)
    costliest = max(specs, key=lambda spec: costs[spec.id] / training_steps(spec))
    besides = CONTEXT + max(map(data_bytes, specs))
    free = torch.cuda.mem_get_info(setup.hardware.device)[0] if setup.hardware.kind == "cuda" else None
    tried: list[Throughput] = []
    for count in COUNTS:
        if count > min(len(specs), cores()):
            return Sharing(tried, "there are no more runs, or no more processors to feed them")
        if tried and free and count * ((tried[-1].peak_bytes or 0) + besides) > SHARE * free:
            return Sharing(tried, f"{count} would need more memory than is free")
        try:
            found = measure(costliest, setup, count)
        except Exception as error:  # noqa: BLE001 - memory ran out, or a network is at fault: its run will say so
            return Sharing(tried, f"{count} failed ({type(error).__name__}: {' '.join(str(error).split())[:120]})")
        if tried and found.steps_per_second < GAIN * tried[-1].steps_per_second:
            return Sharing(tried, f"{count} do {found.steps_per_second:.3g} steps a second")
        tried.append(found)
    return Sharing(tried, "no more were tried")


def data_bytes(spec: RunSpec) -> int:
    """Bytes of a run's prepared data, all of which a GPU may hold; those of targets whose form is not known are not."""
    total = 0
    for piece in build_dataset(spec.dataset.name, **spec.dataset.options).pieces:
        stored = [task.stored(piece.image_shape[1:]) for task in piece.tasks]
        sample = prod(piece.image_shape) + sum(np.dtype(s.dtype).itemsize * prod(s.shape) for s in stored if s)
        total += sum(piece.samples.values()) * sample
    return total


_barrier: Barrier


def _begin(barrier: Barrier, setup: Setup) -> None:
    global _barrier
    follow_parent()
    _barrier = barrier
    setup.load_plugins()


def _steps(spec: RunSpec, setup: Setup) -> tuple[float, int | None]:
    """Steps per second of one process while all take theirs, and its peak of memory in bytes."""
    try:
        hardware = setup.hardware
        hardware.set_up()
        with hardware.memory_peak() as peak:
            stepper = Stepper(spec.architecture, spec.weighting, Workload.from_run(spec, hardware))
            stepper.trainer.advance(stepper.batch, diagnose=True)  # as each run does now and then
            for _ in range(WARM_UP):
                stepper.step()
            _barrier.wait(PATIENCE)
            started, done = perf_counter(), 0
            while perf_counter() - started < SECONDS:
                stepper.step()
                done += 1
            elapsed = perf_counter() - started
    except BaseException:
        _barrier.abort()  # or the others would wait
        raise
    # What torch has from the device, in use or not, is not there for others.
    reserved = torch.cuda.max_memory_reserved(hardware.device) if hardware.kind == "cuda" else peak.bytes
    return done / elapsed, reserved
