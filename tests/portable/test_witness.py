"""The committed portable runs are done again here and come back bit for bit: each machine is one more witness."""

from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.runs.store import Store

pytestmark = pytest.mark.slow

WITNESS = Path(__file__).parent / "witness"


def test_committed_portable_runs_come_back_bit_for_bit(tmp_path):
    records, problems = Store(WITNESS).scan()
    assert (len(records), problems) == (2, [])
    packages = records[0].provenance.packages
    if any(version(name) != found for name, found in packages.items()):
        pytest.skip(f"they were made with {packages}")
    copy = tmp_path / "results"  # whoever lists records leaves an index beside them
    (copy / "scenes").mkdir(parents=True)
    for file in (WITNESS / "scenes").iterdir():
        (copy / "scenes" / file.name).write_bytes(file.read_bytes())
    result = CliRunner().invoke(main, ["verify", "--results", str(copy), "--sample", "2"])
    assert result.exit_code == 0, result.output
    assert result.output.count("came back bit for bit") == 2, result.output
