"""How a run computes: in portable arithmetic, whose bits are the same on any x86-64 processor, or natively.

Portable arithmetic is float32 on the CPU in one thread, with the kernels that every x86-64 processor with AVX2 has.
PyTorch, oneDNN, MKL, OpenBLAS and NumPy choose their kernels by environment variables that they read when they are
loaded, so that a process must be started with them: ``started_for`` says of this process whether it was, and
``environment_for`` holds inside the variables with which new processes are started.

What the variables leave apart (roots, logarithms in double precision and others) is in ``benchmark.exact``.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

from benchmark.errors import UsageError

Arithmetic = Literal["native", "portable"]
Precision = Literal["fp32", "bf16"]
ARITHMETICS = ("auto", "portable", "native")
PRECISIONS = ("auto", "fp32", "bf16")

#: Capped instruction sets, MKL's kernels that give the same bits on processors of every maker, and one thread from the
#: start: NumPy's products are summed in another order by more.
PORTABLE_ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
}
#: NumPy's own variable, and by its first version the names of what goes beyond AVX2. A processor that lacks that is
#: content; names of another version would do nothing.
NUMPY_VARIABLE = "NPY_DISABLE_CPU_FEATURES"
NUMPY_FEATURES = (
    ((2, 4), "X86_V4 AVX512_ICL AVX512_SPR"),
    ((0, 0), "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"),
)
#: What decides, when libraries are loaded, how they compute.
VARIABLES = (*PORTABLE_ENVIRONMENT, NUMPY_VARIABLE)


def portable_environment() -> dict[str, str]:
    """The variables of portable arithmetic, for the NumPy that is installed."""
    found = tuple(int(part) for part in version("numpy").split(".")[:2])
    return {**PORTABLE_ENVIRONMENT, NUMPY_VARIABLE: next(names for first, names in NUMPY_FEATURES if found >= first)}


def started_for(arithmetic: Arithmetic) -> bool:
    """Whether this process was started with the variables of an arithmetic; native asks for nothing."""
    return arithmetic == "native" or portable_environment().items() <= variables().items()


def variables() -> dict[str, str]:
    """Those of the variables above with which this process was started; what was set since then came too late."""
    try:
        lines = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
        started = dict(line.split("=", 1) for line in lines if "=" in line)
    except OSError:
        started = dict(os.environ)
    return {name: started[name] for name in VARIABLES if name in started}


@contextmanager
def environment_for(arithmetic: Arithmetic) -> Iterator[None]:
    """Processes that are started inside compute in this arithmetic."""
    wanted: Mapping[str, str | None] = (
        portable_environment()
        if arithmetic == "portable"
        # A process that was itself started for portable arithmetic must not hand its variables on.
        else dict.fromkeys(VARIABLES) if started_for("portable") else {}
    )  # fmt: skip
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@dataclass(frozen=True)
class ComputeOptions:
    """What the command line and the device say of how runs compute, where a grid leaves it open.

    Attributes:
        arithmetic: of ``ARITHMETICS``; ``auto`` is portable on the CPU and native on CUDA.
        precision: of ``PRECISIONS``; ``auto`` is fp32 in portable arithmetic, natively what suits the device.
        device: kind of device that the runs are for.
        suits: precision in which such a device is fast.
    """

    arithmetic: str = "native"
    precision: str = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    suits: Precision = "fp32"

    def settle(self, arithmetic: str = "auto", precision: str = "auto") -> tuple[Arithmetic, Precision]:
        """The arithmetic and the precision of a grid's runs; the command line's word wins over the grid's.

        Args:
            arithmetic, precision: what the grid says.

        Raises:
            UsageError: unknown words, or portable arithmetic is asked for where it cannot be had.
        """
        arithmetic = _chosen("arithmetic", self.arithmetic, arithmetic, ARITHMETICS)
        precision = _chosen("precision", self.precision, precision, PRECISIONS)
        if arithmetic == "auto":
            arithmetic = "portable" if self.device == "cpu" and precision != "bf16" else "native"
        if arithmetic == "portable":
            check_portable(
                {
                    f"--device {self.device}": self.device != "cpu",
                    f"precision {precision}": precision == "bf16",
                }
            )
            return "portable", "fp32"
        return "native", self.suits if precision == "auto" else cast(Precision, precision)


#: In fp32 natively, as runs were before they could be portable.
NATIVE = ComputeOptions()


def check_portable(wrong: Mapping[str, bool]) -> None:
    """Make sure that nothing stands against portable arithmetic.

    Args:
        wrong: by words for what was found, whether it cannot be portable.

    Raises:
        UsageError: something does.
    """
    if found := [words for words, is_wrong in wrong.items() if is_wrong]:
        raise UsageError(
            "portable arithmetic, whose numbers come back on any processor, is fp32 on the CPU in one thread, "
            f"found {' and '.join(found)}: leave that out, or take --arithmetic native"
        )


def _chosen(what: str, first: str, second: str, known: tuple[str, ...]) -> str:
    for word in (first, second):
        if word not in known:
            raise UsageError(f"unknown {what} '{word}'. Known: {', '.join(known)}")
    return second if first == "auto" else first


def command_for(arithmetic: Arithmetic, words: list[str]) -> tuple[list[str], dict[str, str]]:
    """A command of this program and the environment in which it computes in this arithmetic."""
    with environment_for(arithmetic):
        return [sys.executable, "-m", "benchmark", *words], dict(os.environ)
