"""timm, imported when a network of it is wanted, and pretrained weights from files: nothing is ever fetched."""

import importlib
import re
import sys
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmark.errors import UsageError, UserError
from benchmark.keptfiles import find

#: Operators of torchvision that are declared in its place at most, see ``_imported``.
MOST_OPERATORS = 20


@cache
def import_timm() -> ModuleType:
    """The package.

    Raises:
        UserError: it is not installed, or cannot be imported.
    """
    try:
        return _imported()
    except ImportError as error:
        raise UserError(
            f"networks of timm need a package that is not installed ({error}): pip install 'mtbench[timm]'"
        ) from error
    except Exception as error:
        raise UserError(f"timm is installed, but cannot be imported: {error!r}") from error


def _imported() -> ModuleType:
    """timm imports torchvision, and uses none of its operators in the networks that stand here.

    A torchvision that was built for another torch, such as one for CUDA beside a torch for the CPU, cannot load its
    operators, and ends its own import where it describes them. Operators of these names are then declared, without
    anything that computes, so that the rest of the package can be imported.
    """
    for _ in range(MOST_OPERATORS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that operators for image files cannot be loaded either
                return importlib.import_module("timm")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            torch.library.define(f"torchvision::{missing[1]}", "(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
                del sys.modules[name]
    raise ImportError("torchvision describes operators that it does not have")


def check_name(name: str) -> None:
    """Make sure that timm has a network.

    Args:
        name: as timm writes it, with or without the tag of its weights: ``resnet50``, ``resnet50.tv_in1k``.

    Raises:
        UsageError: it has none of that name, or no weights of that tag, whose normalisation the network is to have.
    """
    timm = import_timm()
    network, _, tag = name.partition(".")
    if not timm.is_model(network):
        near = get_close_matches(network, timm.list_models(), n=4, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise UsageError(f"timm {timm.__version__} has no network '{network}': {hint}timm.list_models() lists them")
    if tag:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{network}.*")]
        if tag not in tags:
            raise UsageError(
                f"timm {timm.__version__} knows no weights '{tag}' of '{network}': expected one of "
                f"{', '.join(sorted(tags)) or 'none'}, or '{network}' alone"
            )


def load_weights(pretrained: str | bool, name: str) -> Mapping[str, Tensor] | None:
    """The weights that the option ``pretrained`` names; None where it is empty, and on torch's meta device.

    Args:
        pretrained: ``file:PATH``, or ``sha256:…`` of a file that is kept; "" or False for a random start.
        name: of the network, for messages.

    Raises:
        UsageError: it is something else: weights come from files alone.
        UserError: the file holds no weights.
    """
    if not pretrained:
        return None
    if pretrained is True or not pretrained.startswith(("file:", "sha256:")):
        raise UsageError(_how_to_get(name, pretrained))
    path = find(pretrained)
    if torch.get_default_device().type == "meta":
        return None  # shapes alone are asked for
    state = _read(path, pretrained)
    for inside in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(inside), Mapping):
            state = state[inside]
            break
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"'{pretrained}' must hold tensors by name, a state_dict; found {type(state).__name__}")
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _read(path: Path, name: str) -> Any:
    """safetensors, whatever the file is called, else what torch saved; no code in it is run."""
    with path.open("rb") as file:
        head = file.read(9)
    try:
        if head[8:] == b"{":
            return load_file(path, device="cpu")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"'{name}' cannot be read as weights: expected a safetensors file, or one of torch.save that holds tensors "
            f"alone (weights_only); {str(error).splitlines()[0]:.200}"
        ) from error


def _how_to_get(name: str, found: object) -> str:
    """One line for who expects weights to be fetched."""
    settings = import_timm().get_pretrained_cfg(name)
    repository = getattr(settings, "hf_hub_id", None)
    way = (
        f"get it with 'hf download {repository} model.safetensors --local-dir .' from the Hugging Face hub"
        if repository
        else f"save timm.create_model('{name}', pretrained=True).state_dict() where there is a network"
    )
    return (
        f"weights are not fetched: 'pretrained' must be 'file:PATH' of a file of '{name}', found {found!r}; {way}, and "
        'write pretrained = "file:model.safetensors"'
    )
