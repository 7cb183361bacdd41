"""k-means in one dimension, as GO4Align needs it: exact, the same in any order, and without a task that sits out."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.weightings.go4align import group_means

values_of_tasks = st.lists(st.floats(0.0, 1e6, width=32), min_size=1, max_size=6)


def everyone(values):
    return torch.ones(len(values), dtype=torch.bool)


def found(values, groups, counted=None):
    rows = torch.tensor(values, dtype=torch.float64)
    return group_means(rows, everyone(values) if counted is None else torch.tensor(counted), groups).tolist()


def squares(values, means):
    return math.fsum((value - mean) ** 2 for value, mean in zip(values, means, strict=True))


def least_squares(values, groups):
    """Of every assignment of values to groups, neighbours or not."""
    best = math.inf
    for labels in itertools.product(range(groups), repeat=len(values)):
        members = [[v for v, own in zip(values, labels, strict=True) if own == group] for group in range(groups)]
        best = min(best, math.fsum((v - math.fsum(m) / len(m)) ** 2 for m in members for v in m))
    return best


def test_groups_by_hand():
    # 1 and 2 of mean 3/2; 10; 20, 21 and 22 of mean 21
    values = [20.0, 1.0, 22.0, 10.0, 2.0, 21.0]
    assert found(values, 3) == [21.0, 1.5, 21.0, 10.0, 1.5, 21.0]
    # 10 joins 1 and 2, at 13/3: squares 146/3 + 2; with the larger three they would be 1/2 + 365/4 · …, more
    assert found(values, 2) == pytest.approx([21.0, 13 / 3, 21.0, 13 / 3, 13 / 3, 21.0])
    assert found(values, 1) == pytest.approx([76 / 6] * 6)
    assert found(values, 6) == found(values, 9) == values


def test_of_two_divisions_alike_the_one_with_the_smaller_first_group_is_taken():
    # 0, 1, 2: {0}, {1, 2} and {0, 1}, {2} have the squares ½ each.
    for order in itertools.permutations([0.0, 1.0, 2.0]):
        assert found(list(order), 2) == [0.0 if value == 0 else 1.5 for value in order]


@given(values_of_tasks, st.integers(1, 4))
def test_no_division_is_better(values, groups):
    means = found(values, groups)
    assert len(set(means)) <= groups
    assert squares(values, means) <= least_squares(values, groups) * (1 + 1e-9) + 1e-9
    assert all(a <= b for a, b in itertools.pairwise(mean for _, mean in sorted(zip(values, means, strict=True))))


@given(values_of_tasks, st.integers(1, 4), st.data())
def test_the_order_changes_no_bit(values, groups, data):
    order = data.draw(st.permutations(range(len(values))))
    means = found(values, groups)
    assert found([values[k] for k in order], groups) == [means[k] for k in order]


@given(values_of_tasks, st.integers(1, 4), st.integers(0, 6))
def test_what_does_not_count_changes_nothing(values, groups, place):
    place = min(place, len(values))
    with_another = [*values[:place], 7.0, *values[place:]]
    counted = [k != place for k in range(len(with_another))]
    rest = [mean for mean, own in zip(found(with_another, groups, counted), counted, strict=True) if own]
    assert rest == pytest.approx(found(values, groups), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_shows(bad):
    assert all(map(math.isnan, found([1.0, bad, 3.0], 2)))
    assert found([1.0, bad, 3.0], 2, [True, False, True])[::2] == [1.0, 3.0]
