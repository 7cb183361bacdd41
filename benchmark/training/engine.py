"""The training loop: one protocol for every architecture and weighting."""

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmark.data import AnySplit
from benchmark.model import MultiTaskModel
from benchmark.spec import Protocol, RunSpec
from benchmark.store import ByTask, EpochRecord
from benchmark.training.augmentation import Augmentation
from benchmark.training.batches import OtherBatches, training_batches
from benchmark.training.diagnostics import GradientDiagnostics
from benchmark.training.evaluation import evaluate
from benchmark.training.hardware import Hardware
from benchmark.training.steps import Batch, Result, Surroundings, choose_step
from benchmark.weighting import Weighting


class Diverged(Exception):
    """A mean loss over an epoch or a split that is not finite."""


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
        self.diagnostics = GradientDiagnostics([task.name for task in model.tasks])
        self.batches = training_batches(splits["train"], spec, augmentation)
        self.others = OtherBatches(splits, spec)
        around = Surroundings(self.others, lambda: float(self.schedule.get_last_lr()[0]))
        self.step = choose_step(model, weighting, hardware, around)
        parameters = [*model.parameters(), *(weighting.parameters() if weighting else ())]
        self.optimizer = build_optimizer(parameters, spec.protocol)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, spec.protocol.lr_step, spec.protocol.lr_decay)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.batches.steps

    def fit(self, on_epoch: Callable[[EpochRecord], None]) -> None:
        """Train for all epochs and tell ``on_epoch`` of each.

        Raises:
            Diverged: a mean loss of an epoch is not finite; ``on_epoch`` has been told of that epoch.
        """
        for epoch in range(1, self.protocol.epochs + 1):
            record = self._epoch(epoch)
            on_epoch(record)
            for split, losses in record.losses.items():
                for task, loss in losses.items():
                    if loss is None:
                        raise Diverged(f"the {split} loss of '{task}' is not finite in epoch {epoch}")

    def _epoch(self, epoch: int) -> EpochRecord:
        learning_rate = float(self.schedule.get_last_lr()[0])
        started = perf_counter()
        mean_losses, mean_weights, sampled = self._train()
        names = [task.name for task in self.model.tasks]
        losses = {"train": by_task(names, mean_losses)}  # waits for the device
        self.epoch_seconds.append(perf_counter() - started)
        plain = self.steps - len(sampled)
        self.step_seconds.append(
            (self.epoch_seconds[-1] - sum(sampled)) / plain if plain else self.epoch_seconds[-1] / self.steps
        )
        weights = by_task(names, mean_weights) if self.weighting else {}
        if self.weighting:
            self.weighting.epoch_end(mean_losses)
        self.schedule.step()
        metrics = {}
        if epoch % self.protocol.evaluate_every == 0 or epoch == self.protocol.epochs:
            for split in ("val", "test"):
                evaluation = evaluate(self.model, self.splits[split], self.hardware)
                losses[split] = finite(evaluation.losses)
                metrics[split] = {task: finite(values) for task, values in evaluation.metrics.items()}
        return EpochRecord(
            epoch=epoch,
            learning_rate=learning_rate,
            losses=losses,
            weights=weights,
            metrics=metrics,
            gradients=self.diagnostics.take(),
        )

    def _train(self) -> tuple[Tensor, Tensor, list[float]]:
        """One epoch's steps.

        Returns:
            Means over steps of the losses and of the weights, (K,) each; seconds of each step that was sampled.
        """
        self.model.train()
        sums = torch.zeros(2, len(self.model.tasks), device=self.device)
        sampled = []
        for batch in self.batches:
            diagnose = self.diagnostics.due()
            if diagnose:
                self.hardware.synchronize()
                started = perf_counter()
            result = self.advance(batch, diagnose)
            sums[0] += result.losses
            sums[1] += result.weights
            if diagnose:
                self.diagnostics.add(result.gramian)
                self.hardware.synchronize()
                sampled.append(perf_counter() - started)
        return sums[0] / self.steps, sums[1] / self.steps, sampled

    def advance(self, batch: Batch, diagnose: bool = False) -> Result:
        """One optimiser step; ``diagnose`` asks for the Gramian."""
        self.optimizer.zero_grad(set_to_none=True)
        result = self.step(batch, diagnose)
        self.optimizer.step()
        self.step.after(batch)
        return result


def build_optimizer(parameters: Sequence[nn.Parameter], protocol: Protocol) -> torch.optim.Optimizer:
    """The protocol's optimiser."""
    if protocol.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=protocol.learning_rate, weight_decay=protocol.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=protocol.learning_rate,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        nesterov=protocol.momentum > 0,
        fused=True,
    )


def by_task(names: list[str], values: Tensor) -> ByTask:
    """(K,) numbers by task name, None where not finite."""
    return finite(dict(zip(names, values.tolist(), strict=True)))


def finite(values: dict[str, float]) -> ByTask:
    """The same with None for every number that is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
