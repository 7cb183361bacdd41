"""What each step of training sees: samples gathered on the device, in an order that all cells of a seed share."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from benchmark.data import AnySplit, SeparateSplit, Split
from benchmark.data.mapped import MappedImages
from benchmark.spec import RunSpec, derive_seed
from benchmark.training.augmentation import Augmentation
from benchmark.training.steps import Batch, joined


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
        self._stream = self.stream()

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.steps):
            yield next(self._stream)

    def stream(self) -> Iterator[Batch]:
        """Batches without end; what does not fill one is left out of a pass."""
        images = self.split.images
        while True:
            order = torch.randperm(len(self.split), generator=self.generator)[: self.per_pass * self.size]
            if self.augmentation:
                self.augmentation.draw(self.split.device)
            if isinstance(images, MappedImages):
                batches = order.split(self.size)
                for indices, following in zip(batches, (*batches[1:], None), strict=True):
                    batch = self._batch(indices)
                    if following is not None:
                        images.expect(following)  # read while the device computes
                    yield batch
            else:
                for indices in order.to(self.split.device).split(self.size):
                    yield self._batch(indices)

    def _batch(self, indices: Tensor) -> Batch:
        if self.augmentation is None:
            return gathered(self.split, indices)
        there = indices.to(self.split.device)
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
        self.streams = {name: part.stream() for name, part in parts.items()}
        self.steps = spec.protocol.steps_per_epoch or max(part.per_pass for part in parts.values())

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.steps):
            yield joined({name: next(stream) for name, stream in self.streams.items()})


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
            return joined({name: self._drawn(part) for name, part in found.parts.items()})
        return self._drawn(found)

    def _drawn(self, split: Split) -> Batch:
        order = torch.randperm(len(split), generator=self.generator)[: self.size]
        return gathered(split, order.to(split.device))


def gathered(split: Split, indices: Tensor) -> Batch:
    """The samples ``indices`` of a split."""
    return Batch(split.pictures(indices), {name: values[indices] for name, values in split.targets.items()})
