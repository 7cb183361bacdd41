"""Empirical-Bayes variances: a row's variance over few seeds, shrunk towards the variances of all rows of its board."""

import numpy as np
from scipy.special import digamma, polygamma

#: Degrees of freedom that the other rows may add to a row's own. Were more allowed, a row whose noise is unlike the
#: others', or noise with heavy tails, would be taken for theirs (``docs/verdicts.md`` has the error rates of others).
MOST = 8.0
#: Least number of variances from which their distribution is estimated.
FEWEST = 3
#: A variance counts as this share of the mean one at least: without spread, a logarithm would rule the prior.
LEAST = 1e-5


def moderate(variance: np.ndarray, freedom: np.ndarray, *, most: float = MOST) -> tuple[np.ndarray, np.ndarray]:
    """Empirical-Bayes variances (Smyth, *Linear models and empirical Bayes methods*, SAGMB 3, 2004).

    The true variances are taken to be drawn from a scaled inverse χ² distribution of d₀ degrees of freedom around s₀².
    Both are estimated from mean and variance of the logarithms of all rows' s²; then

        s̃² = (d₀ s₀² + d s²) / (d₀ + d), of d₀ + d degrees of freedom, but of no more than all rows have together.

    Other than Smyth's, d₀ weighs ``most`` at most.

    Args:
        variance, freedom: of each row, over the last axis; NaN where a row has none.

    Returns:
        s̃² and its degrees of freedom; NaN where a row has none. With fewer than ``FEWEST`` rows they are as given.
    """
    known = np.isfinite(variance) & (freedom > 0)
    count = known.sum(-1, keepdims=True)
    own = np.where(known, freedom, np.nan)
    with np.errstate(all="ignore"):
        mean = np.where(known, variance, 0.0).sum(-1, keepdims=True) / count
        floored = np.where(known, np.maximum(variance, LEAST * mean), np.nan)
        logs = np.log(floored) - digamma(own / 2) + np.log(own / 2)
        middle = _mean(logs, known, count)
        excess = _mean((logs - middle) ** 2, known, count - 1) - _mean(polygamma(1, own / 2), known, count)
        prior = np.where(excess > 0, 2 * _inverse_trigamma(np.where(excess > 0, excess, 1.0)), np.inf)
        bias = np.where(np.isfinite(prior), digamma(prior / 2) - np.log(prior / 2), 0.0)
        scale = np.exp(middle + bias)
        prior = np.where((count >= FEWEST) & np.isfinite(scale) & (scale > 0), np.minimum(prior, most), 0.0)
        moderated = (prior * np.where(prior > 0, scale, 0.0) + own * variance) / (prior + own)
        together = np.where(known, own, 0.0).sum(-1, keepdims=True)
        return np.where(known, moderated, np.nan), np.minimum(prior + own, together)


def _mean(values: np.ndarray, known: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(known, values, 0.0).sum(-1, keepdims=True) / count


def _inverse_trigamma(y: np.ndarray) -> np.ndarray:
    """x with trigamma(x) = y, by Newton's method on 1 / trigamma, which is nearly straight (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        found = polygamma(1, x)
        change = found * (1 - found / y) / polygamma(2, x)
        x = x + change
        if np.all(np.abs(change) <= 1e-10 * x):
            break
    return x
