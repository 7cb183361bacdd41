"""Multi-gate Mixture-of-Experts: experts for all, and a gate of each task's own that mixes them."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines.architectures.experts import ExpertPattern, Gate, check_count, mixed, pooled
from baselines.backbones import Memory, build_backbone
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


@ARCHITECTURES.register("mmoe", mark=8)
class MMoE(ExpertPattern):
    """MMoE: each task's tower reads a mixture of shared experts, whose weights a gate of its own chooses by picture.

    Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD
    2018: f_k(x) = Σₑ g_k(x)ₑ fₑ(x) with g_k(x) = softmax(W_k x), and y_k = h_k(f_k(x)).

    Over a backbone, the experts fₑ are copies of the encoder's last stage, x is the feature that enters them, and the
    tower h_k is the decoder, where there is one, and the head. Experts are computed once for all tasks.

    Deviations: the gate reads x pooled over the picture (the paper's x is a vector), and has a bias.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        experts: how many.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Ma, Zhao, Yi, Chen, Hong, Chi. Modeling Task Relationships in Multi-task Learning with Multi-gate "
        "Mixture-of-Experts. KDD 2018",
        "https://dl.acm.org/doi/10.1145/3219819.3220007",
        Flow(("shared", "shared"), "gates"),
        "@inproceedings{ma2018modeling, title={Modeling Task Relationships in Multi-task Learning with Multi-gate "
        "Mixture-of-Experts}, author={Ma, Jiaqi and Zhao, Zhe and Yi, Xinyang and Chen, Jilin and Hong, Lichan and "
        "Chi, Ed H.}, booktitle={ACM SIGKDD International Conference on Knowledge Discovery and Data Mining}, "
        "year={2018}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        experts: int = 4,
        **backbone_options: Any,
    ) -> None:
        check_count("experts", experts)
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options), levels=1)
        plan = self.stages[self.first]
        self.experts = nn.ModuleList(plan.build() for _ in range(experts))
        self.gates = nn.ModuleList(self.gate(self.stages[self.first - 1].outputs, experts) for _ in tasks)
        self.initialise()

    def gate(self, inputs: int, experts: int) -> nn.Module:
        """What gives the experts' weights (B, experts), from a pooled feature (B, inputs)."""
        return Gate(inputs, experts)

    def shared_feature(self, images: Tensor) -> tuple[Tensor, Memory]:
        """What enters the experts and the gates, and what the trunk leaves for decoders."""
        memory: Memory = []
        return self.run(self.trunk, images, memory), memory

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each chosen task's tower."""
        x, memory = self.shared_feature(images)
        summary = pooled(x)
        return self.mixtures(x, memory, [self.gates[k](summary) for k in chosen], chosen)

    def mixtures(self, x: Tensor, memory: Memory, weights: Sequence[Tensor], chosen: Sequence[int]) -> list[Tensor]:
        """The same from the trunk's feature and the chosen tasks' weights (B, experts)."""
        plan = self.stages[self.first]
        entered = plan.enter(x, memory)
        outputs = [expert(entered) for expert in self.experts]
        found = []
        for k, gate in zip(chosen, weights, strict=True):
            own = list(memory)
            found.append(self.towered(k, plan.leave(mixed(gate, outputs), own), own))
        return found

    def own(self, k: int) -> list[nn.Module]:
        """The task's gate and tower."""
        return [self.gates[k], self.towers[k]]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The last layers of all experts."""
        if len(self.tasks) == 1:
            return []
        return [[p for p in expert.parameters() if p.ndim > 1][-1] for expert in self.experts]
