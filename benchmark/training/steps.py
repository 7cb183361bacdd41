"""What one training step does before the optimiser moves: losses, and every parameter's gradient.

There is one class per kind of need that a weighting can declare, none per weighting.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError
from benchmark.exact import sqrt
from benchmark.model import MultiTaskModel
from benchmark.training.diagnostics import gramian_of_losses, gramian_through
from benchmark.training.evaluation import Pictures, predict, scaled
from benchmark.training.gradients import RepresentationGradients, Rows, TaskGradients, by_sample, descend, flattened
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import isolated, kept_buffers
from benchmark.training.layer import LayerGradients
from benchmark.training.replay import OnDevice, at_once
from benchmark.transfer import brought, sent
from benchmark.weighting import (
    GradientWeighting,
    GramianWeighting,
    LookaheadWeighting,
    MatrixWeighting,
    NormWeighting,
    SampledWeighting,
    Weighting,
    slopes,
)

W = TypeVar("W", bound=Weighting | None)
G = TypeVar("G", bound=GradientWeighting)
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Samples of one step, on the device.

    Attributes:
        images: (B, C, H, W) uint8; by task, where every task has its own pictures.
        targets: per task (B, …) in its stored form.
    """

    images: Pictures
    targets: Mapping[str, Tensor]

    def __len__(self) -> int:
        """B; of the task with the fewest pictures."""
        return len(self.images) if isinstance(self.images, Tensor) else min(map(len, self.images.values()))

    def tensors(self) -> list[Tensor]:
        """All of them, in an order that batches of one form share."""
        images = [self.images] if isinstance(self.images, Tensor) else list(self.images.values())
        return [*images, *self.targets.values()]

    def of(self, tensors: Sequence[Tensor]) -> "Batch":
        """A batch of this form from what ``tensors`` gives."""
        found = iter(tensors)
        images = next(found) if isinstance(self.images, Tensor) else {name: next(found) for name in self.images}
        return Batch(images, {name: next(found) for name in self.targets})

    def parts(self, count: int) -> list["Batch"]:
        """The batch cut into ``count`` batches of nearly equal size."""
        if not isinstance(self.images, Tensor):
            cut = [Batch(own, {name: self.targets[name]}).parts(count) for name, own in self.images.items()]
            return [joined(dict(zip(self.images, pieces, strict=True))) for pieces in zip(*cut, strict=True)]
        places = torch.arange(len(self.images), device=self.images.device).tensor_split(count)
        return [Batch(self.images[p], {name: t[p] for name, t in self.targets.items()}) for p in places]


def joined(batches: Mapping[str, Batch]) -> Batch:
    """One batch of the tasks' own batches."""
    images = {name: cast(Tensor, batch.images) for name, batch in batches.items()}
    return Batch(images, {name: batch.targets[name] for name, batch in batches.items()})


@dataclass(frozen=True)
class Result:
    """What a step leaves for the record, without graph.

    Attributes:
        losses: (K,).
        weights: (K,) NaN where the method has none.
        gramian: (K, K) inner products of the losses' gradients over the shared parameters in float64, where asked for.
    """

    losses: Tensor
    weights: Tensor
    gramian: Tensor | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a step may need besides its batch.

    Attributes:
        other: the next batch of a split, by its name, for methods that look at a second one.
        learning_rate: the optimiser's at the moment.
        on_device: does what the device has to do between two thoughts of the weighting.
    """

    other: Callable[[str], Batch]
    learning_rate: Callable[[], float]
    on_device: OnDevice = at_once


class Step(ABC, Generic[W]):
    """Sets every parameter's gradient from a batch. Gradients are unset when it is called."""

    def __init__(self, model: MultiTaskModel, weighting: W, hardware: Hardware, around: Surroundings) -> None:
        self.model = model
        self.weighting = weighting
        self.hardware = hardware
        self.around = around

    @abstractmethod
    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """One step, without the optimiser's move. ``diagnose`` asks for the Gramian."""

    def after(self, batch: Batch) -> None:
        """To be called after the optimiser's move."""

    def on_device(self, name: str, work: Callable[[Batch], T], batch: Batch) -> T:
        """What ``work`` makes of the batch, see ``OnDevice``."""
        return self.around.on_device(name, lambda *tensors: work(batch.of(tensors)), *batch.tensors())

    def losses(self, batch: Batch) -> list[Tensor]:
        """K scalars of a forward pass in the model's present mode, each with nothing but its own graph."""
        with self.hardware.saving():
            with self.hardware.autocast():
                predictions = predict(self.model, batch.images)
            return self.judge(predictions, batch)

    def losses_at_feature(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The feature that feeds all heads, a leaf of the same values, and K losses that are attached to the leaf."""
        with self.hardware.saving():
            with self.hardware.autocast():
                images = scaled(cast(Tensor, batch.images), self.model.memory_format)
                feature = self.model.representation(images)
                leaf = by_sample(feature.detach()).requires_grad_()
                predictions = self.model.predict_at(leaf, images.shape[-2:])
            return feature, leaf, self.judge(predictions, batch)

    def judge(self, predictions: Mapping[str, Tensor], batch: Batch) -> list[Tensor]:
        """K scalars of predictions."""
        return [task.loss(predictions[task.name], batch.targets[task.name]) for task in self.model.tasks]

    def looking(self) -> AbstractContextManager[None]:
        """The context of all that a sampled step does beyond its step: nothing of it is to be seen in the run."""
        return isolated(self.hardware, self.model, self.weighting)

    def gramian(self, losses: Sequence[Tensor]) -> Tensor | None:
        """See ``gramian_of_losses``."""
        with self.looking():
            return gramian_of_losses(self.model, losses)


class SumStep(Step[None]):
    """No weighting: the losses are summed, which trains networks that share nothing each as if alone."""

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        known = self.on_device("losses", self._descend, batch)
        return Result(known, torch.ones_like(known))

    def _descend(self, batch: Batch) -> Tensor:
        losses = torch.stack(self.losses(batch))
        losses.sum().backward()
        return losses.detach()


class LossStep(Step[W]):
    """A weighting that sees losses: one backward pass of their sum, each times the objective's derivative by it."""

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        separate, known = self.on_device("losses", self._separate, batch)
        gramian = self.gramian(separate) if diagnose else None
        weights, slopes = self.weighed(known)
        self.around.on_device("backward", partial(descend, separate), slopes)
        return Result(known, weights, gramian)

    def _separate(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        separate = self.losses(batch)
        return separate, detached(separate)

    def weighed(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """(K,) losses -> weights and the objective's derivatives, (K,) each. What the weighting learns gets its
        gradient.
        """
        weighting = cast(Weighting, self.weighting)
        weights = weighting.weights(known.clone())
        leaf = known.clone().requires_grad_()
        weighting.objective(leaf, weights).backward()
        return weights.detach(), torch.zeros_like(known) if leaf.grad is None else leaf.grad

    def after(self, batch: Batch) -> None:
        """See ``Step``."""
        weighting = cast(Weighting, self.weighting)
        if weighting.evaluates_again:
            weighting.after_step(self.on_device("losses again", self._again, batch).clone())

    @torch.no_grad()
    def _again(self, batch: Batch) -> Tensor:
        with kept_buffers(self.model):
            return torch.stack(self.losses(batch))


class NormStep(LossStep[NormWeighting]):
    """Tells the weighting the lengths of the losses' gradients at the last shared layer."""

    def __init__(
        self, model: MultiTaskModel, weighting: NormWeighting, hardware: Hardware, around: Surroundings
    ) -> None:
        super().__init__(model, weighting, hardware, around)
        self.gradients = LayerGradients(model)

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        if self.model.has_representation:
            feature, leaf, separate, known = self.on_device("losses", self._at_feature, batch)
            gramian = self._gramian_through(feature, leaf, separate) if diagnose else None
            collect = partial(self.gradients.collect_from, feature, leaf, separate)
        else:
            separate, known = self.on_device("losses", self._separate, batch)
            gramian = self.gramian(separate) if diagnose else None
            collect = partial(self.gradients.collect, separate)
        weights, slopes = self.weighed(known)
        norms = sqrt(self.around.on_device("backward", collect, slopes))
        self.weighting.observe(norms.to(known), known.clone())
        return Result(known, weights, gramian)

    def _at_feature(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        feature, leaf, separate = self.losses_at_feature(batch)
        return feature, leaf, separate, detached(separate)

    def _gramian_through(self, feature: Tensor, leaf: Tensor, separate: Sequence[Tensor]) -> Tensor | None:
        """The Gramian by passes of their own, which leave the graphs to the step."""
        with self.looking():
            pieces = [
                torch.autograd.grad(loss, leaf, retain_graph=True, allow_unused=True)[0] if loss.requires_grad else None
                for loss in separate
            ]
            return gramian_through(self.model, feature, pieces)


class LookaheadStep(LossStep[LookaheadWeighting]):
    """Before the step, tells the weighting what the step would do to another batch's loss."""

    #: Of the central difference: how far θ moves along ∇L, as a share of 1/‖∇L‖.
    REACH = 0.01

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        with kept_buffers(self.model):
            self.weighting.observe(self._alignments(batch), self.around.learning_rate())
        return super().__call__(batch, diagnose)

    def _alignments(self, batch: Batch) -> Tensor:
        """(K,) ⟨∇Σ L_j(other batch; θ'), ∇L_k(batch; θ)⟩."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        losses = torch.stack(self.losses(batch))
        weights = self.weighting.weights(losses.detach()).detach()
        ahead = _gradients((weights * losses).sum(), parameters)
        rate = self.around.learning_rate()
        with _moved(parameters, ahead, -rate):
            other = self.around.other(self.weighting.split)
            aim = _gradients(torch.stack(self.losses(other)).sum(), parameters)
        length = sqrt(torch.stack([g.double().square().sum() for g in aim]).sum())
        reach = self.REACH / length.clamp(min=1e-30)
        sides = []
        for sign in (1, -1):
            # Half precision would round the parameters' small move away.
            with torch.no_grad(), _moved(parameters, aim, sign * reach), self.hardware.exact():
                sides.append(torch.stack(self.judge(predict(self.model, batch.images), batch)).double())
        return ((sides[0] - sides[1]) / (2 * reach)).to(losses)


class GradientStep(Step[G]):
    """A weighting that sees gradients of its ``task_losses``."""

    def plain(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """The Gramian of the losses' own gradients, from that of ``task_losses``; NaN where a slope is 0."""
        with self.looking():
            factors = slopes(self.weighting, losses.double()).to(gramian)
        return gramian / factors / factors[:, None]


class GramianStep(GradientStep[GramianWeighting]):
    """Weights from inner products of the gradients over the shared parameters."""

    def __init__(
        self, model: MultiTaskModel, weighting: GramianWeighting, hardware: Hardware, around: Surroundings
    ) -> None:
        super().__init__(model, weighting, hardware, around)
        self.gradients = TaskGradients(model, list(weighting.parameters()))

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        known, gramian = self.on_device("gradients", self._look, batch)
        weights = sent(self.weighting.from_gramian(*brought(gramian, known.double())), known.device).to(known)
        self.gradients.move_along(weights)
        sampled = diagnose and self.gradients.shared
        return Result(known, weights, self.plain(gramian, known) if sampled else None)

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        separate = self.losses(batch)
        self.gradients.collect(self.weighting.task_losses(separate))
        return detached(separate), self.gradients.gramian()


class MatrixStep(GradientStep[MatrixWeighting]):
    """A direction from the gradients over the shared parameters themselves."""

    def __init__(
        self, model: MultiTaskModel, weighting: MatrixWeighting, hardware: Hardware, around: Surroundings
    ) -> None:
        super().__init__(model, weighting, hardware, around)
        self.gradients = TaskGradients(model, list(weighting.parameters()))
        weighting.sized(self.gradients.rows.shape[1])

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        known = self.on_device("gradients", self._look, batch)
        sampled = diagnose and self.gradients.shared
        gramian = self.plain(self.gradients.gramian(), known) if sampled else None
        direction = self.weighting.from_gradients(self.gradients.rows, known.clone())
        self.gradients.move(direction.vector)
        return Result(known, direction.weights.to(known), gramian)

    def _look(self, batch: Batch) -> Tensor:
        separate = self.losses(batch)
        self.gradients.collect(self.weighting.task_losses(separate))
        return detached(separate)


class SampledStep(GradientStep[SampledWeighting]):
    """Weights from gradients of independent parts of the batch."""

    def __init__(
        self, model: MultiTaskModel, weighting: SampledWeighting, hardware: Hardware, around: Surroundings
    ) -> None:
        super().__init__(model, weighting, hardware, around)
        self.gradients = TaskGradients(model, list(weighting.parameters()))
        self.second = Rows(len(model.tasks), self.gradients.shared, self.gradients.device)

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        self.weighting.check_batch(len(batch))
        first, known, products, third = self.on_device("gradients", self._look, batch)
        sampled = diagnose and self.gradients.shared
        gramian = self.plain(self.gradients.gramian(), first) if sampled else None
        weights = sent(self.weighting.from_products(*brought(products, known.double())), known.device).to(known)
        self.around.on_device("backward", partial(self.gradients.sum_along, third, part=self._share), weights)
        return Result(known, weights, gramian)

    @property
    def _share(self) -> float:
        """Of one part in the batch."""
        return 1 / self.weighting.parts

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """(K,) the first part's and the mean losses, (K, K) products, and the third part's ``task_losses``."""
        parts = batch.parts(self.weighting.parts)
        first = self._collect(parts[0], self.gradients.buffer)
        second = self._collect(parts[1], self.second)
        products = self.gradients.buffer.products(self.second)
        # The weights are known before the third part's gradients, whose sum is all that is asked of them.
        separate = self.losses(parts[2])
        known = (first + second + detached(separate)) / len(parts)
        return first, known, products, self.weighting.task_losses(separate)

    def _collect(self, part: Batch, into: Rows) -> Tensor:
        """Fill ``into`` from one part; its losses (K,)."""
        separate = self.losses(part)
        self.gradients.collect(self.weighting.task_losses(separate), into=into, part=self._share)
        return detached(separate)


class RepresentationStep(GradientStep[GradientWeighting]):
    """A combination of the gradients at the one feature that feeds all heads."""

    def __init__(
        self, model: MultiTaskModel, weighting: GradientWeighting, hardware: Hardware, around: Surroundings
    ) -> None:
        super().__init__(model, weighting, hardware, around)
        if not model.has_representation:
            raise UsageError(
                "this weighting takes gradients at the representation, but no single feature of this architecture "
                "feeds all heads; choose on=parameters, or an architecture such as split"
            )
        self.gradients = RepresentationGradients(model, list(weighting.parameters()))

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        feature, leaf, known, rows = self.on_device("gradients", self._look, batch)
        gramian = self._gramian_through(feature, rows, known) if diagnose else None
        pieces, weights = self._combined(rows, known.clone(), leaf)
        self.around.on_device("backward", feature.backward, pieces[0].to(feature.dtype))
        return Result(known, weights, gramian)

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Rows]:
        feature, leaf, separate = self.losses_at_feature(batch)
        rows = self.gradients.collect(leaf, self.weighting.task_losses(separate))
        return feature, leaf.detach(), detached(separate), rows

    def _combined(self, rows: Rows, known: Tensor, feature: Tensor) -> tuple[list[Tensor], Tensor]:
        """The feature's gradient, and the weights (K,)."""
        if isinstance(self.weighting, MatrixWeighting):
            gradients = rows.matrix.unflatten(1, (len(feature), -1))  # (K, B, F)
            direction = self.weighting.from_feature_gradients(
                gradients, known, flattened(feature).view_as(gradients[0])
            )
            return rows.pieces(direction.vector), direction.weights.to(known)
        weighting = cast(GramianWeighting, self.weighting)
        products = rows.products(rows)
        weights = sent(weighting.from_gramian(*brought(products, known.double())), known.device).to(known)
        return rows.combination(weights), weights

    def _gramian_through(self, feature: Tensor, rows: Rows, known: Tensor) -> Tensor | None:
        """(K, K) inner products of the gradients over the shared parameters, of the losses themselves."""
        with self.looking():
            found = gramian_through(self.model, feature, [rows.row(k)[0] for k in range(len(known))])
        return None if found is None else self.plain(found, known)


def choose_step(
    model: MultiTaskModel, weighting: Weighting | None, hardware: Hardware, around: Surroundings
) -> Step[Any]:
    """The kind of step that a weighting needs.

    Raises:
        UsageError: the weighting cannot work with this model.
    """
    match weighting:
        case None:
            return SumStep(model, None, hardware, around)
        case GradientWeighting() if weighting.on == "representation":
            return RepresentationStep(model, weighting, hardware, around)
        case GramianWeighting():
            return GramianStep(model, weighting, hardware, around)
        case MatrixWeighting():
            return MatrixStep(model, weighting, hardware, around)
        case SampledWeighting():
            return SampledStep(model, weighting, hardware, around)
        case NormWeighting():
            return NormStep(model, weighting, hardware, around)
        case LookaheadWeighting():
            return LookaheadStep(model, weighting, hardware, around)
    return LossStep(model, weighting, hardware, around)


def detached(separate: Sequence[Tensor]) -> Tensor:
    """(K,) K scalars without graph."""
    return torch.stack([loss.detach() for loss in separate])


def _gradients(value: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@contextmanager
def _moved(parameters: Sequence[nn.Parameter], along: Sequence[Tensor], by: float | Tensor) -> Iterator[None]:
    """Inside, the parameters are at θ + by · along; afterwards they have the very bits that they had."""
    before = [p.detach().clone() for p in parameters]
    data = [p.data for p in parameters]
    try:
        if isinstance(by, Tensor) and by.device.type != "cpu":  # its value is not known here, and nobody waits for it
            torch._foreach_add_(data, torch._foreach_mul(list(along), by))
        else:
            torch._foreach_add_(data, list(along), alpha=float(by))
        yield
    finally:
        torch._foreach_copy_(data, before)
