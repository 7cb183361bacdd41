"""Squared lengths of the tasks' gradients at one layer, and every parameter's gradient, in little over one pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.model import MultiTaskModel, trained
from benchmark.training.gradients import (
    add_gradients,
    backward_weighted_sum,
    laid_out,
    regulariser_gradients,
    task_pass,
)


class LayerGradients:
    """The gradient of Σ c_k L_k at every parameter, and the squared length of each ∇L_k at the last shared layer.

    The layer's own gradient is the sum of the tasks', so that the one pass of the sum leaves it out. Where one feature
    feeds all heads, no head is passed twice either: K passes through the heads give the tasks' gradients at the
    feature, from which each goes on to the layer, and their sum through the network.

    Args:
        model: on the device.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        # An architecture may name a layer that is frozen.
        self.layer = trained(model.last_shared_parameters()) or MultiTaskModel.last_shared_parameters(model)
        self._nothing: list[Tensor | None] = [None] * len(self.layer)
        self.own = [trained(model.task_parameters(task.name)) for task in model.tasks]
        layer = {id(p) for p in self.layer}
        self.others = [p for p in trained(model.parameters()) if id(p) not in layer]

    def collect(self, losses: Sequence[Tensor], coefficients: Tensor, regulariser: Tensor | None = None) -> Tensor:
        """Set every parameter's gradient; frees the graph.

        Args:
            losses: K scalars; one without graph has a gradient of zero.
            coefficients: (K,) the c_k.
            regulariser: a scalar whose gradient is added to every parameter's, and is part of no length.

        Returns:
            (K,) squares of the lengths in float64.
        """
        found = [self._at_layer(loss) for loss in losses]
        extra = regulariser_gradients(regulariser, self.layer)
        if self.others:
            backward_weighted_sum(losses, coefficients, self.others, regulariser)
        squares = self._settle(found, coefficients)
        add_gradients(self.layer, extra)
        return squares

    def collect_from(
        self,
        feature: Tensor,
        leaf: Tensor,
        losses: Sequence[Tensor],
        coefficients: Tensor,
        regulariser: Tensor | None = None,
    ) -> Tensor:
        """The same where all shared parameters reach the losses through one feature.

        Args:
            feature: (B, …) attached to the shared parameters.
            leaf: the same values, detached; the losses are attached to it.
            losses: K scalars; one without graph has a gradient of zero.
            coefficients: (K,) the c_k.
            regulariser: as for ``collect``; attached to the leaf.
        """
        found: list[Sequence[Tensor | None]] = []
        everything = [*self.layer, *self.others]
        total, *direct = regulariser_gradients(regulariser, [leaf, *everything])
        extra = self._nothing if total is None else self._at_layer(feature, total)
        for loss, coefficient, own in zip(losses, coefficients, self.own, strict=True):
            (piece,) = task_pass(loss if loss.requires_grad else None, [leaf], own, ())
            for parameter in own:
                if parameter.grad is not None:
                    parameter.grad *= coefficient
            found.append(self._nothing if piece is None else self._at_layer(feature, piece))
            if piece is not None:
                factor = coefficient.to(piece)
                total = piece * factor if total is None else total.addcmul_(piece, factor)
        if total is not None and feature.requires_grad and self.others:
            torch.autograd.backward([feature], [total], inputs=self.others)
        squares = self._settle(found, coefficients)
        add_gradients(self.layer, extra)
        add_gradients(everything, direct)
        return squares

    def _at_layer(self, value: Tensor, gradient: Tensor | None = None) -> Sequence[Tensor | None]:
        """The layer's gradients of a loss, or of a feature whose own gradient is given; the graph stays."""
        if not self.layer or not value.requires_grad:
            return self._nothing
        return torch.autograd.grad(value, self.layer, gradient, retain_graph=True, allow_unused=True)

    def _settle(self, found: Sequence[Sequence[Tensor | None]], coefficients: Tensor) -> Tensor:
        """Set the layer's gradients to the tasks' sum; the squares of their lengths (K,)."""
        squares = coefficients.new_zeros(len(found), dtype=torch.float64)
        for place, parameter in enumerate(self.layer):
            for k, gradients in enumerate(found):
                gradient = gradients[place]
                if gradient is not None:
                    squares[k] += gradient.double().square().sum()
                    part = laid_out(coefficients[k] * gradient, parameter)
                    parameter.grad = part if parameter.grad is None else parameter.grad.add_(part)
        return squares
