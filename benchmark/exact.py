"""Functions that torch computes differently on different processors, made the same on all of them.

On the CPU torch hands some functions to Intel's vector library, which begins with the processor's approximate
reciprocals; Intel and AMD round those differently, and results differ in the last bit. These here are made of what IEEE
754 defines to the last bit, or of the C library's functions, which read no such approximation. ``tests/portable`` holds
the list of torch's functions that need it, and how it is measured.

On a GPU they are torch's own: CUDA's root and division are IEEE's; what else torch has there is that device's affair.
"""

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
    return torch.from_numpy(np.asarray(np.sqrt(values.numpy())))


def sqrt_(values: Tensor) -> Tensor:
    """The same in place."""
    if values.device.type != "cpu":
        return values.sqrt_()
    array = values.numpy()
    np.sqrt(array, out=array)
    return values
