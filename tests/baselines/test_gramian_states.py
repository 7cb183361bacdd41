"""The weightings that solve a problem on the Gramian: degenerate input, state and options."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UsageError
from tests.baselines import gramians as on

# Degenerate input.


@pytest.mark.parametrize("name", on.NAMES)
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_gradients_that_are_all_zero_give_finite_weights(name, count):
    weighting = on.build(name, count)
    assert np.isfinite(on.solve(weighting, np.zeros((count, 4)))).all()
    assert int(weighting.fallbacks) == 0


@pytest.mark.parametrize("name", on.NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gramian_that_is_not_finite_gives_nan(name, bad):
    weighting = on.build(name)
    gramian = torch.eye(3, dtype=torch.float64)
    gramian[1, 1] = bad
    state = {key: value.clone() for key, value in weighting.state_dict().items()}
    assert weighting.from_gramian(gramian, torch.ones(3, dtype=torch.float64)).isnan().all()
    assert all(torch.equal(value, state[key]) for key, value in weighting.state_dict().items())
    assert np.isfinite(on.solve(weighting, np.eye(3))).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_mgda_shows_a_loss_that_is_not_finite_only_where_it_looks_at_it(bad):
    for normalisation in on.NORMALISATIONS:
        weights = on.weights_of("mgda", np.eye(2), [1.0, bad], normalisation=normalisation)
        assert np.isnan(weights).all() == ("loss" in normalisation)


@pytest.mark.parametrize("normalisation", ["loss", "loss+"])
def test_mgda_takes_losses_of_zero_as_the_limit_of_small_ones(normalisation):
    at_zero = on.weights_of("mgda", on.PLANE, [1.0, 0.0], normalisation=normalisation)
    near = on.weights_of("mgda", on.PLANE, [1.0, 1e-9], normalisation=normalisation)
    assert np.allclose(at_zero, near, atol=1e-6)
    for losses in ([0.0, 0.0], [-1.0, -2.0]):
        assert np.isfinite(on.weights_of("mgda", on.PLANE, losses, normalisation=normalisation)).all()


@pytest.mark.parametrize("name", on.NAMES)
@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e10, 1e18])
def test_gradients_near_the_ends_of_float32_give_finite_weights(name, scale):
    rows = on.random_rows(1, 3, 6, 0.8)
    assert np.isfinite(on.weights_of(name, scale * rows)).all()
    assert np.isfinite(on.weights_of(name, np.array([[1.0], [scale], [1.0]]) * rows)).all()


@given(
    st.integers(0, 10**6), st.sampled_from([2, 3, 10]), st.sampled_from([0.0, 1e-8, 1e-4]), st.sampled_from(on.NAMES)
)
def test_parallel_gradients_survive_rounding_to_float32(seed, count, spread, name):
    # Products in float32 leave a Gramian that is neither quite definite nor bounded by the lengths.
    random = np.random.default_rng(seed)
    rows = (random.normal(size=50) + spread * random.normal(size=(count, 50))) * 10.0 ** random.integers(
        -2, 3, (count, 1)
    )
    single = torch.from_numpy(rows).float()
    weighting = on.build(name, count)
    weights = weighting.from_gramian((single @ single.T).double(), torch.ones(count, dtype=torch.float64)).numpy()
    assert weights.min() >= 0
    assert on.cosine(weights @ rows, rows[0]) > 0.99
    assert int(weighting.fallbacks) == 0


@given(st.lists(st.floats(-1e3, 1e3), min_size=9, max_size=9), st.sampled_from(on.NAMES))
def test_what_is_no_gramian_does_no_harm(entries, name):
    matrix = torch.tensor(entries, dtype=torch.float64).view(3, 3)
    assert on.build(name).from_gramian(matrix, torch.ones(3, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize("name", ["nash-mtl", "fairgrad"])
def test_opposite_gradients_leave_the_third_its_way_and_are_counted(name):
    weighting = on.build(name)
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert on.cosine(on.solve(weighting, rows) @ rows, np.array([0.0, 1.0])) > 0.9999
    assert int(weighting.fallbacks) == 1
    on.solve(weighting, np.eye(3))
    assert int(weighting.fallbacks) == 1


# State.


@pytest.mark.parametrize("name", on.NAMES)
def test_fallbacks_are_saved(name):
    weighting = on.build(name)
    weighting.fallbacks.fill_(7)
    twin = restored(weighting, name)
    assert int(twin.fallbacks) == 7
    assert twin.fallbacks.dtype == torch.int64
    assert not list(twin.parameters())


def restored(weighting, name, **options):
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    twin = on.build(name, **options)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin


def test_nash_bargains_anew_every_few_steps():
    weighting = on.build("nash-mtl", 2, max_norm=0, update_weights_every=2)
    found = [on.solve(weighting, length * np.eye(2)).tolist() for length in (1.0, 2.0, 4.0, 8.0)]
    assert found == [pytest.approx([alpha, alpha]) for alpha in (1.0, 1.0, 0.25, 0.25)]


def test_nash_clips_old_weights_on_new_gradients():
    weighting = on.build("nash-mtl", 2, update_weights_every=2)
    assert on.solve(weighting, np.eye(2)).tolist() == pytest.approx([1 / on.ROOT(2)] * 2)
    assert on.solve(weighting, 10 * np.eye(2)).tolist() == pytest.approx([0.1 / on.ROOT(2)] * 2)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_restored_nash_goes_on_as_if_it_had_never_stopped(stop):
    steps = [on.random_rows(seed, 3, 6, 0.5) for seed in range(6)]
    weighting = on.build("nash-mtl", update_weights_every=3)
    for rows in steps[:stop]:
        on.solve(weighting, rows)
    twin = restored(weighting, "nash-mtl", update_weights_every=3)
    for rows in steps[stop:]:
        assert np.array_equal(on.solve(twin, rows), on.solve(weighting, rows))


@pytest.mark.parametrize("options", [{}, {"max_norm": 0}, {"update_weights_every": 3, "max_norm": 0}])
def test_recorded_weights_do_not_change_later(options):
    weighting = on.build("nash-mtl", **options)
    first = on.solve(weighting, on.random_rows(0, 3))
    kept = first.copy()
    for seed in range(1, 4):
        on.solve(weighting, on.random_rows(seed, 3))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("name", on.NAMES)
def test_the_input_is_left_alone(name):
    rows = torch.from_numpy(on.random_rows(0, 3, conflict=0.9))
    gramian, losses = rows @ rows.T, torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    before = gramian.clone(), losses.clone()
    assert on.build(name).from_gramian(gramian, losses).dtype == torch.float64
    assert torch.equal(gramian, before[0])
    assert torch.equal(losses, before[1])


# Options.


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mgda", {"normalisation": "L2"}, "'mgda' needs one of 'none', 'l2', 'loss', 'loss+' as 'normalisation'"),
        ("mgda", {"normalisation": None}, "found None"),
        ("cagrad", {"c": -0.1}, "'cagrad' needs a finite number of at least 0 as 'c', found -0.1"),
        ("cagrad", {"c": math.nan}, "found nan"),
        ("cagrad", {"rescale": 3}, "'cagrad' needs 0, 1 or 2 as 'rescale', found 3"),
        ("cagrad", {"rescale": True}, "found True"),
        ("nash-mtl", {"max_norm": -1}, "'nash-mtl' needs a finite number of at least 0 as 'max_norm'"),
        ("nash-mtl", {"update_weights_every": 0}, "'nash-mtl' needs a positive integer as 'update_weights_every'"),
        ("nash-mtl", {"update_weights_every": 1.5}, "found 1.5"),
        ("fairgrad", {"alpha": 0}, "'fairgrad' needs a positive finite number as 'alpha', found 0"),
        ("fairgrad", {"alpha": "2"}, "found '2'"),
        ("fairgrad", {"max_norm": math.inf}, "'fairgrad' needs a finite number of at least 0 as 'max_norm'"),
    ],
)
def test_options_out_of_range_are_named(name, options, message):
    with pytest.raises(UsageError) as caught:
        on.build(name, **options)
    assert message in str(caught.value)
