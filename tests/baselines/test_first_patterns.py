"""The first paper's sharing patterns, each against a network written out by hand, over a unet of three levels."""

import torch
import torch.nn.functional as F

from tests.baselines.patterns import DENSE, cbr, convolve, head, joined, made, normalise, same_predictions, stage


def whole(trunk, images):
    """What leaves a unet."""
    first = stage(trunk[0], images)
    second = stage(trunk[1], first)
    x = stage(trunk[3], joined(stage(trunk[2], second), second))
    return stage(trunk[4], joined(x, first))


def test_split():
    model, images = made("split", "dense")
    x = whole(model.trunk, images)
    same_predictions(model, images, [head(model.heads[k], x) for k in range(3)])


def test_single_task():
    model, images = made("single-task", "dense")
    same_predictions(
        model, images, [head(network.heads[0], whole(network.trunk, images)) for network in model.networks]
    )


def test_cross_stitch():
    model, images = made("cross-stitch", "dense")
    xs, skips = [images] * 3, []
    for s in range(5):
        if s:
            mixture = model.stitches[s - 1].weight
            xs = [sum(mixture[k, j] * xs[j] for j in range(3)) for k in range(3)]
        if s > 2:
            xs = [joined(x, skip) for x, skip in zip(xs, skips[4 - s], strict=True)]
        xs = [stage(model.streams[k][s], xs[k]) for k in range(3)]
        skips.append(xs)
    same_predictions(model, images, [head(model.heads[k], xs[k]) for k in range(3)])


def test_dense():
    model, images = made("dense", "dense")
    shared = [stage(model.shared[0], images)]
    shared += [stage(model.shared[1], shared[0])]
    shared += [stage(model.shared[2], shared[1])]
    up = joined(shared[2], shared[1])
    last = joined(stage(model.shared[3], up), shared[0])
    outputs = []
    for k, stream in enumerate(model.streams):
        first = stage(stream[0], images)
        second = stage(stream[1], torch.cat((first, shared[0]), 1))
        third = stage(stream[2], torch.cat((second, shared[1]), 1))
        x = stage(stream[3], torch.cat((joined(third, second), up), 1))
        outputs.append(head(model.heads[k], stage(stream[4], torch.cat((joined(x, first), last), 1))))
    same_predictions(model, images, outputs)


def masked(model, k, images):
    """What leaves task ``k``'s path of an MTAN."""

    def mask(level, *features):
        layers = model.attention[k][level]
        x = normalise(layers[1], convolve(layers[0], torch.cat(features, 1))).clamp(min=0)
        return normalise(layers[4], convolve(layers[3], x)).sigmoid()

    x, a, skips = images, (), []
    for level in range(3):
        u = cbr(model.trunk[level].first, x)
        x = cbr(model.trunk[level].rest[0], u)
        a = cbr(model.transforms[level], mask(level, u, *a) * x)
        a = (F.max_pool2d(a, 2, ceil_mode=True) if level < 2 else a,)
        skips.append(x)
    for level in (3, 4):
        x = joined(x, skips[4 - level])
        b = cbr(model.transforms[level], F.interpolate(*a, x.shape[-2:], mode="bilinear", align_corners=True))
        found = mask(level, x, b)
        x = stage(model.trunk[level], x)
        a = (found * x,)
    return head(model.heads[k], *a)


def test_mtan():
    model, images = made("mtan", "dense")
    same_predictions(model, images, [masked(model, k, images) for k in range(len(DENSE))])


def test_stan():
    model, images = made("stan", "dense")
    same_predictions(model, images, [masked(network, 0, images) for network in model.networks])
