"""What a task is, and what each kind of task must define."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import OF_PLUGINS, UsageError, unknown
from benchmark.registry import TABLES, loading_code
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
    #: SHA-256 of the plugin file that registered it; None for what is installed.
    code: str | None = None

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

    def class_count(self, channels: int) -> int:
        """How many classes targets tell apart, where they do: as many as a task may name, and as data cards count."""
        return channels

    def stored(self, channels: int, size: tuple[int, int]) -> Stored | None:
        """How a target of pictures of ``size`` (height, width) is stored; None where the kind does not say."""
        return None

    def labelled(self, targets: Tensor, channels: int) -> Tensor:
        """Which samples hold a valid target, in the sense of ``loss``: those with a value that is not ``invalid``.

        Args:
            targets: (B, …) stored.
            channels: of the task.

        Returns:
            (B,) bool; True for all where the kind does not say how targets are stored.
        """
        stored = self.stored(channels, (1, 1))
        if stored is None or stored.invalid is None or not len(targets):
            return torch.ones(len(targets), dtype=torch.bool, device=targets.device)
        known = ~targets.isnan() if math.isnan(stored.invalid) else targets != stored.invalid
        return known.reshape(len(targets), -1).any(1)

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


#: Bytes of a task's name at most: names of files have 255, of which a few are the suite's.
LONGEST_NAME = 100
#: Names of fields that every data set has beside its targets.
RESERVED = ("image", "id")


def _check_name(name: object) -> None:
    """Refuse what could not be a part of a file's name.

    Raises:
        UsageError: it could not.
    """
    if not isinstance(name, str) or not name.strip() or name != name.strip() or not name.isprintable() or "/" in name:
        raise UsageError(f"a task is named by one or more printable signs, '/' not among them; found {name!r:.80}")
    if len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        raise UsageError(f"the name of a task may have {LONGEST_NAME} bytes, found {name!r:.40}…")


def check_tasks(owner: str, tasks: Sequence["Task"]) -> None:
    """Refuse tasks that could not be told apart, from each other or from a data set's other fields.

    Args:
        owner: whose tasks they are, in words.
        tasks: all of them.

    Raises:
        UsageError: two have one name, or one has the name of another field.
    """
    names = [task.name for task in tasks]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"{owner} has {names.count(twice[0])} tasks named '{twice[0]}': give each a name of its own")
    if taken := [name for name in names if name in RESERVED]:
        raise UsageError(
            f"{owner} has a task named '{taken[0]}', which is what data sets call their "
            f"{'pictures' if taken[0] == 'image' else 'samples'}: give it another name"
        )


KINDS: dict[str, TaskKind] = {}
TABLES.append(KINDS)


def register_kind(kind: type[TaskKind]) -> type[TaskKind]:
    """Class decorator: makes a kind of task known by its ``name``."""
    if kind.name in KINDS:
        raise ValueError(f"the kind of task '{kind.name}' is registered already")
    KINDS[kind.name] = kind()
    KINDS[kind.name].code = loading_code()
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
        name: unique within a data set; part of the names of files.
        kind: ``segmentation``, ``depth``, ``normals``, ``classification``, ``binary``, ``boundaries``, …
        channels: outputs of the head: the number of classes, 1 for depth and for what is yes or no, 3 for normals.
        classes: names of the classes, where there are any.

    Raises:
        UsageError: the name cannot be a part of a file's name.
        ValueError: the channels are none, or not as many as the classes.
    """

    name: str
    kind: str
    channels: int
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in KINDS:
            raise unknown("kind of task", self.kind, KINDS, OF_PLUGINS)
        if self.channels < 1:
            raise ValueError(f"task '{self.name}' needs at least 1 channel, not {self.channels}")
        if self.classes and len(self.classes) != (count := self.definition.class_count(self.channels)):
            has = f"{self.channels} channels" if count == self.channels else f"{count} answers"
            raise ValueError(f"task '{self.name}' names {len(self.classes)} classes but has {has}")

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


def class_type(channels: int, narrowest: str) -> str:
    """NumPy's name of the type in which class ids and −1 are stored: ``narrowest``, or a wider one for more classes."""
    return next(t for t in (narrowest, "int16", "int32", "int64") if channels - 1 <= np.iinfo(t).max)


def class_ids(logits: Tensor, narrowest: str) -> Tensor:
    """(B, C, …) -> (B, …) the likeliest classes, in the type in which a task of C classes is stored."""
    return logits.argmax(1).to(getattr(torch, class_type(logits.shape[1], narrowest)))


def halved(values: Tensor) -> Tensor:
    """Values in half precision, in the memory of the host; in single precision where a finite one is too large for it.

    Any shape -> the same.
    """
    exact = values.float().cpu()
    half = exact.half()
    return exact if (half.isinf() & exact.isfinite()).any() else half


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
