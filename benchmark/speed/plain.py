"""A plain training loop, with which the suite's own is compared in speed and in tests."""

from collections.abc import Iterator
from time import perf_counter

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmark.data import Split
from benchmark.model import Predictions
from benchmark.runs.spec import Component, Protocol
from benchmark.speed.workload import Workload
from benchmark.training.build import initial_network
from benchmark.training.forward import losses_of

#: Batches that a loader has before it begins anew, and the processes that make them.
LOADED_BATCHES = 64
LOADERS = 4


class PlainStepper:
    """One network in the simplest training loop: float32, default memory layout, eager, torch's own Adam.

    Losses are those of the tasks, summed, with the network's regulariser if it has one. Nothing is cast, fused, laid
    out otherwise or kept on the device, and nothing of the training loop is used. The network starts from the very
    numbers of ``Stepper``'s and sees the same batch.

    Args:
        architecture: the network.
        load: pictures, tasks and hardware, whose precision does not matter here.
        loaded: whether samples come from the host's memory through a ``DataLoader``; by default on a GPU only. On the
            CPU a batch is at hand, as it is for ``Stepper``.
    """

    def __init__(self, architecture: Component, load: Workload, *, loaded: bool | None = None) -> None:
        self.load = load
        self.device = torch.device(load.hardware.device)
        self.model = initial_network(load.spec(architecture, None), load, load.hardware)
        self.model.to(self.device).train()
        rate = Protocol.model_fields["learning_rate"].default
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        split = load.split()
        if not isinstance(split, Split):
            raise TypeError("the plain step is of tasks that share their pictures")
        self._batch = split.pictures(torch.arange(load.batch, device=self.device)), split.targets
        loaded = self.device.type == "cuda" if loaded is None else loaded
        self._loader = self._loaded(split) if loaded else None

    def step(self) -> float:
        """Take one step; its seconds, until the device is done."""
        self.load.hardware.synchronize()
        started = perf_counter()
        images, targets = self.next_batch()
        self.optimizer.zero_grad()
        predictions = self.model(images.float() / 255)
        terms, _ = losses_of(self.load.tasks, predictions, targets)
        if (regulariser := Predictions.of(predictions).regulariser) is not None:
            terms.append(regulariser)
        sum(terms[1:], terms[0]).backward()
        self.optimizer.step()
        self.load.hardware.synchronize()
        return perf_counter() - started

    def losses(self, images: Tensor, targets: dict[str, Tensor]) -> list[Tensor]:
        """K losses of (B, C, H, W) uint8 pictures, with graph."""
        return losses_of(self.load.tasks, self.model(images.float() / 255), targets)[0]

    def next_batch(self) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, C, H, W) uint8 pictures and per task (B, …) targets, on the device."""
        if self._loader is None:
            return self._batch[0], dict(self._batch[1])
        images, targets = next(self._loader)
        return images.to(self.device), {name: values.to(self.device) for name, values in targets.items()}

    def _loaded(self, split: Split) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """The same samples without end, each read from the host's memory on its own."""
        targets = {name: values.cpu() for name, values in split.targets.items()}
        samples = _Samples(self._batch[0].cpu(), targets, LOADED_BATCHES * self.load.batch)
        loader = DataLoader(
            samples,
            batch_size=self.load.batch,
            shuffle=True,
            num_workers=LOADERS if self.device.type == "cuda" else 0,
            pin_memory=self.device.type == "cuda",
            persistent_workers=self.device.type == "cuda",
        )
        while True:
            yield from loader


class _Samples(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Single samples; a few, over and over."""

    def __init__(self, images: Tensor, targets: dict[str, Tensor], count: int) -> None:
        self.images, self.targets, self.count = images, targets, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        place = index % len(self.images)
        return self.images[place], {name: values[place] for name, values in self.targets.items()}
