"""The command line's words: help, lists, and one clear line for every mistake."""

import json
import os
import re

import click
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.commands.execution import Duration
from tests.benchmark.shell import GRID, one_line


def test_a_grid_is_checked_shown_and_described(mtbench):
    checked = mtbench("grid", "check", "grid.toml", "--plugin", str(mtbench.plugin))
    assert checked.exit_code == 0, checked.output
    assert "toy: 3 runs of 3 rows, seeds 0" in checked.output
    (mtbench.folder / "grid.toml").write_text(GRID.replace("weightings", "weigthings"))
    one_line(mtbench("grid", "check", "grid.toml"), 2, "unknown key 'weigthings'. Did you mean 'weightings'?")
    shown = mtbench("grid", "show", "quick")
    (mtbench.folder / "mine.toml").write_text(shown.output)
    assert mtbench("grid", "check", "mine.toml").output == mtbench("grid", "check", "quick").output
    assert json.loads(mtbench("grid", "schema").output)["title"] == "Grid"


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        (
            '"dwa"',
            '{ name = "cr-mogm", options = { of = "mdga" } }',
            "to wrap ('of' of 'cr-mogm') 'mdga'. Did you mean",
        ),
        (
            '"dwa"',
            '{ name = "cr-mogm", options = { of = "cr-mogm" } }',
            "averages another method's weights, not its own",
        ),
        ('"dwa"', '{ name = "constant", options = { weights = [0.5, 0.5] } }', "weights"),
        ("batch_size = 4", "batch_size = 400", "the training split of 'toy' holds 12 samples"),
    ],
)
def test_a_grid_that_run_refuses_is_refused_by_its_check_in_the_same_words(mtbench, old, new, part):
    (mtbench.folder / "grid.toml").write_text(GRID.replace(old, new))
    checked = mtbench("grid", "check", "grid.toml", "--plugin", str(mtbench.plugin))
    one_line(checked, 2, part)
    assert checked.stdout == ""
    assert mtbench("run").stderr.strip().splitlines()[-1] == checked.stderr.strip()


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (["run", "--architecture", "mtam"], 2, ["unknown architecture 'mtam'", "Did you mean 'mtan'?", "cross-stitch"]),
        (["run", "--weighting", "dwaa"], 2, ["unknown weighting 'dwaa'", "Did you mean 'dwa'?"]),
        (["run", "--dataset", "toyy"], 2, ["unknown data set 'toyy'", "Did you mean 'toy'?"]),
        (["run", "--seeds", "a"], 2, ["expected seeds such as 0,1,2 or 0-4, found 'a'"]),
        (["run", "--seeds", "4-2"], 2, ["expected seeds"]),
        (["run", "--device", "cuda:77"], 2, ["there is no device 'cuda:77'", "--device cpu"]),
        (["run", "--precision", "fp8"], 2, ["fp8"]),
        (["run", "--source", "toy"], 2, ["--source needs DATASET=DIR or a folder that exists, found 'toy'"]),
        (["run", "--source", "toy="], 2, ["--source needs DATASET=DIR or a folder that exists, found 'toy='"]),
        (["run", "--source", "tyo=."], 2, ["unknown data set 'tyo'", "Did you mean 'toy'?"]),
        (["run", "--source", ".", "--dataset", "toy", "--dataset", "scenes"], 2, ["may be of any of toy, scenes"]),
        (["run", "--source", "toy=.", "--source", "toy=.."], 2, ["--source gives 'toy' two folders, . and .."]),
        (["run", "--source", "toy=/no/such"], 1, ["there is no folder /no/such"]),
        (["run", "--workers", "0"], 2, ["expected auto or a number from 1 on, found '0'"]),
        (["run", "--workers", "many"], 2, ["expected auto or a number from 1 on, found 'many'"]),
        (["run", "--colour"], 2, ["No such option"]),
        (["run", "--executor", "kubernetes"], 2, ["kubernetes"]),
        (["run", "--ray-address", "auto"], 2, ["--ray-address goes with --executor ray"]),
        (["run", "--executor", "slurm", "--slurm", "fast"], 2, ["--slurm needs KEY=VALUE", "'fast'"]),
        (["run", "--plugin", "missing.py"], 1, ["missing.py", "not a readable Python file"]),
        (["report"], 1, ["no results folder results", "mtbench run"]),
        (["report", "--results", "grid.toml"], 2, ["grid.toml"]),
        (["list", "people"], 2, ["people"]),
        (["fly"], 2, ["fly"]),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(mtbench, words, code, parts):
    one_line(mtbench(*words), code, *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seeds = [", ["is not valid TOML"]),
        (GRID + "[datasets.toy2]", ["unknown data set 'toy2'"]),
        (GRID.replace("epochs = 2", "epoch = 2"), ["the protocol for 'toy' is not valid"]),
        (GRID.replace("width", "widht"), ["unknown architecture option 'widht'", "Did you mean 'width'?"]),
        (GRID.replace('"tiny"', '"split"').replace("width = 4", 'width = "a"'), ["needs int as 'width'", "found 'a'"]),
        (GRID.replace('"dwa"', '{ name = "dwa", options = { temperature = "x" } }'), ["'temperature'", "'x'"]),
        (GRID.replace('["equal", "dwa"]', '["equal", 3]'), ["'weightings' must be", "list of names", "found '3'"]),
        (GRID.replace('["tiny"]', "7"), ["'architectures' must be", "list of names", "found '7'"]),
        (GRID.replace('["tiny"]', "[[1.5]]"), ["'architectures' must be", "found '[1.5]'"]),
        (GRID + "options = { sise = 4 }", ["unknown option of 'toy' 'sise'", "Did you mean 'size'?"]),
    ],
)
def test_mistakes_in_a_grid_file_end_in_one_line(mtbench, text, parts):
    (mtbench.folder / "grid.toml").write_text(text)
    one_line(mtbench("run"), 2, *parts)
    assert not mtbench.records


def test_an_unknown_grid_ends_in_one_line(mtbench):
    one_line(mtbench("run", grid="quik"), 2, "unknown grid 'quik'", "Did you mean 'quick'?")
    one_line(mtbench("run", grid="missing.toml"), 2, "missing.toml cannot be read")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_ends_in_one_line(mtbench):
    mtbench.folder.chmod(0o500)
    one_line(mtbench("run"), 1, "cannot write the results folder results", "--results")


def test_a_results_folder_below_a_file_ends_in_one_line(mtbench):
    one_line(mtbench("run", "--results", "grid.toml/results"), 1, "the results folder grid.toml/results", "--results")


def test_the_debug_flag_shows_the_traceback(mtbench):
    with pytest.raises(Exception, match="no results folder"):
        mtbench("--debug", "report")


def test_list_names_everything_and_its_options(mtbench):
    result = mtbench("list", "--plugin", str(mtbench.plugin))
    for word in ("mtan", "cross-stitch", "uncertainty", "scenes", "quick", "tiny", "width=64"):
        assert word in result.output
    assert "_empty" not in result.output  # an option without default stands alone


@pytest.mark.parametrize("command", [[], ["run"], ["status"], ["report"], ["list"]])
def test_every_command_explains_itself_with_an_example(command):
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert "mtbench" in result.output


@pytest.mark.parametrize("words", ["2", "h", "", "1m2h", "1.5h", "-1h"])
def test_a_budget_that_is_no_time_is_one_line(mtbench, words):
    result = mtbench("run", "--budget", words)
    assert result.exit_code == 2
    assert "expected a time such as 2h, 90m, 1h30m or 45s" in result.output + result.stderr


@pytest.mark.parametrize(("words", "seconds"), [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("0s", 0)])
def test_times_in_words(words, seconds):
    assert Duration().convert(words, None, None) == seconds


def test_scripts_get_the_data_sets_as_json(mtbench):
    found = json.loads(mtbench("data", "list", "--json", "--plugin", str(mtbench.plugin)).stdout)
    toy = next(entry for entry in found["datasets"] if entry["name"] == "toy" and not entry["options"])
    assert toy["samples"] == {"train": 12, "val": 5, "test": 5}
    assert toy["state"] in ("ready", "not prepared")
    assert (toy["bytes"] is not None) == (toy["state"] == "ready")


def every_command(command=main, path=("mtbench",)):
    """Every command, groups too, with its words."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from every_command(command.get_command(context, name), (*path, name))


def test_every_argument_and_option_is_explained():
    silent = []
    for path, command in every_command():
        help_text = command.get_help(click.Context(command, info_name=path[-1]))
        words = (command.help or "").replace("`", " ")
        if not isinstance(command, click.Group) and "Example:" not in help_text:
            silent.append(f"{' '.join(path)}: no example")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.help:
                silent.append(f"{' '.join(path)}: {parameter.opts[0]}")
            if isinstance(parameter, click.Argument):
                name = re.findall(r"\w+", parameter.metavar or parameter.name.upper())[0]
                if not re.search(rf"\b{name}\b", words.partition("Example:")[0]):
                    silent.append(f"{' '.join(path)}: {name}")
    assert silent == []
