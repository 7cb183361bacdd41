"""What a scene is made of: solids, lights and a camera, as plain numbers ready to become tensors.

World axes: x and y along the floor, z up, metres. Camera axes: x right, y down, z forward.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

CLASSES = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall",
    "window",
)  # fmt: skip
#: Things that nobody labelled.
UNLABELLED = "unlabelled"
CLASS_IDS = {name: index for index, name in enumerate(CLASSES)} | {UNLABELLED: -1}

BOX, CYLINDER, ELLIPSOID, SHELL = range(4)

#: A winner's number is kept in the low bits of its distance, which leaves room for no more solids than this.
MAX_SOLIDS = 512
MAX_LIGHTS = 4

#: Focal length as a share of the picture's width: 61° of horizontal view.
FOCAL = 0.85

Vector = tuple[float, float, float]


class Material(NamedTuple):
    """How a surface looks: two colours mixed by a pattern that is a sum of four simple ones.

    Attributes:
        a, b: linear RGB.
        scale_u, scale_v: pattern cells per metre along the surface's two directions.
        noise, cells, lines, waves: weights of smooth noise, random cells, joints between cells, and stripes.
        gloss: strength of highlights.
        glow: light that the surface gives by itself.
        blind: how likely a depth sensor sees nothing there.
    """

    a: Vector
    b: Vector
    scale_u: float = 3.0
    scale_v: float = 3.0
    noise: float = 0.3
    cells: float = 0.0
    lines: float = 0.0
    waves: float = 0.0
    gloss: float = 0.0
    glow: float = 0.0
    blind: float = 0.0


class Light(NamedTuple):
    """A point that lights what it sees.

    Attributes:
        position: where; the sun is a point far away.
        axis: a direction; all that the light reaches lies on its positive side.
        colour: linear RGB; the light on a surface falls with 1 / (distance² + softness).
        directed: 0 for a bare lamp, 1 for a flat light that fades with the angle to its axis.
        portal: ``(wall axis 0 or 1, plane, from, to, bottom, top)`` of the window through which it shines, if any.
    """

    position: Vector
    axis: Vector
    colour: Vector
    softness: float
    directed: float
    portal: tuple[float, float, float, float, float, float] | None = None


class Solid(NamedTuple):
    """A box, cylinder or ellipsoid: the unit one, scaled by ``half``, tilted about x, turned about z, moved."""

    kind: int
    label: int
    material: Material
    centre: Vector
    half: Vector
    yaw: float
    tilt: float
    casts: bool


@dataclass
class Camera:
    """Where the picture is taken from, and how the sensor behaves."""

    position: Vector
    yaw: float
    pitch: float
    roll: float
    exposure: float
    balance: Vector
    noise: float
    vignette: float

    def frame(self) -> np.ndarray:
        """Right, down and forward in world coordinates. (3, 3)"""
        cy, sy, cp, sp = math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)
        forward = np.array([cy * cp, sy * cp, sp])
        right = np.array([sy, -cy, 0.0])
        down = np.cross(forward, right)
        cr, sr = math.cos(self.roll), math.sin(self.roll)
        return np.stack([cr * right + sr * down, cr * down - sr * right, forward])


@dataclass
class Scene:
    """One room: ``shell`` holds the materials of the faces −x, +x, −y, +y, floor and ceiling."""

    seed: int
    size: Vector
    shell: tuple[Material, ...]
    camera: Camera
    ambient: Vector
    solids: list[Solid] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)


@dataclass(frozen=True)
class Frame:
    """A place in a scene with its own directions: x along the width, y to the front, z up."""

    scene: Scene
    x: float
    y: float
    z: float
    yaw: float

    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> "Frame":
        """A frame relative to this one."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return Frame(self.scene, self.x + c * x - s * y, self.y + s * x + c * y, self.z + z, self.yaw + yaw)

    def add(
        self,
        label: str,
        material: Material,
        centre: Vector,
        size: Vector,
        *,
        kind: int = BOX,
        yaw: float = 0.0,
        tilt: float = 0.0,
        casts: bool = True,
    ) -> None:
        """Put a solid of the given full size into the scene; one too many is left out."""
        if len(self.scene.solids) + len(self.scene.shell) >= MAX_SOLIDS:
            return
        place = self.at(*centre)
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self.scene.solids.append(
            Solid(kind, CLASS_IDS[label], material, (place.x, place.y, place.z), half, self.yaw + yaw, tilt, casts)
        )
