"""Steps of methods that see the losses' gradients: a matrix, products, or their like at one feature."""

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel, trained
from benchmark.presence import Presence
from benchmark.training.batch import Batch
from benchmark.training.contract import (
    check_direction,
    check_task_losses,
    check_weights,
)
from benchmark.training.diagnostics import gramian_through
from benchmark.training.gradients import (
    RepresentationGradients,
    Rows,
    TaskGradients,
    add_gradients,
    flattened,
    regulariser_gradients,
)
from benchmark.training.hardware import Hardware
from benchmark.training.steps.step import Result, Step, StepContext, learned_by_task, loss_values
from benchmark.transfer import brought, sent
from benchmark.weighting import (
    Direction,
    GradientWeighting,
    GramianWeighting,
    MatrixWeighting,
    SampledWeighting,
    task_loss_derivatives,
)

G = TypeVar("G", bound=GradientWeighting)
#: One for each trained parameter of the network, None where there is none; empty for none at all.
Gradients = list[Tensor | None]


class GradientStep(Step[G]):
    """A weighting that sees gradients of its ``task_losses``."""

    def task_losses(self, losses: Sequence[Tensor]) -> list[Tensor]:
        """What is differentiated, K scalars. The rule may write into the losses: their values are to be read before."""
        found = self.weighting.task_losses(list(losses))
        check_task_losses(self.weighting, found, len(losses))
        return found

    def weights(self, rule: str, present: Presence, products: Tensor, losses: Tensor) -> Tensor:
        """(K,) on the device: what a rule makes of (K, K) products and (K,) losses in a step with these tasks.

        The rule is the weighting's method of that name. It gets copies in float64 on the host, of the present tasks.
        """
        if not present.places:
            return torch.zeros_like(losses)
        known, values = brought(products.clone(), losses.to(torch.float64, copy=True))
        with self.weighting.facing(present) as shown:
            given = shown.square(known), shown.rows(values)
            found = getattr(self.weighting, rule)(*given)
            check_weights(self.weighting, found, given[1], rule)
            self.check_values(rule, found, *given)
            found = shown.spread(found)
        weights = sent(found, losses.device).to(losses, copy=True)
        present.blank(weights)
        return weights

    def leave_out(self, present: Presence, rows: Rows, own: Sequence[Sequence[nn.Parameter]]) -> None:
        """Give absent tasks gradients of 0, which those of ``task_losses`` at a loss of 0 need not be."""
        alone = [p.grad for k in present.absent for p in own[k] if p.grad is not None]
        for gradient in alone:
            gradient.zero_()
        present.blank(rows.matrix, *learned_by_task(self.weighting, present.count))

    def direction(self, rule: str, present: Presence, gradients: Tensor, losses: Tensor, *more: Tensor) -> Direction:
        """What a rule makes of (K, …) gradients and (K,) losses in a step with these tasks; with (K,) weights.

        The rule is the weighting's method of that name; ``more`` is what else it takes.
        """
        if not present.places:
            return Direction(torch.zeros_like(gradients[0]).flatten(), torch.zeros_like(losses))
        with self.weighting.facing(present) as shown:
            known = shown.rows(losses)
            found = getattr(self.weighting, rule)(shown.rows(gradients), known.clone(), *more)
        check_direction(self.weighting, found, gradients[0].numel(), known, rule)
        weights = shown.spread(found.weights)
        if not present.all:
            weights = weights.clone()
            present.blank(weights)
        return Direction(found.vector, weights)

    def regulariser_gradients(self, regulariser: Tensor | None, part: float = 1.0) -> Gradients:
        """``part`` of the regulariser's gradient at every trained parameter; none without. The graph stays."""
        return [] if regulariser is None else regulariser_gradients(regulariser, trained(self.model.parameters()), part)

    def regularise(self, gradients: Gradients) -> None:
        """Add what ``regulariser_gradients`` found, where all else of the step is set."""
        if gradients:
            add_gradients(trained(self.model.parameters()), gradients)

    def plain(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """The Gramian of the losses' own gradients, from that of ``task_losses``; NaN where a derivative is 0."""
        with self.isolated():
            factors = task_loss_derivatives(self.weighting, losses.double()).to(gramian)
        return gramian / factors / factors[:, None]


class GramianStep(GradientStep[GramianWeighting]):
    """Weights from inner products of the gradients over the shared parameters."""

    def __init__(
        self, model: MultiTaskModel, weighting: GramianWeighting, hardware: Hardware, context: StepContext
    ) -> None:
        super().__init__(model, weighting, hardware, context)
        self.gradients = TaskGradients(model, list(weighting.parameters()))

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        values, gramian, extra = self.on_device("gradients", self._look, batch)
        present = batch.presence(self.model.tasks)
        weights = self.combine(present, gramian, values, extra)
        sampled = diagnose and self.gradients.shared
        return Result(values, weights, present, self.plain(gramian, values) if sampled else None)

    def combine(self, present: Presence, gramian: Tensor, values: Tensor, extra: Gradients) -> Tensor:
        """(K,) weights; sets the gradients to what they make of the rows whose Gramian is given."""
        self.leave_out(present, self.gradients.buffer, self.gradients.own)
        weights = self.weights("from_gramian", present, gramian, values)
        self.gradients.set_combination(weights)
        self.regularise(extra)
        return weights

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor, Gradients]:
        losses, regulariser = self.forward_pass(batch)
        values = loss_values(losses)
        extra = self.regulariser_gradients(regulariser)
        self.gradients.collect(self.task_losses(losses))
        return values, self.gradients.gramian(), extra


class MatrixStep(GradientStep[MatrixWeighting]):
    """A direction from the gradients over the shared parameters themselves."""

    def __init__(
        self, model: MultiTaskModel, weighting: MatrixWeighting, hardware: Hardware, context: StepContext
    ) -> None:
        super().__init__(model, weighting, hardware, context)
        self.gradients = TaskGradients(model, list(weighting.parameters()))
        weighting.allocate(self.gradients.rows.shape[1])

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        values, extra = self.on_device("gradients", self._look, batch)
        sampled = diagnose and self.gradients.shared
        gramian = self.plain(self.gradients.gramian(), values) if sampled else None
        present = batch.presence(self.model.tasks)
        self.leave_out(present, self.gradients.buffer, self.gradients.own)
        direction = self.direction("from_gradients", present, self.gradients.rows, values)
        self.gradients.set_direction(direction.vector)
        self.regularise(extra)
        return Result(values, direction.weights.to(values, copy=True), present, gramian)

    def _look(self, batch: Batch) -> tuple[Tensor, Gradients]:
        losses, regulariser = self.forward_pass(batch)
        values = loss_values(losses)
        extra = self.regulariser_gradients(regulariser)
        self.gradients.collect(self.task_losses(losses))
        return values, extra


class SampledStep(GradientStep[SampledWeighting]):
    """Weights from gradients of independent parts of the batch."""

    def __init__(
        self, model: MultiTaskModel, weighting: SampledWeighting, hardware: Hardware, context: StepContext
    ) -> None:
        super().__init__(model, weighting, hardware, context)
        self.gradients = TaskGradients(model, list(weighting.parameters()))
        self.second = Rows(len(model.tasks), self.gradients.shared, self.gradients.device)

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        self.weighting.check_batch(len(batch))
        first, values, products, third, extra = self.on_device("gradients", self._look, batch)
        sampled = diagnose and self.gradients.shared
        gramian = self.plain(self.gradients.gramian(), first) if sampled else None
        # A product of two parts needs the task in both, and the direction in the third.
        counts = batch.labelled_parts(self.model.tasks, self.weighting.parts)
        whole = Presence.from_flags([count == self.weighting.parts for count in counts])
        values = self._over_labelled(values, counts)
        weights = self.weights("from_products", whole, products, values)
        self.context.on_device("backward", partial(self.gradients.set_sum, third, part=self._share), weights)
        self._over_labelled_gradients(counts)
        for gradients in extra:
            self.regularise(gradients)
        return Result(values, weights, batch.presence(self.model.tasks), gramian)

    def _over_labelled(self, values: Tensor, counts: Sequence[int]) -> Tensor:
        """(K,) means over the parts, of which those without a label of a task gave 0 -> over the others alone."""
        total = self.weighting.parts
        if all(count == total for count in counts):
            return values
        return torch.stack([v * (total / max(n, 1)) for v, n in zip(values, counts, strict=True)])

    def _over_labelled_gradients(self, counts: Sequence[int]) -> None:
        """The same for the gradients of what is a task's own, and of what the weighting keeps by task."""
        total = self.weighting.parts
        for k, count in enumerate(counts):
            if count < total:
                factor = total / count if count else 0.0
                gradients = [p.grad for p in self.gradients.own[k] if p.grad is not None]
                gradients += [learned[k] for learned in learned_by_task(self.weighting, len(counts))]
                for gradient in gradients:
                    gradient.mul_(factor)

    @property
    def _share(self) -> float:
        """Of one part in the batch."""
        return 1 / self.weighting.parts

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Gradients]]:
        """(K,) the first part's and the mean losses, (K, K) products, the third part's ``task_losses``, and of every
        part what the regulariser adds.
        """
        parts = batch.parts(self.weighting.parts)
        first, one = self._collect(parts[0], self.gradients.buffer)
        second, two = self._collect(parts[1], self.second)
        products = self.gradients.buffer.products(self.second)
        # The weights are values before the third part's gradients, whose sum is all that is asked of them.
        losses, regulariser = self.forward_pass(parts[2], self._share)
        values = (first + second + loss_values(losses)) / len(parts)
        three = self.regulariser_gradients(regulariser, self._share)
        return first, values, products, self.task_losses(losses), [one, two, three]

    def _collect(self, part: Batch, into: Rows) -> tuple[Tensor, Gradients]:
        """Fill ``into`` from one part; its losses (K,), and what its regulariser adds."""
        losses, regulariser = self.forward_pass(part, self._share)
        values = loss_values(losses)
        extra = self.regulariser_gradients(regulariser, self._share)
        self.gradients.collect(self.task_losses(losses), into=into, part=self._share)
        return values, extra


class RepresentationStep(GradientStep[GradientWeighting]):
    """A combination of the gradients at the one feature that feeds all heads."""

    def __init__(
        self, model: MultiTaskModel, weighting: GradientWeighting, hardware: Hardware, context: StepContext
    ) -> None:
        super().__init__(model, weighting, hardware, context)
        if not model.has_representation:
            raise UsageError(
                "this weighting takes gradients at the representation, but no single feature of this architecture "
                "feeds all heads; choose on=parameters, or an architecture such as split"
            )
        self.gradients = RepresentationGradients(model, list(weighting.parameters()))

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        feature, leaf, values, rows, through, extra = self.on_device("gradients", self._look, batch)
        gramian = self._gramian_through(feature, rows, values) if diagnose else None
        present = batch.presence(self.model.tasks)
        products = None if isinstance(self.weighting, MatrixWeighting) else rows.products(rows)
        self.leave_out(present, rows, self.gradients.heads)
        if products is None:
            pieces, weights = self._directed(rows, values, leaf, present)
        else:
            weights = self.weights("from_gramian", present, products, values)
            pieces = rows.combination(weights)
        if feature.requires_grad:
            piece = pieces[0].to(feature.dtype)
            self.context.on_device("backward", feature.backward, piece if through is None else piece + through)
        self.regularise(extra)
        return Result(values, weights, present, gramian)

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Rows, Tensor | None, Gradients]:
        feature, leaf, losses, regulariser = self.forward_pass_at_feature(batch)
        values = loss_values(losses)
        (through,) = regulariser_gradients(regulariser, [leaf])
        extra = self.regulariser_gradients(regulariser)
        rows = self.gradients.collect(leaf, self.task_losses(losses))
        return feature, leaf.detach(), values, rows, through, extra

    def _directed(self, rows: Rows, values: Tensor, feature: Tensor, present: Presence) -> tuple[list[Tensor], Tensor]:
        """The feature's gradient, and the weights (K,)."""
        gradients = rows.matrix.unflatten(1, (len(feature), -1))  # (K, B, F)
        flat = flattened(feature).view_as(gradients[0])
        direction = self.direction("from_feature_gradients", present, gradients, values, flat)
        return rows.pieces(direction.vector), direction.weights.to(values, copy=True)

    def _gramian_through(self, feature: Tensor, rows: Rows, values: Tensor) -> Tensor | None:
        """(K, K) inner products of the gradients over the shared parameters, of the losses themselves."""
        with self.isolated():
            found = gramian_through(self.model, feature, [rows.row(k)[0] for k in range(len(values))])
        return None if found is None else self.plain(found, values)
