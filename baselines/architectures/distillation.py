"""What networks with predictions in between have in common: heads for them, and messages from task to task."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.tasks import Task


def make_coarse_head(inputs: int, task: Task) -> nn.Module:
    """A prediction in between, raw: a 1×1 convolution for dense tasks; else global average pooling, then linear."""
    if task.dense:
        return nn.Conv2d(inputs, task.channels, 1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, task.channels))


class Distillation(nn.Module):
    """To one task's feature, what the others tell it: F_k + Σ_{t≠k} σ(G F_k) ⊙ (W_t F_t), with 3×3 convolutions G, W_t.

    That is module C of PAD-Net, message passing that is guided by attention (Xu et al., CVPR 2018).

    Args:
        channels: of every task's feature.
        others: K − 1.
    """

    def __init__(self, channels: int, others: int) -> None:
        super().__init__()
        self.attention = nn.Conv2d(channels, channels, 3, padding=1) if others else None
        self.messages = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(others))

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W) and K − 1 of the same shape -> (B, C, H, W)."""
        if self.attention is None:
            return own
        first, *rest = [message(x) for message, x in zip(self.messages, others, strict=True)]
        for told in rest:
            first = first + told
        return own + self.attention(own).sigmoid() * first


class Propagation(nn.Module):
    """Features of all tasks at one scale to what each task takes to the next: F_k + SE_k(S), with S the shared feature.

    A function of the joined features gives K masks, whose softmax over the tasks weights the features; S is a 1×1
    convolution of these, and SE_k scales its channels by what is pooled from it (Hu et al., CVPR 2018).
    """

    def __init__(self, tasks: int, channels: int) -> None:
        super().__init__()
        joint, squeezed = tasks * channels, max(1, channels // 4)
        self.tasks = tasks
        self.masks = nn.Sequential(
            nn.Conv2d(joint, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, joint, 1),
        )  # fmt: skip
        self.shared = nn.Sequential(nn.Conv2d(joint, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(inplace=True),
                nn.Conv2d(squeezed, channels, 1), nn.Sigmoid(),
            )
            for _ in range(tasks)
        )  # fmt: skip

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """K features (B, C, H, W) -> K of the same shape."""
        masks = self.masks(torch.cat(list(features), 1)).unflatten(1, (self.tasks, -1))
        masks = masks.softmax(1).to(features[0])
        shared = self.shared(torch.cat([m * x for m, x in zip(masks.unbind(1), features, strict=True)], 1))
        return [x + scale(shared) * shared for x, scale in zip(features, self.scales, strict=True)]


def without(k: int, features: Sequence[Tensor]) -> list[Tensor]:
    """All but the ``k``-th."""
    return [x for t, x in enumerate(features) if t != k]
