"""The commands with ``--device cuda``, workers included: every process believes in the pretended device."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GRID = """
description = "What the rehearsal runs."
seeds = [0]
architectures = ["split"]
weightings = ["equal", "mgda"]

[architecture]
width = 2

[protocol]
epochs = 2
batch_size = 4
learning_rate = 1e-3
lr_step = 1

[datasets.scenes.options]
height = 36
width = 48
train = 12
val = 4
test = 4
"""


#: The command, with a peak that a processor reaches in no time: a GPU's takes it minutes.
PROGRAM = """
from benchmark.cli import main
from benchmark.speed import peak

peak.MATRIX["cuda"], peak.MAPS["cuda"] = 64, (2, 8, 16, 16)
main()
"""


def mtbench(folder, *words, **variables):
    """What a command says; it went well."""
    everywhere = f"{Path(__file__).parent / 'everywhere'}:{ROOT}"
    environment = {**os.environ, "PYTHONPATH": everywhere, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path


def test_run_and_status_on_a_numbered_device(grid):
    words = ["--grid", "grid.toml", "--device", "cuda:0", "--precision", "fp32"]
    said = mtbench(grid, "run", *words, "--workers", "auto", "--cuda-graphs", "--deterministic")
    assert re.search(r"\d at once: 1 do \S+ steps a second", said), said  # processes of their own have taken steps
    records = [json.loads(path.read_text()) for path in (grid / "results").glob("scenes/*.json")]
    assert [record["status"] for record in records] == ["ok", "ok", "ok"]  # the references are part of every grid
    assert all(record["provenance"]["device"].startswith("Pretended") for record in records)
    assert all(record["provenance"]["determinism"]["deterministic_algorithms"] for record in records)
    assert "3 done, 0 failed, 0 missing" in mtbench(grid, "status", *words)


def test_speed(grid):
    words = ["--architecture", "split", "--width", "4", "--size", "32x32", "--batch", "2", "--steps", "2"]
    mtbench(grid, "speed", *words, "--device", "cuda:1", "--precision", "fp32", "--cuda-graphs", "--json", "speed.json")
    (row,) = json.loads((grid / "speed.json").read_text())["architectures"]
    assert row["error"] is None
    assert row["peak_bytes"] > 0
