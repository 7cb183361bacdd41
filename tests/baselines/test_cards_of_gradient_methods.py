"""Cards of the methods that see gradients: they tell the origin of every option that there is."""

import pytest

from benchmark.registry import WEIGHTINGS
from benchmark.weighting import card

NAMES = ("graddrop", "imtl", "moco", "sdmgrad", "modo", "excessmtl", "db-mtl")


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_whole(name):
    found = card(name)
    assert found is not None
    assert set(found.hyperparameters) == set(WEIGHTINGS[name].defaults)
    assert found.url.startswith("https://")
    assert found.sum_of_weights in ("K", "1", "free")
    assert found.paper
    assert found.formula
    assert all(found.deviations)
    assert found.bibtex.startswith("@")
    assert found.bibtex.count("{") == found.bibtex.count("}")
