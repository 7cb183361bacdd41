"""Squared lengths of the tasks' gradients at one layer, and every parameter's gradient, in little over one pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.model import MultiTaskModel
from benchmark.training.gradients import descend, laid_out, task_pass


class LayerGradients:
    """The gradient of Σ s_k L_k at every parameter, and the squared length of each ∇L_k at the last shared layer.

    The layer's own gradient is the sum of the tasks', so that the one pass of the sum leaves it out. Where one feature
    feeds all heads, no head is passed twice either: K passes through the heads give the tasks' gradients at the
    feature, from which each goes on to the layer, and their sum through the network.

    Args:
        model: on the device.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        self.layer = model.last_shared_parameters()
        self._nothing: list[Tensor | None] = [None] * len(self.layer)
        self.own = [model.task_parameters(task.name) for task in model.tasks]
        layer = {id(p) for p in self.layer}
        self.others = [p for p in model.parameters() if p.requires_grad and id(p) not in layer]

    def collect(self, losses: Sequence[Tensor], slopes: Tensor) -> Tensor:
        """Set every parameter's gradient; frees the graph.

        Args:
            losses: K scalars; one without graph has a gradient of zero.
            slopes: (K,) the s_k.

        Returns:
            (K,) squares of the lengths in float64.
        """
        found = [self._at_layer(loss) for loss in losses]
        descend(losses, slopes, self.others)
        return self._settle(found, slopes)

    def collect_from(self, feature: Tensor, leaf: Tensor, losses: Sequence[Tensor], slopes: Tensor) -> Tensor:
        """The same where all shared parameters reach the losses through one feature.

        Args:
            feature: (B, …) attached to the shared parameters.
            leaf: the same values, detached; the losses are attached to it.
            losses: K scalars; one without graph has a gradient of zero.
            slopes: (K,) the s_k.
        """
        found: list[Sequence[Tensor | None]] = []
        total: Tensor | None = None
        for loss, slope, own in zip(losses, slopes, self.own, strict=True):
            (piece,) = task_pass(loss if loss.requires_grad else None, [leaf], own, ())
            for parameter in own:
                if parameter.grad is not None:
                    parameter.grad *= slope
            found.append(self._nothing if piece is None else self._at_layer(feature, piece))
            if piece is not None:
                factor = slope.to(piece)
                total = piece * factor if total is None else total.addcmul_(piece, factor)
        if total is not None:
            torch.autograd.backward([feature], [total], inputs=self.others)
        return self._settle(found, slopes)

    def _at_layer(self, value: Tensor, gradient: Tensor | None = None) -> Sequence[Tensor | None]:
        """The layer's gradients of a loss, or of a feature whose own gradient is given; the graph stays."""
        if not self.layer or not value.requires_grad:
            return self._nothing
        return torch.autograd.grad(value, self.layer, gradient, retain_graph=True, allow_unused=True)

    def _settle(self, found: Sequence[Sequence[Tensor | None]], slopes: Tensor) -> Tensor:
        """Set the layer's gradients to the tasks' sum; the squares of their lengths (K,)."""
        squares = slopes.new_zeros(len(found), dtype=torch.float64)
        for place, parameter in enumerate(self.layer):
            for k, gradients in enumerate(found):
                gradient = gradients[place]
                if gradient is not None:
                    squares[k] += gradient.double().square().sum()
                    part = laid_out(slopes[k] * gradient, parameter)
                    parameter.grad = part if parameter.grad is None else parameter.grad.add_(part)
        return squares
