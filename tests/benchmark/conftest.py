"""What the tests of commands share."""

from functools import partial

import pytest

from tests.benchmark.shell import Shell


@pytest.fixture
def mtbench(tmp_path, toy):
    return Shell(tmp_path, toy)


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits for room."""
    monkeypatch.setattr("benchmark.execution.scheduler.WAIT_FOR_ROOM", 0.0)
    monkeypatch.setattr("benchmark.execution.scheduler.RETRY_INTERVAL", 0.0)


@pytest.fixture
def written(tmp_path):
    """Makes a claim of a small grid."""
    from tests.benchmark.claimfiles import write_claim  # imports the judge, which most tests do without

    return partial(write_claim, tmp_path)
