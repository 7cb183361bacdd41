"""The files of claims: complete, and their criteria as they were when the first run began whose record they judge."""

import hashlib
import json
import tomllib
from importlib.resources import files

import pytest

from benchmark.grid import load_grid

FOLDER = files("benchmark") / "claims"
#: Over the table ``criterion`` of each file, in JSON with sorted keys.
CRITERIA = {
    "attention-single-task": "ae972e976b236280",
    "dwa-equal": "4fe59da015f2df2f",
    "fixed-weights-front": "c363252fe86f0bb6",
    "mtan-better": "ea14b223c23acccd",
    "mtan-insensitive": "c3e73ee7037f20a4",
    "random-weights": "5190fa8548eee47e",
    "unitary-scalarisation": "ef8d82e5995c0af2",
}


def test_every_claim_has_a_frozen_criterion():
    assert {item.name for item in FOLDER.iterdir()} == {f"{name}.toml" for name in CRITERIA}


@pytest.mark.parametrize("name", CRITERIA)
def test_a_claims_file_is_complete_and_its_criterion_unchanged(name):
    claim = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    criterion = claim.pop("criterion")
    assert claim.keys() == {"title", "source", "claim", "small_version", "distance", "grid", "datasets"}
    assert set(claim["datasets"]) <= load_grid(claim["grid"]).datasets.keys()
    assert criterion.keys() == {"margin", "error_rate", "quantity", "supported", "contradicted"}
    text = json.dumps(criterion, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == CRITERIA[name], "a criterion does not change after runs"
