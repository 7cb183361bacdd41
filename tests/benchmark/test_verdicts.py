"""Verdicts: their error rate, what they say, and the same recomputed without the suite."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from benchmark.analysis import (
    DELTA,
    REFERENCE,
    Baseline,
    boards,
    contrasts,
    delta_m,
    frame,
    gains,
    mean_reference,
    references,
    select,
    smallest_difference,
    verdicts,
)
from benchmark.analysis.looks import FIRST, boundary_of, critical, spent
from benchmark.analysis.moderation import MOST, moderate
from benchmark.analysis.verdicts import gain_verdicts, reference_row
from benchmark.errors import UsageError
from tests.benchmark.records import grid, record

EQUAL, SPLIT = Baseline(weighting="equal"), Baseline(architecture="split")


def tidy(rows, reference=(100.0, 100.0, 100.0)):
    """A board of one task with one metric, whose reference has mean 100: a value of 103 is a Δm of 3."""
    found = [("single-task", "none", seed, value, True) for seed, value in enumerate(reference)]
    found += [(*row, seed, value, False) for row, values in rows.items() for seed, value in enumerate(values)]
    data = pd.DataFrame(found, columns=["architecture", "weighting", "seed", "value", "reference"])
    return data[data["value"].notna()].assign(
        run=lambda d: d["architecture"] + d["weighting"] + d["seed"].astype(str),
        status="ok", epoch=1, split="test", task="semantic", metric="miou", higher_is_better=True, legacy=False,
    )  # fmt: skip


def drawn(seed, rows=6, seeds=6, effect=0.0, deviation=1.0):
    """A board of ``split`` under several weightings."""
    rng = np.random.default_rng(seed)
    names = [("split", f"w{k}") for k in range(rows - 1)] + [("split", "equal")]
    return {name: 100 + effect * k + deviation * rng.normal(size=seeds) for k, name in enumerate(names)}


def delta_verdicts(found):
    """The lines of Δm by row."""
    return found[found["metric"] == "delta_m"].set_index(["architecture", "weighting"])


# What the verdicts say


def test_each_word_is_said_where_its_interval_lies():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.2, (4, 12))
    noise -= noise.mean(1, keepdims=True)
    steady = [100 + rng.normal(0, 0.2) for _ in range(12)]
    values = noise + np.array([[103], [95], [100], [100.4]])
    rows = dict(zip([("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")], values, strict=True))
    found = delta_verdicts(verdicts(tidy(rows, steady), REFERENCE))["verdict"]
    assert found.tolist() == ["better", "worse", "equivalent", "better"]
    assert delta_verdicts(verdicts(tidy(rows, steady), margin=0.1))["verdict"].tolist() == [
        "better",
        "worse",
        "undecided",
        "better",
    ]


@pytest.mark.parametrize(
    ("level", "row", "other", "word"),
    [
        (20.0, False, False, "better"),
        (20.0, True, False, "undecided"),
        (20.0, False, True, "better"),
        (-20.0, True, False, "worse"),
        (-20.0, False, True, "undecided"),
        (0.0, True, False, "undecided"),
        (0.0, False, True, "undecided"),
        (0.0, False, False, "equivalent"),
    ],
)
def test_a_seed_that_diverged_counts_against_its_row(level, row, other, word):
    own = [100 + level + step for step in (-0.1, 0.0, 0.1, 0.05)]
    data = tidy({("split", "new"): own, ("split", "equal"): [99.9, 100.0, 100.1, 100.05]})
    names = [("split", "new")] * row + [("split", "equal")] * other
    found = delta_verdicts(verdicts(data, EQUAL, diverged=names)).loc[("split", "new")]
    assert found["verdict"] == word
    assert found["difference"] == pytest.approx(level)  # the numbers of the others stay as they are


def test_fewer_than_three_seeds_decide_nothing():
    found = verdicts(tidy({("a", "x"): [150, 150], ("b", "x"): [150]}))
    assert set(found["verdict"]) == {"undecided"}
    assert np.isinf(found["low"]).all()
    assert found["n"].tolist() == [2, 1, 2, 1]


@pytest.mark.parametrize(
    ("baseline", "pairs"),
    [
        (REFERENCE, {("split", "equal"), ("split", "dwa"), ("mtan", "equal"), ("mtan", "dwa"), ("stan", "none")}),
        (EQUAL, {("split", "dwa"), ("mtan", "dwa")}),
        (SPLIT, {("mtan", "equal"), ("mtan", "dwa")}),
    ],
)
def test_a_baseline_is_held_against_the_rows_that_share_the_rest_with_it(baseline, pairs):
    values = np.random.default_rng(0).normal(100, 1, 4)
    rows = dict.fromkeys((*product(("split", "mtan"), ("equal", "dwa")), ("stan", "none")), values)
    found = delta_verdicts(verdicts(tidy(rows), baseline))
    assert set(found.index) == pairs
    assert (found["n_baseline"] == (3 if baseline == REFERENCE else 4)).all()


def test_without_its_baseline_a_row_has_no_verdict():
    data = tidy({("split", "dwa"): [1.0, 2.0, 3.0]})
    assert verdicts(data, EQUAL).empty
    assert verdicts(data[~data["reference"]], REFERENCE).empty


def test_what_a_board_tells_is_its_median_half_width():
    found = verdicts(tidy(drawn(3)), EQUAL)
    widths = delta_verdicts(found)["high"] - delta_verdicts(found)["low"]
    assert smallest_difference(found) == pytest.approx(np.median(widths) / 2)


# Properties


@pytest.mark.slow
@given(st.integers(0, 50), st.floats(0.01, 100), st.integers(3, 9))
@settings(max_examples=20)
def test_swapping_a_row_and_its_baseline_mirrors_the_verdict(seed, scale, seeds):
    rng = np.random.default_rng(seed)
    one, other = 100 + scale * rng.normal(0.5, 1, (2, seeds))
    mirrored = {"better": "worse", "worse": "better"}
    there = delta_verdicts(verdicts(tidy({("split", "dwa"): one, ("split", "equal"): other}), EQUAL)).iloc[0]
    back = delta_verdicts(verdicts(tidy({("split", "dwa"): other, ("split", "equal"): one}), EQUAL)).iloc[0]
    assert (back["low"], back["high"]) == pytest.approx((-there["high"], -there["low"]))
    assert back["verdict"] == mirrored.get(there["verdict"], there["verdict"])


@pytest.mark.slow
@given(st.integers(0, 50), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_order_of_rows_and_seeds_does_not_matter(seed, random):
    data = tidy(drawn(seed))
    shuffled = data.iloc[random.sample(range(len(data)), len(data))]
    pd.testing.assert_frame_equal(verdicts(data, EQUAL), verdicts(shuffled, EQUAL))


@given(st.integers(0, 50))
@settings(max_examples=15)
def test_numbers_of_another_unit_give_the_same_verdicts(seed):
    one, other = np.random.default_rng(seed).normal(0, 1, (2, 5, 6))
    found, scaled = contrasts(one, other, rows=5), contrasts(1000 * one, 1000 * other, rows=5)
    np.testing.assert_allclose(1000 * found.half, scaled.half)


@pytest.mark.slow
def test_more_rows_and_a_smaller_error_widen_the_intervals():
    seeds = np.arange(3, 60)
    widths = [critical(seeds, 20.0, rows) for rows in (1, 2, 10, 40, 400)]
    assert (np.diff(widths, axis=0) > 0).all()
    assert (critical(seeds, 20.0, 10, alpha=0.01) > widths[2]).all()
    assert np.isinf(critical(np.array([0, 1, 2]), 20.0, 10)).all()


def test_the_error_that_is_spent_grows_with_seeds_and_stays_below_all_of_it():
    looks, boundary = boundary_of(0.05)
    assert (np.diff(spent(looks)) > 0).all()
    assert spent(looks[-1]) < 1
    assert looks[0] == FIRST
    # Beyond the seeds where most of the error is spent, looking again costs more and more.
    assert (np.diff(boundary[looks > 6]) > 0).all()


def test_a_walk_without_drift_leaves_the_boundary_as_often_as_was_said():
    """Against the recursion: a simulation of the same walk, at looks of half a seed as the boundary allows for."""
    looks, boundary = boundary_of(0.05)
    few = looks <= 20
    steps = np.sqrt(np.diff(looks[few], prepend=0.0))
    walks = (np.random.default_rng(0).normal(size=(20_000, few.sum())) * steps).cumsum(1)
    share = (np.abs(walks) > boundary[few] * np.sqrt(looks[few])).any(1).mean()
    expected = 0.05 * float(spent(20.0))  # 0.037; the share's standard error is 0.0013
    assert share == pytest.approx(expected, abs=4 * 0.0013)


# Moderation


def test_variances_that_scatter_as_chance_would_have_them_are_drawn_together():
    rng = np.random.default_rng(0)
    variance = rng.chisquare(4, 4000) / 4
    moderated, freedom = moderate(variance, np.full(4000, 4.0))
    assert freedom == pytest.approx(np.full(4000, 4 + MOST))
    np.testing.assert_allclose(moderated, (MOST * 1.0 + 4 * variance) / (4 + MOST), rtol=0.02)


def test_the_prior_of_variances_is_found_again():
    """σ² = d₀ s₀² / χ²(d₀) with d₀ = 5 and s₀² = 4: the model itself."""
    rng = np.random.default_rng(1)
    truth = 5 * 4 / rng.chisquare(5, 40_000)
    variance = truth * rng.chisquare(3, 40_000) / 3
    moderated, freedom = moderate(variance, np.full(40_000, 3.0))
    assert freedom[0] - 3 == pytest.approx(5, abs=0.25)
    assert ((8 * moderated - 3 * variance) / 5).mean() == pytest.approx(4, rel=0.03)


def test_two_variances_and_rows_without_one_are_left_as_they_are():
    moderated, freedom = moderate(np.array([1.0, np.nan, 9.0]), np.array([2.0, np.nan, 4.0]))
    assert moderated.tolist()[::2] == [1.0, 9.0]
    assert freedom.tolist()[::2] == [2.0, 4.0]
    assert np.isnan(moderated[1])


# Recomputed without the suite


def trigamma_inverse(y):
    return optimize.brentq(lambda x: special.polygamma(1, x) - y, 1e-6, 1e9, xtol=1e-12)


def recomputed(rows, baseline, family, z):
    """Intervals by loops and scipy.stats alone: unpaired, variances by Smyth's formulae."""
    raw, difference, seeds, freedom = [], [], [], []
    base = baseline[~np.isnan(baseline)]
    for row in rows:
        own = row[~np.isnan(row)]
        a, b = own.var(ddof=1) / len(own), base.var(ddof=1) / len(base)
        seeds.append(stats.hmean([len(own), len(base)]))
        freedom.append((a + b) ** 2 / (a**2 / (len(own) - 1) + b**2 / (len(base) - 1)))
        raw.append((a + b) * seeds[-1])
        difference.append(own.mean() - base.mean())
    d = np.array(freedom)
    e = np.log(raw) - special.digamma(d / 2) + np.log(d / 2)
    excess = e.var(ddof=1) - special.polygamma(1, d / 2).mean()
    estimated = 2 * trigamma_inverse(excess) if excess > 0 else math.inf
    bias = special.digamma(estimated / 2) - math.log(estimated / 2) if excess > 0 else 0.0
    prior, scale = min(8.0, estimated), math.exp(e.mean() + bias)
    intervals = []
    for v, f, n, middle in zip(raw, freedom, seeds, difference, strict=True):
        error = math.sqrt((prior * scale + f * v) / (prior + f) / n)
        half = stats.t.isf(stats.norm.sf(z(n)), min(prior + f, sum(freedom))) * error
        intervals.append((middle - half, middle + half))
    assert family == len(rows)
    return np.array(intervals)


@pytest.mark.parametrize("seed", range(6))
def test_an_independent_recomputation_gives_the_same_verdicts(seed):
    rng = np.random.default_rng(seed)
    deviation = np.exp(rng.uniform(-1, 1, 12)) if seed % 2 else np.ones(12)
    values = rng.normal(0, 1, (12, 10)) * deviation[:, None] + rng.normal(0, 3, (12, 1))
    for row in values:
        row[rng.integers(4, 11) :] = np.nan
    base = rng.normal(0, 1, 10)
    names = [("split", f"w{k:02}") for k in range(12)]
    data = tidy({name: 100 + row for name, row in zip(names, values, strict=True)} | {("split", "equal"): 100 + base})
    # Rows whose numbers of seeds differ are judged at 2 %.
    looks, boundary = boundary_of(0.02 / 12)

    def z(n):
        return np.interp(math.log(n), np.log(looks), boundary)

    found = delta_verdicts(verdicts(data, EQUAL))
    assert not found["paired"].any()  # independent noise: a common seed saves nothing
    expected = recomputed(values, base, 12, z)
    np.testing.assert_allclose(found[["low", "high"]].to_numpy(dtype=float), expected, rtol=1e-9)
    words = [
        "better" if low > 0 else "worse" if high < 0 else "equivalent" if max(-low, high) <= 2 else "undecided"
        for low, high in expected
    ]
    assert found["verdict"].tolist() == words
    assert len(set(words)) > 1


def test_rows_of_different_numbers_of_seeds_are_judged_at_a_smaller_level():
    values, base = np.random.default_rng(5).normal(0, 1, (4, 6)), np.array([[0.1, 0.2, 0.3, 0.2, 0.1, 0.0]])
    even = contrasts(values, base, rows=4)
    assert np.array_equal(even.half, contrasts(values, base, rows=4, alpha=0.05).half)
    values[0, 4:] = np.nan
    uneven = contrasts(values, base, rows=4)
    assert np.array_equal(uneven.half, contrasts(values, base, rows=4, alpha=0.02).half)
    values[1:, 4:] = np.nan  # the baseline's number does not matter: references have more
    assert np.array_equal(contrasts(values, base, rows=4).half, contrasts(values, base, rows=4, alpha=0.05).half)
    values[0, 2:] = np.nan  # nor that of a row without an interval
    assert np.array_equal(contrasts(values, base, rows=4).half, contrasts(values, base, rows=4, alpha=0.05).half)


def test_single_metrics_have_plain_intervals_by_welch():
    """With two rows nothing is moderated: scipy's own interval of the unequal-variance t-test."""
    rng = np.random.default_rng(5)
    one, other = 100 + rng.normal(0, 1, 7), 100 + rng.normal(0, 3, 5)
    found = verdicts(tidy({("split", "dwa"): one, ("split", "equal"): other}), EQUAL).set_index("metric").loc["miou"]
    welch = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert not found["paired"]
    assert (found["low"], found["high"]) == pytest.approx((welch.low, welch.high))
    assert not found["simultaneous"]


def test_rows_that_move_with_their_baseline_are_compared_within_seeds():
    rng = np.random.default_rng(6)
    seed_effect = rng.normal(0, 3, 8)
    rows = {("split", w): 100 + seed_effect + rng.normal(0, 0.3, 8) for w in ("a", "b", "c", "equal")}
    found = delta_verdicts(verdicts(tidy(rows), EQUAL))
    assert found["paired"].all()
    assert (found["seeds"] == 8).all()
    assert (found["sd"] < 1).all()


# Error rates, at reduced size; scripts/simulate_verdicts.py does it in full

NOISE = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "unequal": lambda rng, shape: rng.normal(size=shape) * np.exp(rng.uniform(-0.5, 0.6, (*shape[:2], 1))),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape),
    "correlated": lambda rng, shape: rng.normal(size=shape) + rng.normal(size=(shape[0], 1, shape[2])),
}


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISE)
def test_boards_on_which_nothing_differs_are_rarely_told_otherwise_however_often_one_looks(noise):
    values = NOISE[noise](np.random.default_rng(0), (200, 21, 15))
    wrong = np.zeros(200, dtype=bool)
    for count in range(3, 16):
        found = contrasts(values[:, :-1, :count], values[:, -1:, :count], rows=20)
        wrong |= ((found.low > 0) | (found.high < 0)).any(-1)
    assert wrong.mean() <= 0.05


def test_a_difference_of_five_is_told_by_eight_seeds_and_none_is_called_equivalent_in_time():
    values = np.random.default_rng(0).normal(size=(50, 21, 25))
    values[:, :10] += 5
    by_eight = contrasts(values[:, :-1, :8], values[:, -1:, :8], rows=20)
    assert (by_eight.low[:, :10] > 0).mean() > 0.95
    assert not (by_eight.high < 0).any()
    later = contrasts(values[:, :-1], values[:, -1:], rows=20)
    assert ((later.low > -2) & (later.high < 2))[:, 10:].mean() > 0.9


# Δm against the mean of the references


def test_gains_are_delta_m_against_the_mean_of_the_references():
    data = tidy({("split", "equal"): [90.0, 110.0]}, reference=(80.0, 120.0))
    found = gains(data)
    assert found.loc["split", "equal"][DELTA].tolist() == [-10.0, 10.0]
    assert found.loc["single-task", "none"][DELTA].tolist() == [-20.0, 20.0]
    against = mean_reference(references(data), [0, 1])
    assert found[DELTA].tolist() == delta_m(data, against)["delta_m"].tolist()


def test_a_run_without_a_reference_of_its_seed_chooses_its_epoch_against_the_mean():
    found = grid(seeds=(0, 1))
    further = record("mtan", "equal", seed=7)
    board = boards([*found, further])[0]
    data = frame(board.records, board.labels)
    of_seed, of_mean = select(data), select(data, against="mean")
    assert set(of_seed[of_seed["run"] == further.id]["rule"]) == {"last"}
    assert set(of_mean[of_mean["run"] == further.id]["rule"]) == {"val-delta-m"}
    alone = of_seed["weighting"] == "none"
    pd.testing.assert_frame_equal(of_seed[alone].reset_index(drop=True), of_mean[alone].reset_index(drop=True))
    with pytest.raises(UsageError, match="reference"):
        select(data, against="median")


def test_a_board_of_records_has_a_verdict_for_every_row():
    board = boards(grid(seeds=(0, 1, 2, 3)))[0]
    chosen = select(frame(board.records, board.labels), against="mean")
    test = chosen[chosen["split"] == "test"]
    found = delta_verdicts(verdicts(test))
    assert len(found) == 16
    assert np.isfinite(found["low"]).all()
    alone = gain_verdicts(gains(test)[[DELTA]], reference_row(test), REFERENCE)
    pd.testing.assert_frame_equal(delta_verdicts(alone), found)
    assert set(alone["metric"]) == {"delta_m"}
