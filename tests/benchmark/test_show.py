"""`mtbench show`, and tracebacks beside records."""

import json

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.runs import packing
from benchmark.runs.layout import ERROR_SUFFIX
from benchmark.runs.store import Store
from tests.benchmark import records as made

TRACEBACK = 'Traceback (most recent call last):\n  File "/home/a/my_method.py", line 41, in weights\nValueError: no\n'


@pytest.fixture
def store(tmp_path):
    """A grid's records, the last of which failed."""
    store = Store(tmp_path / "results")
    *good, last = made.grid()
    for record in good:
        store.put(record)
    store.put(made.failed(last, error="ValueError: no (in my_method.py:41, weights)"), traceback=TRACEBACK)
    return store


def shown(store, *words):
    result = CliRunner().invoke(main, ["show", "--results", str(store.root), *words])
    return result.exit_code, result.output


def of_status(store, status):
    return next(record for record in store.scan()[0] if record.status == status)


def test_a_failure_is_shown_with_its_traceback(store):
    record = of_status(store, "failed")
    code, output = shown(store, record.id[:10])
    assert code == 0
    assert f"({record.id}): failed" in output
    assert "ValueError: no (in my_method.py:41, weights)" in output
    assert output.endswith(TRACEBACK)
    found = json.loads(shown(store, record.id, "--json")[1])
    assert found["traceback"] == TRACEBACK
    assert found["record"]["id"] == record.id


def test_a_run_that_went_well_is_shown_with_its_metrics(store):
    record = next(record for record in store.scan()[0] if record.status == "ok" and not record.reference)
    code, output = shown(store, record.id)
    assert code == 0
    assert f"architecture: {record.spec.architecture.name}, version 1" in output
    assert "metrics at the chosen epoch" in output
    assert "Traceback" not in output
    found = json.loads(shown(store, record.id, "--json")[1])
    assert found["traceback"] is None
    task = record.tasks[0].name
    for row in (row for row in found["metrics"] if row["task"] == task):
        (epoch,) = [epoch for epoch in record.curves if epoch.epoch == row["epoch"]]
        assert row["test"] == epoch.metrics["test"][task][row["metric"]]


def test_a_run_that_is_not_there_is_one_line(store):
    code, output = shown(store, "nothing")
    assert code == 2
    assert "has an id that begins with 'nothing'" in output


def test_a_traceback_goes_when_the_run_goes_well(store):
    record = of_status(store, "failed")
    file = store.path(record.spec).with_suffix(ERROR_SUFFIX)
    assert file.read_text() == TRACEBACK
    store.put(next(r for r in made.grid() if r.id == record.id))
    assert not file.exists()


def test_tracebacks_are_no_records_and_are_neither_packed_nor_lost(store, tmp_path):
    record = of_status(store, "failed")
    packing.pack(store)
    assert Store(store.root).scan()[1] == []
    assert store.traceback(record) == TRACEBACK
    other = Store(tmp_path / "other")
    packing.merge(other, [store])
    assert other.traceback(record) == TRACEBACK
    good = Store(tmp_path / "good")
    good.put(next(r for r in made.grid() if r.id == record.id))
    packing.merge(other, [good])
    assert other.traceback(record) is None
    assert packing.unpack(store).problems == []
    assert Store(store.root).scan()[1] == []
