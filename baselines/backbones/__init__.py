"""Networks as lists of stages, and their names; the sharing patterns are built over them."""

import inspect
import sys
from collections.abc import Callable
from typing import Any

from baselines.backbones.base import Backbone, Memory, Stage, StagePlan
from baselines.backbones.options import refuse, resolved
from baselines.backbones.segnet import conv_block, segnet
from baselines.backbones.timm_networks import PREFIX, timm_network
from baselines.backbones.unet import unet
from baselines.backbones.wrn import wrn
from benchmark.errors import UsageError, unknown
from benchmark.registry import BACKBONES

__all__ = ["FAMILIES", "Backbone", "Memory", "Stage", "StagePlan", "build_backbone", "conv_block"]

#: Families by the first part of a name. Later parts, split at hyphens, are arguments as text: ``wrn-28-4``.
FAMILIES: dict[str, Callable[..., Backbone]] = {"segnet": segnet, "unet": unet, "wrn": wrn}


def _form(family: str) -> str:
    """How names of a family are formed: ``wrn-DEPTH-WIDENING``."""
    parameters = inspect.signature(FAMILIES[family]).parameters.values()
    named = [p.name.upper() for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    repeated = [f"{p.name.removesuffix('s').upper()}-…" for p in parameters if p.kind is p.VAR_POSITIONAL]
    return "-".join([family, *named, *repeated])


BACKBONES |= {
    name: (_form(name), inspect.getdoc(sys.modules[family.__module__]) or "") for name, family in FAMILIES.items()
}
BACKBONES["timm"] = (f"{PREFIX}NAME", inspect.getdoc(sys.modules[timm_network.__module__]) or "")


def build_backbone(name: str, width: int, *, wide: bool = False, deep: bool = False, **options: Any) -> Backbone:
    """The plans of a backbone's stages.

    Args:
        name: ``segnet``, ``unet``, ``unet-FACTOR-FACTOR-…``, ``wrn``, ``wrn-DEPTH`` or ``wrn-DEPTH-WIDENING``;
            ``timm:NAME`` for a network of timm, see ``timm_networks``.
        width: channels of the first level.
        wide: the variant with twice the channels at the deepest level.
        deep: the variant with twice the layers.
        options: of ``backbones.options``. Of the suite's own backbones: ``dropout``, the share of numbers that are set
            to 0 in training, the others enlarged to make up for it, behind every stage of ``segnet`` and ``unet`` and
            between the two 3×3 convolutions of a block of ``wrn``. They are drawn from torch's current generator, stage
            by stage, so that the networks of several tasks draw in turn. Of networks of timm: ``pretrained``,
            ``file:PATH`` of weights; their
            ``output_stride``, None for timm's; the ``decoder`` of dense tasks; ``frozen_norms``, whether batch norms
            keep the statistics, scales and shifts that they came with.

    Raises:
        UsageError: the name or an option is unknown, or the width is no positive whole number.
        UserError: a network of timm cannot be had, see ``timm_networks``.
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise UsageError(f"the option 'width' is a whole number from 1 (64 in the paper), not {width!r}")
    timm = str(name).startswith(PREFIX)
    refuse(str(name), options, timm=timm)
    if timm:
        return timm_network(str(name).removeprefix(PREFIX), width, options, wide=wide, deep=deep)
    family, *arguments = str(name).split("-")
    if family not in FAMILIES:
        raise unknown("backbone", str(name), [*FAMILIES, f"{PREFIX}NAME"])
    build = FAMILIES[family]
    parameters = list(inspect.signature(build).parameters.values())
    named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    form = _form(family)
    if len(arguments) > len(named) - 1 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise UsageError(f"the backbone '{name}' has too many parts: expected at most '{form}'")
    return build(width, *arguments, wide=wide, deep=deep, dropout=resolved(options)["dropout"])
