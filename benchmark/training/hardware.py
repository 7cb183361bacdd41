"""What a run runs on: device, precision, threads; and what it is recorded as."""

import gc
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch

from benchmark.arithmetic import PRECISIONS, check_portable, started_for
from benchmark.errors import UsageError
from benchmark.runs.spec import Protocol
from benchmark.training.heap import keep_freed_memory, return_freed_memory
from benchmark.training.spill import spilled


@dataclass(frozen=True)
class Hardware:
    """Where and how to compute.

    Attributes:
        device: ``cpu`` or ``cuda`` with an optional index.
        precision: ``fp32``, or ``bf16`` (autocast; parameters, losses and metrics stay in float32).
        threads: of one run on the CPU. Numbers come back bit for bit only with the same count.
        workers: runs at once; they change no number but times.
        graphs: whether steps are replayed as CUDA graphs.
        spills: whether activations wait for backward passes off the device; that changes no number but times either.
        deterministic: whether a GPU is to take kernels that compute the same twice, where torch has them.
    """

    device: str
    precision: str
    threads: int
    workers: int = 1
    graphs: bool = False
    spills: bool = False
    deterministic: bool = False

    @classmethod
    def choose(
        cls,
        device: str = "auto",
        precision: str = "auto",
        threads: int = 1,
        *,
        workers: int = 1,
        graphs: bool = False,
        deterministic: bool = False,
    ) -> "Hardware":
        """Resolve ``auto``: CUDA where there is one; bf16 on devices that compute in it, float32 elsewhere.

        Raises:
            UsageError: the device does not exist here, or has no graphs or no choice of kernels, or the precision is
                unknown.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            kind = torch.device(device).type
        except RuntimeError as error:
            raise UsageError(f"unknown device '{device}'. Known: auto, cpu, cuda, cuda:N") from error
        if kind not in ("cpu", "cuda"):
            raise UsageError(f"the device '{device}' is not supported. Known: auto, cpu, cuda, cuda:N")
        if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
            raise UsageError(
                f"there is no device '{device}' here ({torch.cuda.device_count()} CUDA devices); try --device cpu"
            )
        if precision not in PRECISIONS:
            raise UsageError(f"unknown precision '{precision}'. Known: {', '.join(PRECISIONS)}")
        if precision == "auto":
            native = gpu_has_bf16(torch.device(device)) if kind == "cuda" else processor_has_bf16()
            precision = "bf16" if native else "fp32"
        if graphs and kind != "cuda":
            raise UsageError("--cuda-graphs needs a CUDA device, and this is the CPU: leave it out")
        if deterministic and kind != "cuda":
            raise UsageError(
                "--deterministic chooses kernels of a CUDA device, and this is the CPU, whose runs come back anyway: "
                "leave it out"
            )
        return cls(device, precision, threads, workers, graphs, deterministic=deterministic)

    def computing(self, protocol: Protocol) -> "Hardware":
        """The same in the precision of a protocol.

        Raises:
            UsageError: the protocol asks for portable arithmetic, which is not to be had so.
        """
        self.check(protocol)
        if not started_for(protocol.arithmetic):
            raise UsageError(
                "portable arithmetic needs variables that are set before PyTorch is loaded, and this process was "
                "started without them: let 'mtbench run' start its own workers"
            )
        return self.precise(protocol)

    def precise(self, protocol: Protocol) -> "Hardware":
        """The same in the precision of a protocol, whatever else that asks for."""
        return replace(self, precision=protocol.precision)

    def check(self, protocol: Protocol) -> None:
        """Make sure that a protocol's arithmetic can be had on such a device with so many threads.

        Raises:
            UsageError: it cannot.
        """
        if protocol.arithmetic == "portable":
            check_portable(
                {
                    f"the device {self.device}": self.kind != "cpu",
                    f"{self.threads} threads": self.threads != 1,
                }
            )

    def spilling(self) -> "Hardware":
        """The same with activations off the device, which no CUDA graph could bring back."""
        return replace(self, spills=True, graphs=False)

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """What the device is, without its index."""
        return "cuda" if torch.device(self.device).type == "cuda" else "cpu"

    @property
    def name(self) -> str:
        """The processor's or the GPU's name."""
        device = torch.device(self.device)
        return torch.cuda.get_device_name(device) if self.kind == "cuda" else _processor()

    def set_up(self) -> None:
        """Settings of this process that a run depends on, and memory that the last run left behind."""
        torch.set_num_threads(self.threads)
        if self.kind == "cuda":
            choose_kernels(self.deterministic)
        self.begin_anew()
        if self.kind == "cuda":
            torch.backends.cudnn.allow_tf32 = self.precision != "fp32"  # fp32 is to mean what it says
        elif self.spills:
            return_freed_memory()
        else:
            keep_freed_memory()

    def begin_anew(self) -> None:
        """Free what earlier work in this process has left on the device, and measure the peak of memory from here."""
        gc.collect()
        if self.kind == "cuda":
            torch.cuda.empty_cache()
            reset_peak(torch.device(self.device))

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.kind == "cuda":
            torch.cuda.synchronize(self.device)

    def kept_generators(self) -> AbstractContextManager[None]:
        """Outside, torch's own generators go on as if nothing had been drawn inside."""
        return torch.random.fork_rng(devices=[torch.device(self.device)] if self.kind == "cuda" else [])

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """The same, and inside they start from ``seed``."""
        with self.kept_generators():
            torch.manual_seed(seed)
            yield

    def autocast(self) -> AbstractContextManager[None]:
        """The context of forward passes."""
        return torch.autocast(self.kind, torch.bfloat16, enabled=self.precision == "bf16")

    def saving(self) -> AbstractContextManager[object]:
        """The context in which a graph for backward passes is made: one forward pass with its losses."""
        return spilled(self.kind) if self.spills else nullcontext()

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Inside, float32 is computed as float32 whatever the run's precision: for differences of nearby values."""
        kept = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            with torch.autocast(self.kind, enabled=False):
                yield
        finally:
            torch.backends.cudnn.allow_tf32 = kept

    @contextmanager
    def memory_peak(self) -> Iterator["MemoryPeak"]:
        """Measure the most memory held inside the context."""
        peak = MemoryPeak(torch.device(self.device))
        try:
            yield peak
        finally:
            peak.stop()


class Stopwatch:
    """Times work on a device without waiting for it: between marks that a GPU comes to in the order of its stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = self._stopped = self._mark()

    def stop(self) -> None:
        """The work is given to the device."""
        self._stopped = self._mark()

    def wait(self) -> None:
        """Until a GPU has come to the stop."""
        if self._device.type != "cpu":
            self._stopped.synchronize()

    def seconds(self) -> float:
        """From the start to the stop, which a GPU must have come to."""
        if self._device.type == "cpu":
            return float(self._stopped - self._started)
        return float(self._started.elapsed_time(self._stopped)) / 1000

    def _mark(self) -> Any:
        if self._device.type == "cpu":
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


class MemoryPeak:
    """The most memory held since the start: allocated on the GPU, or resident in this process (Linux)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        if device.type == "cuda":
            reset_peak(device)
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")  # resets the peak that VmHWM reports
                self._resettable = True
            except OSError:
                self._resettable = False

    def now(self) -> int | None:
        """The peak so far; None where the system does not tell."""
        self.stop()
        return self.bytes

    def stop(self) -> None:
        """Read the peak; None where the system does not tell."""
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
        elif self._resettable:
            lines = Path("/proc/self/status").read_text().splitlines()
            self.bytes = next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def reset_peak(device: torch.device) -> None:
    """Measure the peak of a GPU's memory from here, also where nothing has asked for CUDA in this process yet.

    torch initialises CUDA at the first tensor of a device, and its functions about memory before that only where the
    device has no number.
    """
    torch.cuda.init()
    torch.cuda.reset_peak_memory_stats(device)


def choose_kernels(deterministic: bool) -> None:
    """Whether CUDA's kernels are those that compute the same twice, see ``docs/devices.md``.

    Where torch has none that does, it warns and takes what there is. cuBLAS reads its variable when CUDA begins, so
    that this is to be called before.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=deterministic)
    torch.backends.cudnn.deterministic = deterministic


def gpu_has_bf16(device: torch.device) -> bool:
    """Whether this GPU, which need not be the current one, computes in bf16 itself."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def processor_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself, and torch's kernels let it.

    Those of oneDNN also run where there is AVX-512 without AVX512_BF16, in float32 with conversions: slower than fp32.
    Every processor with AMX's bf16 has AVX512_BF16 too. Others, such as ARM's, are not known to be faster: fp32 there.
    """
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return bool(native and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
