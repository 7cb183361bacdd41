"""Checkpoints: the whole state of a run between two steps.

A run that was stopped and goes on gives the record of one that was not, bit for bit on the CPU in fp32, but for times.

What is in one: the model's and the weighting's parameters and buffers, the optimiser, the schedule, every generator,
the epoch's steps as far as they have come, diagnostics, curves and clocks. A method's state that is neither
parameter nor buffer is not: the contracts say that there is none.

A file is a checksum and what ``torch.save`` writes, and is read by ``torch.load(weights_only=True)``, which builds
tensors and plain containers and runs no code. The last two are kept, so that damage to one costs a few minutes.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmark.runs.files import write_atomically
from benchmark.training.engine import Pass, Trainer

MAGIC = b"mtbench checkpoint 1\n"
DIGEST = hashlib.sha256().digest_size
#: How the name of a checkpoint's file ends, after the run's id.
SUFFIX = ".ckpt"
#: Seconds from one checkpoint to the next.
INTERVAL = 300.0

State = dict[str, Any]


class Stopped(Exception):
    """The run was asked to stop, and has left a checkpoint if it keeps any."""


class Unusable(Exception):
    """A checkpoint that cannot be gone on from, and why."""


@dataclass(frozen=True)
class Policy:
    """Where a run's checkpoints are, how often they are written, whether they outlive the run."""

    folder: Path
    interval: float = INTERVAL
    keep: bool = False


@dataclass
class Checkpoints:
    """The checkpoints of one run.

    Args:
        policy: None for a run that keeps none.
        run: its id.
        identity: what must be the same when it goes on: code, packages, data, hardware.
        note: told in one line of a checkpoint that is not used.
        stop: whether the run is to stop after the present step.
        misfit: why the checkpoint that was got last could not be gone on from.
    """

    policy: Policy | None
    run: str
    identity: Mapping[str, Any]
    note: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    written: float = field(default_factory=lambda: monotonic())
    failing: bool = False
    misfit: str = "it does not fit"

    @property
    def path(self) -> Path | None:
        """The newest one's file."""
        return self.policy.folder / f"{self.run}{SUFFIX}" if self.policy else None

    def pause(self, state: Callable[[], State]) -> None:
        """Called between two steps: writes a checkpoint when it is time, or the run is to stop.

        Raises:
            Stopped: it is to stop.
        """
        stop = self.stop()
        if self.policy and (stop or monotonic() - self.written >= self.policy.interval):
            self._write(state())
        if stop:
            raise Stopped

    def _write(self, state: State) -> None:
        path = cast(Path, self.path)
        try:
            content = packed({**state, "run": self.run, "identity": dict(self.identity)})
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                path.replace(_previous(path))
            write_atomically(path, content)
        except Exception as error:  # noqa: BLE001 - a full disk, or a method whose state is foreign: the run goes on
            if not self.failing:
                self.note(f"no checkpoint can be written ({_line(error)}); the run goes on without")
            self.failing = True
        else:
            self.failing = False
        self.written = monotonic()

    def usable(self) -> Iterator[State]:
        """The usable checkpoints, newest first; whoever asks for the next could not go on from the last.

        Each that is not used is set aside, with a note that says why.
        """
        for path in (self.path, _previous(self.path)) if self.path else ():
            try:
                state = unpacked(path.read_bytes())
                self._check(state)
            except FileNotFoundError:
                continue
            except (OSError, Unusable) as error:
                self._set_aside(path, _line(error))
                continue
            yield state
            self._set_aside(path, self.misfit)

    def _check(self, state: State) -> None:
        if state.get("run") != self.run:
            raise Unusable(f"it is that of run {str(state.get('run'))[:40]}")
        found = state.get("identity")
        known = found if isinstance(found, dict) else {}
        if changed := [name for name, value in self.identity.items() if known.get(name) != value]:
            raise Unusable(f"it was not made with the same {', '.join(changed)}")

    def _set_aside(self, path: Path, reason: str) -> None:
        with suppress(OSError):
            path.replace(path.with_name(f"{path.name}.unusable"))
        self.note(f"the checkpoint {path.name} is not used: {reason}; kept as {path.name}.unusable")


def drop(folder: Path, run: str) -> None:
    """Remove a run's checkpoints, usable or not."""
    path = folder / f"{run}{SUFFIX}"
    for file in (path, _previous(path), *folder.glob(f"{path.name}*.unusable")):
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def packed(state: State) -> bytes:
    """A state as the content of a checkpoint's file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    return b"".join((MAGIC, hashlib.sha256(content).digest(), content))


def unpacked(content: bytes) -> State:
    """The state in a checkpoint's file.

    Raises:
        Unusable: it is damaged, of another schema, or holds more than tensors and plain containers.
    """
    view = memoryview(content)
    if view[: len(MAGIC)] != MAGIC:
        raise Unusable("it is no checkpoint of this version")
    digest, body = view[len(MAGIC) : len(MAGIC) + DIGEST], view[len(MAGIC) + DIGEST :]
    if hashlib.sha256(body).digest() != digest:
        raise Unusable("it is damaged")
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # a reader of foreign bytes may raise anything
        raise Unusable(f"it cannot be read ({_line(error)})") from error
    if not isinstance(state, dict):
        raise Unusable("it is no checkpoint of this version")
    return state


def snapshot(trainer: Trainer) -> State:
    """All that decides how training goes on."""
    current = trainer.under_way
    return {
        "model": tensors_of(trainer.model),
        "weighting": tensors_of(trainer.weighting) if trainer.weighting else {},
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": trainer.schedule.state_dict(),
        "batches": trainer.batches.state(),
        "generators": {name: generator.get_state() for name, generator in trainer.generators.items()},
        "torch": _torch_generators(trainer.device),
        "epoch": trainer.epoch,
        "under_way": current is not None,
        "pass": current.state() if current else None,
        "diagnostics": trainer.diagnostics.state(),
        "epoch_seconds": list(trainer.epoch_seconds),
        "step_seconds": list(trainer.step_seconds),
        "evaluation_seconds": trainer.evaluation_seconds,
        "trace": dict(trainer.trace),
    }


def restore(trainer: Trainer, state: State) -> None:
    """Put a trainer that was just built into a snapshot's state.

    Raises:
        Exception: of any kind, where the state is not that of such a trainer, which is then of no use any more.
    """
    _check_form(trainer, state)
    fill(trainer.model, state["model"])
    if trainer.weighting:
        fill(trainer.weighting, state["weighting"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.schedule.load_state_dict(state["schedule"])
    trainer.batches.restore(state["batches"])
    for name, generator in trainer.generators.items():
        generator.set_state(state["generators"][name])
    torch.set_rng_state(state["torch"]["cpu"])
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(state["torch"]["cuda"], trainer.device)
    trainer.epoch = int(state["epoch"])
    current = state["pass"]
    if current is not None:
        trainer.under_way = Pass(
            current["sums"].to(trainer.device),
            current["losses"].to(trainer.device),
            [int(count) for count in current["labelled"]],
            done=int(current["done"]),
            sampled=list(current["sampled"]),
            seconds=float(current["seconds"]),
            auxiliary=None if current.get("auxiliary") is None else current["auxiliary"].to(trainer.device),
        )
    trainer.diagnostics.restore(state["diagnostics"], trainer.device)
    trainer.epoch_seconds = list(state["epoch_seconds"])
    trainer.step_seconds = list(state["step_seconds"])
    trainer.evaluation_seconds = state["evaluation_seconds"]
    trainer.trace = {int(number): str(found) for number, found in state["trace"].items()}


def _check_form(trainer: Trainer, state: State) -> None:
    """Raise ``Unusable`` for parts that would be taken as they are and be wrong."""
    if state["under_way"] is not (state["pass"] is not None):
        raise Unusable("its pass is not that of its epoch")
    if not isinstance(state["schedule"], dict) or state["schedule"].keys() != trainer.schedule.state_dict().keys():
        raise Unusable("its schedule is not that of the protocol")
    if not isinstance(state["evaluation_seconds"], float):
        raise Unusable("its time of evaluation is no number")
    for name in ("epoch_seconds", "step_seconds"):
        values = state[name]
        if (
            not isinstance(values, list)
            or len(values) != state["epoch"]
            or not all(isinstance(v, float) for v in values)
        ):
            raise Unusable(f"its {name} are not one number for each epoch")


def _torch_generators(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, also those that ``state_dict`` leaves out."""
    return {name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())}


@torch.no_grad()
def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors to where they were; a buffer that was None or of another shape at the start becomes a new one."""
    parameters = dict(module.named_parameters())
    if missing := (parameters.keys() | dict(module.named_buffers()).keys()) - tensors.keys():
        raise Unusable(f"it lacks {', '.join(sorted(missing))}")
    device = next(iter(parameters.values())).device if parameters else None
    for name, tensor in tensors.items():
        owner, _, leaf = name.rpartition(".")
        target = parameters[name] if name in parameters else module.get_submodule(owner)._buffers[leaf]
        if target is not None and target.shape == tensor.shape:
            target.copy_(tensor)
        elif name in parameters:
            raise Unusable(f"'{name}' has another shape")
        else:
            module.get_submodule(owner)._buffers[leaf] = tensor.to(device if target is None else target.device)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
