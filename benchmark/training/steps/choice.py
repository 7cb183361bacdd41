"""Which kind of step a weighting needs."""

from typing import Any

from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel, trained
from benchmark.training.hardware import Hardware
from benchmark.training.ownership import check_declaration
from benchmark.training.steps.gradients import GramianStep, MatrixStep, RepresentationStep, SampledStep
from benchmark.training.steps.losses import LookaheadStep, LossStep, NormStep, SumStep
from benchmark.training.steps.sharpness import SharpnessStep
from benchmark.training.steps.step import Step, StepContext
from benchmark.weighting import (
    GradientWeighting,
    GramianWeighting,
    LookaheadWeighting,
    MatrixWeighting,
    NormWeighting,
    SampledWeighting,
    SharpnessWeighting,
    Weighting,
)


def choose_step(
    model: MultiTaskModel, weighting: Weighting | None, hardware: Hardware, context: StepContext
) -> Step[Any]:
    """The kind of step that a weighting needs.

    Raises:
        UsageError: the weighting cannot work with this model, nothing of the model is trained, or its declaration of
            tasks' own parameters is none.
    """
    check_declaration(model)
    _check_trained(model, weighting)
    match weighting:
        case None:
            return SumStep(model, None, hardware, context)
        case GradientWeighting() if weighting.on == "representation":
            return RepresentationStep(model, weighting, hardware, context)
        case SharpnessWeighting():
            return SharpnessStep(model, weighting, hardware, context)
        case GramianWeighting():
            return GramianStep(model, weighting, hardware, context)
        case MatrixWeighting():
            return MatrixStep(model, weighting, hardware, context)
        case SampledWeighting():
            return SampledStep(model, weighting, hardware, context)
        case NormWeighting():
            return NormStep(model, weighting, hardware, context)
        case LookaheadWeighting():
            return LookaheadStep(model, weighting, hardware, context)
    return LossStep(model, weighting, hardware, context)


def _check_trained(model: MultiTaskModel, weighting: Weighting | None) -> None:
    """Make sure that not all is frozen, nor all that a weighting compares gradients of."""
    if list(model.parameters()) and not trained(model.parameters()):
        raise UsageError("all parameters of this architecture are frozen: there is nothing to train, so let some be")
    shared = model.shared_parameters()
    if isinstance(weighting, GradientWeighting | NormWeighting) and shared and not trained(shared):
        raise UsageError(
            f"all {len(shared)} shared parameters of this architecture are frozen, and this weighting compares the "
            "tasks' gradients over them: take a weighting that looks at losses alone, or let some of them be trained"
        )
