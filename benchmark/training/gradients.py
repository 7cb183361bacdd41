"""Per-task gradients over the shared parameters or over the representation, in one buffer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.model import MultiTaskModel, trained

#: Columns whose products are summed in the gradients' own precision; the sums over blocks are in float64. One long sum
#: of squares in float32 stops growing after some ten million terms.
BLOCK = 4096


class Rows:
    """K gradients at the same tensors, each a row of one buffer (K, P) that lives as long as this object.

    Args:
        count: K.
        like: the tensors; a row holds their elements as they lie in memory.
        device: of the rows.
    """

    def __init__(self, count: int, like: Sequence[Tensor], device: torch.device) -> None:
        width = sum(t.numel() for t in like)
        # Half-precision features have sums of products too; these need single precision.
        dtype = torch.promote_types(like[0].dtype, torch.float32) if like else torch.float32
        # Whole blocks, the last one filled up with zeros that stay.
        self._blocks = torch.zeros(count, -(-width // BLOCK), BLOCK, device=device, dtype=dtype)  # (K, B, BLOCK)
        self.matrix = self._blocks.flatten(1)[:, :width]  # (K, P)
        self._places = [_views(row, like) for row in self.matrix]
        self._direction = torch.zeros(width, device=device, dtype=dtype)
        self._pieces = _views(self._direction, like)

    @property
    def nbytes(self) -> int:
        """Bytes that this object keeps."""
        return self._blocks.nbytes + self._direction.nbytes

    def fill(self, k: int, gradients: Sequence[Tensor | None]) -> None:
        """Keep one task's gradients, in the order of the tensors; None where the loss has no say."""
        for place, gradient in zip(self._places[k], gradients, strict=True):
            place.zero_() if gradient is None else place.copy_(gradient)

    def row(self, k: int) -> list[Tensor]:
        """One task's gradients, as views of the tensors' shapes and layouts."""
        return self._places[k]

    def products(self, other: "Rows") -> Tensor:
        """(K, K) inner products of these rows with the other's, in float64."""
        blocks = self._blocks.transpose(0, 1)  # (B, K, BLOCK)
        return torch.bmm(blocks, other._blocks.transpose(0, 1).mT).sum(0, dtype=torch.float64)

    def combination(self, weights: Tensor) -> list[Tensor]:
        """Σ w_k g_k in pieces of the tensors' shapes and layouts; overwritten by the next call. (K,) weights."""
        torch.mv(self.matrix.T, weights.to(self.matrix), out=self._direction)
        return self._pieces

    def pieces(self, direction: Tensor) -> list[Tensor]:
        """A direction (P,) in pieces of the tensors' shapes and layouts; overwritten by the next call."""
        if direction.shape != self._direction.shape:
            raise ValueError(
                f"a direction must have the shape {tuple(self._direction.shape)}, found {tuple(direction.shape)}"
            )
        self._direction.copy_(direction)
        return self._pieces


class TaskGradients:
    """The gradients of K losses over the P shared parameters.

    Gradients are taken at the parameters themselves, one backward pass per task: a cut at hand-picked features would be
    silently wrong where features are nested, as in MTAN. Task-specific parameters get their own task's plain gradient.
    Frozen parameters have no part in either; P is the number of shared ones that are trained.

    Args:
        model: on the device; which parameters are shared is its own declaration.
        learned: parameters of the weighting that the losses reach; they get the sum over the tasks.
    """

    def __init__(self, model: MultiTaskModel, learned: Sequence[nn.Parameter] = ()) -> None:
        self.shared = trained(model.shared_parameters())
        self.own = [trained(model.task_parameters(task.name)) for task in model.tasks]
        self.learned = trained(learned)
        # Where nothing is shared, rows without columns: on the device all the same, where the weighting meets them.
        self.device = next(model.parameters()).device
        self.buffer = Rows(len(self.own), self.shared, self.device)

    @property
    def rows(self) -> Tensor:
        """(K, P) the gradients."""
        return self.buffer.matrix

    def collect(self, losses: Sequence[Tensor], *, into: Rows | None = None, part: float = 1.0) -> Tensor:
        """Fill the buffer and set the task-specific parameters' gradients; the last pass frees the graph.

        Args:
            losses: K scalars, each attached to nothing but its own graph: a pass from an element of a stacked tensor
                would go through all tasks' heads, with zeros. One without graph has a gradient of zero.
            into: other rows to fill than the own buffer.
            part: below 1, task-specific gradients are this share of the losses', added to what is there.

        Returns:
            (K, P) the rows that were filled.
        """
        rows = self.buffer if into is None else into
        common = self.shared or self.learned
        reached = [k for k, own in enumerate(self.own) if losses[k].requires_grad and (common or own)]
        for k, own in enumerate(self.own):
            # Where nothing is shared, no two losses have a common graph.
            retain = bool(self.shared) and k != reached[-1] if reached else False
            loss = losses[k] if k in reached else None
            rows.fill(k, task_pass(loss, self.shared, own, self.learned, retain=retain, part=part))
        return rows.matrix

    def collect_one(self, k: int, loss: Tensor) -> None:
        """The same for one task's loss alone, whose graph is freed."""
        alive = loss if loss.requires_grad else None
        self.buffer.fill(k, task_pass(alive, self.shared, self.own[k], self.learned))

    def set_sum(self, losses: Sequence[Tensor], weights: Tensor, *, part: float) -> None:
        """Set the shared parameters' gradients to Σ w_k g_k without the g_k: one pass of the sum for all shared ones.

        Args:
            losses: as for ``collect``; task-specific gradients become ``part`` of theirs, added to what is there.
            weights: (K,) the w_k.
            part: see ``collect``.
        """
        live = [k for k, loss in enumerate(losses) if loss.requires_grad]
        for k in live:
            if self.own[k] or self.learned:
                retain = bool(self.shared)
                task_pass(losses[k], (), self.own[k], self.learned, retain=retain, part=part)
        found: Sequence[Tensor | None] = [None] * len(self.shared)
        if live and self.shared:
            total = torch.stack([weights[k].to(losses[k]) * losses[k] for k in live]).sum()
            found = torch.autograd.grad(total, self.shared, allow_unused=True)
        for parameter, gradient in zip(self.shared, found, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else laid_out(gradient, parameter)

    def gramian(self) -> Tensor:
        """(K, K) inner products of the buffer's rows, in float64."""
        return self.buffer.products(self.buffer)

    def set_combination(self, weights: Tensor) -> None:
        """Set the shared parameters' gradients to Σ w_k g_k. (K,) weights."""
        self._set(self.buffer.combination(weights))

    def set_direction(self, direction: Tensor) -> None:
        """Set the shared parameters' gradients to a direction (P,)."""
        self._set(self.buffer.pieces(direction))

    def _set(self, pieces: Sequence[Tensor]) -> None:
        for parameter, gradient in zip(self.shared, pieces, strict=True):
            parameter.grad = gradient


class RepresentationGradients:
    """The gradients of K losses at the one feature that feeds all heads, flattened with its batch axis.

    The K passes stop at the feature; one pass of their combination goes on through the shared network.

    Args:
        model: on the device, with a representation.
        learned: parameters of the weighting that the losses reach; they get the sum over the tasks.
    """

    def __init__(self, model: MultiTaskModel, learned: Sequence[nn.Parameter] = ()) -> None:
        self.heads = [trained(model.task_parameters(task.name)) for task in model.tasks]
        self.learned = trained(learned)
        self.buffer: Rows | None = None

    def collect(self, feature: Tensor, losses: Sequence[Tensor]) -> Rows:
        """Fill the buffer and set the heads' gradients.

        Args:
            feature: (B, …) a leaf that the losses are attached to, of the same shape in every step.
            losses: K scalars, each attached to nothing but its own graph.
        """
        if self.buffer is None:
            self.buffer = Rows(len(self.heads), [feature], feature.device)
        for k, own in enumerate(self.heads):
            loss = losses[k] if losses[k].requires_grad else None
            self.buffer.fill(k, task_pass(loss, [feature], own, self.learned))
        return self.buffer


def backward_weighted_sum(
    losses: Sequence[Tensor],
    coefficients: Tensor,
    inputs: Sequence[Tensor] | None = None,
    regulariser: Tensor | None = None,
) -> None:
    """Add the gradient of Σ c_k L_k + R to that of every input, or of all that they reach; frees the graph.

    Args:
        losses: K scalars; one without graph adds nothing.
        coefficients: (K,) the c_k.
        inputs: leaves; None for all.
        regulariser: R, a scalar; None for 0.
    """
    live = [k for k, loss in enumerate(losses) if loss.requires_grad]
    values = [losses[k] for k in live]
    factors = [coefficients[k].to(losses[k]) for k in live]
    if regulariser is not None and regulariser.requires_grad:
        values.append(regulariser)
        factors.append(torch.ones_like(regulariser))
    if values:
        torch.autograd.backward(values, factors, inputs=inputs)


def regulariser_gradients(regulariser: Tensor | None, at: Sequence[Tensor], part: float = 1.0) -> list[Tensor | None]:
    """The regulariser's gradients times ``part``, None where it has no say; the graph stays."""
    if regulariser is None or not regulariser.requires_grad or not at:
        return [None] * len(at)
    found = torch.autograd.grad(regulariser, at, retain_graph=True, allow_unused=True)
    return [None if gradient is None else part * gradient for gradient in found]


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Add to the parameters' gradients, as the last part of a step."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            _add(parameter, gradient)


def task_pass(
    loss: Tensor | None,
    at: Sequence[Tensor],
    own: Sequence[nn.Parameter],
    learned: Sequence[nn.Parameter],
    *,
    retain: bool = False,
    part: float = 1.0,
) -> Sequence[Tensor | None]:
    """One task's backward pass.

    Args:
        loss: a scalar; None for one that reaches nothing.
        at: tensors whose gradients are wanted.
        own: the task's parameters; ``grad`` becomes the loss's gradient (``part`` below 1: that share is added).
        learned: the weighting's parameters; the gradient is added to ``grad``.
        retain: leave the graph for a further pass.
        part: see ``own``.

    Returns:
        The gradients at ``at``, None where the loss has no say.
    """
    found: Sequence[Tensor | None] = [None] * (len(at) + len(own) + len(learned))
    if loss is not None:
        found = torch.autograd.grad(loss, [*at, *own, *learned], retain_graph=retain, allow_unused=True)
    for parameter, gradient in zip(own, found[len(at) :], strict=False):
        if part == 1:
            parameter.grad = None if gradient is None else laid_out(gradient, parameter)
        elif gradient is not None:
            _add(parameter, part * gradient)
    for parameter, gradient in zip(learned, found[len(at) + len(own) :], strict=True):
        if gradient is not None:
            _add(parameter, part * gradient)
    return found[: len(at)]


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    laid = laid_out(gradient, parameter)
    parameter.grad = laid if parameter.grad is None else parameter.grad.add_(laid)


def flattened(tensor: Tensor) -> Tensor:
    """(P,) the elements of a tensor as they lie in memory, in the order of a row of ``Rows``."""
    flat = tensor.new_empty(tensor.numel())
    _views(flat, [tensor])[0].copy_(tensor)
    return flat


def by_sample(feature: Tensor) -> Tensor:
    """A feature (B, …) in which each sample's elements lie together, whatever their order."""
    return feature if _strides(feature)[0] * len(feature) == feature.numel() else feature.contiguous()


def _views(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Pieces of a flat vector in the shapes and memory layouts of the tensors."""
    views, start = [], flat.storage_offset()
    for tensor in tensors:
        views.append(flat.as_strided(tensor.shape, _strides(tensor), start))
        start += tensor.numel()
    return views


def laid_out(gradient: Tensor, parameter: nn.Parameter) -> Tensor:
    """The gradient in the parameter's memory layout, which fused optimisers take for granted without a check."""
    if gradient.stride() == parameter.stride():
        return gradient
    return gradient.new_empty_strided(parameter.shape, _strides(parameter)).copy_(gradient)


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Those of a tensor without gaps that is laid out like this one."""
    return torch.empty_like(tensor, device="meta").stride()
