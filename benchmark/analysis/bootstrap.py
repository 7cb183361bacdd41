"""The studentised bootstrap over seeds: how far a mean may be from what infinitely many seeds would give."""

from functools import cache
from itertools import combinations_with_replacement
from math import factorial

import numpy as np

from benchmark.runs.spec import derive_seed

#: Least number of values for a bootstrap interval: see ``half_widths``.
FEWEST = 5
#: Up to this many values every resample is enumerated; beyond, ``DRAWS`` are drawn.
MOST_EXACT = 7
#: So many that the 95 % quantile of their distribution is one of them: 0.95 × (1999 + 1) = 1900.
DRAWS = 1999
#: Numbers held at once.
CHUNK = 4_000_000


def half_widths(values: np.ndarray, confidence: float) -> np.ndarray:
    """Half the width of the symmetric bootstrap-t interval around each row's mean.

    A resample x* of a row x gives t* = (mean x* − mean x) / (sd x* / √n); the half width is the ``confidence``
    quantile of |t*| times sd x / √n (Hall, *On symmetric bootstrap confidence intervals*, JRSS B 50, 1988). Its
    coverage is close to the nominal one already for few values, also of skewed distributions. The percentile and BCa
    intervals never leave the range of the values, so that they cover the mean of a symmetric distribution at most
    1 − 2^(1−n) of the time: 50 % at n = 2, 75 % at n = 3. Up to four values, t* itself says nothing: of two or three,
    more than a twentieth of all resamples repeat one value and have no spread, of four the quantile lies among
    resamples that repeat one value three times.

    Up to ``MOST_EXACT`` values the distribution is exact, from all resamples; beyond, resamples are drawn by a
    generator that depends on n alone. The values are sorted first. So the same values give the same interval, in
    whatever order and beside whatever else, and values in another unit the same one in that unit.

    Args:
        values: (R, n) finite numbers.
        confidence: such as 0.95.

    Returns:
        (R,); infinite where values repeat so often that the quantile of |t*| is not finite.
    """
    n = values.shape[1]
    counts, probability = _resamples(n)
    ordered = np.sort(values, axis=1)
    centred = ordered - ordered.mean(axis=1, keepdims=True)
    error = centred.std(axis=1, ddof=1) / np.sqrt(n)
    step = max(1, CHUNK // len(counts))
    parts = [_quantile(centred[i : i + step], counts, probability, confidence) for i in range(0, len(values), step)]
    quantile = np.concatenate(parts) if parts else np.zeros(0)
    return np.where(error > 0, quantile * error, 0.0)


@cache
def _resamples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each of n values occurs in each resample (B, n), and each resample's probability (B,)."""
    if n <= MOST_EXACT:
        chosen = combinations_with_replacement(range(n), n)
        counts = np.array([np.bincount(places, minlength=n) for places in chosen], dtype=float)
        ways = [factorial(n) / np.prod([factorial(int(c)) for c in row]) for row in counts]
        return counts, np.array(ways) / float(n) ** n
    draw = np.random.default_rng(derive_seed("bootstrap", n))
    return draw.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(float), np.full(DRAWS, 1 / (DRAWS + 1))


def _quantile(centred: np.ndarray, counts: np.ndarray, probability: np.ndarray, confidence: float) -> np.ndarray:
    """The smallest value that |t*| does not exceed with probability ``confidence``, by row. (R, n) -> (R,)."""
    n = centred.shape[1]
    shift = np.abs(centred @ counts.T) / n  # (R, B)
    variance = ((centred**2) @ counts.T / n - shift**2) / (n - 1)
    # Of a resample without spread, rounding would leave some.
    nothing = 1e-12 * np.abs(centred).max(axis=1, keepdims=True)
    flat = variance <= nothing**2
    with np.errstate(divide="ignore", invalid="ignore"):
        t = shift / np.sqrt(variance)
    t = np.where(flat, np.where(shift <= nothing, 0.0, np.inf), t)
    order = np.argsort(t, axis=1)
    reached = np.cumsum(probability[order], axis=1) >= confidence - 1e-9
    first = np.take_along_axis(order, reached.argmax(axis=1)[:, None], axis=1)
    return np.take_along_axis(t, first, axis=1)[:, 0]
