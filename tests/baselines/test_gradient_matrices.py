"""GradDrop, IMTL, MoCo, ExcessMTL, DB-MTL, SDMGrad, MoDo: golden values, rules, extreme input, state."""

import io
import math

import numpy as np
import pytest
import torch
from scipy import optimize

import benchmark
from baselines.matrices import inner_products
from benchmark.errors import UsageError
from benchmark.weighting import MatrixWeighting, direction

NAMES = ("graddrop", "imtl", "moco", "excessmtl", "db-mtl", "sdmgrad", "modo")

each = pytest.mark.parametrize("name", NAMES)


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def build(name, count=2, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return benchmark.build_weighting(name, [benchmark.Task(f"t{k}", "depth", 1) for k in range(count)], **options)


def step(weighting, rows, losses=None):
    """The direction (P,) of one more step, gradients being those of the losses."""
    rows = tensor(rows)
    return direction(weighting, rows, torch.ones(len(rows)).double() if losses is None else tensor(losses)).detach()


def first(name, rows, losses=None, **options):
    return step(build(name, len(rows), **options), rows, losses)


def weighted(weighting, rows):
    """The weights of one more step of a matrix weighting."""
    rows = tensor(rows)
    weighting.allocate(rows.shape[1])
    return weighting.from_gradients(rows, torch.ones(len(rows)).double()).weights


def rows_like(seed, count=3, width=7):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected, rtol=1e-9, atol=1e-12):
    torch.testing.assert_close(tensor(found), tensor(expected), rtol=rtol, atol=atol)


# GradDrop.


def test_graddrop_sums_where_all_agree():
    rows = [[1.0, -2.0, 0.0, 0.0], [3.0, -4.0, 0.0, 5.0]]
    for seed in range(5):
        assert first("graddrop", rows, seed=seed).tolist() == [4.0, -6.0, 0.0, 5.0]


@pytest.mark.parametrize(("leak", "positive", "negative"), [(0.0, 1.0, -3.0), (0.5, -0.5, -2.5), (1.0, -2.0, -2.0)])
def test_graddrop_picks_a_sign_by_its_purity(leak, positive, negative):
    # P = (1 + (1 − 3)/4)/2 = 1/4; the leak lets half, or all, of the other sign through.
    columns = 40_000
    found = first("graddrop", tensor([[1.0], [-3.0]]).expand(2, columns), leak=leak)
    assert ((found == positive) | (found == negative)).all()
    if positive != negative:
        # Four standard deviations.
        assert (found == positive).double().mean().item() == pytest.approx(0.25, abs=4 * math.sqrt(0.1875 / columns))


def test_graddrop_draws_anew_for_each_coordinate_and_step():
    rows = tensor([[1.0], [-1.0]]).expand(2, 1000)
    weighting = build("graddrop")
    once, again = step(weighting, rows), step(weighting, rows)
    assert 300 < (once == again).sum() < 700
    assert 300 < (once[1:] == once[:-1]).sum() < 700
    assert not torch.equal(once, first("graddrop", rows, seed=1))


def test_graddrop_at_the_representation_by_hand():
    # Votes: task 1 2·1 + 1·(−1) = 1; task 2 −3·1 + (−3)(−1) = 0, which is of neither sign. So P = 1: task 1 alone.
    weighting = build("graddrop", on="representation")
    gradients, feature = tensor([[[2.0], [1.0]], [[-3.0], [-3.0]]]), tensor([[0.5], [-4.0]])
    found = weighting.from_feature_gradients(gradients, tensor([1.0, 1.0]), feature)
    assert found.vector.tolist() == [2.0, 1.0]
    # The feature's sign turns the vote: both tasks agree on −1, whatever their gradients' signs.
    gradients, feature = tensor([[[-1.0], [0.0]], [[0.0], [7.0]]]), tensor([[2.0], [-2.0]])
    found = weighting.from_feature_gradients(gradients, tensor([1.0, 1.0]), feature)
    assert found.vector.tolist() == [-1.0, 7.0]


# IMTL.


def test_imtl_is_imtl_g_on_scaled_losses():
    weighting = build("imtl", 3)
    scales = tensor([0.5, -1.0, 2.0])
    with torch.no_grad():
        weighting.log_scales.copy_(scales)
    rows = rows_like(0)
    found = step(weighting, rows, [1.0, 2.0, 3.0])
    close(found, first("imtl-g", rows * scales.exp()[:, None]), rtol=1e-6)
    values = weighting.task_losses([tensor(1.0), tensor(2.0), tensor(3.0)])
    close([v.item() for v in values], scales.exp() * tensor([1.0, 2.0, 3.0]) - scales, rtol=1e-6)


def test_imtl_starts_as_imtl_g_and_settles_where_every_scaled_loss_is_one():
    rows, losses = rows_like(1), tensor([0.5, 2.0, 8.0])
    close(first("imtl", rows, losses), first("imtl-g", rows))
    weighting = build("imtl", 3)
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(500):
        optimiser.zero_grad()
        sum(weighting.task_losses(list(losses))).backward()
        optimiser.step()
    close(weighting.log_scales.detach().exp() * losses, torch.ones(3), rtol=1e-4)


# MoCo.


def test_moco_by_hand():
    # y = g; λ = (½, ½) − 0.1 (½, 2) = (0.45, 0.3), at distance 0.125 each from the simplex.
    weighting = build("moco", beta=1.0, beta_decay=0.0)
    close(step(weighting, [[1.0, 0.0], [0.0, 2.0]]), [0.575, 0.85])
    # Second step: γ/√2 (0.575, 1.7), gradients turned.
    moved = tensor([0.575 - 0.1 / 2**0.5 * 0.575, 0.425 - 0.1 / 2**0.5 * 4 * 0.425])
    expected = moved + (1 - moved.sum()) / 2
    close(step(weighting, [[0.0, 1.0], [2.0, 0.0]]), [2 * expected[1], expected[0]])


def test_moco_scaled_gives_gradients_the_length_of_their_loss():
    weighting = build("moco", beta=1.0, gamma=0.0, scaled=True)
    close(step(weighting, [[3.0, 4.0], [0.0, 2.0]], [10.0, 0.5]), [3.0, 4.25])
    close(first("moco", [[0.0, 0.0], [0.0, 2.0]], beta=1.0, gamma=0.0, scaled=True), [0.0, 0.5])


@pytest.mark.parametrize("options", [{}, {"rho": 0.7, "gamma": 0.02}, {"beta": 0.9, "beta_decay": 0.0}])
def test_moco_over_several_steps_from_another_hand(options):
    chosen = {"beta": 0.5, "beta_decay": 0.5, "gamma": 0.1, "gamma_decay": 0.5, "rho": 0.0} | options
    weighting = build("moco", 3, **options)
    means, coefficients = np.zeros((3, 7)), np.full(3, 1 / 3)
    for t in range(1, 6):
        rows = rows_like(t).numpy()
        share = chosen["beta"] * t ** -chosen["beta_decay"]
        means = share * rows + (1 - share) * means
        matrix = means @ means.T + chosen["rho"] * np.eye(3)
        aim = coefficients - chosen["gamma"] * t ** -chosen["gamma_decay"] * matrix @ coefficients
        coefficients = projected(aim)
        close(step(weighting, rows), coefficients @ means, rtol=1e-6, atol=1e-6)


def projected(aim):
    """The nearest point of the simplex, by bisection on the shift."""
    shift = optimize.brentq(lambda s: np.maximum(aim - s, 0).sum() - 1, aim.min() - 2, aim.max())
    return np.maximum(aim - shift, 0)


# ExcessMTL.


def test_excessmtl_by_hand():
    # One coordinate: e = (1, 1) first. Then squares (2, 5): e = (1/√2, 4/√5).
    weighting = build("excessmtl", step_size=1.0)
    close(weighted(weighting, [[1.0], [1.0]]), [1.0, 1.0])
    expected = 2 * torch.softmax(tensor([1 / math.sqrt(2), 4 / math.sqrt(5)]), 0)
    close(weighted(weighting, [[1.0], [2.0]]), expected, rtol=1e-6)
    # Third step: squares (11, 6): e = (9/√11, 1/√6), multiplied onto what was there.
    grown = expected * tensor([9 / math.sqrt(11), 1 / math.sqrt(6)]).exp()
    close(weighted(weighting, [[3.0], [-1.0]]), 2 * grown / grown.sum(), rtol=1e-6)


def test_excessmtl_in_warm_up_collects_and_weighs_alike():
    # e = (1, 2) and then, squares (5, 4.25), (4/√5, 0.25/√4.25); the mean is e⁰.
    weighting = build("excessmtl", step_size=1.0, warmup_epochs=1)
    close(weighted(weighting, [[1.0], [2.0]]), [1.0, 1.0])
    close(weighted(weighting, [[2.0], [0.5]]), [1.0, 1.0])
    weighting.epoch_end(torch.ones(2))
    reference = tensor([1 + 4 / math.sqrt(5), 2 + 0.25 / math.sqrt(4.25)]) / 2
    estimates = tensor([1 / math.sqrt(6), 1 / math.sqrt(5.25)])
    close(weighted(weighting, [[1.0], [1.0]]), 2 * torch.softmax(estimates / reference, 0), rtol=1e-6)


def test_excessmtl_waits_for_a_tasks_first_gradient():
    weighting = build("excessmtl", step_size=1.0)
    close(weighted(weighting, [[1.0], [0.0]]), [1.0, 1.0])
    # Task 1: e = 1/√2 against 1; task 2 has its first estimate.
    close(weighted(weighting, [[1.0], [3.0]]), 2 * torch.softmax(tensor([1 / math.sqrt(2), 0.0]), 0), rtol=1e-6)
    assert weighted(weighting, [[1.0], [3.0]]).isfinite().all()


# DB-MTL.


def test_db_mtl_by_hand():
    close(first("db-mtl", [[3.0, 4.0], [0.0, 1.0]], beta=0.0), [3.0, 9.0], rtol=1e-7)
    weighting = build("db-mtl")
    close(step(weighting, [[3.0, 4.0], [0.0, 1.0]]), [0.3, 0.9], rtol=1e-7)
    # Means 0.9 (0.3, 0.4) + 0.1 (0, 0) and 0.9 (0, 0.1) + 0.1 (1, 0): lengths 0.45 and √0.0181.
    means = tensor([[0.27, 0.36], [0.1, 0.09]])
    close(step(weighting, [[0.0, 0.0], [1.0, 0.0]]), means[0] + 0.45 / math.sqrt(0.0181) * means[1], rtol=1e-6)


def test_db_mtls_memory_may_fade():
    weighting = build("db-mtl", beta_decay=0.5)
    step(weighting, [[1.0, 0.0], [0.0, 1.0]])
    kept = 0.9 / math.sqrt(2)
    mean = (1 - kept) * 3 + kept * 0.1
    close(step(weighting, [[3.0, 0.0], [0.0, 3.0]]), [mean, mean], rtol=1e-6)


def test_db_mtl_looks_at_log_losses():
    # Gradients of log L are those of L over L.
    close(
        first("db-mtl", [[2.0, 0.0], [0.0, 1.0]], [4.0, 0.1], beta=0.0),
        first("db-mtl", [[0.5, 0.0], [0.0, 10.0]], beta=0.0),
        rtol=1e-6,
    )
    assert first("db-mtl", [[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0]).isnan().any()


def test_no_unit_of_loss_matters_to_db_mtl():
    rows, losses, units = rows_like(2), tensor([1.0, 2.0, 0.5]), tensor([1e-3, 1.0, 1e3])
    close(first("db-mtl", rows * units[:, None], losses * units), first("db-mtl", rows, losses), rtol=1e-4)


# The same from another hand.


@pytest.mark.parametrize("seed", range(5))
def test_torchjd_agrees(seed):
    theirs = pytest.importorskip("torchjd.aggregation")
    rows = rows_like(seed)
    weighting = build("graddrop", 3, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(weighting.position))
        expected = theirs.GradDrop()(rows)
    close(step(weighting, rows), expected)
    # Its warm-up of one call takes what the official code takes from the first step.
    excess, weighting = theirs.ExcessMTLWeighting(0.5, 1), build("excessmtl", 3, step_size=0.5)
    for t in range(4):
        rows = rows_like(10 * seed + t)
        close(weighted(weighting, rows), 3 * excess(rows), rtol=1e-5)


# Rules.


@each
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_a_common_factor_makes_the_step_as_much_longer(name, scale, count):
    if name in ("moco", "modo"):
        return  # see below
    rows = rows_like(count, count)
    close(first(name, scale * rows) / scale, first(name, rows), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["moco", "modo"])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_a_common_factor_counts_squared_in_gamma(name, scale):
    rows = rows_like(5)
    options = {"rho": 0.0}
    close(
        first(name, scale * rows, gamma=0.01 / scale**2, **options) / scale,
        first(name, rows, gamma=0.01, **options),
        rtol=1e-6,
    )


@each
@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_the_order_of_the_tasks_does_not_matter(name, order):
    one, other = build(name, 3), build(name, 3)
    for t in range(3):
        rows, losses = rows_like(t), tensor([1.0, 2.0, 3.0])
        chosen = list(order)
        close(step(one, rows, losses), step(other, rows[chosen], losses[chosen]), rtol=1e-6, atol=1e-9)


@each
def test_a_single_task_gets_its_own_gradient(name):
    row = rows_like(0, 1)
    share = {"moco": 0.5, "db-mtl": 0.1}.get(name, 1.0)  # of a running mean that starts at zero
    close(first(name, row), share * row[0], rtol=1e-6)


@each
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_without_any_gradient_nothing_moves(name, count):
    weighting = build(name, count)
    for _ in range(2):
        assert not step(weighting, torch.zeros(count, 5)).any()
    rows = rows_like(0, count, 5)
    assert step(weighting, rows).isfinite().all()


@each
@pytest.mark.parametrize("kind", ["conflicting", "parallel", "equal", "with zero", "opposite"])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_any_lengths_give_a_finite_direction(name, kind, count):
    rows = rows_like(3, count)
    rows = {
        "conflicting": rows - 0.95 * rows.mean(0),
        "parallel": rows[:1] * torch.arange(1, count + 1)[:, None],
        "equal": rows[:1].expand(count, -1),
        "with zero": rows * (torch.arange(count) > 0)[:, None],
        "opposite": rows[:1] * (-1.0) ** torch.arange(count)[:, None],
    }[kind]
    lengths = 10.0 ** (torch.arange(count) % 13 - 6)
    for scaled_rows in (rows, rows * lengths[:, None], 1e-6 * rows, 1e6 * rows):
        weighting = build(name, count)
        for _ in range(3):
            assert step(weighting, scaled_rows).isfinite().all()


@pytest.mark.parametrize("name", ["moco", "excessmtl", "sdmgrad", "modo"])
def test_equal_gradients_are_left_as_they_are(name):
    row = rows_like(0, 1)
    expected = {"moco": 0.5, "excessmtl": 3.0}.get(name, 1.0) * row[0]
    close(first(name, row.expand(3, -1)), expected, rtol=1e-6)


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_shows_and_leaves_the_state(name, bad):
    weighting = build(name, 3)
    step(weighting, rows_like(0))
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    rows = rows_like(1)
    rows[1, 2] = bad
    assert step(weighting, rows).isnan().any()
    assert before.keys() == weighting.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in weighting.state_dict().items())


# State.


@each
@pytest.mark.parametrize("stop", [0, 2])
def test_a_restored_one_goes_on_as_if_it_had_never_stopped(name, stop):
    weighting = build(name, 3)
    if isinstance(weighting, MatrixWeighting):
        weighting.allocate(7)
    for t in range(stop):
        direction(weighting, rows_like(t).float(), torch.ones(3))
    weighting.epoch_end(torch.ones(3))
    kept = io.BytesIO()
    torch.save(weighting.state_dict(), kept)
    kept.seek(0)
    other = build(name, 3, seed=9)
    if isinstance(other, MatrixWeighting):
        other.allocate(7)
    other.load_state_dict(torch.load(kept))
    for t in range(stop, 5):
        rows = rows_like(t).float()
        assert torch.equal(direction(weighting, rows, torch.ones(3)), direction(other, rows, torch.ones(3)))


@each
def test_gradients_in_single_precision_are_served_in_it(name):
    found = benchmark.aggregate(name, rows_like(0).float())
    assert found.dtype == torch.float32
    close(found.double(), benchmark.aggregate(name, rows_like(0)) if name != "graddrop" else found.double(), rtol=1e-4)


@each
def test_gradients_are_left_alone(name):
    rows = rows_like(0)
    before = rows.clone()
    weighting = build(name, 3)
    step(weighting, rows)
    step(weighting, rows)
    assert torch.equal(rows, before)


def test_inner_products_in_blocks_are_exact():
    weighting = build("moco", beta=1.0, gamma=0.0)
    rows = torch.ones(2, 2**25 + 3, dtype=torch.float32)
    assert inner_products(rows).tolist() == [[2**25 + 3] * 2] * 2
    weighting.allocate(0)
    assert weighting.from_gradients(torch.zeros(2, 0), torch.ones(2)).vector.shape == (0,)


# Options.


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("graddrop", {"leak": 1.5}, "'graddrop' needs a number from 0 to 1 as 'leak', found 1.5"),
        ("graddrop", {"leak": True}, "'leak', found True"),
        ("moco", {"beta": 0.0}, "'moco' needs a positive finite number as 'beta', found 0.0"),
        ("moco", {"beta": 1.5}, "up to 1 as 'beta', found 1.5"),
        ("moco", {"gamma": -1.0}, "at least 0 as 'gamma', found -1.0"),
        ("moco", {"scaled": 1}, "true or false as 'scaled', found 1"),
        ("modo", {"rho": math.nan}, "as 'rho', found nan"),
        ("sdmgrad", {"iterations": 0}, "a whole number from 1 as 'iterations', found 0"),
        ("sdmgrad", {"momentum": 1.0}, "below 1 as 'momentum', found 1.0"),
        ("sdmgrad", {"inner_lr": 0.0}, "'inner_lr', found 0.0"),
        ("excessmtl", {"step_size": -1.0}, "as 'step_size', found -1.0"),
        ("excessmtl", {"warmup_epochs": 1.5}, "a whole number from 0 as 'warmup_epochs', found 1.5"),
        ("db-mtl", {"beta": 1.0}, "below 1 as 'beta', found 1.0"),
        ("imtl", {"on": "features"}, "unknown place of gradients"),
    ],
)
def test_options_out_of_range_are_named(name, options, message):
    with pytest.raises(UsageError, match=message):
        build(name, **options)
