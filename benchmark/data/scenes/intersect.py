"""What rays meet: tiles of pixels against solids, by way of pairs that a cheap test leaves over."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.data.scenes.model import BOX, CYLINDER, ELLIPSOID, MAX_SOLIDS
from benchmark.data.scenes.tensors import Batch, Triple, dot, each, minus
from benchmark.exact import sqrt_

#: Side of a tile in pixels: small enough to leave out most solids, large enough for vector arithmetic.
TILE = 8
#: Nothing nearer than this is seen, in units of the ray's length.
NEAR = 1e-3
#: Distance of a miss; every hit is nearer.
FAR = 1e3
#: A miss by the least possible amount times this is beyond FAR.
_PENALTY = 1e16


@dataclass(frozen=True)
class Eyes:
    """Points that look along an axis: cameras and lights. Each component is (B, V): V eyes in each of B scenes."""

    origin: Triple
    u: Triple
    v: Triple
    axis: Triple

    def flat(self, index: Tensor) -> Triple:
        """The origins of some eyes, numbered through the batch."""
        return each(lambda part: part.flatten().index_select(0, index), self.origin)


def project(eyes: Eyes, points: Triple) -> Triple:
    """Coordinates on the plane at distance 1, and the distance along the axis. (B, V, …) from points (B, V or 1, …)."""
    shape = eyes.origin[0].shape + (1,) * (points[0].dim() - 2)
    origin, u, v, axis = (each(lambda part: part.view(shape), a) for a in (eyes.origin, eyes.u, eyes.v, eyes.axis))
    rel = minus(points, origin)
    along = dot(rel, axis)
    inverse = 1 / along.clamp_min(NEAR)
    return dot(rel, u) * inverse, dot(rel, v) * inverse, along


def bounds(points: Triple, use: Tensor) -> tuple[Tensor, ...]:
    """Ranges over the last axis of those projected points that are in use; empty where none is. Each (…)."""
    along = points[2]
    # Adding a large number where a point is not in use is several times faster than choosing.
    unused = (~use | (along <= NEAR)).to(along.dtype) * (FAR * FAR)
    low = [(part + unused).amin(-1) for part in points]
    high = [(part - unused).amax(-1) for part in points]
    return (*low, *high)


def solid_bounds(eyes: Eyes, corners: Triple) -> tuple[Tensor, ...]:
    """Ranges of every solid as every eye sees it; without limit where it is beside or behind the eye. (B, V, P)."""
    x, y, along = project(eyes, each(lambda part: part[:, None], corners))
    behind = along <= NEAR
    some = behind.any(-1)
    none = behind.all(-1)
    low = [torch.where(some, -FAR * FAR, part.amin(-1)) for part in (x, y)]
    high = [torch.where(some, FAR * FAR, part.amax(-1)) for part in (x, y)]
    return (*low, torch.where(none, FAR * FAR * FAR, along.amin(-1)), *high)


def pairs(tiles: tuple[Tensor, ...], solids: tuple[Tensor, ...], usable: Tensor) -> tuple[Tensor, Tensor]:
    """Which solids may meet rays of which tiles.

    Args:
        tiles: ranges (B, V, T): low x, y, distance and high x, y, distance.
        solids: ranges (B, V, P): low x, y, distance and high x, y.
        usable: (B, V, P).

    Returns:
        (M,) tiles, numbered through the batch, in rising order; (M,) solids of the same scene, numbered within it.
    """
    slack = 1e-4
    x0, y0, _, x1, y1, z1 = (part[..., None] for part in tiles)
    sx0, sy0, sz0, sx1, sy1 = (part[:, :, None] for part in solids)
    apart = torch.maximum(torch.maximum(sx0 - x1, x0 - sx1), torch.maximum(sy0 - y1, y0 - sy1))
    apart = torch.maximum(apart, sz0 - z1)
    found = ((apart <= slack) & usable[:, :, None]).flatten(0, 2).nonzero()  # (M, 2)
    return found[:, 0], found[:, 1]


def nearest(batch: Batch, eyes: Eyes, rays: Triple, found: tuple[Tensor, Tensor], per_eye: int, shared: int) -> Tensor:
    """Distance of the nearest solid along each ray, FAR or more where there is none.

    Args:
        batch: the scenes.
        eyes: origins of the rays.
        rays: per component (tiles, pixels per tile).
        found: what ``pairs`` found.
        per_eye: tiles per eye.
        shared: eyes per scene.

    Returns:
        (tiles, pixels per tile), in units of the ray's length; the number of the solid is in the lowest bits, which
        costs a relative 2⁻¹⁴ of precision and saves a second search.
    """
    tile, solid = found
    best = torch.full_like(rays[0], FAR)
    eye = tile // per_eye
    row = eye // shared * batch.width + solid
    kinds = batch.columns(row, ("kind",))["kind"]
    for kind, meet in ((BOX, _meet_box), (CYLINDER, _meet_cylinder), (ELLIPSOID, _meet_ellipsoid)):
        chosen = (kinds == kind).nonzero().flatten()
        if not len(chosen):
            continue
        at = tile.index_select(0, chosen)
        centre, matrix = batch.unit_space(row.index_select(0, chosen))
        rel = minus(eyes.flat(eye.index_select(0, chosen)), centre)
        ray = each(lambda part: part.index_select(0, at), rays)  # noqa: B023
        origin = (dot(matrix[0], rel)[:, None], dot(matrix[1], rel)[:, None], dot(matrix[2], rel)[:, None])
        direction = (_apply(matrix[0], ray), _apply(matrix[1], ray), _apply(matrix[2], ray))
        distance = meet(origin, direction)
        tagged = (distance.view(torch.int32) & -MAX_SOLIDS) | solid.index_select(0, chosen).int()[:, None]
        best.scatter_reduce_(0, at[:, None].expand_as(tagged), tagged.view(torch.float32), "amin")
    return best


def _apply(line: Triple, ray: Triple) -> Tensor:
    """A matrix row (M) times directions (M, pixels), in place where it can be. Never exactly 0, so that it divides."""
    total = ray[0] * line[0][:, None]
    total += ray[1] * line[1][:, None]
    total += ray[2] * line[2][:, None]
    total += 1e-12
    return total


def _settle(enter: Tensor, leave: Tensor, *more: Tensor) -> Tensor:
    """``enter`` where a ray is inside from ``enter`` to ``leave``; beyond FAR where it never is or starts inside."""
    miss = torch.sub(enter, leave).clamp_min_(0)
    for part in more:
        miss += part.clamp_min_(0)
    miss += torch.sub(NEAR, enter).clamp_min_(0)
    miss *= _PENALTY
    miss += enter
    return miss


def _slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where a ray enters and leaves −1 … 1 along one axis. (M, 1) and (M, pixels) -> (M, pixels)."""
    inverse = direction.reciprocal_()
    middle = inverse * -origin
    inverse.abs_()
    enter = middle - inverse
    middle += inverse
    return enter, middle


def _meet_box(origin: Triple, direction: Triple) -> Tensor:
    enter, leave = _slab(origin[0], direction[0])
    for o, d in zip(origin[1:], direction[1:], strict=True):
        low, high = _slab(o, d)
        torch.maximum(enter, low, out=enter)
        torch.minimum(leave, high, out=leave)
    return _settle(enter, leave)


def _chord(origin: tuple[Tensor, ...], direction: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Where a ray enters and leaves the unit circle or sphere, and how far it stays outside.

    By way of the point nearest to the centre: the usual discriminant cancels away for a thin leg seen from the sun.
    """
    square, inner = _inner(direction, direction), _inner(direction, origin)
    inverse = (square + 1e-12).reciprocal_()
    middle = inner.neg_().mul_(inverse)
    outside = torch.full_like(middle, -1.0)
    for o, d in zip(origin, direction, strict=True):
        closest = middle * d
        closest += o
        closest *= closest
        outside += closest
    half = sqrt_(torch.neg(outside).clamp_min_(0).mul_(inverse))
    return middle - half, middle.add_(half), outside


def _inner(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor:
    total = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        total += x * y
    return total


def _meet_cylinder(origin: Triple, direction: Triple) -> Tensor:
    enter, leave, outside = _chord(origin[:2], direction[:2])
    low, high = _slab(origin[2], direction[2])
    return _settle(torch.maximum(enter, low), torch.minimum(leave, high), outside)


def _meet_ellipsoid(origin: Triple, direction: Triple) -> Tensor:
    return _settle(*_chord(origin, direction))


def leave_room(batch: Batch, eyes: Eyes, rays: Triple) -> tuple[Tensor, Tensor]:
    """Where camera rays reach the room's shell, and which of its faces. (B, pixels) each; one eye per scene."""
    scenes = torch.arange(batch.lit.shape[0], device=rays[0].device) * batch.width
    centre, matrix = batch.unit_space(scenes)
    rel = minus(eyes.flat(scenes // batch.width), centre)
    best, face = torch.full_like(rays[0], FAR), torch.zeros_like(rays[0], dtype=torch.int64)
    for axis, line in enumerate(matrix):
        d = (line[0][:, None] * rays[0] + line[1][:, None] * rays[1] + line[2][:, None] * rays[2]) + 1e-12
        _, leave = _slab(dot(line, rel)[:, None], d.clone())
        face = torch.where(leave < best, (d > 0) + 2 * axis, face)
        best = torch.minimum(best, leave)
    return best, face
