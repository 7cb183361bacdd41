"""Cityscapes as the multi-task literature passes it on: preprocessed, in .npy files."""

from collections.abc import Mapping
from typing import Any, ClassVar

from benchmark.data.arrays import NpyFolders
from benchmark.data.cityscapes.card import NPY_CARD
from benchmark.data.cityscapes.classes import CLASSES, class_names
from benchmark.data.dataset import IMAGE, register_dataset
from benchmark.data.options import at_least_0, one_of
from benchmark.data.streaming import bounded
from benchmark.tasks import Stored, Task


@register_dataset
class CityscapesNpy(NpyFolders):
    """Cityscapes from the literature's folders of .npy files: 19, 7 or 2 classes and inverse depth.

    Source: the release of Liu et al., CVPR 2019, linked from https://github.com/lorenmt/mtan. It is a set of its own
    beside ``cityscapes``: resampling is the authors'. Values are taken as they are, pictures as bytes. Inverse depth
    runs from 0, unknown, to 0.4922: by all signs the official 16-bit picture divided by 65535.

    The folder ``val`` is the official val set and is the test split. Val is cut from ``train``: the middle fifty of
    every five hundred files in a row (see ``middle_blocks``), since the files do not say which city they show. An id
    is ``folder/number``.

    Args:
        classes: 19, 7 or 2: the folder ``label_19``, ``label_7`` or ``label_2``; some copies have just ``label``.
        stored: height of the files' pictures, 128 or 256.
        height: the same, or 32, 64 for trials; 0 for ``stored``.
        limit: at most this many samples of each split, the first ones; 0 for all of them. For trials: with a limit,
            folders of fewer files will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "cityscapes-npy"
    version = 1
    card = NPY_CARD
    smoke: ClassVar[Mapping[str, Any]] = {"height": 32, "limit": 8}
    official: ClassVar[Mapping[str, int]] = {"train": 2975, "val": 500}
    period = 500

    def __init__(self, *, classes: int = 7, stored: int = 128, height: int = 0, limit: int = 0) -> None:
        one_of("cityscapes-npy: classes", classes, CLASSES)
        one_of("cityscapes-npy: stored", stored, (128, 256))
        one_of("cityscapes-npy: height", height, (0, stored, 32, 64))
        at_least_0("cityscapes-npy: limit", limit)
        self.classes, self.stored, self.height, self.limit = classes, stored, height, limit
        self.stored_size = (stored, 2 * stored)
        self.tasks = (
            Task("semantic", "segmentation", classes, classes=class_names(classes)),
            Task("disparity", "disparity", 1),
        )

    @property
    def folders(self) -> dict[str, tuple[str, ...]]:
        """As in the release; LibMTL's copy has one folder of labels."""
        labels = (f"label_{self.classes}", *(("label",) if self.classes == 7 else ()))
        return {IMAGE: ("image",), "semantic": labels, "disparity": ("depth",)}

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Disparity is a fraction of what 16 bits hold."""
        return {IMAGE: (0, 1), "semantic": (-1, self.classes - 1), "disparity": (0, 1)}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB, twice as wide as high."""
        height = self.height or self.stored
        return (3, height, 2 * height)

    @property
    def fields(self) -> dict[str, Stored]:
        """Disparity is a fraction of what 16 bits hold."""
        return bounded(super().fields, disparity=1.0)
