"""What each step of training sees: samples gathered on the device, in an order that all cells of a seed share."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.data import Split
from benchmark.spec import RunSpec, derive_seed
from benchmark.training.augmentation import Augmentation
from benchmark.training.steps import Batch


class TrainingBatches:
    """The batches of an epoch each time it is iterated; passes over the split follow each other, each in a new order.

    Args:
        split: on the device.
        spec: names the protocol and the seed.
        augmentation: of the split's samples; None leaves them as they are.

    Raises:
        ValueError: the split is smaller than a batch.
    """

    def __init__(self, split: Split, spec: RunSpec, augmentation: Augmentation | None = None) -> None:
        self.split = split
        self.size = spec.protocol.batch_size
        self.augmentation = augmentation
        # The same order of samples for every cell of a seed: cells never differ by their batches.
        self.generator = torch.Generator().manual_seed(derive_seed("batches", spec.seed))
        self.per_pass = len(split) // self.size
        self.steps = spec.protocol.steps_per_epoch or self.per_pass
        if not self.per_pass:
            raise ValueError(f"the training split holds {len(split)} samples, less than one batch of {self.size}")
        self._stream = self._batches()

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.steps):
            yield next(self._stream)

    def _batches(self) -> Iterator[Batch]:
        """Batches without end; what does not fill one is left out of a pass."""
        device = self.split.images.device
        while True:
            order = torch.randperm(len(self.split), generator=self.generator)[: self.per_pass * self.size].to(device)
            if self.augmentation:
                self.augmentation.draw(device)
            for indices in order.split(self.size):
                batch = gathered(self.split, indices)
                if self.augmentation:
                    batch = Batch(*self.augmentation(batch.images, batch.targets, indices))
                yield batch


class OtherBatches:
    """Batches for methods that look at a second one in a step: of any split, in an order of their own, not augmented.

    Args:
        splits: by name, on the device.
        spec: names the seed and the batch size; a split that is smaller gives all it has.
    """

    def __init__(self, splits: dict[str, Split], spec: RunSpec) -> None:
        self.splits = splits
        self.size = spec.protocol.batch_size
        self.generator = torch.Generator().manual_seed(derive_seed("other batches", spec.seed))

    def __call__(self, split: str) -> Batch:
        """A batch of distinct samples, drawn anew."""
        found = self.splits[split]
        order = torch.randperm(len(found), generator=self.generator)[: self.size]
        return gathered(found, order.to(found.images.device))


def gathered(split: Split, indices: Tensor) -> Batch:
    """The samples ``indices`` of a split."""
    return Batch(split.images[indices], {name: values[indices] for name, values in split.targets.items()})
