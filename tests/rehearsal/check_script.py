"""The measures of ``scripts/gpu_check.py`` that are no command of the suite."""

import importlib.util
import json
from pathlib import Path

import pytest

from benchmark.training.hardware import choose_kernels
from tests.rehearsal.cells import DEVICE

FILE = Path(__file__).parents[2] / "scripts" / "gpu_measures.py"


@pytest.fixture(scope="module")
def measures():
    """The script's functions; the choice of kernels that some make is taken back."""
    spec = importlib.util.spec_from_file_location("gpu_measures", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    choose_kernels(False)


def test_the_machine(measures, tmp_path):
    assert measures.machine(tmp_path / "found.json", "cuda", False) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["gpu"].startswith("Pretended")
    assert found["missing packages"] == []


@pytest.mark.filterwarnings("ignore:.* does not have a deterministic implementation")
@pytest.mark.parametrize("name", ["agreement", "graphs"])
def test_what_it_holds_the_device_to(measures, tmp_path, name):
    assert measures.MEASURES[name](tmp_path / "found.json", DEVICE, True) == 0
    rows = json.loads((tmp_path / "found.json").read_text())
    verdict = {"agreement": "agrees", "graphs": "replayed is eager"}[name]
    assert len(rows) > 1
    assert all(row[verdict] for row in rows.values())
