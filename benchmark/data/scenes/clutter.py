"""Small things: books, cups, plants, lamps, boxes, and what lies on tables, shelves and floors."""

import math
from collections.abc import Callable

from benchmark.data.scenes import paint
from benchmark.data.scenes.model import CYLINDER, ELLIPSOID, UNLABELLED, Frame, Material
from benchmark.data.scenes.random import Draws


def pillow(f: Frame, cloth: Material, size: float, tilt: float) -> None:
    """A cushion lying or leaning at the frame."""
    f.add("objects", cloth, (0, 0, 0.06 + 0.12 * tilt), (size, size * 0.72, 0.17), kind=ELLIPSOID, tilt=tilt)


def books_upright(f: Frame, d: Draws, width: float, depth: float, height: float) -> None:
    """A row of standing books of a few heights; the last one may lean."""
    x, end = -width / 2, width / 2
    while x < end - 0.06:
        w = min(d.uniform(0.1, 0.35), end - x)
        h = height * d.uniform(0.62, 0.95)
        deep = depth * d.uniform(0.65, 0.85)
        f.add("books", paint.spines(d), (x + w / 2, depth * 0.42 - deep / 2, h / 2), (w - 0.006, deep, h))
        x += w


def books_flat(f: Frame, d: Draws) -> None:
    """A pile of books."""
    z = 0.0
    for _ in range(d.integer(1, 5)):
        thick = d.uniform(0.025, 0.055)
        size = (d.uniform(0.2, 0.32), d.uniform(0.16, 0.24), thick)
        f.add("books", paint.spines(d)._replace(scale_u=3), (0, 0, z + thick / 2), size, yaw=d.uniform(-0.4, 0.4))
        z += thick + 0.001


def book_open(f: Frame, d: Draws) -> None:
    """An open book: two slanted halves."""
    page = paint.plain(d)
    turn = d.uniform(-1.5, 1.5)
    for side in (-1.5708, 1.5708):
        f.at(0, 0, yaw=turn + side).add("books", page, (0, 0.085, 0.02), (0.24, 0.17, 0.012), tilt=0.12)


def cup(f: Frame, d: Draws) -> None:
    """A cup, glass or tin."""
    w, h = d.uniform(0.06, 0.1), d.uniform(0.08, 0.16)
    f.add("objects", paint.plain(d), (0, 0, h / 2), (w, w, h), kind=CYLINDER)


def bottle(f: Frame, d: Draws) -> None:
    """A bottle with its neck."""
    w, h, glass = d.uniform(0.06, 0.09), d.uniform(0.16, 0.24), paint.plain(d)
    f.add("objects", glass, (0, 0, h / 2), (w, w, h), kind=CYLINDER)
    f.add("objects", glass, (0, 0, h * 1.2), (w * 0.4, w * 0.4, h * 0.45), kind=CYLINDER)


def bowl(f: Frame, d: Draws) -> None:
    """A bowl with something in it."""
    w, h = d.uniform(0.18, 0.3), d.uniform(0.07, 0.1)
    f.add("objects", paint.plain(d), (0, 0, h / 2), (w, w, h), kind=CYLINDER)
    f.add("objects", paint.plain(d), (0, 0, h), (w * 0.85, w * 0.85, h * 1.2), kind=ELLIPSOID)


def parcel(f: Frame, d: Draws) -> None:
    """A box."""
    size = (d.uniform(0.12, 0.3), d.uniform(0.1, 0.24), d.uniform(0.06, 0.22))
    f.add("objects", paint.plain(d), (0, 0, size[2] / 2), size, yaw=d.uniform(-0.8, 0.8))


def ball(f: Frame, d: Draws) -> None:
    """A ball or globe."""
    w = d.uniform(0.1, 0.24)
    f.add("objects", paint.fabric(d), (0, 0, w / 2), (w, w, w), kind=ELLIPSOID)


def vase(f: Frame, d: Draws) -> None:
    """A vase with flowers."""
    w, h = d.uniform(0.1, 0.16), d.uniform(0.16, 0.28)
    f.add("objects", paint.plain(d), (0, 0, h / 2), (w, w, h), kind=ELLIPSOID)
    f.add("objects", paint.plain(d), (0, 0, h * 0.9), (w * 0.45, w * 0.45, h * 0.4), kind=CYLINDER)
    bloom = paint.fabric(d)
    for _ in range(3):
        size = d.uniform(0.07, 0.13)
        x, y = d.uniform(-0.08, 0.08), d.uniform(-0.08, 0.08)
        f.add("objects", bloom, (x, y, h * 1.15 + d.uniform(0.02, 0.12)), (size, size, size), kind=ELLIPSOID)


def table_lamp(f: Frame, d: Draws) -> None:
    """A lamp with a shade, lit or not."""
    h, w = d.uniform(0.3, 0.48), d.uniform(0.2, 0.3)
    f.add("objects", paint.plain(d), (0, 0, 0.015), (0.14, 0.14, 0.03), kind=CYLINDER)
    f.add("objects", paint.plain(d), (0, 0, h * 0.4), (0.04, 0.04, h * 0.8), kind=CYLINDER)
    shade = paint.lit(d, d.uniform(0.7, 1.3)) if d.chance(0.5) else paint.fabric(d)
    f.add("objects", shade, (0, 0, h * 0.85), (w, w, h * 0.5), kind=CYLINDER, casts=False)


def frame_standing(f: Frame, d: Draws) -> None:
    """A small picture that leans backwards on its stand."""
    w, h, turn = d.uniform(0.14, 0.24), d.uniform(0.18, 0.28), d.uniform(-0.5, 0.5)
    g = f.at(0, 0, yaw=turn)
    g.add("picture", paint.wood(d), (0, 0, h / 2), (w, 0.025, h), tilt=0.2)
    g.add("picture", paint.painting(d), (0, 0.012, h / 2), (w * 0.8, 0.012, h * 0.82), tilt=0.2)


def nameless(f: Frame, d: Draws) -> None:
    """Something that nobody could name: its class is unknown."""
    w, h = d.uniform(0.1, 0.25), d.uniform(0.05, 0.25)
    f.add(UNLABELLED, paint.fabric(d), (0, 0, h / 2), (w, w * 0.8, h), kind=d.integer(0, 2), yaw=d.uniform(0, 3))


SMALL: tuple[Callable[[Frame, Draws], None], ...] = (
    books_flat, books_flat, books_flat, book_open, cup, cup, bottle, bowl, parcel, ball, vase, table_lamp,
    frame_standing, nameless,
)  # fmt: skip


def clutter(f: Frame, d: Draws, width: float, depth: float, count: int) -> None:
    """Things side by side on a surface whose middle is the frame."""
    for i in range(count):
        x = ((i + 0.5) / count - 0.5) * width
        d.choice(SMALL)(f.at(x, d.uniform(-0.5, 0.5) * depth, 0.001), d)


def bookcase_filling(f: Frame, d: Draws, width: float, depth: float, height: float) -> None:
    """One shelf: books along all or a part of it, in a few cases something else or nothing."""
    kind = d.uniform()
    if kind < 0.5:
        books_upright(f, d, width, depth, height)
    elif kind < 0.85:
        part = d.uniform(0.4, 0.65) * width
        side = d.choice((-1, 1))
        books_upright(f.at(side * (width - part) / 2, 0), d, part, depth, height)
        if height > 0.25:
            d.choice((cup, parcel, ball, books_flat))(f.at(-side * part / 2, 0), d)
    elif kind < 0.93 and height > 0.25:
        d.choice((parcel, ball, cup))(f, d)


def floor_lamp(f: Frame, d: Draws) -> None:
    """A lamp that stands on the floor."""
    h, w = d.uniform(1.4, 1.75), d.uniform(0.28, 0.42)
    f.add("objects", paint.plain(d), (0, 0, 0.02), (0.28, 0.28, 0.04), kind=CYLINDER)
    f.add("objects", paint.plain(d), (0, 0, h / 2), (0.035, 0.035, h), kind=CYLINDER)
    shade = paint.lit(d, d.uniform(0.7, 1.4)) if d.chance(0.6) else paint.fabric(d)
    f.add("objects", shade, (0, 0, h), (w, w, 0.3), kind=CYLINDER, casts=False)


def plant(f: Frame, d: Draws) -> None:
    """A plant in its pot."""
    w, h = d.uniform(0.24, 0.4), d.uniform(0.22, 0.4)
    f.add("objects", paint.plain(d), (0, 0, h / 2), (w, w, h), kind=CYLINDER)
    leaf = paint.Material(paint.hsv(d.uniform(0.2, 0.4), 0.6, d.uniform(0.08, 0.4)), paint.colour(d), 14, 14, noise=0.5)
    top = h + d.uniform(0.3, 0.8)
    f.add("objects", paint.wood(d), (0, 0, (h + top) / 2), (0.03, 0.03, top - h), kind=CYLINDER)
    for i in range(d.integer(5, 9)):
        size, turn = d.uniform(0.12, 0.34), 2.4 * i
        spread = d.uniform(0.02, 0.2)
        place = (spread * math.cos(turn), spread * math.sin(turn), top - d.uniform(-0.1, 0.6) * (top - h))
        shape = (size, size * 0.8, size * d.uniform(0.3, 0.9))
        f.add("objects", leaf, place, shape, kind=ELLIPSOID, yaw=turn, tilt=d.uniform(0, 0.8))


def floor_thing(f: Frame, d: Draws) -> None:
    """A parcel, bin, ball, bag or pile of books on the floor."""
    kind, size = d.uniform(), d.uniform(0.25, 0.45)
    if kind < 0.3:
        f.add("objects", paint.plain(d), (0, 0, size * 0.4), (size, size * 0.8, size * 0.8), yaw=d.uniform(0, 1.5))
    elif kind < 0.5:
        f.add("objects", paint.plain(d), (0, 0, size * 0.5), (size * 0.7, size * 0.7, size), kind=CYLINDER)
    elif kind < 0.65:
        f.add("objects", paint.fabric(d), (0, 0, size / 2), (size, size, size), kind=ELLIPSOID)
    elif kind < 0.8:
        books_flat(f, d)
    elif kind < 0.9:
        f.add("objects", paint.fabric(d), (0, 0, size * 0.45), (size * 1.2, size * 0.7, size * 0.9), kind=ELLIPSOID)
    else:
        nameless(f, d)
