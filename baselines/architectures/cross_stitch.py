"""Cross-stitch network: one stream per task, joined between stages by learned linear combinations."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Memory, Stage, build_backbone
from benchmark.errors import unknown
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task

#: What a stream keeps of its own feature at the start; the others share the rest.
KEPT = 0.9


class MatrixStitch(nn.Module):
    """x'ₖ = Σⱼ Aₖⱼ xⱼ with a learned K×K matrix A that starts at 0.9 on the diagonal and 0.1 / (K − 1) off it."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        others = (1 - KEPT) / (tasks - 1) if tasks > 1 else 0.0
        kept = KEPT if tasks > 1 else 1.0
        self.weight = nn.Parameter(torch.full((tasks, tasks), others) + (kept - others) * torch.eye(tasks))

    def forward(self, xs: Sequence[Tensor], chosen: Sequence[int]) -> list[Tensor]:
        """K features of one shape -> the features that enter the next stage of the ``chosen`` streams."""
        return [combine(self.weight[k], xs) for k in chosen]


class VectorStitch(nn.Module):
    """x' = Σⱼ wⱼ xⱼ, the same for every stream, with K learned weights that start at 1."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(tasks))

    def forward(self, xs: Sequence[Tensor], chosen: Sequence[int]) -> list[Tensor]:
        """K features of one shape -> the features that enter the next stage of the ``chosen`` streams."""
        return [combine(self.weight, xs)] * len(chosen)


def combine(weights: Tensor, xs: Sequence[Tensor]) -> Tensor:
    """Σⱼ wⱼ xⱼ of (K,) weights and K features of one shape."""
    first, *others = [w * x for w, x in zip(weights.unbind(), xs, strict=True)]
    for other in others:
        first = first + other
    return first


STITCHES: dict[str, Callable[[int], nn.Module]] = {"matrix": MatrixStitch, "vector": VectorStitch}


@ARCHITECTURES.register("cross-stitch", mark=5)
class CrossStitch(SharingPattern):
    """Cross-stitch: one backbone per task, and between successive stages a learned mixture of all tasks' features.

    Source: Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016, on the backbone of Liu, Johns &
    Davison, CVPR 2019 (github.com/lorenmt/mtan, ``im2im_pred/model_segnet_cross.py``).

    Stitches sit wherever a feature passes from one stage to the next: after pooling where the encoder pools, before
    unpooling in the decoder, which each stream does by its own indices. What the heads read is not stitched, nor are
    skip connections: each decoder reads its own encoder's features as they were before the stitch. The same rule gives
    a WRN three places: stem to group 1, 1 to 2, 2 to 3.

    Any task's output depends on all streams, so naming fewer tasks saves the last stage and head of the others only.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        stitch: ``matrix``, as in Misra et al.; ``vector``, as in the code of Liu et al.: all streams get one sum.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Misra, Shrivastava, Gupta, Hebert. Cross-Stitch Networks for Multi-Task Learning. CVPR 2016",
        "https://arxiv.org/abs/1604.03539",
        Flow(("task", "task"), "mixes"),
        "@inproceedings{misra2016cross, title={Cross-Stitch Networks for Multi-Task Learning}, author={Misra, Ishan "
        "and Shrivastava, Abhinav and Gupta, Abhinav and Hebert, Martial}, booktitle={IEEE Conference on Computer "
        "Vision and Pattern Recognition}, year={2016}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        stitch: str = "matrix",
        **backbone_options: Any,
    ) -> None:
        if stitch not in STITCHES:
            raise unknown("stitch", str(stitch), STITCHES)
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        self.streams = nn.ModuleList(nn.ModuleList(plan.build() for plan in self.stages) for _ in self.tasks)
        self.stitches = nn.ModuleList(STITCHES[stitch](len(self.tasks)) for _ in self.stages[1:])
        self.initialise(nn.init.xavier_uniform_)

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each chosen task's stream."""
        streams = cast(Sequence[Sequence[Stage]], self.streams)
        memories: list[Memory] = [[] for _ in self.tasks]
        xs = [images] * len(self.tasks)
        running: Sequence[int] = range(len(self.tasks))
        for s, plan in enumerate(self.stages):
            if s == len(self.stages) - 1:
                running = chosen
            if s > 0:
                xs = self.stitches[s - 1](xs, running)
            xs = [plan.enter(x, memories[k]) for k, x in zip(running, xs, strict=True)]
            xs = [streams[k][s](x) for k, x in zip(running, xs, strict=True)]
            xs = [plan.leave(x, memories[k]) for k, x in zip(running, xs, strict=True)]
        return xs

    def own(self, k: int) -> list[nn.Module]:
        """The last stage of the task's stream: all before is stitched into other streams."""
        return [cast(Sequence[nn.Module], self.streams[k])[-1]]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The last layers of all streams whose features the last stitch mixes.

        Of the stitch itself each row serves one task alone.
        """
        if len(self.tasks) == 1 or len(self.stages) < 2:
            return []
        last = [cast(Sequence[nn.Module], stream)[-2] for stream in self.streams]
        return [[p for p in stage.parameters() if p.ndim > 1][-1] for stage in last]
