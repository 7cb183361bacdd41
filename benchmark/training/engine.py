"""The training loop: one protocol for every architecture and weighting."""

from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data import AnySplit
from benchmark.model import MultiTaskModel
from benchmark.runs.record import ByTask, EpochRecord
from benchmark.runs.spec import LARGEST, RunSpec
from benchmark.training.augmentation import Augmentation
from benchmark.training.batch import Batch, OtherBatches, labelled_samples, training_batches
from benchmark.training.contract import begin_epoch
from benchmark.training.diagnostics import GradientDiagnostics
from benchmark.training.evaluation import evaluate
from benchmark.training.graphs.replay import OnDevice, Replays, eager
from benchmark.training.hardware import Hardware, Stopwatch
from benchmark.training.optimizer import Schedule, build_optimizer
from benchmark.training.steps.choice import choose_step
from benchmark.training.steps.step import Result, StepContext
from benchmark.training.trace import TRACED_STEPS, digest
from benchmark.transfer import sent
from benchmark.weighting import SampledWeighting, Weighting

#: The piece of a step that is the optimiser's, see ``OnDevice``.
OPTIMIZER = "optimizer"

T = TypeVar("T")


class Diverged(Exception):
    """A mean loss over an epoch or a split that is not finite."""


@dataclass
class Pass:
    """The steps of one epoch, as far as it has come.

    Attributes:
        sums: (2, K) of the losses and of the weights, over the steps done.
        losses: (K,) of the last step.
        labelled: (K,) how many of the steps done had a label of each task.
        done: steps.
        sampled: seconds of each step that was sampled for diagnostics, once ``settle`` was called.
        seconds: that the steps took before the run was interrupted.
        watches: of sampled steps that the device may not have done yet.
        auxiliary: (A,) sums of the auxiliary losses over the steps done; None where there are none.
    """

    sums: Tensor
    losses: Tensor
    labelled: list[int]
    done: int = 0
    sampled: list[float] = field(default_factory=list)
    seconds: float = 0.0
    watches: list[Stopwatch] = field(default_factory=list)
    auxiliary: Tensor | None = None

    @classmethod
    def begun(cls, tasks: int, device: torch.device) -> "Pass":
        """Without a step."""
        return cls(torch.zeros(2, tasks, device=device), torch.zeros(tasks, device=device), [0] * tasks)

    def add(self, result: Result, auxiliary: Tensor | None = None) -> None:
        """What a step leaves, with (A,) auxiliary losses where the network has any. No wait."""
        self.losses = result.losses
        if auxiliary is not None:
            self.auxiliary = auxiliary.clone() if self.auxiliary is None else self.auxiliary + auxiliary
        self.sums[0] += result.losses
        self.sums[1] += result.weights
        for k in result.present.places:
            self.labelled[k] += 1

    def means(self) -> Tensor:
        """(2, K) of the losses and of the weights over the steps with a label of the task; NaN where there are none."""
        if all(count == self.done for count in self.labelled):
            return self.sums / self.done
        return self.sums / sent(torch.tensor(self.labelled), self.sums.device)

    def settle(self) -> None:
        """Read the watches, which waits for the device once: it comes to them in the order of their steps."""
        if self.watches:
            self.watches[-1].wait()
        self.sampled += [watch.seconds() for watch in self.watches]
        self.watches = []

    def state(self) -> dict[str, Any]:
        """What a checkpoint must know."""
        self.settle()
        return {name: value for name, value in vars(self).items() if name != "watches"}


class Trainer:
    """Trains one model on one data set.

    Args:
        model: on the device.
        weighting: likewise; None sums the losses, which trains networks that share nothing each as if alone.
        spec: names the protocol and the seed.
        splits: ``train``, ``val`` and ``test``, on the device.
        augmentation: of the training split, by task where every task has its own pictures; None for none.

    Raises:
        ValueError: the training split is smaller than a batch.
        UsageError: the weighting cannot work with this model.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        weighting: Weighting | None,
        *,
        spec: RunSpec,
        splits: Mapping[str, AnySplit],
        hardware: Hardware,
        augmentation: Augmentation | Mapping[str, Augmentation] | None = None,
    ) -> None:
        self.model = model
        self.weighting = weighting
        self.splits = splits
        self.protocol = spec.protocol
        self.hardware = hardware
        self.device = torch.device(hardware.device)
        #: By epoch, of all training steps; and of one step that is not sampled for diagnostics.
        self.epoch_seconds: list[float] = []
        self.step_seconds: list[float] = []
        #: Of all evaluations.
        self.evaluation_seconds = 0.0
        self.diagnostics = GradientDiagnostics([task.name for task in model.tasks])
        labels = labelled_samples(splits["train"], model.tasks)
        self.batches = training_batches(splits["train"], spec, augmentation, labels=labels)
        #: Tasks of which no step of the last epoch had a label, so that their mean training loss has no value.
        self.unlabelled: set[str] = set()
        self.others = OtherBatches(splits, spec)
        #: All that is drawn from besides torch's own and for the training batches, for checkpoints.
        self.generators = {"other batches": self.others.generator}
        #: By number of the step a hash of its losses and parameters; on the CPU alone, where it costs no wait.
        self.trace: dict[int, str] = {}
        #: Epochs done, and the one in progress.
        self.epoch = 0
        self.under_way: Pass | None = None
        #: Recordings of steps, where steps are to be replayed, and what does the work of the present step.
        self.replays: Replays | None = None
        self._doing: OnDevice = eager
        self.schedule = Schedule(spec.protocol, self.batches.steps)
        #: Where replayed steps read the learning rate. GPUs read float32, the CPU what it is given.
        self._rate = torch.zeros(
            (), dtype=torch.float64 if self.device.type == "cpu" else torch.float32, device=self.device
        )
        context = StepContext(self.others, lambda: self.schedule.rate, self._on_device)
        self.step = choose_step(model, weighting, hardware, context)
        if isinstance(weighting, SampledWeighting):
            weighting.check_batch(spec.protocol.batch_size)
        self._begin_phase()

    def _begin_phase(self) -> None:
        """A new optimiser, without history."""
        learned = list(self.weighting.parameters()) if self.weighting else []
        self.optimizer = build_optimizer(self.model.parameters(), self.protocol, learned)
        if self.replays:
            self.replays.forget(OPTIMIZER)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.batches.steps

    def fit(self, on_epoch: Callable[[EpochRecord], None], pause: Callable[[], None] = lambda: None) -> None:
        """Train for all epochs that are left and tell ``on_epoch`` of each.

        Args:
            on_epoch: is told of each epoch.
            pause: called between any two steps and epochs; what it raises ends the training.

        Raises:
            Diverged: a mean loss or a parameter is not finite after an epoch; ``on_epoch`` has been told of that epoch.
        """
        while self.epoch < self.protocol.epochs:
            record = self._epoch(self.epoch + 1, pause)
            self.epoch += 1
            on_epoch(record)
            for split, losses in record.losses.items():
                for task, loss in losses.items():
                    if loss is None and not (split == "train" and task in self.unlabelled):
                        raise Diverged(f"the {split} loss of '{task}' is not finite in epoch {self.epoch}")
            self._check_parameters()
            pause()

    def _check_parameters(self) -> None:
        """A gradient that is not finite makes its parameter so, also where no loss has seen it yet."""
        parameters = dict(self.model.named_parameters())
        if not parameters:
            return
        finite = torch.stack([torch.isfinite(parameter).all() for parameter in parameters.values()])
        for name, fine in zip(parameters, finite.tolist(), strict=True):  # one wait for all
            if not fine:
                raise Diverged(f"the parameter '{name}' is not finite after epoch {self.epoch}: a gradient was not")

    def _epoch(self, epoch: int, pause: Callable[[], None]) -> EpochRecord:
        current = self._train(pause)
        started = perf_counter()
        means = current.means()
        self.unlabelled = {
            task.name for task, count in zip(self.model.tasks, current.labelled, strict=True) if not count
        }
        names = [task.name for task in self.model.tasks]
        mean_losses, mean_weights = (by_task(names, row) for row in means.cpu())  # waits for the device
        losses = {"train": mean_losses}
        current.settle()
        seconds, plain = current.seconds + perf_counter() - started, self.steps - len(current.sampled)
        self.epoch_seconds.append(seconds)
        self.step_seconds.append((seconds - sum(current.sampled)) / plain if plain else seconds / self.steps)
        self.under_way = None
        weights = mean_weights if self.weighting else {}
        if self.weighting:
            self.weighting.epoch_end(means[0])
        if epoch == self.protocol.restart_after:
            self._begin_phase()
        metrics = {}
        if epoch % self.protocol.evaluate_every == 0 or epoch == self.protocol.epochs:
            started = perf_counter()
            for split in ("val", "test"):
                evaluation = evaluate(self.model, self.splits[split], self.hardware)
                losses[split] = finite(evaluation.losses)
                metrics[split] = {task: finite(values) for task, values in evaluation.metrics.items()}
            self.evaluation_seconds += perf_counter() - started
        return EpochRecord(
            epoch=epoch,
            learning_rate=self.schedule.at((epoch - 1) * self.steps),
            losses=losses,
            weights=weights,
            metrics=metrics,
            gradients=self.diagnostics.take(),
            auxiliary=self._auxiliary(current),
        )

    def _auxiliary(self, current: Pass) -> dict[str, ByTask]:
        """Means over the steps with a label of the task, by name of the prediction and task."""
        if current.auxiliary is None:
            return {}
        labelled = dict(zip((task.name for task in self.model.tasks), current.labelled, strict=True))
        found: dict[str, ByTask] = {}
        for (name, task), total in zip(self.step.auxiliary.keys, current.auxiliary.tolist(), strict=True):
            mean = finite({task: total / labelled[task]}) if labelled[task] else {task: None}
            found.setdefault(name, {}).update(mean)
        return found

    def _train(self, pause: Callable[[], None]) -> Pass:
        """The steps of an epoch, or the rest of the one in progress."""
        self.model.train()
        if self.under_way is None:
            begin_epoch(self.model, self.epoch, self.protocol.epochs)
        current = self.under_way = self.under_way or Pass.begun(len(self.model.tasks), self.device)
        while current.done < self.steps:
            started = perf_counter()
            self._one_of(current, self.batches.next())
            current.done += 1
            current.seconds += perf_counter() - started
            self._keep_trace(current)
            if current.done < self.steps:
                pause()
        return current

    def _keep_trace(self, current: Pass) -> None:
        number = self.epoch * self.steps + current.done
        if self.hardware.kind == "cpu" and number in TRACED_STEPS:
            self.trace[number] = digest(current.losses, self.model.parameters())

    def _one_of(self, current: Pass, batch: Batch) -> None:
        """One step of an epoch."""
        diagnose = self.diagnostics.due()
        watch = Stopwatch(self.device) if diagnose else None
        result = self.advance(batch, diagnose)
        current.add(result, self.step.auxiliary.values)
        if watch:
            self.diagnostics.add(result.gramian, result.present)
            watch.stop()
            current.watches.append(watch)

    def advance(self, batch: Batch, diagnose: bool = False) -> Result:
        """One optimiser step; ``diagnose`` asks for the Gramian."""
        with self.replays.stream() if self.replays else nullcontext():
            # Sampled steps keep their graph for passes of their own.
            self._doing = eager if diagnose or self.replays is None else self.replays
            self.optimizer.zero_grad(set_to_none=True)
            self.step.auxiliary.begin()
            result = self.step(batch, diagnose)
            self._set_rate()
            if self._doing is not eager and self._has_moments():
                there = tuple(parameter.grad is not None for parameter in self.parameters())
                self._on_device(OPTIMIZER, self._optimizer_step, fixed=there)
            else:
                self._optimizer_step()
            self.step.after(batch)
            self.schedule.step()
        return result

    def _set_rate(self) -> None:
        """Tell the optimiser the rate of the present step; a recorded one would go on with a plain number for ever.

        A GPU gets it in float32 either way, or steps that are replayed would differ in last bits from those that are
        not.
        """
        exact = self.schedule.rate
        rate: float | Tensor = exact if self.device.type == "cpu" else float(np.float32(exact))
        if self.replays:
            rate = self._rate.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _on_device(self, name: str, work: Callable[..., T], *inputs: Tensor, fixed: Hashable = None) -> T:
        """See ``OnDevice``."""
        return self._doing(name, work, *inputs, fixed=fixed)

    def parameters(self) -> list[nn.Parameter]:
        """All that are trained: the model's, and what the weighting learns."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _has_moments(self) -> bool:
        """Whether the optimiser has its moments, which a recording would make anew each time."""
        return all(p in self.optimizer.state for p in self.parameters() if p.grad is not None)

    def _optimizer_step(self) -> None:
        """The optimiser's step. Adam wants to be told where it is recorded."""
        adam = [group for group in self.optimizer.param_groups if "capturable" in group]
        recorded = self.hardware.kind == "cuda" and torch.cuda.is_current_stream_capturing()
        for group in adam:
            group["capturable"] = recorded
        self.optimizer.step()
        for group in adam:
            group["capturable"] = False


def by_task(names: list[str], values: Tensor) -> ByTask:
    """(K,) numbers by task name, None where not finite."""
    return finite(dict(zip(names, values.tolist(), strict=True)))


def finite(values: dict[str, float]) -> ByTask:
    """The same with None for every number that is not finite, or larger than a record holds."""
    return {name: value if abs(value) <= LARGEST else None for name, value in values.items()}
