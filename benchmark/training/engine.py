"""The training loop: one protocol for every architecture and weighting."""

import math
from collections.abc import Callable
from time import perf_counter
from typing import cast

import torch
from torch import Tensor

from benchmark.data import Split
from benchmark.model import MultiTaskModel
from benchmark.spec import RunSpec, derive_seed
from benchmark.store import ByTask, EpochRecord
from benchmark.training.evaluation import evaluate, scaled
from benchmark.training.gradients import TaskGradients, backward
from benchmark.training.hardware import Hardware
from benchmark.weighting import GramianWeighting, Weighting


class Diverged(Exception):
    """A mean loss over an epoch or a split that is not finite."""


class Trainer:
    """Trains one model on one data set.

    Args:
        model: on the device.
        weighting: likewise; None sums the losses, which trains networks that share nothing each as if alone.
        spec: names the protocol and the seed.
        splits: ``train``, ``val`` and ``test``, on the device.

    Raises:
        ValueError: the training split is smaller than a batch.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        weighting: Weighting | None,
        *,
        spec: RunSpec,
        splits: dict[str, Split],
        hardware: Hardware,
    ) -> None:
        self.model = model
        self.weighting = weighting
        self.splits = splits
        self.protocol = spec.protocol
        self.hardware = hardware
        self.device = torch.device(hardware.device)
        self.epoch_seconds: list[float] = []
        self.gradients = TaskGradients(model) if isinstance(weighting, GramianWeighting) else None
        # The same order of samples for every cell of a seed: cells never differ by their batches.
        self.generator = torch.Generator().manual_seed(derive_seed("batches", spec.seed))
        parameters = [*model.parameters(), *(weighting.parameters() if weighting else ())]
        self.optimizer = torch.optim.Adam(parameters, lr=spec.protocol.learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, spec.protocol.lr_step, spec.protocol.lr_decay)
        if not self.steps:
            found = len(splits["train"])
            raise ValueError(
                f"the training split holds {found} samples, less than one batch of {spec.protocol.batch_size}"
            )

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return len(self.splits["train"]) // self.protocol.batch_size

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
        mean_losses, mean_weights = self._train()
        names = [task.name for task in self.model.tasks]
        losses = {"train": by_task(names, mean_losses)}  # waits for the device
        self.epoch_seconds.append(perf_counter() - started)
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
        return EpochRecord(epoch=epoch, learning_rate=learning_rate, losses=losses, weights=weights, metrics=metrics)

    def _train(self) -> tuple[Tensor, Tensor]:
        """One pass over the training split; means over steps of the losses and of the weights, (K,) each."""
        self.model.train()
        size = self.protocol.batch_size
        order = torch.randperm(len(self.splits["train"]), generator=self.generator)[: self.steps * size].to(self.device)
        sums = torch.zeros(2, len(self.model.tasks), device=self.device)
        for indices in order.split(size):
            losses, weights = self._step(indices)
            sums[0] += losses
            sums[1] += weights
        return sums[0] / self.steps, sums[1] / self.steps

    def _step(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """One optimiser step on the samples ``indices``; losses and weights, (K,) each, without graph."""
        train = self.splits["train"]
        self.optimizer.zero_grad(set_to_none=True)
        with self.hardware.autocast():
            predictions = self.model(scaled(train.images[indices]))
        separate = [task.loss(predictions[task.name], train.targets[task.name][indices]) for task in self.model.tasks]
        weights = self._backward(separate)
        self.optimizer.step()
        return torch.stack(separate).detach(), weights.detach()

    def _backward(self, separate: list[Tensor]) -> Tensor:
        """Set every parameter's gradient from K scalar losses; the weights (K,) of this step."""
        if self.gradients is not None:
            return backward(cast(GramianWeighting, self.weighting), self.gradients, separate)
        losses = torch.stack(separate)
        if self.weighting is None:
            losses.sum().backward()
            return torch.ones_like(losses)
        weights = self.weighting.weights(losses.detach())
        self.weighting.objective(losses, weights).backward()
        return weights


def by_task(names: list[str], values: Tensor) -> ByTask:
    """(K,) numbers by task name, None where not finite."""
    return finite(dict(zip(names, values.tolist(), strict=True)))


def finite(values: dict[str, float]) -> ByTask:
    """The same with None for every number that is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
