"""Solvers on gradients that are given, what slow methods make of the same, and gradients to try."""

import itertools
import math

import numpy as np
import torch
from scipy import optimize

import benchmark

NAMES = ("mgda", "cagrad", "nash-mtl", "fairgrad", "upgrad", "dualproj")
NORMALISATIONS = ("none", "l2", "loss", "loss+")

ROOT = math.sqrt
PLANE = [[1.0, 0.0], [0.0, 2.0]]
CONFLICT = [[1.0, 0.0], [-2.0, 1.0]]
EQUAL = [[3.0, 4.0], [3.0, 4.0]]
PARALLEL = [[1.0, 0.0], [2.0, 0.0]]
OPPOSITE = [[1.0, 0.0], [-2.0, 0.0]]
WITH_ZERO = [[3.0, 4.0], [0.0, 0.0]]
LENGTHS = np.array([100.0, 1.0, 0.01])


def build(name, count=3, **options):
    return benchmark.build_weighting(name, [benchmark.Task(f"task{k}", "depth", 1) for k in range(count)], **options)


def solve(weighting, rows, losses=None):
    rows = np.asarray(rows, dtype=float)
    known = torch.ones(len(rows), dtype=torch.float64) if losses is None else torch.tensor(losses, dtype=torch.float64)
    return weighting.from_gramian(torch.from_numpy(rows @ rows.T), known).numpy()


def weights_of(name, rows, losses=None, **options):
    return solve(build(name, len(rows), **options), rows, losses)


def direction_of(name, rows, losses=None, **options):
    return weights_of(name, rows, losses, **options) @ np.asarray(rows, dtype=float)


def random_rows(seed, count, width=12, conflict=0.0):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows - conflict * rows.mean(0)


def cosine(first, second):
    return first @ second / np.linalg.norm(first) / np.linalg.norm(second)


def subsets(count):
    return itertools.chain.from_iterable(itertools.combinations(range(count), size) for size in range(1, count + 1))


def shortest_by_enumeration(rows):
    """Weights of the shortest convex combination: the best of the affine minima of all supports that are convex."""
    best, length = None, np.inf
    for chosen in map(list, subsets(len(rows))):
        # x = r_0 + Σ a_i (r_i − r_0), least squares
        first, rest = rows[chosen[0]], rows[chosen[1:]] - rows[chosen[0]]
        steps = np.linalg.lstsq(rest.T, -first, rcond=None)[0] if len(rest) else np.zeros(0)
        weights = np.zeros(len(rows))
        weights[chosen] = np.concatenate([[1 - steps.sum()], steps])
        if weights.min() >= -1e-12 and np.linalg.norm(weights @ rows) < length - 1e-13:
            best, length = weights, np.linalg.norm(weights @ rows)
    return best


def projected_by_enumeration(rows, vector):
    """The vector's projection on {d: rows d ≥ 0}: the nearest of its projections on all faces that lie in the cone."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    best, distance = None, np.inf
    for chosen in [[], *map(list, subsets(len(rows)))]:
        active = units[chosen]
        point = vector - np.linalg.pinv(active) @ (active @ vector) if chosen else vector
        if (units @ point).min() >= -1e-11 * np.linalg.norm(vector) and np.linalg.norm(point - vector) < distance:
            best, distance = point, np.linalg.norm(point - vector)
    return best


def best_worst_improvement(rows, c):
    """max min_k ⟨g_k, d⟩ over ‖d − g_0‖ ≤ c ‖g_0‖, by SLSQP on (d, t) in the primal form."""
    mean = rows.mean(0)
    scale = np.linalg.norm(mean)
    start = np.append(mean, (rows @ mean).min()) / scale
    unit = rows / scale
    conditions = [
        {"type": "ineq", "fun": lambda v: unit @ v[:-1] - v[-1], "jac": lambda v: np.c_[unit, -np.ones(len(unit))]},
        {
            "type": "ineq",
            "fun": lambda v: c**2 - ((v[:-1] - mean / scale) ** 2).sum(),
            "jac": lambda v: np.append(-2 * (v[:-1] - mean / scale), 0.0),
        },
    ]
    objective = {"fun": lambda v: -v[-1], "jac": lambda v: np.append(np.zeros(len(mean)), -1.0)}
    found = optimize.minimize(**objective, x0=start, constraints=conditions, method="SLSQP", options={"ftol": 1e-14})
    return found.x[-1] * scale**2
