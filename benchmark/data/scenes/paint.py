"""Colours and materials. All classes share one palette: a surface's colour must not tell what the thing is."""

from benchmark.data.scenes.model import Material, Vector
from benchmark.data.scenes.random import Draws


def hsv(hue: float, saturation: float, value: float) -> Vector:
    """Linear RGB from hue in turns, saturation and value."""

    def channel(offset: float) -> float:
        k = (offset + 6 * hue) % 6
        return value * (1 - saturation * max(0.0, min(k, 4 - k, 1)))

    return (channel(5), channel(3), channel(1))


def colour(d: Draws) -> Vector:
    """A colour of the palette: woods, greys, muted and a few strong tones, from dark to light."""
    kind = d.uniform()
    value = 0.05 + 0.75 * d.uniform() ** 1.3
    if kind < 0.35:
        return hsv(d.uniform(0.04, 0.12), d.uniform(0.3, 0.75), value)
    if kind < 0.65:
        return hsv(d.uniform(), d.uniform(0.0, 0.12), value)
    if kind < 0.9:
        return hsv(d.uniform(), d.uniform(0.15, 0.5), value)
    return hsv(d.uniform(), d.uniform(0.5, 0.85), value)


def shade(base: Vector, factor: float) -> Vector:
    """A lighter or darker version of a colour, within what real surfaces reflect."""
    r, g, b = (min(max(c * factor, 0.02), 0.92) for c in base)
    return (r, g, b)


def plain(d: Draws) -> Material:
    """Paint, plastic or metal."""
    base = colour(d)
    return Material(base, shade(base, d.uniform(0.75, 1.25)), 2, 2, noise=0.3, gloss=d.choice((0.0, 0.15, 0.5)))


def wood(d: Draws) -> Material:
    """Long grain; boards in some cases. Painted wood is as frequent as bare wood."""
    base = colour(d)
    return Material(
        base,
        shade(base, d.uniform(0.5, 0.85)),
        d.uniform(0.8, 2.0),
        d.uniform(9, 22),
        noise=d.uniform(0.3, 0.9),
        lines=d.choice((0.0, 0.0, 0.25)),
        gloss=d.choice((0.0, 0.1, 0.3)),
    )


def fabric(d: Draws) -> Material:
    """Plain, striped, checked or mottled cloth."""
    base = colour(d)
    other = colour(d) if d.chance(0.5) else shade(base, d.uniform(0.5, 1.6))
    scale = d.uniform(3, 12)
    pattern = d.uniform()
    if pattern < 0.3:
        return Material(base, other, scale, scale, noise=0.5)
    if pattern < 0.55:
        return Material(base, other, scale, 0.5, noise=0.1, waves=d.uniform(0.4, 1.0))
    if pattern < 0.75:
        return Material(base, other, scale, scale, noise=0.15, cells=d.uniform(0.3, 0.9))
    return Material(base, shade(base, d.uniform(0.7, 1.3)), 4, 4, noise=0.25)


def boards(d: Draws) -> Material:
    """Floors: planks, tiles, carpet or bare."""
    kind = d.uniform()
    base = colour(d)
    other = shade(base, d.uniform(0.55, 0.9))
    if kind < 0.4:
        u, v = d.choice(((1.1, 7.0), (7.0, 1.1)))
        return Material(base, other, u, v, noise=0.3, cells=0.35, lines=0.35, gloss=d.choice((0.0, 0.2)))
    if kind < 0.65:
        scale = d.uniform(1.8, 4)
        return Material(base, other, scale, scale, noise=0.3, cells=d.uniform(0, 0.7), lines=0.5, gloss=0.3)
    return Material(base, other, 5, 5, noise=d.uniform(0.2, 0.6)) if kind < 0.85 else fabric(d)


def wallpaper(d: Draws) -> Material:
    """Walls and ceilings: mostly paint, often but not always light; some stripes, panels and bricks."""
    base = colour(d)
    if d.chance(0.6):
        base = shade(base, 0.7 / max(base) * d.uniform(0.75, 1.1))
    other = shade(base, d.uniform(0.8, 0.95))
    kind = d.uniform()
    if kind < 0.7:
        return Material(base, other, 1.2, 1.2, noise=0.35)
    if kind < 0.85:
        return Material(base, other, d.uniform(3, 8), 0.4, noise=0.1, waves=d.uniform(0.4, 1.0))
    if kind < 0.93:
        return Material(base, other, 4.5, 12, noise=0.2, cells=0.5, lines=0.6)
    return Material(base, other, d.uniform(1, 2), d.uniform(1, 2), noise=0.2, lines=0.5)


def spines(d: Draws) -> Material:
    """A row of book backs: one cell of the pattern is one book."""
    return Material(colour(d), colour(d), d.uniform(18, 34), 0.3, noise=0.1, cells=1.0, lines=0.4)


def painting(d: Draws) -> Material:
    """What a picture shows."""
    scale = d.uniform(3, 12)
    if d.chance(0.6):
        return Material(colour(d), colour(d), scale, scale * d.uniform(0.5, 2), noise=1.3, cells=d.choice((0, 0, 0.5)))
    return Material(colour(d), colour(d), scale, scale, noise=0.6, cells=0.8, waves=0.5)


def screen(d: Draws) -> Material:
    """A screen, dark and glossy when off, showing something when on; a depth sensor rarely sees it."""
    if d.chance(0.55):
        dark = shade(hsv(d.uniform(), 0.15, d.uniform(0.02, 0.06)), 1)
        return Material(dark, dark, 1, 1, noise=0.3, gloss=1.0, blind=0.6)
    scale = d.uniform(4, 12)
    return Material(
        colour(d), colour(d), scale, scale, noise=0.9, cells=d.choice((0, 0.6)), gloss=0.6, glow=0.7, blind=0.45
    )


def pane(d: Draws, daylight: float) -> Material:
    """A window pane: the sky by day, nearly black by night, and most often a hole in depth."""
    sky = hsv(d.uniform(0.52, 0.64), d.uniform(0.05, 0.35), 0.9)
    land = colour(d)
    glow = daylight * d.uniform(0.8, 1.3)
    return Material(
        sky, land, d.uniform(0.6, 2), d.uniform(1, 3), noise=d.uniform(0.4, 1.1), gloss=1, glow=glow, blind=0.75
    )


def lit(d: Draws, strength: float) -> Material:
    """A lamp's shade."""
    warm = hsv(d.uniform(0.08, 0.15), d.uniform(0.05, 0.35), 0.9)
    return Material(warm, warm, noise=0.0, glow=strength)
