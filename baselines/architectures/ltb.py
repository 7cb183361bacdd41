"""LTB, learning to branch: every stage has a copy for each task, and which copy reads which is learned."""

from collections.abc import Sequence
from typing import Any, ClassVar, SupportsIndex, cast

import torch
from torch import Tensor, nn

from baselines.architectures.cross_stitch import combine
from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Memory, Stage, build_backbone
from benchmark.errors import UsageError
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task

#: Keeps random numbers from 0 and 1, whose logarithms are not finite.
EDGE = 1e-6


class Choice(nn.Module):
    """Which of K parents a child reads: softmax((θ + g) / τ) with Gumbel noise g in training, the largest θ else."""

    def __init__(self, parents: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(parents))

    def forward(self, temperature: Tensor) -> Tensor:
        """A scalar -> (K,) weights of sum 1."""
        if not self.training:
            places = torch.arange(len(self.logits), device=self.logits.device)
            return (places == self.logits.argmax()).to(self.logits)
        uniform = torch.rand_like(self.logits).clamp(EDGE, 1 - EDGE)
        return ((self.logits - (-uniform.log()).log()) / temperature).softmax(0)


class Inherited(list[tuple[Tensor, torch.Size]]):
    """A child's memory: by entry what each of K nodes left, mixed when it is read by the child's shares (K,)."""

    def __init__(self, entries: Sequence[tuple[Sequence[tuple[Tensor, torch.Size]], Tensor]]) -> None:
        super().__init__()
        self.entries = list(entries)

    def pop(self, index: SupportsIndex = -1) -> tuple[Tensor, torch.Size]:
        """The last entry. Indices of maxima cannot be mixed: they are those of the node with the largest share."""
        nodes, shares = self.entries.pop()
        tensors, size = [tensor for tensor, _ in nodes], nodes[0][1]
        if tensors[0].is_floating_point():
            return combine(shares.to(tensors[0]), tensors), size
        return torch.stack(tensors).index_select(0, shares.argmax()[None])[0], size


@ARCHITECTURES.register("ltb", mark=15)
class LearningToBranch(SharingPattern):
    """LTB: a tree of stages, learned with the network: each node draws its parent among the nodes of the stage before.

    Source: Guo, Lee & Ulbricht, "Learning to Branch for Multi-Task Learning", ICML 2020. Every stage has K nodes; child
    j reads Σᵢ dᵢⱼ xᵢ of its parents' features, with dⱼ from a Gumbel-softmax of learned logits θⱼ, whose temperature
    falls with the epochs. Heads choose a node of the last stage likewise. In evaluation there is no noise, and a node
    reads its likeliest parent: a tree.

    A decoder reads the skips of the nodes that it came from, mixed as features are, or the indices of the likeliest.

    Deviations: the tree is not trained anew once it is found; weights and logits learn from the same steps; the
    temperature falls in a straight line, between values of ours.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        temperature, last_temperature: in the first epoch, and in the last.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Guo, Lee, Ulbricht. Learning to Branch for Multi-Task Learning. ICML 2020",
        "https://arxiv.org/abs/2006.01895",
        Flow(("task", "shared", "task"), "branches"),
        "@inproceedings{guo2020learning, title={Learning to Branch for Multi-Task Learning}, author={Guo, Pengsheng "
        "and Lee, Chen-Yu and Ulbricht, Daniel}, booktitle={International Conference on Machine Learning}, "
        "year={2020}}",
    )
    temperature: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        temperature: float = 5.0,
        last_temperature: float = 0.5,
        **backbone_options: Any,
    ) -> None:
        if not (temperature > 0 and last_temperature > 0):
            raise UsageError(f"temperatures are above 0; found {temperature} and {last_temperature}")
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        count = len(self.tasks)
        self.nodes = nn.ModuleList(nn.ModuleList(plan.build() for _ in self.tasks) for plan in self.stages)
        # One task has nothing to choose.
        places = len(self.stages) if count > 1 else 0
        self.choices = nn.ModuleList(nn.ModuleList(Choice(count) for _ in self.tasks) for _ in range(places))
        self.limits = temperature, last_temperature
        self.register_buffer("temperature", torch.tensor(temperature))
        self.initialise()

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """The temperature of the epoch to come."""
        first, last = self.limits
        self.temperature.fill_(first + (last - first) * epoch / max(1, epochs - 1))

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last stage's feature that each chosen task reads."""
        nodes, everyone = cast(Sequence[Sequence[Stage]], self.nodes), range(len(self.tasks))
        xs = [images] * len(everyone)
        left: list[tuple[list[tuple[Tensor, torch.Size]], list[Tensor]]] = []  # with the shares of each node, by entry
        for s, plan in enumerate(self.stages):
            if s and len(everyone) > 1:
                rows = self.rows(s - 1)
                xs = [combine(row, xs) for row in rows]
                left = [(entry, [combine(row, shares) for row in rows]) for entry, shares in left]
            memories: list[Memory] = [Inherited([(entry, shares[j]) for entry, shares in left]) for j in everyone]
            entered = [plan.enter(x, memory) for x, memory in zip(xs, memories, strict=True)]
            left = left[: len(cast(Inherited, memories[0]).entries)]
            outputs = [nodes[s][j](x) for j, x in enumerate(entered)]
            xs = [plan.leave(x, memory) for x, memory in zip(outputs, memories, strict=True)]
            left += [
                (
                    [memory[e] for memory in memories],
                    list(torch.eye(len(everyone), device=images.device, dtype=images.dtype)),
                )
                for e in range(len(memories[0]))
            ]
        if len(everyone) == 1:
            return xs
        rows = self.rows(len(self.stages) - 1)
        return [combine(rows[k], xs) for k in chosen]

    def rows(self, place: int) -> list[Tensor]:
        """By child, its parents' weights (K,) behind one stage. Draws in training, the same for any tasks."""
        return [choice(self.temperature) for choice in cast(Sequence[nn.Module], self.choices[place])]

    def own(self, k: int) -> list[nn.Module]:
        """What the head chooses by: any task may read any node."""
        return [cast(Sequence[nn.Module], self.choices[-1])[k]]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The last layers of the last stage's nodes."""
        if len(self.tasks) == 1:
            return []
        return [[p for p in node.parameters() if p.ndim > 1][-1] for node in cast(Sequence[nn.Module], self.nodes[-1])]
