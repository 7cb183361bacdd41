"""Functions that torch computes differently on different processors, made the same on all of them.

On the CPU torch hands some functions to Intel's vector library, which begins with the processor's approximate
reciprocals; Intel and AMD round those differently, and results differ in the last bit. ``tests/portable`` holds the
list of such functions and how it is measured.

Roots are correctly rounded on any processor. Logarithms and quantiles are NumPy's and the C library's: the same on any
x86-64 processor with AVX2 and FMA, NumPy's where its vectors are held to that, as in portable arithmetic.

On a GPU all of them are torch's own: CUDA's root is IEEE's there; the others are that device's affair.
"""

from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor


def sqrt(values: Tensor) -> Tensor:
    """Square roots, correctly rounded. Any shape -> the same, in float16, float32 or float64; no graph goes through.

    Raises:
        RuntimeError: the values are attached to a graph.
    """
    if values.device.type != "cpu":
        return values.sqrt()
    with np.errstate(invalid="ignore"):  # the root of a negative number is NaN, as torch's is
        return torch.from_numpy(np.asarray(np.sqrt(values.numpy())))


def sqrt_(values: Tensor) -> Tensor:
    """The same in place."""
    if values.device.type != "cpu":
        return values.sqrt_()
    array = values.numpy()
    with np.errstate(invalid="ignore"):
        np.sqrt(array, out=array)
    return values


def power(values: Tensor, exponent: float) -> Tensor:
    """``values ** exponent``, whose special case of a square root alone needs care; as in ``sqrt``, without a graph."""
    return sqrt(values) if exponent == 0.5 else values**exponent


def log(values: Tensor) -> Tensor:
    """Natural logarithms in float64, without a graph; those of float32 are the same everywhere in torch itself."""
    if values.device.type != "cpu":
        return values.log()
    with np.errstate(invalid="ignore", divide="ignore"):
        return torch.from_numpy(np.asarray(np.log(values.numpy())))


def normal_quantiles(shares: Tensor) -> Tensor:
    """Where the standard normal distribution function reaches these shares in (0, 1). (N,) float64 -> the same.

    One number after the other on the CPU: for few of them.
    """
    if shares.device.type != "cpu":
        return 2**0.5 * torch.erfinv(2 * shares - 1)
    return torch.tensor([NormalDist().inv_cdf(share) for share in shares.tolist()], dtype=shares.dtype)
