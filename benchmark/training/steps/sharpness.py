"""The step of a method that takes each task's gradient where its loss is higher."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from benchmark.exact import sqrt
from benchmark.runs.spec import derive_seed
from benchmark.training.batch import Batch
from benchmark.training.forward import predict
from benchmark.training.isolation import kept_buffers
from benchmark.training.steps.gradients import Gradients, GramianStep
from benchmark.training.steps.shift import gradients_at, shifted
from benchmark.training.steps.step import Result, loss_values
from benchmark.weighting import SharpnessWeighting

#: One for each shared parameter, and by task one for each of its own.
Uphill = tuple[list[Tensor], list[list[Tensor]]]


class SharpnessStep(GramianStep):
    """Weights from inner products of gradients over the shared parameters, each task's at a point of its own."""

    weighting: SharpnessWeighting

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        present = batch.presence(self.model.tasks)
        # Every pass draws the same numbers. The last one's are not undone: the next step goes on after them.
        with self.hardware.kept_generators() if present.places else nullcontext():
            losses, values, regulariser = self.on_device("losses", self._forward, batch)
            gramian = self.gramian(losses) if diagnose else None
            uphill, extra = self.context.on_device("uphill", partial(self._uphill, losses, regulariser))
        del losses, regulariser  # and with them the graph, before the passes that make their own
        position = self.weighting.draw() if present.places else 0
        for k in present.places:
            self._collect(k, batch, uphill, position, last=k == present.places[-1])
        for k in present.absent:
            self.gradients.collect_one(k, values[k])  # without graph: zero
        weights = self.combine(present, self.gradients.gramian(), values, extra)
        return Result(values, weights, present, gramian)

    def _forward(self, batch: Batch) -> tuple[list[Tensor], Tensor, Tensor | None]:
        losses, regulariser = self.forward_pass(batch)
        return losses, loss_values(losses), regulariser

    def _uphill(self, losses: Sequence[Tensor], regulariser: Tensor | None) -> tuple[Uphill, Gradients]:
        """The gradient of the losses' sum, and what the regulariser adds; frees the graph."""
        extra = self.regulariser_gradients(regulariser)
        shared, own = self.gradients.shared, self.gradients.own
        parameters = [*shared, *(parameter for several in own for parameter in several)]
        total = torch.stack(list(losses)).sum()
        found = gradients_at(total, parameters) if total.requires_grad else [torch.zeros_like(p) for p in parameters]
        pieces = iter(found)
        return ([next(pieces) for _ in shared], [[next(pieces) for _ in several] for several in own]), extra

    def _collect(self, k: int, batch: Batch, uphill: Uphill, position: int, *, last: bool) -> None:
        """Keep task k's gradient at its point; what the last pass draws is drawn."""
        shared, own = uphill[0], uphill[1][k]
        radius = self.weighting.radius
        along = [*_of_length(self._mixed(k, batch, shared, position), radius), *_of_length(own, radius)]
        with (
            kept_buffers(self.model),
            nullcontext() if last else self.hardware.kept_generators(),
            shifted([*self.gradients.shared, *self.gradients.own[k]], along, 1.0),
            self.hardware.full_precision(),
        ):
            with self.hardware.saving():
                losses = self.compute_losses(predict(self.model, batch.images), batch)
            self.gradients.collect_one(k, self.task_losses(losses)[k])

    def _mixed(self, k: int, batch: Batch, gradients: Sequence[Tensor], position: int) -> Sequence[Tensor]:
        """The direction in which task k's point lies from the shared parameters, of any length."""
        local = self.weighting.local
        if not gradients or not local:
            return gradients
        # By the task's name: neither the order of the tasks nor absent ones change what is drawn for it.
        seed = derive_seed("sharpness", position, self.model.tasks[k].name)
        drawn = torch.Generator(self.gradients.device).manual_seed(seed)
        probes = [torch.randn(g.shape, generator=drawn, device=g.device, dtype=g.dtype) for g in gradients]
        side = self._higher_side(k, batch, probes)
        mixed = []
        for gradient, probe in zip(gradients, probes, strict=True):
            factor = side * sqrt(_square(gradient) / _square(probe))
            mixed.append((1 - local) * gradient + (local * factor).to(probe) * probe)
        return mixed

    def _higher_side(self, k: int, batch: Batch, probes: Sequence[Tensor]) -> Tensor:
        """() float64: 1 where task k's loss is higher along the probes, −1 where it is against them, 0 for neither."""
        sides = []
        for sign in (1, -1):
            with (
                torch.no_grad(),
                kept_buffers(self.model),
                self.hardware.kept_generators(),
                shifted(self.gradients.shared, probes, sign * self.weighting.reach),
                self.hardware.full_precision(),
            ):
                losses = self.compute_losses(predict(self.model, batch.images), batch)
                sides.append(losses[k].double())
        return (sides[0] - sides[1]).sign()


def _square(tensor: Tensor) -> Tensor:
    """() float64 squared length."""
    return tensor.double().square().sum()


def _of_length(tensors: Sequence[Tensor], length: float) -> list[Tensor]:
    """Together of this length; all zero where they are."""
    if not tensors:
        return []
    whole = sqrt(torch.stack([_square(tensor) for tensor in tensors]).sum())
    factor = torch.where(whole > 0, length / whole, 0.0)
    return [factor.to(tensor) * tensor for tensor in tensors]
