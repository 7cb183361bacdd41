"""Submitted runs on boards: what was run here is changed by nothing that others say."""

import hashlib

import numpy as np
import pytest

from benchmark.analysis import boards
from benchmark.analysis.submitted import counted, proven, unproven
from benchmark.report.rows import Variant, read
from benchmark.runs.record import record_bytes
from benchmark.runs.trust import Trust, trust_bytes
from tests.benchmark import records as made

pytestmark = pytest.mark.slow


def submit(store, record, level, **more):
    digest = hashlib.sha256(record_bytes(record)).hexdigest()
    store.put(record, note=trust_bytes(Trust(run=record.id, level=level, record_sha256=digest, **more)))


def row_of(numbers, architecture, weighting):
    return next((row for row in numbers.rows if row.pair == (architecture, weighting)), None)


def reading(store, rule="val-delta-m"):
    found = counted(store.scan()[0], store)
    (board,) = boards(found.records, unproven(found.foreign))
    return read(board, [Variant("", rule)])[0], found


@pytest.fixture
def store(tmp_path):
    """Three seeds of four rows, made here."""
    cells = [("single-task", None), ("split", "equal"), ("mtan", "equal"), ("mtan", "dwa")]
    records = [made.record(a, w, seed=s, epochs=2) for a, w in cells for s in range(3)]
    return made.fill(tmp_path / "results", records, pictures=False)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("rule", ["val-delta-m", "last", "last-10-mean"])
def test_an_earlier_epoch_that_nothing_recomputed_does_not_count(store, split, rule):
    """Edited on validation it was chosen, edited on test too it led the board, and the row said 'recomputed'."""

    def edit(epoch, where, task, metric, value):
        return 60.0 if epoch == 1 and metric == "miou" and where in (split, "val") else value

    honest = made.record("dense", "dwa", epochs=2)
    submit(store, made.edited(honest, edit), "recomputed", epoch=2)
    row = row_of(reading(store, rule)[0], "dense", "dwa")
    said = honest.curves[-1].metrics["test"]["semantic"]["miou"]
    assert row.samples["semantic", "miou"][0] == said
    assert row.epochs[0]["semantic"] == 2


def test_a_self_reported_run_keeps_its_epochs(store):
    submit(store, made.record("dense", "dwa", epochs=2), "self-reported")
    row = row_of(reading(store)[0], "dense", "dwa")
    assert all(epoch.metrics for epoch in row.records[0].curves)


@pytest.mark.parametrize("level", ["self-reported", "recomputed"])
def test_a_foreign_reference_does_not_move_the_gain(store, level):
    """Three bad references of further seeds lifted every row by a hundred points."""
    before = row_of(reading(store)[0], "mtan", "dwa").gain.mean
    worse = made.edited(
        made.record("single-task", None, seed=9, epochs=2), lambda e, s, t, m, v: v * (9 if m in made.LOWER else 0.1)
    )
    submit(store, worse, level, epoch=2)
    numbers, found = reading(store)
    assert row_of(numbers, "mtan", "dwa").gain.mean == before
    assert [(record.id, reason[:23]) for record, reason in found.aside] == [(worse.id, "a single-task reference")]
    submit(store, worse, "rerun", epoch=2)
    assert row_of(reading(store)[0], "mtan", "dwa").gain.mean != before
    assert reading(store)[1].aside == []


def test_without_references_made_here_there_is_no_gain(tmp_path):
    store = made.fill(tmp_path / "results", [], pictures=False)
    submit(store, made.record("single-task", None, epochs=2), "recomputed", epoch=2)
    submit(store, made.record("mtan", "dwa", epochs=2), "recomputed", epoch=2)
    numbers, _ = reading(store)
    assert not numbers.has_delta
    assert len(numbers.rows) == 1


@pytest.mark.parametrize("status", ["ok", "diverged"])
def test_foreign_seeds_do_not_change_a_row_that_was_run_here(store, status):
    before = row_of(reading(store)[0], "mtan", "equal")
    further = made.record("mtan", "equal", seed=9, epochs=2)
    submit(store, further if status == "ok" else made.failed(further, status), "self-reported")
    after = row_of(reading(store)[0], "mtan", "equal")
    assert after.gain == before.gain
    assert after.diverged == 0


def test_a_foreign_failure_says_nothing_of_a_method_of_the_suite(store):
    submit(store, made.failed(made.record("cross-stitch", "dwa", epochs=2), "diverged"), "self-reported")
    own = made.failed(made.record("mine", "dwa", epochs=2), "diverged")
    submit(store, own, "self-reported")
    numbers, found = reading(store)
    assert row_of(numbers, "cross-stitch", "dwa") is None
    assert row_of(numbers, "mine", "dwa").diverged == 1
    assert [reason for _, reason in found.aside] == ["a failure of a method that is the suite's own"]


def test_a_foreign_row_is_no_baseline(store):
    """Its own bad run with equal weights made a submitter's weighting better than that."""
    for seed in range(3):
        bad = made.record("mine", "equal", seed=seed, epochs=2)
        submit(store, made.edited(bad, lambda e, s, t, m, v: v * (2 if m in made.LOWER else 0.5)), "self-reported")
        submit(store, made.record("mine", "dwa", seed=seed, epochs=2), "self-reported")
    numbers, _ = reading(store)
    versus = {found.key: found for found in numbers.versus}
    assert ("mine", "dwa") in versus["reference"].by_row
    assert ("mine", "dwa") not in versus["weighting"].by_row
    assert ("mtan", "dwa") in versus["weighting"].by_row
    assert np.isfinite(versus["weighting"].by_row["mtan", "dwa"].difference)


def test_a_foreign_row_of_a_baseline_with_other_options_takes_no_comparison_away(store):
    submit(
        store, made.record("split", "dwa", options={"width": 16, "backbone": "segnet", "x": 1}, epochs=2), "recomputed"
    )
    numbers, _ = reading(store)
    assert {versus.key for versus in numbers.versus} == {"reference", "architecture", "weighting"}


def test_races_and_plans_count_what_was_run_here(store):
    submit(store, made.record("single-task", None, seed=9, epochs=2), "recomputed", epoch=2)
    records = store.scan()[0]
    assert len(proven(records, store)) == len(records) - 1
