"""Static figures: what is drawn is what the frames say, names do not cover one another, bytes repeat."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from benchmark import analysis
from benchmark.analysis import REFERENCE, Baseline
from benchmark.cli import main
from benchmark.errors import UsageError
from benchmark.figures import FORMATS, Palette, baseline_on, curves, drawings, forest, heat, pareto, save
from benchmark.figures.style import text_width
from benchmark.figures.words import row_names, seeds, signed
from tests.benchmark.records import fill, grid, record
from tests.forked import Forked, anew

pytestmark = pytest.mark.slow

ROW = ["architecture", "weighting"]
SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def board():
    (found,) = analysis.boards(grid(SEEDS))
    return found


@pytest.fixture(scope="module")
def drawn(board):
    return {d.name: d.figure for d in drawings(board, [REFERENCE, Baseline(weighting="equal")])}


@pytest.fixture(scope="module")
def drawn_again(board):
    return {d.name: d.figure for d in drawings(board, [REFERENCE, Baseline(weighting="equal")])}


@pytest.fixture(scope="module")
def numbers(board):
    chosen = analysis.select(analysis.frame(board.records, board.labels), against="mean")
    return chosen[chosen["split"] == "test"]


def told(rows):
    """Verdicts by hand: (architecture, weighting, difference, low, high, verdict)."""
    names = [*ROW, "difference", "low", "high", "verdict"]
    found = pd.DataFrame(rows, columns=names)
    return found.assign(margin=2.0, n=5, n_baseline=7, paired=False)


EVERY = [
    ("split", "dwa", 0.3, -1.0, 1.5, "equivalent"),
    ("mtan", "dwa", 4.0, 2.0, 6.0, "better"),
    ("dense", "dwa", -5.0, -8.0, -2.0, "worse"),
    ("stan", "none", 1.0, -3.0, 5.0, "undecided"),
]


def lines(axes, name):
    return [np.column_stack(line.get_data()) for line in axes.lines if line.get_gid() == name]


def boxes(texts, figure):
    figure.draw_without_rendering()
    return [text.get_window_extent() for text in texts if text.get_text()]


def test_a_forest_shows_the_differences_and_intervals_greatest_first():
    axes = forest(told(EVERY)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "mtan · dwa",
        "stan",
        "split · dwa",
        "dense · dwa",
    ]
    assert [point.tolist() for point in lines(axes, "mean")] == [[[4, 0]], [[1, 1]], [[0.3, 2]], [[-5, 3]]]
    spans = [line[:, 0].tolist() for line in lines(axes, "interval")]
    assert spans == [[2, 6], [-3, 5], [-1, 1.5], [-8, -2]]


def test_a_verdict_has_a_marker_and_a_colour_of_its_own():
    figure = forest(told(EVERY))
    marks = [line for line in figure.axes[0].lines if line.get_gid() == "mean"]
    assert len({(line.get_marker(), line.get_markeredgecolor()) for line in marks}) == 4
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["better 1", "equivalent 1", "worse 1", "undecided 1"]


def test_the_margin_is_a_band():
    (band,) = forest(told(EVERY).assign(margin=1.5)).axes[0].patches
    assert (band.get_x(), band.get_x() + band.get_width()) == (-1.5, 1.5)


def test_what_lies_far_outside_ends_in_an_arrow_with_its_number():
    rows = [("split", f"w{i}", 0.1 * i, -1.0, 1.0 + i / 10, "undecided") for i in range(12)]
    axes = forest(told([*rows, ("split", "lost", -1385.0, -6000.0, 4948.0, "undecided")])).axes[0]
    assert axes.get_xlim()[0] > -50
    assert "−1385" in [text.get_text() for text in axes.texts]
    assert len(lines(axes, "mean")) == 12


def test_rows_without_an_interval_have_none_and_the_note_says_why():
    figure = forest(told([("stan", "none", 1.0, -np.inf, np.inf, "undecided"), EVERY[1]]))
    assert len(lines(figure.axes[0], "interval")) == 1
    assert "fewer than three seeds" in " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_a_boards_forest_has_the_verdicts_numbers(drawn, numbers):
    found = analysis.verdicts(numbers)
    found = found[found["metric"] == "delta_m"]
    axes = drawn["forest-single-task"].axes[0]
    assert sorted(found["difference"]) == pytest.approx(sorted(p[0, 0] for p in lines(axes, "mean")))
    assert sorted(found["low"]) == pytest.approx(sorted(p[0, 0] for p in lines(axes, "interval")))
    (ticks,) = lines(axes, "seeds")
    assert len(ticks) == len(found) * len(SEEDS)
    for place, mean in ((p[0, 1], p[0, 0]) for p in lines(axes, "mean")):
        assert ticks[ticks[:, 1] == place, 0].mean() == pytest.approx(mean)


def test_names_of_57_rows_do_not_cover_one_another():
    rows = [
        (f"cross-stitch-{i % 3}", f"uncertainty-{i} (weights 0.1667 0.6667 0.1667)", i / 10, i / 10 - 9, i / 10 + 9)
        for i in range(57)
    ]
    figure = forest(told([(*row, "undecided") for row in rows]), width=3.3)
    axes = figure.axes[0]
    found = boxes(axes.get_yticklabels(), figure)
    assert len(found) == 57
    assert not any(one.overlaps(other) for one, other in combinations(found, 2))
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in found)
    assert axes.get_position().width > 0.3
    assert figure.get_figheight() < 9.5  # a page


def test_nothing_of_a_boards_figures_is_cut_off(drawn):
    for name, figure in drawn.items():
        figure.draw_without_rendering()
        drawn_on, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert drawn_on.x0 >= -0.005, name
        assert drawn_on.y0 >= -0.005, name
        assert drawn_on.x1 <= width + 0.005, name
        assert drawn_on.y1 <= height + 0.005, name


def test_names_of_rows_are_short_where_that_tells_them_apart():
    rows = [("split", "constant (weights 0.1667 0.3333 0.5)"), ("split", "dwa"), ("stan", "none")]
    assert row_names(rows) == ["split · constant (0.17 0.33 0.5)", "split · dwa", "stan"]
    close = [("split", "constant (weights 0.1667 0.5)"), ("split", "constant (weights 0.1668 0.5)")]
    assert row_names(close) == [" · ".join(row) for row in close]


@pytest.mark.parametrize(
    "text", ["+3.1 ▲", "split · constant (0.17 0.33 0.5)", "Δm in % (95 % intervals) of “α ≤ 2”", "fj/Q&@"]
)
def test_a_line_is_as_wide_as_its_outlines(text):
    outline = TextPath((0, 0), text, size=7, prop=FontProperties(family="DejaVu Sans"))
    assert text_width(text, 7) == outline.get_extents().width / 72


def test_counts_and_differences_in_words():
    assert [seeds([3, 3]), seeds([1]), seeds([2, 5, 3])] == ["3 seeds", "1 seed", "2–5 seeds"]
    assert [signed(v) for v in (3.14, -0.04, -9.96, 120.4)] == ["+3.1", "0.0", "−10", "+120"]


POINTS = pd.DataFrame(
    [
        ("split", "equal", 1.0, -2.0, -3.0, -1.0),
        ("mtan", "equal", 2.0, 3.0, 1.0, 5.0),
        ("dense", "equal", 3.0, 1.0, 0.0, 2.0),
        ("dense", "dwa", 40.0, 4.0, np.nan, np.nan),
        ("stan", "none", np.nan, 9.0, np.nan, np.nan),
    ],
    columns=[*ROW, "cost", "mean", "low", "high"],
).assign(n=4)


def test_a_front_is_of_the_rows_that_none_beats_in_both():
    axes = pareto(POINTS, cost="Parameters, M").axes[0]
    assert [point.tolist() for point in lines(axes, "front point")] == [[[1, -2]], [[2, 3]], [[40, 4]]]
    assert [point.tolist() for point in lines(axes, "point")] == [[[3, 1]]]
    assert lines(axes, "front")[0].tolist() == [[1, -2], [2, 3], [40, 4]]
    assert [line[:, 1].tolist() for line in lines(axes, "interval")] == [[-3, -1], [1, 5]]
    assert {text.get_text() for text in axes.texts} == {"split · equal", "mtan · equal", "dense · dwa"}


def test_an_axis_is_logarithmic_only_where_it_says_so():
    wide, narrow = pareto(POINTS, cost="Parameters, M"), pareto(POINTS.iloc[:3], cost="Parameters, M")
    assert (wide.axes[0].get_xscale(), narrow.axes[0].get_xscale()) == ("log", "linear")
    assert "logarithmic" in wide.axes[0].get_xlabel()
    assert "logarithmic" not in narrow.axes[0].get_xlabel()


def test_names_on_the_front_do_not_cover_one_another(drawn):
    crowd = pd.DataFrame(
        [("split", f"weighting-{i}", 1 + i / 30, i / 8, np.nan, np.nan) for i in range(7)],
        columns=[*ROW, "cost", "mean", "low", "high"],
    ).assign(n=1)
    for figure in (pareto(crowd, cost="Parameters, M"), drawn["pareto-parameters"], drawn["pareto-flops"]):
        found = boxes(figure.axes[0].texts, figure)
        assert found
        assert not any(one.overlaps(other) for one, other in combinations(found, 2))


def test_a_boards_front_has_its_means_and_parameters(drawn, board, numbers):
    gains = analysis.gains(numbers)[analysis.DELTA].groupby(level=ROW).mean()
    axes = drawn["pareto-parameters"].axes[0]
    found = [point[0] for name in ("point", "front point") for point in lines(axes, name)]
    assert sorted(y for _, y in found) == pytest.approx(sorted(gains))
    millions = {record.cost.parameters / 1e6 for record in board.records}
    assert {x for x, _ in found} == millions


def test_curves_are_means_with_bands_to_the_outermost_seeds(board):
    data = analysis.frame(board.records, board.labels)
    data = data[(data["split"] == "val") & (data["metric"] == "miou") & (data["task"] == "semantic")]
    row = ("mtan", "dwa")
    (axes,) = curves(data, [row], titles={"semantic": "mIoU"}).axes
    own = data[(data["architecture"] == row[0]) & (data["weighting"] == row[1])].groupby("epoch")["value"]
    (line,) = lines(axes, "row")
    assert line[:, 1] == pytest.approx(own.mean().to_numpy())
    edge = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (edge.min(), edge.max()) == pytest.approx((own.min().min(), own.max().max()))
    assert len(lines(axes, "other")) == 16


def test_a_board_has_a_panel_per_task_and_a_colour_per_architecture(drawn):
    figure = drawn["curves"]
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == ["semantic", "depth", "normals"]
    names = [text.get_text().split(" · ")[0] for text in figure.legends[0].get_texts()]
    assert sorted(names) == ["cross-stitch", "dense", "mtan", "single-task", "split-deep", "split-wide", "stan"]


def test_a_heat_map_holds_weightings_of_several_architectures(drawn, numbers):
    gains = analysis.gains(numbers)[analysis.DELTA].groupby(level=ROW).mean()
    crossed = gains[gains.index.get_level_values("weighting") != "none"]
    words = [text.get_text() for text in drawn["heat"].axes[0].texts]
    assert sorted(word.rstrip(" ▲▼=") for word in words) == sorted(signed(value) for value in crossed)


def test_a_heat_map_tells_verdicts_and_what_it_leaves_out():
    points = pd.DataFrame(
        [
            ("split", "equal", -1.0, "worse"),
            ("mtan", "equal", 3.0, "better"),
            ("mtan", "dwa", 0.2, "equivalent"),
            ("split", "dwa", 5.0, "undecided"),
            ("split", "mgda", 0.0, "undecided"),
            ("stan", "none", 0.0, "undecided"),
        ],
        columns=[*ROW, "mean", "verdict"],
    ).assign(n=3)
    figure = heat(points)
    assert {text.get_text() for text in figure.axes[0].texts} == {"−1.0 ▼", "+3.0 ▲", "+0.2 =", "+5.0"}
    assert "1 weighting that stands" in figure.texts[0].get_text().replace("\n", " ")
    assert heat(points.iloc[:1]) is None


def test_what_cannot_be_drawn_has_a_reason():
    (alone,) = analysis.boards([record("stan", None)])
    found = {d.name: d for d in drawings(alone, [REFERENCE])}
    assert found["curves"].figure is not None
    assert {name for name, d in found.items() if d.figure is None and d.reason} == {
        "forest-single-task", "pareto-parameters", "pareto-flops", "heat",
    }  # fmt: skip


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_records_give_the_same_bytes(drawn, drawn_again, tmp_path, ending):
    # What was drawn is compared in every figure; how it is written in each format, in one of a kind.
    one_of_a_kind = {name.partition("-")[0]: name for name in drawn}.values()
    for name in drawn if ending == "svg" else one_of_a_kind:
        figure = drawn[name]
        save(figure, tmp_path / f"{name}.{ending}")
        save(drawn_again[name], tmp_path / f"{name}-again.{ending}")
        content = (tmp_path / f"{name}.{ending}").read_bytes()
        assert content == (tmp_path / f"{name}-again.{ending}").read_bytes()
        if ending == "pdf":
            assert b"/FontFile2" in content
            assert b"/Type3" not in content
            assert b"CreationDate" not in content


def test_places_of_axes_do_not_depend_on_the_last_bits_of_the_layout(drawn):
    for name, figure in drawn.items():
        for axes in figure.axes:
            place = np.array(axes.get_position(original=True).bounds)
            assert place == pytest.approx(place.round(4), abs=1e-15), name


def test_a_file_is_the_same_whatever_was_written_before_it(drawn, tmp_path):
    for name in ("forest-equal", "curves"):
        figure = drawn[name]
        save(figure, tmp_path / "first.png")
        save(figure, tmp_path / "other.pdf")
        save(figure, tmp_path / "second.png")
        assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes(), name


def test_a_users_settings_of_matplotlib_do_not_matter(tmp_path):
    import matplotlib

    save(forest(told(EVERY)), tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": "x"}):
        save(forest(told(EVERY)), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_colours_are_those_of_the_report(board):
    labels = [((r.spec.architecture.name, r.spec.weighting_name), board.labels[r.id]) for r in board.records]
    palette = Palette.from_labels(labels)
    assert palette.colour("mtan") == "#ad4f89"
    assert palette.marker("dwa") == "D"
    assert palette.colour("unheard-of") == palette.colour("single-task")


def test_a_baseline_with_several_options_on_a_board_is_refused():
    found = [record("split", "constant", weighting_options={"weights": [0.2, w]}) for w in (0.3, 0.8)]
    (several,) = analysis.boards([*found, record("single-task", None)])
    with pytest.raises(UsageError, match=r"'constant' stands on the board .* with several options: constant"):
        baseline_on(several, Baseline(weighting="constant"))
    assert baseline_on(several, Baseline(weighting="dwa")) is None
    assert baseline_on(several, Baseline(architecture="split")) == Baseline(architecture="split")


def figures(*words):
    return CliRunner().invoke(main, ["figures", *map(str, words)])


def test_the_command_writes_every_figure_of_a_board(tmp_path):
    few = [run for run in grid((0, 1)) if run.spec.architecture.name in ("single-task", "split-wide", "mtan")]
    fill(tmp_path / "results", few, pictures=False)
    words = ("--results", tmp_path / "results", "--out", tmp_path / "figures", "--format", "svg")
    result = figures(*words, "--baseline", "equal", "--baseline", "rlw")
    assert result.exit_code == 0, result.output + result.stderr
    names = sorted(path.name.partition("-")[2].partition("-")[2] for path in (tmp_path / "figures").iterdir())
    assert names == ["curves.svg", "forest-equal.svg", "heat.svg", "pareto-flops.svg", "pareto-parameters.svg"]
    assert "no forest against rlw, which no row of the board has" in result.output
    assert "5 files are in" in result.output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--board", "0123"], 2, "there is no board '0123' in"),
        (["--dataset", "nyuv2"], 2, "there is no board of the data set 'nyuv2'"),
        (["--baseline", "nonsense"], 2, "the baseline 'nonsense' is neither an architecture nor a weighting"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, words, code, message):
    fill(tmp_path / "results", grid()[:3], pictures=False)
    result = figures("--results", tmp_path / "results", "--out", tmp_path / "out", *words)
    assert result.exit_code == code
    (line,) = result.stderr.strip().splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    fill(tmp_path / "results", grid()[:3], pictures=False)
    (tmp_path / "out").write_text("a file")
    result = figures("--results", tmp_path / "results", "--out", tmp_path / "out" / "deeper")
    assert result.exit_code == 1
    assert "name another folder with --out" in result.stderr


def test_no_other_command_loads_the_drawing_libraries(tmp_path):
    code = (
        "import sys\n"
        "drawing = [name for name in sys.modules if name.partition('.')[0] in ('matplotlib', 'seaborn')]\n"
        "for name in drawing: del sys.modules[name]\n"
        "import click; from benchmark.cli import COMMANDS, main\n"
        "for name in COMMANDS: main.get_command(click.Context(main), name)\n"
        "print([m for m in ('matplotlib.figure', 'seaborn') if m in sys.modules])"
    )
    assert Forked(tmp_path, anew, code).printed().strip() == "[]"
