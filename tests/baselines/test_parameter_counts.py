"""Parameters of all sharing patterns over the suite's backbones, from formulas; over timm's see ``test_timm``."""

import pytest

from benchmark import build_model
from tests.architectures import FIRST, LATER, shapes_only
from tests.baselines import formulas
from tests.baselines.patterns import DENSE, WHOLE

pytestmark = pytest.mark.slow

WIDTH = 16
#: Variants of the network that a pattern's name stands for.
VARIANTS = {"split-wide": {"wide": True}, "split-deep": {"deep": True}}


@pytest.mark.parametrize("name", [*FIRST, *LATER])
@pytest.mark.parametrize(
    ("backbone", "network", "tasks"),
    [
        ("segnet", formulas.segnet, DENSE),
        ("unet", formulas.unet, DENSE),
        ("unet", formulas.unet, WHOLE),
        ("wrn-10-2", formulas.wrn_10_2, WHOLE),
    ],
    ids=["segnet", "unet", "unet-whole", "wrn"],
)
def test_parameter_counts_follow_the_formula(name, backbone, network, tasks):
    for count in (3, 1):
        with shapes_only():
            model = build_model(name, tasks[:count], backbone=backbone, width=WIDTH)
        expected = formulas.parameters(name, tasks[:count], network(WIDTH, **VARIANTS.get(name, {})))
        assert sum(p.numel() for p in model.parameters()) == expected, f"{count} tasks"
