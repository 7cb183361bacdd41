"""From a seed to a room: its size, camera, windows, furniture and lights."""

import math
from collections.abc import Callable
from functools import partial

from benchmark.data.scenes import furniture, paint, wallthings
from benchmark.data.scenes.clutter import floor_lamp, floor_thing, plant
from benchmark.data.scenes.furniture import Item
from benchmark.data.scenes.model import Camera, Frame, Scene
from benchmark.data.scenes.plan import Plan
from benchmark.data.scenes.random import Draws

KINDS: dict[str, tuple[Callable[[Draws], Item], ...]] = {
    "bedroom": (
        furniture.bed, furniture.cabinet, furniture.cabinet, furniture.desk, furniture.bookcase, furniture.chair,
    ),
    "living": (
        furniture.sofa, furniture.television, furniture.table, furniture.bookcase, furniture.sofa, furniture.cabinet,
        furniture.chair,
    ),
    "study": (
        furniture.desk, furniture.bookcase, furniture.bookcase, furniture.cabinet, furniture.sofa, furniture.chair,
    ),
    "studio": (
        furniture.bed, furniture.sofa, furniture.television, furniture.desk, furniture.bookcase, furniture.table,
    ),
}  # fmt: skip


def make_scene(seed: int) -> Scene:
    """The scene of a seed; the same on every machine, whatever the size of the picture."""
    d = Draws(seed, "room")
    kind = d.choice(tuple(KINDS))
    size = (2.7 + 5 * d.uniform() ** 1.3, 2.7 + 5 * d.uniform() ** 1.3, d.uniform(2.35, 2.8))
    walls = paint.wallpaper(d)
    accent = d.integer(0, 7)
    shell = [paint.wallpaper(d) if i == accent else walls for i in range(4)]
    shell += [paint.boards(d), paint.wallpaper(d)]
    daylight = d.uniform(0.5, 1.0) if d.chance(0.75) else 0.0
    ambient = d.uniform(0.12, 0.3)
    tint = paint.hsv(d.uniform(), d.uniform(0, 0.2), ambient)
    scene = Scene(seed, size, tuple(shell), camera(Draws(seed, "camera"), size), tint)
    plan = Plan(scene)
    x, y, _ = scene.camera.position
    plan.floor.append((x, y, 0.45, 0.45))
    wallthings.architecture(plan, Draws(seed, "architecture"))
    wallthings.windows(plan, Draws(seed, "windows"), daylight)
    furnish(plan, Draws(seed, "furniture"), KINDS[kind])
    wallthings.decorate(plan, Draws(seed, "walls"))
    scatter(plan, Draws(seed, "floor"))
    wallthings.lamps(plan, Draws(seed, "lamps"), daylight)
    return scene


def camera(d: Draws, size: tuple[float, float, float]) -> Camera:
    """A camera held near a wall or corner that looks across the room."""
    w, depth, _ = size
    x, y = d.uniform(0.35, w - 0.35), d.uniform(0.35, 0.8)
    target = (d.uniform(0.15, 0.85) * w, d.uniform(0.6, 1.0) * depth)
    turn = d.integer(0, 3)
    if turn >= 2:
        # Look along x instead.
        x, y = d.uniform(0.35, 0.8), d.uniform(0.35, depth - 0.35)
        target = (d.uniform(0.6, 1.0) * w, d.uniform(0.15, 0.85) * depth)
    if turn % 2:
        x, y, target = w - x, depth - y, (w - target[0], depth - target[1])
    tint = [d.uniform(0.85, 1.15) for _ in range(3)]
    return Camera(
        position=(x, y, d.uniform(1.3, 1.6)),
        yaw=math.atan2(target[1] - y, target[0] - x),
        pitch=d.uniform(-0.4, 0.02),
        roll=d.uniform(-0.06, 0.06),
        exposure=d.uniform(0.65, 1.5),
        balance=(tint[0], tint[1], tint[2]),
        noise=d.uniform(0.2, 1.0),
        vignette=d.uniform(0.0, 0.35),
    )


def furnish(plan: Plan, d: Draws, kinds: tuple[Callable[[Draws], Item], ...]) -> None:
    """Place the room's furniture: most of it along walls, tables and chairs also in the middle."""
    for make in kinds + tuple(d.choice(kinds) for _ in range(d.integer(1, 4))):
        item = make(d)
        if make in (furniture.table, furniture.chair) or (make is furniture.sofa and d.chance(0.3)):
            placed = place_inside(plan, d, item)
        else:
            placed = place_at_wall(plan, d, item)
        if placed and make is furniture.table and item.height > 0.6:
            seat(plan, d, placed, item)


def place_at_wall(plan: Plan, d: Draws, item: Item) -> Frame | None:
    """Put an item with its back to some wall, where the camera sees it."""
    for _ in range(24):
        wall = d.integer(0, 3)
        free = plan.length(wall) - item.width
        if free < 0.02:
            continue
        along = item.width / 2 + d.uniform(0.01, free - 0.01)
        f = plan.on_wall(wall, along, off=item.depth / 2 + 0.01 + d.uniform(0.0, 0.06))
        area = (along - item.width / 2, along + item.width / 2, 0.0, item.height)
        if not plan.seen(f.x, f.y, 0.1 * item.width) or (item.height > 1.2 and near(plan, f)):
            continue
        if plan.wall_free(wall, area) and plan.take_floor(f, item):
            plan.walls[wall].append(area)
            item.build(f)
            return f
    return None


def place_inside(plan: Plan, d: Draws, item: Item) -> Frame | None:
    """Put an item somewhere on the floor that the camera sees, turned as it may be."""
    w, depth, _ = plan.scene.size
    for _ in range(20):
        yaw = d.integer(0, 3) * math.pi / 2 + d.uniform(-0.35, 0.35)
        f = Frame(plan.scene, d.uniform(0.5, w - 0.5), d.uniform(0.5, depth - 0.5), 0.0, yaw)
        if plan.seen(f.x, f.y) and not (item.height > 0.6 and near(plan, f)) and plan.take_floor(f, item):
            item.build(f)
            return f
    return None


def near(plan: Plan, f: Frame) -> bool:
    """Whether a place is so near to the camera that something high there would hide the room."""
    x, y, _ = plan.scene.camera.position
    return math.hypot(f.x - x, f.y - y) < 1.5


def seat(plan: Plan, d: Draws, place: Frame, item: Item) -> None:
    """Chairs around a table, each its own way, all of one make."""
    make = d.bits()
    for side in range(4):
        if not d.chance(0.6):
            continue
        chair = furniture.chair(Draws(make, "chair"))
        reach = (item.depth, item.width)[side % 2] / 2 + d.uniform(0.08, 0.3)
        turn = side * math.pi / 2
        f = place.at(-math.sin(turn) * reach, math.cos(turn) * reach, yaw=turn + math.pi + d.uniform(-0.3, 0.3))
        if plan.take_floor(f, Item(chair.width * 0.4, chair.depth * 0.4, chair.height, chair.build), margin=-0.12):
            chair.build(f)


def scatter(plan: Plan, d: Draws) -> None:
    """Lamps, plants and things on the floor."""
    for make, size, count in ((floor_lamp, 0.35, 1), (plant, 0.5, 1), (floor_thing, 0.4, d.integer(1, 3))):
        if make is not floor_thing and not d.chance(0.4):
            continue
        for _ in range(count):
            place_inside(plan, d, Item(size, size, 1.0, partial(_build, make, d)))


def _build(make: Callable[[Frame, Draws], None], d: Draws, f: Frame) -> None:
    make(f, d)
