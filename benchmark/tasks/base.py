"""What a task is, and what each kind of task must define."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import unknown
from benchmark.registry import TABLES
from benchmark.tasks.geometry import Zoom

#: Batch size over which the papers' scripts average depth and normal metrics.
LEGACY_BATCH = 2


@dataclass(frozen=True)
class Metric:
    """A number that judges one task on one split.

    Attributes:
        name: key in records and data frames.
        title: heading in tables.
        unit: ``%``, ``m``, ``°`` or empty.
        higher_is_better: the direction.
        definition: exact definition in one sentence.
        legacy: the definition of the papers' scripts, which depends on how the split was cut into batches; shown
            only beside old tables and never part of Δm.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    definition: str
    legacy: bool = False


class Accumulator(ABC):
    """Collects the statistics of one pass over one split; make a new one for each pass.

    ``update`` runs on the device without waiting for it; ``compute`` does the waiting.
    """

    @abstractmethod
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch. Successive batches hold the split's samples in order, in any batch size."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Every metric of the kind, by name; NaN where the split holds no valid target."""


@dataclass(frozen=True)
class Stored:
    """How one array of a prepared data set is stored, and what its values mean.

    Attributes:
        dtype: NumPy's name of the type.
        shape: of one sample.
        unit: of the values, such as ``m``; empty for plain numbers.
        low, high: range of the valid values, both included.
        invalid: the value that stands for "unknown"; None where every value is known.
        unit_vectors: whether the first axis holds the components of unit vectors.
    """

    dtype: str
    shape: tuple[int, ...]
    unit: str
    low: float
    high: float
    invalid: float | None = None
    unit_vectors: bool = False


class TaskKind(ABC):
    """One kind of task: loss, metrics, how targets are stored, drawn and augmented. Each is one file of this package.

    The two ways of augmentation have defaults that hold for targets which are no directions, lengths or positions.
    """

    name: ClassVar[str]
    #: True where every pixel is predicted, False where the whole picture is judged.
    dense: ClassVar[bool]
    metrics: ClassVar[tuple[Metric, ...]]
    #: True where a target of an enlarged part of the picture can be right only if the camera is known.
    needs_camera: ClassVar[bool] = False

    def finish(self, raw: Tensor) -> Tensor:
        """Turn a head's raw output into a prediction. (B, channels, …) -> the same shape."""
        return raw

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean loss over the batch's valid targets, a scalar in float32; zero, with a graph, where none is valid."""

    @abstractmethod
    def accumulator(self, channels: int, device: torch.device) -> Accumulator:
        """A fresh accumulator of all ``metrics``."""

    def flip(self, target: Tensor) -> Tensor:
        """Stored targets (B, …) of the pictures mirrored left to right."""
        return target.flip(-1) if self.dense else target

    def zoom(self, target: Tensor, zoom: Zoom) -> Tensor:
        """Stored targets (B, …) of enlarged parts of the pictures. Nothing is mixed: neighbours may be unknown."""
        return zoom.nearest(target) if self.dense else target

    @abstractmethod
    def decide(self, prediction: Tensor) -> Tensor:
        """The prediction in the form in which targets are stored (class ids, metres, unit vectors)."""

    def stored(self, channels: int, size: tuple[int, int]) -> Stored | None:
        """How a target of pictures of ``size`` (height, width) is stored; None where the kind does not say."""
        return None

    def undecide(self, decided: Tensor, channels: int) -> Tensor:
        """A prediction that ``decide`` turns into ``decided``, so that metrics can be recomputed from what was kept.

        Right for kinds that only round; kinds whose decision is a class override it.

        Raises:
            ValueError: the values cannot be decisions of this kind.
        """
        return decided.float()

    def blind(self, truths: Tensor, channels: int) -> Tensor | None:
        """The prediction of whoever knows the training split and does not look at the picture: a set's floor.

        Args:
            truths: all stored targets of the training split, (N, …); of dense kinds perhaps of some rows alone.
            channels: of the task.

        Returns:
            (1, channels, …), in the form of a prediction; None where the kind knows none.
        """
        return None

    @abstractmethod
    def draw(self, values: np.ndarray) -> np.ndarray | None:
        """One picture's stored target or decision as RGB (H, W, 3) uint8; None where there is nothing to draw."""


KINDS: dict[str, TaskKind] = {}
TABLES.append(KINDS)


def register_kind(kind: type[TaskKind]) -> type[TaskKind]:
    """Class decorator: makes a kind of task known by its ``name``."""
    if kind.name in KINDS:
        raise ValueError(f"the kind of task '{kind.name}' is registered already")
    KINDS[kind.name] = kind()
    return kind


def one_hot(classes: Tensor, channels: int) -> Tensor:
    """(B, …) class ids -> (B, channels, …), 1 for the class.

    Raises:
        ValueError: an id is no class.
    """
    if classes.dtype.is_floating_point or (
        classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < channels
    ):
        raise ValueError(f"classes must be whole numbers from 0 to {channels - 1}")
    return F.one_hot(classes.long(), channels).movedim(-1, 1).float()


@dataclass(frozen=True)
class Task:
    """One thing to predict.

    Attributes:
        name: unique within a data set.
        kind: ``segmentation``, ``depth``, ``normals`` or ``classification``.
        channels: outputs of the head: the number of classes, 1 for depth, 3 for normals.
        classes: names of the classes, where there are any.
    """

    name: str
    kind: str
    channels: int
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of task", self.kind, KINDS)
        if self.channels < 1:
            raise ValueError(f"task '{self.name}' needs at least 1 channel, not {self.channels}")
        if self.classes and len(self.classes) != self.channels:
            raise ValueError(f"task '{self.name}' names {len(self.classes)} classes but has {self.channels} channels")

    @property
    def definition(self) -> TaskKind:
        """The task's kind."""
        return KINDS[self.kind]

    @property
    def dense(self) -> bool:
        """Whether every pixel is predicted."""
        return self.definition.dense

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the task's kind, legacy twins included."""
        return self.definition.metrics

    def stored(self, size: tuple[int, int]) -> Stored | None:
        """See ``TaskKind.stored``."""
        return self.definition.stored(self.channels, size)

    def finish(self, raw: Tensor) -> Tensor:
        """See ``TaskKind.finish``."""
        return self.definition.finish(raw)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """See ``TaskKind.loss``."""
        return self.definition.loss(prediction, target)

    def accumulator(self, device: torch.device) -> Accumulator:
        """See ``TaskKind.accumulator``."""
        return self.definition.accumulator(self.channels, device)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of ``values`` where ``valid``; zero, with a graph, where nothing is. Never waits for the device."""
    return torch.where(valid, values, 0).sum() / valid.sum().clamp(min=1)


def legacy_batches(per_image: Tensor) -> Tensor:
    """Sum per-image statistics over successive batches of ``LEGACY_BATCH``. (N, …) -> (⌈N / 2⌉, …)."""
    missing = -len(per_image) % LEGACY_BATCH
    padded = torch.cat([per_image, per_image.new_zeros(missing, *per_image.shape[1:])])
    return padded.unflatten(0, (-1, LEGACY_BATCH)).sum(1)


def legacy_twins(metrics: tuple[Metric, ...], how: Callable[[Metric], str]) -> tuple[Metric, ...]:
    """The same metrics under the papers' definition, which ``how`` words."""
    return tuple(
        Metric(f"legacy_{m.name}", f"{m.title} (legacy)", m.unit, m.higher_is_better, how(m), legacy=True)
        for m in metrics
    )
