"""What the tests of commands share."""

import pytest

from tests.benchmark.shell import Shell


@pytest.fixture
def mtbench(tmp_path, toy):
    return Shell(tmp_path, toy)
