"""What methods give back in a step, held against their contracts: one line in place of an error from inside torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel, Predictions
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, Registry
from benchmark.weighting import Direction, Weighting


def check_weights(weighting: Weighting, found: Any, losses: Tensor, rule: str) -> None:
    """Make sure that a rule gave one weight for each task, where the losses are.

    Args:
        weighting: whose rule it is.
        found: what it gave.
        losses: (K,) what it was given.
        rule: name of the method that gave it.

    Raises:
        UsageError: it did not.
    """
    count = len(losses)
    wanted = f"{_name(WEIGHTINGS, weighting)}: '{rule}' must give a tensor of shape ({count},), a weight for each task"
    if not isinstance(found, Tensor):
        raise UsageError(f"{wanted}; found {_kind(found)}")
    if found.shape != losses.shape:
        raise UsageError(f"{wanted}; found one of shape {tuple(found.shape)}")
    if found.device != losses.device:
        raise UsageError(f"{wanted}, on {losses.device}; found one on {found.device}")


def check_values(weighting: Weighting, found: Tensor, given: Sequence[Tensor], rule: str, *, signed: bool) -> None:
    """Make sure that weights are numbers, for the first step: a GPU is waited for.

    Args:
        found: (K,) weights.
        given: what the rule was given; from values that are not finite, it need not make any.
        signed: whether weights may be negative.

    Raises:
        UsageError: they are not.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in given):
        return
    if bool(found.isnan().any()):
        problem = "numbers; found NaN in"
    elif not signed and bool((found < 0).any()):
        problem = "at least 0, or a task's loss would be raised; found"
    else:
        return
    values = ", ".join(f"{value:z.6g}" for value in found.detach().tolist())
    raise UsageError(f"{_name(WEIGHTINGS, weighting)}: '{rule}' must give weights that are {problem} [{values}]")


def check_direction(weighting: Weighting, found: Any, columns: int, losses: Tensor, rule: str) -> None:
    """Make sure that a rule gave a direction.

    Args:
        columns: numbers of its vector.

    Raises:
        UsageError: it did not.
    """
    wanted = f"{_name(WEIGHTINGS, weighting)}: '{rule}' must give a Direction(vector, weights)"
    if not isinstance(found, Direction):
        raise UsageError(f"{wanted}; found {_kind(found)}")
    for name, tensor, shape in (("vector", found.vector, (columns,)), ("weights", found.weights, tuple(losses.shape))):
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
            raise UsageError(f"{wanted} whose {name} is a tensor of shape {shape}; found {_kind(tensor)}")


def check_objective(weighting: Weighting, found: Any) -> None:
    """Make sure that an objective can be differentiated.

    Raises:
        UsageError: it cannot.
    """
    wanted = f"{_name(WEIGHTINGS, weighting)}: 'objective' must give a scalar that depends on the losses"
    if not isinstance(found, Tensor) or found.numel() != 1:
        raise UsageError(f"{wanted}; found {_kind(found)}")
    if not found.requires_grad:
        raise UsageError(f"{wanted}; found one without a graph: do not detach it")


def check_task_losses(weighting: Weighting, found: Any, count: int) -> None:
    """Make sure that there is a scalar for each task.

    Raises:
        UsageError: there is not.
    """
    wanted = f"{_name(WEIGHTINGS, weighting)}: 'task_losses' must give a list of {count} scalars"
    if not isinstance(found, list | tuple) or len(found) != count:
        raise UsageError(f"{wanted}; found {_kind(found)}")
    for one in found:
        if not isinstance(one, Tensor) or one.ndim:
            raise UsageError(f"{wanted}; found {_kind(one)} among them")


def check_predictions(model: MultiTaskModel, found: Any, targets: Mapping[str, Tensor]) -> None:
    """Make sure that there is a prediction for each task, with its channels, and that auxiliary ones can be judged.

    Raises:
        UsageError: there is not, or they cannot.
    """
    wanted = f"{_name(ARCHITECTURES, model)}: 'forward' must give a dict with a prediction for each task"
    if not isinstance(found, Mapping):
        raise UsageError(f"{wanted}; found {_kind(found)}")
    if missing := [task.name for task in model.tasks if task.name not in found]:
        raise UsageError(f"{wanted}; found none for {', '.join(map(repr, missing))}")
    for task in model.tasks:
        prediction, shape = found[task.name], (len(targets[task.name]), task.channels)
        if not isinstance(prediction, Tensor) or tuple(prediction.shape[:2]) != shape:
            raise UsageError(
                f"{wanted}, that of '{task.name}' a tensor of shape {str(shape)[:-1]}, …); found {_kind(prediction)}"
            )

    extra = Predictions.of(found)
    known = {task.name: task for task in model.tasks}
    for one in extra.auxiliary:
        wanted = f"{_name(ARCHITECTURES, model)}: the auxiliary prediction '{one.name}'"
        if one.task not in known:
            raise UsageError(f"{wanted} must be of one of the tasks {', '.join(map(repr, known))}; found '{one.task}'")
        task, prediction = known[one.task], one.prediction
        shape = (len(targets[one.task]), task.channels)
        if tuple(prediction.shape[:2]) != shape or prediction.ndim != (4 if task.dense else 2):
            sides = ", h, w)" if task.dense else ")"
            raise UsageError(
                f"{wanted} of '{one.task}' must be a tensor of shape {str(shape)[:-1]}{sides}; found "
                f"{_kind(prediction)}"
            )
        if isinstance(one.weight, float | int) and not (math.isfinite(one.weight) and one.weight >= 0):
            raise UsageError(f"{wanted} of '{one.task}' must have a finite weight from 0; found {one.weight:g}")
    if extra.regulariser is not None and (
        not isinstance(extra.regulariser, Tensor) or extra.regulariser.ndim or not extra.regulariser.is_floating_point()
    ):
        raise UsageError(
            f"{_name(ARCHITECTURES, model)}: the regulariser must be a scalar with graph; found "
            f"{_kind(extra.regulariser)}"
        )


def begin_epoch(model: MultiTaskModel, epoch: int, epochs: int) -> None:
    """Tell a network of the epoch to come.

    Raises:
        UsageError: it puts a new buffer in the place of an old one, where recorded steps would not look.
    """
    before = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        model.begin_epoch(epoch, epochs)
    after = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    if moved := [name for name in after if before.get(name) != after[name]]:
        raise UsageError(
            f"{_name(ARCHITECTURES, model)}: 'begin_epoch' must write into its buffers in place, for recorded steps "
            f"read where they lay; '{moved[0]}' is a new one: use fill_ or copy_"
        )


def _name(registry: Registry[Any], method: nn.Module) -> str:
    """A method as its user knows it: by the first name of its class."""
    names = [name for name in registry if registry[name].factory is type(method)]
    return f"the {registry.kind} '{names[0]}'" if names else f"the {registry.kind} {type(method).__name__}"


def _kind(found: Any) -> str:
    """What something is, in words."""
    if found is None:
        return "None: is there a 'return'?"
    if isinstance(found, Tensor):
        return f"a tensor of shape {tuple(found.shape)}"
    kind = type(found).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" + (f" of {len(found)}" if hasattr(found, "__len__") else "")
