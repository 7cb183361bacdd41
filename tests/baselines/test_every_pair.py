"""Every architecture with each kind of step, and each weighting: two steps, or the declared reason for none.

And what checkpoints do not hold has not changed by then.
"""

import copy
import functools

import pytest
import torch

import benchmark
from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.expansion import undefined
from benchmark.runs.grid import Grid, WeightingChoice
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.training.batch import gathered
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware
from benchmark.training.steps.gradients import RepresentationStep
from benchmark.training.unkept import Unkept
from benchmark.weighting import GradientWeighting
from tests.architectures import FIRST
from tests.options import REQUIRED

pytestmark = pytest.mark.slow

PATTERNS = list(FIRST)
NAMES = [n for n in WEIGHTINGS if WEIGHTINGS[n].factory.__module__.startswith("baselines.")]
#: One weighting for each kind of step. What a step does with a model depends on its kind alone.
KINDS = ("equal", "uncertainty", "famo", "gradnorm", "auto-lambda", "mgda", "graddrop", "modo", "mgda-ub", "samo")
PAIRS = [*((a, w) for a in PATTERNS for w in KINDS), *(("split", w) for w in NAMES if w not in KINDS)]
SEEING = [n for n in NAMES if issubclass(WEIGHTINGS[n].factory, GradientWeighting)]
#: The same weightings at the other place, where it is an option.
AT_REPRESENTATION = [(n, {"on": "representation"}) for n in SEEING if "on" in WEIGHTINGS[n].defaults]
#: A step cuts its batch into thirds of two pictures: fewer would leave a batch norm over one pixel without variance.
BATCH = 6

CPU = Hardware("cpu", "fp32", 1)


@functools.cache
def splits():
    dataset = build_dataset("toy", size=32, train=BATCH, val=BATCH, test=2)
    dataset.prepare(Storage.default())
    return {split: dataset.load(split, Storage.default(), "cpu") for split in SPLITS}, dataset.tasks


@functools.cache
def model_of(architecture):
    """A model, and its state at the start: to fill it in again is much cheaper than a copy of so many small modules."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = benchmark.build_model(architecture, splits()[1], backbone="unet-1-2", width=2)
    return model.to(memory_format=torch.channels_last), copy.deepcopy(model.state_dict())


def trainer_of(architecture, weighting, options, hardware=CPU):
    model, start = model_of(architecture)
    model.load_state_dict(start)
    model.zero_grad()
    spec = RunSpec(
        dataset=Component.from_registry(DATASETS, "toy"),
        architecture=Component(name=architecture, version=1, options={}),
        weighting=Component.from_registry(WEIGHTINGS, weighting, options),
        seed=0,
        protocol=Protocol(epochs=1, batch_size=BATCH),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        built = benchmark.build_weighting(weighting, splits()[1], **options)
    return Trainer(model, built, spec=spec, splits=splits()[0], hardware=hardware)


def train_two_steps(trainer):
    model = trainer.model.train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    batch = gathered(splits()[0]["train"], torch.arange(BATCH))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        results = [trainer.advance(batch, diagnose) for diagnose in (True, False)]
    for result in results:
        assert result.losses.shape == result.weights.shape == (3,)
        assert result.losses.isfinite().all()
    moved = {id(p) for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert all(p.isfinite().all() for p in model.parameters())
    assert (results[0].gramian is None) == (not model.shared_parameters())
    if results[0].gramian is not None:
        assert results[0].gramian.isfinite().all()
        assert (results[0].gramian.diagonal() > 0).all()
        assert any(id(p) in moved for p in model.shared_parameters())
    for task in model.tasks:
        assert any(id(p) in moved for p in model.task_parameters(task.name))


@pytest.fixture(scope="module")
def declared(toy):
    """The pairs that a grid of everything leaves out."""
    choices = [WeightingChoice(name=n, options=REQUIRED.get(n, {})) for n in NAMES]
    grid = Grid(seeds=(0,), architectures=PATTERNS, weightings=choices, datasets={"toy": {}})
    return {(cell.architecture, cell.weighting) for cell in undefined(grid)}


def test_every_weighting_is_of_a_kind(toy):
    def kind(name):
        trainer = trainer_of("split", name, REQUIRED.get(name, {}))
        return type(trainer.step), trainer.weighting.evaluates_again

    assert {kind(name) for name in NAMES} == {kind(name) for name in KINDS}


@pytest.mark.parametrize(("architecture", "weighting"), PAIRS)
def test_every_pair_trains_two_steps_or_is_declared_undefined(declared, architecture, weighting):
    options = REQUIRED.get(weighting, {})
    # A network that shares nothing runs without weighting in grids; by hand, each of its tasks just learns.
    if (architecture, weighting) in declared or (
        weighting == "mgda-ub" and not ARCHITECTURES[architecture].factory.shares
    ):
        with pytest.raises(UsageError, match="no single feature of this architecture feeds all heads"):
            trainer_of(architecture, weighting, options)
        return
    trainer, notes = trainer_of(architecture, weighting, options), []
    trainer.under_way = None
    unkept = Unkept(trainer, notes.append)
    train_two_steps(trainer)
    unkept.check()
    trainer.weighting.epoch_end(torch.ones(3))
    unkept.check()
    if architecture == "split":  # with every weighting
        train_two_steps(trainer)
        unkept.check()
    assert notes == []


def test_what_is_undefined_is_the_representation_where_there_is_none(declared):
    without = {n for n in PATTERNS if not ARCHITECTURES[n].factory.has_representation}
    assert declared == {(n, "mgda-ub") for n in without if ARCHITECTURES[n].factory.shares}
    assert without >= {"mtan", "dense", "cross-stitch"}
    assert not without & {"split", "split-wide", "split-deep"}


def test_every_gramian_method_works_at_the_representation(toy):
    """One kind of step serves all; it trains with a Gramian, with the gradients themselves, and with learned losses."""
    for weighting, options in AT_REPRESENTATION:
        trainer = trainer_of("split", weighting, options)
        assert type(trainer.step) is RepresentationStep
        if weighting in ("mgda", "graddrop", "imtl"):
            train_two_steps(trainer)


@pytest.mark.parametrize("weighting", ["mgda", "graddrop", "modo", "mgda-ub"])
def test_every_kind_of_need_works_in_bf16(toy, weighting):
    train_two_steps(trainer_of("split", weighting, {}, Hardware("cpu", "bf16", 1)))


def test_every_gramian_method_has_the_choice_of_place():
    closed = {"moco", "excessmtl", "db-mtl", "sdmgrad", "modo", "mgda-ub", "samo"}
    assert {name for name, _ in AT_REPRESENTATION} == set(SEEING) - closed


@pytest.mark.parametrize("weighting", ["modo", "sdmgrad"])
def test_a_batch_that_cannot_be_cut_is_refused_before_the_run(toy, weighting):
    trainer = trainer_of("split", weighting, {})
    for small in (1, 2):
        spec = RunSpec(
            dataset=Component.from_registry(DATASETS, "toy"),
            architecture=Component(name="split", version=1, options={}),
            weighting=Component.from_registry(WEIGHTINGS, weighting),
            seed=0,
            protocol=Protocol(epochs=1, batch_size=small),
        )
        with pytest.raises(UsageError, match=rf"into 3 parts, and the batch size is {small}: raise it to 3 or more"):
            Trainer(trainer.model, trainer.weighting, spec=spec, splits=splits()[0], hardware=CPU)
