"""SDMGrad and MoDo on products of independent samples' gradients, and the projection that both use."""

import itertools

import numpy as np
import pytest
import torch

import benchmark
from baselines.simplex import nearest_on_simplex

NAMES = ("sdmgrad", "modo")


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def build(name, count=2, **options):
    return benchmark.build_weighting(name, [benchmark.Task(f"t{k}", "depth", 1) for k in range(count)], **options)


def sampled(weighting, products):
    """The weights of one more step; the products are no Gramian."""
    return weighting.from_products(tensor(products), torch.ones(len(products)).double())


def rows_like(seed, count=3, width=7):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected, rtol=1e-9, atol=1e-12):
    torch.testing.assert_close(tensor(found), tensor(expected), rtol=rtol, atol=atol)


# The simplex.


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ([0.45, 0.3], [0.575, 0.425]),
        ([2.0, 0.5, 0.0], [1.0, 0.0, 0.0]),
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
        ([-5.0], [1.0]),
        ([1e15, 1e15, 0.0], [0.5, 0.5, 0.0]),
        ([-1e15, -1e15], [0.5, 0.5]),
    ],
)
def test_nearest_on_the_simplex_by_hand(point, expected):
    close(nearest_on_simplex(np.array(point)), expected, rtol=1e-15)


@pytest.mark.parametrize("seed", range(10))
def test_nearest_on_the_simplex_is_the_best_of_all_faces(seed):
    point = np.random.default_rng(seed).normal(size=4)
    candidates = []
    for size in range(1, 5):
        for face in map(list, itertools.combinations(range(4), size)):
            candidate = np.zeros(4)
            candidate[face] = point[face] + (1 - point[face].sum()) / size
            if candidate.min() >= 0:
                candidates.append(candidate)
    best = min(candidates, key=lambda c: ((c - point) ** 2).sum())
    close(nearest_on_simplex(point), best)


# The two methods.


def test_modo_by_hand():
    weighting = build("modo", gamma=0.1, rho=0.0)
    # A λ = (0, 1): (0.5, 0.4) and 0.05 each.
    close(sampled(weighting, [[1.0, -1.0], [0.0, 2.0]]), [0.55, 0.45])
    # A λ = (0.1, 0.9): (0.54, 0.36) and 0.05.
    close(sampled(weighting, [[1.0, -1.0], [0.0, 2.0]]), [0.59, 0.41])
    # ρ pulls toward uniform: (0.6 − 0.1·0.6, 0.4 − 0.1·0.4) and 0.05.
    weighting = build("modo", gamma=0.1, rho=1.0)
    weighting.coefficients.copy_(tensor([0.6, 0.4]))
    close(sampled(weighting, [[0.0, 0.0], [0.0, 0.0]]), [0.59, 0.41])


def test_sdmgrad_by_hand():
    # s = 1.5: A = diag(4/9, 16/9). Gradient A (w + ¼) = (1/3, 4/3).
    diagonal = [[1.0, 0.0], [0.0, 4.0]]
    options = {"regularisation": 0.5, "iterations": 1, "inner_lr": 0.1}
    close(sampled(build("sdmgrad", **options), diagonal), [0.8 / 1.5, 0.7 / 1.5])
    close(sampled(build("sdmgrad", **options | {"inner_lr": 1.0}), diagonal), [1.25 / 1.5, 0.25 / 1.5])
    # Velocity ½ (1/3, 4/3) + (4/9 · 0.8, 16/9 · 0.7) = (0.52222, 1.91111).
    weights = sampled(build("sdmgrad", **options | {"iterations": 2}), diagonal)
    close(weights, [(0.6194444444444445 + 0.25) / 1.5, (0.3805555555555555 + 0.25) / 1.5])


def test_sdmgrad_counts_negative_products_as_no_length():
    # s = (0 + 2)/2 = 1. Gradient (−½, 2): (0.55, 0.3) and 0.075.
    weighting = build("sdmgrad", regularisation=0.0, iterations=1, inner_lr=0.1)
    close(sampled(weighting, [[-1.0, 0.0], [0.0, 4.0]]), [0.625, 0.375])
    # Without any length there is no scale: w stays.
    close(sampled(weighting, [[-1.0, 5.0], [3.0, 0.0]]), [0.625, 0.375])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_sdmgrad_leads_to_mgda_or_to_the_mean(seed):
    rows = rows_like(seed, 3, 5)
    gramian = rows @ rows.T
    weighting = build("sdmgrad", 3, regularisation=0.0, iterations=20_000, inner_lr=0.1)
    close(
        sampled(weighting, gramian),
        build("mgda", 3).from_gramian(gramian, torch.ones(3).double()),
        rtol=1e-5,
        atol=1e-6,
    )
    close(sampled(build("sdmgrad", 3, regularisation=1e6), gramian), torch.full((3,), 1 / 3), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_sampled_weights_are_on_the_simplex(name):
    weighting = build(name, 4)
    for seed in range(20):
        weights = sampled(weighting, rows_like(seed, 4, 4) * 10.0 ** (seed % 7 - 3))
        assert float(weights.sum()) == pytest.approx(1)
        assert weights.min() >= (0.3 / 4 / 1.3 - 1e-9 if name == "sdmgrad" else 0)


@pytest.mark.parametrize("seed", range(5))
def test_torchjd_agrees_on_sampled_weights(seed):
    theirs = pytest.importorskip("torchjd.aggregation")
    sdmgrad, modo = theirs.SDMGradWeighting(), theirs.MoDoWeighting(gamma=0.01, rho=0.1)
    ours = build("sdmgrad", 3), build("modo", 3, gamma=0.01)
    for t in range(4):
        products = 2 * torch.eye(3) + rows_like(10 * seed + t, 3, 3)
        # Inner steps of length 10 swing, and magnify the 1e-8 that TorchJD adds to the scale.
        close(sampled(ours[0], products), sdmgrad(products), rtol=1e-3, atol=1e-3)
        close(sampled(ours[1], products), modo(products))
