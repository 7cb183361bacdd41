"""LoRA: a frozen network that all tasks share, and low-rank updates of its layers that are trained."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from baselines.architectures.experts import check_count
from baselines.architectures.split import Split
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class LowRank(nn.Module):
    """W x + s B A x: a frozen layer W, A to ``rank`` channels by W's own kernel, B from these to W's outputs.

    B starts at zero, so that the layer starts as W.
    """

    def __init__(self, frozen: nn.Conv2d | nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.frozen, self.scale = frozen.requires_grad_(False), scale
        self.down: nn.Conv2d | nn.Linear
        self.up: nn.Conv2d | nn.Linear
        if isinstance(frozen, nn.Linear):
            self.down = nn.Linear(frozen.in_features, rank, bias=False)
            self.up = nn.Linear(rank, frozen.out_features, bias=False)
        else:
            shape: dict[str, Any] = {
                name: getattr(frozen, name) for name in ("kernel_size", "stride", "padding", "dilation")
            }
            self.down = nn.Conv2d(frozen.in_channels, rank, bias=False, **shape)
            self.up = nn.Conv2d(rank, frozen.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """As the frozen layer."""
        return self.frozen(x) + self.scale * self.up(self.down(x))


@ARCHITECTURES.register("lora", mark=19)
class LoRA(Split):
    """LoRA: split, whose network is frozen as it starts, but for low-rank updates of its layers and its norms.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022: a layer W x becomes
    W x + s B A x with W frozen, and B and A of rank r. A convolution's A keeps its kernel, and B is 1×1.

    It is meant for backbones that were trained before; over one that was not, random features are adapted.

    Deviations: all convolutions and linear layers of the network are updated, and its norms are trained, since their
    statistics move with the features. The updates are shared by all tasks; heads are each task's own.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        rank: r.
        scale: s, which the paper writes as α / r.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen. LoRA: Low-Rank Adaptation of Large Language Models. ICLR "
        "2022",
        "https://arxiv.org/abs/2106.09685",
        Flow(("shared",)),
        "@inproceedings{hu2022lora, title={LoRA: Low-Rank Adaptation of Large Language Models}, author={Hu, Edward J. "
        "and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi and Wang, Shean and Wang, Lu and "
        "Chen, Weizhu}, booktitle={International Conference on Learning Representations}, year={2022}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        rank: int = 4,
        scale: float = 1.0,
        **backbone_options: Any,
    ) -> None:
        check_count("rank", rank)
        super().__init__(tasks, width=width, backbone=backbone, **backbone_options)
        start = self.backbone.start or nn.init.xavier_normal_
        for name, module in list(self.trunk.named_modules()):
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                update = LowRank(module, rank, scale)
                start(update.down.weight)
                nn.init.zeros_(update.up.weight)
                self.trunk.set_submodule(name, update)
