"""The direction that a weighting makes of gradients, outside of training."""

from typing import Any, cast

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.tasks import Task
from benchmark.weighting.base import Weighting, build_weighting
from benchmark.weighting.gradients import GradientWeighting, GramianWeighting, MatrixWeighting, SampledWeighting


def aggregate(name: str, gradients: Tensor, *, losses: Tensor | None = None, **options: Any) -> Tensor:
    """The direction along which a weighting would move the shared parameters.

    A weighting with a memory starts anew. Where samples are to be independent, all are ``gradients``.

    Args:
        name: a registered weighting.
        gradients: (K, P) one row per task: the gradients of its loss.
        losses: (K,) for weightings that look at them; ones when None.
        options: the weighting's own.

    Returns:
        (P,) the direction d; an optimiser steps along −d. In the type of ``gradients``, computed in single precision
        at least.

    Raises:
        UsageError: the name or an option is unknown, or the shapes do not fit.
    """
    for what, given in (("gradients", gradients), ("losses", losses)):
        if given is not None and not (isinstance(given, Tensor) and given.is_floating_point()):
            kind = str(given.dtype) if isinstance(given, Tensor) else type(given).__name__
            raise UsageError(f"{what} must be a tensor of floating-point numbers, found {kind}")
    if gradients.ndim != 2 or not len(gradients):
        found = tuple(gradients.shape)
        raise UsageError(f"gradients must be a (K, P) matrix with one row per task, found shape {found}")
    known = torch.ones(len(gradients)) if losses is None else losses.detach().clone()
    if known.shape != gradients.shape[:1]:
        raise UsageError(f"expected one loss for each of {len(gradients)} tasks, found shape {tuple(known.shape)}")
    tasks = [Task(f"task{k}", "depth", 1) for k in range(len(gradients))]
    weighting = build_weighting(name, tasks, **options).to(gradients.device)
    # Squares and sums over tasks leave half precision where the gradients themselves do not.
    rows = gradients.detach().to(torch.promote_types(gradients.dtype, torch.float32))
    known = known.to(rows.device, torch.promote_types(known.dtype, torch.float32))
    return direction(weighting, rows, known).to(gradients.dtype)


def direction(weighting: Weighting, gradients: Tensor, losses: Tensor) -> Tensor:
    """What one step of ``weighting`` makes of gradients (K, P) of losses (K,): a direction (P,)."""
    if not isinstance(weighting, GradientWeighting):
        return weighting.weights(losses).detach().to(gradients) @ gradients
    exact = gradients.double() * task_loss_derivatives(weighting, losses.double())[:, None]
    if isinstance(weighting, MatrixWeighting):
        weighting.allocate(gradients.shape[1])
        return weighting.from_gradients(exact.to(gradients), losses.to(gradients)).vector.clone()
    products, known = (exact @ exact.T).cpu(), losses.double().cpu()
    if isinstance(weighting, SampledWeighting):
        weights = weighting.from_products(products, known)
    else:
        weights = cast(GramianWeighting, weighting).from_gramian(products, known)
    return (weights.to(exact) @ exact).to(gradients)


def task_loss_derivatives(weighting: GradientWeighting, losses: Tensor) -> Tensor:
    """(K,) the derivative of each of ``task_losses`` by its loss, at losses (K,)."""
    leaves = [loss.detach().clone().requires_grad_() for loss in losses]
    with torch.enable_grad():
        scaled = weighting.task_losses(list(leaves))
        return torch.stack([torch.autograd.grad(s, leaf)[0] for s, leaf in zip(scaled, leaves, strict=True)])
