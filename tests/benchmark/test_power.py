"""What a margin would take, and what noise is made of."""

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import Baseline, contrasts, select, verdicts
from benchmark.analysis.looks import critical
from benchmark.analysis.power import Noise, noise, seeds_needed
from tests.benchmark.test_verdicts import delta_verdicts, drawn, tidy

EQUAL = Baseline(weighting="equal")


def judged(seeds=6, **options):
    return delta_verdicts(verdicts(tidy(drawn(0, seeds=seeds, **options)), EQUAL))


def test_the_number_of_seeds_is_the_first_at_which_interval_and_noise_fit_into_the_margin():
    found = judged(rows=8)
    needed = seeds_needed(found, 2.0, rows=7)
    for line, n in zip(found.itertuples(), needed, strict=True):
        for seeds, fits in ((n, True), (n - 1, False)):
            freedom = line.freedom + 2 * (seeds - line.seeds)
            width = critical(np.asarray(seeds), np.asarray(freedom), 7) + 0.8416  # the 80 % quantile of the normal
            assert (width * line.sd / np.sqrt(seeds) <= 2.0) == fits


def test_a_smaller_margin_and_a_larger_family_take_more_seeds():
    found = judged(rows=8)
    usual = seeds_needed(found, 2.0, rows=7)
    assert (seeds_needed(found, 1.0, rows=7) > 2 * usual).all()
    assert (seeds_needed(found, 2.0, rows=70) > usual).all()


def test_a_row_without_noise_that_is_known_counts_as_the_usual_one():
    rows = drawn(0, rows=8) | {("split", "w0"): [100.0]}
    found = delta_verdicts(verdicts(tidy(rows), EQUAL))
    needed = seeds_needed(found, 2.0, rows=7)
    others = needed.drop(("split", "w0"))
    assert others.min() <= needed["split", "w0"] <= others.max()
    assert seeds_needed(found.loc[[("split", "w0")]], 2.0, rows=7).isna().all()


def test_what_no_number_of_seeds_tells_is_infinite():
    assert np.isinf(seeds_needed(judged(deviation=100.0), 0.5, rows=5)).all()


def test_with_the_seeds_that_are_planned_rows_that_differ_by_the_margin_are_told():
    """Three looks are enough to see it; the plan speaks of the last."""
    needed = int(seeds_needed(judged(rows=21, seeds=12), 2.0, rows=20).median())
    values = np.random.default_rng(1).normal(size=(60, 21, needed))
    found = contrasts(values[:, :-1] + 2, values[:, -1:], rows=20)
    assert 0.65 < (found.low > 0).mean() < 0.97  # the plan's noise is estimated from twelve seeds


def board(rows=60, seeds=6, epochs=5, *, of_seeds, of_epochs, of_pictures):
    """A board whose noise has known parts; the last epoch has the best validation number."""
    rng = np.random.default_rng(0)
    lines = [("single-task", "none", seed, 1, split, 100.0, True) for seed in range(3) for split in ("val", "test")]
    for row in range(rows):
        place = {"val": rng.normal(0, of_pictures * 2), "test": rng.normal(0, of_pictures)}
        for seed in range(seeds):
            common = 105 + rng.normal(0, of_seeds)
            for epoch in range(1, epochs + 1):
                drift = 10 * epoch + rng.normal(0, of_epochs)
                lines += [("split", f"w{row}", seed, epoch, s, common + drift + place[s], False) for s in place]
    columns = ["architecture", "weighting", "seed", "epoch", "split", "value", "reference"]
    data = pd.DataFrame(lines, columns=columns)
    return data.assign(
        run=data["architecture"] + data["weighting"] + data["seed"].astype(str), status="ok", task="semantic",
        metric="miou", higher_is_better=True, legacy=False,
    )  # fmt: skip


def test_noise_is_split_into_what_seeds_epochs_and_pictures_do():
    """The test split has four times as many pictures as validation, and half of its SD."""
    data = board(of_seeds=1.0, of_epochs=0.5, of_pictures=0.7)
    found = noise(data, select(data, against="mean"), {"val": 100, "test": 400})
    assert found.seeds == pytest.approx(np.hypot(1.0, 0.5), rel=0.1)
    assert found.epochs == pytest.approx(0.5, rel=0.1)
    assert found.pictures == pytest.approx(0.7, rel=0.2)


def test_what_records_do_not_tell_is_not_known():
    data = board(rows=2, seeds=1, epochs=2, of_seeds=1.0, of_epochs=0.5, of_pictures=0.7)
    data = data[data["seed"] == 0]
    assert noise(data, select(data, against="mean"), {"val": 100, "test": 400}) == Noise(None, None, None)
    assert noise(data.iloc[:0], data.iloc[:0], {"val": 1, "test": 1}) == Noise(None, None, None)
