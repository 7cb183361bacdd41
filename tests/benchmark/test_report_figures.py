"""The figures of a board's pages: what is drawn where, and that nothing is magnified, cut off or printed over."""

import json
import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.analysis import boards
from benchmark.report.charts import conflict, figures, rowcurves
from benchmark.report.charts.marks import COLOURS, Marks, palette_css
from benchmark.report.charts.plot import LEAST_SPAN, Chart, Frame, clipped, limits
from benchmark.report.columns import DELTA, task_columns
from benchmark.report.explore import axes, payload
from benchmark.report.pictures import PicturedMethod
from benchmark.report.reported import tables
from benchmark.report.rows import Variant, read
from benchmark.report.table import table
from benchmark.report.volumes import volumes
from benchmark.runs.record import TaskInfo
from tests.benchmark import records as made

pytestmark = pytest.mark.slow

PLACES = st.floats(-300, 300)


def numbers_of(records):
    (board,) = boards(records)
    return read(board, [Variant("", "val-delta-m")])[0]


def marks_of(numbers):
    return Marks.from_pairs([row.kind for row in numbers.rows])


def there(row):
    return "there"


def costing(record, **cost):
    return record.model_copy(update={"cost": record.cost.model_copy(update=cost)})


@pytest.fixture(scope="module")
def numbers():
    """Two seeds of a grid with points of a sweep and gradients."""
    records = [made.conflicting(r) if r.spec.weighting else r for r in made.grid((0, 1))]
    points = ([0.25, 0.75, 0], [0.5, 0.25, 0.25], [0, 0.5, 0.5])
    records += [
        made.record("mtan", "constant", seed=s, weighting_options={"weights": point})
        for point in points
        for s in (0, 1)
    ]
    return numbers_of(records)


@given(st.lists(st.tuples(PLACES, PLACES), min_size=2, max_size=8))
def test_a_line_ends_at_the_edge_of_its_plot(points):
    box = (0.0, 0.0, 100.0, 50.0)
    pieces = clipped(points, box)
    assert all(-1e-6 <= x <= 100 + 1e-6 and -1e-6 <= y <= 50 + 1e-6 for piece in pieces for x, y in piece)
    if all(0 <= x <= 100 and 0 <= y <= 50 for x, y in points):
        assert pieces == [points]
    chart = Chart(Frame((0, 10), (0, 1)))
    chart.line([(0, 0.5), (5, 40.0), (10, 0.5)])  # through the title and back
    (path,) = chart.parts
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ (-?[\d.]+)", path)]
    assert len(heights) == 4
    assert min(heights) == pytest.approx(chart.frame.top, abs=0.1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_what_hardly_moves_is_not_magnified(values):
    low, high = limits(values)
    assert high - low >= 0.999 * LEAST_SPAN * max(map(abs, values))


@given(st.lists(st.floats(0, 100), max_size=6))
def test_signs_stand_side_by_side_and_in_order(places):
    found = conflict.side_by_side(sorted(places), 9.0, (0.0, 100.0))
    assert all(b - a >= 9 - 1e-9 for a, b in pairwise(found))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in found)
    alone = [10.0, 40.0, 70.0]
    assert conflict.side_by_side(alone, 9.0, (0.0, 100.0)) == alone
    assert conflict.side_by_side([50.0, 50.0], 9.0, (0.0, 100.0)) == [45.5, 54.5]


def test_axes_at_the_start_tell_rows_apart():
    def board(costs):
        records = [made.record("single-task", None, tasks=made.SCENES[:2])]
        names = [("mtan", "dwa"), ("dense", "equal"), ("split-wide", "dwa"), ("split-deep", "equal")]
        records += [made.record(*name, tasks=made.SCENES[:2]) for name in names]
        return numbers_of([costing(r, **cost) for r, cost in zip(records, costs, strict=True)])

    same = {"parameters": 10**6, "shared_parameters": 10**6, "seconds_per_step": 0.1, "forward_flops": 10**9}
    alike = [same for _ in range(5)]
    sizes = [{**cost, "parameters": 10**6 * (i + 1)} for i, cost in enumerate(alike)]
    flops = [{**cost, "forward_flops": 10**9 * (i + 1)} for i, cost in enumerate(alike)]
    assert figures.default_axes(board(sizes))[0].key == "parameters"
    assert figures.default_axes(board(flops))[0].key == "forward_flops"
    assert figures.default_axes(board(flops))[1] == DELTA
    steady = [{**cost, "train_seconds": 60.0, "peak_bytes": 10**9} for cost in alike]
    x, y = figures.default_axes(board(steady))
    assert (x.key, y.key) == (("semantic", "miou"), ("depth", "abs_error"))


def test_what_runs_measured_of_their_cost_is_no_axis_and_bounds_no_volume():
    names = [("single-task", None), ("mtan", "dwa"), ("dense", "equal")]
    found = numbers_of([made.record(*name) for name in names])
    assert {column.key for column in figures.cost_axes(found)} == {"parameters", "shared_parameters", "forward_flops"}
    assert {title for title, _ in volumes(found).sets} >= {"Δm and parameters"}
    assert not {title for title, _ in volumes(found).sets if "time" in title or "memory" in title}
    assert "seconds_per_step" not in {column.key for column in axes(found)}


def test_a_volume_needs_a_number_of_every_architecture():
    names = [("single-task", None), ("mtan", "dwa"), ("dense", "equal")]
    (board,) = boards([made.record(*name) for name in names])
    (some,) = read(board, [Variant("", "val-delta-m")], relative={("mtan", "dwa"): 2.0})
    (all_of,) = read(
        board, [Variant("", "val-delta-m")], relative={row.pair: 1.0 + i for i, row in enumerate(some.rows)}
    )
    assert "Δm and relative cost" not in {title for title, _ in volumes(some).sets}
    assert "Δm and relative cost" in {title for title, _ in volumes(all_of).sets}


@pytest.mark.parametrize(("most", "said"), [(1.3e7, True), (1.1e7, False)])
def test_an_axis_is_logarithmic_where_it_says_so(most, said):
    records = [made.record("single-task", None), made.record("mtan"), made.record("dense")]
    sizes = (10**6, 5 * 10**6, int(most))
    found = numbers_of([costing(r, parameters=size) for r, size in zip(records, sizes, strict=True)])
    (x,) = [column for column in axes(found) if column.key == "parameters"]
    svg = figures.pareto(found, x, DELTA, marks_of(found), there).svg
    assert ("parameters (M) ↓, logarithmic" in svg) == said


def test_better_is_up_and_right_but_costs_grow_to_the_right(numbers):
    miou, _, depth, *_ = task_columns(numbers.board.tasks, numbers.board.kinds)
    marks = marks_of(numbers)

    def places(x, y):
        svg = figures.pareto(numbers, x, y, marks, there).svg
        spots = re.findall(r"<title>(.*?)\n.*?translate\(([\d.]+) ([\d.]+)\)", svg, re.DOTALL)
        return {name: (float(a), float(b)) for name, a, b in spots}

    (parameters,) = [column for column in axes(numbers) if column.key == "parameters"]
    values = {row.name: (row.estimate(miou.key).mean, row.estimate(depth.key).mean) for row in numbers.rows}
    found = places(depth, miou)
    assert len(found) == len(numbers.rows)
    by_right = sorted(found, key=lambda name: -found[name][0])
    assert [values[n][1] for n in by_right] == sorted((values[n][1] for n in by_right), reverse=False)
    by_top = sorted(found, key=lambda name: found[name][1])
    assert [values[n][0] for n in by_top] == sorted((values[n][0] for n in by_top), reverse=True)
    costs = {row.name: row.estimate("parameters").mean for row in numbers.rows}
    found = places(parameters, miou)
    by_right = sorted(found, key=lambda name: -found[name][0])
    assert [costs[n] for n in by_right] == sorted((costs[n] for n in by_right), reverse=True)


def test_the_front_has_names_and_intervals_and_other_rows_theirs_while_pointed_at(numbers):
    miou, _, depth, *_ = task_columns(numbers.board.tasks, numbers.board.kinds)
    found = figures.pareto(numbers, miou, depth, marks_of(numbers), there)
    front = found.notes[0].removeprefix("Not dominated: ").removesuffix(".").split(", ")
    named = re.findall(r'class="nm tm"[^>]*>(.*?)</text>', found.svg)
    assert named
    assert set(named) <= set(front)
    for mark in re.findall(r"<a .*?</a>", found.svg, re.DOTALL):
        name = re.search(r"<title>(.*?)\n", mark).group(1)
        assert ('class="er late' in mark) == (name not in front)


def test_what_a_mark_says_is_what_the_table_says(numbers):
    data = json.loads(payload(numbers, marks_of(numbers), there))
    shown = table(numbers, {})
    places = {axis["id"]: i for i, axis in enumerate(data["axes"])}
    said = {row["n"]: row["v"] for row in data["rows"]}
    for line in shown.lines:
        for column, cell in zip(shown.columns, line.cells, strict=True):
            mean, half, text = said[line.row.name.replace("\u00a0", " ")][places[column.id]]
            assert text.partition(" ± ")[0] == cell.text
            assert mean == pytest.approx(float(cell.sort), rel=1e-5, abs=1e-9)
            assert half >= 0


def test_weights_that_never_move_are_a_table_and_axes_of_the_others_begin_at_zero():
    def weighted(name, levels, **options):
        found = made.record("mtan", name, weighting_options=options)
        weights = [dict(zip(("semantic", "depth", "normals"), at, strict=True)) for at in levels(len(found.curves))]
        curves = [e.model_copy(update={"weights": w}) for e, w in zip(found.curves, weights, strict=True)]
        return found.model_copy(update={"curves": tuple(curves)})

    records = [
        made.record("single-task", None),
        weighted("equal", lambda n: [(1.0, 1.0, 1.0)] * n),
        weighted("constant", lambda n: [(0.5, 0.5, 2.0)] * n, weights=[0.1667, 0.1667, 0.6667]),
        weighted("dwa", lambda n: [(0.1 + i * 1e-3, 0.1, 0.1) for i in range(n)]),
    ]
    numbers = numbers_of(records)
    found = figures.trajectories(numbers, marks_of(numbers))
    assert [(row.kind[1], levels) for row, levels in found.still] == [("constant", ("0.5000", "0.5000", "2.0000"))]
    (panel,) = found.panels
    assert panel.title == "mtan\u00a0·\u00a0dwa"
    assert re.search(r'class="te">0\.0+</text>', panel.svg)


@pytest.fixture(scope="module")
def forty():
    """A board of forty tasks, with gradients."""
    tasks = tuple(TaskInfo(name=f"task-{i}", kind="classification", channels=10) for i in range(40))
    names = [("single-task", None), ("mtan", "uncertainty"), ("mtan", "dwa")]
    records = [made.record(*name, tasks=tasks, seed=seed) for name in names for seed in (0, 1)]
    return numbers_of([made.conflicting(r) if r.spec.weighting else r for r in records])


def test_weights_of_forty_tasks_are_told_by_what_they_span(forty, numbers):
    found = figures.trajectories(forty, marks_of(forty))
    assert found.keys == ("median of 40", "least", "greatest")
    assert figures.trajectories(numbers, marks_of(numbers)).keys == ("semantic", "depth", "normals")
    for panel in found.panels:
        named = re.findall(r"<g><title>(.*?)</title>", panel.svg)
        assert named == [f"task-{i}" for i in range(40)]
        assert len(re.findall(r'<path class="ln c\w+"', panel.svg)) == 3
        assert "bd " not in panel.svg
    row = next(row for row in forty.rows if row.kind[1] == "uncertainty")
    (panel,) = rowcurves.weights(row, forty.board.tasks, "c1")
    assert panel.keys == found.keys
    # The task with the greatest weight stays in the frame: none of its three lines is cut into parts or left out.
    assert len(re.findall(r'<path class="ln c\w+"[^>]*d="M[^M]*"/>', panel.svg)) == 3
    _, cosines, norms = rowcurves.gradients(row, forty.board.tasks, "c1")
    assert cosines.keys[0] == "median of 780"
    assert "<title>" not in cosines.svg
    assert norms.keys == found.keys


def test_gradients_of_forty_tasks_are_ticks_without_signs(forty):
    overview = conflict.overview(forty, marks_of(forty), there)
    assert overview.notes == (
        "a tick for the cosine of each of 780 pairs of tasks",
        "a tick for the share of each of 40 tasks",
    )
    assert 'class="lt' not in overview.svg


def test_no_volume_is_measured_in_forty_dimensions(forty, numbers):
    assert {title for title, _ in volumes(forty).sets} >= {"Δm and parameters"}
    assert "first metric of every task" not in {title for title, _ in volumes(forty).sets}
    assert "first metric of every task" in {title for title, _ in volumes(numbers).sets}


def test_points_of_a_sweep_share_a_panel(numbers):
    panels = figures.curves(numbers, numbers.board.tasks[0], marks_of(numbers))
    titles = [panel.title for panel in panels]
    assert titles.count("constant, 3 fixed weights") == 1
    assert not [title for title in titles if "(weights" in title]
    (sweep,) = [panel for panel in panels if panel.title.startswith("constant")]
    assert len(re.findall(r'<path class="ln c', sweep.svg)) == 3


@pytest.mark.parametrize("steps", [1, 10])
def test_rows_are_ranked_by_conflict_where_enough_steps_were_sampled(steps):
    def run(weighting, share):
        found = made.conflicting(made.record("mtan", weighting))
        curves = [
            e.model_copy(update={"gradients": e.gradients.model_copy(update={"steps": steps, "conflicts": share})})
            for e in found.curves
        ]
        return found.model_copy(update={"curves": tuple(curves)})

    records = [made.record("single-task", None), run("equal", 0.1), run("dwa", 0.9), run("uncertainty", 0.5)]
    numbers = numbers_of(records)
    svg = conflict.overview(numbers, marks_of(numbers), there).svg
    shown = re.findall(r'class="rn">mtan\u00a0·\u00a0(.*?)</text>', svg)
    least, most = conflict.sampled(numbers)
    assert least == most == steps * len(records[1].curves)
    if least >= conflict.ENOUGH:
        assert shown == ["dwa", "uncertainty", "equal"]
    else:
        assert shown == [row.weighting for row in numbers.rows if not row.reference]


def test_a_gallery_says_where_the_boards_numbers_are_of_another_epoch():
    found = made.record("mtan", epochs=4)
    row = next(row for row in numbers_of([made.record("single-task", None, epochs=4), found]).rows if not row.reference)
    assert PicturedMethod(row, found, True).epoch == 4

    def elsewhere(*epochs):
        chosen = {0: dict(zip(("semantic", "depth", "normals"), epochs, strict=True))}
        return PicturedMethod(SimpleNamespace(epochs=chosen), found, True).elsewhere

    assert elsewhere(4, 4, 4) == ""
    assert elsewhere(2, 2, 2) == "epoch 2"
    assert elsewhere(2, 4, 3) == "epochs 2 to 4"


def test_papers_stand_beside_boards_of_the_same_kinds_of_task(numbers):
    others = numbers_of(made.fashion())
    found = {entry.table.key: entry.here for entry in tables([others, numbers], marks_of(numbers))}
    assert found["mtan2019-nyuv2"].boards == (1,)
    assert found["mtan2019-cityscapes"] is None
    assert found["mtan2019-decathlon"] is None or found["mtan2019-decathlon"].boards == (0,)


def test_a_method_has_one_colour_on_white_and_on_dark():
    def light(colour):
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    assert palette_css().count("--c:#") == len(COLOURS) == len(set(COLOURS))
    for colour in COLOURS:
        assert 1.05 / (light(colour) + 0.05) >= 3
        assert (light(colour) + 0.05) / (light("#14171c") + 0.05) >= 3
