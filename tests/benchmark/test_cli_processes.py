"""Commands and their processes: workers, signals, interruptions, budgets."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from benchmark import __main__ as program
from benchmark.execution.inline import InlineExecutor
from benchmark.runs.store import Store
from tests.benchmark.shell import GRID, one_line
from tests.forked import Forked, command, until


@pytest.mark.slow
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
    assert status.exit_code == 0
    assert "3 done, 0 failed, 0 missing" in status.output
    assert mtbench("report").exit_code == 0
    assert (mtbench.folder / "reports" / "index.html").is_file()


@pytest.mark.slow
def test_several_workers_give_the_same_records(mtbench, tmp_path):
    mtbench("run", "--workers", "1")
    alone = [r.curves for r in Store(mtbench.folder / "results").scan()[0]]
    mtbench("run", "--workers", "2", "--results", "others")  # of which one does two of the three
    together = [r.curves for r in Store(mtbench.folder / "others").scan()[0]]
    assert alone == together


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes")
@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGKILL])  # SIGTERM is handled as SIGHUP is
def test_no_worker_outlives_the_command(mtbench, ending, tmp_path):
    # Epochs far longer than the test: workers must not wait for the end of one.
    (mtbench.folder / "slow.toml").write_text(GRID.replace('"tiny"', '"slow"'))
    mark = f"MTBENCH_TEST_MARK={tmp_path.name}"  # of the server that the command starts, and of all that it forks
    words = ("--grid", "slow.toml", "--plugin", str(mtbench.plugin), "--weighting", "equal", "--grace", "1")
    process = Forked(mtbench.folder, command, "run", *words, MTBENCH_TEST_MARK=tmp_path.name)
    until((mtbench.folder / "asleep").exists)
    assert len(marked(mark)) > 1
    os.kill(process.pid, ending)
    code = process.wait()
    deadline = time.monotonic() + 60
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = marked(mark)
    for number in left:
        os.kill(number, signal.SIGKILL)
    assert not left
    if ending == signal.SIGKILL:
        assert code == -ending
    else:
        stderr = process.err.read_text()
        assert code == 128 + ending
        assert "Traceback" not in stderr
        assert "same command goes on" in stderr


@pytest.mark.slow
def test_an_interrupted_grid_keeps_what_is_finished_and_goes_on(request, mtbench):
    words = ("--grid", "grid.toml", "--plugin", str(mtbench.plugin), "--seeds", "0-19", "--weighting", "equal")
    process = Forked(mtbench.folder, command, "run", *words)
    until(lambda: len(mtbench.records) >= 3)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait() == 130
    stderr = process.err.read_text()
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


@pytest.mark.slow
def test_a_budget_ends_the_command_and_the_same_command_goes_on(mtbench, monkeypatch):
    with monkeypatch.context() as patch:  # the reference, in this process
        patch.setattr("benchmark.commands.execution.LocalExecutor", InlineExecutor)
        mtbench("run", "--architecture", "single-task")
    asleep = mtbench.folder / "dawdling"
    words = ("run", "--architecture", "dawdling", "--weighting", "equal", "--budget", "1h")
    with monkeypatch.context() as patch:  # the hour is over when the run is in its first steps
        clock = "benchmark.execution.scheduler.monotonic"
        patch.setattr(clock, lambda: time.monotonic() + (7200 if asleep.exists() else 0))
        stopped = mtbench(*words)
    assert stopped.exit_code == 0, stopped.output
    assert "0 of 1 run went well" in stopped.output
    command = "mtbench run --grid grid.toml --plugin"
    assert f"Time is up: 1 run is left. To go on: {command}" in stopped.output
    assert "--budget 1h" in stopped.output
    assert list(mtbench.folder.glob("results/.mtbench/checkpoints/*.ckpt"))
    assert len(mtbench.records) == 1
    monkeypatch.setenv("MTBENCH_TEST_NAP", "0")
    again = mtbench(*words)
    assert "1 of 1 run went well" in again.output
    assert "Time is up" not in again.output
    assert len(mtbench.records) == 2


def test_ctrl_c_before_the_command_line_is_there_prints_no_traceback(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.cli.main", interrupted)
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 130
