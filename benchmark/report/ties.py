"""Who leads a column: the best mean, and all rows that the seeds cannot tell from it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import t

from benchmark.analysis.intervals import CONFIDENCE
from benchmark.report.rows import Pair, Row


def leaders(rows: Sequence[Row], key: Any, higher_is_better: bool) -> frozenset[Pair]:
    """The row with the best mean over several seeds, and all that tie with it.

    A row ties if zero lies in the 95 % interval of its paired differences to the best, seed by seed. Rows of one seed
    neither lead nor tie: of their spread nothing is known.
    """
    known = {row.pair: row.samples.get(key, {}) for row in rows}
    known = {pair: finite for pair, values in known.items() if len(finite := _finite(values)) > 1}
    if not known:
        return frozenset()
    sign = 1.0 if higher_is_better else -1.0
    best = max(known, key=lambda pair: (sign * float(np.mean(list(known[pair].values()))), pair))
    return frozenset(pair for pair, values in known.items() if pair == best or _ties(values, known[best]))


def _ties(values: Mapping[int, float], best: Mapping[int, float]) -> bool:
    seeds = values.keys() & best.keys()
    if len(seeds) < 2:
        return False
    gaps = np.array([values[seed] - best[seed] for seed in sorted(seeds)])
    with np.errstate(all="ignore"):
        half = _quantile(len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps))
    return bool(abs(gaps.mean()) <= half)


@lru_cache(maxsize=4096)
def _quantile(freedom: int) -> float:
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {seed: value for seed, value in values.items() if np.isfinite(value) and abs(value) < 1e150}
