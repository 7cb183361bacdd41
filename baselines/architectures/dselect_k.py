"""DSelect-k: MMoE whose gates choose k experts, by a smooth function that reaches 0 and 1."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from baselines.architectures.experts import check_count, pooled
from baselines.architectures.mmoe import MMoE
from benchmark.errors import UsageError
from benchmark.model import ArchitectureCard, Flow, Predictions
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task

#: Below this no logarithm is taken, nor divided.
SMALL = 1e-6


def smooth_step(t: Tensor, gamma: float) -> Tensor:
    """S(t): 0 up to −γ/2, 1 from γ/2, between them the cubic −2t³/γ³ + 3t/(2γ) + ½, with slope 0 at both ends."""
    cubic = -2 / gamma**3 * t * t * t + 3 / (2 * gamma) * t + 0.5
    return torch.where(t <= -gamma / 2, 0.0, torch.where(t >= gamma / 2, 1.0, cubic))


class SelectingGate(nn.Module):
    """q(x) = Σᵢ softmax(α)ᵢ r(zᵢ), i = 1 … k, with α and the codes zᵢ linear in a pooled feature x.

    The selector r(z)ₑ = Πⱼ S(zⱼ) or 1 − S(zⱼ), as bit j of e is 1 or 0, is one expert where S gives whole bits.
    """

    def __init__(self, inputs: int, experts: int, selected: int, gamma: float) -> None:
        super().__init__()
        self.selected, self.gamma = selected, gamma
        self.bits = max(1, math.ceil(math.log2(experts)))
        self.codes = nn.Linear(inputs, selected * self.bits)
        self.weights = nn.Linear(inputs, selected)
        binary = torch.tensor([[e >> j & 1 for j in range(self.bits)] for e in range(experts)], dtype=torch.bool)
        self.register_buffer("binary", binary, persistent=False)  # (E, bits)

    def initialise(self) -> None:
        """Codes start near 0, where all experts have the same weight."""
        nn.init.uniform_(self.codes.weight, -self.gamma / 100, self.gamma / 100)

    def selectors(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, k, E) the r(zᵢ)."""
        steps = smooth_step(self.codes(x).unflatten(1, (self.selected, 1, self.bits)), self.gamma)  # (B, k, 1, bits)
        first, *others = torch.where(cast(Tensor, self.binary), steps, 1 - steps).unbind(-1)
        for other in others:  # torch's own product waits for a GPU in its backward pass
            first = first * other
        return first

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, E) the experts' weights."""
        return (self.weights(x).softmax(1)[:, :, None] * self.selectors(x)).sum(1)

    def term(self, x: Tensor) -> Tensor:
        """What pushes the codes of a pooled feature (B, inputs) to whole bits, a scalar.

        That is the mean over the pictures of Σᵢ H(r(zᵢ)), and of Σᵢ 1 / Σₑ r(zᵢ)ₑ where the number of experts is no
        power of two, so that codes of no expert are left.
        """
        chosen = self.selectors(x)
        term = -(chosen * (chosen + SMALL).log()).sum((1, 2)).mean()
        if len(cast(Tensor, self.binary)) < 2**self.bits:
            term = term + (1 / (chosen.sum(2) + SMALL)).sum(1).mean()
        return term


@ARCHITECTURES.register("dselect-k", mark=9)
class DSelectK(MMoE):
    """DSelect-k: MMoE in which each task's gate comes to choose ``selected`` of the experts, by gradients alone.

    Source: Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to
    Multi-Task Learning", NeurIPS 2021 (its gate by example; code in google-research/dselect_k_moe). The entropy of all
    tasks' selectors, times ``entropy``, is the architecture's regulariser: it is no task's loss, and no weighting
    weights it.

    Deviations: as MMoE's. ``entropy`` is tuned in the paper; its default here is ours.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        experts: how many.
        selected: k, how many of them a task chooses.
        gamma: γ, the width of the smooth step.
        entropy: λ, the weight of the selectors' entropy.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Hazimeh, Zhao, Chowdhery, Sathiamoorthy, Chen, Mazumder, Hong, Chi. DSelect-k: Differentiable Selection in "
        "the Mixture of Experts with Applications to Multi-Task Learning. NeurIPS 2021",
        "https://arxiv.org/abs/2106.03760",
        Flow(("shared", "shared"), "gates"),
        "@inproceedings{hazimeh2021dselect, title={DSelect-k: Differentiable Selection in the Mixture of Experts with "
        "Applications to Multi-Task Learning}, author={Hazimeh, Hussein and Zhao, Zhe and Chowdhery, Aakanksha and "
        "Sathiamoorthy, Maheswaran and Chen, Yihua and Mazumder, Rahul and Hong, Lichan and Chi, Ed H.}, "
        "booktitle={Advances in Neural Information Processing Systems}, year={2021}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        experts: int = 4,
        selected: int = 2,
        gamma: float = 1.0,
        entropy: float = 0.01,
        **backbone_options: Any,
    ) -> None:
        check_count("selected", selected)
        check_count("experts", experts, selected)
        if not gamma > 0 or not entropy >= 0:
            raise UsageError(f"'gamma' is above 0 and 'entropy' at least 0; found {gamma} and {entropy}")
        self.selected, self.gamma, self.entropy = selected, gamma, entropy
        super().__init__(tasks, width=width, backbone=backbone, experts=experts, **backbone_options)
        for gate in self.gates:
            cast(SelectingGate, gate).initialise()

    def gate(self, inputs: int, experts: int) -> nn.Module:
        """See ``MMoE.gate``."""
        return SelectingGate(inputs, experts, self.selected, self.gamma)

    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """See ``MultiTaskModel.forward``; in training, the regulariser is the named tasks'."""
        chosen = self.chosen(images, tasks)
        x, memory = self.shared_feature(images)
        summary = pooled(x)
        gates = [cast(SelectingGate, self.gates[k]) for k in chosen]
        features = self.mixtures(x, memory, [gate(summary) for gate in gates], chosen)
        found = self.decide(features, chosen, images.shape[-2:])
        if not self.training:
            return found
        return Predictions(found, regulariser=self.entropy * torch.stack([gate.term(summary) for gate in gates]).sum())
