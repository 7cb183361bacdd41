"""The rendered rooms are worth learning: colour alone tells little, and the study's networks learned much more.

Their records are committed, and rendered bytes and portable runs are checked elsewhere (test_golden, test_witness).
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.data.scenes import Scenes, render
from benchmark.runs.expansion import expand
from benchmark.runs.filters import AS_IN_THE_GRID
from benchmark.runs.grid import load_grid
from benchmark.runs.store import Store
from benchmark.tasks.segmentation import mean_iou

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parents[3] / "results"
HEIGHT, WIDTH, TRAIN, TEST = 48, 64, 200, 100
SEMANTIC = Scenes.tasks[0]


@pytest.fixture(scope="module")
def splits():
    """A part of the study's rooms, in their size."""
    scenes = Scenes(train=TRAIN, test=TEST)
    return [render(scenes.seeds(split), height=HEIGHT, width=WIDTH) for split in ("train", "test")]


@pytest.fixture(scope="module")
def metrics():
    """By task, what the study's network with a shared trunk made of the test split after its last epoch, seed 0."""
    specs = expand(load_grid("study-architectures", {}), replace(AS_IN_THE_GRID, datasets=("scenes",), seeds=(0,)))
    (spec,) = (s for s in specs if s.architecture.name == "split" and s.weighting and s.weighting.name == "equal")
    record = Store(RESULTS).get(spec)
    assert (spec.dataset.options["height"], spec.dataset.options["width"]) == (HEIGHT, WIDTH)
    return record.curves[-1].metrics["test"]


def mean_depth(split):
    return split["depth"][split["depth"] > 0].float().mean().item()


def colour_code(images, levels):
    """Each pixel's colour as one number."""
    r, g, b = ((images.long() * levels) >> 8).unbind(1)
    return (r * levels + g) * levels + b


def best_colour_miou(train, test):
    """The best mIoU (%) over histogram classifiers of a few finenesses and class weights, chosen on test itself."""
    classes, best = SEMANTIC.channels, 0.0
    label, truth = train["semantic"].long(), test["semantic"].long()
    known, judged_ = label >= 0, truth >= 0
    for levels in (8, 16, 32):
        cell = colour_code(train["image"], levels)[known] * classes + label[known]
        counts = torch.bincount(cell, minlength=levels**3 * classes).view(-1, classes).double()
        for power in (0, 0.5, 1):
            decided = (counts / counts.sum(0) ** power).argmax(1)[colour_code(test["image"], levels)]
            confusion = torch.bincount(truth[judged_] * classes + decided[judged_], minlength=classes**2)
            confusion = confusion.view(classes, classes).double()
            best = max(best, 100 * mean_iou(confusion, confusion.sum(0)).item())
    return best


def test_colour_alone_stays_under_half_of_a_network(splits, metrics):
    colour, network = best_colour_miou(*splits), metrics["semantic"]["miou"]
    assert colour < network / 2, f"colour {colour:.1f} %, network {network:.1f} %"


def test_a_network_finds_depth(splits, metrics):
    train, test = splits
    truth = test["depth"][test["depth"] > 0].float()
    from_mean, network = (truth - mean_depth(train)).abs().mean().item(), metrics["depth"]["abs_error"]
    assert network < 0.6 * from_mean, f"network {network:.3f} m, training mean {from_mean:.3f} m"
