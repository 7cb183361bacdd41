"""The rendered rooms are worth learning: colour alone tells little, a network in a quarter of a minute much more."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.data.scenes import Scenes, render
from benchmark.tasks.segmentation import mean_iou

pytestmark = pytest.mark.slow

HEIGHT, WIDTH, TRAIN, TEST = 36, 48, 800, 100
TASKS = SEMANTIC, DEPTH = Scenes.tasks[:2]
STEPS = 260


@pytest.fixture(scope="module")
def splits():
    scenes = Scenes(train=TRAIN, test=TEST)
    return [render(scenes.seeds(split), height=HEIGHT, width=WIDTH) for split in ("train", "test")]


def block(inputs, outputs, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Net(nn.Module):
    """A small encoder-decoder with skip connections, at half resolution, for classes and depth at once."""

    def __init__(self, mean_depth):
        super().__init__()
        widths = [16, 32, 48, 64, 96]
        self.down = nn.ModuleList(
            nn.Sequential(block(a, b, 2), block(b, b)) for a, b in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(block(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.head = nn.Conv2d(widths[0], SEMANTIC.channels + 1, 1)
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[-1:], mean_depth)

    def forward(self, images):
        x, levels = images.float() / 127.5 - 1, []
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        for stage, level in zip(self.up, levels[-2::-1], strict=True):
            x = stage(torch.cat([F.interpolate(x, size=level.shape[-2:]), level], 1))
        x = F.interpolate(self.head(x), scale_factor=2, mode="bilinear")
        return {"semantic": x[:, :-1], "depth": x[:, -1:]}


@pytest.fixture(scope="module")
def metrics(splits):
    """By task, what a network makes of the test split after some steps of AdamW on a cosine; the same on every run."""
    train, test = splits
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net(mean_depth(train))
    optimiser = torch.optim.AdamW(net.parameters(), lr=7e-3, weight_decay=1e-2)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 7e-3 * min(1, (step + 1) / 20) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))
        index = torch.randint(0, TRAIN, (16,), generator=generator)
        batch = {name: train[name][index] for name in ("image", "semantic", "depth")}
        if torch.rand((), generator=generator) < 0.5:
            batch = {name: values.flip(-1) for name, values in batch.items()}
        predictions = net(batch["image"])
        loss = sum(task.loss(predictions[task.name], batch[task.name]) for task in TASKS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return judged(net.eval(), test)


def mean_depth(split):
    return split["depth"][split["depth"] > 0].float().mean().item()


def judged(net, test):
    """The tasks' metrics on the test split."""
    accumulators = {task.name: task.accumulator(torch.device("cpu")) for task in TASKS}
    with torch.inference_mode():
        for i in range(0, TEST, 20):
            predictions = net(test["image"][i : i + 20])
            for name, accumulator in accumulators.items():
                accumulator.update(predictions[name], test[name][i : i + 20])
    return {name: accumulator.compute() for name, accumulator in accumulators.items()}


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
