"""Activations that wait off the device: the same bits, less memory, nothing left behind."""

import copy
import dataclasses
import functools
import gc
import tempfile
from pathlib import Path

import pytest
import torch

import benchmark
from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.execution.executor import Note, Setup, work
from benchmark.execution.local import LocalExecutor
from benchmark.execution.scheduler import run_all
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.runs.store import Store
from benchmark.training import hardware as hardware_module
from benchmark.training import spill
from benchmark.training.batch import gathered
from benchmark.training.checkpoint import Policy
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware
from benchmark.training.run import execute
from benchmark.training.spill import SpillError, spilled
from tests import harness

pytestmark = pytest.mark.slow

BATCH = 6
#: Each kind of step.
PAIRS = (
    *((name, weighting, {}) for name in ("split", "mtan", "dense", "cross-stitch")
      for weighting in ("equal", "gradnorm", "cagrad", "pcgrad")),
    *(("split", weighting, {}) for weighting in ("famo", "auto-lambda", "modo")),
    *(("split", weighting, {"on": "representation"}) for weighting in ("mgda", "graddrop")),
)  # fmt: skip


@pytest.fixture(autouse=True)
def everything(monkeypatch):
    """The smallest tensor is spilled."""
    monkeypatch.setattr(spill, "SMALL", 1)


@functools.cache
def splits():
    dataset = build_dataset("toy", size=32, train=BATCH, val=BATCH, test=2)
    dataset.prepare(Storage.default())
    return {split: dataset.load(split, Storage.default(), "cpu") for split in SPLITS}, dataset.tasks


@functools.cache
def model_of(architecture):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return benchmark.build_model(architecture, splits()[1], backbone="unet-1-2", width=2)


def trained(architecture, weighting, options, hardware):
    """All that two steps leave: numbers of the steps, the model, the weighting, the optimiser."""
    model = copy.deepcopy(model_of(architecture)).to(memory_format=torch.channels_last)
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
        trainer = Trainer(model.train(), built, spec=spec, splits=splits()[0], hardware=hardware)
        batch = gathered(splits()[0]["train"], torch.arange(BATCH))
        results = [trainer.advance(batch, diagnose) for diagnose in (True, False)]
    numbers = [value for r in results for value in (r.losses, r.weights, r.gramian) if value is not None]
    moments = [value for state in trainer.optimizer.state.values() for value in state.values()]
    return [*numbers, *model.state_dict().values(), *built.state_dict().values(), *moments]


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("architecture", "weighting", "options"), PAIRS)
def test_steps_are_the_same_bit_for_bit(toy, architecture, weighting, options):
    precision = "bf16" if weighting == "cagrad" else "fp32"
    plain = trained(architecture, weighting, options, Hardware("cpu", precision, 1))
    same(trained(architecture, weighting, options, Hardware("cpu", precision, 1, spills=True)), plain)


def test_what_cuda_does_with_host_memory_gives_the_same_bits_too(toy, monkeypatch):
    plain = trained("mtan", "cagrad", {}, Hardware("cpu", "fp32", 1))
    monkeypatch.setattr(hardware_module, "spilled", lambda kind: spilled("cuda"))
    same(trained("mtan", "cagrad", {}, Hardware("cpu", "fp32", 1, spills=True)), plain)


BASE = torch.arange(2 * 3 * 8 * 10, dtype=torch.float32).reshape(2, 3, 8, 10)
LAYOUTS = {
    "contiguous": BASE,
    "channels last": BASE.contiguous(memory_format=torch.channels_last),
    "transposed": BASE.transpose(1, 3),
    "a piece": BASE[:, 1:, 2:5, ::2],
    "expanded": BASE[:1, :1].expand(4, 5, 8, 10),
    "a scalar": BASE.sum(),
    "off alignment": BASE.flatten()[3:77],
    "half precision": BASE.bfloat16(),
    "truth values": BASE > 7,
    "bytes off alignment": BASE.to(torch.uint8).flatten()[5:],
    "nothing": BASE[:0],
    "complex": torch.complex(BASE, -BASE),
    "conjugated": torch.complex(BASE, -BASE).conj(),
    "sparse": BASE.to_sparse(),
}


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tensor_comes_back_as_it_was(layout, kind):
    class Keeping(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, kept):
            ctx.save_for_backward(kept)
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            seen.extend(ctx.saved_tensors)
            return gradient, None

    seen, kept = [], LAYOUTS[layout]
    with spilled(kind):
        out = Keeping.apply(torch.zeros((), requires_grad=True), kept)
    for _ in range(2):
        out.backward(retain_graph=True)
    for found in seen:
        assert (found.dtype, found.shape, found.layout) == (kept.dtype, kept.shape, kept.layout)
        assert torch.equal(found.to_dense(), kept.to_dense()) if kept.is_sparse else torch.equal(found, kept)
        if not kept.is_sparse:
            assert found.stride() == kept.stride()
            assert found.data_ptr() % 64 == kept.data_ptr() % 64
    assert len(seen) == 2


def held(folder):
    """Files in a folder that this process has open, though they have no name."""
    links = list(Path("/proc/self/fd").iterdir())
    return [link for link in links if link.exists() and str(link.readlink()).startswith(str(folder))]


def test_memory_that_is_saved_twice_is_written_once_unless_it_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    x = torch.ones(1000, requires_grad=True)
    with spilled("cpu"):
        y = x.exp()  # saves y
        z = y * y.view(10, 100).reshape(1000)  # twice more
        (file,) = held(tmp_path)
        assert file.stat().st_size == 4000
        z.add_(1)
        total = z.square().sum()  # saves z after the change
        assert file.stat().st_size == 8000
    total.backward()
    e = torch.e
    torch.testing.assert_close(x.grad, torch.full((1000,), 4 * e**2 * (e**2 + 1)))


def test_files_have_no_name_and_go_with_the_graph(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    x = torch.ones(1000, requires_grad=True)
    gc.disable()  # counting references is enough
    try:
        for through in (True, False):
            with spilled("cpu"):
                total = x.exp().square().sum()
            assert len(held(tmp_path)) == 1
            assert list(tmp_path.iterdir()) == []
            if through:
                total.backward()
            else:
                del total
            assert held(tmp_path) == []
    finally:
        gc.enable()
    with spilled("cpu"), torch.no_grad():
        x.exp()
        assert held(tmp_path) == []


def run_of(architecture):
    base = harness.specs()[1]
    component = Component.from_registry(ARCHITECTURES, architecture, {"width": 4})
    return base.model_validate(base.model_dump() | {"architecture": component})


def full(**options):
    """A file on a full disk."""
    return Path("/dev/full").open("r+b", buffering=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda patch, _: patch.setattr(tempfile, "TemporaryFile", full), "No space left on device"),
        (lambda patch, folder: patch.setenv("TMPDIR", str(folder / "missing")), "No such file or directory"),
    ],
    ids=["full", "missing"],
)
def test_a_disk_without_room_is_a_failure_in_one_line(toy, monkeypatch, tmp_path, change, words):
    harness.prepared()
    change(monkeypatch, tmp_path)
    spills = dataclasses.replace(harness.CPU, spills=True)
    record = execute(run_of("tiny"), storage=Storage.default(), hardware=spills).record
    assert record.status == "failed"
    assert record.error.startswith("activations cannot be written in ")
    assert words in record.error
    assert "in TMPDIR" in record.error
    assert "\n" not in record.error


def test_a_file_that_lost_its_content_is_an_error_in_the_backward_pass(monkeypatch):
    files, make = [], tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: files.append(make(**options)) or files[-1])
    with spilled("cpu"):
        total = torch.ones(1000, requires_grad=True).exp().sum()
    files[0].truncate(17)
    with pytest.raises(SpillError, match=r"cannot be read .*it is too short"):
        total.backward()


def test_a_second_failure_is_the_record(toy):
    harness.prepared()
    told = []
    run = run_of("greedy")
    outcome = work(run, Setup(Storage.default(), harness.CPU, spill=True), told.append, lambda: False).outcome
    assert (outcome.record.status, outcome.record.cost.spilled) == ("out-of-memory", True)
    assert "batches of 4" in outcome.record.error
    assert [type(event) for event in told] == [Note]
    outcome = work(run, Setup(Storage.default(), harness.CPU), told.append, lambda: False).outcome
    assert (outcome.record.status, outcome.record.cost.spilled) == ("out-of-memory", False)
    assert len(told) == 1


def test_the_run_of_a_worker_that_was_killed_is_tried_once_more(toy, tmp_path, monkeypatch):
    harness.prepared()
    monkeypatch.chdir(tmp_path)
    setup = Setup(Storage.default(), harness.CPU, (toy,), Policy(tmp_path / "checkpoints", 0.0), spill=True)
    store, observer, run = Store(tmp_path / "results"), harness.Silent(), run_of("unlucky")
    run_all([run], store=store, executor=LocalExecutor(setup), observer=observer, hardware=harness.CPU)
    record = store.get(run)
    assert (record.status, record.cost.spilled) == ("ok", True)
    assert record.curves == execute(run, storage=Storage.default(), hardware=harness.CPU).record.curves
    (note,) = [note for note in observer.notes if "ended by SIGKILL" in note]
    assert "tried once more with its activations off the device" in note
