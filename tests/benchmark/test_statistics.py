"""Intervals, paired tests, tie groups, ranks and hypervolume, against SciPy, brute force, simulation and hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmark import analysis
from benchmark.analysis.bootstrap import half_widths
from benchmark.errors import UsageError
from tests.benchmark import records as made

steady = st.floats(-100, 100).map(lambda x: round(x, 3))


def per_seed(rows):
    """A frame from {architecture: values by seed}."""
    found = [(name, "equal", seed, value) for name, values in rows.items() for seed, value in enumerate(values)]
    return pd.DataFrame(found, columns=["architecture", "weighting", "seed", "value"])


# Intervals


def bootstrap_t_by_brute_force(values):
    """The 95 % quantile of |t*| over all n^n resamples, times the standard error."""
    n, centre = len(values), np.mean(values)
    found = []
    for resample in itertools.product(values, repeat=n):
        error = np.std(resample, ddof=1) / math.sqrt(n)
        shift = abs(np.mean(resample) - centre)
        found.append(shift / error if len(set(resample)) > 1 else math.inf if shift > 1e-9 else 0.0)
    return np.sort(found)[math.ceil(0.95 * n**n - 1e-6) - 1] * np.std(values, ddof=1) / math.sqrt(n)


@pytest.mark.slow
@settings(max_examples=10)
@given(st.lists(st.integers(-1000, 1000), min_size=5, max_size=5, unique=True))
def test_five_seeds_get_the_exact_bootstrap_t_interval(values):
    found = analysis.estimate(values)
    assert found.method == "bootstrap-t"
    assert found.half == pytest.approx(bootstrap_t_by_brute_force(values), rel=1e-6)


@pytest.mark.parametrize("n", [5, 7, 8, 12])
def test_an_interval_depends_on_nothing_but_its_values(n):
    values = made.noise("interval", n).normal(size=n)
    found = analysis.estimate(values)
    assert analysis.estimate(values[::-1]).half == pytest.approx(found.half, rel=1e-12)
    scaled = analysis.estimate(7 + 1000 * values)
    assert (scaled.mean, scaled.half) == pytest.approx((7 + 1000 * found.mean, 1000 * found.half), rel=1e-9)
    data = pd.DataFrame({"row": ["a"] * n + ["b"] * n, "value": [*values, *(values**3)]})
    assert analysis.estimates(data, ["row"]).loc[0, "half"] == pytest.approx(found.half, rel=1e-12)


def test_drawn_resamples_come_close_to_all_of_them(monkeypatch):
    values = made.noise("drawn").normal(size=(20, 6))
    exact = half_widths(values, 0.95)
    monkeypatch.setattr("benchmark.analysis.bootstrap.MOST_EXACT", 5)
    from benchmark.analysis import bootstrap

    bootstrap._resamples.cache_clear()
    drawn = half_widths(values, 0.95)
    bootstrap._resamples.cache_clear()
    assert np.median(np.abs(drawn / exact - 1)) < 0.1


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0, 1.0, 5.0], [2.0, 2.0, 2.0, 2.0, 2.0, 3.0]])
def test_values_that_repeat_too_often_for_the_bootstrap_get_students_interval(values):
    found = analysis.estimate(values)
    assert found.method == "student-t"
    assert found.half == pytest.approx(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def test_equal_values_have_an_interval_of_no_width():
    assert analysis.estimate([3.0] * 6).half == 0.0


def test_samples_together_have_the_estimates_of_each_alone():
    samples = [[], [2.0], [1.0, 4.0, 2.5], [float("nan"), 3.0], [5.0, 1.0, 2.0, 8.0, 3.0], [float("inf")], [1e308] * 3]
    together = analysis.estimates_of(samples)
    assert [found.n for found in together] == [0, 1, 3, 1, 5, 0, 0]
    assert list(map(repr, together)) == [repr(analysis.estimate(values)) for values in samples]
    assert together[2].half == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(samples[2]))


def coverage(draw, n, runs=3000):
    """How often the interval of n values holds the true mean, 0."""
    values = draw(made.noise("coverage", n), (runs, n))
    data = pd.DataFrame({"row": np.repeat(np.arange(runs), n), "value": values.ravel()})
    found = analysis.estimates(data, ["row"])
    return float(((found["low"] <= 0) & (found["high"] >= 0)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 10])
def test_intervals_of_normal_noise_hold_the_truth_as_often_as_they_say(n):
    """3000 simulations: the standard error of a coverage of 95 % is 0.4 %."""
    assert 0.935 <= coverage(lambda rng, shape: rng.normal(size=shape), n) <= 0.99


@pytest.mark.parametrize(("n", "least"), [(2, 0.88), (3, 0.86), (5, 0.92), (7, 0.91), (10, 0.91)])
def test_intervals_of_skewed_noise_lose_little(n, least):
    """Exponential noise. Student's interval alone would cover 89 % at n = 5 and 90 % at n = 10."""
    assert coverage(lambda rng, shape: rng.exponential(size=shape) - 1, n) >= least


def test_percentile_intervals_would_not_have_done():
    """The reason for the choice above: at n = 3 they cannot hold the truth more often than 75 %."""
    values = made.noise("percentile").normal(size=(3000, 3))
    assert ((values.min(axis=1) <= 0) & (values.max(axis=1) >= 0)).mean() < 0.8


def test_estimates_by_group():
    data = pd.DataFrame({"a": ["y", "x", "x", "y", "z"], "value": [1.0, 2.0, 4.0, math.nan, math.inf]})
    found = analysis.estimates(data, ["a"]).set_index("a")
    assert found["n"].to_dict() == {"x": 2, "y": 1, "z": 0}
    assert found["mean"].to_dict() == pytest.approx({"x": 3.0, "y": 1.0, "z": math.nan}, nan_ok=True)
    assert found["half"].isna().to_dict() == {"x": False, "y": True, "z": True}
    assert set(found["method"]) <= set(analysis.METHODS)
    assert analysis.estimates(data[:0], ["a"]).empty


# Δm and definitions

TIDY = ["architecture", "weighting", "seed", "task", "metric", "value", "higher_is_better"]


def tidy(architecture, iou, error, seed=0):
    rows = [("seg", "miou", iou, True), ("depth", "abs", error[0], False), ("depth", "rel", error[1], False)]
    return pd.DataFrame([(architecture, "equal", seed, *row) for row in rows], columns=TIDY)


def test_the_flat_mean_by_hand():
    runs, single = tidy("mtan", 44.0, (0.4, 0.3)), tidy("single-task", 40.0, (0.5, 0.2))
    # Gains: +10 %, +20 %, −50 %. By task (10 + (20 − 50) / 2) / 2; flat, lower better, −(10 + 20 − 50) / 3.
    assert analysis.delta_m(runs, single)["delta_m"].tolist() == pytest.approx([-2.5])
    assert analysis.delta_flat(runs, single)["delta_flat"].tolist() == pytest.approx([20 / 3])
    assert analysis.delta_flat(runs, single[:2])["delta_flat"].isna().all()


def test_definitions_never_share_a_column():
    record, single = made.record("mtan"), made.record("single-task", None)
    test = analysis.select(analysis.frame([record, single]), "last")
    test = test[test["split"] == "test"]
    reference = analysis.references(test)
    legacy = analysis.of_definition(test, "legacy")
    assert legacy["legacy"].all()
    assert not analysis.of_definition(test, "pooled")["legacy"].any()
    both = [analysis.delta_m(test, reference, definition=name) for name in analysis.DEFINITIONS]
    assert [list(frame)[-1] for frame in both] == ["delta_m", "legacy_delta_m"]
    # The made-up twins are 1.02 times the metrics, so that Δm is the same by either.
    assert both[0]["delta_m"].tolist() == pytest.approx(both[1]["legacy_delta_m"].tolist())
    with pytest.raises(UsageError, match="pooled"):
        analysis.of_definition(test, "poled")


def test_a_task_with_one_definition_has_it_under_both_names():
    data = analysis.frame([made.record("mtan", tasks=(made.SCENES[1], made.FASHION[0]))])
    found = analysis.of_definition(data, "legacy")
    assert set(found["metric"]) == {"legacy_abs_error", "legacy_rel_error", "accuracy"}


def test_noise_of_the_reference_by_hand():
    single = pd.concat([tidy("single-task", 40.0, (0.5, 0.2), 0), tidy("single-task", 50.0, (0.5, 0.2), 3)])
    found = analysis.reference_noise(single)
    # 40 against 50 is −20 %, 50 against 40 is +25 %; depth is alike.
    assert found.to_dict("list") == {"seed": [0, 3], "other": [3, 0], "delta_m": pytest.approx([-10.0, 12.5])}
    assert analysis.reference_noise(single[:3]).empty


@pytest.mark.slow
@given(arrays(float, (4, 3), elements=st.floats(1, 100)), arrays(float, (4, 3), elements=st.floats(1, 100)))
def test_the_interval_of_delta_m_holds_the_noise_of_the_reference(values, single):
    runs = pd.concat([tidy("mtan", a, (b, c), seed) for seed, (a, b, c) in enumerate(values)])
    reference = pd.concat([tidy("single-task", a, (b, c), seed) for seed, (a, b, c) in enumerate(single)])
    gain = (values - single) / single * [100, -100, -100]
    by_seed = (gain[:, 0] + gain[:, 1:].mean(axis=1)) / 2
    found = analysis.estimate(analysis.delta_m(runs, reference)["delta_m"])
    if stats.sem(by_seed) > 0:
        low, high = stats.t.interval(0.95, 3, by_seed.mean(), stats.sem(by_seed))
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


# Selection


def test_the_mean_of_the_last_ten_epochs():
    found = made.edited(made.record(epochs=14), lambda epoch, split, task, metric, value: float(epoch))
    data = analysis.select(analysis.frame([found]), "last-10-mean")
    assert set(data["value"]) == {9.5}  # of 5 … 14
    assert set(data["epoch"]) == {14}
    assert set(data["rule"]) == {"last-10-mean"}
    short = made.edited(made.record(epochs=3), lambda epoch, split, task, metric, value: float(epoch))
    assert set(analysis.select(analysis.frame([short]), "last-10-mean")["value"]) == {2.0}
    gap = made.edited(found, lambda epoch, split, task, metric, value: None if epoch == 6 else value)
    assert analysis.select(analysis.frame([gap]), "last-10-mean")["value"].isna().all()
    before = made.edited(found, lambda epoch, split, task, metric, value: None if epoch == 4 else value)
    assert analysis.select(analysis.frame([before]), "last-10-mean")["value"].notna().all()
    assert analysis.select(analysis.frame([]), "last-10-mean").empty


def test_epochs_that_were_not_evaluated_do_not_stretch_the_last_ten():
    found = made.edited(made.record(epochs=25), lambda epoch, split, task, metric, value: float(epoch))
    curves = tuple(e if e.epoch % 4 == 1 else e.model_copy(update={"metrics": {}}) for e in found.curves)
    data = analysis.select(analysis.frame([found.model_copy(update={"curves": curves})]), "last-10-mean")
    assert set(data["value"]) == {(17 + 21 + 25) / 3}


# Paired tests


@given(arrays(float, (3, 5), elements=steady))
def test_comparisons_equal_scipys(values):
    data = per_seed(dict(zip("abc", values, strict=True)))
    found = analysis.compare(data)
    for row, (i, j) in zip(found.to_dict("records"), itertools.combinations(range(3), 2), strict=True):
        difference = values[i] - values[j]
        assert (row["architecture_a"], row["architecture_b"]) == ("abc"[i], "abc"[j])
        assert row["difference"] == pytest.approx(difference.mean(), abs=1e-9)
        if np.ptp(difference) > 1e-6:
            expected = stats.ttest_rel(values[i], values[j])
            interval = expected.confidence_interval()
            assert row["p"] == pytest.approx(expected.pvalue, rel=1e-6)
            assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert found["p_holm"].tolist() == pytest.approx(holm_by_definition(found["p"].tolist()))


def holm_by_definition(p):
    """The greatest of (m − k) p over the k-th smallest p up to one's own, at most 1."""
    ordered = sorted(p)
    return [min(1.0, max((len(p) - k) * other for k, other in enumerate(ordered) if other <= own)) for own in p]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_its_definition(p):
    assert analysis.holm(np.array(p)).tolist() == pytest.approx(holm_by_definition(p))
    assert analysis.holm(np.array([*p, math.nan]))[:-1].tolist() == analysis.holm(np.array(p)).tolist()


@pytest.mark.parametrize("offset", [0.0, 0.3, 1000.1])
def test_equal_differences_of_few_seeds_prove_nothing(offset):
    """[75, 80] against [70, 75]: both seeds gain 5, which two coins do in half of all cases."""
    data = per_seed({"a": [75 + offset, 80 + offset], "b": [70 + offset, 75 + offset]})
    found = analysis.compare(data).iloc[0]
    assert (found["difference"], found["p"]) == (pytest.approx(5), 0.5)
    assert not found["significant"]


def test_wilcoxon_is_exact_with_ties():
    """Eleven of fourteen equal differences are positive: a sign test, 2 · Σ_{k ≤ 3} C(14, k) / 2^14 = 0.0574."""
    signs = [1.0] * 11 + [-1.0] * 3
    found = analysis.compare(per_seed({"a": signs, "b": [0.0] * 14}), test="wilcoxon").iloc[0]
    assert found["p"] == pytest.approx(2 * (1 + 14 + 91 + 364) / 2**14)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12, unique_by=abs))
def test_wilcoxon_without_ties_is_scipys_exact_test(values):
    values = [value for value in values if abs(value) > 1e-9]
    if len(values) < 2:
        return
    found = analysis.compare(per_seed({"a": values, "b": [0.0] * len(values)}), test="wilcoxon").iloc[0]
    assert found["p"] == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9), st.randoms())
def test_the_order_of_seeds_changes_no_bit_of_a_mean(values, random):
    other = random.sample(values, len(values))
    assert analysis.estimate(values) == analysis.estimate(other)


def test_comparisons_use_common_seeds_only():
    data = per_seed({"a": [1.0, 2.0, 3.5, 9.0], "b": [0.0, 1.5, 2.0, math.nan], "c": [5.0]})
    found = analysis.compare(data, baseline=("a", "equal")).set_index("architecture_a")
    assert found["n"].to_dict() == {"b": 3, "c": 1}
    assert found.loc["b", "p"] == pytest.approx(stats.ttest_rel([0.0, 1.5, 2.0], [1.0, 2.0, 3.5]).pvalue)
    assert found.loc["b", "p_holm"] == found.loc["b", "p"]  # nothing else could be tested
    assert math.isnan(found.loc["c", "p"])
    assert not found.loc["c", "significant"]
    wilcoxon = analysis.compare(per_seed({"a": [1.0, 2.0, 4.0], "b": [0.0] * 3}), test="wilcoxon")
    assert wilcoxon["p"].tolist() == [0.25]
    with pytest.raises(ValueError, match="no row is d with equal"):
        analysis.compare(data, baseline=("d", "equal"))
    with pytest.raises(ValueError, match="more than one value"):
        analysis.compare(pd.concat([data, data]))
    with pytest.raises(ValueError, match="not 'z'"):
        analysis.compare(data, test="z")


# Ranks


def blocks(values):
    """A tidy frame from (blocks, rows); the greater, the better."""
    rows = [
        ("set", "task", f"metric {b}", name, "equal", value, True)
        for b, row in enumerate(values)
        for name, value in zip("abcdef", row, strict=False)
    ]
    names = ["dataset", "task", "metric", "architecture", "weighting", "value", "higher_is_better"]
    return pd.DataFrame(rows, columns=names)


@given(arrays(float, (6, 5), elements=st.integers(0, 6).map(float)))
def test_ranks_equal_scipys(values):
    found = analysis.mean_ranks(blocks(values))
    expected = stats.rankdata(-values, axis=1).mean(axis=0)
    assert found.set_index("architecture")["rank"][list("abcde")].tolist() == pytest.approx(expected.tolist())
    assert found["rank"].is_monotonic_increasing


def test_rows_with_gaps_are_left_out_of_the_ranking():
    values = np.arange(12.0).reshape(3, 4)
    values[1, 2] = math.nan
    assert analysis.mean_ranks(blocks(values))["architecture"].tolist() == ["d", "b", "a"]


# Hypervolume


def test_hypervolume_by_hand():
    data = pd.DataFrame({"gain": [0.0, 5.0, 10.0, math.nan], "cost": [1.0, 2.0, 5.0, 0.0]})
    both = {"gain": True, "cost": False}
    # From the corner (0, 5) to the ideal (10, 1): the middle point dominates 5/10 of 3/4, the ends nothing.
    assert analysis.hypervolume(data, both) == pytest.approx(0.375)
    # From (−10, 6) to (10, 1): the areas 10 × 5, 15 × 4 and 20 × 1 overlap to 50 + 20 + 5 of 100.
    corner = {"gain": -10.0, "cost": 6.0}
    assert analysis.hypervolume(data, both, reference=corner) == pytest.approx(0.75)
    assert analysis.hypervolume(data[:0], both) == 0.0
    assert math.isnan(analysis.hypervolume(data[:1], both))


@given(arrays(float, (5, 3), elements=st.floats(0, 1)))
def test_hypervolume_equals_a_count_of_a_grid(points):
    data = pd.DataFrame(points, columns=list("abc"))
    maximise = dict.fromkeys("abc", True)
    found = analysis.hypervolume(data, maximise, reference=dict.fromkeys("abc", 0.0), ideal=dict.fromkeys("abc", 1.0))
    axis = (np.arange(20) + 0.5) / 20
    cells = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 1, 3)
    assert found == pytest.approx(float((cells <= points).all(axis=2).any(axis=1).mean()), abs=0.08)


# Summary


@pytest.mark.slow
def test_a_summary_holds_every_number_of_a_board():
    (board,) = analysis.boards(made.grid((0, 1, 2)))
    found = analysis.summarise(board.records, board.labels)
    row = found.rows.set_index(["architecture", "weighting", "task", "metric"]).loc[("mtan", "equal")]
    test = analysis.select(analysis.frame(board.records, board.labels), against="mean")
    test = test[(test["split"] == "test") & ~test["legacy"]]
    delta = analysis.delta_m(test, analysis.mean_reference(analysis.references(test), (0, 1, 2)))
    mine = delta[(delta["architecture"] == "mtan") & (delta["weighting"] == "equal")]["delta_m"]
    assert row.loc[("", "delta_m"), "mean"] == pytest.approx(mine.mean())
    paired = analysis.summarise(board.records, board.labels, against="seed").rows
    paired = paired.set_index(["architecture", "weighting", "task", "metric"]).loc[("mtan", "equal", "", "delta_m")]
    test = analysis.select(analysis.frame(board.records, board.labels))
    test = test[(test["split"] == "test") & ~test["legacy"]]
    of_seed = analysis.delta_m(test, analysis.references(test)).set_index(["architecture", "weighting"])["delta_m"]
    assert paired["mean"] == pytest.approx(of_seed.loc[("mtan", "equal")].mean())
    assert row.loc[("", "delta_m"), "half"] == pytest.approx(analysis.estimate(mine).half)
    assert row.loc[("", "parameters"), "mean"] == made.record("mtan").cost.parameters
    assert row.loc[("semantic", "miou"), "n"] == 3
    wide = found.wide()
    assert len(wide) == 17
    assert set(wide) == set(found.maximise)
    assert analysis.non_dominated(wide, {"delta_m": True, "parameters": False}).any()
    legacy = analysis.summarise(board.records, board.labels, rule="last-10-mean", definition="legacy")
    assert {m for m in legacy.rows["metric"] if m not in analysis.COSTS} == {
        *(f"legacy_{m}" for kind in ("segmentation", "depth", "normals") for m in made.FINAL[kind]),
        "legacy_delta_m", "legacy_delta_flat",
    }  # fmt: skip


def test_a_board_without_a_finished_run_has_an_empty_summary():
    found = analysis.summarise([made.failed(made.record())])
    assert found.rows.empty
    assert found.wide().empty


def test_a_board_without_reference_has_no_delta():
    found = analysis.summarise([made.record("mtan", seed=seed) for seed in (0, 1)])
    delta = found.rows[found.rows["metric"] == "delta_m"]
    assert delta["n"].tolist() == [0]


@pytest.mark.slow
def test_a_summary_does_not_depend_on_how_many_records_are_in_memory(monkeypatch):
    (board,) = analysis.boards(made.grid((0, 1)))
    whole = analysis.summarise(board.records, board.labels)
    monkeypatch.setattr("benchmark.analysis.summary.CHUNK", 4)
    pieces = analysis.summarise(board.records, board.labels)
    pd.testing.assert_frame_equal(pieces.rows, whole.rows)
