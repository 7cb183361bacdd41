"""No two weightings are the same one under two names, but for the identities that theory gives."""

import itertools

import pytest
import torch

import benchmark
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import GradientWeighting, LookaheadWeighting, NormWeighting, direction
from tests.options import REQUIRED

NAMES = [n for n in WEIGHTINGS if WEIGHTINGS[n].factory.__module__.startswith("baselines.")]
KINDS = ("segmentation", "depth", "normals")
#: One rule on gradients of another place: the same direction where the gradients are the same.
SAME = {frozenset({"mgda", "mgda-ub"}), frozenset({"samo", "fairgrad"})}


def build(name, count=3, **options):
    tasks = [benchmark.Task(f"task{k}", kind, 3) for k, kind in enumerate(KINDS[:count])]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return benchmark.build_weighting(name, tasks, **REQUIRED.get(name, {}), **options)


def generic(seed, count=3, conflict=0.6):
    """Rows of unequal lengths, two of them in conflict; losses of unequal sizes."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 6, generator=draw, dtype=torch.float64)
    rows = (rows - conflict * rows.mean(0)) * torch.tensor([1.0, 2.5, 0.6], dtype=torch.float64)[:count, None]
    return rows, torch.rand(count, generator=draw, dtype=torch.float64) + 0.3


def after_some_steps(name):
    """The direction on one and the same matrix after steps and epochs that every memory has followed."""
    weighting = build(name)
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.1) if list(weighting.parameters()) else None
    for t in range(6):
        rows, losses = generic(t)
        known = losses.float()
        direction(weighting, rows, known)
        if optimiser:
            optimiser.zero_grad()
            if isinstance(weighting, GradientWeighting):
                sum(weighting.task_losses(list(known))).backward()
            else:
                weighting.objective(known, weighting.weights(known)).backward()
            optimiser.step()
        if isinstance(weighting, NormWeighting):
            weighting.observe(rows.norm(dim=1).float(), known)
        if isinstance(weighting, LookaheadWeighting):
            weighting.observe((rows @ rows.sum(0)).float(), 0.1)
        if weighting.evaluates_again:
            weighting.after_step(known * torch.tensor([0.9, 0.5, 0.7]))
        weighting.epoch_end(known)
    rows, losses = generic(100)
    return direction(weighting, rows, losses.float())


def close(first, second, rtol=1e-6):
    torch.testing.assert_close(first, second, rtol=rtol, atol=rtol * float(second.abs().max()))


def parallel(first, second):
    return torch.nn.functional.cosine_similarity(first, second, dim=0).item() == pytest.approx(1, abs=1e-8)


def aggregate(name, rows, losses=None, **options):
    return direction(build(name, len(rows), **options), rows, torch.ones(len(rows)) if losses is None else losses)


def test_no_two_coincide_on_a_generic_matrix():
    found = {name: after_some_steps(name) for name in NAMES}
    assert len(found) > 25
    for name, vector in found.items():
        assert vector.isfinite().all(), name
        assert vector.norm() > 1e-3, name
    for first, second in itertools.combinations(NAMES, 2):
        same = torch.allclose(found[first], found[second], rtol=1e-3, atol=1e-4)
        assert same == (frozenset({first, second}) in SAME), (first, second)


@pytest.mark.parametrize("seed", range(5))
def test_nash_is_fairgrad_of_one_before_clipping(seed):
    rows, _ = generic(seed)
    close(aggregate("nash-mtl", rows, max_norm=0.0), aggregate("fairgrad", rows, alpha=1.0))


@pytest.mark.parametrize("seed", range(5))
def test_imtl_and_config_keep_to_the_line_of_imtl_g(seed):
    rows, _ = generic(seed)
    line = aggregate("imtl-g", rows)
    for name in ("config", "imtl"):
        found = aggregate(name, rows)
        assert parallel(found, line) or parallel(found, -line)
    scaled = build("imtl")
    with torch.no_grad():
        scaled.log_scales.copy_(torch.tensor([1.0, -2.0, 0.5]))
    found = direction(scaled, rows, torch.ones(3))
    assert parallel(found, line) or parallel(found, -line)


@pytest.mark.parametrize("seed", range(5))
def test_mgda_on_unit_gradients_is_imtl_g_where_all_weights_are_positive(seed):
    rows, _ = generic(seed, conflict=0.95)
    unit = rows / rows.norm(dim=1, keepdim=True)
    expected = torch.linalg.solve(unit @ unit.T, torch.ones(3, dtype=torch.float64))
    assert (expected > 0).all(), "another matrix is needed"
    close(aggregate("mgda", rows, normalisation="l2"), aggregate("imtl-g", rows))


@pytest.mark.parametrize("seed", range(5))
def test_of_two_tasks_all_impartial_methods_take_the_bisector(seed):
    rows, _ = generic(seed, 2)
    bisector = (rows / rows.norm(dim=1, keepdim=True)).sum(0)
    for name, options in {
        "imtl-g": {},
        "imtl": {},
        "config": {},
        "nash-mtl": {},
        "fairgrad": {"alpha": 1.0},
        "mgda": {"normalisation": "l2"},
        "db-mtl": {"beta": 0.0},
        "ntkmtl": {},
    }.items():
        assert parallel(aggregate(name, rows, **options), bisector), name


@pytest.mark.parametrize("seed", range(5))
def test_of_two_tasks_in_conflict_upgrad_is_half_of_pcgrad(seed):
    rows, _ = generic(seed, 2, conflict=0.95)
    assert rows[0] @ rows[1] < 0
    close(2 * aggregate("upgrad", rows), aggregate("pcgrad", rows))


@pytest.mark.parametrize("seed", range(5))
def test_without_conflict_projections_change_nothing(seed):
    rows = generic(seed)[0].abs()
    total = rows.sum(0)
    close(aggregate("equal", rows), total)
    close(aggregate("pcgrad", rows), total)
    close(aggregate("graddrop", rows), total)
    close(aggregate("upgrad", rows), total / 3)
    close(aggregate("dualproj", rows), total / 3)


@pytest.mark.parametrize("name", ["dwa", "imtl-l", "excessmtl"])
def test_what_learns_from_its_steps_starts_as_the_plain_sum(name):
    rows, losses = generic(0)
    close(aggregate(name, rows, losses.float()), rows.sum(0))


@pytest.mark.parametrize(
    ("gradients", "losses", "message"),
    [
        ([[1.0, 2.0]], None, "found list"),
        (torch.tensor([[1, 2], [3, -4]]), None, "found torch.int64"),
        (torch.eye(2), torch.tensor([1, 2]), "losses must be a tensor of floating-point numbers"),
        (torch.eye(2), torch.ones(3), "one loss for each of 2 tasks"),
        (torch.ones(3), None, "one row per task"),
    ],
)
def test_aggregate_refuses_what_it_would_get_wrong(gradients, losses, message):
    with pytest.raises(UsageError, match=message):
        benchmark.aggregate("mgda", gradients, losses=losses)
