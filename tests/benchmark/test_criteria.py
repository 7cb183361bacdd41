"""The files of claims: complete, and their criteria as they were when the first run began whose record they judge."""

import hashlib
import json
import tomllib
from importlib.resources import files

import pytest

from benchmark.claims import claim_named, claim_names
from benchmark.runs.grid import load_grid

FOLDER = files("benchmark") / "claims"
#: Over the table ``criterion`` of each file, and over what computes it (``grid``, ``datasets``, ``holds``, ``rules``).
HASHES = {
    "adam-sgd": ("ce65674f3eda8072", "e7676547fa2179cc"),
    "attention-single-task": ("ae972e976b236280", "9e1d9df84a716cef"),
    "distillation-better": ("91ec6776bce4d81e", "37134b4bbb5663a6"),
    "dwa-equal": ("4fe59da015f2df2f", "a5de36ee971da0ad"),
    "experts-better": ("abc446e52a6e14aa", "c1d39d81865c4c78"),
    "fixed-weights-front": ("c363252fe86f0bb6", "f937f2530f25b035"),
    "mtan-better": ("ea14b223c23acccd", "2aa71e327d7881f7"),
    "mtan-insensitive": ("c3e73ee7037f20a4", "62700c0e90b2098d"),
    "nddr-better": ("1abbbe6d5b2993e8", "c5838b908f1b5d9e"),
    "ple-better": ("d2693ce35c3122f5", "df06ca887127f943"),
    "random-weights": ("5190fa8548eee47e", "835282c59281b038"),
    "regularised-scalarisation": ("8b229bd5a27e4076", "549f6dabcffcb239"),
    "unitary-scalarisation": ("ef8d82e5995c0af2", "b01295fb4092d139"),
    "wide-networks": ("97984af070590458", "e6bdf61b3bb773f2"),
}


def of(values):
    """16 hex digits of a table."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def test_every_claim_has_a_frozen_criterion():
    assert claim_names() == sorted(HASHES)


@pytest.mark.parametrize("name", HASHES)
def test_a_claims_file_is_complete_and_its_criterion_unchanged(name):
    criterion = tomllib.loads((FOLDER / f"{name}.toml").read_text())["criterion"]
    written, computed = HASHES[name]
    assert of(criterion) == written, "a criterion does not change after runs"
    claim = claim_named(name)
    assert claim.criterion_hash == written
    assert of(claim.model_dump(mode="json", include={"grid", "datasets", "holds", "rules"})) == computed
    assert set(claim.datasets) <= load_grid(claim.grid).datasets.keys()
    assert claim.needed()
