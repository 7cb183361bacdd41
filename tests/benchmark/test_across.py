"""The same rows on boards of other protocols and backbones, against hand-made records."""

import math

import numpy as np
import pytest

import baselines  # noqa: F401 - registers the methods
from benchmark.analysis import boards
from benchmark.analysis.across import _place, side_by_side
from benchmark.analysis.contest import of_seed, setting_words, settings
from benchmark.analysis.contrasts import ALPHA, RACED, contrasts, level
from benchmark.analysis.submitted import Counted
from benchmark.report.pages import render
from benchmark.runs.expansion import expand, expand_settings, runs_of
from benchmark.runs.grid import load_grid
from benchmark.runs.store import Store
from tests.benchmark.claimfiles import GRID, OPTIMIZERS, WIDTHS, ran

ROWS = {"split": 0.0, "mtan": 1.0}


def records(tmp_path, axes, lift, seeds=3):
    """Runs of ``GRID`` without noise but a tenth of a point a seed; ``lift`` is what a setting adds."""
    (tmp_path / "grid.toml").write_text(GRID + axes)
    specs = {spec.id: spec for spec in expand(load_grid(tmp_path / "grid.toml")) if spec.seed == 0}
    return [
        ran(of_seed(spec, seed), ROWS.get(spec.architecture.name, 0.0) + lift(spec) + 0.1 * (seed - 1))
        for spec in specs.values()
        for seed in range(seeds)
        if spec.weighting_name in ("none", "equal", "dwa")
    ]


def test_a_setting_that_lifts_all_rows_changes_no_delta_and_every_difference(tmp_path):
    lifted = records(tmp_path, OPTIMIZERS, lambda spec: 5.0 * (spec.protocol.optimizer == "sgd"))
    (found,) = side_by_side(boards(lifted))
    assert found.names == ("optimizer adam", "optimizer sgd")
    assert set(found.rows) == {
        ("single-task", "none"), ("stan", "none"), ("split", "equal"), ("split", "dwa"), ("mtan", "equal"),
        ("mtan", "dwa"),
    }  # fmt: skip
    for (architecture, _), (adam, sgd) in found.rows.items():
        gain = ROWS.get(architecture, 0.0)
        assert adam.delta == pytest.approx(gain)
        assert sgd.delta == pytest.approx(100 * (gain / 105), abs=0.05)
        assert sgd.difference == pytest.approx(5.0)
        assert (adam.n, sgd.n, sgd.verdict) == (3, 3, "better")
        assert math.isnan(adam.difference)


def test_the_error_is_shared_out_to_all_differences_of_a_set(tmp_path):
    noise = (0.5, -0.3, -0.2)
    own = [
        ran(r.spec, 5.0 + noise[r.spec.seed]) if r.spec.protocol.optimizer == "sgd" else r
        for r in records(tmp_path, OPTIMIZERS, lambda spec: 0.0)
    ]
    (found,) = side_by_side(boards(own))
    gains = {row: ROWS.get(row[0], 0.0) for row in found.rows}
    values = np.array([[5.0 + one for one in noise]] * len(gains))
    base = np.array([[gain + 0.1 * (seed - 1) for seed in range(3)] for gain in gains.values()])
    for size, alike in ((6, True), (5, False)):
        low = contrasts(values, base, rows=size).low
        told = [standings[1].low for standings in found.rows.values()]
        assert (told == pytest.approx(low.tolist(), abs=0.02)) is alike


def test_numbers_are_ordered_by_size_whatever_their_sign_and_exponent():
    values = [200, -1, 3e-10, "wrn-28", 1e-12, 0, -2.5, None, "adam", 1e30, False, 2.5]
    ordered = ["adam", "wrn-28", -2.5, -1, 0, False, 1e-12, 3e-10, 2.5, 200, 1e30, None]
    assert sorted(values, key=_place) == ordered


def test_ranges_over_weightings_are_each_boards_own_and_widths_are_ordered_by_size(tmp_path):
    lifted = records(
        tmp_path, WIDTHS, lambda s: 4.0 * (s.weighting_name == "dwa" and s.architecture.options["width"] == 8)
    )
    (found,) = side_by_side(boards(lifted))
    assert found.names == ("width 8", "width 16")
    assert found.ranges["split"] == pytest.approx((4.0, 0.0), abs=1e-9)
    assert found.rows["split", "dwa"][1].difference == pytest.approx(-4.0)


def test_boards_with_nothing_in_common_and_rows_that_diverged(tmp_path):
    own = records(tmp_path, OPTIMIZERS, lambda spec: 0.0)
    assert side_by_side(boards(r for r in own if r.spec.protocol.optimizer == "adam")) == []
    mixed = {"adam": "split", "sgd": "mtan"}
    apart = [r for r in own if r.spec.architecture.name in ("single-task", mixed[r.spec.protocol.optimizer])]
    assert side_by_side(boards(apart)) == []
    last = next(r for r in own if r.spec.weighting_name == "dwa" and r.spec.protocol.optimizer == "sgd")
    diverged = [r.model_copy(update={"status": "diverged", "curves": ()}) if r is last else r for r in own]
    (found,) = side_by_side(boards(diverged))
    row = found.rows[last.spec.architecture.name, "dwa"][1]
    assert (row.n, row.known, row.verdict) == (2, False, "undecided")


def test_settings_of_several_widths_are_contests_of_their_own(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID + WIDTHS)
    found = settings(expand(load_grid(tmp_path / "grid.toml")))
    assert [{spec.architecture.options["width"] for spec in own} for own in found] == [{8}, {16}]


def test_settings_of_one_data_set_are_named_by_the_axes_in_which_they_differ(tmp_path):
    def named(text):
        (tmp_path / "grid.toml").write_text(text)
        found = expand_settings(load_grid(tmp_path / "grid.toml"))
        groups = settings(runs_of(found))
        return dict(zip(setting_words(groups, found), groups, strict=True))

    assert list(named(GRID)) == [""]
    assert list(named(GRID + WIDTHS)) == ["architecture.width 8", "architecture.width 16"]
    # At each optimiser, rows of both variants stand on one board, with one reference.
    both = named(GRID + OPTIMIZERS + '"architecture.variant" = ["deep", "wide"]\n')
    assert list(both) == ["protocol.optimizer adam", "protocol.optimizer sgd"]
    for words, specs in both.items():
        assert {f"protocol.optimizer {spec.protocol.optimizer}" for spec in specs} == {words}
        assert {spec.architecture.options.get("variant") for spec in specs} == {"deep", "wide", None}
    assert list(named(GRID + '[axes]\n"architecture.variant" = ["deep", "wide"]\n')) == [""]


def test_rows_of_different_numbers_of_seeds_cost_error_on_either_side():
    even, raced = np.zeros((2, 6)), np.array([[0.0] * 6, [0.0] * 4 + [np.nan] * 2])
    assert level(even, even) == ALPHA
    assert level(raced, even) == level(even, raced) == RACED


@pytest.mark.slow
def test_the_page_is_there_where_boards_can_be_compared_and_only_there(tmp_path):
    own = records(tmp_path, OPTIMIZERS, lambda spec: 5.0 * (spec.protocol.optimizer == "sgd"))
    store = Store(tmp_path / "results")
    for one in own:
        store.put(one)
    pages = dict(render(boards(own), Counted(own), [], store, "val-delta-m"))
    page = pages["side-by-side.html"].decode()
    assert 'title="optimizer sgd">2. Δm, seeds' in page
    assert "▲ better" in page
    assert 'href="side-by-side.html"' in pages["index.html"].decode()
    adam = [record for record in own if record.spec.protocol.optimizer == "adam"]
    pages = dict(render(boards(adam), Counted(adam), [], store, "val-delta-m"))
    assert "side-by-side.html" not in pages
    assert "side-by-side.html" not in pages["index.html"].decode()
