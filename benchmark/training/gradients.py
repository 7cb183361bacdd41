"""Per-task gradients over the shared parameters, and what a weighting makes of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.model import MultiTaskModel
from benchmark.weighting import GramianWeighting


class TaskGradients:
    """The gradients of K losses over the shared parameters, in one buffer (K, P) that lives as long as the run.

    Gradients are taken at the parameters themselves, one backward pass per task: a cut at hand-picked features would
    be silently wrong where features are nested, as in MTAN. Task-specific parameters get their own task's plain gradient.

    Args:
        model: on the device; which parameters are shared is its own declaration.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        self.shared = model.shared_parameters()
        self.own = [model.task_parameters(task.name) for task in model.tasks]
        first = next(model.parameters())
        width = sum(p.numel() for p in self.shared)
        self.rows = torch.zeros(len(self.own), width, device=first.device, dtype=first.dtype)
        self._places = [_views(row, self.shared) for row in self.rows]
        self._direction = torch.zeros_like(self.rows[0]) if self.own else self.rows
        self._grads = _views(self._direction, self.shared)

    def collect(self, losses: Tensor) -> Tensor:
        """Fill the buffer from (K,) losses and set the task-specific parameters' gradients; the last pass frees the graph.

        Returns:
            (K, P) the buffer.
        """
        for k, own in enumerate(self.own):
            wanted = [*self.shared, *own]
            if not losses[k].requires_grad or not wanted:
                self.rows[k].zero_()
                continue
            found = torch.autograd.grad(losses[k], wanted, retain_graph=k + 1 < len(self.own), allow_unused=True)
            for place, gradient in zip(self._places[k], found, strict=False):
                place.zero_() if gradient is None else place.copy_(gradient)
            for parameter, gradient in zip(own, found[len(self.shared) :], strict=True):
                parameter.grad = gradient
        return self.rows

    def move_along(self, weights: Tensor) -> None:
        """Set the shared parameters' gradients to Σ w_k g_k. (K,) weights."""
        torch.mv(self.rows.T, weights.to(self.rows), out=self._direction)
        for parameter, gradient in zip(self.shared, self._grads, strict=True):
            parameter.grad = gradient


def backward(weighting: GramianWeighting, gradients: TaskGradients, losses: Tensor) -> Tensor:
    """Set every parameter's gradient for one step; the weights (K,) that were used."""
    rows = gradients.collect(losses)
    gramian = (rows @ rows.T).double().cpu()
    weights = weighting.from_gramian(gramian, losses.detach().double().cpu()).to(rows)
    gradients.move_along(weights)
    return weights


def _views(flat: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Pieces of a flat vector in the shapes (and memory layouts) of the parameters."""
    pieces = flat.split([p.numel() for p in parameters]) if len(parameters) else ()
    return [_shaped(piece, p) for piece, p in zip(pieces, parameters, strict=True)]


def _shaped(piece: Tensor, parameter: nn.Parameter) -> Tensor:
    if parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last):
        outputs, inputs, height, width = parameter.shape
        return piece.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
    return piece.view(parameter.shape)
