"""Axes of a grid."""

import pytest

from benchmark.arithmetic import ComputeOptions
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel
from benchmark.registry import ARCHITECTURES
from benchmark.runs.axes import values_of, words_of
from benchmark.runs.expansion import expand, expand_settings
from benchmark.runs.filters import AS_IN_THE_GRID, Filters
from benchmark.runs.grid import load_grid
from tests.benchmark.gridfiles import AXES, MINIMAL, grid


def test_an_axis_runs_every_cell_and_the_references_once_at_each_value(tmp_path):
    specs = expand(grid(tmp_path, MINIMAL + AXES))
    at = {(s.protocol.weight_decay, s.architecture.options["width"]) for s in specs}
    assert at == {(0.0, 8), (0.0, 16), (0.1, 8), (0.1, 16)}
    assert {len([s for s in specs if s.architecture.name == name]) for name in ("single-task", "stan")} == {4}
    # The runs of one setting are those of a grid that says the same without axes.
    plain = expand(grid(tmp_path))
    assert [s.id for s in specs if (s.protocol.weight_decay, s.architecture.options["width"]) == (0.0, 8)] == [
        s.id for s in plain
    ]


def test_values_of_an_axis_win_over_those_of_a_data_set_and_change_together_where_they_are_named(tmp_path):
    text = (
        MINIMAL
        + """
    [axes.length]
    study = {}
    long = { "protocol.epochs" = 7, "protocol.optimizer" = "sgd" }
    """
    )
    found = grid(tmp_path, text)
    specs = expand(found, Filters(datasets=["multi-fashion"], architectures=["mtan"], weightings=["equal"]))
    assert {(s.protocol.epochs, s.protocol.optimizer) for s in specs} == {(5, "adam"), (7, "sgd")}
    assert [dict(setting) for setting in found.settings] == [{"length": "study"}, {"length": "long"}]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ('"protocol.optimiser" = ["adam"]', "unknown field of the protocol 'optimiser'. Did you mean 'optimizer'"),
        ('"architecture.widht" = [8, 16]', "unknown architecture option 'widht'"),
        ('"seeds" = [0, 1]', "the axis 'seeds' changes 'seeds', expected a field of the protocol"),
        ('"protocol.weight_decay" = []', "the axis 'protocol.weight_decay' has no value"),
        ('"protocol.optimizer" = ["adam", "lion"]', "the protocol for 'scenes' is not valid"),
        (
            'rate = { a = {}, b = { "protocol.momentum" = 0.9 } }',
            "the same runs twice on 'scenes', at rate a and at rate b",
        ),
        ('"architecture.width" = [8, 16, 8]', "the axis 'architecture.width' has the value 8 twice: leave one of them"),
        ('"protocol.learning_rate" = [0.01, 1e-2]', "'protocol.learning_rate' has the value 0.01 twice"),
        (
            '"protocol.weight_decay" = [1, 1.0]',
            "twice on 'scenes', at protocol.weight_decay 1 and at .*weight_decay 1.0",
        ),
        ('"architecture.width" = [8, 8.0]', "twice on 'scenes', at architecture.width 8 and at architecture.width 8.0"),
        (
            '"protocol.epochs" = [1, 2]\nlength = { short = {}, long = { "protocol.epochs" = 3 } }',
            "the axes 'protocol.epochs' and 'length' both change 'protocol.epochs'",
        ),
        (
            '"architecture.variant" = ["deep", "wide"]',
            "at architecture.variant deep two entries of the architecture 'split' are the same",
        ),
    ],
)
def test_an_axis_that_cannot_be_is_told(tmp_path, axes, message):
    text = MINIMAL.replace('"stan"', '"stan", { name = "split", options = { variant = "wide" } }')
    with pytest.raises(UsageError, match=message) as caught:
        expand(grid(tmp_path, f"{text}[axes]\n{axes}\n"))
    assert "\n" not in str(caught.value)


KEY = "a key with a dot stands in quotes"

LIST = "expected a list of values"


@pytest.mark.parametrize(
    ("axes", "parts"),
    [
        (
            'protocol.optimizer = ["adam", "sgd"]',
            (KEY, '"protocol.optimizer" = [', '--set \'axes={"protocol.optimizer"=['),
        ),
        ("architecture.width = 8", (KEY, '"architecture.width" = [')),
        (
            "length = { short = { protocol.epochs = 1 }, long = { protocol.epochs = 2 } }",
            ("the value 'short' of the axis 'length'", KEY, '"protocol.epochs" = '),
        ),
        ('"protocol.optimizer" = "adam"', ("the axis 'protocol.optimizer'", LIST, "found 'adam'")),
        ("length = 3", ("the axis 'length'", LIST, "found 3")),
        ('length = { short = "adam" }', ("the value 'short' of the axis 'length'", "expected a table", "found 'adam'")),
    ],
)
def test_an_axis_that_is_written_wrongly_is_told_in_plain_words(tmp_path, axes, parts):
    with pytest.raises(UsageError) as caught:
        grid(tmp_path, f"{MINIMAL}[axes]\n{axes}\n")
    for part in parts:
        assert part in str(caught.value)
    assert "valid dictionary" not in str(caught.value)


def test_axes_that_are_no_table_are_told(tmp_path):
    with pytest.raises(UsageError, match=r"'axes' must be a table, such as .*; found \[1, 2\]"):
        grid(tmp_path, f"axes = [1, 2]\n{MINIMAL}")


def test_an_axis_that_changes_nothing_on_one_data_set_is_told(tmp_path):
    found = grid(tmp_path, f'{MINIMAL}[axes]\nlength = {{ short = {{}}, long = {{ "protocol.epochs" = 5 }} }}\n')
    assert {spec.protocol.epochs for spec in expand(found)} == {1, 5}
    with pytest.raises(UsageError, match="twice on 'multi-fashion', at length short and at length long"):
        expand(found, Filters(datasets=["scenes", "multi-fashion"]))


def test_values_that_short_words_would_not_tell_apart_have_long_ones():
    assert list(values_of("architecture.rates", ([0.12341], [0.12342]))) == ["[0.12341]", "[0.12342]"]
    assert list(values_of("architecture.rates", ([0.5], [1, 2]))) == ["0.5", "1 2"]


OPTIMIZER = 'optimizer = { usual = {}, sgd = { "protocol.optimizer" = "sgd", "protocol.learning_rate" = 0.1 } }'


@pytest.mark.parametrize(
    ("key", "value", "axis"),
    [
        ("protocol.weight_decay", 0.5, "protocol.weight_decay"),
        ("datasets.scenes.protocol.weight_decay", 0.5, "protocol.weight_decay"),
        ("datasets.scenes", {"protocol": {"weight_decay": 0.5}}, "protocol.weight_decay"),
        ("architecture", {"width": 4}, "architecture.width"),
        ("protocol.learning_rate", 0.5, "optimizer"),  # it would count at one of two values
    ],
)
def test_nothing_is_set_that_an_axis_varies(tmp_path, key, value, axis):
    text = f"{MINIMAL}{AXES}{OPTIMIZER}\n"
    grid(tmp_path, text)
    with pytest.raises(UsageError, match=rf"'{key}.*cannot be set for all runs, for the grid's axis '{axis}' varies"):
        load_grid(tmp_path / "grid.toml", {key: value})
    found = load_grid(tmp_path / "grid.toml", {"protocol.epochs": 3, "datasets.scenes.architecture.backbone": "wrn"})
    assert {spec.protocol.epochs for spec in expand(found)} == {3}
    found = load_grid(tmp_path / "grid.toml", {"axes": {"protocol.epochs": [1, 2]}, key: value})
    assert {spec.protocol.epochs for spec in expand(found)} == {1, 2}


def test_no_list_of_architectures_sets_what_an_axis_varies(tmp_path):
    grid(tmp_path, MINIMAL + AXES)
    entries = ["mtan", {"name": "split", "options": {"variant": "deep", "width": 32}}]
    message = r"'architecture\.width' cannot be set for all runs, for the grid's axis 'architecture\.width' varies"
    with pytest.raises(UsageError, match=message):
        load_grid(tmp_path / "grid.toml", {"architectures": entries})
    del entries[1]["options"]["width"]
    found = expand(load_grid(tmp_path / "grid.toml", {"architectures": entries}))
    assert {s.architecture.options["variant"] for s in found if s.architecture.name == "split"} == {"deep"}


def test_the_command_line_says_nothing_for_all_that_an_axis_varies(tmp_path):
    found = grid(tmp_path, MINIMAL + AXES)
    with pytest.raises(UsageError, match=r"'architecture\.width' cannot be set for all runs, for the grid's axis"):
        expand(found, Filters(architectures=["mtan:width=32"]))
    assert expand(found, Filters(architectures=["mtan:backbone=segnet"]))


def test_an_axis_may_vary_the_arithmetic_where_the_command_line_leaves_it_open(tmp_path):
    found = grid(tmp_path, f'{MINIMAL}[axes]\n"protocol.arithmetic" = ["portable", "native"]\n')
    specs = expand(found, AS_IN_THE_GRID)
    assert {spec.protocol.arithmetic for spec in specs} == {"portable", "native"}
    assert len(specs) == 2 * len(expand(grid(tmp_path), AS_IN_THE_GRID))
    found = grid(tmp_path, f'{MINIMAL}[axes]\n"protocol.arithmetic" = ["portable", "native"]\n')
    for filters in (Filters(), Filters(compute=ComputeOptions("portable", "auto"))):
        with pytest.raises(
            UsageError, match=r"axis 'protocol\.arithmetic' varies the arithmetic, and '.*' is asked for"
        ):
            expand(found, filters)
    found = grid(tmp_path, f'{MINIMAL}[axes]\n"protocol.precision" = ["fp32", "bf16"]\n')
    with pytest.raises(UsageError, match=r"varies the precision, and 'bf16' is asked for all runs: leave --precision"):
        expand(found, Filters(compute=ComputeOptions("auto", "bf16")))


def test_values_of_an_axis_win_over_an_architectures_own_entry(tmp_path):
    text = MINIMAL.replace('"mtan"', '{ name = "mtan", options = { width = 32 } }')
    axes = '[axes]\nsize = { own = {}, small = { "architecture.width" = 16 } }\n'
    found = [s for s in expand(grid(tmp_path, text + axes)) if s.architecture.name == "mtan"]
    assert [s.architecture.options["width"] for s in found] == [32, 32, 16, 16]
    # An option that the entry leaves open and one that it alone says.
    axes = '[axes]\n"architecture.width" = [8, 16]\n'
    found = [s.architecture for s in expand(grid(tmp_path, MINIMAL + axes)) if s.architecture.name == "split"]
    assert {(a.options["width"], a.options["variant"]) for a in found} == {(8, "deep"), (16, "deep")}


@pytest.fixture
def narrow(own_methods):
    """An architecture without the options of backbones but their width."""

    @ARCHITECTURES.register("narrow")
    class Narrow(MultiTaskModel):
        def __init__(self, tasks, *, width: int = 8) -> None:
            super().__init__(tasks)

        def forward(self, images, tasks=None):
            return {}

        def task_parameters(self, task):
            return []

    return "narrow"


def test_an_architecture_that_lacks_what_an_axis_varies_of_the_references_is_told(tmp_path, narrow):
    text = MINIMAL.replace('"mtan"', '"narrow"')
    axes = '[axes]\n"architecture.width" = [8, 16]\n"architecture.dropout" = [0.0, 0.1]\n'
    with pytest.raises(
        UsageError,
        match=r"the architecture 'narrow' has no option 'dropout', which the axis 'architecture\.dropout' varies: its "
        r"runs would be the same at architecture\.width 8, architecture\.dropout 0\.0 and at architecture\.width 8, "
        r"architecture\.dropout 0\.1,",
    ):
        expand(grid(tmp_path, text + axes))
    assert expand(grid(tmp_path, text + '[axes]\n"architecture.width" = [8, 16]\n'))
    # Where the references have no such option either, there is one board, on which each row stands once.
    text = text.replace(', { name = "split", options = { variant = "deep" } }', ', "split"')
    specs = expand(grid(tmp_path, text + '[axes]\n"architecture.variant" = ["deep", "wide"]\n'))
    assert [s.architecture.name for s in specs] == ["single-task", "narrow", "narrow", "stan", *["split"] * 4]


def test_runs_are_told_by_setting_and_grids_put_together_by_grid(tmp_path):
    found = expand_settings(grid(tmp_path, MINIMAL + AXES))
    assert [words_of(setting) for setting in found][1] == "protocol.weight_decay 0.0, architecture.width 16"
    assert [{s.protocol.weight_decay for s in specs} for specs in found.values()] == [{0.0}, {0.0}, {0.1}, {0.1}]
    assert list(expand_settings(grid(tmp_path))) == [()]
    both = expand_settings(load_grid("study"))
    assert [words_of(setting) for setting in both] == ["grid study-architectures", "grid study-weightings"]
