"""Training steps on random pictures and targets, without a data set, which cost what real ones do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from benchmark.arithmetic import Arithmetic
from benchmark.data import SPLITS, AnySplit, PerTaskInputSplit, Split, build_dataset
from benchmark.data.dataset import Colours
from benchmark.runs.spec import Component, Protocol, RunSpec, derive_seed
from benchmark.tasks import Task
from benchmark.training.batch import gathered
from benchmark.training.build import build_trainer
from benchmark.training.engine import Trainer
from benchmark.training.evaluation import evaluate
from benchmark.training.gradients import RepresentationGradients, Rows, TaskGradients
from benchmark.training.graphs.proof import cuda_graphs, objection
from benchmark.training.hardware import Hardware
from benchmark.weighting import GradientWeighting, LookaheadWeighting, SharpnessWeighting, Weighting

#: Classes of weightings by what decides the cost of their steps (``cost_class``).
CLASSES = ("losses", "again", "lookahead", "representation", "gradients", "sharpness")


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
    def from_run(cls, spec: RunSpec, hardware: Hardware, batch: int | None = None) -> "Workload":
        """The workload of a run; ``batch`` replaces its number of pictures per step."""
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

    @property
    def colours(self) -> Mapping[str, Colours]:
        """Made-up pictures are not normalised."""
        return {}

    def spec(self, architecture: Component, weighting: Component | None) -> RunSpec:
        """The run whose steps are taken."""
        protocol = self.protocol or Protocol(epochs=1, batch_size=self.batch)
        return RunSpec(
            dataset=Component(name="workload", version=1, options={}),
            architecture=architecture,
            weighting=weighting,
            seed=0,
            protocol=protocol.model_copy(update={"batch_size": self.batch, "arithmetic": self.arithmetic}),
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
        return PerTaskInputSplit({name: Split(images, {name: target}, ids) for name, target in targets.items()})


class Stepper:
    """One network in training with one weighting: takes the training loop's own steps, without diagnostics.

    Raises:
        UsageError: an unknown name or option, or the weighting cannot work with this network or batch.
    """

    def __init__(self, architecture: Component, weighting: Component | None, load: Workload) -> None:
        self.load = load
        hardware = load.hardware
        split = load.split()
        spec = load.spec(architecture, weighting)

        def trainer() -> Trainer:
            return build_trainer(spec, load, dict.fromkeys(SPLITS, split), hardware)

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
        """Bytes that are kept between steps for the weighting: rows of gradients, and its own state."""
        held = list(vars(self.trainer.step).values())
        holders = [value.buffer for value in held if isinstance(value, TaskGradients | RepresentationGradients)]
        rows = [value for value in [*held, *holders] if isinstance(value, Rows)]
        state: Sequence[Tensor] = list(self.weighting.state_dict().values()) if self.weighting else []
        return sum(found.nbytes for found in rows) + sum(tensor.nbytes for tensor in state)

    def optimizer_step(self) -> float:
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
    """Which of ``CLASSES`` a weighting belongs to; without a weighting, ``losses``."""
    if isinstance(weighting, SharpnessWeighting):
        return "sharpness"
    if isinstance(weighting, GradientWeighting):
        return "representation" if weighting.on == "representation" else "gradients"
    if isinstance(weighting, LookaheadWeighting):
        return "lookahead"
    return "again" if weighting is not None and weighting.evaluates_again else "losses"


def step_forward_passes(kind: str, tasks: int) -> float:
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
        "sharpness": 3.0 + 5 * tasks,  # the gradient at θ 3; for each task the two sides 2, its gradient 3
    }[kind]


def relative_cost_limit(kind: str, tasks: int) -> float | None:
    """What a step may cost at most, relative to one under equal weights; None where nothing is promised."""
    if kind == "gradients":
        return 1.05 * step_forward_passes(kind, tasks) / step_forward_passes("losses", tasks)
    return {"losses": 1.05, "representation": 1.3}.get(kind)
