"""Patterns on surfaces, from hashes of where a point lies on its solid."""

import torch
from torch import Tensor

from benchmark.data.scenes.random import fold, fraction
from benchmark.data.scenes.tensors import Triple


def smooth_noise(x: Tensor, y: Tensor, key: Tensor) -> Tensor:
    """Value noise in [0, 1): hashes at whole coordinates, smoothly joined. Any shapes that broadcast."""
    fx, fy = x.floor(), y.floor()
    ix, iy = fx.to(torch.int64), fy.to(torch.int64)
    ax, ay = _ease(x - fx), _ease(y - fy)
    low = _between(fraction(fold(ix, iy, key)), fraction(fold(ix + 1, iy, key)), ax)
    high = _between(fraction(fold(ix, iy + 1, key)), fraction(fold(ix + 1, iy + 1, key)), ax)
    return _between(low, high, ay)


def _ease(t: Tensor) -> Tensor:
    return t * t * (3 - 2 * t)


def _between(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + (b - a) * share


def albedo(look: dict[str, Tensor], u: Tensor, v: Tensor, footprint: Tensor) -> Triple:
    """Colour of surface points.

    Args:
        look: columns of ``Material`` and ``key``, per point.
        u, v: metres along the surface.
        footprint: width of a pixel on the surface in metres; what is finer fades into its mean.

    Returns:
        Linear RGB.
    """
    key = look["key"].to(torch.int64)
    y = v * look["scale_v"]
    row = y.floor()
    # Every other row is moved by half a cell, as in a wall of bricks.
    x = u * look["scale_u"] + 0.5 * (row - 2 * (row * 0.5).floor())
    column = x.floor()
    cell = fold(column.to(torch.int64), row.to(torch.int64), key)
    fx, fy = x - column, y - row
    joint = torch.minimum(torch.minimum(fx, 1 - fx), torch.minimum(fy, 1 - fy))
    wave = (((2 * fx - 1).abs() - 0.5) * 5).clamp_(-0.5, 0.5)
    cloud = smooth_noise(x, y, key) * 0.65 + smooth_noise(x * 2.7, y * 2.7, key + 1) * 0.35 - 0.5
    fine = torch.maximum(look["scale_u"], look["scale_v"]) * footprint
    fade = (1.6 - 2 * fine).clamp_(0, 1)
    pattern = look["noise"] * 2 * cloud + look["cells"] * (fraction(cell) - 0.5) + look["waves"] * wave
    pattern = pattern + look["lines"] * (1 - 10 * joint).clamp_min_(0)
    mix = (0.5 + fade * pattern).clamp_(0, 1)
    vary = look["cells"] * fade * (0.9 / 255)
    colour = []
    for channel, shift in zip("rgb", (0, 8, 16), strict=True):
        base = look["a" + channel] + (look["b" + channel] - look["a" + channel]) * mix
        hue = 1 + vary * ((cell >> shift & 255) - 127).to(torch.float32)
        colour.append((base * hue).clamp_(0.01, 0.95))
    return (colour[0], colour[1], colour[2])
