"""The contracts of a weighting: what it needs in a step, what it gives back, and its card."""

from benchmark.weighting.base import Card, LookaheadWeighting, NormWeighting, Weighting, build_weighting, card
from benchmark.weighting.directions import aggregate, direction, task_loss_derivatives
from benchmark.weighting.gradients import (
    SPACES,
    Direction,
    GradientWeighting,
    GramianWeighting,
    MatrixWeighting,
    SampledWeighting,
    SharpnessWeighting,
)

__all__ = [
    "SPACES",
    "Card",
    "Direction",
    "GradientWeighting",
    "GramianWeighting",
    "LookaheadWeighting",
    "MatrixWeighting",
    "NormWeighting",
    "SampledWeighting",
    "SharpnessWeighting",
    "Weighting",
    "aggregate",
    "build_weighting",
    "card",
    "direction",
    "task_loss_derivatives",
]
