"""Networks of timm cut into stages that pass maps on.

Transformers are Swin (Liu et al., ICCV 2021) and ViT (Dosovitskiy et al., ICLR 2021).
"""

import itertools
from dataclasses import dataclass
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.backbones.timm_loading import import_timm

#: Pictures are this many times as high and wide as the first stage's map.
FINEST = 4
#: Stages of a ViT.
ROWS = 4


@dataclass(frozen=True)
class Part:
    """One stage's modules.

    Attributes:
        first, rest: see ``Stage``.
        channels: that leave.
        stride: pictures are this many times as high and wide.
    """

    first: nn.Module
    rest: nn.Module
    channels: int
    stride: int


def part_norms(model: nn.Module) -> None:
    """Put torch's batch norm and an activation in place of each norm of timm that does both: the same numbers.

    What treats batch norms in a way of its own, as training on tasks with their own pictures does, then finds them.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and hasattr(module, "act"):
            norm = nn.BatchNorm2d(module.num_features, module.eps, module.momentum, device="meta")
            norm.weight, norm.bias = module.weight, module.bias
            norm._buffers.update(module._buffers)
            after = [m for m in (getattr(module, "drop", None), module.act) if m and not isinstance(m, nn.Identity)]
            model.set_submodule(name, nn.Sequential(norm, *cast(list[nn.Module], after)))


def convolutional_parts(model: Any) -> list[Part]:
    """Cut a network whose children run in their order, after those that ``feature_info`` names."""
    infos = [info for info in model.feature_info if info["reduction"] >= FINEST]
    ends = {info["module"]: info for info in infos}
    parts: list[Part] = []
    row: list[nn.Module] = []
    for name, child in model.named_children():
        inside = isinstance(child, nn.Sequential) and name not in ends
        for inner, module in child.named_children() if inside else [("", child)]:
            row.append(module)
            info = ends.get(f"{name}.{inner}" if inside else name)
            if info:
                parts.append(Part(*_two_parts(row), info["num_chs"], info["reduction"]))
                row = []
        if len(parts) == len(infos):
            break
    return parts


def _two_parts(row: list[nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Modules in a row up to the first block of the last of them, and its other blocks."""
    *before, last = row
    if not isinstance(last, nn.Sequential) or len(last) < 2:
        return nn.Sequential(*row), nn.Identity()
    return nn.Sequential(*before, last[0]), last[1:]


class Padded(nn.Module):
    """Adds zeros at the right and below, up to whole patches. (B, C, H, W) -> (B, C, ≥H, ≥W)."""

    def __init__(self, patch: tuple[int, int]) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """The padded map."""
        (height, width), (high, wide) = x.shape[-2:], self.patch
        return F.pad(x, (0, -width % wide, 0, -height % high))


class ToLast(nn.Module):
    """(B, C, H, W) -> (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Channels last."""
        return x.permute(0, 2, 3, 1)


class ToFirst(nn.Module):
    """(B, H, W, C) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Channels first."""
        return x.permute(0, 3, 1, 2)


class Embedding(nn.Module):
    """Patches of a picture as a map of tokens, with position embeddings of its size. (B, 3, H, W) -> (B, C, h, w)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.padded = Padded(model.patch_embed.patch_size)
        self.patches = model.patch_embed
        self.norm = model.norm_pre
        positions = model.pos_embed
        if positions is not None:
            without = 0 if model.no_embed_class else model.num_prefix_tokens
            positions = nn.Parameter(positions.detach()[:, without:].clone())  # (1, tokens, C)
        self.positions = positions

    def forward(self, images: Tensor) -> Tensor:
        """The map."""
        x = self.patches(self.padded(images))  # (B, h, w, C)
        if self.positions is not None:
            resample = import_timm().layers.resample_abs_pos_embed
            size = list(x.shape[1:3])
            found = resample(self.positions, size, list(self.patches.grid_size), num_prefix_tokens=0)
            x = x + found.reshape(1, *size, -1)
        return self.norm(x).permute(0, 3, 1, 2)


class Blocks(nn.Module):
    """Blocks of a ViT, on the tokens of a map, and a norm behind them. (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, blocks: nn.Sequential, norm: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Every token attends to every other."""
        tokens = self.norm(self.blocks(x.flatten(2).transpose(1, 2)))
        return tokens.transpose(1, 2).reshape(x.shape)


def vit_parts(model: Any) -> list[Part]:
    """Four rows of equally many blocks, as far as their number divides."""
    depth, stride = len(model.blocks), model.patch_embed.patch_size[0]
    ends = [depth * row // ROWS for row in range(ROWS + 1)]
    parts = []
    for row, (begin, end) in enumerate(itertools.pairwise(ends)):
        blocks = Blocks(model.blocks[begin:end], model.norm if row == ROWS - 1 else nn.Identity())
        first = nn.Sequential(Embedding(model), blocks) if row == 0 else blocks
        parts.append(Part(first, nn.Identity(), model.embed_dim, stride))
    return parts


def swin_parts(model: Any) -> list[Part]:
    """timm's stages, each from a map to a map."""
    parts = []
    for level, (layer, info) in enumerate(zip(model.layers, model.feature_info, strict=True)):
        before = [Padded(model.patch_embed.patch_size), model.patch_embed] if level == 0 else [ToLast()]
        after = [model.norm] if level == len(model.layers) - 1 else []
        first = nn.Sequential(*before, layer, *after, ToFirst())
        parts.append(Part(first, nn.Identity(), info["num_chs"], info["reduction"]))
    return parts
