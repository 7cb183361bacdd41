"""Commands that tell: status and dry runs."""

import json
import os
import shlex

import pytest

from benchmark.arithmetic import ComputeOptions
from benchmark.errors import UserError
from benchmark.execution.leases import Leases
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from benchmark.runs.store import Store
from benchmark.speed.estimate import CostEstimate
from tests.benchmark import records as made
from tests.benchmark.shell import one_line


def test_a_command_that_is_told_holds_what_was_set(here, mtbench):
    result = mtbench("status", "--set", "protocol.epochs=1", "--weighting", "dwa:temperature=1")
    commands = [line.strip() for line in result.output.splitlines() if "mtbench run" in line]
    assert len(commands) == 2
    assert all("--set protocol.epochs=1" in command for command in commands)
    assert commands[1].endswith("--architecture tiny --weighting dwa:temperature=1 --seeds 0")


@pytest.mark.parametrize(
    "change",
    [
        'axes={"protocol.weight_decay"=[0.0, 0.1]}',
        "weightings=[{name='dwa', options={temperature=1}}]",
        "description='ü 🙂'",
    ],
)
def test_a_table_or_a_text_that_was_set_is_told_as_it_is_read(mtbench, change):
    words = ["--set", change, "--architecture", "tiny"]
    result = mtbench("status", *words)
    runs = json.loads(mtbench("status", "--json", *words).stdout)["runs"]
    commands = [shlex.split(line) for line in result.output.splitlines() if "mtbench run" in line]
    done = set()
    for command in commands:
        again = command[command.index("--set") :]
        done |= {run["id"] for run in json.loads(mtbench("status", "--json", *again).stdout)["runs"]}
    assert done == {run["id"] for run in runs}


@pytest.mark.parametrize(
    ("words", "cells"),
    [
        (
            ["--weighting", "cr-mogm:alpha=0.5", "--weighting", "cr-mogm:of=mgda"],
            ["--weighting cr-mogm:alpha=0.5", "--weighting cr-mogm:of=mgda"],
        ),
        # The grid's own entries; of the first all options are the defaults.
        (["--weighting", "cr-mogm"], ["--weighting cr-mogm:of=pcgrad", "--weighting cr-mogm:of=cagrad"]),
        (["--weighting", "cr-mogm:of=mgda"], ["--weighting cr-mogm:of=mgda"]),
        (
            ["--weighting", "dwa", "--weighting", "dwa:temperature=1"],
            ["--weighting dwa", "--weighting dwa:temperature=1"],
        ),
        (
            ["--weighting", "constant"],
            [f"--weighting 'constant:weights={w}'" for w in ("[0.5, 0.25, 0.25]", "[0.25, 0.5, 0.25]")],
        ),
        (
            ["--architecture", "split:variant=deep", "--architecture", "split:width=8", "--weighting", "equal"],
            ["split:variant=deep --weighting equal", "split:width=8 --weighting equal"],
        ),
        (
            ["--architecture", "split", "--weighting", "equal"],
            ["split:variant=wide --weighting equal", "split:variant=deep --weighting equal"],
        ),
    ],
)
@pytest.mark.parametrize("smoke", [False, True])
def test_a_command_that_is_told_does_its_cell_alone(mtbench, words, cells, smoke):
    text = (mtbench.folder / "grid.toml").read_text()
    wrapped = ", ".join(f'{{ name = "cr-mogm", options = {{ of = "{of}" }} }}' for of in ("pcgrad", "cagrad"))
    fixed = '{ name = "constant", options = { weights = [0.5, 0.25, 0.25] } }'
    fixed += ", " + fixed.replace("0.5, 0.25", "0.25, 0.5")
    networks = ", ".join(f'{{ name = "split", options = {{ variant = "{name}" }} }}' for name in ("wide", "deep"))
    text = text.replace('"dwa"]', f'"dwa", {wrapped}, {fixed}]').replace('"tiny"]', f'"tiny", {networks}]')
    (mtbench.folder / "grid.toml").write_text(text)
    if "--architecture" not in words:
        words = [*words, "--architecture", "tiny"]
    words += ["--smoke"] * smoke
    result = mtbench("status", *words)
    commands = [line.strip() for line in result.output.splitlines() if "mtbench run" in line][1:]
    runs = json.loads(mtbench("status", "--json", *words).stdout)["runs"]
    assert len(runs) == 1 + len(cells)
    for command, cell, run in zip(commands, cells, runs[1:], strict=True):
        assert command.removesuffix(" --seeds 0").endswith(cell)
        _, _, *again = shlex.split(command)
        del again[again.index("--grid") : again.index("--grid") + 2]
        del again[again.index("--plugin") : again.index("--plugin") + 2]
        done = json.loads(mtbench("status", "--json", *again).stdout)["runs"]
        assert [found["id"] for found in done] == [runs[0]["id"], run["id"]]


def test_a_cell_at_several_values_of_an_axis_is_done_by_one_command_with_each_seed_once(mtbench):
    with (mtbench.folder / "grid.toml").open("a") as file:
        file.write('[axes]\n"protocol.weight_decay" = [0.0, 0.1]\n')
    result = mtbench("status", "--weighting", "equal", "--seeds", "0,1")
    assert "4 missing" in result.output
    commands = [line.strip() for line in result.output.splitlines() if "mtbench run" in line]
    assert len(commands) == 2
    assert all(command.endswith("--seeds 0,1") for command in commands)


@pytest.mark.parametrize("seeds", ["0-", "-3", "3-1", "0-99999999999", "1,,2"])
def test_seeds_that_are_none_are_refused_at_once(mtbench, seeds):
    assert mtbench("status", "--seeds", seeds).exit_code == 2


@pytest.mark.slow
def test_a_dry_run_survives_a_network_that_cannot_be_built(mtbench):
    result = mtbench("run", "--dry-run", "--architecture", "stillborn", "--weighting", "equal")
    assert result.exit_code == 0
    assert "unknown" in result.output


def put(mtbench, weighting="equal", **changes):
    """Records of the grid's runs, made up; what is said changes that of the last, which has a weighting."""
    store = Store(mtbench.folder / "results")
    loaded = load_grid(str(mtbench.folder / "grid.toml"))
    portable = ComputeOptions("auto", "auto", "cpu", "fp32")
    specs = expand(loaded, Filters(weightings=[weighting], compute=portable))
    for spec in specs:
        changed = changes if spec is specs[-1] else {}
        reference = spec.architecture.name == "single-task"
        place = {"precision": "fp32", "device": "cpu"}
        parts = {"id": spec.id, "spec": spec, "reference": reference, **changed}
        store.put(made.record(epochs=2, truth=None, place=place).model_copy(update=parts))
    return store, specs


def test_a_dry_run_knows_what_a_run_would_do(mtbench, monkeypatch):
    """A record of a plugin's other code is no run that is done."""
    monkeypatch.setattr("benchmark.commands.dryrun.call_in", lambda *given: {spec.id: None for spec in given[3]})
    put(mtbench, code={"architecture": "f" * 64})
    result = mtbench("run", "--dry-run", "--weighting", "equal")
    assert "2 runs, 1 to do" in result.output
    assert "1 run of other code" in result.output
    found = json.loads(mtbench("run", "--dry-run", "--json", "--weighting", "equal").stdout)
    assert (found["to_do"], [run["state"] for run in found["runs"]]) == (1, ["done", "outdated"])
    assert found["runs"][1]["options"]["architecture"] == {"width": 4}
    one_line(mtbench("run", "--json"), 2, "--json goes with --dry-run")


def test_what_fits_is_said_of_a_plan_that_takes_days(mtbench, monkeypatch):
    day = 86400.0
    monkeypatch.setattr(
        "benchmark.commands.dryrun.call_in",
        lambda *given: {spec.id: CostEstimate(1e15, day / 4, place > 0) for place, spec in enumerate(given[3])},
    )
    result = mtbench("run", "--dry-run", "--seeds", "0-9", "--workers", "1")
    assert "In one day 4 runs of these fit on this machine" in result.output
    assert "--smoke" in result.output
    assert "1 of 30 runs: not timed" in result.output


def test_scripts_get_options_versions_files_and_metrics(mtbench):
    store, specs = put(mtbench)
    found = json.loads(mtbench("status", "--json", "--weighting", "equal").stdout)
    run = found["runs"][1]
    assert run["options"] == {"dataset": specs[1].dataset.options, "architecture": {"width": 4}, "weighting": {}}
    assert run["versions"] == {"dataset": 1, "architecture": 1, "weighting": 1}
    assert (mtbench.folder / run["path"]).resolve() == store.path(specs[1]).resolve()
    record = store.get(specs[1])
    for row in run["metrics"]:
        (epoch,) = [epoch for epoch in record.curves if epoch.epoch == row["epoch"]]
        assert row["val"] == epoch.metrics["val"][row["task"]][row["metric"]]
    assert {row["task"] for row in run["metrics"]} == {"semantic", "depth", "normals"}


def test_the_status_knows_checkpoints(mtbench):
    store, specs = put(mtbench)
    store.path(specs[1]).unlink()
    store.checkpoints.mkdir(parents=True)
    (store.checkpoints / f"{specs[1].id}.ckpt").touch()
    result = mtbench("status", "--weighting", "equal")
    assert "seed 0: goes on from a checkpoint of" in result.output
    assert "1 done, 0 failed, 1 missing; 1 to go on from a checkpoint." in result.output
    assert result.exit_code == 0


def test_results_that_can_only_be_read_are_no_error_where_nothing_is_to_be_done(mtbench, monkeypatch):
    put(mtbench)

    def refuse(store):
        raise UserError(f"cannot write the results folder {store.root}")

    monkeypatch.setattr(Store, "check_writable", refuse)
    result = mtbench("run", "--weighting", "equal")
    assert result.exit_code == 0
    assert "2 runs in the grid, 2 done already, 0 to do" in result.output
    one_line(mtbench("run"), 1, "cannot write the results folder")


def test_a_run_that_somebody_does_is_shown_as_running(mtbench):
    folder = mtbench.folder / "results" / ".mtbench" / "claims"
    run = json.loads(mtbench("status", "--json").stdout)["runs"][0]["id"]
    with Leases(folder) as claims:
        assert claims.take(run)
        shown = mtbench("status")
        assert "1 running" in shown.output
        assert f"process {os.getpid()}" in shown.output
    assert "running" not in mtbench("status").output


@pytest.mark.slow
def test_a_dry_run_lists_every_run_and_writes_nothing(mtbench):
    result = mtbench("run", "--dry-run", "--workers", "auto")
    assert result.exit_code == 0
    assert result.output.count("missing") == 3
    assert "3 runs, 3 to do: about" in result.output
    assert not (mtbench.folder / "results").exists()


def test_no_command_is_told_that_run_would_refuse(mtbench):
    told = mtbench("status", "--grid", "quick", "--architecture", "split", "--weighting", "cr-mogm:of=mdga")
    one_line(told, 2, "unknown weighting to wrap ('of' of 'cr-mogm') 'mdga'. Did you mean 'mgda'?")
