"""Steps that are replayed from recordings, with a stand-in that has the semantics of CUDA graphs on the CPU."""

import gc
import weakref
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.data import SPLITS, Split
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel, build_model
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.tasks import Task
from benchmark.training.engine import Trainer
from benchmark.training.graphs.proof import cuda_graphs, objection
from benchmark.training.graphs.replay import Replays
from benchmark.training.hardware import Hardware
from benchmark.weighting import Weighting, build_weighting
from tests.options import REQUIRED

pytestmark = pytest.mark.slow

TASKS = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))
CPU = Hardware("cpu", "fp32", 1)
COUNT = 6
#: Of pictures, and of those for networks that halve them five times.
SIZE, LARGE = 16, 32
#: What needs a number on the host before the device's next work is known, and what brings one from there.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "lift_fresh"}


class Tape(TorchDispatchMode):
    """Every operation with the very tensors that it saw: Python's numbers are what they were, memory is where it was.

    Like a CUDA graph, it cannot hold what waits for the device's result, nor what is drawn on the host.
    """

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        options = options or {}
        masks = [t for t in tree_leaves(arguments[1:]) if isinstance(t, torch.Tensor) and t.dtype == torch.bool]
        name = operation.overloadpacket.__name__
        if name in WAITING or (name == "index" and masks):
            raise RuntimeError(f"the recorded work waits for the device ({name})")
        if torch.Tag.nondeterministic_seeded in operation.tags:
            raise RuntimeError("the recorded work draws random numbers on the host")
        result = operation(*arguments, **options)
        self.done.append((operation, arguments, options, result))
        return result

    @torch.no_grad()
    def replay(self):
        for operation, arguments, options, result in self.done:
            # Unseen by autograd, which may not have gone back through what was recorded yet.
            seen = tuple(t for t in tree_leaves((arguments, options, result)) if isinstance(t, torch.Tensor))
            with torch.autograd._unsafe_preserve_version_counter(seen):
                again = operation(*arguments, **options)
                for kept, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(kept, torch.Tensor) and kept.data_ptr() != new.data_ptr():
                        kept.copy_(new)


class Recorder:
    """Recording does nothing, as on a GPU: whatever the work changed is put back."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.count = 0

    def record(self, work):
        self.count += 1
        tensors = [t for t in self._state() if t.numel()]
        before = [t.detach().clone() for t in tensors]
        with Tape() as tape:
            result = work()
        with torch.no_grad(), torch.autograd._unsafe_preserve_version_counter(tuple(tensors)):
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        return tape, result

    def _state(self):
        trainer = self.trainer
        yield from trainer.model.parameters()
        yield from trainer.model.buffers()
        yield from (trainer.weighting.state_dict().values() if trainer.weighting else ())
        yield from (t for state in trainer.optimizer.state.values() for t in state.values() if torch.is_tensor(t))
        yield from (p.grad for p in trainer.parameters() if p.grad is not None)
        yield from (() if trainer.step.auxiliary.values is None else (trainer.step.auxiliary.values,))

    def stream(self):
        return nullcontext()


def recordings(trainer):
    return Replays(Recorder(trainer), trainer.parameters())


class Small(MultiTaskModel):
    """Two shared convolutions with batch statistics between them, and one convolution a task."""

    has_representation = True

    def __init__(self, tasks, change=lambda value, calls: value):
        super().__init__(tasks)
        norm = nn.BatchNorm2d(5)
        self.trunk = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), norm, nn.ReLU(inplace=True), nn.Conv2d(5, 4, 3))
        self.heads = nn.ModuleDict({task.name: nn.Conv2d(4, task.channels, 3, padding=2) for task in tasks})
        self.change = change
        self.calls = 0

    def representation(self, images):
        self.calls += 1
        return self.change(self.trunk(images), self.calls)

    def predict(self, representation, tasks=None):
        return {task.name: task.finish(self.heads[task.name](representation)) for task in self.tasks}

    def forward(self, images, tasks=None):
        return self.predict(self.representation(images), tasks)

    def task_parameters(self, task):
        return list(self.heads[task].parameters())

    def last_shared_parameters(self):
        return list(self.trunk[-1].parameters())


def splits_on(device, size):
    """Two batches to train with, and two pictures to evaluate on."""
    draw, count = torch.Generator().manual_seed(0), COUNT * 2
    normals = torch.randn(count, 3, size, size, generator=draw)
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=draw)
    targets = {
        "semantic": torch.randint(-1, 3, (count, size, size), generator=draw).to(torch.int8),
        "depth": (torch.rand(count, 1, size, size, generator=draw) + 0.5).half(),
        "normals": (normals / normals.norm(dim=1, keepdim=True)).half(),
    }

    def first(number):
        chosen = {name: values[:number].to(device) for name, values in targets.items()}
        return Split(images[:number].to(device), chosen, torch.arange(number).numpy())

    return dict.fromkeys(SPLITS, first(2)) | {"train": first(count)}


def a_trainer(weighting=None, architecture=None, change=None, hardware=CPU, built=None, backbone="segnet", **protocol):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        small = Small(TASKS, change) if change else Small(TASKS)
        model = build_model(architecture, TASKS, backbone=backbone, width=2) if architecture else small
        options = REQUIRED.get(weighting, {})
        built = build_weighting(weighting, TASKS, **options) if weighting else built
    spec = RunSpec(
        dataset=Component(name="made-up", version=1, options={}),
        architecture=Component(name=architecture or "small", version=1, options={}),
        weighting=Component.from_registry(WEIGHTINGS, weighting, options) if weighting else None,
        seed=0,
        protocol=Protocol(
            **{"epochs": 2, "batch_size": COUNT, "learning_rate": 1e-2, "lr_step": 1, "lr_decay": 0.5, **protocol}
        ),
    )
    model.to(memory_format=torch.channels_last)
    return Trainer(
        model.to(hardware.device),
        built.to(hardware.device) if built else None,
        spec=spec,
        splits=splits_on(hardware.device, LARGE if architecture and backbone == "segnet" else SIZE),
        hardware=hardware,
    )


def fitted(trainer, replays=None):
    """The epochs' records and every tensor that training leaves."""
    records = []
    trainer.replays = replays
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        trainer.fit(records.append)
    weighting = trainer.weighting.state_dict() if trainer.weighting else {}
    return records, {**trainer.model.state_dict(), **{f"weighting.{name}": value for name, value in weighting.items()}}


def check_same(expected, found):
    assert expected[0] == found[0]
    assert expected[1].keys() == found[1].keys()
    for name, value in expected[1].items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_replayed_steps_change_no_bit_whatever_the_weighting(weighting):
    trainer = a_trainer(weighting)
    recorder = Recorder(trainer)
    check_same(fitted(a_trainer(weighting)), fitted(trainer, Replays(recorder, trainer.parameters())))
    assert recorder.count >= 2


@pytest.mark.parametrize("architecture", ["mtan", "cross-stitch", "single-task", "pad-net", "dselect-k"])
def test_replayed_steps_change_no_bit_whatever_the_network(architecture):
    weighting = "equal" if ARCHITECTURES[architecture].factory.shares else None
    backbone = "segnet" if architecture == "mtan" else "unet-1-1-2"  # which has a third of the layers
    plain, trainer = (a_trainer(weighting, architecture, backbone=backbone) for _ in range(2))
    check_same(fitted(plain), fitted(trainer, recordings(trainer)))


@pytest.mark.parametrize(
    "protocol",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"restart_after": 1, "restart_learning_rate": 3e-3},
        {"optimizer": "adamw", "weight_decay": 0.1, "warmup_steps": 3, "schedule": "cosine", "lr_step": 100},
        {"optimizer": "muon", "weight_decay": 0.1, "restart_after": 1, "warmup_steps": 2},
    ],
)
@pytest.mark.parametrize("weighting", ["uncertainty", "mgda"])
def test_replayed_steps_follow_optimiser_rate_and_phase(weighting, protocol):
    trainer = a_trainer(weighting, **protocol)
    check_same(fitted(a_trainer(weighting, **protocol)), fitted(trainer, recordings(trainer)))


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])  # torch's AdamW is its Adam with another decay
def test_no_change_of_the_rate_needs_a_new_recording(optimizer):
    """Three epochs of one rate, and with a rate for each step, or one for each epoch."""
    counts = []
    for options in (
        {"lr_decay": 1.0},
        {"lr_decay": 0.5},
        {"lr_decay": 0.5, "warmup_steps": 5},
        {"lr_step": 100, "schedule": "cosine", "warmup_steps": 3},
    ):
        plain, trainer = (a_trainer("uncertainty", optimizer=optimizer, epochs=3, **options) for _ in range(2))
        recorder = Recorder(trainer)
        check_same(fitted(plain), fitted(trainer, Replays(recorder, trainer.parameters())))
        counts.append(recorder.count)
    # The losses, the pass backwards and the optimiser: once each.
    assert counts == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda value, calls: value * (1 + calls % 2), "when replayed"),
        (lambda value, calls: value * value.mean().item(), "waits for the device"),
        (lambda value, calls: nn.functional.dropout(value, 0.1), "draws random numbers"),
    ],
)
def test_a_network_whose_steps_are_not_alike_is_objected_to(change, reason):
    assert reason in objection(lambda: a_trainer("equal", change=change), recordings)


def test_nothing_is_said_against_a_network_whose_steps_are_alike():
    assert objection(lambda: a_trainer("uncertainty"), recordings) is None


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "modo", "mgda"])
def test_batches_of_other_sizes_are_recorded_anew_with_all_that_follows(weighting):
    plain, replayed = a_trainer(weighting), a_trainer(weighting)
    recorder = Recorder(replayed)
    replayed.replays = Replays(recorder, replayed.parameters())
    batch = plain.batches.next()
    counts = []
    for size in (6, 6, 6, 3, 3, 6):
        part = batch.with_tensors([tensor[:size] for tensor in batch.tensors()])
        expected, found = plain.advance(part), replayed.advance(part)
        assert torch.equal(expected.losses, found.losses)
        counts.append(recorder.count)
    assert counts[1] == counts[2] < counts[3] == counts[4] < counts[5]
    for one, other in zip(plain.parameters(), replayed.parameters(), strict=True):
        assert torch.equal(one, other)


class Wavering(Weighting):
    """Learns a scale, in every second step."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.scale = nn.Parameter(torch.ones(()))
        self.calls = 0

    def weights(self, losses):
        self.calls += 1
        return losses.new_ones(len(losses)) * (self.scale if self.calls % 2 else 1.0)


def test_what_a_weighting_learns_may_get_a_gradient_in_some_steps_only():
    plain, replayed = (a_trainer(built=Wavering(TASKS)) for _ in range(2))
    replayed.replays = recordings(replayed)
    for _ in range(7):
        batch = plain.batches.next()
        plain.advance(batch)
        replayed.advance(batch)
    for one, other in zip(plain.parameters(), replayed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_recording_goes_while_others_are_replayed():
    """With a CUDA graph its stream's workspaces would go, which those that stay were recorded with."""
    made = _recorded_over_two_phases()
    gc.collect()
    assert {tape() for tape in made} == {None}  # they go with the run


def _recorded_over_two_phases():
    """References to every recording of a run of two phases; while it runs, none goes."""
    trainer = a_trainer("uncertainty", epochs=3, restart_after=1, restart_learning_rate=3e-3)
    recorder, made = Recorder(trainer), []

    def record(work):
        tape, result = Recorder.record(recorder, work)
        made.append(weakref.ref(tape))
        return tape, result

    recorder.record = record
    fitted(trainer, Replays(recorder, trainer.parameters()))
    assert len(made) == 4  # the losses, the pass backwards, and each phase's optimiser
    assert None not in [tape() for tape in made]
    return made


class OtherOrder(TorchDispatchMode):
    """Sums as if in another order, where a GPU's is not fixed: gradients of weights and of bilinear upsampling."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.draw = torch.Generator().manual_seed(1)

    def _moved(self, value):
        if value is None:
            return None
        if value.dtype == torch.float32:
            return value * (1 + self.size * torch.randn(value.shape, generator=self.draw))
        moved = torch.rand(value.shape, generator=self.draw) < 0.1  # of half precision, a tenth by one unit
        return torch.where(moved, value.float() * (1 + 2**-7), value.float()).to(value.dtype)

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        name = operation.overloadpacket.__name__
        if name == "convolution_backward":
            return (result[0], self._moved(result[1]), self._moved(result[2]))
        return self._moved(result) if name == "upsample_bilinear2d_backward" else result


class Reordered(Recorder):
    """Its work is the same but for the order of sums."""

    def __init__(self, trainer, size):
        super().__init__(trainer)
        self.size = size

    def record(self, work):
        tape, result = super().record(work)

        class Again:
            def replay(_):
                with OtherOrder(self.size):
                    tape.replay()

        return Again(), result


def reordered(size):
    return lambda trainer: Replays(Reordered(trainer, size), trainer.parameters())


@pytest.mark.parametrize(
    ("architecture", "weighting", "precision"),
    [
        *(("split", weighting, "fp32") for weighting in ("equal", "uncertainty", "mgda", "gradnorm")),
        ("mtan", "equal", "bf16"),
    ],
)
def test_another_order_of_sums_is_no_objection(architecture, weighting, precision):
    hardware = Hardware("cpu", precision, 1)
    build = partial(a_trainer, weighting, architecture, hardware=hardware)
    assert objection(build, reordered(1e-6)) is None


@pytest.mark.parametrize("weighting", [None, "uncertainty"])
def test_gradients_that_are_wrong_by_more_than_order_are_objected_to(weighting):
    assert "the gradient of " in objection(partial(a_trainer, weighting), reordered(0.1))


def test_graphs_are_for_gpus():
    with pytest.raises(UsageError, match="--cuda-graphs needs a CUDA device"):
        Hardware.choose("cpu", graphs=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "weighting", ["equal", "uncertainty", "mgda", "pcgrad", "sdmgrad", "mgda-ub", "gradnorm", "famo"]
)
def test_cuda_graphs_change_no_step(weighting, precision):
    hardware = Hardware("cuda", precision, 1, graphs=True)
    assert objection(lambda: a_trainer(weighting, hardware=hardware), cuda_graphs) is None
