"""A branched network: a tree of stages that is given, whose branches part the tasks by and by."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.backbones import Memory, Stage, build_backbone
from benchmark.errors import UsageError
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


@ARCHITECTURES.register("branched", mark=16)
class Branched(SharingPattern):
    """Branched: tasks of one letter share a stage; once parted, they do not meet again.

    Source: Vandenhende et al., "Branched Multi-Task Networks: Deciding What Layers To Share", BMVC 2020, whose way to
    find a tree from single-task networks is ``baselines.architectures.affinity``.

    A branch reads what the stage before left, and the skips or indices of the branches that it came from. With all
    stages of one letter this is split, with all of different ones it is single-task networks.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        tree: a word for each stage, encoder first, with a letter for each task: ``aaa aaa aab abc`` parts the third
            task from the second stage on. Empty: the encoder (without a decoder, all of it but its last stage) is
            shared, and all else is each task's own.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Vandenhende, Georgoulis, De Brabandere, Van Gool. Branched Multi-Task Networks: Deciding What Layers To "
        "Share. BMVC 2020",
        "https://arxiv.org/abs/1904.02920",
        Flow(("task", "shared", "task"), "branches"),
        "@inproceedings{vandenhende2020branched, title={Branched Multi-Task Networks: Deciding What Layers To Share}, "
        "author={Vandenhende, Simon and Georgoulis, Stamatios and De Brabandere, Bert and Van Gool, Luc}, "
        "booktitle={British Machine Vision Conference}, year={2020}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        tree: str = "",
        **backbone_options: Any,
    ) -> None:
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        depth, count = len(self.backbone.encoder), len(self.stages)
        shared = depth if count > depth else depth - 1
        everyone = range(len(self.tasks))
        words: Sequence[Sequence[object]] = tree.split() or [
            [0 if s < shared else k for k in everyone] for s in range(count)
        ]
        if tree:
            check_tree(cast(Sequence[str], words), self.names, count)
        #: By stage, the number of each task's branch.
        self.branch_of = [[list(dict.fromkeys(word)).index(letter) for letter in word] for word in words]
        self.branches = nn.ModuleList(
            nn.ModuleList(plan.build() for _ in set(numbers))
            for plan, numbers in zip(self.stages, self.branch_of, strict=True)
        )
        self.initialise()

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each chosen task's branch; branches of no chosen task are left out."""
        streams: dict[int, tuple[Tensor, Memory]] = {}
        for s, (plan, numbers) in enumerate(zip(self.stages, self.branch_of, strict=True)):
            branches = cast(Sequence[Stage], self.branches[s])
            following: dict[int, tuple[Tensor, Memory]] = {}
            for k in chosen:
                if numbers[k] not in following:
                    x, left = streams[self.branch_of[s - 1][k]] if s else (images, [])
                    memory = list(left)
                    y = plan.leave(branches[numbers[k]](plan.enter(x, memory)), memory)
                    following[numbers[k]] = y, memory
            streams = following
        return [streams[self.branch_of[-1][k]][0] for k in chosen]

    def own(self, k: int) -> list[nn.Module]:
        """The branches of this task alone."""
        return [
            cast(Sequence[nn.Module], branches)[numbers[k]]
            for branches, numbers in zip(self.branches, self.branch_of, strict=True)
            if numbers.count(numbers[k]) == 1
        ]


def check_tree(words: Sequence[str], names: Sequence[str], stages: int) -> None:
    """Make sure that words are a tree over the tasks.

    Raises:
        UsageError: they are not.
    """
    if len(words) != stages or any(len(word) != len(names) for word in words):
        raise UsageError(
            f"'tree' has a word for each of the {stages} stages, each of {len(names)} letters, one for each task "
            f"({', '.join(names)}); found '{' '.join(words)}'"
        )
    for s, (before, after) in enumerate(pairwise(words), 2):
        for k, name in enumerate(names):
            for other in range(k):
                if before[k] != before[other] and after[k] == after[other]:
                    raise UsageError(
                        f"'tree' parts '{names[other]}' and '{name}' at stage {s - 1}, and they meet again at stage "
                        f"{s}: branches only part"
                    )
