"""CGC and PLE: experts of each task's own beside shared ones, at one level or at several."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from baselines.architectures.experts import ExpertPattern, Gate, check_count, mixed, pooled
from baselines.backbones import Memory, StagePlan, build_backbone
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class Level(nn.Module):
    """One extraction network: copies of a stage for each task and for all, and gates that mix what they give.

    Args:
        plan: of the stage.
        inputs: channels of what the gates read.
        tasks: K.
        own: experts of each task's own.
        shared: experts of all.
        last: without the gate of the shared stream, which nothing would read.
    """

    def __init__(self, plan: StagePlan, inputs: int, tasks: int, *, own: int, shared: int, last: bool) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.ModuleList(plan.build() for _ in range(own)) for _ in range(tasks))
        self.common = nn.ModuleList(plan.build() for _ in range(shared))
        self.gates = nn.ModuleList(Gate(inputs, own + shared) for _ in range(tasks))
        self.gate = None if last else Gate(inputs, tasks * own + shared)

    def forward(self, entered: Sequence[Tensor], summaries: Sequence[Tensor], chosen: Sequence[int]) -> list[Tensor]:
        """What the streams read next.

        Args:
            entered: what enters the experts of the ``chosen`` tasks, and last the shared ones.
            summaries: (B, inputs) what the gates read, likewise.
            chosen: all tasks, but at the last level.

        Returns:
            The mixtures of the chosen tasks, and of the shared stream but at the last level.
        """
        experts = cast(Sequence[Sequence[nn.Module]], self.experts)
        common = [expert(entered[-1]) for expert in self.common]
        own = [[expert(x) for expert in experts[k]] for k, x in zip(chosen, entered[:-1], strict=True)]
        found = [
            mixed(self.gates[k](x), [*outputs, *common])
            for k, x, outputs in zip(chosen, summaries[:-1], own, strict=True)
        ]
        if self.gate is not None:
            found.append(mixed(self.gate(summaries[-1]), [*(y for outputs in own for y in outputs), *common]))
        return found


@ARCHITECTURES.register("cgc", mark=10, levels=1)
@ARCHITECTURES.register("ple", mark=11)
class ProgressiveExtraction(ExpertPattern):
    """PLE: at every level each task mixes experts of its own with shared ones; CGC is PLE of one level.

    Source: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
    Recommendations", RecSys 2020. At level j the experts of task k read its mixture of level j − 1, the shared ones the
    shared mixture; the gate of task k, softmax(W x), mixes its own experts with the shared ones, and the shared gate
    all experts of all tasks. The last level has no shared gate.

    Over a backbone, the experts of the last ``levels`` encoder stages are copies of these stages; before them is one
    trunk, after them each task's tower. Each expert is computed once.

    Deviations: gates read what enters a level pooled over the picture (the paper's features are vectors), with a bias.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        levels: extraction networks in a row.
        own_experts: of each task, at each level.
        shared_experts: of all tasks, at each level.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Tang, Liu, Zhao, Gong. Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for "
        "Personalized Recommendations. RecSys 2020",
        "https://dl.acm.org/doi/10.1145/3383313.3412236",
        Flow(("task", "shared", "task"), "gates"),
        "@inproceedings{tang2020progressive, title={Progressive Layered Extraction (PLE): A Novel Multi-Task Learning "
        "(MTL) Model for Personalized Recommendations}, author={Tang, Hongyan and Liu, Junning and Zhao, Ming and "
        "Gong, Xudong}, booktitle={ACM Conference on Recommender Systems}, year={2020}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        levels: int = 2,
        own_experts: int = 1,
        shared_experts: int = 1,
        **backbone_options: Any,
    ) -> None:
        for name, value in (("levels", levels), ("own_experts", own_experts), ("shared_experts", shared_experts)):
            check_count(name, value)
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options), levels)
        plans = self.stages[self.first - 1 : self.depth]
        self.levels = nn.ModuleList(
            Level(plan, before.outputs, len(self.tasks), own=own_experts, shared=shared_experts, last=j == levels)
            for j, (before, plan) in enumerate(pairwise(plans), 1)
        )
        self.initialise()

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each chosen task's tower."""
        memory: Memory = []
        x = self.run(self.trunk, images, memory)
        everyone = range(len(self.tasks))
        streams, memories = [x] * (len(self.tasks) + 1), [list(memory) for _ in range(len(self.tasks) + 1)]
        for plan, level in zip(self.stages[self.first : self.depth], cast(Sequence[Level], self.levels), strict=True):
            last = level.gate is None
            running = [*(chosen if last else everyone), len(self.tasks)]
            streams, memories = [streams[k] for k in running], [memories[k] for k in running]
            summaries = [pooled(stream) for stream in streams]
            entered = [plan.enter(stream, own) for stream, own in zip(streams, memories, strict=True)]
            mixtures = level(entered, summaries, running[:-1])
            streams = [plan.leave(y, own) for y, own in zip(mixtures, memories, strict=False)]
        return [self.towered(k, y, own) for k, y, own in zip(chosen, streams, memories, strict=False)]

    def own(self, k: int) -> list[nn.Module]:
        """The tower, the experts of the last level, and the gates of the last two.

        All before reaches other tasks through the shared mixtures.
        """
        levels = cast(Sequence[Level], self.levels)
        return [self.towers[k], levels[-1].experts[k], *(level.gates[k] for level in list(levels)[-2:])]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The last layers of the last level's shared experts."""
        if len(self.tasks) == 1:
            return []
        common = cast(Sequence[Level], self.levels)[-1].common
        return [[p for p in expert.parameters() if p.ndim > 1][-1] for expert in common]
