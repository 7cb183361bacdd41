"""The machine's peak speed, measured with large matrix products and convolutions, to compare steps with."""

from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.speed.record import Peak, Spread
from benchmark.training.hardware import Hardware

#: Rows of the square matrices, by kind of device; pictures, channels, height and width of the convolution's input.
MATRIX = {"cpu": 4096, "cuda": 8192}
MAPS = {"cpu": (4, 256, 96, 128), "cuda": (32, 256, 96, 128)}
WARM_UP = 2
REPEATS = 10

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure_peaks(
    hardware: Hardware, *, matrix: int | None = None, maps: tuple[int, int, int, int] | None = None
) -> tuple[Peak, ...]:
    """A large matrix product and a large 3×3 convolution, in float32 and in the hardware's precision.

    Args:
        hardware: device, precision and threads.
        matrix: rows of the square matrices.
        maps: (B, C, H, W) of the convolution's input; as many channels leave.
    """
    hardware.set_up()
    kind = torch.device(hardware.device).type
    rows, shape = matrix or MATRIX[kind], maps or MAPS[kind]
    found = []
    for precision in dict.fromkeys(("fp32", hardware.precision)):
        with torch.no_grad(), hardware.full_precision() if precision == "fp32" else nullcontext():
            found.append(_matmul(hardware, precision, rows))
            found.append(_convolution(hardware, precision, shape))
    return tuple(found)


def _matmul(hardware: Hardware, precision: str, rows: int) -> Peak:
    a, b = (torch.randn(rows, rows, device=hardware.device).to(TYPES[precision]) for _ in range(2))
    rate = _rate(hardware, lambda: a @ b, 2 * rows**3)
    return _peak(precision, "matmul", f"{rows} × {rows} × {rows}", rate)


def _convolution(hardware: Hardware, precision: str, shape: tuple[int, int, int, int]) -> Peak:
    batch, channels, height, width = shape
    x, w = (
        torch.randn(size, device=hardware.device).to(TYPES[precision]).to(memory_format=torch.channels_last)
        for size in (shape, (channels, channels, 3, 3))
    )
    rate = _rate(hardware, lambda: F.conv2d(x, w, padding=1), 2 * 9 * channels**2 * batch * height * width)
    return _peak(precision, "convolution", f"{batch} × {channels} × {height} × {width} to {channels}", rate)


def _peak(precision: str, operation: Literal["matmul", "convolution"], shape: str, rate: Spread) -> Peak:
    return Peak(precision=precision, operation=operation, shape=shape, rate=rate)


def _rate(hardware: Hardware, operate: Callable[[], Tensor], flops: int) -> Spread:
    """Floating-point operations per second over ``REPEATS`` calls."""
    rates = []
    for _ in range(WARM_UP + REPEATS):
        hardware.synchronize()
        started = perf_counter()
        operate()
        hardware.synchronize()
        rates.append(flops / (perf_counter() - started))
    return Spread.from_values(rates[WARM_UP:])
