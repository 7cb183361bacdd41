"""What counts as the same numbers, and what as the noise of a row: on made-up records, with values found by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis.noise import judge, within_noise
from benchmark.analysis.repeats import compared_numbers, first_difference, judge_steps
from benchmark.runs.record import KindInfo, MetricInfo, without_times
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from tests.benchmark import records as made

TRACE = {1: "aa", 2: "bb", 5: "cc"}


def of_seeds(values, **changes):
    """A row of a board of two classifications; the last epoch's accuracies of each seed's run are given."""
    found = []
    for seed, (left, right) in enumerate(values):
        run = made.record(seed=seed, tasks=made.FASHION, dataset="fashion", epochs=2, **changes)
        found.append(accurate(run, left, right))
    return found


def accurate(run, left, right):
    accuracies = {"left": left, "right": right}
    return made.edited(run, lambda epoch, split, task, name, value: accuracies[task] if epoch == 2 else value)


def portable(run):
    protocol = run.spec.protocol.model_copy(update={"arithmetic": "portable", "precision": "fp32"})
    spec = RunSpec.model_validate(run.spec.model_copy(update={"protocol": protocol}).model_dump())
    return run.model_copy(update={"spec": spec, "id": spec.id})


def one_metric(run, place, change):
    return made.edited(run, lambda *where: change(where[4]) if where[:4] == place else where[4])


def test_times_machines_and_memory_do_not_count():
    run = made.record()
    cost = run.cost.model_copy(update={"wall_seconds": 1.0, "peak_bytes": 1, "spilled": True})
    place = run.provenance.model_copy(update={"device": "another", "started": "later", "threads": 7})
    assert first_difference(run, run.model_copy(update={"cost": cost, "provenance": place})) is None


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"status": "diverged"}, "status"),
        ({"fallbacks": 3}, "fallbacks"),
        ({"cost": made.Cost(parameters=1)}, "cost, parameters"),
        ({"tasks": made.FASHION}, "tasks, semantic, name"),
    ],
)
def test_all_else_counts(changes, place):
    run = made.record()
    assert first_difference(run, run.model_copy(update=changes)).place == place


def test_the_first_number_that_differs_is_named_with_its_share_of_the_seeds_spread():
    row = of_seeds([(80.0, 50.0), (82.0, 51.0), (84.0, 52.0)])  # a standard deviation of 2 and of 1
    again = one_metric(row[0], (2, "test", "left", "accuracy"), lambda value: value + 0.5)
    again = one_metric(again, (2, "test", "right", "accuracy"), lambda value: value + 0.5)
    found = first_difference(row[0], again, cell=lambda: [*row, made.record("mtan", tasks=made.FASHION)])
    assert (found.place, found.before, found.after) == ("epoch 2, metrics, test, left, accuracy", 80.0, 80.5)
    assert found.share == pytest.approx(0.25)
    assert "80.0 → 80.5, 0.25 of the spread over seeds" in str(found)
    assert first_difference(row[0], again, cell=lambda: row[:1]).share is None


def test_one_bit_is_a_difference_and_so_is_the_sign_of_zero():
    run = of_seeds([(0.0, 50.0)])[0]
    for place, other in ((("left", "accuracy"), -0.0), (("right", "accuracy"), math.nextafter(50.0, 60))):
        again = one_metric(run, (2, "test", *place), lambda _, other=other: other)
        assert first_difference(run, again).place == f"epoch 2, metrics, test, {', '.join(place)}"


def test_a_missing_epoch_and_a_missing_metric_are_differences():
    run = made.record(epochs=2)
    shorter = run.model_copy(update={"curves": run.curves[:1]})
    assert first_difference(run, shorter).after == "absent"
    assert first_difference(shorter, run).before == "absent"
    bare = run.model_copy(update={"curves": (run.curves[0], run.curves[1].model_copy(update={"metrics": {}}))})
    assert first_difference(bare, run).place == "epoch 2, metrics, val, semantic, miou"


def test_gradients_count():
    run = made.conflicting(made.record(epochs=1))
    again = run.curves[0].model_copy(
        update={"gradients": run.curves[0].gradients.model_copy(update={"conflicts": 0.123})}
    )
    found = first_difference(run, run.model_copy(update={"curves": (again,)}))
    assert (found.place, found.after) == ("epoch 1, gradients, conflicts", 0.123)


def test_the_first_step_that_differs_is_named_too():
    run = made.record(trace=TRACE)
    again = run.model_copy(update={"trace": TRACE | {2: "xx", 5: "yy"}})
    assert (first_difference(run, again).step, first_difference(run, again).before) == (2, "bb")
    both = one_metric(again, (1, "val", "depth", "abs_error"), lambda value: 2 * value)
    assert str(first_difference(run, both)).endswith("; of the traced steps, step 2 is the first that differs")
    # A suite that traces further steps says nothing else of those that both know.
    assert first_difference(run, run.model_copy(update={"trace": TRACE | {10: "dd"}})) is None


def test_pictures_count_by_their_bits():
    run = made.record()
    kept = made.predictions(run)
    other = {name: array.copy() for name, array in kept.items()}
    assert first_difference(run, run, pictures=(kept, other)) is None
    other["depth"][0, 0, 0, :3] += 1
    found = first_difference(run, run, pictures=(kept, other))
    assert (found.place, found.after) == ("pictures, depth", "3 of them others")
    assert first_difference(run, run, pictures=(kept, {})).after == "absent"
    wider = kept | {"depth": kept["depth"].astype(np.float32)}
    assert "float32" in first_difference(run, run, pictures=(kept, wider)).after


@pytest.mark.slow
def test_what_an_older_schema_does_not_know_does_not_count():
    old = next(r for r in Store(Path("results")).scan()[0] if r.schema_version == 1 and r.status == "ok")
    info = MetricInfo(name="miou", title="mIoU", unit="%", higher_is_better=True)
    epochs = tuple(epoch.model_copy(update={"auxiliary": {"side": {"depth": 1.0}}}) for epoch in old.curves)
    new = {"schema_version": 2, "kinds": {"segmentation": KindInfo(dense=True, metrics=(info,))}, "trace": TRACE}
    again = old.model_copy(update={**new, "curves": epochs})
    assert first_difference(old, again) is None
    assert first_difference(again, old) is None
    assert first_difference(old, again.model_copy(update={"curves": epochs[:-1]})).after == "absent"
    assert not judge_steps(old, TRACE, 20).holds
    assert "only the whole run" in judge_steps(old, TRACE, 20).words


def test_steps_are_compared_as_far_as_they_were_asked_for():
    run = portable(made.record(trace=TRACE))
    assert judge_steps(run, {1: "aa", 2: "bb"}, 4).holds
    assert "traced steps (1, 2)" in judge_steps(run, {1: "aa", 2: "bb"}, 4).words
    assert "differs in step 5" in judge_steps(run, TRACE | {5: "zz"}, 20).words
    assert not judge_steps(run, TRACE | {5: "zz"}, 20).holds
    assert judge_steps(run, TRACE | {5: "zz"}, 4).holds
    assert "did not come as far as step 2" in judge_steps(run, {1: "aa"}, 4).words


def test_the_numbers_that_are_compared_are_counted():
    run = made.record(tasks=made.FASHION, epochs=2, trace=TRACE)
    # An epoch: its number, rate, 2 × 2 losses, 2 weights, 2 × 2 accuracies; channels of two tasks; 3 costs; 3 hashes.
    assert compared_numbers(run) == 2 * (1 + 1 + 4 + 2 + 4) + 2 + 3 + 3
    assert compared_numbers(run, ({"left": np.zeros(7)}, {"left": np.zeros(7)})) == compared_numbers(run) + 7


# Noise. Of two metrics and 1 %, Student's t at 1 - 0.01 / 4 with four degrees of freedom is 5.598 (any table).


@pytest.mark.parametrize(("left", "holds"), [(82.01, True), (94.5, True), (94.6, False), (69.5, True), (69.4, False)])
def test_a_row_of_five_seeds_says_how_far_a_rerun_may_lie(left, holds):
    """s = √2.5, so that the limit is 5.598 · √2 · 1.5811 = 12.52."""
    row = of_seeds([(80.0, 50.0), (81.0, 51.0), (82.0, 52.0), (83.0, 53.0), (84.0, 54.0)])
    verdict = judge(row[2], accurate(row[2], left, 52.0), others=lambda: row)
    assert verdict.holds is holds
    assert ("within" if holds else "outside") in verdict.words
    assert f"left accuracy 82.0 → {left}" in verdict.words


@pytest.mark.parametrize(("left", "holds"), [(97.6, True), (97.8, False)])
def test_rows_of_fewer_seeds_are_judged_by_the_spread_on_their_board(left, holds):
    """Sums of squares 2 and 18 over four degrees of freedom: s = √5, and the limit 5.598 · √2 · 2.2361 = 17.70."""
    row = of_seeds([(80.0, 50.0), (81.0, 50.0), (82.0, 50.0)])
    other = of_seeds([(70.0, 50.0), (73.0, 50.0), (76.0, 50.0)], weighting="dwa")
    verdict = judge(row[0], accurate(row[0], left, 50.0), others=lambda: [*row, *other])
    assert verdict.holds is holds, verdict.words


def test_where_nothing_scatters_nothing_may():
    row = of_seeds([(80.0, 50.0)] * 5)
    assert not within_noise(row[0], accurate(row[0], 80.0, 50.1), row).holds
    assert within_noise(row[0], row[0], row).holds


def test_without_seeds_enough_nothing_is_judged_unless_the_bits_are_the_same():
    row = of_seeds([(80.0, 50.0), (81.0, 51.0), (82.0, 52.0)])
    verdict = judge(row[0], accurate(row[0], 80.1, 50.0), others=lambda: row)
    assert not verdict.holds
    assert verdict.words.startswith("cannot be judged")
    assert judge(row[0], without_times(row[0]), others=lambda: row).holds


def test_a_metric_that_is_lost_is_outside_of_all_noise():
    row = of_seeds([(80.0, 50.0), (81.0, 51.0), (82.0, 52.0), (83.0, 53.0), (84.0, 54.0)])
    assert not judge(row[2], accurate(row[2], None, 52.0), others=lambda: row).holds


def test_runs_that_ended_badly_hold_where_they_end_so_again():
    bad = made.failed(made.record(), "diverged", "not finite")
    assert within_noise(bad, made.failed(made.record(), "diverged", "not finite elsewhere", 1), []).holds
    assert not within_noise(bad, made.record(), []).holds


def test_portable_records_are_never_judged_by_noise():
    row = [portable(run) for run in of_seeds([(80.0, 50.0), (81.0, 51.0), (82.0, 52.0), (83.0, 53.0), (84.0, 54.0)])]
    verdict = judge(row[2], accurate(row[2], 82.01, 52.0), others=lambda: row)
    assert not verdict.holds
    # Seeds 80 to 84 have a standard deviation of 1.58: a difference of 0.01 is 0.0063 of it.
    assert "82.0 → 82.01, 0.0063 of the spread over seeds" in verdict.words
