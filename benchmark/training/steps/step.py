"""What all kinds of step share: forward passes, losses, and what a step is given and leaves for the record."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

from benchmark.model import Auxiliary, MultiTaskModel, Predictions
from benchmark.presence import Presence
from benchmark.training.batch import Batch
from benchmark.training.contract import check_predictions, check_values
from benchmark.training.diagnostics import gramian_of_losses
from benchmark.training.forward import losses_of, predict, scaled
from benchmark.training.gradients import by_sample
from benchmark.training.graphs.replay import OnDevice, eager
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import isolated
from benchmark.training.ownership import check_reach
from benchmark.weighting import Weighting

W = TypeVar("W", bound=Weighting | None)
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What a step leaves for the record, without graph.

    Attributes:
        losses: (K,); 0 for tasks that are absent.
        weights: (K,) NaN where the method has none, 0 for tasks that are absent.
        present: which tasks have a label in the batch.
        gramian: (K, K) inner products of the losses' gradients over the shared parameters in float64, where asked for.
    """

    losses: Tensor
    weights: Tensor
    present: Presence
    gramian: Tensor | None = None


@dataclass(frozen=True)
class StepContext:
    """What a step may need besides its batch.

    Attributes:
        other: the next batch of a split, by its name, for methods that look at a second one.
        learning_rate: the optimiser's at the moment.
        on_device: does what the device has to do between two calls of the weighting's rule.
    """

    other: Callable[[str], Batch]
    learning_rate: Callable[[], float]
    on_device: OnDevice = eager


class AuxiliaryLosses:
    """Losses of a step's auxiliary predictions, without graph, where recorded steps write them each time."""

    def __init__(self) -> None:
        #: By place in ``values``, the prediction's name and its task's.
        self.keys: list[tuple[str, str]] = []
        #: (A,) or None as long as there was none.
        self.values: Tensor | None = None

    def begin(self) -> None:
        """Forget those of the last step."""
        if self.values is not None:
            self.values.zero_()

    @torch.no_grad()
    def keep(self, predictions: Sequence[Auxiliary], losses: Sequence[Tensor], part: float) -> None:
        """Add the losses of a part of the step's batch, such as 1 for all of it."""
        found = part * torch.stack(list(losses))
        if self.values is None:
            self.keys = [(one.name, one.task) for one in predictions]
            self.values = torch.zeros_like(found)
        self.values += found


class Step(ABC, Generic[W]):
    """Sets every parameter's gradient from a batch. Gradients are unset when it is called."""

    def __init__(self, model: MultiTaskModel, weighting: W, hardware: Hardware, context: StepContext) -> None:
        self.model = model
        self.weighting = weighting
        self.hardware = hardware
        self.context = context
        self._checked = False
        self.auxiliary = AuxiliaryLosses()
        #: Whether the weighting's first weights are to be looked at, for which a GPU is waited for.
        self._unseen = True

    @abstractmethod
    def __call__(self, batch: Batch, diagnose: bool) -> Result:
        """One step, without that of the optimiser. ``diagnose`` asks for the Gramian."""

    def after(self, batch: Batch) -> None:
        """To be called after the optimiser's step."""

    def on_device(self, name: str, work: Callable[[Batch], T], batch: Batch) -> T:
        """What ``work`` makes of the batch, see ``OnDevice``."""
        return self.context.on_device(name, lambda *tensors: work(batch.with_tensors(tensors)), *batch.tensors())

    def forward_losses(self, batch: Batch) -> list[Tensor]:
        """K scalars of a forward pass in the model's present mode, each with nothing but its own graph."""
        return self.forward_pass(batch, 0.0)[0]

    def forward_pass(self, batch: Batch, part: float = 1.0) -> tuple[list[Tensor], Tensor | None]:
        """The same losses, and the network's regulariser where it has one.

        Args:
            batch: what is seen.
            part: of the step's batch, whose auxiliary losses are kept; 0 for passes beside it.
        """
        with self.hardware.saving():
            with self.hardware.autocast():
                predictions = predict(self.model, batch.images)
            losses = self.compute_losses(predictions, batch, part)
        self._check(losses)
        return losses, Predictions.of(predictions).regulariser

    def forward_pass_at_feature(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor], Tensor | None]:
        """The feature that feeds all heads, a leaf of the same values, K losses that are attached to the leaf, and the
        regulariser, likewise.
        """
        with self.hardware.saving():
            with self.hardware.autocast():
                images = scaled(cast(Tensor, batch.images), self.model.memory_format)
                feature = self.model.representation(images)
                leaf = by_sample(feature.detach()).requires_grad_()
                predictions = self.model.predict_at(leaf, images.shape[-2:])
            losses = self.compute_losses(predictions, batch, 1.0)
        self._check(losses, feature, leaf)
        return feature, leaf, losses, Predictions.of(predictions).regulariser

    def _check(self, losses: Sequence[Tensor], feature: Tensor | None = None, leaf: Tensor | None = None) -> None:
        """In the first step, see whether the network's declaration of its parameters holds."""
        if not self._checked and torch.is_grad_enabled():
            check_reach(self.model, losses, self.isolated, feature=feature, leaf=leaf)
            self._checked = True

    def compute_losses(self, predictions: Mapping[str, Tensor], batch: Batch, part: float = 0.0) -> list[Tensor]:
        """K scalars of predictions; ``part`` as for ``forward_pass``."""
        if not self._checked:
            check_predictions(self.model, predictions, batch.targets)
        losses, further = losses_of(self.model.tasks, predictions, batch.targets)
        if part and further:
            self.auxiliary.keep(Predictions.of(predictions).auxiliary, further, part)
        return losses

    def isolated(self) -> AbstractContextManager[None]:
        """The context of all that a sampled step does beyond its step: nothing of it is to be seen in the run."""
        return isolated(self.hardware, self.model, self.weighting)

    def check_values(self, rule: str, weights: Tensor, *given: Tensor, signed: bool = True) -> None:
        """In the first step, see whether a rule's weights are numbers; ``given`` is what it made them of."""
        if self._unseen and self.weighting is not None:
            check_values(self.weighting, weights, given, rule, signed=signed)
            self._unseen = False

    def gramian(self, losses: Sequence[Tensor]) -> Tensor | None:
        """See ``gramian_of_losses``."""
        with self.isolated():
            return gramian_of_losses(self.model, losses)


def learned_by_task(weighting: Weighting, count: int) -> list[Tensor]:
    """Gradients (K, …) of what a weighting learns by task."""
    found = [p.grad for p in weighting.parameters() if p.dim() and len(p) == count]
    return [gradient for gradient in found if gradient is not None]


def loss_values(losses: Sequence[Tensor]) -> Tensor:
    """(K,) K scalars without graph."""
    return torch.stack([loss.detach() for loss in losses])
