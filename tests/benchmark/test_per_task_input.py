"""Data sets in which every task has its own pictures: batches, statistics by task, every architecture and weighting."""

import pytest
import torch
from torch import nn

from benchmark import ARCHITECTURES, WEIGHTINGS, GramianWeighting, Task, build_model, build_weighting
from benchmark.data import PerTaskInputSplit, Split, Storage, build_dataset
from benchmark.errors import UsageError
from benchmark.registry import DATASETS
from benchmark.runs.expansion import expand, undefined
from benchmark.runs.grid import load_grid
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.speed.estimate import estimate, run_flops
from benchmark.training.batch import Batch, training_batches
from benchmark.training.engine import Trainer
from benchmark.training.evaluation import evaluate
from benchmark.training.forward import forward_flops, predict
from benchmark.training.hardware import Hardware
from benchmark.training.per_task_input import PerTaskInputModel, StatisticsByTask, check
from benchmark.training.run import execute
from tests.architectures import FIRST

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)
TASKS = (Task("first", "classification", 3), Task("second", "classification", 5))
OURS = sorted(n for n in ARCHITECTURES if ARCHITECTURES[n].factory.__module__.startswith("baselines."))
#: Of the later patterns those with norms behind shared parameters and with other tasks' features, and what may be given
#: beside predictions. (Adapters have norms of each task's own.)
each_architecture = pytest.mark.parametrize("name", [*FIRST, "mmoe", "nddr-cnn", "pad-net"])
RUN = ["single-task", "split", "dense", "cross-stitch", "mtan", "dselect-k", "ltb", "pad-net"]


@pytest.fixture(autouse=True)
def _toy(toy):
    """The toy plugin's data sets, for every test here."""


@pytest.fixture
def storage(toy):
    storage = Storage.default()
    build_dataset("toy-pair").prepare(storage)
    return storage


def spec(architecture="split", weighting="equal", *, options=None, alone=False, seed=0, **protocol):
    backbone = {"backbone": "wrn-10", "width": 4} if architecture in OURS else {}
    return RunSpec(
        dataset=Component.from_registry(DATASETS, "toy-pair", {"alone": alone}),
        architecture=Component.from_registry(ARCHITECTURES, architecture, backbone),
        weighting=Component.from_registry(WEIGHTINGS, weighting, options) if weighting else None,
        seed=seed,
        protocol=Protocol(**{"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, **protocol}),
    )


def unwrapped(name, tasks=TASKS):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(name, tasks, backbone="wrn-10", width=4).double()


def network(name, colours=None):
    return PerTaskInputModel(unwrapped(name), colours or {}).double()


def pictures(seed, count=6):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Statistics.


@each_architecture
def test_a_task_is_judged_by_statistics_of_its_own_pictures(name):
    """As if the network had only ever seen this task's pictures; with one set of statistics it would not be so."""
    both, alone, plain = network(name), network(name), unwrapped(name)
    with torch.no_grad():
        for step in range(3):
            alone.train()(pictures(step), ["first"])
            for model in (both, plain):
                model.train()(pictures(step), ["first"])
                model(5 + 3 * pictures(100 + step), ["second"])
        judged, one, mixed = (m.eval()(pictures(9), ["first"])["first"] for m in (both, alone, plain))
    assert torch.equal(judged, one)
    assert torch.allclose(judged, mixed) != ARCHITECTURES[name].factory.shares


@each_architecture
def test_in_training_nothing_but_statistics_differs(name):
    plain, wrapped = unwrapped(name).train(), network(name).train()
    assert [p.shape for p in wrapped.parameters()] == [p.shape for p in plain.parameters()]
    for task in TASKS:
        found, expected = (model(pictures(1), [task.name])[task.name] for model in (wrapped, plain))
        assert torch.equal(found, expected)
    assert [p.shape for p in wrapped.shared_parameters()] == [p.shape for p in plain.shared_parameters()]


@each_architecture
def test_a_loss_reaches_shared_parameters_and_its_own_alone(name):
    model = network(name).train()
    loss = model(pictures(1), ["first"])["first"].square().sum()
    loss.backward()
    others = model.task_parameters("second")
    assert all(p.grad is None or not p.grad.any() for p in others)
    own = model.task_parameters("first")
    assert any(p.grad is not None and p.grad.any() for p in own)


def test_norms_of_a_tasks_own_modules_stay_as_they_are():
    assert not any(isinstance(module, StatisticsByTask) for module in network("single-task").modules())
    mtan = network("mtan")
    own = {id(p) for task in TASKS for p in mtan.task_parameters(task.name)}
    for module in mtan.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert id(module.weight) in own
        if isinstance(module, StatisticsByTask):
            assert id(module.weight) not in own


def test_a_norm_by_task_is_torchs_for_each_task():
    # With and without momentum, which then is a cumulative average.
    for momentum in (0.1, None):
        one = nn.BatchNorm2d(3, momentum=momentum).double()
        two = StatisticsByTask(nn.BatchNorm2d(3, momentum=momentum).double(), 2)
        two.current = 1
        for step in range(3):
            assert torch.equal(one(pictures(step)), two(pictures(step)))
        assert torch.equal(one.eval()(pictures(7)), two.eval()(pictures(7)))
        assert torch.equal(two.mean[0], torch.zeros(3, dtype=torch.float64))


def test_pictures_are_normalised_by_their_tasks_colours():
    colours = {"second": ((0.1, 0.2, 0.3), (0.5, 0.4, 0.25))}
    plain, coloured = network("split").eval(), network("split", colours).eval()
    mean, deviation = (torch.tensor(c, dtype=torch.float64)[:, None, None] for c in colours["second"])
    with torch.no_grad():
        assert torch.equal(plain(pictures(1), ["first"])["first"], coloured(pictures(1), ["first"])["first"])
        expected = plain((pictures(1) - mean) / deviation, ["second"])["second"]
        assert torch.allclose(coloured(pictures(1), ["second"])["second"], expected, atol=1e-6)


# Batches.


def numbered(count, task):
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16)
    return Split(images, {task: torch.arange(count)}, torch.arange(count).numpy())


def test_every_step_has_a_batch_of_each_task():
    split = PerTaskInputSplit({"first": numbered(21, "first"), "second": numbered(50, "second")})
    batches = training_batches(split, spec())
    assert batches.steps == 6  # of the largest: 50 pictures are six batches of 8
    seen = list(batches)
    assert len(seen) == 6
    for batch in seen:
        for name in ("first", "second"):
            assert batch.images[name][:, 0, 0, 0].tolist() == batch.targets[name].tolist()
    # Two batches are a pass over the first task's pictures.
    for begin in (0, 2, 4):
        numbers = torch.cat([batch.targets["first"] for batch in seen[begin : begin + 2]]).tolist()
        assert len(set(numbers)) == 16
    assert len(set(torch.cat([batch.targets["second"] for batch in seen]).tolist())) == 48


def test_a_tasks_batches_do_not_depend_on_the_other_tasks():
    parts = {"first": numbered(21, "first"), "second": numbered(50, "second")}
    both = [b.targets["first"].tolist() for b in training_batches(PerTaskInputSplit(parts), spec())]
    alone = training_batches(PerTaskInputSplit({"first": parts["first"]}), spec(steps_per_epoch=6))
    assert both == [b.targets["first"].tolist() for b in alone]


def test_a_set_smaller_than_a_batch_is_named():
    with pytest.raises(ValueError, match="split of 'second' holds 7 samples, less than one batch of 8"):
        training_batches(PerTaskInputSplit({"first": numbered(9, "first"), "second": numbered(7, "second")}), spec())


def test_parts_of_a_batch_are_parts_of_every_tasks():
    batch = Batch(
        {name: numbered(7, name).images for name in ("first", "second")},
        {name: torch.arange(7) for name in ("first", "second")},
    )
    assert len(batch) == 7
    parts = batch.parts(3)
    assert [len(part) for part in parts] == [3, 2, 2]
    for name in ("first", "second"):
        assert torch.cat([part.targets[name] for part in parts]).tolist() == list(range(7))
        assert torch.cat([part.images[name][:, 0, 0, 0] for part in parts]).tolist() == list(range(7))


# Runs.


@pytest.mark.parametrize("architecture", RUN)
def test_a_run_leaves_a_whole_record(storage, architecture):
    shares = ARCHITECTURES[architecture].factory.shares
    run = spec(architecture, "equal" if shares else None, weight_decay=1e-4, optimizer="sgd")
    outcome = execute(run, storage=storage, hardware=CPU)
    record = outcome.record
    assert record.error is None
    assert record.status == "ok"
    assert [task.name for task in record.tasks] == ["brightness", "contrast"]
    for split in ("val", "test"):
        assert set(record.curves[-1].metrics[split]) == {"brightness", "contrast"}
    for losses in record.curves[-1].auxiliary.values():
        assert all(losses[task] > 0 for task in ("brightness", "contrast"))
    assert list(record.curves[-1].auxiliary) == (["initial"] if architecture == "pad-net" else [])
    # One picture of each task is kept, of whose other task nothing is known.
    assert outcome.truth["image"].shape == (2, 3, 16, 16)
    assert outcome.truth["contrast"][0] == outcome.truth["brightness"][1] == -1
    assert outcome.predictions["contrast"][0] == outcome.predictions["brightness"][1] == -1
    assert outcome.predictions["brightness"][0] in (0, 1)


def test_it_learns_and_comes_back(storage):
    records = [execute(spec("split", "uncertainty", epochs=6), storage=storage, hardware=CPU).record for _ in range(2)]
    assert without_times(records[0]) == without_times(records[1])
    accuracies = [values["accuracy"] for values in records[0].curves[-1].metrics["test"].values()]
    assert min(accuracies) >= 75


def test_single_task_networks_train_as_if_alone(storage):
    both = execute(spec("single-task", None, steps_per_epoch=3), storage=storage, hardware=CPU).record
    alone = execute(spec("single-task", None, alone=True, steps_per_epoch=3), storage=storage, hardware=CPU).record
    for one, other in zip(both.curves, alone.curves, strict=True):
        for split in ("train", "val", "test"):
            assert one.losses[split]["brightness"] == other.losses[split]["brightness"]


@pytest.mark.parametrize(
    "name", ["equal", "uncertainty", "famo", "gradnorm", "auto-lambda", "mgda", "imtl", "graddrop", "modo", "sdmgrad"]
)
def test_every_kind_of_weighting_over_parameters_works(storage, name):
    dataset = build_dataset("toy-pair")
    run = spec("mtan", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weighting = build_weighting(name, dataset.tasks)
        model = PerTaskInputModel(build_model("mtan", dataset.tasks, backbone="wrn-10", width=4), dataset.colours)
    splits = {split: dataset.load(split, storage) for split in ("train", "val", "test")}
    trainer = Trainer(model, weighting, spec=run, splits=splits, hardware=CPU)
    before = [p.clone() for p in model.parameters()]
    for _, batch in zip(range(2), trainer.batches, strict=False):
        result = trainer.advance(batch, diagnose=True)
        assert result.losses.isfinite().all()
    assert any(not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_evaluation_is_the_parts_one_by_one(storage):
    dataset = build_dataset("toy-pair")
    model = PerTaskInputModel(build_model("split", dataset.tasks, backbone="wrn-10", width=4), dataset.colours)
    split = dataset.load("test", storage)
    whole = evaluate(model, split, CPU)
    for name, part in split.parts.items():
        with torch.no_grad():
            prediction = predict(model.eval(), {name: part.images})[name]
        right = (prediction.argmax(1) == part.targets[name]).double().mean().item()
        assert whole.metrics[name]["accuracy"] == pytest.approx(100 * right)


def test_costs_are_of_a_picture_of_each_task(storage):
    run = spec("split")
    dataset = build_dataset("toy-pair")
    model = PerTaskInputModel(build_model("split", dataset.tasks, backbone="wrn-10", width=4), {})
    one = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    flops = [forward_flops(model, {name: one}) for name in ("brightness", "contrast")]
    # Two epochs of six batches of 8 of the larger set, three times for a step, and two evaluations of 8 + 8.
    assert run_flops([run])[run.id] == sum(flops) * (3 * 48 * 2 + 16 * 2)
    assert estimate(run, CPU).seconds > 0


def test_a_grid_leaves_out_what_cannot_be_on_a_set_and_says_why(tmp_path, monkeypatch):
    file = tmp_path / "grid.toml"
    file.write_text(
        'seeds = [0]\narchitectures = ["split", "mtan"]\nweightings = ["equal", "mgda-ub"]\n'
        "[protocol]\nepochs = 1\nbatch_size = 4\n[datasets.toy-words]\n[datasets.toy-pair]\n"
    )
    grid = load_grid(str(file))
    found = {(s.dataset.name, s.architecture.name) for s in expand(grid) if s.weighting_name == "mgda-ub"}
    assert found == {("toy-words", "split")}
    reasons = [str(cell) for cell in undefined(grid) if cell.architecture == "split"]
    assert reasons == [
        "split × mgda-ub is undefined: the weighting takes gradients at one feature that feeds all heads, and every "
        "task of 'toy-pair' has its own pictures"
    ]
    monkeypatch.setattr(ARCHITECTURES["mtan"].factory, "separable", False)
    found = {(s.dataset.name, s.architecture.name) for s in expand(grid) if s.weighting_name == "equal"}
    assert found == {("toy-words", "split"), ("toy-pair", "split"), ("toy-words", "mtan")}


def test_what_needs_one_feature_for_all_tasks_is_refused(toy, monkeypatch):
    class AtTheFeature(GramianWeighting):
        def from_gramian(self, gramian, losses):
            return torch.ones_like(losses)

    dataset = build_dataset("toy-pair")
    with pytest.raises(UsageError, match=r"'equal' with on=representation needs one feature for all tasks.*'toy-pair'"):
        check(spec(), dataset, AtTheFeature(dataset.tasks, on="representation"))
    check(spec(), dataset, AtTheFeature(dataset.tasks))
    monkeypatch.setattr(ARCHITECTURES["tiny"].factory, "separable", False)
    with pytest.raises(UsageError, match=r"'tiny' needs all tasks' features of the same picture.*choose another"):
        run_flops([spec("tiny")])
