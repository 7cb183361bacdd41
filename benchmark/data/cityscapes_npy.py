"""Cityscapes as the multi-task literature passes it on: preprocessed, in .npy files, or in PNGs of the same names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.arrays import NpyFolders
from benchmark.data.cityscapes.card import NPY_CARD
from benchmark.data.cityscapes.classes import CLASSES, NO_LABEL, class_names, class_table
from benchmark.data.dataset import IMAGE, register_dataset
from benchmark.data.files import is_folder
from benchmark.data.options import at_least_0, one_of
from benchmark.data.pictures import read_png
from benchmark.data.streaming import bounded
from benchmark.errors import UserError
from benchmark.tasks import Stored, Task

#: In the release of Auto-lambda: the folder of label ids, by which it is known.
LABEL_IDS = "seg"
#: Heights of the files' pictures.
STORED = (128, 256)


@register_dataset
class CityscapesNpy(NpyFolders):
    """Cityscapes from the literature's folders of .npy files: 19, 7 or 2 classes and inverse depth.

    Source: the release of Liu et al., CVPR 2019, linked from https://github.com/lorenmt/mtan. It is a set of its own
    beside ``cityscapes``: resampling is the authors'. Values are taken as they are, pictures as bytes. Inverse depth
    runs from 0, unknown, to 0.4922: by all signs the official 16-bit picture divided by 65535.

    The release of Liu et al., "Auto-Lambda", TMLR 2022, linked from https://github.com/lorenmt/auto-lambda, is read as
    well: PNGs 256 high in ``image``, ``seg`` (official label ids) and ``depth`` (official 16-bit disparity). It was
    resampled anew, so that the pictures are not those of the .npy files. Its ``part_seg`` is not read.

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
        one_of("cityscapes-npy: stored", stored, STORED)
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

    def _ending(self, source: Path) -> str:
        train = source / "train"
        arrays = any(is_folder(train / name) for name in self.folders["semantic"])
        return ".png" if is_folder(train / LABEL_IDS) and not arrays else ".npy"

    def _names(self, source: Path, field: str) -> tuple[str, ...]:
        return (LABEL_IDS,) if field == "semantic" and self._ending(source) == ".png" else self.folders[field]

    def _load(self, file: Path, field: str) -> np.ndarray:
        if file.suffix == ".npy":
            return super()._load(file, field)
        if field == IMAGE:
            return read_png(file, shape=(None, None, 3), dtype="uint8", advice=self._help)
        if field == "disparity":
            stored = read_png(file, shape=(None, None), dtype="uint16", advice=self._help)
            return np.maximum(stored.astype(np.float64) - 1, 0) / 65536
        labels = read_png(file, shape=(None, None), dtype="uint8", advice=self._help)
        classes = class_table(self.classes)[labels]
        if (beyond := labels[classes == NO_LABEL]).size:
            raise UserError(f"{file} holds the label {beyond[0]}, expected 0 to 33; {self._help}")
        return classes

    def advice(self, shape: tuple[int, ...]) -> str:
        """See ``NpyFolders.advice``."""
        found = next((size for size in STORED if size in shape and 2 * size in shape and size != self.stored), None)
        return f"these files are {found} high: give the data set the option stored={found}" if found else ""

    @property
    def fields(self) -> dict[str, Stored]:
        """Disparity is a fraction of what 16 bits hold."""
        return bounded(super().fields, disparity=1.0)
