"""What each step of training sees: samples gathered on the device, in an order that all cells of a seed share."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.data import AnySplit, SeparateSplit, Split
from benchmark.data.mapped import MappedImages
from benchmark.spec import RunSpec, derive_seed
from benchmark.training.augmentation import Augmentation
from benchmark.training.steps import Batch, joined
from benchmark.transfer import sent


def training_batches(
    split: AnySplit, spec: RunSpec, augmentation: Mapping[str, Augmentation] | Augmentation | None = None
) -> "TrainingBatches | SeparateBatches":
    """The batches of a training split; ``augmentation`` is by task where every task has its own pictures.

    Raises:
        ValueError: the split, or a task's part of it, is smaller than a batch.
    """
    if isinstance(split, SeparateSplit):
        by_task = augmentation if isinstance(augmentation, Mapping) else {}
        return SeparateBatches(
            {name: TrainingBatches(part, spec, by_task.get(name), task=name) for name, part in split.parts.items()},
            spec,
        )
    return TrainingBatches(split, spec, augmentation if isinstance(augmentation, Augmentation) else None)


class TrainingBatches:
    """The batches of an epoch each time it is iterated; passes over the split follow each other, each in a new order.

    Args:
        split: what the samples are of.
        spec: names the protocol and the seed.
        augmentation: of the split's samples; None leaves them as they are.
        task: whose pictures these are, where every task has its own.

    Raises:
        ValueError: the split is smaller than a batch.
    """

    def __init__(
        self, split: Split, spec: RunSpec, augmentation: Augmentation | None = None, *, task: str | None = None
    ) -> None:
        self.split = split
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
        batch = self._batch(self._order[self._done])
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

    def _batch(self, indices: Tensor) -> Batch:
        if self.augmentation is None:
            return gathered(self.split, indices)
        there = sent(indices, self.split.device)
        images = self.split.pictures(indices, self.augmentation.windows(there))
        targets = {name: values[there] for name, values in self.split.targets.items()}
        return Batch(*self.augmentation(images, targets, there))


class SeparateBatches:
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
        if isinstance(found, SeparateSplit):
            return joined({name: gathered(part, self._drawn(part)) for name, part in found.parts.items()})
        return gathered(found, self._drawn(found))

    def _drawn(self, split: Split) -> Tensor:
        order = torch.randperm(len(split), generator=self.generator)[: self.size]
        return split.order(order)


def gathered(split: AnySplit, indices: Tensor) -> Batch:
    """The samples ``indices`` of a split, of each task that has its own."""
    if isinstance(split, SeparateSplit):
        return joined({name: gathered(part, indices) for name, part in split.parts.items()})
    there = sent(indices, split.device)
    return Batch(split.pictures(indices), {name: values[there] for name, values in split.targets.items()})
