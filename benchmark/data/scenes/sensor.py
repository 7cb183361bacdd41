"""What cameras make of a view: exposure, blur and noise in colour; holes in depth and normals; unlabelled seams."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.data.scenes.model import FOCAL
from benchmark.data.scenes.random import bell, fold, fraction
from benchmark.data.scenes.texture import smooth_noise
from benchmark.exact import sqrt

#: Range of the depth sensor in metres.
NEAREST, FARTHEST = 0.4, 9.0
#: Distance of the depth sensor's projector from its lens, in metres.
_BASELINE = 0.075


def pixel_index(height: int, width: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Row and column of each pixel. (H, 1) and (1, W) int64."""
    return torch.arange(height, device=device)[:, None], torch.arange(width, device=device)[None]


def develop(light: Tensor, views: dict[str, Tensor]) -> Tensor:
    """Light as a photograph. (B, 3, H, W) linear RGB -> uint8."""
    height, width = light.shape[-2:]
    look = {name: column.view(-1, 1, 1) for name, column in views.items()}
    light = _blur(_blur(light, 2), 3)
    # A sum of whole numbers is the same in any order.
    total = (light.clamp(0, 0.7) * 4096).to(torch.int64).sum((1, 2, 3))
    mean = total.to(torch.float32) * (1 / (4096 * 3 * height * width))
    gain = (0.24 / (mean + 0.01)).view(-1, 1, 1) * look["exposure"]
    row, column = pixel_index(height, width, light.device)
    x, y = (column + 0.5 - width / 2) * (1 / width), (row + 0.5 - height / 2) * (1 / width)
    gain = gain * (1 - look["vignette"] * 2 * (x * x + y * y))
    key = look["key"].to(torch.int64)
    channels = []
    for i, name in enumerate(("balance_r", "balance_g", "balance_b")):
        value = light[:, i] * gain * look[name]
        spread = look["noise"] * sqrt((value * 0.0009 + 0.00003).clamp_min(0))
        value = value + spread * bell(fold(row * width + column, key + i))
        channels.append(_encode(value))
    return torch.stack(channels, 1)


def _blur(image: Tensor, axis: int) -> Tensor:
    """The lens: a little of either neighbour along one axis."""
    pad = (0, 0, 1, 1) if axis == 2 else (1, 1, 0, 0)
    wide = F.pad(image, pad, mode="replicate")
    size = image.shape[axis]
    return image * 0.7 + (wide.narrow(axis, 0, size) + wide.narrow(axis, 2, size)) * 0.15


def _encode(value: Tensor) -> Tensor:
    """The sRGB curve by square roots alone, to within 0.004, as bytes."""
    one = sqrt(value.clamp(0, 1))
    two = sqrt(one)
    curve = 0.585122381 * one + 0.783140355 * two - 0.368262736 * sqrt(two)
    return (curve.clamp(0, 1) * 255).round().to(torch.uint8)


def depth_holes(depth: Tensor, facing: Tensor, blind: Tensor, views: dict[str, Tensor]) -> Tensor:
    """Where a structured-light sensor sees nothing. (B, H, W) each -> (B, H, W) bool.

    Out of range, on glass and screens, at grazing angles in patches, and in the shadow that near things throw from the
    projector beside the lens.
    """
    height, width = depth.shape[-2:]
    row, column = pixel_index(height, width, depth.device)
    key = views["key"].to(torch.int64).view(-1, 1, 1)
    patch = smooth_noise(column * (28.0 / width), row * (28.0 / width), key + 17)
    speck = fraction(fold(row * width + column, key + 29))
    hole = (depth < NEAREST) | (depth > FARTHEST)
    hole |= patch * 0.8 + speck * 0.2 < blind
    hole |= (facing < 0.16) & (patch * 0.7 + speck * 0.3 < 0.55)
    hole |= speck < 0.001
    shift = FOCAL * width * _BASELINE / depth
    for step in range(1, width // 14 + 1):
        # The point `step` pixels to the right hides this one if it is that much nearer to the projector.
        hole[..., :-step] |= shift[..., step:] - shift[..., :-step] > step
    return hole


def normal_holes(hole: Tensor) -> Tensor:
    """Normals come from depth, so that they are unknown there and beside it. (B, H, W) bool -> the same."""
    wide = F.pad(hole, (1, 1, 1, 1))
    beside = wide[:, :-2, 1:-1] | wide[:, 2:, 1:-1] | wide[:, 1:-1, :-2] | wide[:, 1:-1, 2:]
    return hole | beside


def unlabelled_seams(label: Tensor, views: dict[str, Tensor]) -> Tensor:
    """Where labels meet, people leave some pixels out. (B, H, W) int8 -> (B, H, W) bool."""
    height, width = label.shape[-2:]
    row, column = pixel_index(height, width, label.device)
    seam = torch.zeros_like(label, dtype=torch.bool)
    seam[:, :, 1:] |= label[:, :, 1:] != label[:, :, :-1]
    seam[:, 1:] |= label[:, 1:] != label[:, :-1]
    key = views["key"].to(torch.int64).view(-1, 1, 1)
    return seam & (fraction(fold(row * width + column, key + 43)) < 0.35)
