"""What mixtures of experts have in common: a trunk, experts at the encoder's deepest stages, and a tower per task.

Over any backbone, the experts of one level are copies of one encoder stage, each with its own parameters, and a gate is
linear in the feature that enters them, pooled over the picture, so that it takes pictures of any size. Before them is
one trunk; what comes after, the decoder, is a task's own, as the papers' towers are. Experts' outputs are mixed
before they leave the stage. A task's decoder reads what its own stream left: the trunk's skips (or indices), and those
of its mixtures.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Backbone, Memory
from benchmark.errors import UsageError
from benchmark.tasks import Task


class ExpertPattern(SharingPattern):
    """A trunk of the encoder's first stages, ``levels`` of experts at its last ones, a decoder per task.

    Raises:
        UsageError: the encoder has no stage before the experts'.
    """

    def __init__(self, tasks: Sequence[Task], backbone: Backbone, levels: int) -> None:
        super().__init__(tasks, backbone)
        self.depth = len(backbone.encoder)
        if not 1 <= levels < self.depth:
            raise UsageError(
                f"experts stand at 1 to {self.depth - 1} of this backbone's {self.depth} encoder stages, after a first "
                f"one that is shared; found levels = {levels}"
            )
        #: The place of the experts' first stage.
        self.first = self.depth - levels
        self.trunk = nn.ModuleList(plan.build() for plan in self.stages[: self.first])
        self.towers = nn.ModuleList(nn.ModuleList(plan.build() for plan in self.stages[self.depth :]) for _ in tasks)

    def towered(self, k: int, x: Tensor, memory: Memory) -> Tensor:
        """What the head of task ``k`` reads, from what left the experts."""
        return self.run(cast(Sequence[nn.Module], self.towers[k]), x, memory, self.depth)


class Gate(nn.Linear):
    """softmax(W x + b) of a pooled feature: a weight for each expert."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, experts), of sum 1."""
        return super().forward(x).softmax(1)


def pooled(x: Tensor) -> Tensor:
    """The mean over the picture. (B, C, h, w) -> (B, C)."""
    return x.mean((2, 3))


def mixed(weights: Tensor, features: Sequence[Tensor]) -> Tensor:
    """Σₑ wₑ fₑ. (B, E) weights and E features (B, C, h, w) -> (B, C, h, w)."""
    columns = weights.to(features[0]).unbind(1)  # in half precision, as the features are
    first, *others = [w[:, None, None, None] * f for w, f in zip(columns, features, strict=True)]
    for other in others:
        first = first + other
    return first


def check_count(name: str, value: int, least: int = 1) -> None:
    """Make sure that an option is a whole number from ``least``.

    Raises:
        UsageError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"the option '{name}' is a whole number from {least}, not {value!r}")
