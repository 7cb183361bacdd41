"""What happens to pictures and dense targets when a part of a picture is enlarged to the size of the whole."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Intrinsics:
    """The camera of a data set's pictures, the same for all: a point (X, Y, Z) is seen at (fx X/Z + cx, fy Y/Z + cy).

    Axes are x right, y down, z forward; pixels are counted from the picture's upper left corner, so that the middle of
    the first pixel is at (0.5, 0.5). All four numbers are in pixels of the pictures as they are stored.
    """

    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class Zoom:
    """Of each picture of a batch, the part that is enlarged to the size of the whole.

    A place (u, v) of the picture moves to (s (u − column), s (v − row)). Depth is divided by s, as if the camera had
    come nearer.

    Attributes:
        scale: (B,) s, 1 or more.
        row, column: (B,) upper left corner of the part, in pixels; the part lies wholly in the picture.
        camera: with it, surface normals follow the geometry; None keeps them, see ``consistent_normals``.
    """

    scale: Tensor
    row: Tensor
    column: Tensor
    camera: Intrinsics | None = None

    def nearest(self, target: Tensor) -> Tensor:
        """Values of the nearest pixel, none mixed. (B, …, H, W) -> the same shape and type."""
        for axis, start in ((-2, self.row), (-1, self.column)):
            size = target.shape[axis]
            places = self._places(start, size).floor().long().clamp(0, size - 1)
            target = target.gather(axis, _spread(places, target, axis))
        return target

    def bilinear(self, images: Tensor) -> Tensor:
        """Interpolated pictures; those with s = 1 keep every bit. (B, C, H, W) uint8 -> the same."""
        values = images.to(torch.float32)
        for axis, start in ((-2, self.row), (-1, self.column)):
            size = values.shape[axis]
            places = self._places(start, size) - 0.5  # in units of pixel middles
            low = places.floor()
            part = _spread((places - low).to(values.dtype), values, axis)
            below, above = (
                values.gather(axis, _spread(at.long().clamp(0, size - 1), values, axis)) for at in (low, low + 1)
            )
            values = below + (above - below) * part
        return values.round().to(torch.uint8)

    def _places(self, start: Tensor, size: int) -> Tensor:
        """Where the middles of the new pixels lay along one axis. (B, size) float64."""
        middles = torch.arange(size, device=start.device, dtype=torch.float64) + 0.5
        return start.double()[:, None] + middles / self.scale.double()[:, None]


def _spread(values: Tensor, like: Tensor, axis: int) -> Tensor:
    """(B, size) values along one axis of (B, …, H, W), the same along all others."""
    shape = [len(values)] + [1] * (like.dim() - 1)
    shape[axis] = like.shape[axis]
    return values.reshape(shape).expand(like.shape)


def consistent_normals(normals: Tensor, zoom: Zoom, camera: Intrinsics) -> Tensor:
    """Surface normals of the scene that an enlarged part with its divided depth shows to the same camera.

    A pixel (u, v) of depth z is the point P = ((u − cx) z/fx, (v − cy) z/fy, z). The enlarged part of scale s with the
    corner (u₀, v₀) shows it at s (u − u₀), s (v − v₀) with depth z/s, which the camera takes for the point

        X' = (s (u − u₀) − cx) z / (s fx) = X + a Z,    a = (cx (1 − 1/s) − u₀) / fx,
        Y' = Y + b Z,                                   b = (cy (1 − 1/s) − v₀) / fy,
        Z' = Z / s.

    This is a linear map M of space: it flattens along the view, and shears where the part is not in the middle. Planes
    go to planes, and their normals by the inverse transpose of M, made to unit length again:

        n' ∝ (nx, ny, s (nz − a nx − b ny)).

    Args:
        normals: (B, 3, H, W), already of the part; 0 where unknown.
        zoom: of the batch.
        camera: of the pictures.

    Returns:
        (B, 3, H, W) in the same type; 0 where unknown.
    """
    scale, row, column = (values.double()[:, None, None] for values in (zoom.scale, zoom.row, zoom.column))
    a = (camera.cx * (1 - 1 / scale) - column) / camera.fx
    b = (camera.cy * (1 - 1 / scale) - row) / camera.fy
    x, y, z = normals.double().unbind(1)
    moved = F.normalize(torch.stack([x, y, scale * (z - a * x - b * y)], 1), dim=1).to(normals.dtype)
    # Whatever rounding does, a sample that is not enlarged stays as it is.
    return torch.where(scale[:, None] == 1, normals, moved)
