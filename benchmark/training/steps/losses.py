"""Steps of methods that see losses: one backward pass of their weighted sum."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from benchmark.exact import sqrt
from benchmark.model import MultiTaskModel, trained
from benchmark.presence import Presence
from benchmark.training.batch import Batch
from benchmark.training.contract import check_objective, check_weights
from benchmark.training.diagnostics import gramian_through
from benchmark.training.forward import predict
from benchmark.training.gradients import backward_weighted_sum
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import kept_buffers
from benchmark.training.layer import LayerGradients
from benchmark.training.steps.shift import gradients_at, shifted
from benchmark.training.steps.step import Result, Step, StepContext, W, learned_by_task, loss_values
from benchmark.weighting import (
    LookaheadWeighting,
    NormWeighting,
    Weighting,
)


class SumStep(Step[None]):
    """No weighting: the losses are summed, which trains networks that share nothing each as if alone."""

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        values = self.on_device("losses", self._forward_backward, batch)
        present = batch.presence(self.model.tasks)
        return Result(values, present.spread(torch.ones_like(values[: len(present.places)])), present)

    def _forward_backward(self, batch: Batch) -> Tensor:
        found, regulariser = self.forward_pass(batch)
        losses = torch.stack(found)
        total = losses.sum()
        (total if regulariser is None else total + regulariser).backward()
        return losses.detach()


class LossStep(Step[W]):
    """A weighting that sees losses: one backward pass of their sum, each times the objective's derivative by it."""

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        losses, values, regulariser = self.on_device("losses", self._forward, batch)
        gramian = self.gramian(losses) if diagnose else None
        present = batch.presence(self.model.tasks)
        weights, coefficients = self.weights_and_coefficients(values, present)
        backward = partial(backward_weighted_sum, losses, regulariser=regulariser)
        self.context.on_device("backward", backward, coefficients)
        return Result(values, weights, present, gramian)

    def _forward(self, batch: Batch) -> tuple[list[Tensor], Tensor, Tensor | None]:
        losses, regulariser = self.forward_pass(batch)
        return losses, loss_values(losses), regulariser

    def weights_and_coefficients(self, values: Tensor, present: Presence) -> tuple[Tensor, Tensor]:
        """(K,) losses -> weights and the objective's derivatives, (K,) each, 0 for absent tasks. What the weighting
        learns gets its gradient.
        """
        if not present.places:
            return torch.zeros_like(values), torch.zeros_like(values)
        weighting = cast(Weighting, self.weighting)
        with weighting.facing(present) as shown:
            known = shown.rows(values)
            weights = weighting.weights(known.clone())
            check_weights(weighting, weights, known, "weights")
            self.check_values("weights", weights, known, signed=False)
            kept = weights.detach().clone()  # the rule may go on to change what it gave
            leaf = known.clone().requires_grad_()
            objective = weighting.objective(leaf, weights)
            check_objective(weighting, objective)
            objective.backward()
        coefficients = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        found = shown.spread(kept), shown.spread(coefficients)
        present.blank(*found, *learned_by_task(weighting, present.count))
        return found

    def after(self, batch: Batch) -> None:
        """See ``Step``."""
        weighting = cast(Weighting, self.weighting)
        present = batch.presence(self.model.tasks)
        if weighting.evaluates_again and present.places:
            values = self.on_device("losses again", self._again, batch).clone()
            with weighting.facing(present) as shown:
                weighting.after_step(shown.rows(values))

    @torch.no_grad()
    def _again(self, batch: Batch) -> Tensor:
        with kept_buffers(self.model):
            return torch.stack(self.forward_losses(batch))


class NormStep(LossStep[NormWeighting]):
    """Tells the weighting the lengths of the losses' gradients at the last shared layer."""

    def __init__(
        self, model: MultiTaskModel, weighting: NormWeighting, hardware: Hardware, context: StepContext
    ) -> None:
        super().__init__(model, weighting, hardware, context)
        self.gradients = LayerGradients(model)

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        if self.model.has_representation:
            feature, leaf, losses, values, regulariser = self.on_device("losses", self._at_feature, batch)
            gramian = self._gramian_through(feature, leaf, losses) if diagnose else None
            collect = partial(self.gradients.collect_from, feature, leaf, losses, regulariser=regulariser)
        else:
            losses, values, regulariser = self.on_device("losses", self._forward, batch)
            gramian = self.gramian(losses) if diagnose else None
            collect = partial(self.gradients.collect, losses, regulariser=regulariser)
        present = batch.presence(self.model.tasks)
        weights, coefficients = self.weights_and_coefficients(values, present)
        norms = sqrt(self.context.on_device("backward", collect, coefficients)).to(values)
        if present.places:
            with self.weighting.facing(present) as shown:
                self.weighting.observe(shown.rows(norms), shown.rows(values).clone())
        return Result(values, weights, present, gramian)

    def _at_feature(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor], Tensor, Tensor | None]:
        feature, leaf, losses, regulariser = self.forward_pass_at_feature(batch)
        return feature, leaf, losses, loss_values(losses), regulariser

    def _gramian_through(self, feature: Tensor, leaf: Tensor, losses: Sequence[Tensor]) -> Tensor | None:
        """The Gramian by passes of their own, which leave the graphs to the step."""
        with self.isolated():
            pieces = [
                torch.autograd.grad(loss, leaf, retain_graph=True, allow_unused=True)[0] if loss.requires_grad else None
                for loss in losses
            ]
            return gramian_through(self.model, feature, pieces)


class LookaheadStep(LossStep[LookaheadWeighting]):
    """Before the step, tells the weighting what the step would do to another batch's loss."""

    #: Of the central difference: how far θ moves along ∇L, as a share of 1/‖∇L‖.
    REACH = 0.01

    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """See ``Step``."""
        present = batch.presence(self.model.tasks)
        if present.places:
            with kept_buffers(self.model), self.weighting.facing(present) as shown:
                alignments = self._alignments(batch, present, shown)
                self.weighting.observe(shown.rows(alignments), self.context.learning_rate())
        return super().__call__(batch, diagnose)

    def _alignments(self, batch: Batch, present: Presence, shown: Presence) -> Tensor:
        """(K,) ⟨∇Σ L_j(other batch; θ'), ∇L_k(batch; θ)⟩."""
        parameters = trained(self.model.parameters())
        separate, regulariser = self.forward_pass(batch, 0.0)
        losses = torch.stack(separate)
        known = shown.rows(losses.detach())
        found = self.weighting.weights(known.clone())
        check_weights(self.weighting, found, known, "weights")
        weights = shown.spread(found.detach().clone())
        present.blank(weights)
        total = (weights * losses).sum()
        ahead = gradients_at(total if regulariser is None else total + regulariser, parameters)
        rate = self.context.learning_rate()
        with shifted(parameters, ahead, -rate):
            other = self.context.other(self.weighting.split)
            aim = gradients_at(torch.stack(self.forward_losses(other)).sum(), parameters)
        length = sqrt(torch.stack([g.double().square().sum() for g in aim]).sum())
        reach = self.REACH / length.clamp(min=1e-30)
        sides = []
        for sign in (1, -1):
            # Half precision would round the parameters' small move away.
            with torch.no_grad(), shifted(parameters, aim, sign * reach), self.hardware.full_precision():
                sides.append(torch.stack(self.compute_losses(predict(self.model, batch.images), batch)).double())
        return ((sides[0] - sides[1]) / (2 * reach)).to(losses)
