"""Forward passes against networks written out by hand from the papers' layer tables, with the same weights."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmark import Task, build_model

DENSE = (Task("semantic", "segmentation", 5), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("left", "classification", 4), Task("right", "classification", 3))
WIDTH = 4
F0, F1, F2, F3, F4 = CHANNELS = (4, 8, 16, 32, 32)


def cbr(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())


def att(a, b):
    return nn.Sequential(
        nn.Conv2d(a, b, 1), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 1), nn.BatchNorm2d(b), nn.Sigmoid()
    )


def head(a, c):
    return nn.Sequential(nn.Conv2d(a, a, 3, padding=1), nn.Conv2d(a, c, 1))


def block(a, b, c, layers):
    return nn.Sequential(*{2: [cbr(a, b), cbr(b, c)], 3: [cbr(a, b), cbr(b, b), cbr(b, c)]}[layers])


def with_weights(module, source):
    """``module`` with the values of ``source``, whose names may differ but whose order and shapes may not."""
    module.load_state_dict(dict(zip(module.state_dict(), source.state_dict().values(), strict=True)))
    return module


def pool(x):
    return F.max_pool2d(x, 2, 2, return_indices=True)


def unpool(x, indices):
    return F.max_unpool2d(x, indices, 2, 2)


def model_and_images(name, tasks=DENSE, size=(64, 96), **options):
    torch.manual_seed(3)
    model = build_model(name, tasks, width=WIDTH, **options)
    for p in model.parameters():  # biases that are not zero, batch norms that are not 1 and 0
        p.data += 0.1 * torch.randn(p.shape)
    return model, torch.rand(2, 3, *size)


def finish(outputs):
    semantic, depth, normals = outputs
    return {"semantic": semantic, "depth": depth, "normals": normals / normals.norm(dim=1, keepdim=True)}


def assert_same(predictions, expected):
    assert list(predictions) == list(expected)
    for name, prediction in predictions.items():
        torch.testing.assert_close(prediction, expected[name], rtol=1e-4, atol=1e-5)


ENCODER = [(3, F0, 2), (F0, F1, 2), (F1, F2, 3), (F2, F3, 3), (F3, F4, 3)]
DECODER = [(F4, F3, 3), (F3, F2, 3), (F2, F1, 3), (F1, F0, 2), (F0, F0, 2)]


def test_split():
    model, images = model_and_images("split")
    stages = [with_weights(block(a, b, b, n), m) for (a, b, n), m in zip(ENCODER + DECODER, model.trunk, strict=True)]
    indices, x = [], images
    for stage in stages[:5]:
        x, index = pool(stage(x))
        indices.append(index)
    for stage in stages[5:]:
        x = stage(unpool(x, indices.pop()))
    heads = [with_weights(head(F0, t.channels), h)(x) for t, h in zip(DENSE, model.heads, strict=True)]
    assert_same(model(images), finish(heads))


def test_mtan():
    model, images = model_and_images("mtan")
    trunk = [with_weights(block(a, b, b, n), m) for (a, b, n), m in zip(ENCODER + DECODER, model.trunk, strict=True)]
    first = [nn.Sequential(*stage[:1]) for stage in trunk]
    rest = [nn.Sequential(*stage[1:]) for stage in trunk]
    transforms = [(F0, F1), (F1, F2), (F2, F3), (F3, F4), (F4, F4), (F4, F4), (F3, F2), (F2, F1), (F1, F0), (F0, F0)]
    transforms = [with_weights(cbr(a, b), m) for (a, b), m in zip(transforms, model.transforms, strict=True)]
    masks = [(F0, F0), (2 * F1, F1), (2 * F2, F2), (2 * F3, F3), (2 * F4, F4)]
    masks += [(F4 + F3, F3), (F3 + F2, F2), (F2 + F1, F1), (F1 + F0, F0), (2 * F0, F0)]

    # The shared network first.
    u, p, indices, x = [], [], [], images
    for i in range(5):
        u.append(first[i](x))
        p.append(rest[i](u[i]))
        x, index = pool(p[i])
        indices.append(index)
    entered, q = {}, {}
    for level in (4, 3, 2, 1, 0):
        entered[level] = unpool(x, indices[level])
        x = q[level] = rest[9 - level](first[9 - level](entered[level]))

    outputs = []
    for k, task in enumerate(DENSE):
        attention = [with_weights(att(a, b), m) for (a, b), m in zip(masks, model.attention[k], strict=True)]
        a = None
        for i in range(5):
            mask = attention[i](u[i] if i == 0 else torch.cat((u[i], a), 1))
            a = F.max_pool2d(transforms[i](mask * p[i]), 2, 2)
        for level in (4, 3, 2, 1, 0):
            b = transforms[9 - level](F.interpolate(a, scale_factor=2, mode="bilinear", align_corners=True))
            a = attention[9 - level](torch.cat((entered[level], b), 1)) * q[level]
        outputs.append(with_weights(head(F0, task.channels), model.heads[k])(a))
    assert_same(model(images), finish(outputs))


def test_dense():
    model, images = model_and_images("dense")
    shared = [
        with_weights(block(a, b, b, n), m) for (a, b, n), m in zip(ENCODER + DECODER[:-1], model.shared, strict=True)
    ]
    joined = [(3, F0, F0, 2), *((2 * a, b, b, n) for a, b, n in ENCODER[1:] + DECODER[:-1]), (2 * F0, 2 * F0, F0, 2)]

    pooled, unpooled, indices, x = [], {}, [], images
    for i in range(5):
        x, index = pool(shared[i](x))
        pooled.append(x)
        indices.append(index)
    for level in (4, 3, 2, 1, 0):
        unpooled[level] = unpool(x, indices[level])
        if level > 0:
            x = shared[9 - level](unpooled[level])

    outputs = []
    for k, task in enumerate(DENSE):
        stages = [with_weights(block(*shape), m) for shape, m in zip(joined, model.streams[k], strict=True)]
        x, own = images, []
        for i in range(5):
            x, index = pool(stages[i](x if i == 0 else torch.cat((x, pooled[i - 1]), 1)))
            own.append(index)
        for level in (4, 3, 2, 1, 0):
            x = stages[9 - level](torch.cat((unpool(x, own[level]), unpooled[level]), 1))
        outputs.append(with_weights(head(F0, task.channels), model.heads[k])(x))
    assert_same(model(images), finish(outputs))


def check_cross_stitch(stitch):
    model, images = model_and_images("cross-stitch", stitch=stitch)
    streams = [
        [with_weights(block(a, b, b, n), m) for (a, b, n), m in zip(ENCODER + DECODER, stream, strict=True)]
        for stream in model.streams
    ]
    weights = [next(m.parameters()) for m in model.stitches]
    rows = weights if stitch == "matrix" else [w.expand(3, 3) for w in weights]

    def mix(place, xs):
        return [sum(rows[place][k, j] * xs[j] for j in range(3)) for k in range(3)]

    xs, indices = [images] * 3, [[], [], []]
    for i in range(5):
        for k in range(3):
            xs[k], index = pool(streams[k][i](xs[k]))
            indices[k].append(index)
        xs = mix(i, xs)
    for level in (4, 3, 2, 1, 0):
        xs = [streams[k][9 - level](unpool(xs[k], indices[k][level])) for k in range(3)]
        if level > 0:
            xs = mix(9 - level, xs)
    outputs = [with_weights(head(F0, t.channels), model.heads[k])(xs[k]) for k, t in enumerate(DENSE)]
    assert_same(model(images), finish(outputs))


def test_cross_stitch_matrix():
    check_cross_stitch("matrix")


def test_cross_stitch_vector():
    check_cross_stitch("vector")


class Block(nn.Module):
    """A pre-activation wide block of the MTAN authors' WRN: the second convolution has the stride."""

    def __init__(self, a, b, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(a), nn.Conv2d(a, b, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(b), nn.Conv2d(b, b, 3, stride=stride, padding=1)
        if stride > 1:
            self.short = nn.Conv2d(a, b, 1, stride=stride)

    def forward(self, x):
        y = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return y + (self.short(x) if hasattr(self, "short") else x)


def test_mtan_on_the_visual_decathlon_network():
    model, images = model_and_images("mtan", WHOLE, (32, 32), backbone="wrn-16-2")
    c = (WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH)
    stages = [nn.Conv2d(3, c[0], 3, padding=1)]
    stages += [nn.Sequential(Block(c[i], c[i + 1], 2), Block(c[i + 1], c[i + 1], 1)) for i in range(3)]
    stages[3] = nn.Sequential(*stages[3], nn.BatchNorm2d(c[3]), nn.ReLU())
    stages = [with_weights(stage, m) for stage, m in zip(stages, model.trunk, strict=True)]
    transforms = [(c[0], c[1]), (c[1], c[2]), (c[2], c[3]), (c[3], c[3])]
    transforms = [with_weights(cbr(a, b), m) for (a, b), m in zip(transforms, model.transforms, strict=True)]

    g = [stages[0](images)]
    for stage in stages[1:]:
        g.append(stage(g[-1]))
    expected = {}
    for k, task in enumerate(WHOLE):
        attention = [att(c[0], c[0])] + [att(2 * f, f) for f in c[1:]]
        attention = [with_weights(a, m) for a, m in zip(attention, model.attention[k], strict=True)]
        a = F.max_pool2d(transforms[0](attention[0](g[0]) * g[0]), 2, 2)
        for j in (1, 2, 3):
            a = transforms[j](attention[j](torch.cat((g[j], a), 1)) * g[j])
            if j < 3:
                a = F.max_pool2d(a, 2, 2)
        linear = with_weights(nn.Linear(c[3], task.channels), model.heads[k])
        expected[task.name] = linear(F.avg_pool2d(a, 4).flatten(1))
    assert_same(model(images), expected)


class Skipping:
    """Stages of a unet of three levels, written out, with the weights of a list of the model's stages.

    Args:
        stages: three on the way down, two on the way up.
        joined: features that every stage past the first reads side by side.
    """

    C = (WIDTH, 3 * WIDTH, 2 * WIDTH)

    def __init__(self, stages, joined=1):
        a, b, c = self.C
        shapes = [(3, a), (joined * a, b), (joined * b, c), (joined * (c + b), b), (joined * (b + a), a)]
        built = [
            nn.Sequential(strided(i, o), cbr(o, o)) if level < 3 else nn.Sequential(cbr(i, o))
            for level, (i, o) in enumerate(shapes)
        ]
        self.stages = [with_weights(own, stage) for own, stage in zip(built, stages, strict=False)]

    def __getitem__(self, level):
        return self.stages[level]


def strided(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())


def above(x, skip):
    """Each value repeated to the size of the skip, which is one row or column less than double where that is odd."""
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.cat((twice[..., : skip.shape[2], : skip.shape[3]], skip), 1)


def full(x):
    """From (12, 18) or so to (24, 36): the mean of the two nearest values in each direction, weighted 3 to 1."""
    for dim in (2, 3):
        n = x.shape[dim]
        before = x.index_select(dim, torch.arange(-1, n - 1).clamp(min=0))
        after = x.index_select(dim, torch.arange(1, n + 1).clamp(max=n - 1))
        x = torch.stack((0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after), dim + 1).flatten(dim, dim + 1)
    return x


def unet_and_images(name, **options):
    # Half of 36 × 44 pixels is 18 × 22, then 9 × 11, then 5 × 6: one map is odd on the way up.
    return model_and_images(name, size=(36, 44), backbone="unet-1-3-2", **options)


def unet_outputs(model, features):
    heads = [with_weights(head(WIDTH, t.channels), h) for t, h in zip(DENSE, model.heads, strict=True)]
    return finish([full(own(x)) for own, x in zip(heads, features, strict=True)])


def test_split_over_a_unet():
    model, images = unet_and_images("split")
    stages = Skipping(model.trunk)
    first = stages[0](images)
    second = stages[1](first)
    x = stages[3](above(stages[2](second), second))
    x = stages[4](above(x, first))
    assert_same(model(images), unet_outputs(model, [x] * 3))


def test_a_cross_stitch_leaves_skips_to_their_own_streams():
    model, images = unet_and_images("cross-stitch")
    streams = [Skipping(stream) for stream in model.streams]
    rows = [m.weight for m in model.stitches]

    def mix(place, xs):
        return [sum(rows[place][k, j] * xs[j] for j in range(3)) for k in range(3)]

    first = [s[0](images) for s in streams]
    second = [s[1](x) for s, x in zip(streams, mix(0, first), strict=True)]
    xs = mix(2, [s[2](x) for s, x in zip(streams, mix(1, second), strict=True)])
    xs = mix(3, [streams[k][3](above(xs[k], second[k])) for k in range(3)])
    xs = [streams[k][4](above(xs[k], first[k])) for k in range(3)]
    assert_same(model(images), unet_outputs(model, xs))


def test_dense_joins_streams_that_have_their_own_skips():
    model, images = unet_and_images("dense")
    shared = Skipping(model.shared)
    one = shared[0](images)
    two = shared[1](one)
    low = above(shared[2](two), two)
    high = above(shared[3](low), one)
    outputs = []
    for stream in model.streams:
        own = Skipping(stream, joined=2)
        first = own[0](images)
        second = own[1](torch.cat((first, one), 1))
        x = own[2](torch.cat((second, two), 1))
        x = own[3](torch.cat((above(x, second), low), 1))
        outputs.append(own[4](torch.cat((above(x, first), high), 1)))
    assert_same(model(images), unet_outputs(model, outputs))


def test_mtan_masks_a_unet_whose_skips_are_shared():
    model, images = unet_and_images("mtan")
    a, b, c = Skipping.C
    trunk = Skipping(model.trunk)
    transforms = [(a, b), (b, c), (c, c), (c, b), (b, a)]
    transforms = [with_weights(cbr(i, o), m) for (i, o), m in zip(transforms, model.transforms, strict=True)]
    masks = [(a, a), (2 * b, b), (2 * c, c), (c + b + b, b), (b + a + a, a)]

    u, p, x = [], [], images
    for level in range(3):
        u.append(trunk[level][0](x))
        x = trunk[level][1](u[level])
        p.append(x)
    low = above(p[2], p[1])
    q3 = trunk[3](low)
    high = above(q3, p[0])
    q4 = trunk[4](high)

    def pool_up(x):
        return F.max_pool2d(x, 2, ceil_mode=True)

    outputs = []
    for own in model.attention:
        attention = [with_weights(att(i, o), m) for (i, o), m in zip(masks, own, strict=True)]
        path = pool_up(transforms[0](attention[0](u[0]) * p[0]))
        path = pool_up(transforms[1](attention[1](torch.cat((u[1], path), 1)) * p[1]))
        path = transforms[2](attention[2](torch.cat((u[2], path), 1)) * p[2])
        for level, entered, left in ((3, low, q3), (4, high, q4)):
            large = F.interpolate(path, size=entered.shape[2:], mode="bilinear", align_corners=True)
            path = attention[level](torch.cat((entered, transforms[level](large)), 1)) * left
        outputs.append(path)
    assert_same(model(images), unet_outputs(model, outputs))
