"""NYUv2 as the multi-task literature passes it on: preprocessed, in .npy files."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from benchmark.data.arrays import NpyFolders
from benchmark.data.dataset import IMAGE, register_dataset
from benchmark.data.nyuv2 import FARTHEST
from benchmark.data.nyuv2.card import NPY_CARD
from benchmark.data.nyuv2.classes import class_names
from benchmark.data.options import at_least_0, one_of
from benchmark.data.streaming import bounded
from benchmark.tasks import Stored, Task


@register_dataset
class NYUv2Npy(NpyFolders):
    """NYUv2 from the literature's folder of .npy files: 13 classes, depth in metres, surface normals.

    Source: the release of Liu et al., CVPR 2019, linked from https://github.com/lorenmt/mtan. It is a set of its own
    beside ``nyuv2``: crop, resampling and normals are the authors'. Values are taken as they are, pictures as bytes.
    Normals are unit vectors only roughly, since they were resampled; 0 is unknown. How their axes point is not stated.

    The folder ``val`` is the official test set and is the test split. Val is cut from ``train``: the middle tenth of
    every hundred files in a row (see ``middle_blocks``), since the files do not say which scene they show. An id is
    ``folder/number``.

    Args:
        height: 288, or 36, 72, 144 for trials; the width is 4 / 3 of it.
        limit: at most this many samples of each split, the first ones; 0 for all of them. For trials: with a limit,
            folders of fewer files will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "nyuv2-npy"
    version = 1
    card = NPY_CARD
    smoke: ClassVar[Mapping[str, Any]] = {"height": 36, "limit": 8}
    official: ClassVar[Mapping[str, int]] = {"train": 795, "val": 654}
    period = 100
    stored_size = (288, 384)
    folders: ClassVar[Mapping[str, tuple[str, ...]]] = {
        IMAGE: ("image",),
        "semantic": ("label",),
        "depth": ("depth",),
        "normals": ("normal",),
    }
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        IMAGE: (0, 1),
        "semantic": (-1, 12),
        "depth": (0, FARTHEST),
        "normals": (-1, 1),
    }
    tasks = (
        Task("semantic", "segmentation", 13, classes=class_names(13)),
        Task("depth", "depth", 1),
        Task("normals", "normals", 3),
    )

    def __init__(self, *, height: int = 288, limit: int = 0) -> None:
        one_of("nyuv2-npy: height", height, (288, 144, 72, 36))
        at_least_0("nyuv2-npy: limit", limit)
        self.height, self.limit = height, limit

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB, three quarters as high as wide."""
        return (3, self.height, self.height * 4 // 3)

    @property
    def fields(self) -> dict[str, Stored]:
        """Depth ends at 10 metres; normals need not be of unit length."""
        fields = bounded(super().fields, depth=FARTHEST)
        return fields | {"normals": replace(fields["normals"], unit_vectors=False)}
