"""One run: its record, its repetition, its failures."""

import numpy as np
import pytest
import torch

import benchmark
from benchmark.data import Split, Storage, build_dataset
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.artifacts import OfMasks
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.speed.estimate import run_flops
from benchmark.training.attention import masks
from benchmark.training.batch import TrainingBatches
from benchmark.training.evaluation import evaluate
from benchmark.training.gradients import Rows
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from tests.conftest import TOY

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)


@pytest.fixture
def storage(toy):
    storage = Storage.default()
    for name in ("toy", "toy-words"):
        build_dataset(name).prepare(storage)
    return storage


def spec(architecture="tiny", weighting="equal", *, dataset="toy", seed=0, options=None, **protocol):
    return RunSpec(
        dataset=Component.from_registry(DATASETS, dataset),
        architecture=Component.from_registry(ARCHITECTURES, architecture, options),
        weighting=Component.from_registry(WEIGHTINGS, weighting) if weighting else None,
        seed=seed,
        protocol=Protocol(**{"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, **protocol}),
    )


def test_a_run_leaves_a_whole_record(storage):
    heard = []
    outcome = execute(spec(), storage=storage, hardware=CPU, watcher=Watcher(heard.append))
    record = outcome.record
    assert record.status == "ok"
    assert [epoch.epoch for epoch in record.curves] == [1, 2, 3]
    assert heard == list(record.curves)
    last = record.curves[-1]
    assert set(last.losses) == set(last.metrics) | {"train"} == {"train", "val", "test"}
    for split in ("val", "test"):
        for task in build_dataset("toy").tasks:
            assert set(last.metrics[split][task.name]) == {metric.name for metric in task.metrics}
    assert last.weights == {"semantic": 1.0, "depth": 1.0, "normals": 1.0}
    assert record.cost.parameters == record.cost.shared_parameters + 4 * 3 + 3 + 4 + 1 + 4 * 3 + 3
    # Multiply-adds count double: the 3×3 convolution, then the 1×1 convolutions of 3 + 1 + 3 channels.
    assert 0 < record.cost.train_seconds < record.cost.wall_seconds
    assert 0 < record.cost.evaluation_seconds < record.cost.wall_seconds - record.cost.train_seconds
    assert record.cost.forward_flops == 2 * 32 * 32 * 4 * (27 + 7)
    assert record.provenance.data_hash == build_dataset("toy").content_hash(storage)
    assert outcome.predictions["semantic"].shape == (4, 32, 32)
    assert set(outcome.truth) == {"image", "id", "semantic", "depth", "normals"}


def test_masks_of_an_architecture_that_attends_are_kept_small(storage):
    found = execute(spec("mtan", options={"width": 4}, epochs=1), storage=storage, hardware=CPU).predictions
    assert {key for key in found if isinstance(key, OfMasks) and key.part == "masks"} == {
        OfMasks(name) for name in ("semantic", "depth", "normals")
    }
    masks, ends = found[OfMasks("depth")], found[OfMasks("depth", "ends")]
    assert (masks.shape, masks.dtype) == ((4, 10, 32, 32), np.uint8)
    assert list(found[OfMasks("depth", "levels")])[4:6] == ["encoder 5", "decoder 1"]
    assert ends.shape == (10, 2)
    assert ((ends >= 0) & (ends <= 1)).all()
    assert all((level.min(), level.max()) == (0, 255) for level in masks.swapaxes(0, 1))
    # Encoder 5's map has 2×2 pixels here, each of which is repeated.
    corners = masks[:, 4, ::16, ::16]
    assert (masks[:, 4] == corners.repeat(16, 1).repeat(16, 2)).all()
    assert not any(isinstance(key, OfMasks) for key in execute(spec(), storage=storage, hardware=CPU).predictions)


def test_large_masks_are_averaged_down_to_64_pixels(monkeypatch, toy):
    factory = ARCHITECTURES["tiny"].factory
    # Channels 0 and 1; their mean has one bright quarter.
    mask = torch.zeros(2, 2, 96, 128)
    mask[:, 1, :48, :64] = 0.5
    monkeypatch.setattr(factory, "attention_masks", lambda self, images: {"depth": {"only": mask}})
    images = torch.zeros(2, 3, 96, 128, dtype=torch.uint8)
    found = masks(factory(build_dataset("toy").tasks), images, CPU, pytest.fail)
    assert found[OfMasks("depth")].shape == (2, 1, 48, 64)
    assert (found[OfMasks("depth")][:, 0, :24, :32] == 255).all()
    assert found[OfMasks("depth")].mean() == 255 / 4
    assert found[OfMasks("depth", "ends")].tolist() == [[0.0, 0.25]]


@pytest.mark.parametrize(
    "hook",
    [
        lambda self, images: {"depth": {"one": torch.full((len(images), 1, 2, 2), torch.nan)}},
        lambda self, images: {"depth": {"one": images[:, 0]}},
        lambda self, images: [1],
        lambda self, images: 1 / 0,
    ],
    ids=["not finite", "no channels", "a list", "raises"],
)
def test_a_hook_that_fails_costs_the_masks_and_not_the_run(storage, monkeypatch, hook):
    monkeypatch.setattr(ARCHITECTURES["tiny"].factory, "attention_masks", hook)
    heard = []
    outcome = execute(spec(epochs=1), storage=storage, hardware=CPU, watcher=Watcher(note=heard.append))
    assert outcome.record.status == "ok"
    assert set(outcome.predictions) == {"semantic", "depth", "normals"}
    assert len(heard) == 1
    assert heard[0].startswith("no attention masks are kept (")


@pytest.mark.parametrize(
    ("architecture", "weighting"),
    [*(("forgetful", name) for name in ("equal", "uncertainty", "dwa", "dice")), ("mtan", "dwa")],
)
def test_the_same_spec_gives_the_same_record(storage, architecture, weighting):
    run = spec(architecture, weighting, options={"width": 4})
    torch.manual_seed(1)
    first = execute(run, storage=storage, hardware=CPU)
    torch.manual_seed(2)  # whatever was drawn before must not matter
    torch.rand(3)
    second = execute(run, storage=storage, hardware=CPU)
    assert first.record.status == "ok"
    assert without_times(first.record) == without_times(second.record)
    assert all((first.predictions[k] == second.predictions[k]).all() for k in first.predictions)


def test_the_commit_is_that_of_the_start(storage, monkeypatch):
    # A commit that is made while a run is on did not make its numbers.
    monkeypatch.setattr("benchmark.training.provenance.git_state", lambda: ("before", False))

    def commit(_):
        monkeypatch.setattr("benchmark.training.provenance.git_state", lambda: ("after", True))

    record = execute(spec(), storage=storage, hardware=CPU, watcher=Watcher(commit)).record
    assert (record.provenance.git_commit, record.provenance.git_dirty) == ("before", False)


def test_another_seed_gives_another_record(storage):
    first, second = (execute(spec(seed=s), storage=storage, hardware=CPU).record for s in (0, 1))
    assert first.curves[0].losses != second.curves[0].losses


def test_a_run_leaves_the_global_generator_alone(storage):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    execute(spec(), storage=storage, hardware=CPU)
    assert torch.equal(torch.rand(2), expected)


def test_training_learns(storage):
    record = execute(spec("split", options={"width": 8}, epochs=12), storage=storage, hardware=CPU).record
    first, last = record.curves[0], record.curves[-1]
    assert last.losses["train"]["depth"] < 0.7 * first.losses["train"]["depth"]
    assert last.metrics["test"]["semantic"]["miou"] > 40


def test_classification_runs_on_a_network_without_decoder(storage):
    run = spec("mtan", dataset="toy-words", options={"width": 4, "backbone": "wrn"}, epochs=6)
    record = execute(run, storage=storage, hardware=CPU).record
    assert record.status == "ok"
    assert record.curves[-1].metrics["test"]["brightness"]["accuracy"] > 80


def test_single_task_needs_no_weighting_and_trains_each_task_alone(storage):
    record = execute(spec("single-task", None, options={"width": 4}), storage=storage, hardware=CPU).record
    assert record.reference
    assert record.curves[0].weights == {}
    assert record.cost.shared_parameters == 0


def test_the_learning_rate_decays_by_the_protocol(storage):
    record = execute(spec(epochs=5, lr_step=2, lr_decay=0.1), storage=storage, hardware=CPU).record
    assert [epoch.learning_rate for epoch in record.curves] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


def test_a_second_phase_has_its_own_learning_rate_and_the_same_decay(storage):
    run = spec(epochs=6, lr_step=2, lr_decay=0.1, restart_after=3, restart_learning_rate=5e-3)
    record = execute(run, storage=storage, hardware=CPU).record
    assert [e.learning_rate for e in record.curves] == pytest.approx([1e-2, 1e-2, 1e-3, 5e-3, 5e-3, 5e-4])


def test_a_record_holds_the_rate_of_each_epochs_first_step(storage):
    """Three epochs of four steps with a warm-up of six: steps 0, 4 and 8 of 12."""
    run = spec(steps_per_epoch=4, schedule="cosine", warmup_steps=6)
    record = execute(run, storage=storage, hardware=CPU).record
    expected = [1e-2 / 6, 1e-2 * 0.75 * 5 / 6, 1e-2 * 0.25]  # ½ (1 + cos(π/3)) = ¾, ½ (1 + cos(2π/3)) = ¼
    assert [epoch.learning_rate for epoch in record.curves] == pytest.approx(expected, rel=1e-12)


def test_a_second_phase_begins_without_momentum(storage):
    """Of plain gradient descent, a restart with the same rate changes nothing; of momentum, the steps after it."""
    phases = {}
    for momentum in (0.0, 0.9):
        for after in (0, 2):
            run = spec(epochs=3, optimizer="sgd", momentum=momentum, learning_rate=1e-3, restart_after=after)
            curves = execute(run, storage=storage, hardware=CPU).record.curves
            phases[momentum, after] = [epoch.losses["train"] for epoch in curves]
    assert phases[0.0, 0] == phases[0.0, 2]
    assert phases[0.9, 0][:2] == phases[0.9, 2][:2]
    assert phases[0.9, 0][2] != phases[0.9, 2][2]


def test_dwa_moves_its_weights_from_the_third_epoch_on(storage):
    record = execute(spec(weighting="dwa", epochs=4), storage=storage, hardware=CPU).record
    weights = [list(epoch.weights.values()) for epoch in record.curves]
    assert weights[0] == weights[1] == [1, 1, 1]
    assert weights[2] != [1, 1, 1]
    assert all(sum(w) == pytest.approx(3) for w in weights)


def test_uncertainty_learns_its_weights(storage):
    record = execute(spec(weighting="uncertainty"), storage=storage, hardware=CPU).record
    assert len({tuple(epoch.weights.values()) for epoch in record.curves}) == 3


def test_only_some_epochs_are_evaluated_and_always_the_last(storage):
    record = execute(spec(epochs=5, evaluate_every=2), storage=storage, hardware=CPU).record
    assert [bool(epoch.metrics) for epoch in record.curves] == [False, True, False, True, True]
    assert set(record.curves[0].losses) == {"train"}


def test_a_loss_that_is_not_finite_is_a_record(storage):
    outcome = execute(spec(weighting="runaway"), storage=storage, hardware=CPU)
    assert outcome.record.status == "diverged"
    assert "is not finite in epoch" in outcome.record.error
    assert outcome.record.curves
    assert outcome.record.truth is None
    assert outcome.predictions is None


def test_an_exception_of_a_method_is_a_record_with_its_place(storage):
    outcome = execute(spec("explosive"), storage=storage, hardware=CPU)
    record = outcome.record
    assert record.status == "failed"
    line = next(i for i, text in enumerate(TOY.read_text().splitlines(), 1) if 'RuntimeError("boom' in text)
    assert record.error == f"RuntimeError: boom <b>bold</b> (in toy.py:{line}, forward)"
    assert f'File "{TOY}", line {line}, in forward' in outcome.traceback
    assert "benchmark/training/engine.py" in outcome.traceback
    assert record.cost.parameters


def test_exhausted_memory_is_a_record(storage):
    record = execute(spec("greedy"), storage=storage, hardware=CPU).record
    assert (record.status, record.error[:16]) == ("out-of-memory", "OutOfMemoryError")


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
@pytest.mark.parametrize("kind", [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)])
def test_memory_that_a_library_could_not_get_is_exhausted_too(storage, monkeypatch, message, kind):
    def load(*_):
        raise kind(message)

    monkeypatch.setattr("benchmark.data.dataset.DataSet.load", load)
    assert execute(spec(), storage=storage, hardware=CPU).record.status == "out-of-memory"


def test_another_fault_of_cuda_is_not_about_memory(storage, monkeypatch):
    def load(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("benchmark.data.dataset.DataSet.load", load)
    assert execute(spec(), storage=storage, hardware=CPU).record.status == "failed"


def test_memory_that_does_not_hold_the_data_is_a_record(storage, monkeypatch):
    def load(*_):
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr("benchmark.data.dataset.DataSet.load", load)
    assert execute(spec(), storage=storage, hardware=CPU).record.status == "out-of-memory"


def test_a_last_step_into_the_void_is_divergence(storage):
    # One step an epoch: its loss is still finite, but nothing that is computed with the new parameters is.
    record = execute(spec(epochs=1, batch_size=12, learning_rate=1e38), storage=storage, hardware=CPU).record
    assert all(loss is not None for loss in record.curves[0].losses["train"].values())
    assert record.status == "diverged"


def test_fewer_samples_than_a_batch_is_a_record(storage):
    record = execute(spec(batch_size=50), storage=storage, hardware=CPU).record
    assert (record.status, "12 samples, less than one batch of 50" in record.error) == ("failed", True)


def test_evaluation_does_not_depend_on_its_batch_size(storage, monkeypatch):
    dataset = build_dataset("toy")
    split = dataset.load("test", storage)
    model = benchmark.build_model("mtan", dataset.tasks, width=4)
    found = []
    for size in (1, 2, 32):
        monkeypatch.setattr("benchmark.training.evaluation.EVALUATION_BATCH", size)
        found.append(evaluate(model, split, CPU))
    for other in found[1:]:
        assert other.losses == pytest.approx(found[0].losses, rel=1e-5)
        for task, metrics in other.metrics.items():
            assert metrics == pytest.approx(found[0].metrics[task], rel=1e-5)


@pytest.mark.parametrize(
    ("device", "precision"), [("gpu", "fp32"), ("mps", "fp32"), ("cuda:99", "fp32"), ("cpu", "fp8")]
)
def test_hardware_that_is_not_there_is_named(device, precision):
    with pytest.raises(benchmark.errors.UsageError):
        Hardware.choose(device, precision)


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_where_the_processor_computes_in_it(monkeypatch, native):
    # oneDNN's own answer is yes on any AVX-512, where it would convert: that must not count.
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    assert Hardware.choose("cpu").precision == ("bf16" if native and torch.backends.mkldnn.is_available() else "fp32")
    assert Hardware.choose("cpu", "fp32").precision == "fp32"
    assert Hardware.choose("cpu", "bf16").precision == "bf16"


def test_auto_is_fp32_where_torch_does_not_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert Hardware.choose("cpu").precision == "fp32"


def test_bf16_trains_too(storage):
    half, single = (spec("mtan", options={"width": 4}, epochs=1, precision=precision) for precision in ("bf16", "fp32"))
    record = execute(half, storage=storage, hardware=CPU).record
    assert record.status == "ok"
    assert record.provenance.precision == "bf16"
    assert record.curves[0].losses != execute(single, storage=storage, hardware=CPU).record.curves[0].losses
    assert half.id != single.id


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_run_on_cuda_agrees_with_the_cpu(storage):
    run = spec("mtan", options={"width": 4}, epochs=1)
    cpu = execute(run, storage=storage, hardware=CPU).record
    cuda = execute(run, storage=storage, hardware=Hardware("cuda", "fp32", 1)).record
    assert cuda.status == "ok"
    assert cuda.curves[0].losses["train"] == pytest.approx(cpu.curves[0].losses["train"], rel=1e-2)


@pytest.mark.parametrize(
    "protocol",
    [
        {"flip": True, "scale_crop": "literature"},
        {"optimizer": "sgd", "weight_decay": 1e-2},
        {"optimizer": "sgd", "weight_decay": 1e-2, "momentum": 0.0},
        {"weight_decay": 1e-2},
        {"steps_per_epoch": 5},
        {"optimizer": "adamw", "weight_decay": 0.5},
        {"optimizer": "muon"},
        {"schedule": "cosine"},
        {"warmup_steps": 4},
    ],
    ids=["augmented", "sgd", "no-momentum", "decay", "steps", "adamw", "muon", "cosine", "warm-up"],
)
def test_every_option_of_the_protocol_changes_the_numbers_and_comes_back(storage, protocol):
    plain, once, twice = (
        execute(spec(**options), storage=storage, hardware=CPU).record for options in ({}, protocol, protocol)
    )
    assert once.status == "ok"
    assert without_times(once) == without_times(twice)
    assert once.curves[-1].losses["val"] != plain.curves[-1].losses["val"]


def test_passes_go_on_where_an_epoch_of_stated_steps_ends():
    split = Split(torch.zeros(6, 3, 2, 2), {"n": torch.arange(6)}, torch.arange(6).numpy())
    batches = TrainingBatches(split, spec(batch_size=2, steps_per_epoch=4))
    seen = [batch.targets["n"].tolist() for _ in range(3) for batch in batches]
    assert len(seen) == 12
    for begin in range(0, 12, 3):
        assert sorted(n for batch in seen[begin : begin + 3] for n in batch) == list(range(6))


def test_decay_of_the_network_leaves_learned_scales_alone(storage):
    """With a decay that empties the network, the scales go where they would have gone without."""
    frozen = {"epochs": 1, "learning_rate": 1e-6, "optimizer": "sgd", "momentum": 0.0}
    plain = execute(spec(weighting="uncertainty", **frozen), storage=storage, hardware=CPU).record
    decayed = execute(spec(weighting="uncertainty", weight_decay=1e4, **frozen), storage=storage, hardware=CPU).record
    start = 0.5 * torch.tensor(0.5).exp().item()
    for record in (plain, decayed):
        assert all(weight == pytest.approx(start, rel=1e-3) for weight in record.curves[-1].weights.values())
    assert plain.curves[-1].losses != decayed.curves[-1].losses


def test_a_batch_too_small_for_a_weighting_is_refused_before_any_run(toy):
    with pytest.raises(benchmark.errors.UsageError, match="MoDo cuts every batch into 3 parts"):
        run_flops([spec(weighting=None, architecture="tiny"), spec(weighting="modo", batch_size=2)])


def test_a_direction_of_another_shape_is_refused():
    rows = Rows(2, [torch.zeros(3, 4)], torch.device("cpu"))
    with pytest.raises(ValueError, match=r"must have the shape \(12,\), found \(1,\)"):
        rows.pieces(torch.zeros(1))


def test_options_that_no_record_can_hold_are_refused(toy):
    with pytest.raises(benchmark.errors.UsageError, match=r"'dwa' needs float as 'temperature', found .*object"):
        Component.from_registry(WEIGHTINGS, "dwa", {"temperature": object()})
    assert Component.from_registry(WEIGHTINGS, "constant", {"weights": (0.5, 0.5)}).options == {"weights": [0.5, 0.5]}
