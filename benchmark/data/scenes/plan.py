"""A room's plan while it is being furnished: what is taken of its floor and walls, and what the camera sees."""

import math
from dataclasses import dataclass, field

from benchmark.data.scenes.furniture import Item
from benchmark.data.scenes.model import FOCAL, Frame, Scene


@dataclass
class Plan:
    """What is taken: parts of the floor and of each wall, as rectangles.

    Attributes:
        floor: ``(x, y, half width, half depth)`` of bounding boxes along the world axes.
        walls: per wall ``(from, to, bottom, top)``.
    """

    scene: Scene
    floor: list[tuple[float, float, float, float]] = field(default_factory=list)
    walls: tuple[list[tuple[float, float, float, float]], ...] = field(default_factory=lambda: ([], [], [], []))

    def length(self, wall: int) -> float:
        """How long a wall is. Walls are numbered y = 0, x = width, y = depth, x = 0."""
        return self.scene.size[wall % 2]

    def on_wall(self, wall: int, along: float, z: float = 0.0, off: float = 0.0) -> Frame:
        """The frame at a place of a wall, with +y into the room."""
        w, d, _ = self.scene.size
        x, y, yaw = ((along, 0.0, 0), (w, along, 1), (w - along, d, 2), (0.0, d - along, 3))[wall]
        return Frame(self.scene, x, y, z, yaw * math.pi / 2).at(0, off)

    def wall_free(self, wall: int, area: tuple[float, float, float, float]) -> bool:
        """Whether nothing covers any of this part of the wall."""
        low, high, bottom, top = area
        return all(high < a or low > b or top < c or bottom > e for a, b, c, e in self.walls[wall])

    def take_floor(self, f: Frame, item: Item, margin: float = 0.04) -> bool:
        """Take the item's footprint if it is free and inside the room."""
        c, s = abs(math.cos(f.yaw)), abs(math.sin(f.yaw))
        hx, hy = (c * item.width + s * item.depth) / 2, (s * item.width + c * item.depth) / 2
        w, d, _ = self.scene.size
        if f.x - hx < 0.005 or f.y - hy < 0.005 or f.x + hx > w - 0.005 or f.y + hy > d - 0.005:
            return False
        hx, hy = hx + margin, hy + margin
        if any(abs(f.x - x) < hx + a and abs(f.y - y) < hy + b for x, y, a, b in self.floor):
            return False
        self.floor.append((f.x, f.y, hx, hy))
        return True

    def seen(self, x: float, y: float, reach: float = 0.0) -> bool:
        """Whether a place is within the camera's horizontal view, and not just before it."""
        camera = self.scene.camera
        dx, dy = x - camera.position[0], y - camera.position[1]
        c, s = math.cos(camera.yaw), math.sin(camera.yaw)
        ahead, aside = c * dx + s * dy, abs(c * dy - s * dx)
        return ahead > 0.9 and aside < ahead * 0.5 / FOCAL + reach
