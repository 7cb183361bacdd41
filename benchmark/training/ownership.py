"""Whether a network's declaration of its tasks' own parameters holds.

Every kind of step believes the declaration: a parameter that is called a task's own gets the gradient of that task's
loss alone, and none of another that reaches it.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel

#: A context in which foreign code leaves no trace in the run.
Aside = Callable[[], AbstractContextManager[None]]


def check_declaration(model: MultiTaskModel) -> None:
    """Make sure that a network's parameters are split among its tasks and what these share.

    Raises:
        UsageError: a task's own parameter is another's too, or is none of the network's.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    owners: dict[int, str] = {}
    for task in model.tasks:
        for own in {id(p): p for p in model.task_parameters(task.name)}.values():
            if id(own) not in names:
                raise UsageError(
                    f"task_parameters('{task.name}') gives a parameter of shape {tuple(own.shape)} that is not among "
                    "the network's parameters, so that nothing would train it: register it as one, or leave it out"
                )
            if other := owners.get(id(own)):
                raise UsageError(
                    f"'{names[id(own)]}' is given for two tasks, by task_parameters('{other}') and "
                    f"task_parameters('{task.name}'): leave it out of both, and it counts as shared"
                )
            owners[id(own)] = task.name


def check_reach(
    model: MultiTaskModel,
    losses: Sequence[Tensor],
    aside: Aside,
    *,
    feature: Tensor | None = None,
    leaf: Tensor | None = None,
) -> None:
    """Make sure that no loss reaches what is declared to be another task's own.

    Only the losses' graphs are looked at; where these make a parameter suspect, a backward pass decides, since a path
    may carry nothing but zeros, as where several heads' outputs are stacked and taken apart again.

    Args:
        model: that made the losses.
        losses: K scalars with their graphs, which stay.
        aside: for the backward pass.
        feature: the representation, where the losses are attached to a copy of it.
        leaf: that copy.

    Raises:
        UsageError: one does, or a shared parameter reaches a loss beside the representation.
    """
    owners = {id(p): task.name for task in model.tasks for p in model.task_parameters(task.name)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    behind = _leaves([feature]) if feature is not None else set()
    for task, loss in zip(model.tasks, losses, strict=False):
        reached = _leaves([loss])
        direct = [p for p in parameters if id(p) in reached]
        foreign = [p for p in direct if owners.get(id(p), task.name) != task.name]
        through = [p for p in parameters if id(p) in behind and owners.get(id(p), task.name) != task.name]
        if (found := _moved_by(loss, foreign, aside)) or (
            through and _moved_by(loss, [] if leaf is None else [leaf], aside) and (found := through)
        ):
            owner = owners[id(found[0])]
            raise UsageError(
                f"{_named(model, found)}: task_parameters('{owner}') says that this is '{owner}' alone's, but the loss "
                f"of '{task.name}' reaches it and would not train it: leave it out of task_parameters, and it counts "
                "as shared"
            )
        past = [p for p in direct if id(p) not in owners] if feature is not None else []
        if found := _moved_by(loss, past, aside):
            raise UsageError(
                f"{_named(model, found)}: this is shared and reaches the loss of '{task.name}' beside the "
                "representation, through which all shared parameters must: define 'representation' otherwise, or say "
                "has_representation = False"
            )


def _moved_by(loss: Tensor, suspects: Sequence[Any], aside: Aside) -> list[Any]:
    """Which of the tensors the loss has a gradient at that is not zero."""
    if not suspects or not loss.requires_grad:
        return []
    with aside():
        gradients = torch.autograd.grad(loss, suspects, retain_graph=True, allow_unused=True)
    return [s for s, g in zip(suspects, gradients, strict=True) if g is not None and bool((g != 0).any())]


def _leaves(roots: Iterable[Tensor]) -> set[int]:
    """Ids of the leaves that tensors were computed from and that require gradients."""
    found = {id(root) for root in roots if root.is_leaf}
    waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen = set(waiting)  # holds the nodes, which Python else makes anew each time
    while waiting:
        node = waiting.pop()
        if (variable := getattr(node, "variable", None)) is not None:
            found.add(id(variable))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return found


def _named(model: nn.Module, parameters: Sequence[Tensor]) -> str:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    more = f" and {len(parameters) - 1} more" if len(parameters) > 1 else ""
    return f"'{names[id(parameters[0])]}'{more}"
