"""The weightings that see losses only: what options they take, and what they say of others."""

import math

import pytest
import torch

from benchmark.errors import UsageError
from tests.baselines.losses import build, step


@pytest.mark.parametrize(
    "weights",
    [
        [0.5, 0.5],
        [0.25] * 4,
        [],
        [1.5, -0.5, 0.0],
        [0.5, 0.5, math.nan],
        [math.inf, 0, 0],
        [True, 0, 0],
        ["1", 0, 0],
        1,
        "100",
    ],
)
def test_constant_wants_one_weight_for_each_task(weights):
    with pytest.raises(UsageError, match=r"'constant' needs 3 finite numbers, .*\(task0, task1, task2\)"):
        build("constant", weights=weights)


@pytest.mark.parametrize("weights", [[1, 1, 1], [0.3, 0.3, 0.3], [0, 0, 0]])
def test_constant_wants_a_sum_of_one(weights):
    with pytest.raises(UsageError, match=r"'constant' needs 'weights' that sum to 1, .* which sum to"):
        build("constant", weights=weights)


def test_constant_has_no_default():
    with pytest.raises(UsageError, match="'constant' needs the option 'weights'"):
        build("constant")


def test_a_corner_of_the_simplex_trains_one_task():
    assert step(build("constant", weights=(0, 1, 0)), [2.0, 8.0, 4.0])[:2] == (24.0, [0.0, 3.0, 0.0])


@pytest.mark.parametrize("start", [math.nan, math.inf, "0", False, None])
def test_kendall_wants_a_finite_start(start):
    with pytest.raises(UsageError, match="'uncertainty-kendall' needs a finite number as 'start'"):
        build("uncertainty-kendall", start=start)


@pytest.mark.parametrize("distribution", ["uniform", "", None, 1, ["normal"]])
def test_rlw_wants_a_distribution_that_it_knows(distribution):
    with pytest.raises(UsageError, match="'rlw' needs 'normal' or 'dirichlet' as 'distribution'"):
        build("rlw", distribution=distribution)


@pytest.mark.parametrize("mu", [0, -1.0, math.nan, math.inf, "2", True, None])
def test_stch_wants_a_positive_mu(mu):
    with pytest.raises(UsageError, match="'stch' needs a positive finite number as 'mu'"):
        build("stch", mu=mu)


@pytest.mark.parametrize("name", ["stch", "igb"])
@pytest.mark.parametrize("epochs", [0, -1, 1.5, "5", True, None])
def test_warm_up_is_of_an_epoch_at_least(name, epochs):
    with pytest.raises(UsageError, match=f"'{name}' needs a whole number from 1 as 'warmup_epochs'"):
        build(name, warmup_epochs=epochs)


@pytest.mark.parametrize(("name", "least"), [("stch", 1), ("igb", 1), ("excessmtl", 0)])
@pytest.mark.parametrize("epochs", [2**63, 10**30])
def test_warm_up_is_of_no_more_epochs_than_are_counted(name, least, epochs):
    expected = rf"'{name}' needs a whole number from {least} and below 2\^63 \(9223372036854775808\) as"
    with pytest.raises(UsageError, match=f"{expected} 'warmup_epochs', found {epochs}"):
        build(name, warmup_epochs=epochs)


@pytest.mark.parametrize("name", ["stch", "igb"])
def test_warm_up_may_be_as_long_as_epochs_are_counted(name):
    weighting = build(name, warmup_epochs=2**63 - 1)
    weighting.epoch_end(torch.tensor([1.0, 2.0, 3.0]))
    assert step(weighting, [0.5, 4.0, 1.0])[1] == [2.0, 0.25, 1.0]


@pytest.mark.parametrize("groups", [0, -1, 1.5, "2", True, None])
def test_go4align_wants_a_group(groups):
    with pytest.raises(UsageError, match="'go4align' needs a whole number from 1 as 'groups', found"):
        build("go4align", groups=groups)


@pytest.mark.parametrize(("name", "option"), [("go4align", "step_size"), ("ldc-mtl", "penalty")])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "2", True, None])
def test_rates_and_penalties_are_finite_and_not_negative(name, option, value):
    with pytest.raises(UsageError, match=f"'{name}' needs a finite number of at least 0 as '{option}'"):
        build(name, **{option: value})


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf, "2", True, None])
def test_uw_so_wants_a_positive_temperature(temperature):
    with pytest.raises(UsageError, match="'uw-so' needs a positive finite number as 'temperature'"):
        build("uw-so", temperature=temperature)
