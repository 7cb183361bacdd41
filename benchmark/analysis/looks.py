"""How wide an interval must be that is looked at after every seed: a boundary that spends its error over the looks.

Before any look it is fixed which share of a row's error is spent by which number of seeds (Lan & DeMets, *Discrete
sequential boundaries for clinical trials*, Biometrika 70, 1983). The boundary's values follow one after the other from
the distribution of a Gaussian random walk that has not crossed it yet (Armitage, McPherson & Rowe, *Repeated
significance tests on accumulating data*, JRSS A 132, 1969). With an unknown variance the level of each look, in place
of its normal quantile, is kept: it becomes a quantile of Student's distribution (Jennison & Turnbull, *Group sequential
methods*, 2000, section 3.8).
"""

from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtrit

#: Chance of one or more wrong intervals among all rows that are compared with one baseline, at all looks together.
ALPHA = 0.05
#: Seeds at the first look. Two would leave one degree of freedom, and next to nothing to find.
FIRST = 3
#: By how many seeds exp(−1) = 37 % of the error is spent; half of it by 8.7, nine tenths by 57. The study's rows have 4
#: to 15 seeds; the boundary is flattest there.
SCALE = 6.0
#: Two looks a seed, since the baseline may gain seeds between those of the row; beyond ``DENSE`` looks by ``RATIO``.
DENSE, RATIO, LAST = 20.0, 1.025, 400.0
#: Points of the density between the two sides of the boundary.
GRID = 301


def spent(seeds: np.ndarray) -> np.ndarray:
    """The share of a row's error that is spent by so many seeds: exp(−6 / seeds)."""
    return np.exp(-SCALE / np.asarray(seeds, dtype=float))


def critical(seeds: np.ndarray, freedom: np.ndarray, rows: int, *, alpha: float = ALPHA) -> np.ndarray:
    """Half the width of an interval in standard errors, such that one may look at all rows after every seed.

    The chance that any of the rows' intervals misses its truth at any look is ``alpha`` at most (Bonferroni over rows),
    for normal noise whose standard error is known as well as its degrees of freedom say.

    Args:
        seeds: of each row; of a row and a baseline with seeds of their own, the harmonic mean of their numbers, which
            is what information grows with. From ``LAST`` on nothing is spent any more: beyond, there is no promise.
        freedom: degrees of freedom of each row's standard error; broadcast with ``seeds``.
        rows: how many are compared with the baseline.
        alpha: the family's error.

    Returns:
        Infinite before ``FIRST`` seeds.
    """
    looks, boundary = boundary_of(alpha / rows)
    with np.errstate(invalid="ignore"):
        z = np.interp(np.log(np.maximum(seeds, FIRST)), np.log(looks), boundary)
        quantile = -stdtrit(freedom, ndtr(-z))
        return np.where((seeds >= FIRST) & np.isfinite(quantile), quantile, np.inf)


@lru_cache(maxsize=256)
def boundary_of(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The looks, in seeds, and the two-sided boundary at each, in standard errors, for one row's error.

    A sum of standard normal numbers, one a seed, leaves ±boundary · √seeds at one of the looks with probability
    ``alpha`` · ``spent(LAST)``.
    """
    growth = np.arange(1, np.log(LAST / DENSE) / np.log(RATIO) + 1)
    looks = np.concatenate([np.arange(FIRST, DENSE + 0.25, 0.5), DENSE * RATIO**growth])
    shares = alpha * np.diff(spent(looks), prepend=0.0)
    boundary = np.empty(len(looks))
    boundary[0] = -ndtri(shares[0] / 2)
    edge = boundary[0] * np.sqrt(looks[0])
    places = np.linspace(-edge, edge, GRID)
    mass = _weights(places) * _normal(places / np.sqrt(looks[0])) / np.sqrt(looks[0])
    for k in range(1, len(looks)):
        step = np.sqrt(looks[k] - looks[k - 1])
        edge = _edge(places, mass, step, float(shares[k]), 12 * np.sqrt(looks[k]))
        boundary[k] = edge / np.sqrt(looks[k])
        further = np.linspace(-edge, edge, GRID)
        mass = _weights(further) * (_normal((further[:, None] - places) / step) / step @ mass)
        places = further
    return looks, boundary


def _edge(places: np.ndarray, mass: np.ndarray, step: float, share: float, most: float) -> float:
    """How far out the walk must be after the next step for the probability ``share``."""

    def beyond(edge: float) -> float:
        outside = ndtr((places - edge) / step) + ndtr((-edge - places) / step)
        return float(np.log(max(outside @ mass, 1e-300)) - np.log(share))

    return float(brentq(beyond, 0.0, most, xtol=1e-6 * most))


def _weights(places: np.ndarray) -> np.ndarray:
    """Of the trapezoid rule."""
    weights = np.full(len(places), places[1] - places[0])
    weights[[0, -1]] /= 2
    return weights


def _normal(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
