"""The command line as a user meets it: what it does, and one clear line for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.commands.execution import Duration
from benchmark.execution.claims import Claims
from benchmark.execution.inline import InlineExecutor
from benchmark.store import Store

GRID = """
description = "toy"
seeds = [0]
architectures = ["tiny"]
weightings = ["equal", "dwa"]
[architecture]
width = 4
[protocol]
epochs = 2
batch_size = 4
learning_rate = 1e-2
[datasets.toy]
"""


class Shell:
    """Runs `mtbench` in a folder of its own."""

    def __init__(self, folder, plugin):
        self.folder = folder
        self.plugin = plugin
        (folder / "grid.toml").write_text(GRID)

    def __call__(self, *words, plugin=True, grid="grid.toml"):
        words = list(words)
        if words[0] in ("run", "status"):
            words[1:1] = ["--grid", grid, *(["--plugin", str(self.plugin)] if plugin else [])]
        previous = Path.cwd()
        os.chdir(self.folder)
        try:
            return CliRunner().invoke(main, words, catch_exceptions=False)
        finally:
            os.chdir(previous)

    @property
    def records(self):
        return {path: path.read_bytes() for path in sorted(self.folder.glob("results/*/*.json"))}


@pytest.fixture
def mtbench(tmp_path, toy):
    return Shell(tmp_path, toy)


def one_line(result, code, *parts):
    """An error of this exit code, in one line without a traceback, that holds all ``parts``."""
    assert result.exit_code == code, result.output + result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("Error:")
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in line, line


def test_run_status_report_and_run_again(mtbench):
    result = mtbench("run")
    assert result.exit_code == 0, result.output
    assert "3 runs in the grid, 0 done already, 3 to do" in result.output
    assert "[3/3" in result.output
    before = mtbench.records
    assert len(before) == 3
    again = mtbench("run")
    assert again.exit_code == 0
    assert "3 done already, 0 to do" in again.output
    assert mtbench.records == before
    status = mtbench("status")
    assert "3 done, 0 failed, 0 missing" in status.output
    assert mtbench("report").exit_code == 0
    assert (mtbench.folder / "reports" / "index.html").is_file()


def test_more_runs_do_only_what_is_missing(here, mtbench):
    mtbench("run", "--weighting", "equal")
    before = mtbench.records
    status = mtbench("status")
    assert "2 done, 0 failed, 1 missing" in status.output
    command = next(line.strip() for line in status.output.splitlines() if "mtbench run" in line)
    assert command.endswith("--dataset toy --architecture tiny --weighting dwa --seeds 0")
    assert "1 to do" in mtbench("run").output
    assert {path: mtbench.records[path] for path in before} == before


def test_runs_that_compute_in_another_way_are_others(here, mtbench):
    """Portable where nothing is said, as on every CPU; each way has identities of its own, and status knows them."""
    mtbench("run", "--weighting", "equal")
    (found,) = {record.spec.protocol.arithmetic for record in Store(mtbench.folder / "results").scan()[0]}
    assert found == "portable"
    assert "0 to do" in mtbench("run", "--weighting", "equal", "--precision", "fp32").output
    for words in (["--arithmetic", "native", "--precision", "fp32"], ["--precision", "bf16"]):
        assert "2 missing" in mtbench("status", "--weighting", "equal", *words).output
    status = mtbench("status", "--weighting", "equal", "--arithmetic", "native").output
    assert "--arithmetic native --dataset toy" in " ".join(status.split())
    refused = mtbench("run", "--arithmetic", "portable", "--precision", "bf16")
    one_line(refused, 2, "found precision bf16: leave that out, or take --arithmetic native")
    one_line(mtbench("run", "--threads", "2"), 2, "found 2 threads: leave that out")


def test_several_workers_give_the_same_records(mtbench, tmp_path):
    mtbench("run", "--workers", "1")
    alone = [r.curves for r in Store(mtbench.folder / "results").scan()[0]]
    mtbench("run", "--workers", "2", "--results", "others")  # of which one does two of the three
    together = [r.curves for r in Store(mtbench.folder / "others").scan()[0]]
    assert alone == together


@pytest.mark.parametrize(
    ("architecture", "status", "reason"),
    [
        ("explosive", "failed", "RuntimeError: boom <b>bold</b>"),
        ("stillborn", "failed", "RuntimeError: no such thing"),
        ("greedy", "out-of-memory", "OutOfMemoryError"),
        ("suicidal", "failed", "the worker process was ended by SIGKILL"),
    ],
)
def test_a_run_that_fails_is_a_record_and_the_others_go_on(request, mtbench, architecture, status, reason):
    if architecture == "stillborn":  # the others' runs show what becomes of a worker
        request.getfixturevalue("here")
    words = ("--architecture", architecture, "--architecture", "tiny", "--weighting", "equal", "--workers", "1")
    result = mtbench("run", *words, "--out-of-memory", "spill")
    assert result.output.count("tried once more") == (architecture in ("greedy", "suicidal"))
    one_line(result, 1, "1 of 3 runs failed", "mtbench status", "to try them again: mtbench run --grid grid.toml")
    records = {r.spec.architecture.name: r for r in Store(mtbench.folder / "results").scan()[0]}
    assert {name: r.status for name, r in records.items()} == {"single-task": "ok", architecture: status, "tiny": "ok"}
    assert reason in records[architecture].error
    shown = mtbench("status", *words[:-2])
    assert reason in shown.output
    assert "1 failed" in shown.output
    assert "1 to do" in mtbench("run", *words).output


def test_a_dry_run_survives_a_network_that_cannot_be_built(mtbench):
    result = mtbench("run", "--dry-run", "--architecture", "stillborn", "--weighting", "equal")
    assert result.exit_code == 0
    assert "unknown" in result.output


def test_divergence_is_a_record(here, mtbench):
    one_line(mtbench("run", "--weighting", "runaway"), 1, "1 of 2 runs failed")
    assert "diverged: the train loss" in mtbench("status", "--weighting", "runaway").output


def test_a_truncated_record_is_named_kept_and_done_again(here, mtbench):
    mtbench("run", "--weighting", "equal")
    path = next(iter(mtbench.records))
    path.write_bytes(path.read_bytes()[:100])
    shown = mtbench("status", "--weighting", "equal")
    assert "is not whole JSON" in shown.output
    assert "1 failed" in shown.output
    result = mtbench("run", "--weighting", "equal")
    assert result.exit_code == 0
    assert "is not whole JSON" in result.output
    assert "kept as" in result.output
    assert json.loads(path.read_text())["status"] == "ok"
    assert path.with_suffix(".json.unreadable").stat().st_size == 100


def test_the_status_for_scripts(here, mtbench):
    mtbench("run", "--weighting", "equal", "--architecture", "explosive")
    result = mtbench("status", "--json", "--architecture", "explosive")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert {key: found[key] for key in ("done", "failed", "running", "missing")} == {
        "done": 1,
        "failed": 1,
        "running": 0,
        "missing": 1,
    }
    (failed,) = [run for run in found["runs"] if run["state"] == "failed"]
    assert (failed["architecture"], failed["weighting"], failed["status"]) == ("explosive", "equal", "failed")
    assert "boom" in failed["reason"]
    assert failed["id"] in next(str(path) for path in mtbench.records if "explosive" in path.name)


def test_a_run_that_somebody_does_is_shown_as_running(mtbench):
    folder = mtbench.folder / "results" / ".mtbench" / "claims"
    run = json.loads(mtbench("status", "--json").stdout)["runs"][0]["id"]
    with Claims(folder) as claims:
        assert claims.take(run)
        shown = mtbench("status")
        assert "1 running" in shown.output
        assert f"process {os.getpid()}" in shown.output
    assert "running" not in mtbench("status").output


def test_data_that_changed_are_not_mixed(here, mtbench):
    mtbench("run", "--weighting", "equal")
    path = next(iter(mtbench.records))
    raw = json.loads(path.read_text())
    raw["provenance"]["data_hash"] = "e" * 64
    path.write_text(json.dumps(raw))
    result = mtbench("run", "--weighting", "dwa")
    one_line(result, 1, "the data set toy", "eeeeeeeeeeee: the data changed", "--results")
    assert len(mtbench.records) == 2
    assert mtbench("run", "--weighting", "dwa", "--results", "others").exit_code == 0


def test_a_dry_run_lists_every_run_and_writes_nothing(mtbench):
    result = mtbench("run", "--dry-run", "--workers", "auto")
    assert result.exit_code == 0
    assert result.output.count("missing") == 3
    assert "3 runs, 3 to do: about" in result.output
    assert not (mtbench.folder / "results").exists()


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
        (GRID.replace('"tiny"', '"split"').replace("width = 4", 'width = "a"'), ["'width'", "whole number"]),
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
    one_line(mtbench("run", "--results", "grid.toml/results"), 1, "cannot write the results folder", "--results")


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


def marked(mark):
    """Processes whose environment holds the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            alive = (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_command_gives_signals_back(mtbench):
    """The program that calls it may have other plans with them than the command had."""
    endings = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(ending, signal.SIG_DFL) for ending in endings]
    try:
        assert mtbench("run", "--dry-run").exit_code == 0
        assert [signal.getsignal(ending) for ending in endings] == [signal.SIG_DFL] * 2
    finally:
        for ending, handler in zip(endings, before, strict=True):
            signal.signal(ending, handler)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_worker_outlives_the_command(mtbench, ending, tmp_path):
    # Epochs far longer than the test: workers must not wait for the end of one.
    grid = GRID.replace('"tiny"', '"slow"')
    (mtbench.folder / "slow.toml").write_text(grid)
    mark = f"MTBENCH_TEST_MARK={tmp_path.name}"
    program = [sys.executable, "-c", "from benchmark.cli import main; main()", "run", "--grid", "slow.toml"]
    process = subprocess.Popen(
        [*program, "--plugin", str(mtbench.plugin), "--weighting", "equal", "--grace", "1"],
        cwd=mtbench.folder,
        env={**os.environ, "MTBENCH_TEST_MARK": tmp_path.name},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGTERM, signal.SIGHUP)],
    )
    deadline = time.monotonic() + 90
    while not (mtbench.folder / "asleep").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(mark)
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=60)
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = marked(mark)
    for number in left:
        os.kill(number, signal.SIGKILL)
    assert not left
    if ending != signal.SIGKILL:
        assert process.returncode == 128 + ending
        assert "Traceback" not in stderr
        assert "same command goes on" in stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_grid_keeps_what_is_finished_and_goes_on(request, mtbench, ending):
    words = ["run", "--seeds", "0-19", "--weighting", "equal"]
    program = [sys.executable, "-c", "from benchmark.cli import main; main()"]
    full = [*program, "run", "--grid", "grid.toml", "--plugin", str(mtbench.plugin), *words[1:]]
    process = subprocess.Popen(
        full,
        cwd=mtbench.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while len(mtbench.records) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=60)
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert "Interrupted" in stderr
        assert "Traceback" not in stderr
    kept = mtbench.records
    assert 3 <= len(kept) < 40
    assert all(json.loads(text)["status"] == "ok" for text in kept.values())
    assert Store(mtbench.folder / "results").scan()[1] == []
    request.getfixturevalue("here")
    rest = mtbench("run", "--seeds", "0-2", "--weighting", "equal")
    assert rest.exit_code == 0
    assert {path: text for path, text in mtbench.records.items() if path in kept} == kept


def test_runs_that_are_packed_are_done(here, mtbench):
    mtbench("run", "--weighting", "equal")
    assert "2 records were packed" in mtbench("store", "pack").output
    assert mtbench.records == {}
    assert "2 done, 0 failed, 1 missing" in mtbench("status").output
    assert "2 done already, 1 to do" in mtbench("run").output
    assert len(mtbench.records) == 1
    assert mtbench("report").exit_code == 0


def test_a_budget_ends_the_command_and_the_same_command_goes_on(mtbench, monkeypatch):
    with monkeypatch.context() as patch:  # the reference, in this process
        patch.setattr("benchmark.commands.execution.LocalExecutor", InlineExecutor)
        mtbench("run", "--architecture", "single-task")
    asleep = mtbench.folder / "dawdling"
    words = ("run", "--architecture", "dawdling", "--weighting", "equal", "--budget", "1h")
    with monkeypatch.context() as patch:  # the hour is over when the run is in its first steps
        clock = "benchmark.execution.grid.monotonic"
        patch.setattr(clock, lambda: time.monotonic() + (7200 if asleep.exists() else 0))
        stopped = mtbench(*words)
    assert stopped.exit_code == 0, stopped.output
    assert "0 of 1 runs went well" in stopped.output
    command = "mtbench run --grid grid.toml --plugin"
    assert f"Time is up: 1 runs are left. To go on: {command}" in stopped.output
    assert "--budget 1h" in stopped.output
    assert list(mtbench.folder.glob("results/.mtbench/checkpoints/*.ckpt"))
    assert len(mtbench.records) == 1
    again = mtbench(*words)
    assert "1 of 1 runs went well" in again.output
    assert "Time is up" not in again.output
    assert len(mtbench.records) == 2


@pytest.mark.parametrize("words", ["2", "h", "", "1m2h", "1.5h", "-1h"])
def test_a_budget_that_is_no_time_is_one_line(mtbench, words):
    result = mtbench("run", "--budget", words)
    assert result.exit_code == 2
    assert "expected a time such as 2h, 90m, 1h30m or 45s" in result.output + result.stderr


@pytest.mark.parametrize(("words", "seconds"), [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("0s", 0)])
def test_times_in_words(words, seconds):
    assert Duration().convert(words, None, None) == seconds
