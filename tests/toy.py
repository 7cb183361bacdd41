"""A plugin for tests: data sets of a few tiny pictures that are made in no time, and methods that misbehave."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from benchmark.data import DataSet, PerTaskInputDataSet, Progress, build_dataset, register_dataset
from benchmark.errors import UserError
from benchmark.model import MultiTaskModel
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.spec import derive_seed
from benchmark.tasks import Task
from benchmark.weighting import Weighting


@register_dataset
class Toy(DataSet):
    """Half-planes: class, depth and normal of a pixel depend on its side and brightness."""

    name = "toy"
    version = 1

    def __init__(self, *, size: int = 32, train: int = 12, val: int = 5, test: int = 5) -> None:
        self.size, self.train, self.val, self.test = size, train, val, test
        self.tasks: tuple[Task, ...] = (
            Task("semantic", "segmentation", 3, ("left", "right", "dark")),
            Task("depth", "depth", 1),
            Task("normals", "normals", 3),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def samples(self) -> Mapping[str, int]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        if source is not None and not source.is_dir():
            raise UserError(f"toy: no folder {source}")
        count = self.samples[split]
        draw = np.random.default_rng(derive_seed("toy", split))
        image = draw.integers(0, 256, (count, 3, self.size, self.size)).astype(np.uint8)
        right = np.arange(self.size) >= draw.integers(8, self.size - 8, count)[:, None]
        side = np.broadcast_to(right[:, None, :], (count, self.size, self.size))
        image[:, 0] = np.where(side, 220, image[:, 0] // 4)
        semantic = np.where(image[:, 1] < 60, 2, side).astype(np.int8)
        semantic[:, 0] = -1
        depth = (1 + 3 * side[:, None] + image[:, 2:] / 255).astype(np.float16)
        depth[:, :, 0] = 0
        normals = np.zeros((count, 3, self.size, self.size), np.float16)
        normals[:, 0], normals[:, 2] = np.where(side, 0.6, -0.6), -0.8
        normals[:, :, 0] = 0
        progress(split, count, count)
        identity = np.array([f"{split}-{i}" for i in range(count)])
        return {"image": image, "id": identity, "semantic": semantic, "depth": depth, "normals": normals}


@register_dataset
class ToyWords(DataSet):
    """Grey pictures whose brightness and contrast are two classes."""

    name = "toy-words"
    version = 1

    def __init__(self, *, train: int = 64, val: int = 16, test: int = 16) -> None:
        self.train, self.val, self.test = train, val, test
        self.tasks: tuple[Task, ...] = (
            Task("brightness", "classification", 2, ("dark", "light")),
            Task("contrast", "classification", 2, ("flat", "rough")),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1, 16, 16)

    @property
    def samples(self) -> Mapping[str, int]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        count = self.samples[split]
        draw = np.random.default_rng(derive_seed("toy-words", split))
        light, rough = draw.integers(0, 2, count), draw.integers(0, 2, count)
        noise = draw.normal(size=(count, 1, 16, 16)) * (5 + 40 * rough[:, None, None, None])
        image = (80 + 90 * light[:, None, None, None] + noise).clip(0, 255).astype(np.uint8)
        identity = np.arange(count)
        return {
            "image": image,
            "id": identity,
            "brightness": light.astype(np.int16),
            "contrast": rough.astype(np.int16),
        }


@register_dataset
class ToyNames(ToyWords):
    """The same with tasks whose names look like those of arrays that are kept of a run."""

    name = "toy-names"
    NAMES = ("a", "a-id", "test-a", "model-year", "masks-a", "file", "test-view", "ids:test:a")

    def __init__(self) -> None:
        super().__init__()
        self.tasks = tuple(Task(name, "classification", 2) for name in self.NAMES)

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        arrays = super().build(split, source, progress)
        labels = (arrays.pop("brightness"), arrays.pop("contrast"))
        return arrays | {name: labels[k % 2] for k, name in enumerate(self.NAMES)}


@register_dataset
class ToyPart(DataSet):
    """Pictures that are dark or light, or flat or rough, and nothing else to be told of them."""

    name = "toy-part"
    version = 1

    def __init__(self, *, what: str = "brightness", train: int = 24, val: int = 8) -> None:
        self.what, self.train, self.val = what, train, val
        self.tasks: tuple[Task, ...] = (Task(what, "classification", 2),)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, 16, 16)

    @property
    def samples(self) -> Mapping[str, int]:
        return {"train": self.train, "val": self.val, "test": self.val}

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        count = self.samples[split]
        draw = np.random.default_rng(derive_seed("toy-part", self.what, split))
        label = draw.integers(0, 2, count)
        level, spread = (80 + 90 * label, 20) if self.what == "brightness" else (60, 5 + 40 * label)
        noise = draw.normal(size=(count, 3, 16, 16)) * np.reshape(spread, (-1, 1, 1, 1))
        image = (np.reshape(level, (-1, 1, 1, 1)) + noise).clip(0, 255).astype(np.uint8)
        progress(split, count, count)
        return {"image": image, "id": np.arange(count), self.what: label.astype(np.int16)}


@register_dataset
class ToyPair(PerTaskInputDataSet):
    """Two tasks, each with its own pictures."""

    name = "toy-pair"
    version = 1

    def __init__(self, *, alone: bool = False) -> None:
        self.alone = alone

    @property
    def parts(self) -> Mapping[str, DataSet]:
        first = build_dataset("toy-part", what="brightness")
        return {
            "brightness": first,
            **({} if self.alone else {"contrast": build_dataset("toy-part", what="contrast", train=52)}),
        }

    @property
    def colours(self) -> Mapping[str, Any]:
        return {"contrast": ((0.2, 0.2, 0.2), (0.1, 0.1, 0.1))}


class Tiny(MultiTaskModel):
    """One shared convolution and a 1×1 convolution a task."""

    def __init__(self, tasks: Sequence[Task], *, width: int = 4) -> None:
        super().__init__(tasks)
        self.shared = nn.Conv2d(3, width, 3, padding=1)
        self.heads = nn.ModuleDict({task.name: nn.Conv2d(width, task.channels, 1) for task in tasks})

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        feature = torch.relu(self.shared(images))
        return {task.name: task.finish(self.heads[task.name](feature)) for task in self.tasks}

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        return list(self.heads[task].parameters())


ARCHITECTURES.register("tiny")(Tiny)


@ARCHITECTURES.register("trunk")
class Trunk(Tiny):
    """Two shared convolutions with batch statistics between them, after which weightings may look at gradients."""

    has_representation = True

    def __init__(self, tasks: Sequence[Task], *, width: int = 4) -> None:
        super().__init__(tasks, width=width)
        self.shared = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def representation(self, images: Tensor) -> Tensor:
        return torch.relu(self.shared(images))

    def predict(self, representation: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        return {task.name: task.finish(self.heads[task.name](representation)) for task in self.tasks}

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        return self.predict(self.representation(images))

    def last_shared_parameters(self) -> list[nn.Parameter]:
        return list(self.shared[-1].parameters())


@ARCHITECTURES.register("explosive")
class Explosive(Tiny):
    """Raises in its third forward pass in training mode."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        self.count = getattr(self, "count", 0) + self.training
        if self.count == 3:
            raise RuntimeError("boom <b>bold</b>")
        return super().forward(images, tasks)


@ARCHITECTURES.register("stillborn")
class Stillborn(Tiny):
    """Raises when it is built."""

    def __init__(self, tasks: Sequence[Task], *, width: int = 4) -> None:
        raise RuntimeError("no such thing")


@ARCHITECTURES.register("forgetful")
class Forgetful(Tiny):
    """Drops half of its features in training."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        feature = nn.functional.dropout(torch.relu(self.shared(images)), 0.5, self.training)
        return {task.name: task.finish(self.heads[task.name](feature)) for task in self.tasks}


@ARCHITECTURES.register("restless")
class Restless(Tiny):
    """Drops half of its features whenever it predicts, and counts how often that was."""

    def __init__(self, tasks: Sequence[Task], *, width: int = 4) -> None:
        super().__init__(tasks, width=width)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        self.passes = self.passes + 1
        feature = nn.functional.dropout(torch.relu(self.shared(images)), 0.5) * (1 + 0.01 * self.passes)
        return {task.name: task.finish(self.heads[task.name](feature)) for task in self.tasks}


@ARCHITECTURES.register("slow")
class Slow(Tiny):
    """Sleeps in training, after leaving word in the current folder."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        if self.training:
            Path("asleep").touch()
            time.sleep(600)
        return super().forward(images, tasks)


@ARCHITECTURES.register("greedy")
class Greedy(Tiny):
    """Runs out of memory in training."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        if self.training:
            raise torch.OutOfMemoryError("asked for too much")
        return super().forward(images, tasks)


def exhausted() -> Tensor:
    """Ask for more bytes than any process can address, which the allocator refuses on every machine."""
    return torch.empty(2**48, dtype=torch.uint8)


@ARCHITECTURES.register("hungry")
class Hungry(Tiny):
    """Has no memory left in its second forward pass in training."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        self.count = getattr(self, "count", 0) + self.training
        if self.count == 2:
            exhausted()
        return super().forward(images, tasks)


@ARCHITECTURES.register("swelling")
class Swelling(Tiny):
    """In its fifth forward pass in training saves ten tensors for the backward pass, of which memory holds ``room``."""

    room = 5

    def __init__(self, tasks: Sequence[Task], *, width: int = 4) -> None:
        super().__init__(tasks, width=width)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        found = super().forward(images, tasks)
        self.count += self.training
        if not self.training or self.count != 5:
            return found
        value = found["depth"].mean().expand(2**15) * 1.5  # 128 KiB: tensors below 64 KiB are never spilled
        saved = []
        for _ in range(10):
            saved.append(StorageWeakRef(value.untyped_storage()))
            value = value.square()
            if sum(not storage.expired() for storage in saved) > self.room:
                exhausted()
        return found | {"depth": found["depth"] + value.mean()}


@ARCHITECTURES.register("dawdling")
class Dawdling(Tiny):
    """Takes its time in training, MTBENCH_TEST_NAP seconds a step, after leaving word in the current folder."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        if self.training:
            Path("dawdling").touch()
            time.sleep(float(os.environ.get("MTBENCH_TEST_NAP", "0.3")))
        return super().forward(images, tasks)


@ARCHITECTURES.register("unlucky")
class Unlucky(Tiny):
    """Kills its process once, in the fifth training step, and leaves word in the current folder."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        self.count = getattr(self, "count", 0) + self.training
        if self.count == 5 and not Path("unlucky").exists():
            Path("unlucky").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images, tasks)


@ARCHITECTURES.register("suicidal")
class Suicidal(Tiny):
    """Kills its process, as the kernel does when memory runs out."""

    def forward(self, images: Tensor, tasks: Any = None) -> dict[str, Tensor]:
        if self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images, tasks)


@WEIGHTINGS.register("dice")
class Dice(Weighting):
    """Weights from torch's own generator, at the start and at every step."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.register_buffer("start", torch.rand(len(self.tasks)))

    def weights(self, losses: Tensor) -> Tensor:
        return self.start + torch.rand_like(losses)


@WEIGHTINGS.register("runaway")
class Runaway(Weighting):
    """Weights that overflow."""

    def weights(self, losses: Tensor) -> Tensor:
        return torch.full_like(losses, torch.inf)


@WEIGHTINGS.register("stumbling")
class Stumbling(Weighting):
    """Weights that are not finite in the third step."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def weights(self, losses: Tensor) -> Tensor:
        self.count += 1
        return torch.full_like(losses, torch.nan if self.count == 3 else 1.0)
