"""PCGrad, GradVac, IMTL-G, Aligned-MTL, ConFIG: golden values, rules on explicit gradients, extreme inputs, state."""

import copy
import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import benchmark
from benchmark.errors import UsageError

NAMES = ("pcgrad", "gradvac", "imtl-g", "aligned-mtl", "config", "ntkmtl")
DETERMINED = ("imtl-g", "aligned-mtl", "config", "ntkmtl")
RANDOM = ("pcgrad", "gradvac")

each = pytest.mark.parametrize("name", NAMES)
each_determined = pytest.mark.parametrize("name", DETERMINED)
each_random = pytest.mark.parametrize("name", RANDOM)

seeds = st.integers(0, 2**32)
counts = st.integers(1, 6)
exponents = st.lists(st.integers(-6, 6), min_size=6, max_size=6)


def build(name, count, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return benchmark.build_weighting(name, [benchmark.Task(f"t{k}", "depth", 1) for k in range(count)], **options)


def weights_of(weighting, rows):
    return weighting.from_gramian(rows @ rows.T, torch.ones(len(rows), dtype=torch.float64))


def weights(name, rows, **options):
    rows = torch.as_tensor(rows, dtype=torch.float64)
    return weights_of(build(name, len(rows), **options), rows)


def direction(name, rows, **options):
    rows = torch.as_tensor(rows, dtype=torch.float64)
    return weights(name, rows, **options) @ rows


def gradients(seed, count, width=7):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected, rtol=1e-9, atol=1e-9):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=rtol, atol=atol)


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


# Golden values, each worked out by hand.

OBTUSE = [[1.0, 0.0], [-1.0, 1.0]]  # Gramian [[1, −1], [−1, 2]]


@pytest.mark.parametrize(
    ("name", "rows", "expected", "options"),
    [
        # g_1 + ½ g_2 and g_2 + g_1: coefficients (1, ½) and (1, 1).
        ("pcgrad", OBTUSE, [2.0, 1.5], {}),
        ("pcgrad", [[1.0, 0.0], [1.0, 1.0]], [1.0, 1.0], {}),
        ("gradvac", OBTUSE, [2.0, 1.5], {}),
        # w ∝ n / G: (2/4, 1/1) over its sum.
        ("imtl-g", [[2.0, 0.0], [0.0, 1.0]], [1 / 3, 2 / 3], {}),
        # For two tasks w ∝ 1/n: (1, 1/√2) over its sum.
        ("imtl-g", OBTUSE, [0.5857864376269049, 0.4142135623730951], {}),
        # v = (1, 1)/√2, Σ ⟨g, v⟩ = 3/√2, d = (1.5, 1.5).
        ("config", [[2.0, 0.0], [0.0, 1.0]], [0.75, 1.5], {}),
        # Unit gradients u_1 = (1, 0), u_2 = (−1, 1)/√2; u_1 + u_2 has the projections 1 − 1/√2 on both; times lengths,
        # over its squared length 2 − √2: (1 + √2)/2 of u_1 + u_2.
        ("config", OBTUSE, [(1 + math.sqrt(2)) / 2, (1 + math.sqrt(2)) / 2 / math.sqrt(2)], {}),
        ("aligned-mtl", [[1.0, 0.0], [0.0, 2.0]], [1.0, 0.5], {}),
        ("aligned-mtl", [[1, 0, 0], [0, 2, 0], [0, 0, 4]], [2.0, 1.0, 0.5], {"scale_mode": "median"}),
        ("aligned-mtl", [[1, 0], [0, 2]], [1.0, 0.5], {"scale_mode": "median"}),
        ("aligned-mtl", [[1, 0, 0], [0, 2, 0], [0, 0, 4]], [7**0.5, 7**0.5 / 2, 7**0.5 / 4], {"scale_mode": "rmse"}),
        # G = [[2, 1], [1, 2]]: λ = 1 on (1, −1), 3 on (1, 1). B 1 = √(1/3) · 1.
        ("aligned-mtl", [[1, 1, 0], [0, 1, 1]], [3**-0.5, 3**-0.5], {}),
        # tr G = 25 over 9 and 16, and its root; the zero gradient changes nothing, and nothing has no weight.
        ("ntkmtl", [[3.0, 0.0], [0.0, 4.0]], [5 / 3, 5 / 4], {}),
        ("ntkmtl", [[3.0, 0.0], [2.4, 3.2]], [5 / 3, 5 / 4], {}),
        ("ntkmtl", [[3.0, 0.0], [0.0, 4.0]], [25 / 9, 25 / 16], {"exponent": 1}),
        ("ntkmtl", [[3.0, 0.0], [0.0, 4.0]], [1.0, 1.0], {"exponent": 0}),
        ("ntkmtl", [[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], [5 / 3, 5 / 4, 0.0], {}),
        ("ntkmtl", [[0.0], [0.0]], [0.0, 0.0], {}),
        # d = (5, 5) is scaled to length 1.
        ("ntkmtl", [[3.0, 0.0], [0.0, 4.0]], [1 / (3 * 2**0.5), 1 / (4 * 2**0.5)], {"max_norm": 1}),
        ("ntkmtl", [[3.0, 0.0], [0.0, 4.0]], [5 / 3, 5 / 4], {"max_norm": 8}),
    ],
)
def test_golden_values(name, rows, expected, options):
    close(weights(name, rows, **options), expected)


def test_gradvac_by_hand_over_three_steps():
    # Unit gradients at 120°. Step 1 is PCGrad's 1 + ½; the targets become −¼. Step 2: √(1−c²) = 0.8660254,
    # √(1−φ²) = 0.9682458: 1 + (−0.25 · 0.8660254 + 0.5 · 0.9682458) / 0.9682458. Then −0.375; step 3 at 60° leaves 1.
    weighting = build("gradvac", 2)
    blunt = torch.tensor([[1.0, 0.0], [-0.5, math.sqrt(0.75)]], dtype=torch.float64)
    close(weights_of(weighting, blunt), [1.5, 1.5])
    close(weighting.targets[0, 1], -0.25)
    close(weights_of(weighting, blunt), [1.2763932022500210] * 2)
    close(weighting.targets[1, 0], -0.375)
    close(weights_of(weighting, blunt * torch.tensor([[1.0], [-1.0]])), [1.0, 1.0])
    close(weighting.targets[1, 0], 0.0625)


def test_imtl_g_can_point_up_as_the_paper_defines_it():
    # u_3 lies between u_1 and u_2: coefficients (1.268, 1.268, −0.464) on units. A short g_3 turns their sum negative.
    rows = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    rows[2] *= 0.1 / math.sqrt(3)
    assert weights("imtl-g", rows).sum().item() == pytest.approx(1)
    assert (rows @ direction("imtl-g", rows) < 0).all()
    assert (rows @ direction("config", rows) > 0).all()


# The rules on explicit gradients.


def pcgrad_on_gradients(rows, orders):
    total = torch.zeros_like(rows[0])
    for i, others in enumerate(orders):
        moved = rows[i].clone()
        for j in others:
            if moved @ rows[j] < 0:
                moved = moved - (moved @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
        total += moved
    return total


def gradvac_on_gradients(rows, orders, targets, beta):
    total = torch.zeros_like(rows[0])
    for i, others in enumerate(orders):
        moved = rows[i].clone()
        for j in others:
            c, target = cosine(moved, rows[j]), targets[i][j]
            if c < target:
                # The vector in the plane of both, at the target's angle to g_j, whose part across g_j is kept.
                along = rows[j] / rows[j].norm()
                across = moved - (moved @ along) * along
                moved = across + across.norm() * target / math.sqrt(1 - target**2) * along
                assert cosine(moved, rows[j]) == pytest.approx(target, abs=1e-9)
            targets[i][j] = (1 - beta) * target + beta * c
        total += moved
    return total


@pytest.mark.slow
@given(seeds, counts, exponents)
def test_pcgrad_is_the_projection_of_the_gradients(seed, count, powers):
    rows = gradients(seed, count, width=3) * 10.0 ** torch.tensor(powers[:count])[:, None]
    weighting = build("pcgrad", count, seed)
    expected = pcgrad_on_gradients(rows, copy.deepcopy(weighting.orders).others(count))
    close(weights_of(weighting, rows) @ rows, expected, rtol=1e-6, atol=1e-6 * rows.norm().item())


@pytest.mark.slow
@given(seeds, counts, st.sampled_from([0.01, 0.5, 1.0]))
def test_gradvac_turns_the_gradients_to_their_targets(seed, count, beta):
    weighting = build("gradvac", count, seed, beta=beta)
    targets = [[0.0] * count for _ in range(count)]
    for step in range(4):
        rows = gradients(seed + step, count)
        orders = copy.deepcopy(weighting.orders).others(count)
        expected = gradvac_on_gradients(rows, orders, targets, beta)
        close(weights_of(weighting, rows) @ rows, expected, rtol=1e-6, atol=1e-6)
    close(weighting.targets, targets, atol=1e-7)


@pytest.mark.slow
@given(seeds, counts, exponents)
def test_equal_projections_on_all_unit_gradients(seed, count, powers):
    rows = gradients(seed, count) * 10.0 ** torch.tensor(powers[:count])[:, None]
    units = rows / rows.norm(dim=1, keepdim=True)
    line = torch.linalg.pinv(units).sum(1)
    for name in ("imtl-g", "config"):
        d = direction(name, rows)
        assert abs(cosine(d, line)) == pytest.approx(1, abs=1e-6)
        projections = units @ d
        close(projections, projections.mean().expand(count), rtol=1e-5, atol=1e-5 * d.norm().item())
    assert weights("imtl-g", rows).sum().item() == pytest.approx(1)
    along = line / line.norm()
    close(direction("config", rows), (rows @ along).sum() * along, rtol=1e-5, atol=1e-6 * rows.norm().item())


@pytest.mark.slow
@given(seeds, counts, st.sampled_from(["min", "median", "rmse"]))
def test_aligned_mtl_sets_all_singular_values_equal(seed, count, mode):
    rows = gradients(seed, count)
    left, values, right = torch.linalg.svd(rows, full_matrices=False)
    scale = {"min": values.min(), "median": values.median(), "rmse": values.square().mean().sqrt()}[mode]
    close(direction("aligned-mtl", rows, scale_mode=mode), (scale * left @ right).sum(0), rtol=1e-6, atol=1e-6)


# Special cases.


@pytest.mark.slow
@each
@given(seed=seeds, power=st.integers(-6, 6))
def test_one_task_gets_its_own_gradient(name, seed, power):
    close(weights(name, gradients(seed, 1) * 10.0**power), [1.0])


@each
@pytest.mark.parametrize("count", [1, 2, 5])
def test_without_any_gradient_nothing_moves(name, count):
    found = weights(name, torch.zeros(count, 4))
    assert found.isfinite().all()


@pytest.mark.slow
@each
@given(seed=seeds, place=st.integers(0, 2))
def test_a_zero_gradient_takes_no_part(name, seed, place):
    rows = gradients(seed, 2)
    whole = torch.cat([rows[:place], torch.zeros_like(rows[:1]), rows[place:]])
    assert weights(name, whole).isfinite().all()
    close(direction(name, whole), direction(name, rows))


@pytest.mark.slow
@each
@given(seed=seeds, lengths=st.lists(st.sampled_from([1e-2, 0.3, 1.0, 5.0]), min_size=2, max_size=5))
def test_parallel_gradients_are_summed(name, seed, lengths):
    lengths = torch.tensor(lengths, dtype=torch.float64)
    unit = torch.nn.functional.normalize(gradients(seed, 1), dim=1)
    # IMTL-G's weights are 1/n over their sum: the harmonic mean. NTKMTL sums K unit gradients, √tr G times.
    expected = {
        "imtl-g": len(lengths) / (1 / lengths).sum(),
        "ntkmtl": len(lengths) * lengths.square().sum().sqrt(),
    }.get(name, lengths.sum())
    close(direction(name, lengths[:, None] * unit), expected * unit[0])


@pytest.mark.slow
@each
@given(seed=seeds)
def test_opposite_gradients_cancel(name, seed):
    row = gradients(seed, 1)
    found = weights(name, torch.cat([row, -row]))
    assert found.isfinite().all()
    close(found @ torch.cat([row, -row]), torch.zeros(7))


@pytest.mark.slow
@each
@given(seed=seeds, count=counts, width=st.integers(1, 4), power=st.integers(-6, 6))
def test_a_common_factor_does_not_change_the_weights(name, seed, count, width, power):
    rows = gradients(seed, count, width)
    # A power of two is exact, so that even dependent rows round alike.
    assert torch.equal(weights(name, rows * 8.0**power), weights(name, rows))


@pytest.mark.slow
@each
@given(seed=seeds, count=counts, width=st.integers(1, 4), powers=exponents)
def test_any_lengths_and_ranks_give_finite_weights(name, seed, count, width, powers):
    rows = gradients(seed, count, width) * 10.0 ** torch.tensor(powers[:count])[:, None]
    weighting = build(name, count, seed)
    for noisy in (rows, rows.float().double()):
        found = weights_of(weighting, noisy)
        assert found.shape == (count,)
        assert found.dtype == torch.float64
        assert found.isfinite().all()


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (0, 2), (1, 2)])
def test_gradients_that_are_not_finite_give_weights_that_are_not(name, bad, place):
    rows = gradients(3, 3)
    weighting = build(name, 3)
    gramian = rows @ rows.T
    gramian[place] = gramian[place[::-1]] = bad
    assert weighting.from_gramian(gramian, torch.ones(3, dtype=torch.float64)).isnan().all()
    assert weights_of(weighting, rows).isfinite().all()


def test_gradvac_stays_finite_after_gradients_that_were_parallel_for_long():
    weighting = build("gradvac", 3)
    for _ in range(100):
        close(weights_of(weighting, torch.ones(3, 4, dtype=torch.float64)), [1.0] * 3)
    for seed in range(20):
        found = weights_of(weighting, gradients(seed, 3))
        assert found.isfinite().all()
        assert (found.abs() < 1e8).all()


# Properties that tell the methods apart, and identities between them.


@each_determined
@pytest.mark.slow
@given(seed=seeds, order=st.permutations(range(4)))
def test_the_order_of_tasks_does_not_matter(name, seed, order):
    rows = gradients(seed, 4)
    close(weights(name, rows[list(order)]), weights(name, rows)[list(order)], rtol=1e-6, atol=1e-9)


@each_random
def test_the_order_of_tasks_does_not_matter_on_the_whole(name):
    rows = torch.tensor([[1.0, 0.1, 0], [-0.8, 1.0, 0.2], [-0.3, -0.9, 0.7]], dtype=torch.float64)
    order = [2, 0, 1]
    outcomes = [set(), set()]
    for seed in range(150):
        outcomes[0].add(tuple((weights(name, rows, seed=seed)[order] * 1e6).round().int().tolist()))
        outcomes[1].add(tuple((weights(name, rows[order], seed=seed) * 1e6).round().int().tolist()))
    assert len(outcomes[0]) > 1
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
@given(seeds, counts, st.integers(1, 7))
def test_imtl_g_and_config_share_a_line(seed, count, width):
    rows = gradients(seed, count, width)
    a, b = direction("imtl-g", rows), direction("config", rows)
    assert (a @ b).abs().item() == pytest.approx((a.norm() * b.norm()).item(), rel=1e-6, abs=1e-9)


@pytest.mark.slow
@given(seeds, exponents)
def test_the_line_of_config_does_not_depend_on_lengths(seed, powers):
    rows = gradients(seed, 4)
    scaled = rows * 10.0 ** torch.tensor(powers[:4])[:, None]
    assert cosine(direction("config", rows), direction("config", scaled)) == pytest.approx(1, abs=1e-6)


@each_random
@pytest.mark.slow
@given(seed=seeds, count=counts)
def test_without_conflict_it_is_the_sum(name, seed, count):
    assert weights(name, gradients(seed, count).abs()).tolist() == [1.0] * count


@pytest.mark.slow
@given(seeds, counts)
def test_gradvac_without_memory_is_pcgrad(seed, count):
    plain, vaccine = build("pcgrad", count, seed), build("gradvac", count, seed, beta=0)
    for step in range(3):
        rows = gradients(seed + step, count)
        close(weights_of(vaccine, rows), weights_of(plain, rows), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@given(seeds, exponents)
def test_two_tasks_never_conflict_with_the_direction(seed, powers):
    rows = gradients(seed, 2) * 10.0 ** torch.tensor(powers[:2])[:, None]
    for name in ("pcgrad", "imtl-g", "config", "gradvac"):
        d = direction(name, rows)
        assert (rows @ d >= -1e-9 * rows.norm(dim=1) * d.norm()).all()
    units = rows / rows.norm(dim=1, keepdim=True)
    assert cosine(direction("imtl-g", rows), units.sum(0)) == pytest.approx(1, abs=1e-6)
    assert cosine(direction("config", rows), units.sum(0)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("mode", ["min", "median", "rmse"])
@pytest.mark.slow
@given(seed=seeds, count=counts, length=st.sampled_from([1e-3, 1.0, 1e3]))
def test_orthogonal_gradients_of_one_length_are_summed(mode, seed, count, length):
    rows = length * torch.linalg.qr(gradients(seed, 7))[0][:count]
    close(weights("aligned-mtl", rows, scale_mode=mode), [1.0] * count)
    close(weights("config", rows), [1.0] * count)
    close(weights("imtl-g", rows), [1 / count] * count)


@each
def test_the_direction_of_gradients_follows_from_the_weights(name):
    rows = gradients(4, 3)
    torch.manual_seed(0)
    found = benchmark.aggregate(name, rows)
    close(found, direction(name, rows))


# The same from another hand.


@pytest.mark.slow
@given(seeds, st.integers(2, 5))
def test_torchjd_agrees(seed, count):
    theirs = pytest.importorskip("torchjd.aggregation")
    rows = gradients(seed, count)
    gramian = rows @ rows.T
    close(weights("imtl-g", rows), theirs.IMTLGWeighting()(gramian), rtol=1e-5, atol=1e-7)
    close(direction("config", rows), theirs.ConFIG()(rows), rtol=1e-5, atol=1e-7)
    for mode in ("min", "median", "rmse"):
        mean = theirs.AlignedMTLWeighting(scale_mode=mode)(gramian)
        close(weights("aligned-mtl", rows, scale_mode=mode), count * mean, rtol=1e-5, atol=1e-7)
    weighting = build("pcgrad", count, seed)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(weighting.orders.state)
        close(weights_of(weighting, rows), theirs.PCGradWeighting()(gramian))


def test_torchjd_agrees_on_gradvac():
    theirs, ours = pytest.importorskip("torchjd.aggregation").GradVacWeighting(beta=0.5), build("gradvac", 2)
    for seed in range(20):  # two tasks: no order to draw
        rows = gradients(seed, 2)
        close(weights_of(ours, rows), theirs(rows @ rows.T), rtol=1e-6, atol=1e-6)


# State.


def run(weighting, steps):
    return [weights_of(weighting, gradients(step, 4, width=3)).tolist() for step in steps]


@each_random
@pytest.mark.parametrize("stop", [0, 1, 5])
def test_a_restored_one_goes_on_as_if_it_had_never_stopped(name, stop):
    weighting = build(name, 4, seed=1)
    run(weighting, range(stop))
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    twin = build(name, 4, seed=2)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert run(twin, range(stop, 10)) == run(weighting, range(stop, 10))


@each_random
def test_only_the_seed_at_construction_decides_the_orders(name):
    first, again, other = (build(name, 4, seed=seed) for seed in (1, 1, 2))
    expected = run(first, range(10))
    before = torch.get_rng_state()
    assert run(again, range(10)) == expected
    assert torch.equal(torch.get_rng_state(), before)
    assert run(other, range(10)) != expected


@each
def test_nothing_is_learned_by_the_optimiser(name):
    assert not list(build(name, 3).parameters())


@each_determined
def test_the_others_keep_no_state(name):
    assert not build(name, 3).state_dict()


# Options.


@pytest.mark.parametrize("beta", [-0.1, 1.5, math.nan, "0.5", True, None])
def test_gradvac_wants_beta_between_0_and_1(beta):
    with pytest.raises(UsageError, match="'gradvac' needs a number from 0 to 1 as 'beta'"):
        build("gradvac", 2, beta=beta)


def test_aligned_mtl_wants_a_known_scale():
    with pytest.raises(UsageError, match=r"unknown scale_mode of 'aligned-mtl' 'mean'.* Known: median, min, rmse"):
        build("aligned-mtl", 2, scale_mode="mean")
