"""What belongs to the walls and the ceiling: columns, doors, windows, pictures, shelves, lamps."""

import math

from benchmark.data.scenes import paint
from benchmark.data.scenes.clutter import bookcase_filling, books_upright
from benchmark.data.scenes.furniture import screen
from benchmark.data.scenes.model import CYLINDER, ELLIPSOID, MAX_LIGHTS, Frame, Light, Vector
from benchmark.data.scenes.plan import Plan
from benchmark.data.scenes.random import Draws

Area = tuple[float, float, float, float]


def free_area(
    plan: Plan, d: Draws, size: tuple[float, float], bottom: tuple[float, float], seen: bool = True
) -> tuple[int, Area] | None:
    """A free part of some wall, of the given size, its lower edge within ``bottom``; taken when found."""
    w, h = size
    for _ in range(10):
        wall, z = d.integer(0, 3), d.uniform(*bottom)
        free = plan.length(wall) - w
        if free < 0.2 or z + h > plan.scene.size[2] - 0.05:
            continue
        along = w / 2 + d.uniform(0.1, free - 0.1)
        area = (along - w / 2, along + w / 2, z, z + h)
        f = plan.on_wall(wall, along)
        if (not seen or plan.seen(f.x, f.y)) and plan.wall_free(wall, area):
            plan.walls[wall].append(area)
            return wall, area
    return None


def middle(plan: Plan, wall: int, area: Area) -> tuple[Frame, float, float]:
    """The frame in the middle of a part of a wall, and its width and height."""
    low, high, bottom, top = area
    return plan.on_wall(wall, (low + high) / 2, (bottom + top) / 2), high - low, top - bottom


def architecture(plan: Plan, d: Draws) -> None:
    """In some rooms a column, ceiling beams, skirting boards, a door, a rug."""
    scene = plan.scene
    w, depth, height = scene.size
    if d.chance(0.25):
        deep, wide = d.uniform(0.15, 0.4), d.uniform(0.3, 0.8)
        spot = free_area(plan, d, (wide, height - 0.06), (0.0, 0.0))
        if spot:
            f, _, _ = middle(plan, *spot)
            f.at(0, deep / 2, height / 2 - f.z).add("wall", scene.shell[0], (0, 0, 0), (wide, deep, height - 0.002))
            x, y = f.at(0, deep / 2).x, f.at(0, deep / 2).y
            plan.floor.append((x, y, max(wide, deep) / 2, max(wide, deep) / 2))
    if d.chance(0.2):
        beam, thick = paint.wood(d), d.uniform(0.08, 0.2)
        for i in range(3):
            Frame(scene, w * (i + 0.5) / 3, depth / 2, height, 0).add(
                "ceiling", beam, (0, 0, -thick / 2 - 0.001), (thick, depth - 0.004, thick)
            )
    if d.chance(0.6):
        board, h = paint.plain(d), d.uniform(0.07, 0.14)
        for wall in range(4):
            length = plan.length(wall)
            plan.on_wall(wall, length / 2).add("wall", board, (0, 0.005, h / 2), (length - 0.03, 0.01, h))
    if d.chance(0.4):
        spot = free_area(plan, d, (d.uniform(0.8, 0.95), 2.05), (0.0, 0.0))
        if spot:
            door(plan, d, *spot)
    if d.chance(0.55):
        rug = paint.fabric(d)
        kind, size = d.choice((0, 0, CYLINDER)), (d.uniform(1.2, 2.2), d.uniform(0.9, 1.6))
        f = Frame(scene, d.uniform(0.35, 0.65) * w, d.uniform(0.35, 0.65) * depth, 0, d.uniform(-0.3, 0.3))
        f.add("floor", rug, (0, 0, 0.004), (min(size[0], w * 0.7), min(size[1], depth * 0.7), 0.012), kind=kind)


def door(plan: Plan, d: Draws, wall: int, area: Area) -> None:
    """A door is part of the wall, as in the 13 classes of NYUv2; nothing stands before it."""
    f, w, h = middle(plan, wall, area)
    rim, leaf = paint.wood(d), paint.wood(d)
    f.add("wall", rim, (0, 0.015, 0), (w, 0.03, h))
    f.add("wall", leaf, (0, 0.025, -0.02), (w - 0.14, 0.03, h - 0.08))
    f.add("objects", paint.plain(d), (w / 2 - 0.15, 0.07, 0), (0.12, 0.04, 0.03))
    front = f.at(0, 0.4)
    plan.floor.append((front.x, front.y, 0.35, 0.35))


def windows(plan: Plan, d: Draws, daylight: float) -> None:
    """One or two windows with frame, bars, sill and curtains; by day they let light and perhaps the sun in."""
    curtain = paint.fabric(d)
    rim = paint.plain(d)
    for index in range(d.choice((1, 1, 2))):
        sill = d.uniform(0.5, 1.0)
        top = plan.scene.size[2] - d.uniform(0.2, 0.4)
        spot = free_area(plan, d, (d.uniform(0.8, 1.7), top - sill), (sill, sill), seen=index == 0 or d.chance(0.5))
        if not spot:
            continue
        f, w, h = middle(plan, *spot)
        f.add("window", paint.pane(d, daylight), (0, 0.004, 0), (w - 0.04, 0.006, h - 0.04), casts=False)
        for side in (-1, 1):
            f.add("window", rim, (side * (w / 2 - 0.03), 0.02, 0), (0.06, 0.05, h))
            f.add("window", rim, (0, 0.02, side * (h / 2 - 0.03)), (w - 0.12, 0.05, 0.06))
        bars = d.integer(0, 2)
        for i in range(bars):
            f.add("window", rim, ((i + 1) / (bars + 1) * w - w / 2, 0.02, 0), (0.04, 0.035, h - 0.12))
        if d.chance(0.4):
            f.add("window", rim, (0, 0.02, d.uniform(-0.1, 0.3) * h), (w - 0.12, 0.03, 0.04))
        f.add("window", rim, (0, 0.08, -h / 2 - 0.02), (w + 0.08, 0.16, 0.035))
        if d.chance(0.55):
            drape(f, d, curtain, w, h)
        if daylight:
            shine(plan, d, *spot, daylight)


def drape(f: Frame, d: Draws, cloth: paint.Material, w: float, h: float) -> None:
    """Two curtains of a few folds on their rod."""
    drop, folds = h + d.uniform(0.1, 0.25), d.integer(2, 4)
    wide = d.uniform(0.08, 0.12)
    for side in (-1, 1):
        for i in range(folds):
            x = side * (w / 2 + 0.08 - i * wide * 0.75)
            f.add("window", cloth, (x, 0.13, (h - drop) / 2 + 0.05), (wide, 0.07, drop), kind=CYLINDER)
    f.add("window", cloth, (0, 0.13, h / 2 + 0.06), (w + 0.3, 0.03, 0.03))


def shine(plan: Plan, d: Draws, wall: int, area: Area, daylight: float) -> None:
    """The sky's light from a window, and in some cases the sun's."""
    f, w, h = middle(plan, wall, area)
    inward: Vector = (-math.sin(f.yaw), math.cos(f.yaw), 0.0)
    lights = plan.scene.lights
    spot = f.at(0, -0.25, 0.1)
    power = daylight * w * h * d.uniform(0.5, 1.0)
    if len(lights) < MAX_LIGHTS - 2:
        lights.append(Light((spot.x, spot.y, spot.z), inward, paint.hsv(0.58, d.uniform(0, 0.25), power), 0.6, 1.0))
    if d.chance(0.45) and not any(light.portal for light in lights):
        far = 40.0
        sun = f.at(d.uniform(-0.7, 0.7) * far, -0.75 * far, d.uniform(0.35, 0.8) * far)
        c = paint.hsv(0.1, d.uniform(0.1, 0.35), daylight * d.uniform(1.2, 2.6) * far * far * 1.5)
        low, high, bottom, top = area
        ends = (plan.on_wall(wall, low + 0.03), plan.on_wall(wall, high - 0.03))
        axis = 1 - wall % 2
        plane, across = (f.y, [e.x for e in ends]) if axis else (f.x, [e.y for e in ends])
        portal = (float(axis), plane, min(across), max(across), bottom + 0.03, top - 0.03)
        lights.append(Light((sun.x, sun.y, sun.z), inward, c, 1.0, 0.0, portal))


def decorate(plan: Plan, d: Draws) -> None:
    """Pictures, and in some rooms a shelf board or a screen on the wall."""
    if d.chance(0.2):
        w = d.uniform(0.8, 1.3)
        spot = free_area(plan, d, (w, w * 0.57), (1.0, 1.3))
        if spot:
            f, w, h = middle(plan, *spot)
            screen(f.at(0, 0.06), d, w, h)
    if d.chance(0.3):
        spot = free_area(plan, d, (d.uniform(0.6, 1.2), 0.34), (1.2, 1.5))
        if spot:
            f, w, h = middle(plan, *spot)
            f.add("furniture", paint.wood(d), (0, 0.12, -h / 2 + 0.015), (w, 0.24, 0.03))
            shelf = f.at(0, 0.12, -h / 2 + 0.031)
            if d.chance(0.75):
                books_upright(shelf, d, w * d.uniform(0.5, 0.95), 0.22, 0.26)
            else:
                bookcase_filling(shelf, d, w * 0.9, 0.22, 0.28)
    rim = paint.wood(d)
    for _ in range(d.integer(1, 4)):
        size = (d.uniform(0.4, 1.0), d.uniform(0.4, 0.85))
        spot = free_area(plan, d, size, (1.15, 1.55))
        if spot:
            picture(plan, d, rim, *spot)


def picture(plan: Plan, d: Draws, rim: paint.Material, wall: int, area: Area) -> None:
    """A picture in its frame, with or without a mount."""
    f, w, h = middle(plan, wall, area)
    edge = d.uniform(0.02, 0.05)
    f.add("picture", rim, (0, 0.017, 0), (w, 0.03, h))
    if d.chance(0.5):
        f.add("picture", paint.plain(d), (0, 0.019, 0), (w - 2 * edge, 0.034, h - 2 * edge))
        edge += d.uniform(0.05, 0.09)
    f.add("picture", paint.painting(d), (0, 0.021, 0), (w - 2 * edge, 0.037, h - 2 * edge))


def lamps(plan: Plan, d: Draws, daylight: float) -> None:
    """A ceiling lamp, in some rooms a second one; by day they may be off."""
    scene = plan.scene
    w, depth, height = scene.size
    count = d.choice((1, 1, 2))
    on = daylight == 0.0 or not scene.lights or d.chance(0.6)
    for i in range(count):
        x = w * (0.5 if count == 1 else 0.3 + 0.4 * i) + d.uniform(-0.4, 0.4)
        f = Frame(scene, x, depth * d.uniform(0.35, 0.65), height, 0)
        shade = paint.lit(d, d.uniform(0.9, 1.6) * on + 0.05)
        drop = d.uniform(0.35, 0.65) if d.chance(0.5) else 0.0
        if drop:
            size = d.uniform(0.25, 0.5)
            f.add("objects", paint.plain(d), (0, 0, -drop / 2), (0.02, 0.02, drop), kind=CYLINDER, casts=False)
            f.add(
                "objects",
                shade,
                (0, 0, -drop),
                (size, size, size * 0.6),
                kind=d.choice((CYLINDER, ELLIPSOID)),
                casts=False,
            )
        else:
            f.add("objects", shade, (0, 0, -0.02), (0.4, 0.4, 0.2), kind=ELLIPSOID, casts=False)
        if on and len(scene.lights) < MAX_LIGHTS:
            power = d.uniform(1.2, 3.0) / count
            c = paint.hsv(d.uniform(0.06, 0.16), d.uniform(0.0, 0.4), power)
            place = (f.x, f.y, height - max(drop, 0.12))
            scene.lights.append(Light(place, (0.0, 0.0, -1.0), c, 0.4, 0.0))
