"""What the tests of commands share."""

import pytest

from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from tests.benchmark.shell import Shell


@pytest.fixture
def mtbench(tmp_path, toy):
    return Shell(tmp_path, toy)


@pytest.fixture
def own_methods():
    """What a test registers is gone after it."""
    kept = [(registry._entries, dict(registry._entries)) for registry in (ARCHITECTURES, WEIGHTINGS)]
    yield
    for entries, before in kept:
        entries.clear()
        entries.update(before)
