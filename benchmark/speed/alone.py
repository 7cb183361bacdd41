"""Steps in a new process each, so that the measured memory is that of one network alone."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data.workers import follow_parent
from benchmark.errors import UserError
from benchmark.registry import load_plugin_files
from benchmark.runs.spec import Component
from benchmark.speed.plain import PlainStepper
from benchmark.speed.workload import Stepper, Workload
from benchmark.training.hardware import Hardware

#: Steps before those that count; the operations of the first are counted.
WARM_UP = 2


@dataclass(frozen=True)
class Job:
    """A network to build and train for a few steps.

    Attributes:
        weighting: None sums the losses.
        steps: that are timed, and whose peak of memory is taken.
        plain: trained as ``PlainStepper`` does.
        count: whether operations are counted, which ``torch.autograd.grad`` of a leaf does not bear.
    """

    architecture: Component
    weighting: Component | None
    load: Workload
    steps: int = 1
    plain: bool = False
    count: bool = False


@dataclass(frozen=True)
class JobResult:
    """What a job found.

    Attributes:
        seconds: of each step.
        peak_bytes: most memory in any of them: allocated on the device, or resident beyond what was there before the
            network; None where the system does not tell.
        flops: floating-point operations of one step, forward and backward; None where they are not counted.
        parameters: of the network.
    """

    seconds: tuple[float, ...]
    peak_bytes: int | None
    flops: int | None
    parameters: int


@dataclass
class Alone:
    """Does each job in a new process.

    Args:
        context: of the processes, which have imported what they need when they start, and computed nothing.
        plugins: files that register what the jobs name.
    """

    context: BaseContext
    plugins: tuple[Path, ...] = ()
    _executor: ProcessPoolExecutor | None = field(default=None, init=False)

    def __enter__(self) -> "Alone":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def run(self, job: Job) -> JobResult:
        """Do a job.

        Raises:
            UserError: the process was killed.
            Exception: whatever the methods raise.
        """
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                1, mp_context=self.context, initializer=_begin, initargs=(self.plugins,), max_tasks_per_child=1
            )
        try:
            return self._executor.submit(measure, job).result()
        except BrokenProcessPool as error:
            self._close()
            raise UserError("the process was killed, as the kernel does when memory runs out") from error

    def _close(self) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None


def _begin(plugins: tuple[Path, ...]) -> None:
    follow_parent()
    load_plugin_files(plugins)


def measure(job: Job) -> JobResult:
    """Do a job in this process."""
    hardware = job.load.hardware
    hardware.set_up()
    _touch(hardware)
    before = _resident() if hardware.device == "cpu" else 0
    stepper = (
        PlainStepper(job.architecture, job.load) if job.plain else Stepper(job.architecture, job.weighting, job.load)
    )
    with FlopCounterMode(display=False) if job.count else nullcontext() as counter:
        stepper.step()
    for _ in range(WARM_UP - 1):
        stepper.step()
    with hardware.memory_peak() as peak:
        seconds = tuple(stepper.step() for _ in range(job.steps))
    known = peak.bytes is not None and before is not None
    return JobResult(
        seconds=seconds,
        peak_bytes=max(0, (peak.bytes or 0) - (before or 0)) if known else None,
        flops=counter.get_total_flops() if counter else None,
        parameters=sum(parameter.numel() for parameter in stepper.model.parameters()),
    )


def _touch(hardware: Hardware) -> None:
    """Train next to nothing: what libraries keep for themselves is then there before the network is."""
    layers = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1))
    layers.to(hardware.device)
    optimizer = torch.optim.Adam(layers.parameters())
    with hardware.autocast():
        output = layers(torch.rand(2, 3, 32, 32, device=hardware.device))
    F.cross_entropy(output.float(), torch.zeros(2, 32, 32, dtype=torch.int64, device=hardware.device)).backward()
    optimizer.step()
    hardware.synchronize()


def _resident() -> int | None:
    """Bytes of this process in memory; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)
