"""Made-up training steps of real cost: a network, a weighting and random pictures, without a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from benchmark.arithmetic import Arithmetic
from benchmark.data import SPLITS, AnySplit, SeparateSplit, Split, build_dataset
from benchmark.model import build_model
from benchmark.spec import Component, Protocol, RunSpec, derive_seed
from benchmark.tasks import Task
from benchmark.training.batches import gathered
from benchmark.training.engine import Trainer
from benchmark.training.evaluation import evaluate
from benchmark.training.gradients import RepresentationGradients, Rows, TaskGradients
from benchmark.training.hardware import Hardware
from benchmark.training.layout import lay_out
from benchmark.training.proof import cuda_graphs, objection
from benchmark.training.separate import SeparateModel
from benchmark.weighting import GradientWeighting, LookaheadWeighting, Weighting, build_weighting

#: What a step of a weighting costs, by class (``cost_class``).
CLASSES = ("losses", "again", "lookahead", "representation", "gradients")


@dataclass(frozen=True)
class Workload:
    """What the steps are made of, besides the methods.

    Attributes:
        image_shape: channels, height and width.
        batch: pictures per step, of each task that has its own.
        joint: False where every task has its own pictures.
        arithmetic: for which memory is laid out.
        protocol: names the optimiser and its options; None for Adam at its defaults.
    """

    tasks: tuple[Task, ...]
    image_shape: tuple[int, int, int]
    batch: int
    hardware: Hardware
    joint: bool = True
    arithmetic: Arithmetic = "native"
    protocol: Protocol | None = None

    @classmethod
    def of(cls, spec: RunSpec, hardware: Hardware, batch: int | None = None) -> "Workload":
        """That of a run, or of as many pictures per step as ``batch`` says."""
        data = build_dataset(spec.dataset.name, **spec.dataset.options)
        return cls(
            tuple(data.tasks),
            data.image_shape,
            batch or spec.protocol.batch_size,
            hardware,
            joint=data.joint,
            arithmetic=spec.protocol.arithmetic,
            protocol=spec.protocol,
        )

    def split(self) -> AnySplit:
        """One batch of random pictures, with random targets as each kind of task stores them, all of them valid."""
        draw = torch.Generator().manual_seed(derive_seed("workload"))
        images = torch.randint(256, (self.batch, *self.image_shape), dtype=torch.uint8, generator=draw)
        targets = {}
        for task in self.tasks:
            size = self.image_shape[1:] if task.dense else ()
            # A decision has the form of a target, and one from positive numbers is a valid one of every kind.
            raw = 0.1 + torch.rand(self.batch, task.channels, *size, generator=draw)
            targets[task.name] = task.definition.decide(task.finish(raw)).to(self.hardware.device)
        images, ids = images.to(self.hardware.device), np.arange(self.batch)
        if self.joint:
            return Split(images, targets, ids)
        return SeparateSplit({name: Split(images, {name: target}, ids) for name, target in targets.items()})


class Stepper:
    """One network in training with one weighting: takes the training loop's own steps, without diagnostics.

    Raises:
        UsageError: an unknown name or option, or the weighting cannot work with this network or batch.
    """

    def __init__(self, architecture: Component, weighting: Component | None, load: Workload) -> None:
        self.load = load
        hardware = load.hardware
        split = load.split()
        spec = RunSpec(
            dataset=Component(name="workload", version=1, options={}),
            architecture=architecture,
            weighting=weighting,
            seed=0,
            protocol=(load.protocol or Protocol(epochs=1, batch_size=load.batch)).model_copy(
                update={"batch_size": load.batch}
            ),
        )

        def trainer() -> Trainer:
            with hardware.seeded(derive_seed("workload", architecture.name)):
                model = build_model(architecture.name, load.tasks, **architecture.options)
                built = build_weighting(weighting.name, load.tasks, **weighting.options) if weighting else None
            if not load.joint:
                model = SeparateModel(model, {})
            lay_out(model, hardware, load.arithmetic)
            model, built = model.to(hardware.device), built.to(hardware.device) if built else None
            return Trainer(model, built, spec=spec, splits=dict.fromkeys(SPLITS, split), hardware=hardware)

        def begun() -> Trainer:
            torch.manual_seed(derive_seed("workload"))
            return trainer()

        #: Why steps are not replayed as CUDA graphs although they should be.
        self.obstacle: str | None = None
        if hardware.graphs:
            with hardware.seeded(0):
                self.obstacle = objection(begun, cuda_graphs)
        self.trainer = trainer()
        if hardware.graphs and not self.obstacle:
            self.trainer.replays = cuda_graphs(self.trainer)
        self.model, self.weighting = self.trainer.model.train(), self.trainer.weighting
        self.batch = gathered(split, torch.arange(load.batch, device=hardware.device))

    def step(self) -> float:
        """Take one step; its seconds, until the device is done."""
        hardware = self.load.hardware
        hardware.synchronize()
        started = perf_counter()
        self.trainer.advance(self.batch)
        hardware.synchronize()
        return perf_counter() - started

    def kept_bytes(self) -> int:
        """Bytes that stay from step to step for the weighting's sake: rows of gradients, and its own state."""
        held = list(vars(self.trainer.step).values())
        holders = [value.buffer for value in held if isinstance(value, TaskGradients | RepresentationGradients)]
        rows = [value for value in [*held, *holders] if isinstance(value, Rows)]
        state: Sequence[Tensor] = list(self.weighting.state_dict().values()) if self.weighting else []
        return sum(found.nbytes for found in rows) + sum(tensor.nbytes for tensor in state)

    def move(self) -> float:
        """Seconds of the optimiser's part of a step, by the gradients of the last one."""
        hardware = self.load.hardware
        hardware.synchronize()
        started = perf_counter()
        self.trainer.optimizer.step()
        hardware.synchronize()
        return perf_counter() - started

    def evaluation(self) -> float:
        """Seconds of an evaluation of the batch's pictures: predictions, losses and metrics."""
        hardware = self.load.hardware
        hardware.synchronize()
        started = perf_counter()
        evaluate(self.model, self.trainer.splits["val"], hardware)
        self.model.train()
        return perf_counter() - started


def cost_class(weighting: Weighting | None) -> str:
    """Which of ``CLASSES`` decides what a step costs; no weighting costs what one that sees losses does."""
    if isinstance(weighting, GradientWeighting):
        return "representation" if weighting.on == "representation" else "gradients"
    if isinstance(weighting, LookaheadWeighting):
        return "lookahead"
    return "again" if weighting is not None and weighting.evaluates_again else "losses"


def units(kind: str, tasks: int) -> float:
    """A step's cost in forward passes, a backward pass being two of them.

    Args:
        kind: of ``CLASSES``.
        tasks: K.
    """
    return {
        "losses": 3.0,
        "again": 4.0,
        "lookahead": 11.0,  # the virtual step 3, the other batch 3, the central difference 2, the step 3
        "representation": 3.0,  # the K passes stop at the heads
        "gradients": 1.0 + 2 * tasks,
    }[kind]


def limit(kind: str, tasks: int) -> float | None:
    """What a step may cost at most, relative to one under equal weights; None where nothing is promised."""
    if kind == "gradients":
        return 1.05 * units(kind, tasks) / units("losses", tasks)
    return {"losses": 1.05, "representation": 1.3}.get(kind)
