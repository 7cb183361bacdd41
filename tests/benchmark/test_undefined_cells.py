"""Cells that cannot be: left out of a grid, named once with their reason."""

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.errors import UsageError
from benchmark.runs.expansion import expand, undefined
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid

TEXT = """
seeds = [0, 1]
architectures = ["mtan", "split", "stan", "single-task"]
weightings = ["equal", "mgda-ub", { name = "cagrad", options = { on = "representation" } }]
[architecture]
width = 4
[protocol]
epochs = 1
batch_size = 6
[datasets.toy]
[datasets.scenes]
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text(TEXT)
    return file


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def pairs(specs):
    return {(spec.architecture.name, spec.weighting_name) for spec in specs}


def test_a_weighting_on_the_representation_needs_one(toy, file):
    grid = load_grid(str(file))
    assert pairs(expand(grid)) == {
        ("single-task", "none"),
        ("stan", "none"),
        ("mtan", "equal"),
        ("split", "equal"),
        ("split", "mgda-ub"),
        ("split", "cagrad"),
    }
    left_out = undefined(grid)
    # Once, not for each of two data sets and two seeds.
    assert [(cell.architecture, cell.weighting) for cell in left_out] == [("mtan", "mgda-ub"), ("mtan", "cagrad")]
    assert str(left_out[0]) == (
        "mtan × mgda-ub is undefined: the weighting takes gradients at one feature that feeds all heads, which this "
        "architecture does not have"
    )


def test_the_same_weighting_on_the_parameters_is_defined(toy, file):
    file.write_text(TEXT.replace('on = "representation"', 'on = "parameters"'))
    grid = load_grid(str(file))
    assert ("mtan", "cagrad") in pairs(expand(grid))
    assert [(cell.architecture, cell.weighting) for cell in undefined(grid)] == [("mtan", "mgda-ub")]


def test_a_selection_without_any_defined_cell_says_why(toy, file):
    grid = load_grid(str(file))
    with pytest.raises(UsageError, match="nothing but references would be run: mtan × mgda-ub is undefined") as caught:
        expand(grid, Filters(architectures=["mtan"], weightings=["mgda-ub"]))
    assert "\n" not in str(caught.value)
    # References alone may be asked for.
    assert pairs(expand(grid, Filters(architectures=["single-task"], weightings=["mgda-ub"]))) == {
        ("single-task", "none")
    }


@pytest.mark.slow
@pytest.mark.parametrize("words", [("run", "--dry-run"), ("status",)])
def test_commands_name_each_left_out_cell_once(toy, file, tmp_path, words):
    base = (*words, "--grid", file, "--plugin", toy, "--results", tmp_path / "results", "--dataset", "toy")
    result = call(*base, "--architecture", "mtan", "--architecture", "split", "--weighting", "mgda-ub")
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if line.startswith("Left out: ")]
    assert len(lines) == 1
    assert lines[0].startswith("Left out: mtan × mgda-ub is undefined: the weighting takes gradients at one feature")
    refused = call(*base, "--architecture", "mtan", "--weighting", "mgda-ub")
    assert refused.exit_code == 2
    assert refused.output.startswith("Error: nothing but references would be run: mtan × mgda-ub is undefined")
    assert refused.output.count("\n") == 1


def test_the_full_grid_leaves_out_what_cannot_be_and_nothing_else(toy):
    full = load_grid("full")
    patterns = {"split", "split-wide", "split-deep", "mtan", "dense", "cross-stitch"}
    without = {"mtan", "dense", "cross-stitch"}
    left_out = {(cell.architecture, cell.weighting) for cell in undefined(full) if cell.architecture in patterns}
    assert left_out == {(name, "mgda-ub") for name in without}
    kept = {pair for pair in pairs(expand(full)) if pair[0] in patterns}
    weightings = {weighting for _, weighting in kept}
    assert {"mgda", "mgda-ub", "graddrop", "imtl", "moco", "sdmgrad", "modo", "excessmtl", "db-mtl"} <= weightings
    assert kept == {(name, weighting) for name in patterns for weighting in weightings} - left_out
