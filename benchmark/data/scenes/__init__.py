"""Rooms that the suite renders itself: classes, depth and normals with nothing to download."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.card import DataCard
from benchmark.data.dataset import SPLITS, DataSet, Progress, register_dataset
from benchmark.data.scenes.model import CLASSES, FOCAL
from benchmark.data.scenes.renderer import render
from benchmark.errors import UsageError
from benchmark.tasks import Intrinsics, Task

#: The first seed of each split is its place in ``SPLITS`` times this, so that splits never share a seed.
MOST = 1_000_000
#: Sides between which rooms can be recognised and a chunk of them fits into memory.
SMALLEST, LARGEST = 16, 1024


CARD = DataCard(
    title="Rendered rooms",
    summary="Rooms with furniture, lamps and daylight, rendered by the suite, with the classes of NYUv2.",
    targets={
        "semantic": "The 13 classes of NYUv2; −1 unlabelled: a third of the seams between classes, and some things.",
        "depth": "Metres along the camera's axis, 0.4 to 9; 0 in the holes of a simulated structured-light sensor.",
        "normals": "Unit vectors of the true surfaces, x right, y down, z forward, pointing to the camera; 0 in and "
        "beside the holes.",
    },
    sizes="96×128 by default, rendered at that size; any size shows the same rooms.",
    splits="Every picture is a room of its own; the splits' seeds never meet.",
    licence="MIT, as the suite's code.",
    citation="This suite.",
    homepage="",
    obtain="Nothing is needed: the suite renders it.",
    caveats=(
        "Synthetic: an order of methods here need not hold on photographs.",
        "Normals are the renderer's, not computed from depth as those of real sets are.",
    ),
    redistribution=True,
)


@register_dataset
class Scenes(DataSet):
    """Rendered rooms with the 13 classes of NYUv2, depth and normals.

    Every picture is a room of its own: shell, windows, furniture, textures, lamps, daylight and shadows, seen by a
    camera held at eye height with exposure, blur and noise; depth and normals have the holes of a structured-light
    sensor. A sample is a function of its id, which is its seed, and of the picture's size.

    Args:
        height, width: pixels; the same rooms at any size, as long as the aspect is the same.
        train, val, test: samples per split.

    Raises:
        UsageError: a number is out of range.
    """

    name = "scenes"
    version = 1
    revision = 1  # 0 took torch's square root, which differs between processors
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"height": 36, "width": 48, "train": 32, "val": 8, "test": 8}
    tasks = (
        Task("semantic", "segmentation", len(CLASSES), classes=CLASSES),
        Task("depth", "depth", 1),
        Task("normals", "normals", 3),
    )

    def __init__(
        self, *, height: int = 96, width: int = 128, train: int = 800, val: int = 100, test: int = 100
    ) -> None:
        for name, value in {"height": height, "width": width}.items():
            _check(name, value, SMALLEST, LARGEST)
        for name, value in {"train": train, "val": val, "test": test}.items():
            _check(name, value, 1, MOST)
        self.height, self.width = height, width
        self.train, self.val, self.test = train, val, test

    def seeds(self, split: str) -> range:
        """The seeds of a split's samples, which are their ids."""
        first = SPLITS.index(split) * MOST
        return range(first, first + {"train": self.train, "val": self.val, "test": self.test}[split])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB of the size that the options say."""
        return (3, self.height, self.width)

    @property
    def samples(self) -> dict[str, int]:
        """As the options say."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def intrinsics(self) -> Intrinsics:
        """The renderer's camera, which looks through the middle of the picture."""
        focal = FOCAL * self.width
        return Intrinsics(focal, focal, self.width / 2, self.height / 2)

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        """Render one split; ``source`` is not needed."""
        seeds = self.seeds(split)
        rendered = render(
            seeds,
            height=self.height,
            width=self.width,
            done=lambda count: progress(split, count, len(seeds)),
        )
        arrays = {name: tensor.numpy() for name, tensor in rendered.items()}
        return {"id": np.array(seeds, dtype=np.int64), **arrays}


def _check(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"scenes: {name} must be a whole number from {low} to {high}, not {value!r}")


__all__ = ["CLASSES", "FOCAL", "Scenes", "render"]
