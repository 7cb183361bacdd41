"""Sharing patterns beyond the first paper's: predictions, states, options, and every kind of step."""

import collections

import pytest
import torch
import torch.nn.functional as F

from benchmark import Task, build_model, build_weighting
from benchmark.errors import UsageError
from benchmark.model import trained
from benchmark.training.forward import losses_of
from benchmark.training.hardware import Hardware
from benchmark.training.steps.choice import choose_step
from benchmark.training.steps.step import StepContext
from tests.architectures import LATER
from tests.baselines.patterns import (
    CPU,
    DENSE,
    KINDS,
    PATTERNS,
    SETTINGS,
    WHOLE,
    batch,
    build,
    close,
    each_pattern,
    each_setting,
    made,
    pictures,
)

pytestmark = pytest.mark.slow


@each_pattern
@each_setting
@pytest.mark.parametrize("count", [1, 2, 10])
def test_a_tasks_prediction_alone_is_that_among_all(name, setting, count):
    tasks, backbone, size = SETTINGS[setting]
    many = [Task(f"task {k}", tasks[k % 3].kind, tasks[k % 3].channels) for k in range(count)]
    model = build(name, many, backbone=backbone, width=2).eval()
    with torch.no_grad():
        every = model(pictures(size))
        assert list(every) == [task.name for task in many]
        for wanted in ([many[-1].name], [task.name for task in many[1::-1]]):
            some = model(pictures(size), wanted)
            assert list(some) == wanted
            for key in wanted:
                close(some[key], every[key])


@each_pattern
def test_what_tasks_share_is_computed_once(name):
    model, images = made(name, "dense")
    # Adapters' filters see each task's own features; gates of DSelect-k give their codes to the regulariser once more.
    repeated = {"adapters": lambda: model.filters, "dselect-k": lambda: [gate.codes for gate in model.gates]}
    apart = {id(layer) for layer in repeated.get(name, list)()}
    calls = collections.Counter()
    layers = [m for m in model.modules() if not list(m.children()) and list(m.parameters()) and id(m) not in apart]
    for layer in layers:
        layer.register_forward_hook(lambda layer, *_: calls.update([layer]))
    model(images)
    assert set(calls.values()) == {1}
    assert calls.keys() == set(layers)


@each_pattern
def test_a_state_makes_another_network_the_same(name):
    model, images = made(name, "dense")
    other, _ = made(name, "dense", seed=1)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected, found = model.eval()(images), other.eval()(images)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


#: What a pattern declares is asked for by three kinds of step: its own parameters, its last shared layer, its feature.
ASKING = ("mgda", "gradnorm", "mgda-ub")


@pytest.mark.parametrize(
    ("name", "kind", "setting"),
    [
        *((name, kind, "dense") for name in PATTERNS for kind in ASKING),
        *((name, "mgda", "whole") for name in PATTERNS),
        # All kinds: of a pattern that has nothing but predictions, one with auxiliary ones, one with a regulariser.
        *((name, kind, "dense") for name in ("mmoe", "pad-net", "dselect-k") for kind in KINDS if kind not in ASKING),
    ],
)
def test_every_kind_of_step_trains(name, kind, setting):
    tasks, backbone, _ = SETTINGS[setting]
    model = build(name, tasks, backbone=backbone).float().train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        weighting = build_weighting(kind, tasks)
        context = StepContext(lambda split: batch(setting), lambda: 0.1)
        if kind == "mgda-ub" and not model.has_representation:
            with pytest.raises(UsageError, match="no single feature of this architecture"):
                choose_step(model, weighting, CPU, context)
            return
        step = choose_step(model, weighting, CPU, context)
        for diagnose in (True, False):
            model.zero_grad()
            result = step(batch(setting), diagnose)
            assert result.losses.isfinite().all()
            gradients = [p.grad for p in trained(model.parameters())]
            assert all(g is not None and g.isfinite().all() for g in gradients)
            with torch.no_grad():
                for parameter, gradient in zip(trained(model.parameters()), gradients, strict=True):
                    parameter -= 1e-3 * gradient
            step.after(batch(setting))
    assert result.weights.shape == (3,)


@each_pattern
def test_half_precision_trains(name):
    tasks, backbone, _ = SETTINGS["dense"]
    model = build(name, tasks, backbone=backbone).float().train()
    context = StepContext(lambda split: batch("dense"), lambda: 0.1)
    result = choose_step(model, None, Hardware("cpu", "bf16", 1), context)(batch("dense"), diagnose=False)
    assert result.losses.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(model.parameters()))


@each_pattern
@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_predicts_on_segnet_whose_decoder_unpools(name, size):
    predictions = build(name, DENSE, backbone="segnet", width=2)(pictures(size, 2))
    assert {k: tuple(v.shape) for k, v in predictions.items()} == {t.name: (2, t.channels, *size) for t in DENSE}
    assert all(v.isfinite().all() for v in predictions.values())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mmoe", {"experts": 0}, "'experts' is a whole number from 1, not 0"),
        ("dselect-k", {"experts": 2, "selected": 3}, "'experts' is a whole number from 3, not 2"),
        ("dselect-k", {"gamma": 0.0}, "'gamma' is above 0"),
        ("ple", {"levels": 3}, "1 to 2 of this backbone's 3 encoder stages, .*; found levels = 3"),
        ("nddr-cnn", {"alpha": 0.0}, "'alpha' is above 0"),
        ("pad-net", {"auxiliary_weight": -1.0}, "'auxiliary_weight' is at least 0, not -1.0"),
        ("mti-net", {"auxiliary_weight": -1.0}, "'auxiliary_weight' is at least 0, not -1.0"),
        ("ltb", {"temperature": 0.0}, "temperatures are above 0"),
        ("lora", {"rank": 1.5}, "'rank' is a whole number from 1, not 1.5"),
    ],
)
def test_wrong_options_are_told(name, options, message):
    with pytest.raises(UsageError, match=message):
        build_model(name, DENSE, backbone="unet-1-1-2", width=2, **options)


def test_cross_task_attention_needs_stages_to_differ_in():
    with pytest.raises(UsageError, match="3 or more stages, found 2"):
        build_model("cross-task-attention", WHOLE, backbone="unet-1-1", width=2)


def test_every_later_pattern_is_tested_here():
    assert set(PATTERNS) == set(LATER), "add the new architecture to PATTERNS in tests/baselines/patterns.py"


def test_losses_in_between_are_part_of_the_tasks():
    model, images = made("pad-net", "dense", auxiliary_weight=0.25)
    targets = {key: value[:3] for key, value in batch("dense").targets.items()}
    found = model(images)
    parts = [task.loss(found[task.name], targets[task.name]) for task in DENSE]
    for k, (task, one) in enumerate(zip(DENSE, found.auxiliary, strict=True)):
        enlarged = F.interpolate(one.prediction.float(), images.shape[-2:], mode="bilinear")
        parts[k] = parts[k] + 0.25 * task.loss(task.finish(enlarged), targets[task.name])
    for mine, theirs in zip(losses_of(DENSE, found, targets)[0], parts, strict=True):
        close(mine, theirs)
