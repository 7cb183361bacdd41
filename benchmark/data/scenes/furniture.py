"""Furniture of boxes, cylinders and ellipsoids. Each function draws a thing's size, and its solids once placed."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.data.scenes import paint
from benchmark.data.scenes.clutter import bookcase_filling, clutter, pillow
from benchmark.data.scenes.model import CYLINDER, ELLIPSOID, Frame, Material
from benchmark.data.scenes.random import Draws


@dataclass(frozen=True)
class Item:
    """A thing to place: its footprint (width along x, depth along y), its height, and how to build it.

    ``build`` gets the frame in the middle of the footprint on the floor, with the item's front towards +y.
    """

    width: float
    depth: float
    height: float
    build: Callable[[Frame], None]


def legs(
    f: Frame, label: str, material: Material, w: float, d: float, height: float, thick: float, round_: bool
) -> None:
    """Four legs under a w × d surface."""
    for sx in (-1, 1):
        for sy in (-1, 1):
            centre = (sx * (w - thick) / 2, sy * (d - thick) / 2, height / 2)
            f.add(label, material, centre, (thick, thick, height), kind=CYLINDER if round_ else 0)


def bed(d: Draws) -> Item:
    """A bed with its head against the wall, pillows and a blanket."""
    w, length, base = d.uniform(0.9, 1.8), d.uniform(1.95, 2.15), d.uniform(0.2, 0.34)
    head, top = d.uniform(0.65, 1.15), base + d.uniform(0.16, 0.26)
    frame, sheet, blanket = paint.wood(d), paint.fabric(d), paint.fabric(d)
    pillows = [paint.fabric(d) for _ in range(1 if w < 1.25 else 2)]
    cover = d.uniform(0.45, 0.8) * length

    def build(f: Frame) -> None:
        f.add("bed", frame, (0, 0, base / 2 + 0.03), (w, length, base - 0.06))
        f.add("bed", sheet, (0, 0.02, (base + top) / 2), (w - 0.06, length - 0.1, top - base))
        f.add("bed", blanket, (0, (length - cover) / 2, (base + top) / 2 + 0.005), (w + 0.03, cover, top - base + 0.05))
        f.add("bed", frame, (0, -length / 2 + 0.03, head / 2), (w + 0.06, 0.06, head))
        if top < 0.5 and cover < 0.6 * length:
            f.add("bed", frame, (0, length / 2 + 0.02, top / 2 + 0.06), (w + 0.06, 0.05, top + 0.12))
        for i, cloth in enumerate(pillows):
            x = (i - (len(pillows) - 1) / 2) * w / 2
            pillow(f.at(x, -length / 2 + 0.33, top), cloth, 0.55, d.uniform(0.15, 0.5))

    return Item(w + 0.08, length + 0.05, head, build)


def sofa(d: Draws) -> Item:
    """A sofa or armchair: base, back, arms, seat cushions."""
    seats = d.choice((1, 2, 2, 3))
    arm, depth, seat = d.uniform(0.12, 0.26), d.uniform(0.8, 1.0), d.uniform(0.36, 0.46)
    w = seats * d.uniform(0.58, 0.72) + 2 * arm
    back, armh, lean = d.uniform(0.72, 0.98), seat + d.uniform(0.12, 0.24), d.uniform(0.05, 0.3)
    body, round_arms = paint.fabric(d), d.chance(0.3)
    cushion = body if d.chance(0.6) else paint.fabric(d)
    pillows = [(d.uniform(-0.4, 0.4), paint.fabric(d)) for _ in range(d.integer(0, 2))]

    def build(f: Frame) -> None:
        inner = w - 2 * arm
        f.add("sofa", body, (0, 0, seat / 2 - 0.03), (w - 0.02, depth - 0.04, seat - 0.12))
        f.add("sofa", body, (0, -depth / 2 + 0.13, (back + 0.1) / 2), (w - 0.02, 0.2, back - 0.1), tilt=lean * 0.3)
        for side in (-1, 1):
            x = side * (w - arm) / 2
            f.add("sofa", body, (x, 0, (armh + 0.05) / 2), (arm, depth, armh - 0.05))
            if round_arms:
                f.add("sofa", body, (x, 0, armh), (depth, arm * 1.15, arm), kind=ELLIPSOID, yaw=1.5708)
        for i in range(seats):
            x = (i - (seats - 1) / 2) * inner / seats
            f.add("sofa", cushion, (x, 0.1, seat - 0.03), (inner / seats - 0.02, depth - 0.25, 0.16))
            f.add("sofa", cushion, (x, -depth / 2 + 0.3, seat + 0.26), (inner / seats - 0.03, 0.16, 0.4), tilt=lean)
        for x, cloth in pillows:
            pillow(f.at(x * inner, -0.02, seat + 0.06, yaw=x), cloth, 0.4, 1.2)

    return Item(w, depth, back, build)


def chair(d: Draws) -> Item:
    """A chair with four legs or a stem, and a back of a panel or slats; some are stools."""
    w, depth, seat = d.uniform(0.4, 0.52), d.uniform(0.4, 0.5), d.uniform(0.42, 0.48)
    back, lean, style = d.uniform(0.8, 1.05), d.uniform(0.0, 0.25), d.uniform()
    frame = paint.wood(d) if d.chance(0.6) else paint.plain(d)
    cloth = frame if d.chance(0.4) else paint.fabric(d)
    thick, round_, slats = d.uniform(0.03, 0.05), d.chance(0.4), d.chance(0.45)

    def build(f: Frame) -> None:
        f.add("chair", cloth, (0, 0, seat - 0.03), (w, depth, 0.07))
        if style < 0.25:
            f.add("chair", frame, (0, 0, seat / 2), (0.07, 0.07, seat - 0.08), kind=CYLINDER)
            for turn in (0.3, 1.35, 2.4):
                f.add("chair", frame, (0, 0, 0.05), (w + 0.1, 0.05, 0.05), yaw=turn)
        else:
            legs(f, "chair", frame, w, depth, seat - 0.05, thick, round_)
        height = back - seat
        if style > 0.9:
            return
        y = -depth / 2 - lean * height / 2 + 0.02
        if slats:
            for x in (-0.45, -0.15, 0.15, 0.45):
                f.add("chair", frame, (x * w, y, seat + height / 2), (thick, 0.03, height), tilt=lean)
            f.add("chair", frame, (0, y - lean * height * 0.4, back - 0.05), (w, 0.04, 0.1), tilt=lean)
        else:
            f.add("chair", cloth, (0, y, seat + height * 0.55), (w, 0.05, height * 0.85), tilt=lean)

    return Item(w + 0.05, depth + 0.15, back, build)


def table(d: Draws) -> Item:
    """A dining, coffee or round table with things on it."""
    low = d.chance(0.4)
    height = d.uniform(0.35, 0.5) if low else d.uniform(0.7, 0.78)
    w, depth = (d.uniform(0.8, 1.3), d.uniform(0.5, 0.8)) if low else (d.uniform(1.0, 1.9), d.uniform(0.75, 1.0))
    round_ = d.chance(0.3)
    w = depth = min(w, 1.2) if round_ else w
    depth = w if round_ else d.uniform(0.5, 0.8) if low else d.uniform(0.75, 1.0)
    top, leg = paint.wood(d), paint.wood(d) if d.chance(0.5) else paint.plain(d)
    thick, shelf = d.uniform(0.05, 0.09), d.chance(0.3)

    def build(f: Frame) -> None:
        f.add("table", top, (0, 0, height - 0.025), (w, depth, 0.05), kind=CYLINDER if round_ else 0)
        if round_:
            f.add("table", leg, (0, 0, height / 2), (0.09, 0.09, height - 0.06), kind=CYLINDER)
            f.add("table", leg, (0, 0, 0.02), (w * 0.5, w * 0.5, 0.04), kind=CYLINDER)
        else:
            legs(f, "table", leg, w - 0.06, depth - 0.06, height - 0.05, thick, thick > 0.075)
            if low and shelf:
                f.add("table", top, (0, 0, height * 0.35), (w - 0.1, depth - 0.1, 0.03))
        clutter(f.at(0, 0, height), d, w * 0.7, depth * 0.65, d.integer(1, 4))

    return Item(w, depth, height, build)


def desk(d: Draws) -> Item:
    """A desk with a monitor or a laptop, and a chair before it in most cases."""
    w, depth, height = d.uniform(1.0, 1.7), d.uniform(0.55, 0.75), d.uniform(0.7, 0.77)
    top, side = paint.wood(d), paint.wood(d) if d.chance(0.5) else paint.plain(d)
    solid, seated = d.chance(0.5), d.chance(0.75)
    at = d.uniform(-0.2, 0.2) * w

    def build(f: Frame) -> None:
        f.add("table", top, (0, 0, height - 0.02), (w, depth, 0.04))
        if solid:
            for sx in (-1, 1):
                f.add("table", side, (sx * (w / 2 - 0.03), 0, height / 2 - 0.02), (0.04, depth - 0.06, height - 0.04))
            f.add("table", side, (0, -depth / 2 + 0.08, height * 0.6), (w - 0.08, 0.03, height * 0.6))
        else:
            legs(f, "table", side, w - 0.05, depth - 0.05, height - 0.04, 0.05, False)
        monitor(f.at(at, -depth * 0.2, height, yaw=d.uniform(-0.25, 0.25)), d)
        clutter(f.at(-0.3 * w if at > 0 else 0.3 * w, 0, height), d, 0.3 * w, depth * 0.6, d.integer(1, 3))
        if seated:
            chair(d).build(f.at(at + d.uniform(-0.1, 0.1), depth / 2 + 0.25, yaw=3.1416 + d.uniform(-0.7, 0.7)))

    return Item(w, depth + (0.3 if seated else 0), height, lambda f: build(f.at(0, -0.15 if seated else 0)))


def monitor(f: Frame, d: Draws) -> None:
    """A monitor on its foot."""
    w = d.uniform(0.5, 0.75)
    h = w * d.uniform(0.56, 0.64)
    case = paint.plain(d)
    f.add("tv", case, (0, 0, 0.01), (0.24, 0.18, 0.02))
    f.add("tv", case, (0, -0.03, 0.1), (0.05, 0.04, 0.2))
    screen(f.at(0, 0, 0.1 + h / 2), d, w, h)


def screen(f: Frame, d: Draws, w: float, h: float) -> None:
    """A flat screen with a narrow rim; the frame is in its middle, facing +y."""
    f.add("tv", paint.plain(d), (0, -0.01, 0), (w, 0.04, h))
    f.add("tv", paint.screen(d), (0, 0.012, 0), (w - 0.04, 0.01, h - 0.04))


def television(d: Draws) -> Item:
    """A low stand with a television on it."""
    w, depth, height = d.uniform(1.0, 1.8), d.uniform(0.38, 0.5), d.uniform(0.38, 0.6)
    tv = d.uniform(0.8, min(1.45, w))
    h = tv * 0.58
    body, front = paint.wood(d), paint.wood(d)

    def build(f: Frame) -> None:
        f.add("furniture", body, (0, 0, height / 2), (w, depth, height))
        doors(f, front, w, depth, 0.05, height, d.integer(2, 4))
        f.add("tv", paint.plain(d), (0, 0, height + 0.02), (tv * 0.35, 0.22, 0.03))
        f.add("tv", paint.plain(d), (0, -0.02, height + 0.06), (0.09, 0.05, 0.1))
        screen(f.at(0, 0, height + 0.08 + h / 2), d, tv, h)

    return Item(w, depth, height + 0.1 + h, build)


def doors(f: Frame, material: Material, w: float, depth: float, low: float, high: float, count: int) -> None:
    """A row of doors or drawers with knobs on the front of a w × depth body."""
    each = w / count
    for i in range(count):
        x = (i + 0.5) * each - w / 2
        f.add("furniture", material, (x, depth / 2 + 0.008, (low + high) / 2), (each - 0.03, 0.016, high - low - 0.04))
        f.add("furniture", material, (x + each * 0.3, depth / 2 + 0.03, (low + high) / 2), (0.03, 0.03, 0.1))


def cabinet(d: Draws) -> Item:
    """A chest, night stand or wardrobe with doors or drawers, and things on top of the low ones."""
    kind = d.uniform()
    if kind < 0.35:
        w, depth, height = d.uniform(0.4, 0.6), d.uniform(0.35, 0.45), d.uniform(0.45, 0.65)
    elif kind < 0.7:
        w, depth, height = d.uniform(0.8, 1.4), d.uniform(0.4, 0.55), d.uniform(0.7, 1.1)
    else:
        w, depth, height = d.uniform(0.9, 1.8), d.uniform(0.5, 0.62), d.uniform(1.7, 2.15)
    body = paint.wood(d)
    front = body if d.chance(0.5) else paint.wood(d)
    rows, columns = (1, d.integer(2, 3)) if height > 1.5 else (d.integer(1, 3), 1 if w < 0.7 else 2)

    def build(f: Frame) -> None:
        f.add("furniture", body, (0, 0, height / 2), (w, depth, height))
        for row in range(rows):
            low = 0.06 + row * (height - 0.08) / rows
            doors(f, front, w, depth, low, low + (height - 0.08) / rows, columns)
        if height < 1.3:
            clutter(f.at(0, 0, height), d, w * 0.75, depth * 0.6, d.integer(1, 3))

    return Item(w, depth, height, build)


def bookcase(d: Draws) -> Item:
    """Shelves with a back panel, filled with books and other things."""
    w, depth, height = d.uniform(0.7, 1.5), d.uniform(0.27, 0.36), d.uniform(1.0, 2.1)
    shelves = max(2, round(height / d.uniform(0.33, 0.45)))
    body, back = paint.wood(d), paint.wood(d)
    gap = (height - 0.06) / shelves

    def build(f: Frame) -> None:
        f.add("furniture", back, (0, -depth / 2 + 0.01, height / 2), (w, 0.02, height))
        for sx in (-1, 1):
            f.add("furniture", body, (sx * (w / 2 - 0.015), 0, height / 2), (0.03, depth, height))
        for i in range(shelves + 1):
            f.add("furniture", body, (0, 0.002, 0.04 + i * gap), (w - 0.05, depth - 0.01, 0.03))
            if i < shelves:
                bookcase_filling(f.at(0, 0, 0.055 + i * gap), d, w - 0.07, depth, gap - 0.04)

    return Item(w, depth, height, build)
