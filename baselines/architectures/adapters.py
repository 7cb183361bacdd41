"""Parallel residual adapters: shared filters, beside each of which every task has a 1×1 convolution of its own."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from baselines.architectures.pattern import SharingPattern
from baselines.backbones import build_backbone
from benchmark.model import ArchitectureCard, Flow
from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task


class Adapted(nn.Module):
    """f ∗ x + α_k ∗ x with filters f that all tasks have in common, and 1×1 filters α_k of one task."""

    def __init__(self, shared: nn.Conv2d) -> None:
        super().__init__()
        self.shared = shared
        self.own = nn.Conv2d(shared.in_channels, shared.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, …)."""
        rows, columns = self.shared.stride
        # The stride is taken before the 1×1 convolution, see ``backbones.wrn``.
        return self.shared(x) + self.own(x[..., ::rows, ::columns])


def takes_adapter(module: nn.Module) -> bool:
    """Whether a convolution has filters larger than 1×1, of all channels, that keep the map's size but for a stride."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size != (1, 1)
        and module.groups == 1
        and not isinstance(module.padding, str)
        and all(
            2 * p == d * (k - 1) for p, d, k in zip(module.padding, module.dilation, module.kernel_size, strict=True)
        )
    )


def adapted(stage: nn.Module) -> nn.Module:
    """A copy with the same filters, an adapter beside each, and all else, such as batch norms, of its own."""
    filters = [module for module in stage.modules() if takes_adapter(module)]
    own = copy.deepcopy(stage, {id(module): module for module in filters})
    for name, module in list(own.named_modules()):
        if any(module is one for one in filters):
            own.set_submodule(name, Adapted(cast(nn.Conv2d, module)))
    return own


@ARCHITECTURES.register("adapters", mark=18)
class Adapters(SharingPattern):
    """Adapters: one network's filters for all tasks, with 1×1 filters in parallel and batch norms for each.

    Source: Rebuffi, Bilen & Vedaldi, "Efficient Parametrization of Multi-domain Deep Neural Networks", CVPR 2018: each
    convolution becomes f ∗ x + α_k ∗ x, and batch norms are each task's own.

    Over a backbone, every convolution with filters larger than 1×1 gets an adapter. Features are a task's own from the
    first stage on, so that each task passes through all stages.

    Deviations: adapters start at zero, as the shared network. Filters are trained with all tasks unless ``freeze`` is
    set, where the authors train them on one large data set before, and freeze them.

    Args:
        tasks: what to predict.
        width: channels of the backbone's first level.
        backbone, backbone_options: see ``build_backbone``.
        freeze: leave the shared filters as they start, for backbones that were trained before.
    """

    card: ClassVar[ArchitectureCard | None] = ArchitectureCard(
        "Rebuffi, Bilen, Vedaldi. Efficient Parametrization of Multi-domain Deep Neural Networks. CVPR 2018",
        "https://arxiv.org/abs/1803.10082",
        Flow(("task", "task"), "filters"),
        "@inproceedings{rebuffi2018efficient, title={Efficient Parametrization of Multi-domain Deep Neural Networks}, "
        "author={Rebuffi, Sylvestre-Alvise and Bilen, Hakan and Vedaldi, Andrea}, booktitle={IEEE/CVF Conference on "
        "Computer Vision and Pattern Recognition}, year={2018}}",
    )

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        width: int = 64,
        backbone: str = "segnet",
        freeze: bool = False,
        **backbone_options: Any,
    ) -> None:
        super().__init__(tasks, build_backbone(backbone, width, **backbone_options))
        built = [plan.build() for plan in self.stages]
        self.filters = nn.ModuleList(module for stage in built for module in stage.modules() if takes_adapter(module))
        self.streams = nn.ModuleList(nn.ModuleList(adapted(stage) for stage in built) for _ in self.tasks)
        self.initialise()
        for module in self.modules():
            if isinstance(module, Adapted):
                for parameter in module.own.parameters():
                    nn.init.zeros_(parameter)
        if freeze:
            self.filters.requires_grad_(False)

    def features(self, images: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The last feature of each chosen task's stream."""
        return [self.run(cast(Sequence[nn.Module], self.streams[k]), images, []) for k in chosen]

    def own(self, k: int) -> list[nn.Module]:
        """The task's stream, which holds the shared filters too."""
        return [self.streams[k]]

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """See ``MultiTaskModel.task_parameters``."""
        shared = {id(p) for p in self.filters.parameters()} if len(self.tasks) > 1 else set()
        return [p for p in super().task_parameters(task) if id(p) not in shared]
