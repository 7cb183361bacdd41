"""Sharing patterns beyond the first paper's: each against a network written out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.architectures import affinity
from baselines.architectures.dselect_k import smooth_step
from benchmark.errors import UsageError
from tests.baselines.patterns import (
    DENSE,
    WHOLE,
    build,
    cbr,
    close,
    convolve,
    head,
    joined,
    made,
    normalise,
    pictures,
    same_predictions,
    stage,
)

pytestmark = pytest.mark.slow


# Layers by hand, with a model's weights; others stand in ``patterns``.


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def weighted(weights, features):
    return sum(w[:, None, None, None] * f for w, f in zip(weights.T, features, strict=True))


def tower(model, k, deepest, skips):
    """A task's decoder over a unet of three levels, and its head."""
    x = stage(model.towers[k][0], joined(deepest, skips[1]))
    return head(model.heads[k], stage(model.towers[k][1], joined(x, skips[0])))


def test_mmoe():
    model, images = made("mmoe", "dense", experts=2)
    first = stage(model.trunk[0], images)
    second = stage(model.trunk[1], first)
    experts = [stage(expert, second) for expert in model.experts]
    outputs = []
    for k in range(3):
        logits = linear(model.gates[k], second.mean((2, 3)))
        weights = logits.exp() / logits.exp().sum(1, keepdim=True)
        outputs.append(tower(model, k, weighted(weights, experts), (first, second)))
    same_predictions(model, images, outputs)


def test_cgc_and_ple():
    model, images = made("ple", "dense", own_experts=2, shared_experts=1)
    first = stage(model.trunk[0], images)
    lower, upper = model.levels
    own = [[stage(expert, first) for expert in lower.experts[k]] for k in range(3)]
    common = stage(lower.common[0], first)
    gates = [linear(gate, first.mean((2, 3))).softmax(1) for gate in (*lower.gates, lower.gate)]
    mixtures = [weighted(gates[k], [*own[k], common]) for k in range(3)]
    shared = weighted(gates[3], [*(y for outputs in own for y in outputs), common])
    top = stage(upper.common[0], shared)
    outputs = []
    for k in range(3):
        experts = [*(stage(expert, mixtures[k]) for expert in upper.experts[k]), top]
        deepest = weighted(linear(upper.gates[k], mixtures[k].mean((2, 3))).softmax(1), experts)
        outputs.append(tower(model, k, deepest, (first, mixtures[k])))
    same_predictions(model, images, outputs)

    alone, images = made("cgc", "dense")
    first = stage(alone.trunk[0], images)
    second = stage(alone.trunk[1], first)
    (level,) = alone.levels
    top = stage(level.common[0], second)
    outputs = [
        tower(
            alone,
            k,
            weighted(linear(level.gates[k], second.mean((2, 3))).softmax(1), [stage(level.experts[k][0], second), top]),
            (first, second),
        )
        for k in range(3)
    ]
    same_predictions(alone, images, outputs)


def test_dselect_k():
    model, images = made("dselect-k", "dense", experts=3, selected=2, gamma=1.5, entropy=0.2)
    first = stage(model.trunk[0], images)
    second = stage(model.trunk[1], first)
    summary = second.mean((2, 3))
    experts = [stage(expert, second) for expert in model.experts]
    outputs, term = [], 0.0
    for k in range(3):
        gate = model.gates[k]
        shares, codes = linear(gate.weights, summary).softmax(1), linear(gate.codes, summary)
        weights = torch.zeros(3, 3, dtype=torch.float64)
        for b in range(3):
            for i in range(2):
                bits = []
                for t in codes[b, 2 * i : 2 * i + 2].tolist():
                    inside = -2 / 1.5**3 * t**3 + 3 / 3 * t + 0.5
                    bits.append(0.0 if t <= -0.75 else 1.0 if t >= 0.75 else inside)
                low, high = bits
                chosen = [(1 - high) * (1 - low), (1 - high) * low, high * (1 - low)]
                weights[b] += shares[b, i].detach() * torch.tensor(chosen, dtype=torch.float64)
                entropy = -sum(p * math.log(p + 1e-6) for p in chosen)
                term += 0.2 * (entropy + 1 / (sum(chosen) + 1e-6)) / 3
        outputs.append(tower(model, k, weighted(weights, experts), (first, second)))
    found = same_predictions(model, images, outputs)
    assert found.regulariser.item() == pytest.approx(term, rel=1e-9)
    assert type(model.eval()(images)) is dict


def test_the_smooth_step_is_a_step_with_no_kink():
    t = torch.tensor([-9.0, -0.5, -0.25, 0.0, 0.25, 0.5, 9.0], requires_grad=True)
    found = smooth_step(t, 1.0)
    assert found.tolist() == [0, 0, 0.15625, 0.5, 0.84375, 1, 1]
    found.sum().backward()
    assert t.grad.tolist() == [0, 0, 1.125, 1.5, 1.125, 0, 0]


def test_nddr_cnn():
    model, images = made("nddr-cnn", "dense")
    xs, skips = [images] * 3, []
    for s in range(5):
        if s > 2:
            skip = skips[4 - s]
            xs = [joined(x, own) for x, own in zip(xs, skip, strict=True)]
        xs = [stage(model.streams[k][s], xs[k]) for k in range(3)]
        skips.append(xs)
        every = torch.cat(xs, 1)
        xs = [cbr(model.reductions[s][k], every) for k in range(3)]
    same_predictions(model, images, [head(model.heads[k], xs[k]) for k in range(3)])


def test_nddr_starts_as_documented():
    model = build("nddr-cnn", DENSE, disturbed=False, backbone="unet-1-1", alpha=0.7, beta=0.4)
    x = torch.arange(9.0, dtype=torch.float64)  # channels 0, 1, 2 of three tasks each
    found = convolve(model.reductions[0][1][0], x.reshape(1, 9, 1, 1)).flatten()
    torch.testing.assert_close(found, 0.7 * x[3:6] + 0.2 * (x[:3] + x[6:]), rtol=1e-6, atol=0)  # starts in float32


def distilled(module, own, others):
    told = sum(convolve(m, x) for m, x in zip(module.messages, others, strict=True))
    return own + convolve(module.attention, own).sigmoid() * told


def others(k, features):
    return [x for t, x in enumerate(features) if t != k]


def test_pad_net():
    model, images = made("pad-net", "dense", auxiliary_weight=0.5)
    first = stage(model.trunk[0], images)
    second = stage(model.trunk[1], first)
    x = stage(model.trunk[3], joined(stage(model.trunk[2], second), second))
    between = [cbr(block, x) for block in model.blocks]
    outputs = [
        head(
            model.heads[k],
            stage(model.last[k], joined(distilled(model.distillations[k], between[k], others(k, between)), first)),
        )
        for k in range(3)
    ]
    found = same_predictions(model, images, outputs)
    assert [(one.name, one.task, one.weight) for one in found.auxiliary] == [("initial", t.name, 0.5) for t in DENSE]
    for one, feature, coarse in zip(found.auxiliary, between, model.coarse, strict=True):
        close(one.prediction, convolve(coarse, feature))
    assert type(model.eval()(images)) is dict


def test_mti_net():
    model, images = made("mti-net", "dense", scales=2)
    first = stage(model.trunk[0], images)
    second = stage(model.trunk[1], first)
    third = stage(model.trunk[2], second)
    fine, coarse = model.scales
    low = [cbr(block, third) for block in coarse.blocks]
    (step,) = model.propagations
    masks = convolve(step.masks[3], normalise(step.masks[1], convolve(step.masks[0], torch.cat(low, 1))).clamp(min=0))
    masks = torch.stack(masks.chunk(3, 1)).softmax(0)
    shared = cbr(step.shared, torch.cat([m * x for m, x in zip(masks, low, strict=True)], 1))
    told = []
    for k in range(3):
        squeezed = convolve(step.scales[k][1], shared.mean((2, 3), keepdim=True)).clamp(min=0)
        told.append(low[k] + convolve(step.scales[k][3], squeezed).sigmoid() * shared)
    size = second.shape[-2:]
    high = [
        cbr(block, torch.cat((second, F.interpolate(y, size, mode="bilinear")), 1))
        for block, y in zip(fine.blocks, told, strict=True)
    ]
    outputs = []
    for k in range(3):
        near = distilled(fine.distillations[k], high[k], others(k, high))
        far = F.interpolate(distilled(coarse.distillations[k], low[k], others(k, low)), size, mode="bilinear")
        outputs.append(head(model.heads[k], cbr(model.joins[k], torch.cat((near, far), 1))))
    found = same_predictions(model, images, outputs)
    assert [(one.name, one.task) for one in found.auxiliary] == [(f"scale {s}", t.name) for s in (1, 2) for t in DENSE]
    for one, features, scale, k in zip(
        found.auxiliary, [high] * 3 + [low] * 3, [fine] * 3 + [coarse] * 3, [0, 1, 2] * 2, strict=True
    ):
        close(one.prediction, convolve(scale.coarse[k], features[k]))


def test_ltb():
    model, images = made("ltb", "dense", temperature=2.0)
    torch.manual_seed(9)
    outputs = model(images)
    torch.manual_seed(9)
    xs, skips = [images] * 3, []
    shares = []  # of each node's skips: rows of the nodes of the present stage

    def choose(place):
        rows = []
        for choice in model.choices[place]:
            uniform = torch.rand(3, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
            rows.append(((choice.logits - torch.log(-torch.log(uniform))) / 2.0).softmax(0))
        return torch.stack(rows)

    def mix(rows, features):
        return [sum(w * x for w, x in zip(row, features, strict=True)) for row in rows]

    for s in range(5):
        if s:
            rows = choose(s - 1)
            xs = mix(rows, xs)
            shares = [rows @ before for before in shares]
        if s > 2:
            own = mix(shares[4 - s], skips[4 - s])
            xs = [joined(x, skip) for x, skip in zip(xs, own, strict=True)]
        xs = [stage(model.nodes[s][j], xs[j]) for j in range(3)]
        skips.append(xs)
        shares.append(torch.eye(3, dtype=torch.float64))
    xs = mix(choose(4), xs)
    for k, task in enumerate(DENSE):
        output = F.interpolate(head(model.heads[k], xs[k]), images.shape[-2:], mode="bilinear")
        close(outputs[task.name], task.finish(output))


def test_ltb_is_a_tree_without_noise_in_evaluation():
    model, images = made("ltb", "dense")
    with torch.no_grad():
        for place in model.choices:
            for child, parent in zip(place, (1, 1, 2), strict=True):
                child.logits.copy_(torch.eye(3)[parent])
        # The first two tasks read nodes 1, the third node 2, from the first stage to the last.
        tree = build("branched", DENSE, backbone="unet-1-1-2", tree="aab aab aab aab aab")
        for nodes, branches in zip(model.nodes, tree.branches, strict=True):
            branches[0].load_state_dict(nodes[1].state_dict())
            branches[1].load_state_dict(nodes[2].state_dict())
        tree.heads.load_state_dict(model.heads.state_dict())
        expected, found = tree.eval()(images), model.eval()(images)
        assert all(torch.equal(found[name], model(images)[name]) for name in found)
        for task in DENSE:
            close(found[task.name], expected[task.name])


def test_ltb_cools_down():
    model = build("ltb", DENSE, backbone="unet-1-1", temperature=4.0, last_temperature=1.0)
    found = []
    for epoch in range(4):
        model.begin_epoch(epoch, 4)
        found.append(float(model.temperature))
    assert found == [4, 3, 2, 1]


def test_ltb_unpools_by_the_indices_of_the_likeliest_node():
    model = build("ltb", DENSE, backbone="segnet", width=1)
    predictions = model(pictures((32, 32), 2))
    assert all(p.isfinite().all() for p in predictions.values())


def test_branched():
    model, images = made("branched", "dense", tree="aaa aab aab abc abc")
    assert [len(branches) for branches in model.branches] == [1, 2, 2, 3, 3]
    first = stage(model.branches[0][0], images)
    outputs = []
    for k, early in enumerate((0, 0, 1)):
        second = stage(model.branches[1][early], first)
        x = stage(model.branches[2][early], second)
        x = stage(model.branches[4][k], joined(stage(model.branches[3][k], joined(x, second)), first))
        outputs.append(head(model.heads[k], x))
    same_predictions(model, images, outputs)


@pytest.mark.parametrize(("tree", "same"), [("aaa", "split"), ("abc", "single-task")])
def test_the_ends_of_branching_are_split_and_single_task(tree, same):
    model = build("branched", DENSE, backbone="unet-1-1", tree=" ".join([tree] * 3))
    other = build(same, DENSE, backbone="unet-1-1")
    for g, network in enumerate([other] if same == "split" else other.networks):
        for branches, own in zip(model.branches, network.trunk, strict=True):
            branches[g].load_state_dict(own.state_dict())
        for k, one in enumerate(network.heads):
            model.heads[g + k].load_state_dict(one.state_dict())
    images = pictures((8, 8))
    expected = other(images)
    for name, prediction in model(images).items():
        close(prediction, expected[name])


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("aab", "a word for each of the 3 stages, each of 3 letters, one for each task .*; found 'aab'"),
        ("aaa ab abc", "each of 3 letters"),
        ("aab aab aaa", "'tree' parts 'semantic' and 'normals' at stage 2, and they meet again at stage 3"),
    ],
)
def test_what_is_no_tree_is_told(tree, message):
    with pytest.raises(UsageError, match=message):
        build("branched", DENSE, backbone="unet-1-1", tree=tree)


def test_affinity_is_that_of_the_order_of_dissimilarities():
    corners = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 0, 1], [0.3, 0, 0.9]])
    features = [[corners], [10 * corners + 3], [corners[[0, 2, 1, 3]]]]
    found = affinity.affinity(features)
    assert found.shape == (1, 3, 3)
    assert found[0, 0, 1] == pytest.approx(1)
    assert found[0, 0, 2] < 0.5


def test_a_tree_is_grown_from_affinities():
    alike = torch.tensor([[1.0, 0.1, 0.8, 0.2], [0.1, 1, 0.3, 0.7], [0.8, 0.3, 1, 0.1], [0.2, 0.7, 0.1, 1]])
    assert affinity.tree(torch.stack([alike] * 4), [1, 2, 3, 4]) == "aaaa abab abac abcd"
    with pytest.raises(UsageError, match="from 1 to 4 and never falling"):
        affinity.tree(alike[None], [5])


def test_a_network_gives_the_features_of_every_stage():
    network = build("split", DENSE[:1], backbone="unet-1-1")
    images = pictures((8, 8))
    first, second, third = affinity.stage_features(network, images)
    close(first, stage(network.trunk[0], images).detach())
    close(third, stage(network.trunk[2], joined(second, first)).detach())


def test_cross_task_attention():
    model, images = made("cross-task-attention", "dense", reduction=2)
    first = stage(model.trunk[0], images)
    second = stage(model.trunk[1], first)
    deepest = stage(model.trunk[2], second)
    xs = [stage(stream[0], joined(deepest, second)) for stream in model.streams]

    def told(pair, own, other):
        source = convolve(pair.extract[0], other).clamp(min=0)
        small_own, small = (F.max_pool2d(x, 2, ceil_mode=True) for x in (own, source))
        query, key, value = cbr(pair.query, small_own), cbr(pair.key, small), cbr(pair.value, small)
        seen = torch.zeros_like(query)
        for b in range(len(own)):
            for y in range(query.shape[2]):
                for x in range(query.shape[3]):
                    scores = (query[b, :, y, x, None, None] * key[b]).sum(0) / math.sqrt(key.shape[1])
                    seen[b, :, y, x] = (scores.flatten().softmax(0) * value[b].flatten(1)).sum(1)
        guided = pair.alpha[:, None, None] * F.interpolate(seen, own.shape[-2:], mode="nearest")
        alone = convolve(pair.mask, source).sigmoid() * convolve(pair.told, source)
        return cbr(pair.project, torch.cat((guided, alone), 1))

    outputs = []
    for k in range(3):
        heard = [told(pair, xs[k], y) for pair, y in zip(model.pairs[k], others(k, xs), strict=True)]
        x = cbr(model.joins[k], torch.cat((xs[k], *heard), 1))
        outputs.append(head(model.heads[k], stage(model.streams[k][1], joined(x, first))))
    same_predictions(model, images, outputs)


def test_adapters():
    model, images = made("adapters", "dense")

    def block(module, x):
        layer = module[0]
        stride = layer.shared.stride[0]
        return normalise(module[1], convolve(layer.shared, x) + convolve(layer.own, x[..., ::stride, ::stride])).clamp(
            min=0
        )

    def own_stage(module, x):
        for layers in (module.first, *module.rest):
            x = block(layers, x)
        return x

    outputs = []
    for k in range(3):
        stages = model.streams[k]
        first = own_stage(stages[0], images)
        second = own_stage(stages[1], first)
        x = own_stage(stages[3], joined(own_stage(stages[2], second), second))
        outputs.append(head(model.heads[k], own_stage(stages[4], joined(x, first))))
    same_predictions(model, images, outputs)
    assert model.streams[0][0].first[0].shared is model.streams[2][0].first[0].shared
    assert not build("adapters", DENSE, backbone="unet-1-1", freeze=True).filters[0].weight.requires_grad


def test_lora():
    model, images = made("lora", "dense", rank=2, scale=0.5)

    def block(module, x):
        layer = module[0]
        update = convolve(layer.down, x)
        return normalise(module[1], convolve(layer.frozen, x) + 0.5 * convolve(layer.up, update)).clamp(min=0)

    def updated(module, x):
        for layers in (module.first, *module.rest):
            x = block(layers, x)
        return x

    first = updated(model.trunk[0], images)
    second = updated(model.trunk[1], first)
    x = updated(model.trunk[3], joined(updated(model.trunk[2], second), second))
    x = updated(model.trunk[4], joined(x, first))
    same_predictions(model, images, [head(model.heads[k], x) for k in range(3)])


@pytest.mark.parametrize("name", ["adapters", "lora"])
def test_what_is_added_to_a_network_starts_as_nothing(name):
    model, images = made(name, "whole", disturbed=False)
    split = build("split", WHOLE, backbone="wrn-10", disturbed=False)
    filters = [m for m in split.trunk.modules() if isinstance(m, nn.Conv2d)]
    own = model.streams if name == "adapters" else [model.trunk]
    for trunk in own:
        layers = [
            m
            for key, m in trunk.named_modules()
            if isinstance(m, nn.Conv2d) and not key.endswith(("own", "down", "up"))
        ]
        for mine, theirs in zip(layers, filters, strict=True):
            mine.load_state_dict(theirs.state_dict())
    model.heads.load_state_dict(split.heads.state_dict())
    expected = split(images)
    for key, prediction in model(images).items():
        close(prediction, expected[key])
