"""Scenes as tensors on a device, and the arithmetic that all of the renderer keeps to.

Only operations that IEEE 754 defines to the last bit are used on pixels (add, multiply, divide, square root, minimum,
comparison, whole numbers), each as a tensor operation of its own, and no sum of floats over an axis: a pixel's value
then depends neither on the batch around it nor on vector width, threads or device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.data.scenes.model import MAX_LIGHTS, SHELL, Light, Scene, Solid
from benchmark.data.scenes.random import Draws
from benchmark.exact import sqrt

#: Three tensors, x, y and z: sums over components are written out, so that their order is fixed.
Triple = tuple[Tensor, Tensor, Tensor]

_CENTRE = ("cx", "cy", "cz")
_AFFINE = ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz")
_HALF = ("hx", "hy", "hz")
MATERIAL = (
    "ar", "ag", "ab", "br", "bg", "bb", "scale_u", "scale_v", "noise", "cells", "lines", "waves", "gloss", "glow",
    "blind",
)  # fmt: skip
COLUMNS = (*_CENTRE, *_AFFINE, *_HALF, "kind", "label", "casts", "key", *MATERIAL)

_LIGHT = (
    "px", "py", "pz", "ux", "uy", "uz", "vx", "vy", "vz", "wx", "wy", "wz", "r", "g", "b", "softness", "directed",
    "portal", "axis", "plane", "low", "high", "bottom", "top",
)  # fmt: skip
_VIEW = (
    "px", "py", "pz", "ux", "uy", "uz", "vx", "vy", "vz", "wx", "wy", "wz", "exposure", "balance_r", "balance_g",
    "balance_b", "noise", "vignette", "ambient_r", "ambient_g", "ambient_b", "key",
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Some scenes on a device. Solid 0 to 5 of each are the faces of its room.

    Attributes:
        table: (columns, B * P) float32, one row for each of ``COLUMNS``.
        corners: per component (B, P, 8), the corners of each solid's bounding box.
        count: (B, 1) how many of the P solids there are.
        lights: per column (B, L).
        lit: (B, L) whether there is such a light.
        views: per column (B,), the cameras.
    """

    table: Tensor
    corners: Triple
    count: Tensor
    lights: dict[str, Tensor]
    lit: Tensor
    views: dict[str, Tensor]

    @property
    def width(self) -> int:
        """P, the number of solids after padding."""
        return self.corners[0].shape[1]

    def columns(self, rows: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Some columns of some solids, numbered through the batch. Each column has the shape of ``rows``."""
        picked = self.table[[COLUMNS.index(name) for name in names]].index_select(1, rows.flatten())
        return dict(zip(names, picked.unflatten(1, rows.shape).unbind(0), strict=True))

    def unit_space(self, rows: Tensor) -> tuple[Triple, tuple[Triple, Triple, Triple]]:
        """Centres of some solids, and the rows of the matrices that map them to unit ones."""
        c = self.columns(rows, _CENTRE + _AFFINE)
        centre = (c["cx"], c["cy"], c["cz"])
        return centre, (triple(c, "x"), triple(c, "y"), triple(c, "z"))


def each(change: Callable[[Tensor], Tensor], a: Triple) -> Triple:
    """Change all three components."""
    return (change(a[0]), change(a[1]), change(a[2]))


def dot(a: Triple, b: Triple) -> Tensor:
    """Inner product over x, y, z."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def minus(a: Triple, b: Triple) -> Triple:
    """Difference."""
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


def plus(a: Triple, b: Triple) -> Triple:
    """Sum."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def scaled(a: Triple, by: Tensor) -> Triple:
    """Product with a number per pixel."""
    return (a[0] * by, a[1] * by, a[2] * by)


def unit(a: Triple) -> Triple:
    """The same direction at length 1."""
    return scaled(a, 1 / sqrt(dot(a, a).clamp_min(1e-20)))


def triple(columns: dict[str, Tensor], prefix: str) -> Triple:
    """Columns ``<prefix>x``, ``<prefix>y``, ``<prefix>z``."""
    return (columns[prefix + "x"], columns[prefix + "y"], columns[prefix + "z"])


def pack(scenes: Sequence[Scene], device: torch.device | str) -> Batch:
    """Scenes as one batch on a device."""
    solids = [_solids(scene) for scene in scenes]
    width = max(len(scene.solids) + len(scene.shell) for scene in scenes)
    table = np.zeros((len(scenes), width, len(COLUMNS)), np.float32)
    corners = np.zeros((len(scenes), width, 8, 3), np.float32)
    lights = np.zeros((len(scenes), MAX_LIGHTS, len(_LIGHT)), np.float32)
    for i, (scene, (rows, points)) in enumerate(zip(scenes, solids, strict=True)):
        table[i, : len(rows)], corners[i, : len(rows)] = rows, points
        for k, light in enumerate(scene.lights):
            lights[i, k] = _light(light)
    views = np.array([_view(scene) for scene in scenes], np.float32)

    def send(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    x, y, z = (send(corners[..., i]) for i in range(3))
    return Batch(
        table=send(table.reshape(-1, len(COLUMNS)).T),
        corners=(x, y, z),
        count=send(np.array([[len(rows)] for rows, _ in solids])),
        lights=dict(zip(_LIGHT, send(lights.transpose(2, 0, 1)).unbind(0), strict=True)),
        lit=send(np.arange(MAX_LIGHTS) < np.array([[len(scene.lights)] for scene in scenes])),
        views=dict(zip(_VIEW, send(views.T).unbind(0), strict=True)),
    )


def _solids(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(P, columns) and (P, 8, 3), computed in double precision."""
    w, d, h = scene.size
    shell = [
        Solid(SHELL, label, material, (w / 2, d / 2, h / 2), (w / 2, d / 2, h / 2), 0.0, 0.0, False)
        for material, label in zip(scene.shell, (11, 11, 11, 11, 4, 2), strict=True)
    ]
    solids = shell + scene.solids
    keys = Draws(scene.seed, "textures")
    rest = np.array(
        [
            (s.kind, s.label, s.casts, keys.bits() & 0xFFFFFF, *s.material.a, *s.material.b, *s.material[2:])
            for s in solids
        ]
    )
    centre, half = np.array([s.centre for s in solids]), np.array([s.half for s in solids])
    # From the mathematics library one by one: numpy's vectors of sines differ between processors.
    turns = [(math.cos(s.yaw), math.sin(s.yaw), math.cos(s.tilt), math.sin(s.tilt)) for s in solids]
    cy, sy, ct, st = np.array(turns).T
    # The columns of the rotation are the solid's own axes in the world.
    axes = np.stack(
        [cy, sy, np.zeros_like(cy), -sy * ct, cy * ct, st, sy * st, -cy * st, ct], axis=1
    ).reshape(-1, 3, 3)  # fmt: skip
    signs = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)]) * 2 - 1
    corners = centre[:, None] + ((signs * half[:, None])[..., None] * axes[:, None]).sum(2)
    affine = (axes / half[..., None]).reshape(-1, 9)
    return np.concatenate([centre, affine, half, rest], axis=1), corners


def _light(light: Light) -> tuple[float, ...]:
    axis = np.array(light.axis)
    u = np.array((0.0, 0.0, 1.0)) if abs(axis[2]) < 0.5 else np.array((1.0, 0.0, 0.0))
    v = np.cross(axis, u)
    portal = (1.0, *light.portal) if light.portal else (0.0,) * 7
    return (*light.position, *u, *v, *axis, *light.colour, light.softness, light.directed, *portal)


def _view(scene: Scene) -> tuple[float, ...]:
    camera = scene.camera
    frame = camera.frame().ravel()
    key = Draws(scene.seed, "sensor").bits() & 0xFFFFFF
    look = (camera.exposure, *camera.balance, camera.noise, camera.vignette)
    return (*camera.position, *frame, *look, *scene.ambient, key)
