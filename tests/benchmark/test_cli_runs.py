"""Commands that run, in this process: what is done, what is left alone, and what is said of it."""

import io
import json

import pytest
from rich.console import Console

from benchmark.execution.display import Display
from benchmark.registry import ARCHITECTURES
from benchmark.runs.store import Store
from tests.benchmark import records as made
from tests.benchmark.shell import one_line


@pytest.mark.slow
def test_more_runs_do_only_what_is_missing(here, mtbench):
    mtbench("run", "--weighting", "equal")
    before = mtbench.records
    status = mtbench("status")
    assert "2 done, 0 failed, 1 missing" in status.output
    command = next(line.strip() for line in status.output.splitlines() if "mtbench run" in line)
    assert command.endswith("--dataset toy --architecture tiny --weighting dwa --seeds 0")
    assert "1 to do" in mtbench("run").output
    assert {path: mtbench.records[path] for path in before} == before


@pytest.mark.slow
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


@pytest.mark.slow
def test_divergence_is_a_record_and_not_tried_again_unless_asked(here, mtbench):
    words = ("--weighting", "runaway")
    one_line(mtbench("run", *words), 1, "1 of 2 runs failed", "--weighting runaway --again")
    status = mtbench("status", *words)
    one_line(status, 1, "1 run failed or diverged")
    assert "diverged: the train loss" in status.output
    assert "1 done, 1 diverged, 0 failed, 0 missing" in status.output
    once_more = mtbench("run", *words)
    assert once_more.exit_code == 0
    assert "1 done already, 1 diverged (--again tries once more), 0 to do" in once_more.output
    planned = mtbench("run", *words, "--dry-run")
    assert "2 runs, 0 to do" in planned.output
    assert "1 run diverged" in planned.output
    one_line(mtbench("run", *words, "--again"), 1, "1 of 1 run failed")


def test_a_batch_larger_than_the_split_is_refused_before_anything_is_done(here, mtbench):
    words = ("--set", "protocol.batch_size=13")
    for more in ([], ["--dry-run"]):
        one_line(mtbench("run", *words, *more), 2, "of 'toy' holds 12 samples", "one batch of 13", "batch_size=12")
    assert not mtbench.records


@pytest.mark.slow
def test_more_workers_than_processors_are_told(here, mtbench, monkeypatch):
    monkeypatch.setattr("benchmark.commands.running.cores", lambda: 2)
    result = mtbench("run", "--workers", "100", "--architecture", "single-task")
    assert "100 runs at once with 1 thread each share 2 processors" in result.stderr
    assert "--workers auto" in result.stderr


@pytest.mark.slow
def test_quiet_prints_what_goes_wrong_alone(here, mtbench):
    result = mtbench("run", "--quiet", "--architecture", "single-task")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    result = mtbench("run", "-q", "--architecture", "stillborn", "--weighting", "equal")
    assert result.stdout == ""
    assert "no such thing" in result.stderr
    one_line(result, 1, "1 of 1 run failed")


def test_a_line_for_each_epoch_shows_that_a_run_lives(monkeypatch):
    monkeypatch.setattr("benchmark.execution.display.HEARTBEAT", 0.0)
    written = io.StringIO()
    record = made.record(epochs=2)
    with Display(Console(file=written, width=40), {record.id: 1.0}) as display:
        display.started(record.spec)
        for epoch in record.curves:
            display.epoch(record.spec, epoch)
        display.finished(record.spec, record)
    first, second, last = written.getvalue().splitlines()
    assert first.startswith("[0/1, time left not known yet] scenes split-wide equal seed 0 · epoch 1/2 · semantic")
    assert "epoch 2/2" in second
    assert last.startswith("[1/1, 0 s left] ✓")


@pytest.mark.slow
def test_the_end_of_a_method_is_a_failure_like_any_other(here, mtbench, monkeypatch):
    def leave(*_, **__):
        raise SystemExit("goodbye")

    monkeypatch.setattr(ARCHITECTURES["stillborn"].factory, "__init__", leave)
    one_line(mtbench("run", "--architecture", "stillborn", "--weighting", "equal"), 1, "1 of 2 runs failed")
    failed = next(record for record in Store(mtbench.folder / "results").scan()[0] if record.status == "failed")
    assert failed.error.startswith("SystemExit: goodbye")


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_status_for_scripts(here, mtbench):
    mtbench("run", "--weighting", "equal", "--architecture", "explosive")
    result = mtbench("status", "--json", "--architecture", "explosive")
    assert result.exit_code == 1
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_runs_that_are_packed_are_done(here, mtbench):
    mtbench("run", "--weighting", "equal")
    assert "2 records packed" in mtbench("store", "pack").output
    assert mtbench.records == {}
    assert "2 done, 0 failed, 1 missing" in mtbench("status").output
    assert "2 done already, 1 to do" in mtbench("run").output
    assert len(mtbench.records) == 1
    assert mtbench("report").exit_code == 0
