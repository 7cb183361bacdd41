"""Networks as lists of stages, and their names; the sharing patterns are built over them."""

import inspect
from collections.abc import Callable

from baselines.backbones.base import Backbone, Memory, Stage, StagePlan
from baselines.backbones.segnet import conv_block, segnet
from baselines.backbones.unet import unet
from baselines.backbones.wrn import wrn
from benchmark.errors import UsageError, unknown

__all__ = ["FAMILIES", "Backbone", "Memory", "Stage", "StagePlan", "build_backbone", "conv_block"]

#: Families by the first part of a name. Later parts, split at hyphens, are arguments as text: ``wrn-28-4``.
FAMILIES: dict[str, Callable[..., Backbone]] = {"segnet": segnet, "unet": unet, "wrn": wrn}


def build_backbone(name: str, width: int, *, wide: bool = False, deep: bool = False) -> Backbone:
    """The plans of a backbone's stages.

    Args:
        name: ``segnet``, ``unet``, ``unet-FACTOR-FACTOR-…``, ``wrn``, ``wrn-DEPTH`` or ``wrn-DEPTH-WIDENING``.
        width: channels of the first level.
        wide: the variant with twice the channels at the deepest level.
        deep: the variant with twice the layers.

    Raises:
        UsageError: the name is unknown, or the width is no positive whole number.
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise UsageError(f"the option 'width' is a whole number from 1 (64 in the paper), not {width!r}")
    family, *arguments = str(name).split("-")
    if family not in FAMILIES:
        raise unknown("backbone", str(name), FAMILIES)
    build = FAMILIES[family]
    parameters = list(inspect.signature(build).parameters.values())
    named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    form = "-".join([family, *(p.name.upper() for p in named[1:])])
    if len(arguments) > len(named) - 1 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise UsageError(f"the backbone '{name}' has too many parts: expected at most '{form}'")
    return build(width, *arguments, wide=wide, deep=deep)
