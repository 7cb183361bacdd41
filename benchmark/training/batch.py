"""What each step of training sees: samples gathered on the device, in an order that all cells of a seed share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data import AnySplit, PerTaskInputSplit, Split
from benchmark.data.mapped import MappedImages
from benchmark.presence import Presence
from benchmark.runs.spec import RunSpec, derive_seed
from benchmark.tasks import Task
from benchmark.training.augmentation import Augmentation
from benchmark.training.forward import Pictures
from benchmark.transfer import sent

#: By task (N,), which samples hold a valid target; without an entry all do.
Labels = Mapping[str, NDArray[np.bool_]]
#: Samples whose targets are looked through at a time, which bounds the memory that it takes.
LABELS_AT_ONCE = 64


@dataclass(frozen=True)
class Batch:
    """Samples of one step, on the device.

    Attributes:
        images: (B, C, H, W) uint8; by task, where every task has its own pictures.
        targets: per task (B, …) in its stored form.
        labelled: per task (B,) bool, which samples hold a valid target; a task without an entry has one in each.
    """

    images: Pictures
    targets: Mapping[str, Tensor]
    labelled: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        """B; of the task with the fewest pictures."""
        return len(self.images) if isinstance(self.images, Tensor) else min(map(len, self.images.values()))

    def tensors(self) -> list[Tensor]:
        """All of them, in an order that batches of one form share."""
        images = [self.images] if isinstance(self.images, Tensor) else list(self.images.values())
        return [*images, *self.targets.values()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> "Batch":
        """A batch of this form from what ``tensors`` gives."""
        found = iter(tensors)
        images = next(found) if isinstance(self.images, Tensor) else {name: next(found) for name in self.images}
        return Batch(images, {name: next(found) for name in self.targets}, self.labelled)

    def presence(self, tasks: Sequence[Task]) -> Presence:
        """Which tasks have a label in it."""
        return Presence.from_flags([count > 0 for count in self.labelled_parts(tasks, 1)])

    def labelled_parts(self, tasks: Sequence[Task], count: int) -> list[int]:
        """(K,) of the batch cut into ``count``, how many parts have a label of the task."""
        flags = [self.labelled.get(task.name) for task in tasks]
        return [count if own is None else sum(bool(p.any()) for p in np.array_split(own, count)) for own in flags]

    def parts(self, count: int) -> list["Batch"]:
        """The batch cut into ``count`` batches of nearly equal size, see ``labelled_parts``."""
        if not isinstance(self.images, Tensor):
            cut = [Batch(own, {name: self.targets[name]}).parts(count) for name, own in self.images.items()]
            return [joined(dict(zip(self.images, pieces, strict=True))) for pieces in zip(*cut, strict=True)]
        places = torch.arange(len(self.images), device=self.images.device).tensor_split(count)
        return [Batch(self.images[p], {name: t[p] for name, t in self.targets.items()}) for p in places]


def joined(batches: Mapping[str, Batch]) -> Batch:
    """One batch of the tasks' own batches."""
    images = {name: cast(Tensor, batch.images) for name, batch in batches.items()}
    labelled = {name: flags for batch in batches.values() for name, flags in batch.labelled.items()}
    return Batch(images, {name: batch.targets[name] for name, batch in batches.items()}, labelled)


def training_batches(
    split: AnySplit,
    spec: RunSpec,
    augmentation: Mapping[str, Augmentation] | Augmentation | None = None,
    *,
    labels: Labels | None = None,
) -> "TrainingBatches | PerTaskInputBatches":
    """The batches of a training split; ``augmentation`` is by task where every task has its own pictures.

    Args:
        split: what the samples are of.
        spec: names the protocol and the seed.
        augmentation: see above.
        labels: what ``labelled_samples`` says of the split; None where every sample has every task's label.

    Raises:
        ValueError: the split, or a task's part of it, is smaller than a batch.
    """
    if isinstance(split, PerTaskInputSplit):
        by_task = augmentation if isinstance(augmentation, Mapping) else {}
        return PerTaskInputBatches(
            {
                name: TrainingBatches(part, spec, by_task.get(name), task=name, labels=_only(labels, name))
                for name, part in split.parts.items()
            },
            spec,
        )
    return TrainingBatches(split, spec, augmentation if isinstance(augmentation, Augmentation) else None, labels=labels)


def labelled_samples(split: AnySplit, tasks: Sequence[Task]) -> Labels:
    """Which samples hold a valid target, once for a whole split, so that no step has to wait for the device to tell.

    A sample counts by its stored target: a crop that leaves nothing of a task's labels is not seen here, and its batch
    has that task with a loss of 0.

    Returns:
        By task (N,) bool; without an entry where all do.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    for task in tasks:
        targets = split.for_task(task.name).targets[task.name]
        parts = [task.definition.labelled(part, task.channels) for part in targets.split(LABELS_AT_ONCE)]
        flags = torch.cat(parts).cpu().numpy()
        if not flags.all():
            found[task.name] = flags
    return found


def _only(labels: Labels | None, name: str) -> Labels:
    return {name: labels[name]} if labels and name in labels else {}


class TrainingBatches:
    """The batches of an epoch each time it is iterated; passes over the split follow each other, each in a new order.

    Args:
        split: what the samples are of.
        spec: names the protocol and the seed.
        augmentation: of the split's samples; None leaves them as they are.
        task: whose pictures these are, where every task has its own.
        labels: see ``training_batches``.

    Raises:
        ValueError: the split is smaller than a batch.
    """

    def __init__(
        self,
        split: Split,
        spec: RunSpec,
        augmentation: Augmentation | None = None,
        *,
        task: str | None = None,
        labels: Labels | None = None,
    ) -> None:
        self.split = split
        self.labels = labels or {}
        self.size = spec.protocol.batch_size
        self.augmentation = augmentation
        # The same order of samples for every cell of a seed: cells never differ by their batches.
        axes = () if task is None else (task,)
        self.generator = torch.Generator().manual_seed(derive_seed("batches", spec.seed, *axes))
        self.per_pass = len(split) // self.size
        self.steps = spec.protocol.steps_per_epoch or self.per_pass
        if not self.per_pass:
            of = "" if task is None else f" of '{task}'"
            raise ValueError(f"the training split{of} holds {len(split)} samples, less than one batch of {self.size}")
        #: The pass in progress: its batches and how many of them are done; no pass has begun at first.
        self._order: tuple[Tensor, ...] = ()
        self._labelled: tuple[Labels, ...] = ()
        self._done = 0
        self._drawn_from = [self.generator, *([augmentation.generator] if augmentation else [])]
        self._before = self._generators()

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch."""
        for _ in range(self.steps):
            yield self.next()

    def next(self) -> Batch:
        """The next batch, of a new pass where the last is over. What does not fill a batch is left out of a pass."""
        if self._done == len(self._order):
            self._begin()
        batch = self._batch(self._order[self._done], self._labelled[self._done])
        self._done += 1
        if isinstance(self.split.images, MappedImages) and self._done < len(self._order):
            self.split.images.expect(self._order[self._done])  # read while the device computes
        return batch

    def _begin(self) -> None:
        """Draw a pass's order and augmentations."""
        self._before = self._generators()
        order = torch.randperm(len(self.split), generator=self.generator)[: self.per_pass * self.size]
        if self.augmentation:
            self.augmentation.draw(self.split.device)
        self._order = self.split.order(order).split(self.size)
        self._labelled = tuple(_at(self.labels, places) for places in order.split(self.size))
        self._done = 0

    def _generators(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._drawn_from]

    def state(self) -> dict[str, Any]:
        """Where the batches are, for checkpoints: what the pass was drawn from, and how much of it is done."""
        return {"generators": self._before, "begun": bool(self._order), "done": self._done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        for generator, value in zip(self._drawn_from, state["generators"], strict=True):
            generator.set_state(value)
        if state["begun"]:
            self._begin()
            self._done = int(state["done"])

    def _batch(self, indices: Tensor, labelled: Labels) -> Batch:
        if self.augmentation is None:
            return replace(gathered(self.split, indices), labelled=labelled)
        there = sent(indices, self.split.device)
        images = self.split.pictures(indices, self.augmentation.windows(there))
        targets = {name: values[there] for name, values in self.split.targets.items()}
        return Batch(*self.augmentation(images, targets, there), labelled)


def _at(labels: Labels, places: Tensor) -> Labels:
    """What labels say of samples at places (B,) of the host."""
    return {name: flags[places.numpy()] for name, flags in labels.items()}


class PerTaskInputBatches:
    """The batches of an epoch in which every task has its own pictures: in each step one of every task.

    An epoch is one pass over the largest split, unless the protocol states a number of steps; smaller ones are passed
    over as often as that takes.

    The authors of MTAN train on one set after another within an epoch (github.com/lorenmt/mtan, Visual Decathlon). Here
    a step takes all tasks, so that there are K losses in it to be weighted, and none is forgotten for the others.
    """

    def __init__(self, parts: Mapping[str, TrainingBatches], spec: RunSpec) -> None:
        self.parts = dict(parts)
        self.steps = spec.protocol.steps_per_epoch or max(part.per_pass for part in parts.values())

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch."""
        for _ in range(self.steps):
            yield self.next()

    def next(self) -> Batch:
        """The next batch of every task."""
        return joined({name: part.next() for name, part in self.parts.items()})

    def state(self) -> dict[str, Any]:
        """See ``TrainingBatches.state``."""
        return {name: part.state() for name, part in self.parts.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See ``TrainingBatches.restore``."""
        for name, part in self.parts.items():
            part.restore(state[name])


class OtherBatches:
    """Batches for methods that look at a second one in a step: of any split, in an order of their own, not augmented.

    Args:
        splits: by name, on the device.
        spec: names the seed and the batch size; a split that is smaller gives all it has.
    """

    def __init__(self, splits: Mapping[str, AnySplit], spec: RunSpec) -> None:
        self.splits = splits
        self.size = spec.protocol.batch_size
        self.generator = torch.Generator().manual_seed(derive_seed("other batches", spec.seed))

    def __call__(self, split: str) -> Batch:
        """A batch of distinct samples, drawn anew."""
        found = self.splits[split]
        if isinstance(found, PerTaskInputSplit):
            return joined({name: gathered(part, self._drawn(part)) for name, part in found.parts.items()})
        return gathered(found, self._drawn(found))

    def _drawn(self, split: Split) -> Tensor:
        order = torch.randperm(len(split), generator=self.generator)[: self.size]
        return split.order(order)


def gathered(split: AnySplit, indices: Tensor) -> Batch:
    """The samples ``indices`` of a split, of each task that has its own."""
    if isinstance(split, PerTaskInputSplit):
        return joined({name: gathered(part, indices) for name, part in split.parts.items()})
    there = sent(indices, split.device)
    return Batch(split.pictures(indices), {name: values[there] for name, values in split.targets.items()})
