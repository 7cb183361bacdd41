"""Parts of pages one by one: charts, tables, titles, grid files."""

import re
import tomllib

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from benchmark import report
from benchmark.analysis import boards
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.report import titles
from benchmark.report.attention import draw_attention
from benchmark.report.board import BoardPage, notes
from benchmark.report.charts import conflict
from benchmark.report.charts.forest import Forest
from benchmark.report.charts.marks import Marks
from benchmark.report.charts.plot import Scale, limits
from benchmark.report.judged import BaselineComparison, RowComparison
from benchmark.report.links import Links
from benchmark.report.pages import release
from benchmark.report.readings import readings
from benchmark.report.reproduce import command, grid_file
from benchmark.report.rows import Variant, read
from benchmark.report.table import formatter
from benchmark.runs.artifacts import OfMasks
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import Grid
from benchmark.runs.record import TaskInfo
from benchmark.runs.spec import Component, Protocol, RunSpec
from tests.benchmark import records as made
from tests.benchmark.records import flat

pytestmark = pytest.mark.slow


def slugs(records):
    (board,) = boards(records)
    return [numbers.variant.slug for numbers in readings(board, "val-delta-m") if not numbers.variant.legacy]


def test_a_reading_is_offered_where_it_says_something_else():
    def run(architecture, weighting, epochs, level):
        found = made.record(architecture, weighting, tasks=made.SCENES[:1], epochs=epochs)
        return made.edited(found, lambda e, s, t, m, v: level(e))

    def rising(epochs):
        return [run("single-task", None, epochs, lambda e: 40.0), run("mtan", "equal", epochs, lambda e: 40.0 + e)]

    # Best and last epoch are the same; the mean over ten epochs is another number, that over nine is none of ten.
    assert slugs(rising(9)) == [""]
    assert slugs(rising(10)) == ["", "last-10-mean"]
    falling = [run("single-task", None, 9, lambda e: 40.0), run("mtan", "equal", 9, lambda e: 60.0 - e)]
    assert slugs(falling) == ["", "last"]
    nearly = [run("single-task", None, 9, lambda e: 40.0), run("mtan", "equal", 9, lambda e: 60.0 - e / 1e4)]
    assert slugs(nearly) == [""]


@pytest.mark.parametrize(
    "change",
    [
        {OfMasks("depth"): np.zeros((3, 2, 48, 64))},
        {OfMasks("depth"): np.zeros((3, 2, 48, 640), np.uint8)},
        {OfMasks("depth"): np.zeros((2, 2, 48, 64), np.uint8)},
        {OfMasks("depth", "ends"): np.zeros((3, 2), np.float32)},
        {OfMasks("depth", "ends"): np.array([["a", "b"]] * 2)},
        {OfMasks("depth", "levels"): np.array(["one"])},
        {OfMasks("depth", "levels"): np.zeros(2)},
    ],
    ids=["type", "size", "samples", "ends", "words for ends", "levels", "numbers for levels"],
)
def test_masks_that_are_none_are_left_out(change):
    record = made.record("mtan")
    found = draw_attention(record.tasks, made.attention(record) | change, made.truth(), 2)
    assert [task.task for task in found.tasks] == ["semantic", "normals"]
    assert draw_attention(record.tasks, {}, made.truth(), 2) is None
    assert draw_attention(record.tasks, made.attention(record), None, 2) is None
    endless = {OfMasks(task.name, "ends"): np.full((2, 2), np.nan, np.float32) for task in record.tasks}
    endless = draw_attention(record.tasks, made.attention(record) | endless, made.truth(), 2)
    assert [ends for _, ends in endless.tasks[0].levels] == ["", ""]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"precision": "fp32", "device": "Intel(R) Xeon(R) Processor", "threads": 1}, "--device cpu"),
        ({"precision": "bf16"}, "--device cuda --threads 4"),
        ({"precision": "fp32", "threads": 1}, "--device cuda"),
        (
            {"precision": "bf16", "device": "Intel(R) Xeon(R) Processor", "device_type": "cpu", "threads": 2},
            "--device cpu --threads 2",
        ),
    ],
)
def test_the_command_of_a_run_names_the_device_that_it_was_made_on(place, words):
    found = made.record("mtan", place=place).provenance
    assert command(found, 7) == f"mtbench run --grid run.toml --seeds 7 {words} --results again"


@pytest.mark.parametrize("protocol", [{"precision": "bf16"}, {"arithmetic": "portable"}])
def test_runs_that_compute_in_another_way_have_a_board_of_their_own(protocol):
    place = {"device": "Xeon", "device_type": "cpu", "precision": "fp32"}
    ways = [(place, {}), ({**place, "precision": protocol.get("precision", "fp32")}, protocol)]
    cells = (("single-task", None), ("mtan", "equal"))
    records = [made.record(*cell, place=where, protocol=how) for cell in cells for where, how in ways]
    found = boards(records)
    assert [len(board.records) for board in found] == [2, 2]
    assert len({board.key for board in found}) == 2


SPECS = [
    ("mtan", {"width": 8, "backbone": "segnet"}, ("dwa", {"temperature": 2.0}), "scenes", {"height": 36, "width": 48}),
    ("single-task", {"width": 16, "backbone": "wrn"}, None, "multi-fashion", {"train": 500}),
    ("split", {"width": 4, "backbone": "segnet"}, ("constant", {"weights": [0.2, 0.3, 0.5]}), "scenes", {}),
]


@pytest.mark.parametrize(("architecture", "options", "weighting", "dataset", "data"), SPECS)
def test_the_grid_file_of_a_run_makes_that_run(architecture, options, weighting, dataset, data):
    spec = RunSpec(
        dataset=Component.from_registry(DATASETS, dataset, data),
        architecture=Component.from_registry(ARCHITECTURES, architecture, options),
        weighting=Component.from_registry(WEIGHTINGS, *weighting) if weighting else None,
        seed=7,
        protocol=Protocol(epochs=3, batch_size=4, learning_rate=2e-3),
    )
    grid = Grid.model_validate(tomllib.loads(grid_file(spec, [3, 7])))
    found = expand(grid)
    assert spec.id in {one.id for one in found}
    assert {one.seed for one in found} == {3, 7}
    assert spec.id in {one.id for one in expand(grid, Filters(seeds=(7,)))}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-(2**60), 2**60), st.booleans()), max_size=4))
def test_a_grid_file_is_toml_whatever_the_options_hold(options):
    component = Component(name="x", version=1, options=options)
    spec = RunSpec(
        dataset=component,
        architecture=component,
        weighting=component,
        seed=0,
        protocol=Protocol(epochs=1, batch_size=1),
    )
    read_back = tomllib.loads(grid_file(spec, [0]))
    assert read_back["architectures"][0]["options"] == options
    assert read_back["datasets"]["x"]["options"] == options


@pytest.mark.parametrize(("more", "said"), [(0, False), (2, True)])
def test_seeds_that_differ_between_rows_are_told(more, said):
    records = [flat("single-task", None, s, 40.0 + s / 10) for s in range(3)]
    records += [flat("mtan", "equal", s, 44.0 + s / 10) for s in range(3)]
    records += [flat("dense", "equal", s, 41.0 + s / 10) for s in range(3 + more)]
    (board,) = report.boards(records)
    (numbers,) = read(board, [Variant("", "val-delta-m")])
    assert any("Rows have different numbers of seeds, 3 to 5," in note for note in notes(numbers)) == said


def test_a_forest_draws_the_numbers_of_its_comparisons():
    compared = RowComparison(("a", "w"), ("b", "w"), 3.0, 1.0, 5.0, (2.0, 4.0), 2, 2, False, "better")
    far = RowComparison(("c", "w"), ("b", "w"), -400.0, -600.0, -200.0, (), 3, 3, False, "worse")
    versus = BaselineComparison("reference", "b", "?", {compared.row: compared, far.row: far}, 2.0, 1.0)
    forest = Forest(versus, -10.0, 10.0)
    # The axis has 20 points on 250 − 2 · 9 pixels.
    x = {value: 9 + (value + 10) * 232 / 20 for value in (-2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)}
    drawn = forest.cell(compared, "c1")
    assert f'd="M{x[1.0]:.1f} 10.0H{x[5.0]:.1f}"' in drawn
    assert f'd="M{x[3.0]:.1f} 5.5l' in drawn
    assert [f"{x[2.0]:.1f}", f"{x[4.0]:.1f}"] == re.findall(r'<circle class="sd" cx="([\d.]+)"', drawn)
    assert "−400" in forest.cell(far, "c1")  # beyond the axis: an arrow and the number
    assert (
        forest.places
        == f"--zero-reference:{x[0.0]:.1f}px;--from-reference:{x[-2.0]:.1f}px;--to-reference:{x[2.0]:.1f}px"
    )


def test_many_tasks_below_the_floor_are_counted_alone():
    tasks = tuple(TaskInfo(name=f"a{k}", kind="classification", channels=2) for k in range(12))
    (board,) = report.boards([made.record("split", tasks=tasks), made.record("mtan", tasks=tasks)])
    floor = {"test": {(task.name, "accuracy"): 100.0 if task.name != "a3" else 0.0 for task in tasks}}
    (numbers,) = read(board, [Variant("", "val-delta-m")], floor=floor)
    assert BoardPage((numbers,), "scenes", "", None, {}).below_in_words == "In 11 of 12 tasks 2 of 2 rows"


def test_numbers_of_a_column_have_the_typical_one_s_decimals():
    write = formatter([0.0512, 0.0498, 8.754])
    assert [write(v) for v in (0.0512, 8.754, -0.00001, 0.0)] == ["0.0512", "8.7540", "−1e−05", "0.0000"]
    assert formatter([12.0, -0.04, -1385.2], signed=True)(-0.04) == "0.0"
    assert formatter([300e-6, 2.5])(0.0000003) == "3e−07"


def test_many_seeds_are_read_in_parts_without_a_difference(monkeypatch):
    records = made.grid((0, 1), epochs=2)[:20]  # of ten rows
    (board,) = report.boards(records)
    variants = [Variant("", "val-delta-m")]
    (whole,) = read(board, variants)
    monkeypatch.setattr("benchmark.analysis.summary.CHUNK", 1)
    (parts,) = read(board, variants)
    assert [row.samples for row in parts.rows] == [row.samples for row in whole.rows]
    assert [row.epochs for row in parts.rows] == [row.epochs for row in whole.rows]


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if ARCHITECTURES[n].factory.card])
def test_a_flow_is_that_of_the_parameters(name):
    # Shared lanes where parameters are shared, as many lanes of tasks as tasks have parameters of their own in stages.
    factory = ARCHITECTURES[name].factory
    flow = factory.card.flow
    assert factory.shares == ("shared" in flow.lanes or flow.links in ("mixes", "filters"))
    assert factory.has_representation == (flow.lanes == ("shared",))
    assert flow.lanes.count("task") in (0, 2)


def test_names_that_look_alike_have_pages_of_their_own():
    links = Links.from_names({"weightings": ["a b", "a-b", "c"]})
    assert len(set(links.pages.values())) == 3
    assert links.to("weightings", "c") == "weightings/c.html"


@example(low=998999.0, width=1001.0, count=2)  # three digits would not tell 999000 from 999500
@given(low=st.floats(-1e9, 1e9), width=st.floats(1e-6, 1e9), count=st.integers(2, 9))
def test_ticks_are_few_in_order_and_told_apart(low, width, count):
    assume(width > 1e-4 * abs(low))
    scale = Scale(low, low + width, 0, 100)
    ticks = scale.ticks(count)
    values = [value for value, _ in ticks]
    assert values == sorted(values)
    assert len(values) <= 2 * count + 2
    assert all(low - 1e-6 * width <= value <= low + 1.000001 * width for value in values)
    assert len({text for _, text in ticks}) == len(ticks)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6))
def test_limits_hold_every_drawable_value(values):
    known = [value for value in values if abs(value) < 1e12]
    found = limits(values)
    assert (found is None) == (not known)
    if found:
        assert found[0] < found[1]
        assert found[0] <= min(known) <= max(known) <= found[1]


def test_long_names_end_before_the_gradients_figure_begins():
    tasks = ("weights", [0.1667, 0.1667, 0.3333]), ("of a very long option that nobody would read to its end", 12345)
    records = [made.conflicting(made.record("mtan", "dwa", weighting_options=dict(tasks[:i]))) for i in (0, 1, 2)]
    (board,) = boards(records)
    (numbers,) = read(board, [Variant("", "last")])
    names = [row.name for row in numbers.rows]
    marks = Marks.from_pairs([row.kind for row in numbers.rows])
    svg = conflict.overview(numbers, marks, lambda row: "there").svg
    shown = re.findall(r'class="rn">(.*?)</text>', svg)
    whole = [name for name in names if name in shown]
    assert len(whole) == 2
    (cut,) = (text for text in shown if text not in names)
    title, words = re.fullmatch("<title>(.*)</title>(.*)", cut).groups()
    assert title == max(names, key=len)
    head, tail = words.split("…")
    assert title.startswith(head)
    assert title.endswith(tail)
    assert len(words) <= 47


def test_the_newest_version_is_no_matter_of_letters():
    found = ["0.9.0", "0.10.0", "0.10.0rc1", "mine", "0.2"]
    assert max(found, key=release) == "0.10.0"
    assert min(found, key=release) == "mine"


def test_a_cosines_board_does_not_tell_of_decays():
    [board] = boards([made.record(protocol={"schedule": "cosine", "warmup_steps": 3})])
    told = titles.settings(board)
    assert told["schedule"] == "cosine"
    assert not {"lr step", "lr decay"} & told.keys()
