"""`mtbench diff`, `rm` and `export`: what people do with records besides looking at pages."""

import io
import json

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.commands.export import COLUMNS
from benchmark.execution.leases import Leases
from benchmark.runs import packing
from benchmark.runs.layout import ERROR_SUFFIX
from benchmark.runs.store import Store
from tests.benchmark import records as made


def mtbench(*words, typed=None):
    return CliRunner().invoke(main, list(map(str, words)), input=typed, catch_exceptions=False)


@pytest.fixture
def store(tmp_path):
    """A grid's records of two seeds, the last of which failed."""
    *good, last = made.grid((0, 1), epochs=2)
    store = made.fill(tmp_path / "results", good, pictures=False)
    store.put(made.failed(last), traceback="Traceback\n")
    return store


def ids(store):
    return {record.id for record in store.scan()[0]}


def test_folders_with_the_same_numbers_agree_packed_or_not(store, tmp_path):
    other = made.fill(tmp_path / "other", store.scan()[0], pictures=False)
    packing.pack(other)
    result = mtbench("diff", store.root, other.root)
    assert result.exit_code == 0, result.output
    assert "34 runs in both, 34 with the same numbers, 0 with others; 0 in" in result.output


def test_what_differs_is_said_with_where_first(store, tmp_path):
    first, second, *rest = store.scan()[0]
    changed = made.edited(second, lambda e, split, task, m, v: v + (e == 2 and task == "depth" and m == "abs_error"))
    other = made.fill(tmp_path / "other", [changed, *rest, extra := made.record(seed=9, epochs=2)], pictures=False)
    result = mtbench("diff", store.root, other.root)
    assert result.exit_code == 1
    assert f"only in {store.root}: {first.spec.label} ({first.id})" in result.output
    assert f"only in {other.root}: {extra.spec.label} ({extra.id})" in result.output
    assert f"different: {second.spec.label} ({second.id}): epoch 2, metrics, val, depth, abs_error: " in result.output
    found = json.loads(mtbench("diff", store.root, other.root, "--json").output)
    assert list(found["only_a"]) == [first.id]
    assert list(found["different"]) == [second.id]
    assert mtbench("diff", store.root, other.root, "--architecture", rest[-1].spec.architecture.name).exit_code == 0


def test_a_folder_that_is_not_there_is_one_line(store, tmp_path):
    result = mtbench("diff", store.root, tmp_path / "nothing")
    assert result.exit_code == 1
    assert "there is no results folder" in result.stderr


def test_runs_are_removed_with_all_that_lies_beside_them(store):
    before = ids(store)
    failed = next(record for record in store.scan()[0] if record.status == "failed")
    (store.checkpoints).mkdir(parents=True)
    (store.checkpoints / f"{failed.id}.ckpt").touch()
    assert "1 run would be removed." in mtbench("rm", "--status", "failed", "--dry-run", "--results", store.root).output
    assert ids(store) == before
    result = mtbench("rm", "--status", "failed", "--results", store.root, typed="n\n")
    assert result.exit_code == 1
    assert "nothing was removed" in result.stderr
    assert ids(store) == before
    result = mtbench("rm", "--status", "failed", "--results", store.root, typed="y\n")
    assert result.exit_code == 0, result.output
    assert ids(store) == before - {failed.id}
    assert not store.path(failed.spec).with_suffix(ERROR_SUFFIX).exists()
    assert list(store.checkpoints.iterdir()) == []


def test_ids_and_options_narrow_what_is_removed(store):
    before = {record.id: record.spec for record in store.scan()[0]}
    result = mtbench(
        "rm", "--architecture", "mtan", "--weighting", "dwa", "--seeds", "1", "--yes", "--results", store.root
    )
    assert "1 run was removed" in result.output
    (gone,) = before.keys() - ids(store)
    assert (before[gone].architecture.name, before[gone].weighting_name, before[gone].seed) == ("mtan", "dwa", 1)
    one = next(iter(ids(store)))
    mtbench("rm", one[:12], "--yes", "--results", store.root)
    assert before.keys() - ids(store) == {gone, one}


def test_nothing_is_removed_that_is_packed_in_progress_or_not_named(store):
    assert mtbench("rm", "--results", store.root).exit_code == 2
    assert mtbench("rm", "--results", store.root, "nothing").exit_code == 2
    run = next(record.id for record in store.scan()[0] if record.status == "ok")
    with Leases(store.private / "claims") as leases:
        leases.take(run)
        result = mtbench("rm", run, "--yes", "--results", store.root)
    assert (result.exit_code, "is in progress: nothing was removed" in result.stderr) == (1, True)
    packing.pack(store)
    result = mtbench("rm", "--architecture", "mtan", "--yes", "--results", store.root)
    assert result.exit_code == 1
    assert "5 of 6 runs are packed" in result.stderr
    assert "mtbench store unpack" in result.stderr
    assert len(ids(Store(store.root))) == 34


def exported(store, *words):
    result = mtbench("export", "--results", store.root, *words)
    assert result.exit_code == 0, result.output
    return pd.read_csv(io.StringIO(result.output))


def test_a_line_for_each_run_task_and_metric(store):
    found = exported(store)
    assert tuple(found.columns) == COLUMNS
    assert set(found["run"]) == ids(store)
    record = next(record for record in store.scan()[0] if record.status == "ok")
    lines = found[found["run"] == record.id]
    assert not lines.duplicated(["task", "metric"]).any()
    for _, line in lines.iterrows():
        (epoch,) = [epoch for epoch in record.curves if epoch.epoch == line["epoch"]]
        assert line["test"] == epoch.metrics["test"][line["task"]][line["metric"]]
    assert json.loads(lines["architecture_options"].iloc[0]) == record.spec.architecture.options
    assert set(found[found["metric"] == "abs_error"]["unit"]) == {"m"}
    (failed,) = found[found["status"] == "failed"].to_dict("records")
    assert pd.isna(failed["task"])


def test_a_line_for_each_epoch_where_asked(store):
    found = exported(store, "--epochs", "--architecture", "mtan", "--weighting", "equal", "--seeds", "0")
    (record,) = [
        r
        for r in store.scan()[0]
        if (r.spec.architecture.name, r.spec.weighting_name, r.spec.seed) == ("mtan", "equal", 0)
    ]
    assert set(found["run"]) == {record.id}
    assert len(found) == sum(len(values) for epoch in record.curves for values in epoch.metrics["val"].values())


def test_files_by_their_endings(store, tmp_path, monkeypatch):
    assert mtbench("export", "--results", store.root, "--out", tmp_path / "a.xlsx").exit_code == 2
    assert mtbench("export", "--results", store.root, "--out", tmp_path / "a.csv").exit_code == 0
    assert set(pd.read_csv(tmp_path / "a.csv")["run"]) == ids(store)
    written = []
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda frame, path, **_: written.append(path))
    assert mtbench("export", "--results", store.root, "--out", tmp_path / "a.parquet").exit_code == 0
    assert written == [tmp_path / "a.parquet"]

    def lacking(*_, **__):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", lacking)
    result = mtbench("export", "--results", store.root, "--out", tmp_path / "b.parquet")
    assert (result.exit_code, "pip install pyarrow" in result.stderr) == (1, True)
