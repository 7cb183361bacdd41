"""Models on data sets in which every task has its own pictures: statistics of each task's pictures apart."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.data import DataSet, PerTaskInputDataSet
from benchmark.data.dataset import Colours
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel
from benchmark.registry import ARCHITECTURES
from benchmark.runs.spec import RunSpec
from benchmark.weighting import GradientWeighting, Weighting


def check(spec: RunSpec, dataset: DataSet, weighting: Weighting | None) -> None:
    """Make sure that architecture and weighting can work where tasks have their own pictures.

    Raises:
        UsageError: one cannot.
    """
    if not isinstance(dataset, PerTaskInputDataSet):
        return
    if not ARCHITECTURES[spec.architecture.name].factory.separable:
        raise UsageError(
            f"'{spec.architecture.name}' needs all tasks' features of the same picture, but every task of "
            f"'{dataset.name}' has its own pictures; choose another architecture, such as split or mtan"
        )
    if isinstance(weighting, GradientWeighting) and weighting.on == "representation" and spec.weighting:
        raise UsageError(
            f"'{spec.weighting.name}' with on=representation needs one feature for all tasks, but every task of "
            f"'{dataset.name}' has its own pictures; use on=parameters"
        )


class StatisticsByTask(nn.Module):
    """A batch norm that keeps running statistics for each task apart and shares scale and shift.

    Normalised by the batch in training, as ever, which is one task's; in evaluation by the statistics of the task that
    ``current`` says. The authors of MTAN pass over each set's training pictures once more before they test on it, which
    comes to the same (Liu et al., CVPR 2019, Visual Decathlon).
    """

    scratch = ("current",)

    def __init__(self, norm: _BatchNorm, tasks: int) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.eps, self.momentum = norm.eps, norm.momentum
        self.current = 0
        for name in ("mean", "var"):
            start = cast(Tensor, getattr(norm, f"running_{name}"))
            self.register_buffer(name, start.detach().repeat(tasks, 1))  # (K, C)
        self.register_buffer("batches", torch.zeros(tasks, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …) -> the same shape."""
        k = self.current
        mean, var, batches = (cast(Tensor, getattr(self, name)) for name in ("mean", "var", "batches"))
        momentum = self.momentum
        if self.training:
            batches[k] += 1
            if momentum is None:  # torch's cumulative average
                momentum = 1 / int(batches[k])
        return F.batch_norm(
            x, mean[k], var[k], self.weight, self.bias, self.training, 0.0 if momentum is None else momentum, self.eps
        )


class PerTaskInputModel(MultiTaskModel):
    """A model that is called for one task at a time, with that task's pictures.

    Batch norms through which pictures of several tasks pass get statistics by task: those whose scale and shift are
    shared, or which have none. Those of a task's own modules see its pictures only and stay as they are; so do frozen
    ones.

    Args:
        model: changed in place.
        colours: see ``DataSet.colours``; left out where the model normalises pictures itself.
    """

    def __init__(self, model: MultiTaskModel, colours: Mapping[str, Colours]) -> None:
        super().__init__(model.tasks)
        self.model = model
        self.places = {task.name: k for k, task in enumerate(model.tasks)}
        shared = {id(p) for p in model.shared_parameters()}
        self.norms: list[StatisticsByTask] = []
        for name, module in list(model.named_modules()):
            if not isinstance(module, _BatchNorm) or not module.track_running_stats:
                continue
            if module.weight is None or (id(module.weight) in shared and module.weight.requires_grad):
                by_task = StatisticsByTask(module, len(model.tasks))
                model.set_submodule(name, by_task)
                self.norms.append(by_task)
        plain: Colours = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        known = {} if model.normalises else colours
        found = torch.tensor([known.get(task.name, plain) for task in model.tasks])  # (K, 2, 3)
        self.register_buffer("colours", found)

    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """See ``MultiTaskModel.forward``; ``tasks`` names the one whose pictures these are."""
        (name,) = self.places if tasks is None else tasks
        k = self.places[name]
        for norm in self.norms:
            norm.current = k
        mean, deviation = cast(Tensor, self.colours)[k, :, :, None, None]
        return self.model((images - mean) / deviation, [name])

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """The model's."""
        self.model.begin_epoch(epoch, epochs)

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """The model's."""
        return self.model.task_parameters(task)

    def shared_parameters(self) -> list[nn.Parameter]:
        """The model's."""
        return self.model.shared_parameters()

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The model's."""
        return self.model.last_shared_parameters()
