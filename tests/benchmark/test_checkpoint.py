"""A run that was stopped, however and wherever, gives the record of one that was not."""

import dataclasses
import errno
import pickle
from pathlib import Path

import pytest
import torch

from benchmark.data import Storage, build_dataset
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.training import checkpoint
from benchmark.training.checkpoint import Policy, Stopped, packed, unpacked
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Watcher
from benchmark.training.run import execute

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)
#: 12 samples in batches of 4, three epochs.
STEPS = 9


#: A network of few layers, with a representation for the weightings that need one, and pictures that it takes.
SMALL = {"width": 4, "backbone": "wrn-10"}
WORDS = {"train": 24, "val": 8, "test": 8}


@pytest.fixture(scope="module")
def storage(toy):
    for dataset in (build_dataset("toy"), build_dataset("toy-words", **WORDS)):
        dataset.prepare(Storage.default())
    return Storage.default()


@pytest.fixture(scope="module")
def whole(storage):
    """The outcome of the plainest run, undisturbed."""
    return execute(spec(), storage=storage, hardware=CPU)


def spec(architecture="forgetful", weighting="equal", **protocol):
    return RunSpec(
        dataset=Component.from_registry(DATASETS, "toy"),
        architecture=Component.from_registry(ARCHITECTURES, architecture, {"width": 4}),
        weighting=Component.from_registry(WEIGHTINGS, weighting) if weighting else None,
        seed=0,
        protocol=Protocol(**{"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "lr_step": 1, **protocol}),
    )


def small_spec(architecture, weighting, **protocol):
    """A run on the small network; its epochs have three steps like the others' unless said."""
    changes = {
        "dataset": Component.from_registry(DATASETS, "toy-words", WORDS),
        "architecture": Component.from_registry(ARCHITECTURES, architecture, SMALL),
    }
    return spec(weighting=weighting, **{"batch_size": 8, **protocol}).model_copy(update=changes)


def same(one, other):
    """Whether two outcomes are the same, bit for bit, but for times."""
    assert without_times(one.record) == without_times(other.record)
    assert one.predictions.keys() == other.predictions.keys()
    assert all((one.predictions[k] == other.predictions[k]).all() for k in one.predictions)


class Countdown:
    """Says stop at the ``count``-th time it is asked."""

    def __init__(self, count):
        self.left = count

    def __call__(self):
        self.left -= 1
        return self.left == 0


def stopped(run, storage, folder, after):
    """Train ``after`` steps or epochs' ends further than the last time, and stop."""
    notes = []
    with pytest.raises(Stopped):
        execute(
            run,
            storage=storage,
            hardware=CPU,
            watcher=Watcher(note=notes.append, stop=Countdown(after), checkpoints=Policy(folder)),
        )
    return notes


def resumed(run, storage, folder, hardware=CPU):
    """The rest of a run: its outcome, its notes, the epochs that were done now."""
    notes, epochs = [], []
    watcher = Watcher(epoch=lambda e: epochs.append(e.epoch), note=notes.append, checkpoints=Policy(folder))
    return execute(run, storage=storage, hardware=hardware, watcher=watcher), notes, epochs


def test_stopped_after_every_single_step(storage, tmp_path):
    run = spec(weighting="dwa")
    whole = execute(run, storage=storage, hardware=CPU)
    for _ in range(STEPS - 1):
        assert stopped(run, storage, tmp_path, 1) == []
    outcome, notes, epochs = resumed(run, storage, tmp_path)
    same(outcome, whole)
    assert (notes, epochs) == ([], [3])


@pytest.mark.parametrize(
    ("dataset", "protocol", "steps"),
    [
        # Augmentation, a decay of momentum, and epochs that end within a pass.
        ("toy", {"flip": True, "scale_crop": "literature", "optimizer": "sgd", "steps_per_epoch": 2}, 6),
        # A second phase, whose optimiser and schedule are not those that a trainer begins with.
        ("toy", {"optimizer": "sgd", "steps_per_epoch": 2, "restart_after": 1, "restart_learning_rate": 0.3}, 6),
        # A rate that differs in every step, of two phases.
        (
            "toy",
            {
                "optimizer": "adamw",
                "weight_decay": 0.1,
                "lr_step": 100,
                "schedule": "cosine",
                "warmup_steps": 3,
                "steps_per_epoch": 3,
                "restart_after": 2,
            },
            9,
        ),
        # Two rules of steps, each with moments of its own.
        ("toy", {"optimizer": "muon", "weight_decay": 0.1, "steps_per_epoch": 3, "restart_after": 1}, 6),
        # Two tasks with pictures of their own, whose passes begin at different steps.
        ("toy-pair", {"batch_size": 24, "epochs": 2, "steps_per_epoch": 3, "flip": True}, 6),
    ],
    ids=["augmented", "two phases", "a rate for each step", "muon", "separate"],
)
def test_batches_go_on_within_a_pass(toy, storage, tmp_path, dataset, protocol, steps):
    build_dataset(dataset).prepare(storage)
    run = spec(weighting="dwa", **protocol).model_copy(update={"dataset": Component.from_registry(DATASETS, dataset)})
    if dataset != "toy":
        run = run.model_copy(update={"architecture": Component.from_registry(ARCHITECTURES, "split", SMALL)})
    whole = execute(run, storage=storage, hardware=CPU)
    assert whole.record.error is None
    for _ in range(steps - 1):
        assert stopped(run, storage, tmp_path, 1) == []
    same(resumed(run, storage, tmp_path)[0], whole)


#: Everything that can be trained without an option of its own, also what later versions bring.
EVERY = sorted(
    name for name in WEIGHTINGS if not WEIGHTINGS[name].required and WEIGHTINGS[name].factory.__module__[:3] == "bas"
)


@pytest.mark.parametrize("weighting", [*EVERY, "dice", None])
def test_every_weighting_goes_on_where_it_was(storage, tmp_path, weighting):
    # Two epochs of two steps; what an epoch's losses say to later ones (dwa) is stopped after every step above.
    run = spec("trunk", weighting, batch_size=6, epochs=2) if weighting else small_spec("single-task", None, epochs=2)
    whole = execute(run, storage=storage, hardware=CPU)
    assert whole.record.status == "ok"
    stopped(run, storage, tmp_path, 3)
    outcome, notes, epochs = resumed(run, storage, tmp_path)
    same(outcome, whole)
    assert (notes, epochs) == ([], [2])


@pytest.mark.parametrize("inner", ["mgda", "pcgrad"])
def test_gradients_at_other_points_go_on_where_they_were(storage, tmp_path, inner):
    """With dropout: what the passes of a step draw is drawn once."""
    samo = Component.from_registry(WEIGHTINGS, "samo", {"of": inner})
    small = Component.from_registry(ARCHITECTURES, "split", {**SMALL, "dropout": 0.3})
    run = small_spec("split", None, batch_size=12).model_copy(update={"weighting": samo, "architecture": small})
    whole = execute(run, storage=storage, hardware=CPU)
    assert whole.record.status == "ok"
    stopped(run, storage, tmp_path, 3)
    outcome, notes, epochs = resumed(run, storage, tmp_path)
    same(outcome, whole)
    assert (notes, epochs) == ([], [2, 3])


@pytest.mark.parametrize("architecture", ["mtan", "cross-stitch", "stan", "dense", "ltb"])
def test_every_pattern_goes_on_where_it_was(storage, tmp_path, architecture):
    run = small_spec(architecture, None if architecture == "stan" else "uncertainty", epochs=2)
    whole = execute(run, storage=storage, hardware=CPU)
    stopped(run, storage, tmp_path, 2)
    same(resumed(run, storage, tmp_path)[0], whole)


def test_the_clocks_go_on_and_the_start_stays(storage, tmp_path):
    run = spec()
    stopped(run, storage, tmp_path, 4)
    state = unpacked(next(tmp_path.glob("*.ckpt")).read_bytes())
    record = resumed(run, storage, tmp_path)[0].record
    assert record.provenance.started == state["started"][:19] + state["started"][-6:]
    assert record.cost.wall_seconds > state["seconds"]
    assert record.cost.peak_bytes >= state["peak_bytes"]


def test_checkpoints_come_at_their_interval(storage, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoint, "write_atomically", lambda path, content: written.append(path))
    for interval, count in ((0.0, STEPS), (3600.0, 0)):
        written.clear()
        policy = Policy(tmp_path, interval)
        execute(spec(), storage=storage, hardware=CPU, watcher=Watcher(checkpoints=policy))
        assert len(written) == count  # after every step, the last of an epoch with its evaluation


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def emptied(path):
    path.write_bytes(b"")


def edited(**changes):
    def edit(path):
        path.write_bytes(packed(unpacked(path.read_bytes()) | changes))

    return edit


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def bomb(path):
    body = pickle.dumps(Bomb())
    path.write_bytes(b"".join((checkpoint.MAGIC, checkpoint.hashlib.sha256(body).digest(), body)))


def bomb_inside(path):
    state = unpacked(path.read_bytes())
    path.write_bytes(packed({**state, "optimizer": Bomb()}))


def another_model(path):
    state = unpacked(path.read_bytes())
    path.write_bytes(packed({**state, "model": {"shared.weight": torch.zeros(1)}}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "damaged"),
        (flipped, "damaged"),
        (emptied, "no checkpoint of this version"),
        (bomb, "cannot be read"),
        (bomb_inside, "cannot be read"),
        (another_model, "does not fit"),
        (edited(run="ffff"), "that of run ffff"),
        (edited(identity={}), "not made with the same code, packages, plugins, data, device"),
        (edited(generators={}), "does not fit"),
        (edited(curves=[]), "its curves are not those of its epochs"),
        (edited(epoch="many"), "does not fit"),
        (edited(torch=None), "does not fit"),
        (edited(optimizer={"state": {}, "param_groups": []}), "does not fit"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_kept_named_and_the_run_begins_anew(
    storage, whole, tmp_path, monkeypatch, damage, reason
):
    monkeypatch.chdir(tmp_path)
    run = spec()
    stopped(run, storage, tmp_path, 5)
    path = next(tmp_path.glob("*.ckpt"))
    damage(path)
    outcome, notes, epochs = resumed(run, storage, tmp_path)
    same(outcome, whole)
    assert epochs == [1, 2, 3]
    assert len(notes) == 1
    assert reason in notes[0]
    assert "\n" not in notes[0]
    assert path.with_name(f"{path.name}.unusable").exists()
    assert not Path("exploded").exists()


def test_a_checkpoint_of_other_threads_is_not_used(storage, tmp_path):
    stopped(spec(), storage, tmp_path, 2)
    other = dataclasses.replace(CPU, threads=2)
    _, notes, epochs = resumed(spec(), storage, tmp_path, other)
    torch.set_num_threads(1)
    assert "not made with the same number of threads" in notes[0]
    assert epochs == [1, 2, 3]


def test_the_last_but_one_is_used_where_the_last_is_damaged(storage, whole, tmp_path):
    run = spec()
    stopped(run, storage, tmp_path, 4)
    stopped(run, storage, tmp_path, 4)
    truncated(tmp_path / f"{run.id}.ckpt")
    outcome, notes, epochs = resumed(run, storage, tmp_path)
    same(outcome, whole)
    assert len(notes) == 1
    assert epochs == [2, 3]


def test_where_neither_fits_the_run_begins_anew(storage, whole, tmp_path):
    run = spec()
    stopped(run, storage, tmp_path, 4)
    stopped(run, storage, tmp_path, 4)
    for path in tmp_path.iterdir():
        another_model(path)
    outcome, notes, epochs = resumed(run, storage, tmp_path)
    same(outcome, whole)
    assert len(notes) == 2
    assert epochs == [1, 2, 3]


def test_a_full_disk_costs_the_checkpoint_and_keeps_the_last(storage, whole, tmp_path, monkeypatch):
    run = spec()
    stopped(run, storage, tmp_path, 4)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", full)
        assert stopped(run, storage, tmp_path, 2) == [
            "no checkpoint can be written ([Errno 28] No space left on device); the run goes on without"
        ]
        notes = []
        policy = Policy(tmp_path, 0.0)
        execute(run, storage=storage, hardware=CPU, watcher=Watcher(note=notes.append, checkpoints=policy))
        assert len(notes) == 1  # not one a step
    outcome, notes, epochs = resumed(run, storage, tmp_path)
    same(outcome, whole)
    assert (notes, epochs) == ([], [2, 3])


def test_state_that_no_checkpoint_can_hold_costs_the_checkpoint_only(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "snapshot", None)
    monkeypatch.setattr("benchmark.training.run.snapshot", lambda _: {"model": lambda: None})
    notes = []
    policy = Policy(tmp_path, 0.0)
    outcome = execute(spec(), storage=storage, hardware=CPU, watcher=Watcher(note=notes.append, checkpoints=policy))
    assert outcome.record.status == "ok"
    assert len(notes) == 1
    assert "no checkpoint can be written" in notes[0]
