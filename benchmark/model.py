"""The contract of an architecture: one module that predicts several tasks and says which parameters they share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from benchmark.registry import ARCHITECTURES
from benchmark.tasks import Task, check_tasks


@dataclass(frozen=True)
class Flow:
    """How features flow, as far as a small picture of two tasks tells.

    Attributes:
        lanes: rows of stages from top to bottom, each of both tasks or of one.
        links: what passes besides each lane's own features: nothing; ``feeds``, after every stage the shared features
            to the tasks' lanes; ``masks``, the same at every stage through masks; ``own masks``, each lane's features
            from stage to stage through masks; ``mixes``, after every stage a mixture of all lanes' features to each;
            ``gates``, to each head a mixture of its own and the shared lanes' features; ``branches``, the shared lane
            ends where the tasks' lanes begin; ``exchanges``, the same, and these tell each other something;
            ``filters``, nothing, but the lanes share their filters.
    """

    lanes: tuple[Literal["shared", "task"], ...]
    links: Literal["none", "feeds", "masks", "own masks", "mixes", "gates", "branches", "exchanges", "filters"] = "none"


@dataclass(frozen=True)
class ArchitectureCard:
    """What a reader must know of an architecture besides what its class says.

    Attributes:
        paper: authors, title, venue and year.
        url: of the paper.
        flow: how features flow; None draws nothing.
        bibtex: the paper's entry.
    """

    paper: str
    url: str = ""
    flow: Flow | None = None
    bibtex: str = ""


@dataclass(frozen=True)
class Auxiliary:
    """A further prediction of a task, made in training alone, whose loss is part of the task's.

    Attributes:
        name: what it is called, such as ``scale 2``; of one task's no two alike.
        task: whose target it is held against.
        prediction: a head's raw output, (B, channels, h, w) of any height and width for dense kinds, (B, channels) for
            others. It is brought to the target's size, bilinearly, and finished by the kind before the kind's loss.
        weight: of its loss in that of the task, from 0; where it changes, a scalar buffer.
    """

    name: str
    task: str
    prediction: Tensor
    weight: float | Tensor = 1.0


class Predictions(dict[str, Tensor]):
    """Predictions by task, and what else ``forward`` gives in training.

    Args:
        predictions: by task.
        auxiliary: further ones, see ``Auxiliary``.
        regulariser: a scalar with graph that is no task's loss, of what the named tasks use. Whatever the weighting,
            every trained parameter's gradient gets its own once, unweighted, after all that weightings do; no weighting
            and no diagnostic sees it. Where tasks have their own pictures, ``forward`` is called once for each, and the
            regularisers are summed.
    """

    def __init__(
        self,
        predictions: Mapping[str, Tensor],
        auxiliary: Iterable[Auxiliary] = (),
        regulariser: Tensor | None = None,
    ) -> None:
        super().__init__(predictions)
        self.auxiliary = tuple(auxiliary)
        self.regulariser = regulariser

    @classmethod
    def of(cls, predictions: Mapping[str, Tensor]) -> "Predictions":
        """What ``forward`` gave, which may be a plain dict."""
        return predictions if isinstance(predictions, cls) else cls(predictions)


class MultiTaskModel(nn.Module, ABC):
    """A network for K tasks.

    A subclass registers itself with ``ARCHITECTURES``; its constructor takes ``tasks`` and keyword-only options, among
    them ``width``, the channels of the backbone's first level.

    Where one shared feature feeds all heads, and nothing else shared does, a subclass may also define
    ``representation`` and ``predict``, and say so by ``has_representation``.

    What a subclass freezes (``requires_grad_(False)``) stays as it is, and counts among the parameters all the same.
    """

    #: False where no parameter serves two tasks: then there is nothing to weight.
    shares: ClassVar[bool] = True
    #: True for the architecture that Δm is taken against: it trains every task alone, on the plain backbone.
    reference: ClassVar[bool] = False
    #: False where a task's prediction needs other tasks' features of the same picture, so that tasks with pictures of
    #: their own cannot be trained: ``forward`` is then called once per task, with its pictures.
    separable: ClassVar[bool] = True
    #: Whether ``representation`` and ``predict`` are defined.
    has_representation: ClassVar[bool] = False
    card: ClassVar[ArchitectureCard | None] = None
    #: Names of attributes that change, and that no later step reads. All others that do are parameters or buffers, for
    #: checkpoints hold nothing else.
    scratch: ClassVar[tuple[str, ...]] = ()
    #: Whether the network normalises pictures itself: a data set's own means and deviations are then left out.
    normalises: bool = False
    #: Of the pictures that the network is given, see ``benchmark.training.layout``.
    memory_format: torch.memory_format = torch.channels_last

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @classmethod
    def packages(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Installed distributions, besides the suite's own and torch, whose code decides the numbers.

        Their versions stand in the provenance of records, and a run goes on from a checkpoint with the same ones alone.

        Args:
            options: of the architecture.
        """
        return ()

    @abstractmethod
    def forward(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Predict.

        Args:
            images: (B, 3, H, W) in [0, 1].
            tasks: names of the tasks to predict; all when None.

        Returns:
            Each task's prediction, finished by its kind (``Task.finish``): (B, channels, H, W) for dense kinds,
            (B, channels) for kinds that judge the whole picture. In training mode it may be ``Predictions``, with
            auxiliary ones and a regulariser; evaluation reads the tasks' own alone.
        """

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Told before every epoch, in training: where a temperature or another schedule is set.

        What it sets are buffers, which it writes to in place (``buffer.fill_(…)``): checkpoints hold nothing else, and
        recorded steps read where a buffer lay. The constructor leaves them as they are to be in epoch 0.

        Args:
            epoch: epochs done, from 0.
            epochs: of the run.
        """

    def representation(self, images: Tensor) -> Tensor:
        """The one feature through which all shared parameters reach the losses. (B, 3, H, W) -> (B, …)."""
        raise TypeError(f"{type(self).__name__} has no single feature that feeds all heads")

    def predict(self, representation: Tensor, tasks: Iterable[str] | None = None) -> dict[str, Tensor]:
        """What ``forward`` makes of the feature: ``forward(images)`` is ``predict(representation(images))``."""
        raise TypeError(f"{type(self).__name__} has no single feature that feeds all heads")

    def predict_at(self, representation: Tensor, size: torch.Size) -> dict[str, Tensor]:
        """All tasks' predictions at the height and width of the pictures.

        To be overridden where the feature is smaller than the pictures and does not tell their size.
        """
        return self.predict(representation)

    def attention_masks(self, images: Tensor, tasks: Iterable[str] | None = None) -> dict[str, dict[str, Tensor]]:
        """What an architecture whose tasks attend to parts of shared features lets through; empty for all others.

        Optional, and for pictures only: no number depends on it. It is asked in evaluation mode, without gradients.

        Args:
            images: (B, 3, H, W) in [0, 1].
            tasks: names of the tasks to tell of; all when None.

        Returns:
            By task, and by name of the level in the order in which features pass them, such as ``encoder 1``: the mask
            (B, C, h, w) in [0, 1], one map for each channel of the feature that it multiplies, of that feature's size.
        """
        return {}

    @abstractmethod
    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """The parameters that the loss of ``task`` alone reaches."""

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that the losses of more than one task reach: all that are no task's own."""
        own = {id(p) for task in self.tasks for p in self.task_parameters(task.name)}
        return [p for p in self.parameters() if id(p) not in own]

    def last_shared_parameters(self) -> list[nn.Parameter]:
        """The weights of the last shared layer, where the lengths of gradients are balanced.

        By default the last shared parameter that is trained and has two or more dimensions, in the order of
        ``parameters``; where none has, the last that is trained. Empty where nothing is shared.
        """
        shared = trained(self.shared_parameters())
        return ([p for p in shared if p.ndim > 1] or shared)[-1:]


ARCHITECTURES.contract = MultiTaskModel


def trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """The parameters without those that are frozen, which require no gradients."""
    return [parameter for parameter in parameters if parameter.requires_grad]


def build_model(architecture: str, tasks: Sequence[Task], **options: Any) -> MultiTaskModel:
    """Build a registered architecture for ``tasks``, freshly initialised from torch's current generator.

    Args:
        architecture: a registered name, such as ``mtan``.
        tasks: what to predict.
        options: the architecture's own, such as ``width`` (64) and ``backbone`` (``segnet``).

    Raises:
        UsageError: the name or an option is unknown, and the message lists the known ones; or two tasks have one name.
    """
    check_tasks(f"'{architecture}'", tasks)
    return cast(MultiTaskModel, ARCHITECTURES[architecture].build(tasks, **options))
