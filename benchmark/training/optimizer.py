"""The protocol's optimiser, and its learning rate at every step."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from benchmark.model import trained
from benchmark.runs.record import OptimizerGroup
from benchmark.runs.spec import Protocol
from benchmark.training.muon import Muon, is_matrix

#: The group whose steps Muon orthogonalises.
MATRICES = "matrices"


def build_optimizer(
    network: Iterable[nn.Parameter], protocol: Protocol, learned: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The protocol's optimiser, of all parameters that are not frozen.

    Args:
        network: the model's parameters.
        protocol: names it.
        learned: by the weighting. They never decay, which would pull a task's learned scale to that of equal weights.
    """
    groups = _groups(trained(network), protocol)
    if learning := trained(learned):
        groups.append({"name": "weighting", "params": learning, "weight_decay": 0.0})
    if protocol.optimizer == "muon":
        matrices = [group for group in groups if group["name"] == MATRICES]
        return Muon(matrices, [group for group in groups if group["name"] != MATRICES], lr=protocol.learning_rate)
    if protocol.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=protocol.learning_rate,
            momentum=protocol.momentum,
            nesterov=protocol.momentum > 0,
            fused=True,
        )
    # The root that the plain forms call on the CPU is not the same on all processors; the fused forms' is.
    kind = torch.optim.AdamW if protocol.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=protocol.learning_rate, fused=True)


def _groups(network: list[nn.Parameter], protocol: Protocol) -> list[dict[str, Any]]:
    if protocol.optimizer not in ("adamw", "muon"):
        return [{"name": "network", "params": network, "weight_decay": protocol.weight_decay}]
    matrices = [p for p in network if protocol.optimizer == "muon" and is_matrix(p)]
    apart = {id(p) for p in matrices}
    weights = [p for p in network if p.ndim > 1 and id(p) not in apart]
    others = [p for p in network if p.ndim <= 1]
    groups = [
        {"name": MATRICES, "params": matrices, "weight_decay": protocol.weight_decay},
        {"name": "weights", "params": weights, "weight_decay": protocol.weight_decay},
        {"name": "norms and biases", "params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def parameter_groups(optimizer: torch.optim.Optimizer, protocol: Protocol) -> tuple[OptimizerGroup, ...]:
    """What an optimiser of ``build_optimizer`` trains, for the record.

    Groups are named ``network``, or ``weights`` (two dimensions and more) and ``norms and biases`` where these are
    treated apart, and ``matrices`` those weights that Muon orthogonalises the steps of; ``weighting`` is what the
    weighting learns.
    """
    return tuple(
        OptimizerGroup(
            name=group["name"],
            parameters=sum(p.numel() for p in group["params"]),
            learning_rate=protocol.learning_rate,
            weight_decay=group["weight_decay"],
        )
        for group in optimizer.param_groups
    )


class Schedule:
    """The learning rate of every step of a run.

    In a phase that begins with the rate r, its step t (from 0) of T in all has the rate r · d(t) · min(1, (t + 1) / W)
    with W ``warmup_steps`` and d by ``Protocol.schedule``: ``step``, ``lr_decay`` to the power of the times that
    ``lr_step`` epochs have passed; ``cosine``, ½ (1 + cos(π t / T)), of SGDR (Loshchilov & Hutter, ICLR 2017).

    Args:
        protocol: of the run.
        steps: of one epoch.
    """

    def __init__(self, protocol: Protocol, steps: int) -> None:
        self.protocol = protocol
        self.steps = steps
        #: Steps that the run has taken.
        self.taken = 0

    @property
    def rate(self) -> float:
        """The rate of the step to come."""
        return self.at(self.taken)

    def step(self) -> None:
        """A step was taken."""
        self.taken += 1

    def at(self, step: int) -> float:
        """The rate of one step of the run, counted from 0."""
        protocol = self.protocol
        restart = protocol.restart_after * self.steps
        rate, begin, end = protocol.learning_rate, 0, restart or protocol.epochs * self.steps
        if restart and step >= restart:
            rate, begin, end = protocol.restart_learning_rate or rate, restart, protocol.epochs * self.steps
        done = step - begin
        if protocol.schedule == "cosine":
            rate *= half_cosine(min(1.0, done / (end - begin)))
        else:
            for _ in range(done // self.steps // protocol.lr_step):
                rate *= protocol.lr_decay
        return rate * (done + 1) / protocol.warmup_steps if done < protocol.warmup_steps else rate

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint must know."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from what ``state_dict`` gave."""
        self.taken = int(state["taken"])


def half_cosine(share: float) -> float:
    """½ (1 + cos(π share)) for a share from 0 to 1: from 1 down to 0.

    It is the square of cos(π share / 2), which is summed here from its series: the last bit of a C library's cosine
    depends on the library and on the processor.
    """
    square = (torch.pi * share / 2) ** 2
    cosine = 1.0
    for n in range(24, 0, -2):
        cosine = 1.0 - cosine * square / (n * (n - 1))
    return cosine * cosine
