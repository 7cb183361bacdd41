"""Δm, selection, intervals, non-dominated sets and boards, against numbers worked out by hand or by brute force."""

import math
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import analysis
from benchmark.errors import UsageError
from tests.benchmark import records as made

TIDY = ["architecture", "weighting", "seed", "task", "metric", "value", "higher_is_better"]


def tidy(architecture, values, seed=0, weighting="equal"):
    """Rows of one run from {(task, metric): value}; errors are better lower."""
    rows = [(architecture, weighting, seed, *key, value, "error" not in key[1]) for key, value in values.items()]
    return pd.DataFrame(rows, columns=TIDY)


SINGLE = {("seg", "miou"): 40.0, ("seg", "accuracy"): 80.0, ("depth", "error"): 0.5}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # ((+10 + 5) / 2 + 20) / 2
        ({("seg", "miou"): 44.0, ("seg", "accuracy"): 84.0, ("depth", "error"): 0.4}, 13.75),
        # ((−25 + 0) / 2 + 0) / 2
        ({("seg", "miou"): 30.0, ("seg", "accuracy"): 80.0, ("depth", "error"): 0.5}, -6.25),
        # (0 − 100) / 2
        ({("seg", "miou"): 40.0, ("seg", "accuracy"): 80.0, ("depth", "error"): 1.0}, -50.0),
        (SINGLE, 0.0),
        (SINGLE | {("seg", "miou"): math.nan}, math.nan),
        ({key: value for key, value in SINGLE.items() if key != ("depth", "error")}, math.nan),
        (SINGLE | {("seg", "another"): 1.0}, math.nan),
    ],
)
def test_delta_m_by_hand(values, expected):
    found = analysis.delta_m(tidy("mtan", values), tidy("single-task", SINGLE, weighting="none"))
    assert found.loc[0, "delta_m"] == pytest.approx(expected, nan_ok=True)


def test_delta_m_pairs_by_seed_and_guesses_nothing():
    runs = pd.concat([tidy("mtan", SINGLE, seed) for seed in (0, 1, 2)])
    halved = {key: value / 2 for key, value in SINGLE.items()}
    reference = pd.concat([tidy("single-task", SINGLE, 0), tidy("single-task", halved, 2)])
    found = analysis.delta_m(runs, reference).set_index("seed")["delta_m"]
    # Twice the mIoU and accuracy (+100), twice the error (−100).
    assert found.to_dict() == pytest.approx({0: 0.0, 1: math.nan, 2: 0.0}, nan_ok=True)
    assert analysis.delta_m(runs, reference[:0])["delta_m"].isna().all()
    assert analysis.delta_m(runs[:0], reference).empty


def test_delta_m_is_undefined_for_a_reference_of_zero():
    zero = tidy("single-task", SINGLE | {("seg", "miou"): 0.0})
    assert analysis.delta_m(tidy("mtan", SINGLE), zero)["delta_m"].isna().all()


def test_delta_m_ignores_legacy_metrics():
    runs = tidy("mtan", SINGLE | {("seg", "legacy_miou"): 1.0})
    runs["legacy"] = runs["metric"].str.startswith("legacy")
    assert analysis.delta_m(runs, tidy("single-task", SINGLE))["delta_m"].tolist() == [0.0]


def test_delta_m_refuses_frames_with_several_epochs():
    runs = pd.concat([tidy("mtan", SINGLE), tidy("mtan", SINGLE)])
    with pytest.raises(ValueError, match="more than one value"):
        analysis.delta_m(runs, tidy("single-task", SINGLE))


positive = st.floats(0.01, 1000)


@st.composite
def tables(draw):
    """Some runs and references with the same metrics, values positive, in any order."""
    keys = draw(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["iou", "error", "x"])), min_size=1, unique=True)
    )
    seeds = draw(st.lists(st.integers(0, 3), min_size=1, unique=True))
    runs = [tidy(name, {k: draw(positive) for k in keys}, s) for s in seeds for name in ("one", "two")]
    references = [tidy("single-task", {k: draw(positive) for k in keys}, s) for s in seeds]
    return pd.concat(runs, ignore_index=True), pd.concat(references, ignore_index=True)


def brute_force(runs, reference):
    """Δm with loops only."""
    found = {}
    for row in runs.to_dict("records"):
        (single,) = [
            r["value"]
            for r in reference.to_dict("records")
            if (r["seed"], r["task"], r["metric"]) == (row["seed"], row["task"], row["metric"])
        ]
        gain = (row["value"] - single) / single * (100 if row["higher_is_better"] else -100)
        cell = found.setdefault((row["architecture"], row["weighting"], row["seed"]), {})
        cell.setdefault(row["task"], []).append(gain)
    return {cell: mean(mean(gains) for gains in tasks.values()) for cell, tasks in found.items()}


def by_cell(frame):
    return frame.set_index(["architecture", "weighting", "seed"])["delta_m"].to_dict()


@pytest.mark.slow
@given(tables(), st.randoms())
def test_delta_m_equals_brute_force_in_any_order(frames, random):
    runs, reference = frames
    order = list(range(len(runs)))
    random.shuffle(order)
    found = by_cell(analysis.delta_m(runs.iloc[order], reference.iloc[::-1]))
    assert found == pytest.approx(brute_force(runs, reference))


@pytest.mark.slow
@given(tables(), st.floats(1.01, 3))
def test_delta_m_grows_when_a_metric_gets_better(frames, factor):
    runs, reference = frames
    before = by_cell(analysis.delta_m(runs, reference))
    better = runs.copy()
    better["value"] *= np.where(better["higher_is_better"], factor, 1 / factor)
    after = by_cell(analysis.delta_m(better, reference))
    assert all(after[cell] > before[cell] for cell in before)


@pytest.mark.slow
@given(tables())
def test_delta_m_of_a_seed_does_not_depend_on_other_seeds(frames):
    runs, reference = frames
    every = by_cell(analysis.delta_m(runs, reference))
    for seed in runs["seed"].unique():
        alone = by_cell(analysis.delta_m(runs[runs["seed"] == seed], reference))
        assert alone == pytest.approx({cell: value for cell, value in every.items() if cell[2] == seed})


def with_options(record, options):
    spec = record.spec
    architecture = spec.architecture.model_copy(update={"options": options})
    changed = spec.model_copy(update={"architecture": architecture})
    return record.model_copy(update={"spec": changed})


def test_a_network_without_a_backbone_option_joins_the_reference_of_its_grid():
    single, mine = made.record("single-task", None), made.record("mtan", "equal")
    mine = with_options(mine, {"width": single.spec.architecture.options["width"]})
    assert [len(board.records) for board in analysis.boards([single, mine])] == [2]
    bare = with_options(mine, {})
    assert [len(board.records) for board in analysis.boards([single, bare])] == [2]


def test_of_two_references_that_fit_equally_none_is_guessed():
    single, mine = made.record("single-task", None), with_options(made.record("mtan", "equal"), {})
    options = {**single.spec.architecture.options, "backbone": "another"}
    other = with_options(made.record("single-task", None, seed=5), options)
    found = analysis.boards([single, other, mine])
    assert sorted(len(board.records) for board in found) == [1, 1, 1]


def test_weights_of_a_file_are_another_backbone_though_none_is_no_option_of_a_record():
    plain = [made.record("single-task", None), made.record("mtan", "equal")]
    trained = [
        with_options(record, {**record.spec.architecture.options, "pretrained": "sha256:ab"})
        for record in (made.record("single-task", None, seed=5), made.record("mtan", "equal", seed=5))
    ]
    for records in ([*plain, *trained], [plain[0], *trained], [*plain, trained[1]]):
        boards = [{record.id for record in board.records} for board in analysis.boards(records)]
        found = {run: board for board in boards for run in board}
        for own in (plain, trained):
            there = {record.id for record in own if record in records}
            assert all(found[run] == there for run in there)


def test_frame_is_tidy():
    found = made.record(epochs=3)
    data = analysis.frame([found])
    assert len(data) == 3 * 2 * (4 + 4 + 10)
    assert set(data["architecture"]) == {"split-wide"}
    one = data[(data["epoch"] == 2) & (data["split"] == "val") & (data["metric"] == "abs_error")]
    assert one["value"].tolist() == [found.curves[1].metrics["val"]["depth"]["abs_error"]]
    assert not one["higher_is_better"].any()


def test_frame_leaves_out_what_nobody_could_judge():
    tasks = (made.SCENES[0], made.SCENES[1].model_copy(update={"kind": "telepathy"}))
    found = made.edited(made.record(tasks=tasks), lambda e, s, t, m, v: v)
    assert analysis.frame([found]).empty  # Δm over the other task would be another quantity
    assert list(analysis.frame([])) == list(analysis.frame([found]))


def scripted(architecture, weighting, miou, **changes):
    """A run on one segmentation task whose validation mIoU is given by epoch; test numbers run the other way."""
    found = made.record(architecture, weighting, tasks=made.SCENES[:1], epochs=len(miou), **changes)

    def edit(epoch, split, task, metric, value):
        right = miou[epoch - 1]
        return right if split == "val" else None if right is None else 100.0 - right

    return made.edited(found, edit)


def chosen(records, rule="val-delta-m"):
    """By architecture: chosen epochs and the rules that chose."""
    data = analysis.select(analysis.frame(records), rule)
    return {
        name: (sorted(set(rows["epoch"])), sorted(set(rows["rule"]))) for name, rows in data.groupby("architecture")
    }


def test_selection_takes_the_best_validation_epoch():
    records = [
        scripted("single-task", None, [10, 50, 50, 40]),
        scripted("stan", None, [10, 20, 60, 40]),
        scripted("mtan", "equal", [70, 20, 60, 40]),
    ]
    assert chosen(records) == {
        "single-task": ([2], ["val-delta-m"]),
        "stan": ([3], ["val-delta-m"]),
        "mtan": ([1], ["val-delta-m"]),
    }
    assert set(map(str, chosen(records, "last").values())) == {"([4], ['last'])"}
    with pytest.raises(UsageError, match="val-delta-m"):
        chosen(records, "best-on-test")


def test_selection_falls_back_to_the_last_epoch_and_says_so():
    single = scripted("single-task", None, [10, 50])
    assert chosen([single, scripted("mtan", "equal", [30, 20], seed=1)])["mtan"] == ([2], ["last"])
    assert chosen([single, scripted("mtan", "equal", [None, None])])["mtan"] == ([2], ["last"])
    zero = scripted("single-task", None, [0, 0])
    assert chosen([zero, scripted("mtan", "equal", [30, 20])]) == {
        "single-task": ([1], ["val-delta-m"]),
        "mtan": ([2], ["last"]),
    }
    assert chosen([made.failed(single, epochs=1), scripted("mtan", "equal", [30, 20])]) == {"mtan": ([2], ["last"])}


@pytest.mark.parametrize("architecture", ["single-task", "stan"])
def test_tasks_of_networks_that_share_nothing_choose_for_themselves(architecture):
    best = {"semantic": 3, "depth": 5, "normals": 8}
    found = made.edited(
        made.record(architecture, None),
        lambda epoch, split, task, metric, value: (
            (1.0 if metric.removeprefix("legacy_") in made.LOWER else -1.0) * abs(epoch - best[task]) + 50.0
        ),
    )
    data = analysis.select(analysis.frame([found]))
    assert data.groupby("task")["epoch"].unique().map(list).to_dict() == {task: [e] for task, e in best.items()}


def test_a_seed_with_two_references_has_none():
    records = [
        scripted("single-task", None, [10, 50]),
        scripted("single-task", None, [10, 50], version=2),
        scripted("mtan", "equal", [30, 20]),
    ]
    assert chosen(records)["mtan"] == ([2], ["last"])
    assert analysis.references(analysis.frame(records)).empty


@pytest.mark.slow
@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=6))
def test_selection_by_one_metric_is_the_best_value(values):
    data = analysis.select(analysis.frame([scripted("single-task", None, values)]))
    picked = data[data["metric"] == "miou"]
    finite = [value for value in values if value is not None]
    if finite:
        assert picked["epoch"].unique().tolist() == [values.index(max(finite)) + 1]
    else:
        assert picked["rule"].unique().tolist() == ["last"]


def test_interval_by_hand():
    found = analysis.estimate([1.0, 2.0, 3.0, math.nan])
    # t(0.975, 2) = 4.302653
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high, found.method) == (2.0 - found.half, 2.0 + found.half, "student-t")
    assert analysis.estimate([5.0]) == analysis.Estimate(5.0, None, 1)
    assert analysis.estimate([]).n == 0
    assert math.isnan(analysis.estimate([1.7e308, 1.7e308]).mean)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=4))
def test_interval_of_few_values_is_students(values):
    found = analysis.estimate(values)
    assert found.mean == pytest.approx(mean(values), abs=1e-6)
    assert found.half == pytest.approx(
        {2: 12.7062, 3: 4.30265, 4: 3.18245}[len(values)] * stdev(values) / math.sqrt(len(values)), rel=1e-4, abs=1e-6,
    )  # fmt: skip


def test_non_dominated_by_hand():
    data = pd.DataFrame(
        {
            "cost": [1.0, 2.0, 3.0, 3.0, 2.0, math.nan, 1.0],
            "gain": [0.0, 5.0, 4.0, 6.0, 5.0, 9.0, -1.0],
        }
    )
    found = analysis.non_dominated(data, {"cost": False, "gain": True})
    assert found.tolist() == [True, True, False, True, True, False, False]
    assert analysis.non_dominated(data[:0], {"cost": False, "gain": True}).empty
    assert analysis.non_dominated(data[:1], {"cost": False, "gain": True}).tolist() == [True]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_non_dominated_equals_brute_force(points):
    data = pd.DataFrame(points, columns=["cost", "gain"], dtype=float)
    expected = [not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points) for cost, gain in points]
    assert analysis.non_dominated(data, {"cost": False, "gain": True}).tolist() == expected


def test_boards_keep_apart_what_does_not_compare():
    records = [
        *made.grid(),
        made.record("mtan", options={"width": 32, "backbone": "segnet"}),
        made.record("mtan", data_options={"height": 96}),
        made.record("mtan", epochs=3),
        made.record("mtan", protocol={"batch_size": 4}),
    ]
    boards = analysis.boards(records)
    assert sorted(len(board.records) for board in boards) == [1, 1, 1, 1, 17]
    assert len({board.key for board in boards}) == 5
    assert analysis.boards(records[::-1]) == boards
    assert analysis.boards([*records, records[0]]) == boards


def with_data(record, data_hash, **changes):
    """The same run on prepared data of this content hash."""
    provenance = record.provenance.model_copy(update={"data_hash": data_hash})
    return record.model_copy(update={"provenance": provenance, **changes})


def test_two_data_hashes_never_meet_on_one_board():
    ours = [made.record("single-task", None), made.record("mtan"), made.record("mtan", seed=1)]
    theirs = [with_data(made.record(name, seed=2), "e" * 64) for name in ("mtan", "dense")]
    alone = analysis.boards(ours)[0]
    found = analysis.boards([*theirs, *ours])
    assert [{record.id for record in board.records} for board in sorted(found, key=lambda b: b.data_hash)] == [
        {record.id for record in ours}, {record.id for record in theirs},
    ]  # fmt: skip
    assert [board.data_hash for board in sorted(found, key=lambda b: b.data_hash)] == ["d" * 64, "e" * 64]
    assert len({board.key for board in (*found, alone)}) == 3
    assert analysis.boards([*ours, *theirs]) == found


def test_a_reference_on_other_data_lends_no_backbone():
    single, mine = with_data(made.record("single-task", None), "e" * 64), made.record("mtan")
    mine = with_options(mine, {})
    (board,) = (board for board in analysis.boards([single, mine]) if board.data_hash == "d" * 64)
    assert (board.records, board.backbone) == ((mine,), {})


def test_a_failed_run_without_data_stands_where_most_runs_of_its_setting_are():
    ours = [made.record("mtan", seed=seed) for seed in range(2)]
    theirs = with_data(made.record("dense"), "0" * 64)
    lost = with_data(made.record("mtan", seed=7), None, status="failed", error="its process is gone", curves=())
    (board,) = (board for board in analysis.boards([lost, theirs, *ours]) if board.data_hash == "d" * 64)
    assert {record.id for record in board.records} == {record.id for record in (*ours, lost)}
    (nowhere,) = analysis.boards([lost])
    assert (nowhere.data_hash, len(nowhere.records)) == (None, 1)


def test_a_run_belongs_to_the_reference_whose_options_it_has():
    wide = {"width": 32, "backbone": "segnet"}
    records = [
        made.record("single-task", None),
        made.record("single-task", None, options=wide),
        made.record("mtan", options=wide | {"attention": "soft"}),
        made.record("mtan", options=wide | {"attention": "hard"}),
    ]
    narrow, other = sorted(analysis.boards(records), key=lambda board: len(board.records))
    assert narrow.backbone == {"width": 16, "backbone": "segnet"}
    assert other.backbone == wide
    assert {architecture for architecture, _ in other.labels.values()} == {
        "single-task", "mtan (attention soft)", "mtan (attention hard)",
    }  # fmt: skip


def test_labels_cannot_be_forged():
    forged = made.record("mtan (attention soft)")
    records = [forged, made.record("mtan", options=forged.spec.architecture.options | {"attention": "soft"}),
               made.record("mtan", options=forged.spec.architecture.options | {"attention": "hard"})]  # fmt: skip
    (board,) = analysis.boards(records)
    assert len(set(board.labels.values())) == 3


def swept(weighting, semantic, depth, seed=0, **changes):
    """A run of one epoch whose two tasks end at these values on both splits."""
    tasks = (
        made.TaskInfo(name="semantic", kind="segmentation", channels=2),
        made.TaskInfo(name="depth", kind="depth", channels=1),
    )
    name, point = weighting if isinstance(weighting, tuple) else (weighting, None)
    found = made.record(
        changes.pop("architecture", "mtan"), name, seed=seed, epochs=1, tasks=tasks,
        weighting_options={"weights": point} if point else {},
    )  # fmt: skip
    values = {"semantic": {"miou": semantic, "pixel_accuracy": 50.0}, "depth": {"abs_error": depth, "rel_error": 0.1}}
    epoch = found.curves[0].model_copy(update={"metrics": {"val": values, "test": values}})
    return found.model_copy(update={"curves": (epoch,)} | changes)


def test_what_is_beyond_a_front_is_clear_where_noise_does_not_explain_it():
    def cell(name, semantic, depth):
        return [swept(name, s, d, seed=seed) for seed, (s, d) in enumerate(zip(semantic, depth, strict=True))]

    records = [
        *cell(("constant", [0.75, 0.25]), (44.0, 45.0, 46.0), (0.5, 0.5, 0.5)),
        *cell(("constant", [0.25, 0.75]), (36.0, 37.0, 38.0), (0.3, 0.3, 0.3)),
        *cell("dwa", (45.0, 46.1, 47.0), (0.5, 0.5, 0.5)),  # differences of 1, 1.1 and 1
        *cell("gls", (43.0, 45.0, 47.3), (0.5, 0.5, 0.5)),  # of −1, 0 and 1.3
        *cell("si", (36.0, 37.0, 38.0), (0.4, 0.41, 0.4)),  # worse in depth, every time
        *cell("mgda", (36.0, 37.0, 38.0), (0.2, 0.3, 0.41)),
    ]
    (board,) = analysis.boards(records)
    rows = analysis.fronts(board).rows.set_index("weighting")
    found = {name: (row["standing"], bool(row["clear"])) for name, row in rows.iterrows() if not row["fixed"]}
    assert found == {
        "dwa": ("beyond", True),
        "gls": ("beyond", False),
        "si": ("dominated", True),
        "mgda": ("dominated", False),
    }


def test_the_front_of_fixed_weights_by_hand():
    records = [
        # Higher is better in the first number, lower in the second.
        swept("equal", 40.0, 0.25, seed=0),
        swept("equal", 42.0, 0.5, seed=1),  # the mean is (41, 0.375)
        swept(("constant", [0.75, 0.25]), 44.0, 0.50),
        swept(("constant", [0.25, 0.75]), 36.0, 0.25),
        swept(("constant", [0.125, 0.875]), 36.0, 0.3),  # worse than the last in depth, the same otherwise
        swept("mgda", 41.0, 0.4),  # equal is as good and better
        swept("cagrad", 41.0, 0.375),  # the very point
        swept("gls", 38.0, 0.3),  # between two points
        swept("dwa", 42.0, 0.375),  # better than equal
        swept("si", math.nan, 0.1),
        swept("rlw", 99.0, 0.01, status="failed"),
        swept("equal", 30.0, 0.60, architecture="split-wide"),  # one point is no sweep
        swept("gls", 40.0, 0.60, architecture="split-wide"),
    ]
    (board,) = analysis.boards(records)
    found = analysis.fronts(board)
    assert found.maximise == {"semantic": True, "depth": False}
    assert found.metrics == {"semantic": "miou", "depth": "abs_error"}
    assert set(found.rows["architecture"]) == {"mtan"}
    assert dict(zip(found.rows["weighting"], found.rows["standing"], strict=True)) == {
        "equal": "front",
        "constant (weights 0.75 0.25)": "front",
        "constant (weights 0.25 0.75)": "front",
        "constant (weights 0.125 0.875)": "behind",
        "mgda": "dominated",
        "cagrad": "on",
        "gls": "on",
        "dwa": "beyond",
        "si": "undefined",
    }
    assert not found.rows["clear"].any()  # one seed of each shows nothing
    equal = found.rows.set_index("weighting").loc["equal"]
    assert (equal["seeds"], equal["semantic"], equal["depth"]) == (2, 41.0, 0.375)
    assert analysis.fronts(board, metrics={"depth": "rel_error"}).metrics["depth"] == "rel_error"
    assert analysis.fronts(board, fixed=("none",)).rows.empty


def test_labels_tell_points_of_a_sweep_apart():
    near = ([0.33333, 0.66667], [0.33334, 0.66666])
    records = [swept(("constant", point), 40.0, 0.4) for point in near]
    (board,) = analysis.boards([*records, swept(("constant", near[0]), 41.0, 0.4, seed=1)])
    assert {weighting for _, weighting in board.labels.values()} == {
        "constant (weights [0.33333, 0.66667])", "constant (weights [0.33334, 0.66666])",
    }  # fmt: skip
