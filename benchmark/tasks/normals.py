"""Surface normals: a unit vector per pixel in camera coordinates, the zero vector where unknown."""

from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.exact import sqrt_
from benchmark.tasks.base import (
    LEGACY_BATCH,
    Accumulator,
    Metric,
    Stored,
    TaskKind,
    legacy_twins,
    masked_mean,
    register_kind,
)
from benchmark.tasks.geometry import Zoom, consistent_normals
from benchmark.transfer import brought

THRESHOLDS = (11.25, 22.5, 30.0)

_POOLED = (
    Metric(
        "mean_angle",
        "mean angle",
        "°",
        False,
        "Mean angle between predicted and true normal over the split's valid pixels.",
    ),
    Metric("median_angle", "median angle", "°", False, "Median of that angle over the split's valid pixels."),
    *(
        Metric(
            f"within_{t:g}",
            f"< {t:g}°",
            "%",
            True,
            f"Share of the split's valid pixels with an angle under {t:g}°.",
        )
        for t in THRESHOLDS
    ),
)

#: All vectors of a batch have smaller components only where a head began with zeros, or nearly.
SHORT = 1e-4
#: What ``torch.nn.functional.normalize`` divides by at least.
LEAST_DIVISOR = 1e-12
#: Stands for the angle where the truth is unknown; not NaN, which a diverged network's prediction gives.
UNKNOWN = -1.0


class Angles(Accumulator):
    """Every pixel's angle in degrees, −1 where the truth is unknown: an exact median needs them all."""

    def __init__(self, device: torch.device) -> None:
        self.angles = [torch.zeros(0, device=device)]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add (B, 3, H, W) predictions and targets, of any length."""
        valid = (target != 0).any(1)
        # In double, so that the angles kept in float32 do not depend on how a batch is cut into vectors.
        p, t = _units(prediction), _units(target)
        # Kahan's formula: the arc cosine of a dot product loses half the digits near 0° and 180°.
        angle = 2 * torch.atan2(_lengths(p - t), _lengths(p + t)).rad2deg().float()
        self.angles.append(torch.where(valid, angle, UNKNOWN).flatten(1))

    def compute(self) -> dict[str, float]:
        """Pooled statistics, and means of per-batch statistics."""
        per_image = torch.cat(self.angles)  # (N, H * W)
        pooled = angle_statistics(per_image)
        batches = torch.stack([batch_statistics(batch) for batch in per_image.split(LEGACY_BATCH)])
        pooled, batches = brought(pooled, batches)
        batches = batches[batches[:, 0] > 0, 1:]
        legacy = batches.mean(0) if len(batches) else pooled
        names = [m.name for m in _POOLED]
        return dict(zip(names, pooled.tolist(), strict=True)) | {
            f"legacy_{name}": value for name, value in zip(names, legacy.tolist(), strict=True)
        }


def _units(vectors: Tensor) -> Tensor:
    """(B, 3, …) of any length -> unit vectors in float64, one component after the other in memory."""
    vectors = vectors.to(torch.float64, memory_format=torch.contiguous_format)
    return vectors / _lengths(vectors).clamp(min=1e-12).unsqueeze(1)


def _lengths(vectors: Tensor) -> Tensor:
    """(B, 3, …) -> (B, …). Component by component: torch's norm over so short an axis takes three times as long."""
    x, y, z = vectors.unbind(1)
    return sqrt_((x * x).add_(y * y).add_(z * z))


def angle_statistics(angles: Tensor) -> Tensor:
    """Mean, median and shares (%) within the thresholds of all known angles, in float64; NaN where there are none."""
    angles = angles[angles != UNKNOWN]  # waits for the device, to know how many there are
    if not len(angles):
        return angles.new_full((2 + len(THRESHOLDS),), torch.nan, dtype=torch.float64)
    count = len(angles)
    middle = [angles.kthvalue(k).values.double() for k in ((count + 1) // 2, count // 2 + 1)]
    within = [100 * (angles < t).double().mean() for t in THRESHOLDS]
    return torch.stack([angles.mean(dtype=torch.float64), (middle[0] + middle[1]) / 2, *within])


def batch_statistics(angles: Tensor) -> Tensor:
    """The number of known angles, and what ``angle_statistics`` tells of them; of a few pictures.

    A processor picks them out first; on a GPU nobody waits to know how many there are: unknown ones are sorted first.
    """
    known = angles != UNKNOWN
    count = known.sum()
    if angles.device.type == "cpu":
        return torch.cat([count.double().view(1), angle_statistics(angles)])
    return torch.cat([count.double().view(1), statistics_where(known, angles)])


def statistics_where(known: Tensor, angles: Tensor) -> Tensor:
    """``angle_statistics`` of the angles that are known, without a wait."""
    count = known.sum()
    ordered = angles.flatten().sort().values
    places = torch.stack([(count + 1) // 2, count // 2 + 1]) - count - 1  # from the end, where those known are
    middle = ordered[(len(ordered) + places).clamp(0, len(ordered) - 1)].double().sum() / 2
    mean = torch.where(known, angles, 0).sum(dtype=torch.float64) / count
    within = [100 * (known & (angles < t)).sum() / count.double() for t in THRESHOLDS]
    return torch.where(count > 0, torch.stack([mean, middle, *within]), torch.nan)


class _Bounded(torch.autograd.Function):
    """The identity, whose gradient, where all vectors are short, is scaled to what it would be at unit length."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor) -> Tensor:
        ctx.save_for_backward(raw)
        return raw.view_as(raw)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (raw,) = ctx.saved_tensors
        longest = raw.abs().amax(1, keepdim=True)
        # ``F.normalize`` divides by no less than this, so that nothing is lost of the gradient at zero.
        return torch.where(longest.amax() < SHORT, gradient * longest.clamp(min=LEAST_DIVISOR), gradient)


def _bounded(raw: Tensor) -> Tensor:
    """(B, 3, …) as they are; where none reaches ``SHORT``, with gradients no longer than those of unit vectors.

    The gradient of x / |x| is as long as 1 / |x|: 1e12 where a head begins with zeros. An optimiser that divides by
    past gradients would then stand still for the rest of a run. Single vectors that are 0, such as where a network's
    features are, keep their gradients, so that records come back.
    """
    return cast(Tensor, _Bounded.apply(raw))


@register_kind
class Normals(TaskKind):
    """One minus the mean dot product over valid pixels (Liu et al., CVPR 2019)."""

    name = "normals"
    dense = True
    needs_camera = True
    metrics: ClassVar[tuple[Metric, ...]] = _POOLED + legacy_twins(
        _POOLED, lambda m: f"{m.title} of each batch of two images, averaged over batches, as in the papers' scripts."
    )

    def finish(self, raw: Tensor) -> Tensor:
        """Scale to unit length over channels. Gradients are bounded where all vectors are shorter than ``SHORT``."""
        return F.normalize(_bounded(raw.float()), dim=1)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 3, H, W) -> scalar."""
        target = target.float()
        return masked_mean(1 - (prediction.float() * target).sum(1), (target != 0).any(1))

    def stored(self, channels: int, size: tuple[int, int]) -> Stored:
        """(3, H, W) components."""
        return Stored("float16", (channels, *size), "", -1, 1, invalid=0, unit_vectors=True)

    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """All angles."""
        return Angles(device)

    def flip(self, target: Tensor) -> Tensor:
        """The mirror turns x round."""
        x, *rest = target.flip(-1).unbind(1)
        return torch.stack([-x, *rest], 1)

    def zoom(self, target: Tensor, zoom: Zoom) -> Tensor:
        """As the camera sees the enlarged part; without a camera as they were, see ``training.augmentation``."""
        part = zoom.nearest(target)
        return part if zoom.camera is None else consistent_normals(part, zoom, zoom.camera)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same in half precision."""
        return prediction.half()

    def blind(self, truths: Tensor, channels: int) -> Tensor:
        """Each pixel's mean direction; where a pixel is never known, that of all."""
        sums = truths.sum(0, keepdim=True, dtype=torch.float64)
        return self.finish(torch.where((sums != 0).any(1, keepdim=True), sums, sums.sum((2, 3), keepdim=True)))

    def draw(self, values: np.ndarray) -> np.ndarray:
        """(3, H, W) unit vectors -> the usual RGB code; unknown is black."""
        colour = np.rint((values.astype(np.float32) + 1) * 127.5).clip(0, 255)
        return np.where((values != 0).any(0), colour, 0).transpose(1, 2, 0).astype(np.uint8)
