"""Per-task gradients over the shared parameters, and what a weighting makes of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.model import MultiTaskModel
from benchmark.weighting import GramianWeighting

#: Columns whose products are summed in the gradients' own precision; the sums over blocks are in float64. One long sum
#: of squares in float32 stops growing after some ten million terms.
BLOCK = 4096


class TaskGradients:
    """The gradients of K losses over the P shared parameters, in one buffer (K, P) that lives as long as the run.

    Gradients are taken at the parameters themselves, one backward pass per task: a cut at hand-picked features would be
    silently wrong where features are nested, as in MTAN. Task-specific parameters get their own task's plain gradient.

    Args:
        model: on the device; which parameters are shared is its own declaration.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        self.shared = model.shared_parameters()
        self.own = [model.task_parameters(task.name) for task in model.tasks]
        first = next(model.parameters())
        width = sum(p.numel() for p in self.shared)
        # Whole blocks, the last one filled up with zeros that stay.
        self._blocks = torch.zeros(
            len(self.own), -(-width // BLOCK), BLOCK, device=first.device, dtype=first.dtype
        )  # (K, B, BLOCK)
        self.rows = self._blocks.flatten(1)[:, :width]
        self._places = [_views(row, self.shared) for row in self.rows]
        self._direction = torch.zeros(width, device=first.device, dtype=first.dtype)
        self._grads = _views(self._direction, self.shared)

    def collect(self, losses: Sequence[Tensor]) -> Tensor:
        """Fill the buffer and set the task-specific parameters' gradients; the last pass frees the graph.

        Args:
            losses: K scalars, each attached to nothing but its own graph: a pass from an element of a stacked tensor
                would go through all tasks' heads, with zeros. One without graph has a gradient of zero.

        Returns:
            (K, P) the buffer.
        """
        passes = [k for k, own in enumerate(self.own) if losses[k].requires_grad and (self.shared or own)]
        for k, own in enumerate(self.own):
            if k not in passes:
                self._fill(k, [None] * (len(self.shared) + len(own)))
                continue
            # Where nothing is shared, no two losses have a common graph.
            retain = bool(self.shared) and k != passes[-1]
            wanted = [*self.shared, *own]
            self._fill(k, torch.autograd.grad(losses[k], wanted, retain_graph=retain, allow_unused=True))
        return self.rows

    def gramian(self) -> Tensor:
        """(K, K) inner products of the buffer's rows, in float64."""
        blocks = self._blocks.transpose(0, 1)  # (B, K, BLOCK)
        return torch.bmm(blocks, blocks.mT).sum(0, dtype=torch.float64)

    def move_along(self, weights: Tensor) -> None:
        """Set the shared parameters' gradients to Σ w_k g_k. (K,) weights."""
        torch.mv(self.rows.T, weights.to(self.rows), out=self._direction)
        for parameter, gradient in zip(self.shared, self._grads, strict=True):
            parameter.grad = gradient

    def _fill(self, k: int, found: Sequence[Tensor | None]) -> None:
        """Keep one task's gradients, first the shared parameters' and then its own; None where the loss has no say."""
        for place, gradient in zip(self._places[k], found, strict=False):
            place.zero_() if gradient is None else place.copy_(gradient)
        for parameter, gradient in zip(self.own[k], found[len(self.shared) :], strict=True):
            parameter.grad = None if gradient is None else _laid_out(gradient, parameter)


def backward(weighting: GramianWeighting, gradients: TaskGradients, losses: Sequence[Tensor]) -> Tensor:
    """Set every parameter's gradient for one step of K scalar losses; the weights (K,) that were used."""
    rows = gradients.collect(losses)
    known = torch.stack([loss.detach() for loss in losses])
    weights = weighting.from_gramian(gradients.gramian().cpu(), known.double().cpu()).to(rows)
    gradients.move_along(weights)
    return weights


def _views(flat: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Pieces of a flat vector in the shapes and memory layouts of the parameters."""
    views, start = [], flat.storage_offset()
    for parameter in parameters:
        views.append(flat.as_strided(parameter.shape, _strides(parameter), start))
        start += parameter.numel()
    return views


def _laid_out(gradient: Tensor, parameter: nn.Parameter) -> Tensor:
    """The gradient in the parameter's memory layout, which fused optimisers take for granted without a check."""
    if gradient.stride() == parameter.stride():
        return gradient
    return gradient.new_empty_strided(parameter.shape, _strides(parameter)).copy_(gradient)


def _strides(parameter: nn.Parameter) -> tuple[int, ...]:
    """Those of a tensor without gaps that is laid out like the parameter."""
    return torch.empty_like(parameter, device="meta").stride()
