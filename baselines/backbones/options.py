"""Options of a backbone besides its name and width, which every sharing pattern takes and hands on."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

from benchmark.errors import UsageError, unknown
from benchmark.registry import LATER

#: Name of the parameter in which a pattern's constructor takes them: ``**backbone_options``.
PARAMETER = "backbone_options"
#: Decoders of dense tasks over timm's networks.
DECODERS = ("upsample", "deeplabv3plus", "deeplabv3-heads")

#: By name the type and the default. All were added after runs had been recorded.
OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "pretrained": (Annotated[str | bool, LATER], ""),
    "output_stride": (Annotated[int | None, LATER], None),
    "decoder": (Annotated[str, LATER], "upsample"),
    "frozen_norms": (Annotated[bool, LATER], False),
    "dropout": (Annotated[float, LATER], 0.0),
}
#: Those of the suite's own backbones; all others are those of timm's networks.
OWN = ("dropout",)


def spelled_out(constructor: Any) -> inspect.Signature | None:
    """A constructor's signature with these options in place of ``**backbone_options``; None where it has none such."""
    if PARAMETER not in inspect.signature(constructor).parameters:
        return None
    parameters = dict(inspect.signature(constructor, eval_str=True).parameters)
    del parameters[PARAMETER]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(n, kind, default=value, annotation=type_) for n, (type_, value) in OPTIONS.items()]
    return inspect.Signature([*list(parameters.values())[1:], *added])


def resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the defaults of those that are not given.

    Raises:
        UsageError: one is unknown, or its value is none that it can have.
    """
    for name in options:
        if name not in OPTIONS:
            raise unknown("option of backbones", name, OPTIONS)
    found = {name: default for name, (_, default) in OPTIONS.items()} | dict(options)
    if found["decoder"] not in DECODERS:
        raise unknown("decoder", str(found["decoder"]), DECODERS)
    if not 0 <= found["dropout"] < 1:
        raise UsageError(
            f"dropout is the share of numbers that are left out, from 0 to below 1; found {found['dropout']}"
        )
    return found


def refuse(backbone: str, options: Mapping[str, Any], *, timm: bool) -> None:
    """Make sure that a backbone is given none of the options that it has not.

    Args:
        backbone: its name, for the message.
        options: as they were given.
        timm: whether it is a network of timm.

    Raises:
        UsageError: it is given one.
    """
    for name, value in resolved(options).items():
        if value != OPTIONS[name][1] and timm == (name in OWN):
            what = "segnet, unet and wrn" if timm else 'networks of timm alone, such as backbone = "timm:resnet50"'
            raise UsageError(f"the option '{name}' is for {what}; found it with '{backbone}': leave it out")
