"""What every registered sharing pattern must do on every backbone."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark import Task, build_model
from benchmark.errors import UsageError
from tests.architectures import FIRST, shapes_only

pytestmark = pytest.mark.slow

DENSE = (Task("semantic", "segmentation", 13), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("left", "classification", 10), Task("right", "classification", 7), Task("any.name", "classification", 2))

PATTERNS = (
    ("single-task", {}),
    ("stan", {}),
    ("split", {}),
    ("split-wide", {}),
    ("split-deep", {}),
    ("dense", {}),
    ("cross-stitch", {}),
    ("cross-stitch", {"stitch": "vector"}),
    ("mtan", {}),
)
SETTINGS = (
    ("segnet", DENSE, (48, 64)),
    ("segnet", WHOLE, (48, 64)),
    ("wrn-10", WHOLE, (24, 40)),
    ("unet", DENSE, (33, 46)),
)

each_pattern = pytest.mark.parametrize(
    ("name", "options"), PATTERNS, ids=["-".join([name, *options.values()]) for name, options in PATTERNS]
)
each_setting = pytest.mark.parametrize(
    ("backbone", "tasks", "size"), SETTINGS, ids=["segnet-dense", "segnet-whole", "wrn-whole", "unet-dense"]
)


def build(name, tasks, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(name, tasks, **{"width": 4, **options})


def pictures(size, seed=1, batch=2):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def truth(tasks, size, batch=2):
    """Random targets; dense ones are one value for a whole picture, so that there is something to learn."""
    generator = torch.Generator().manual_seed(2)
    makers = {
        "segmentation": lambda t: torch.randint(t.channels, (batch, 1, 1), generator=generator).expand(batch, *size),
        "depth": lambda t: torch.rand(batch, 1, 1, 1, generator=generator).expand(batch, 1, *size),
        "normals": lambda t: F.normalize(torch.randn(batch, 3, 1, 1, generator=generator), dim=1).expand(
            batch, 3, *size
        ),
        "classification": lambda t: torch.randint(t.channels, (batch,), generator=generator),
    }
    return {task.name: makers[task.kind](task) for task in tasks}


def summed_loss(model, images, targets):
    predictions = model(images)
    return sum(task.loss(predictions[task.name], targets[task.name]) for task in model.tasks)


def shape(task, batch, size):
    return (batch, task.channels, *size) if task.dense else (batch, task.channels)


@pytest.mark.parametrize(
    ("name", "options", "total", "each"),
    [
        ("single-task", {}, 24_981_069 + 24_980_289 + 24_980_419, (24_981_069, 24_980_289, 24_980_419)),
        ("stan", {}, 38_185_805 + 38_185_025 + 38_185_155, (38_185_805, 38_185_025, 38_185_155)),
        ("split", {}, 25_055_185, None),
        ("split", {"variant": "wide"}, 43_934_161, None),
        ("split", {"variant": "deep"}, 50_807_761, None),
        ("split-wide", {}, 43_934_161, None),
        ("split-deep", {}, 50_807_761, None),
        ("dense", {}, 123_699_409, None),
        ("cross-stitch", {"stitch": "vector"}, 74_941_804, None),
        ("cross-stitch", {}, 74_941_858, None),
        ("mtan", {}, 44_229_073, None),
    ],
)
def test_parameter_counts_are_those_of_the_authors_code(name, options, total, each):
    with shapes_only():
        model = build_model(name, DENSE, **options)
    assert sum(p.numel() for p in model.parameters()) == total
    if each:
        assert tuple(sum(p.numel() for p in model.task_parameters(task.name)) for task in DENSE) == each


@each_pattern
@pytest.mark.parametrize(
    ("backbone", "tasks", "sizes"),
    [
        ("segnet", DENSE, ((48, 64), (32, 32), (33, 47))),
        ("wrn", WHOLE, ((8, 8), (9, 15))),
        ("unet", DENSE, ((36, 48), (32, 32), (37, 51))),
        ("unet", WHOLE, ((32, 47),)),
        ("unet-2-1", DENSE, ((4, 7),)),
    ],
)
def test_predicts_every_size_of_picture(name, options, backbone, tasks, sizes):
    model = build(name, tasks, backbone=backbone, **options)
    for size in sizes:
        with torch.no_grad():
            predictions = model(pictures(size))
        assert {k: tuple(v.shape) for k, v in predictions.items()} == {t.name: shape(t, 2, size) for t in tasks}
        assert all(v.isfinite().all() for v in predictions.values())


@each_pattern
def test_normals_have_unit_length(name, options):
    normals = build(name, DENSE, width=16, **options)(pictures((32, 32)), ["normals"])["normals"]
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2, 32, 32))


@each_pattern
@each_setting
def test_parameters_are_divided_by_which_losses_reach_them(name, options, backbone, tasks, size):
    """Of several tasks; that a single one owns everything is shown where its gradients are."""
    model = build(name, tasks, backbone=backbone, **options)
    parameters = list(model.parameters())
    reached = {}
    for task in tasks:
        prediction = model(pictures(size))[task.name]
        probe = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(3))
        gradients = torch.autograd.grad((prediction * probe).sum(), parameters, allow_unused=True)
        # A bias before a batch norm has the gradient zero; every weight must have another.
        assert all(g.any() for g in gradients if g is not None and g.ndim > 1)
        reached[task.name] = {id(p) for p, g in zip(parameters, gradients, strict=True) if g is not None}
    owned = {task.name: [id(p) for p in model.task_parameters(task.name)] for task in tasks}
    shared = [id(p) for p in model.shared_parameters()]
    assert sorted(sum(owned.values(), shared)) == sorted(map(id, parameters))
    for task in tasks:
        others = set().union(*(ids for other, ids in reached.items() if other != task.name))
        assert set(owned[task.name]) == reached[task.name] - others
    assert bool(shared) == model.shares


@each_pattern
@each_setting
def test_naming_tasks_changes_no_prediction(name, options, backbone, tasks, size):
    model = build(name, tasks, backbone=backbone, **options).eval()
    images = pictures(size)
    with torch.no_grad():
        every = model(images)
        assert list(every) == [task.name for task in tasks]
        for wanted in ([tasks[1].name], [tasks[2].name, tasks[0].name]):
            some = model(images, wanted)
            assert list(some) == wanted
            for key in wanted:
                torch.testing.assert_close(some[key], every[key])


@pytest.mark.parametrize(
    ("name", "backbone", "tasks", "size"),
    [
        ("split", *SETTINGS[2]),
        ("dense", *SETTINGS[3]),
        ("cross-stitch", *SETTINGS[2]),
        ("mtan", *SETTINGS[0]),
    ],
    ids=["split-wrn", "dense-unet", "cross-stitch-wrn", "mtan-segnet"],
)
def test_ten_steps_on_one_batch_lower_the_loss(name, backbone, tasks, size):
    model = build(name, tasks, backbone=backbone)
    images, targets = pictures(size, batch=4), truth(tasks, size, batch=4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = summed_loss(model, images, targets)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@each_pattern
def test_half_precision_in_channels_last_stays_close(name, options):
    """With the backbone that the tests of half precision, which compare more than losses, leave out."""
    backbone, tasks, size = SETTINGS[3]
    model = build(name, tasks, backbone=backbone, width=8, **options)
    images, targets = pictures(size), truth(tasks, size)
    with torch.no_grad():
        exact = summed_loss(model, images, targets)
    model = model.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = summed_loss(model, images.to(memory_format=torch.channels_last), targets)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0)


@each_pattern
@pytest.mark.parametrize(
    ("backbone", "tasks", "size"), [("wrn", WHOLE, (24, 40)), SETTINGS[3]], ids=["wrn-whole", "unet-dense"]
)
def test_channels_last_in_full_precision_gives_the_same_gradients(name, options, backbone, tasks, size):
    """Without unpooling and ReLUs, whose ties and kinks could go either way; also a guard against a strided 1×1
    convolution of oneDNN."""
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model = build(name, tasks, backbone=backbone, **options).to(memory_format=layout)
        for module in list(model.modules()):
            for child in [name for name, own in module.named_children() if isinstance(own, nn.ReLU)]:
                setattr(module, child, nn.SiLU())
        images = pictures(size).to(memory_format=layout)
        summed_loss(model, images, truth(tasks, size)).backward()
        gradients.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@each_setting
@pytest.mark.parametrize("name", ["single-task", "stan"])
def test_networks_side_by_side_train_as_if_alone(name, backbone, tasks, size):
    together = build(name, tasks, backbone=backbone)
    images, targets = pictures(size), truth(tasks, size)
    alone = {}
    for task in tasks:
        model = build(name, [task], backbone=backbone, seed=5)
        copy_parameters(together.task_parameters(task.name), model.parameters())
        step(model, images, targets)
        alone[task.name] = model
    step(together, images, targets)
    for task in tasks:
        for a, b in zip(alone[task.name].parameters(), together.task_parameters(task.name), strict=True):
            assert torch.equal(a, b)


def step(model, images, targets):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    summed_loss(model, images, targets).backward()
    optimiser.step()


def copy_parameters(source, target):
    with torch.no_grad():
        for a, b in zip(source, target, strict=True):
            b.copy_(a)


@each_setting
@pytest.mark.parametrize(("many", "one"), [("stan", "mtan"), ("single-task", "split"), ("single-task", "cross-stitch")])
def test_one_network_per_task_is_the_pattern_with_one_task(many, one, backbone, tasks, size):
    images = pictures(size)
    separate = build(many, tasks, backbone=backbone)
    predictions = separate(images)
    for task in tasks:
        model = build(one, [task], backbone=backbone, seed=5)
        own = [p for name, p in model.named_parameters() if "stitches" not in name]  # one task's stitch is the identity
        copy_parameters(separate.task_parameters(task.name), own)
        torch.testing.assert_close(model(images)[task.name], predictions[task.name])


@each_setting
def test_split_feeds_all_heads_from_its_representation(backbone, tasks, size):
    model = build("split", tasks, backbone=backbone).eval()
    images = pictures(size)
    feature = model.representation(images)
    for task, head in zip(tasks, model.heads, strict=True):
        output = head(feature)
        if task.dense:
            output = F.interpolate(output, size, mode="bilinear")
        torch.testing.assert_close(task.finish(output), model(images)[task.name])


@each_setting
def test_split_predicts_from_its_representation(backbone, tasks, size):
    model = build("split", tasks, backbone=backbone).eval()
    images = pictures(size)
    expected = model(images)
    found = model.predict(model.representation(images), [tasks[1].name], images.shape[-2:])
    assert list(found) == [tasks[1].name]
    assert torch.equal(found[tasks[1].name], expected[tasks[1].name])
    even = model.predict(model.representation(images))  # the largest pictures that leave this feature
    double = tuple(2 * math.ceil(side / 2) for side in size) if backbone == "unet" else size
    assert {k: v.shape for k, v in even.items()} == {t.name: shape(t, 2, double) for t in tasks}


@each_pattern
@pytest.mark.parametrize(("backbone", "tasks"), [("segnet", DENSE), ("wrn-10", WHOLE), ("unet", DENSE)])
def test_weights_start_as_documented(name, options, backbone, tasks):
    model = build(name, tasks, backbone=backbone, width=16, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        assert not module.bias.any()
        weight = module.weight.detach()
        area = math.prod(weight.shape[2:])
        deviation = math.sqrt(2 / (area * (weight.shape[0] + weight.shape[1])))
        if backbone == "wrn-10":
            deviation *= math.sqrt(2)
        if backbone == "unet":
            deviation = math.sqrt(2 / (area * weight.shape[1]))
        uniform = backbone != "segnet" or name in ("dense", "cross-stitch")
        assert (weight.abs().max() <= math.sqrt(3) * deviation + 1e-6) or not uniform
        if weight.numel() > 2000:
            assert weight.std().item() == pytest.approx(deviation, rel=0.1)
            assert (weight.abs().max() > math.sqrt(3) * deviation) != uniform


def test_stitches_start_as_documented():
    matrix = build("cross-stitch", DENSE).stitches
    assert len(matrix) == 9
    expected = torch.full((3, 3), 0.05) + 0.85 * torch.eye(3)
    assert all(torch.allclose(stitch.weight, expected) for stitch in matrix)
    assert all((s.weight == torch.ones(3)).all() for s in build("cross-stitch", DENSE, stitch="vector").stitches)
    assert len(build("cross-stitch", WHOLE, backbone="wrn").stitches) == 3


@each_pattern
def test_the_seed_decides_the_weights(name, options):
    first, again, other = (build(name, DENSE, seed=seed, **options).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "tasks", "options", "message"),
    [
        ("mtan", DENSE, {"backbone": "segnett"}, "unknown backbone 'segnett'. Did you mean 'segnet'"),
        ("mtan", DENSE, {"backbone": "segnet-3"}, "'segnet-3' has too many parts: expected at most 'segnet'"),
        ("mtan", DENSE, {"backbone": "unet-1-0-2"}, "levels are two or more whole numbers from 1, not '1-0-2'"),
        ("mtan", DENSE, {"backbone": "unet-4"}, "levels are two or more whole numbers from 1, not '4'"),
        ("mtan", DENSE, {"backbone": "unet-1-x"}, "write 'unet-1-2-3-4-6'"),
        ("mtan", WHOLE, {"backbone": "wrn-28-4-2"}, "expected at most 'wrn-DEPTH-WIDENING'"),
        ("mtan", WHOLE, {"backbone": "wrn-11"}, "depth is 6n \\+ 4"),
        ("mtan", WHOLE, {"backbone": "wrn-28-x"}, "widening is a whole number from 1, not 'x'"),
        ("dense", DENSE, {"width": 0}, "'width' is a whole number from 1 .*, not 0"),
        ("dense", DENSE, {"width": 6.5}, "not 6.5"),
        ("dense", DENSE, {"width": True}, "not True"),
        ("split", DENSE, {"variant": "wider"}, "unknown variant of split 'wider'. Did you mean 'wide'"),
        ("split-wide", DENSE, {"variant": "deep"}, "unknown option of 'split-wide' 'variant'"),
        ("cross-stitch", DENSE, {"stitch": "matrx"}, "Did you mean 'matrix'"),
        ("mtan", DENSE, {"depth": 3}, "unknown option of 'mtan' 'depth'"),
        ("mtan", (), {}, "at least one task"),
        ("single-task", (), {}, "at least one task"),
        ("split", (DENSE[0], DENSE[0]), {}, "'split' has 2 tasks named 'semantic': give each a name of its own"),
        ("single-task", DENSE, {"backbone": "wrn"}, "no decoder.*semantic.*such as segnet"),
        ("cross-stitch", (DENSE[0], WHOLE[0]), {}, "only semantic are dense"),
    ],
)
def test_wrong_options_are_told_in_one_line(name, tasks, options, message):
    with pytest.raises(UsageError, match=message) as error:
        build_model(name, tasks, **options)
    assert "\n" not in str(error.value)


@each_pattern
def test_wrong_calls_are_told(name, options):
    model = build(name, DENSE, **options)
    with pytest.raises(UsageError, match=r"31×64 pixels are too small .* 32×32"):
        model(pictures((31, 64)))
    with pytest.raises(UsageError, match=r"unknown task 'dept'. Did you mean 'depth'"):
        model(pictures((32, 32)), ["depth", "dept"])
    with pytest.raises(UsageError, match="unknown task 'dept'"):
        model.task_parameters("dept")


@each_setting
def test_mtan_shows_the_masks_that_its_paths_pass(backbone, tasks, size):
    model = build("mtan", tasks, backbone=backbone).eval()
    images = pictures(size)
    with torch.no_grad():
        before, found = model(images), model.attention_masks(images)
        assert list(found) == [task.name for task in tasks]
        for levels in found.values():
            assert list(levels)[:2] == ["encoder 1", "encoder 2"]
            assert all(mask.ndim == 4 and len(mask) == 2 for mask in levels.values())
            assert all(mask.min() >= 0 and mask.max() <= 1 for mask in levels.values())
            largest = (17, 23) if backbone == "unet" else size
            assert levels["encoder 1"].shape[-2:] == largest
            if backbone == "unet":
                assert len(levels) == 9
                assert levels["decoder 4"].shape[-2:] == largest
            if backbone == "segnet" and tasks[0].dense:  # and so back up
                assert len(levels) == 10
                assert levels["decoder 5"].shape[-2:] == size
        some = model.attention_masks(images, [tasks[1].name])
        assert list(some) == [tasks[1].name]
        for level, mask in some[tasks[1].name].items():
            torch.testing.assert_close(mask, found[tasks[1].name][level])
        assert all(torch.equal(before[key], value) for key, value in model(images).items())


def test_a_shut_mask_is_shown_and_shuts_its_task_alone():
    model = build("mtan", DENSE).eval()
    images = pictures((32, 32))
    with torch.no_grad():
        before = model(images)
        gate = model.attention[0][-1][4]  # the batch norm before the sigmoid
        gate.weight.zero_()
        gate.bias.fill_(-50.0)
        masks, after = model.attention_masks(images), model(images)
    assert masks["semantic"]["decoder 5"].max() < 1e-9
    assert masks["depth"]["decoder 5"].max() > 0.1
    assert not torch.equal(after["semantic"], before["semantic"])
    assert torch.equal(after["depth"], before["depth"])


def test_one_network_per_task_takes_dense_and_other_tasks_together():
    tasks = (DENSE[1], WHOLE[0])
    predictions = build("single-task", tasks)(pictures((32, 32)))
    assert {k: tuple(v.shape) for k, v in predictions.items()} == {"depth": (2, 1, 32, 32), "left": (2, 10)}


def test_every_pattern_of_the_first_paper_is_tested_here():
    assert set(FIRST) == {name for name, _ in PATTERNS}
