"""From the nearest solid along each ray to its class, distance, normal and colour."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.data.scenes.intersect import FAR, Eyes, bounds, leave_room, nearest, pairs, project, solid_bounds
from benchmark.data.scenes.model import CYLINDER, ELLIPSOID, FOCAL, MAX_SOLIDS, SHELL
from benchmark.data.scenes.tensors import MATERIAL, Batch, Triple, dot, each, minus, plus, scaled, triple, unit
from benchmark.data.scenes.texture import albedo
from benchmark.exact import sqrt

#: A shadow must fall from before this share of the way to the light's surface point; the rest is rounding.
_CLEAR = 0.997


@dataclass(frozen=True)
class Surface:
    """What each pixel sees. All tensors are (B, pixels), in tiles.

    Attributes:
        depth: distance along the camera's axis in metres.
        position, normal: in world coordinates; normals face the camera.
        ray: from the camera, length 1 along its axis.
        u, v: metres along the surface.
        look: columns of the solid that is seen.
    """

    depth: Tensor
    position: Triple
    normal: Triple
    ray: Triple
    u: Tensor
    v: Tensor
    look: dict[str, Tensor]


def cast(batch: Batch, x: Tensor, y: Tensor) -> Surface:
    """Find what the cameras see. x, y: (tiles, pixels per tile) on the plane at distance 1."""
    views = batch.views
    eye = Eyes(*(each(lambda part: part[:, None], triple(views, name)) for name in "puvw"))
    scenes, tiles = batch.lit.shape[0], len(x)
    right, down, ahead = (each(lambda part: part.view(-1, 1, 1), axis) for axis in (eye.u, eye.v, eye.axis))
    ray = each(lambda part: part.flatten(0, 1), plus(plus(scaled(right, x), scaled(down, y)), ahead))
    ranges = (x.amin(1), y.amin(1), torch.zeros_like(x[:, 0]), x.amax(1), y.amax(1), torch.full_like(x[:, 0], FAR))
    seen = solid_bounds(eye, batch.corners)
    exists = torch.arange(batch.width, device=x.device)
    usable = ((exists >= 6) & (exists < batch.count))[:, None]
    found = pairs(tuple(part[None, None].expand(scenes, 1, -1) for part in ranges), seen, usable)
    solid = nearest(batch, eye, ray, found, tiles, 1).view(scenes, -1)
    flat = each(lambda part: part.view(scenes, -1), ray)
    shell, face = leave_room(batch, eye, flat)
    hit = solid < shell
    depth = torch.minimum(solid, shell)
    number = torch.where(hit, (solid.view(torch.int32) & (MAX_SOLIDS - 1)).to(torch.int64), face)
    rows = number + torch.arange(scenes, device=x.device)[:, None] * batch.width
    return _surface(batch, eye, flat, depth, rows)


def _surface(batch: Batch, eye: Eyes, ray: Triple, depth: Tensor, rows: Tensor) -> Surface:
    centre, matrix = batch.unit_space(rows)
    look = batch.columns(rows, ("hx", "hy", "hz", "kind", "label", "key", *MATERIAL))
    position = plus(eye.origin, scaled(ray, depth))
    rel = minus(position, centre)
    local = (dot(matrix[0], rel), dot(matrix[1], rel), dot(matrix[2], rel))
    kind = look["kind"]
    flat = _flat_normal(local)
    round_ = ((kind == CYLINDER) | (kind == ELLIPSOID)).float()
    side = torch.where(
        kind == CYLINDER, (local[0] * local[0] + local[1] * local[1] > local[2] * local[2]).float(), round_
    )
    ball = (kind == ELLIPSOID).float()
    cap = (1 - side) * round_
    flat = scaled(flat, 1 - round_)
    inner = plus(flat, (side * local[0], side * local[1], (ball + cap) * local[2]))
    inner = scaled(inner, 1 - 2 * (kind == SHELL).float())
    x, y, z = (matrix[0][i] * inner[0] + matrix[1][i] * inner[1] + matrix[2][i] * inner[2] for i in range(3))
    q = (local[0] * look["hx"], local[1] * look["hy"], local[2] * look["hz"])
    fx, fy, fz = (part.abs() for part in flat)
    fz = fz + cap
    around = _diamond(local[0], local[1]) * (look["hx"] + look["hy"]) * 0.785
    u = fx * q[1] + (fy + fz) * q[0] + side * around
    v = (fx + fy + side) * q[2] + fz * q[1]
    return Surface(depth, position, unit((x, y, z)), ray, u, v, look)


def _flat_normal(local: Triple) -> Triple:
    """The outward normal of the unit box at a point of its surface: the axis along which the point is outermost."""
    x, y, z = (part.abs() for part in local)
    on_x = ((x >= y) & (x >= z)).float()
    on_y = ((y > x) & (y >= z)).float()
    on_z = 1 - on_x - on_y
    return (on_x * local[0].sign(), on_y * local[1].sign(), on_z * local[2].sign())


def _diamond(x: Tensor, y: Tensor) -> Tensor:
    """An angle without trigonometry: from −2 to 2 around the origin."""
    across = 1 - x / (x.abs() + y.abs() + 1e-9)
    return torch.where(y < 0, -across, across)


def illuminate(batch: Batch, seen: Surface, width: int, tile_size: int) -> Triple:
    """Light that reaches the camera from what it sees, before exposure. (B, pixels) linear RGB."""
    normal, position = seen.normal, seen.position
    view = unit(scaled(seen.ray, torch.full_like(seen.depth, -1.0)))
    facing = dot(normal, view).clamp_min(0.15)
    footprint = seen.depth * (1 / (FOCAL * width)) / facing
    base = albedo(seen.look, seen.u, seen.v, footprint)
    diffuse = plus(_ambient(batch, seen), each(lambda part: seen.look["glow"], base))
    glints = each(torch.zeros_like, base)
    arrive, reach = _arrivals(batch, seen)
    clear = reach & ~_shadowed(batch, seen, reach, tile_size)
    for k in range(batch.lit.shape[1]):
        light = {name: column[:, k, None] for name, column in batch.lights.items()}
        towards = minus(triple(light, "p"), position)
        length2 = dot(towards, towards)
        strength = arrive[:, k] * clear[:, k].float() / (length2 + light["softness"])
        spot = dot(unit(plus(unit(towards), view)), normal).clamp_min(0)
        for _ in range(5):
            spot = spot * spot
        colour = (light["r"], light["g"], light["b"])
        diffuse = plus(diffuse, scaled(colour, strength))
        glints = plus(glints, scaled(colour, spot * seen.look["gloss"] * strength))
    return plus((base[0] * diffuse[0], base[1] * diffuse[1], base[2] * diffuse[2]), glints)


def _ambient(batch: Batch, seen: Surface) -> Triple:
    """Light from everywhere: a little less downwards, in corners, and near the floor."""
    rows = torch.arange(batch.lit.shape[0], device=seen.depth.device) * batch.width
    size = batch.columns(rows, ("hx", "hy", "hz"))
    strength = 0.85 + 0.15 * seen.normal[2]
    for axis, name in enumerate(("hx", "hy", "hz")):
        half = size[name][:, None]
        gap = (half - (seen.position[axis] - half).abs()).clamp_min(0)
        strength = strength * (1 - 0.06 / (gap + 0.15))
    views = batch.views
    red, green, blue = (strength * views["ambient_" + c][:, None] for c in "rgb")
    return (red, green, blue)


def _arrivals(batch: Batch, seen: Surface) -> tuple[Tensor, Tensor]:
    """Cosine of each light at each pixel, and where there is any light at all. (B, L, pixels) each."""
    light = {name: column[..., None] for name, column in batch.lights.items()}
    normal, position = (each(lambda part: part[:, None], a) for a in (seen.normal, seen.position))
    towards = minus(triple(light, "p"), position)
    inverse = 1 / sqrt(dot(towards, towards).clamp_min(1e-6))
    cosine = dot(normal, towards) * inverse
    along = -dot(triple(light, "w"), towards)
    arrive = cosine.clamp_min(0) * (1 + light["directed"] * (along * inverse - 1))
    inside = _through_window(light, towards, position)
    reach = (cosine > 0) & (along > 0.01) & batch.lit[..., None] & (inside | (light["portal"] == 0))
    return arrive, reach


def _through_window(light: dict[str, Tensor], towards: Triple, position: Triple) -> Tensor:
    """Whether the way to a light leads through its window."""
    on_y = light["axis"]
    ahead = towards[0] + (towards[1] - towards[0]) * on_y
    start = position[0] + (position[1] - position[0]) * on_y
    step = (light["plane"] - start) / (ahead + (ahead == 0).float())
    across = position[1] + towards[1] * step
    across = across + (position[0] + towards[0] * step - across) * on_y
    height = position[2] + towards[2] * step
    return (across > light["low"]) & (across < light["high"]) & (height > light["bottom"]) & (height < light["top"])


def _shadowed(batch: Batch, seen: Surface, reach: Tensor, tile_size: int) -> Tensor:
    """Whether a solid stands between each pixel's surface and each light. (B, L, pixels)"""
    lights = batch.lights
    eyes = Eyes(*(triple(lights, name) for name in "puvw"))
    scenes, count = batch.lit.shape
    points = each(lambda part: part[:, None], seen.position)
    cut = (-1, tile_size)
    tiles = bounds(each(lambda part: part.unflatten(-1, cut), project(eyes, points)), reach.unflatten(-1, cut))
    exists = torch.arange(batch.width, device=seen.depth.device)
    casts = batch.columns(exists + torch.arange(scenes, device=exists.device)[:, None] * batch.width, ("casts",))
    usable = ((casts["casts"] > 0) & (exists < batch.count))[:, None] & batch.lit[..., None]
    found = pairs(tiles, solid_bounds(eyes, batch.corners), usable)
    ways = minus(points, each(lambda part: part[..., None], eyes.origin))
    rays = each(lambda part: part.view(-1, tile_size), ways)
    first = nearest(batch, eyes, rays, found, reach.shape[-1] // tile_size, count)
    return first.view(reach.shape) < _CLEAR
