"""Cityscapes: street scenes with classes and disparity, from the official folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.cityscapes.card import CARD
from benchmark.data.cityscapes.classes import CLASSES, NO_LABEL, class_names, class_table, trained_table
from benchmark.data.dataset import IMAGE, SPLITS, register_dataset
from benchmark.data.files import entries, is_file, is_folder
from benchmark.data.options import at_least_0, one_of
from benchmark.data.pictures import area_resized, nearest, read_png
from benchmark.data.streaming import Plan, StreamedDataSet, bounded
from benchmark.errors import UserError
from benchmark.tasks import Stored, Task

#: Training cities that are held out as val: 85 + 99 + 95 of the 2975 pictures, 9 %.
VAL_CITIES = ("darmstadt", "krefeld", "ulm")
#: Pictures in the official folders.
OFFICIAL = {"train": 2975, "val": 500}
SAMPLES = {"train": 2696, "val": 279, "test": 500}
FULL = (1024, 2048)
#: Disparity is stored in units of this many pixels of the full picture, and is smaller than it.
DISPARITY_UNIT = 256
#: Per kind of file: folder, ending, channels and type.
KINDS = {
    "picture": ("leftImg8bit", "leftImg8bit", (3,), "uint8"),
    "labels": ("gtFine", "gtFine_labelIds", (), "uint8"),
    "disparity": ("disparity", "disparity", (), "uint16"),
}
HELP = "download it again from https://www.cityscapes-dataset.com"


@register_dataset
class Cityscapes(StreamedDataSet):
    """3475 street scenes: 19, 7 or 2 classes and inverse depth; from the official folders.

    Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, in the form of
    Liu et al., CVPR 2019. The authors' resampling was never published; here pictures are resampled by area (of 8×8
    pixels for 128×256), classes and disparity by the nearest pixel.

    The target ``disparity`` is inverse depth t = d / 256, where d is the disparity in pixels at the full width of 2048.
    The official 16-bit picture holds p = 256 d + 1, 0 where unknown, so that t = (p − 1) / 65536, from 0 to 0.492; the
    literature's files hold p / 65535, which is the same to 2e-5. d = 0, infinitely far, cannot be told from unknown in
    the stored form and counts as unknown. In half precision, with its 11 bits, t is exact for d up to 8 pixels, and
    beyond that it is off by at most 0.05 %.

    With 19 classes, ``labelTrainIds`` will do where ``labelIds`` is not there: the classes are the same.

    Test is the official val, since the labels of the official test are withheld. Val is cut from the official train by
    whole cities: Darmstadt, Krefeld and Ulm. An id is the picture's name, ``city_sequence_frame``.

    Args:
        classes: 19, 7 or 2.
        height: 128 or 256, or 32, 64 for trials; the width is twice that.
        limit: at most this many samples of each split, the first ones by name; 0 for all of them. For trials: with a
            limit, folders of fewer pictures will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "cityscapes"
    version = 1
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"height": 32, "limit": 8}

    def __init__(self, *, classes: int = 7, height: int = 128, limit: int = 0) -> None:
        one_of("cityscapes: classes", classes, CLASSES)
        one_of("cityscapes: height", height, (128, 256, 32, 64))
        at_least_0("cityscapes: limit", limit)
        self.classes, self.height, self.limit = classes, height, limit
        self.tasks = (
            Task("semantic", "segmentation", classes, classes=class_names(classes)),
            Task("disparity", "disparity", 1),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB, twice as wide as high."""
        return (3, self.height, 2 * self.height)

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, or the limit."""
        return {split: min(count, self.limit or count) for split, count in SAMPLES.items()}

    @property
    def fields(self) -> dict[str, Stored]:
        """Disparity stays below 256 pixels."""
        return bounded(super().fields, disparity=1.0)

    def plan(self, source: Path) -> Plan:
        """List the pictures, and see that none lacks its labels or disparity. See ``StreamedDataSet.plan``."""
        names = {half: self._names(source, half) for half in OFFICIAL}
        val = [name for name in names["train"] if city(name) in VAL_CITIES]
        train = [name for name in names["train"] if city(name) not in VAL_CITIES]
        splits = {"train": train, "val": val, "test": names["val"]}
        ids = {split: np.array(splits[split][: self.limit or None], dtype=str) for split in SPLITS}
        files = [self._file(source, split, str(n), kind) for split in SPLITS for n in ids[split] for kind in KINDS]
        for file in files:
            if not is_file(file):
                trained = for_training(file)
                alone = f", and {trained.name} tells 19 classes alone, not {self.classes}" if is_file(trained) else ""
                raise UserError(f"there is no file {file}{alone}; {HELP}")
        return Plan(source, ids, files)

    def _file(self, source: Path, split: str, name: str, kind: str) -> Path:
        """Where a picture, its disparity or its labels lie; of 19 classes, perhaps those for training."""
        file = path(source, split, name, kind)
        trained = for_training(file)
        return trained if self.classes == 19 and not is_file(file) and is_file(trained) else file

    def _names(self, source: Path, half: str) -> list[str]:
        folder, ending, *_ = KINDS["picture"]
        found: dict[str, Path] = {}
        for file in (file for town in entries(unpacked(source, folder) / half) for file in entries(town)):
            if file.name.endswith(f"_{ending}.png"):
                name = file.stem.removesuffix(f"_{ending}")
                if name in found:
                    raise UserError(f"{file} is there twice, also as {found[name]}: remove one; {HELP}")
                found[name] = file
        names, expected = sorted(found), OFFICIAL[half]
        if len(names) != expected and not (self.limit and len(names) < expected):
            raise UserError(
                f"{source / folder / half} holds {len(names)} pictures in its cities' folders, "
                f"expected {expected}; {HELP}"
            )
        return names

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read and convert a few pictures. See ``StreamedDataSet.make``."""
        samples = [self._sample(root, split, name) for name in ids]
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _sample(self, root: Path, split: str, name: str) -> dict[str, np.ndarray]:
        files = {kind: self._file(root, split, name, kind) for kind in KINDS}
        arrays = {
            kind: read_png(files[kind], shape=(*FULL, *channels), dtype=dtype, advice=HELP)
            for kind, (_, _, channels, dtype) in KINDS.items()
        }
        trained = files["labels"] != path(root, split, name, "labels")
        table, expected = (trained_table(), "0 to 18 and 255") if trained else (class_table(self.classes), "0 to 33")
        if (beyond := table[arrays["labels"]] == NO_LABEL).any():
            raise UserError(
                f"{files['labels']} holds the label {arrays['labels'][beyond][0]}, expected {expected}; {HELP}"
            )
        size = self.image_shape[1:]
        disparity = np.maximum(nearest(arrays["disparity"], size).astype(np.float64) - 1, 0) / 256 / DISPARITY_UNIT
        return {
            IMAGE: area_resized(arrays["picture"], size),
            "semantic": table[nearest(arrays["labels"], size)],
            "disparity": disparity.astype(np.float16)[None],
        }


def city(name: str) -> str:
    """The city that a picture's name begins with."""
    return name.partition("_")[0]


def unpacked(source: Path, folder: str) -> Path:
    """An official folder: in the one that is named, or in one that is called as its zip file is."""
    apart = source / f"{folder}_trainvaltest" / folder
    return apart if not is_folder(source / folder) and is_folder(apart) else source / folder


def path(source: Path, split: str, name: str, kind: str) -> Path:
    """Where a picture, its labels or its disparity lie."""
    folder, ending, *_ = KINDS[kind]
    return unpacked(source, folder) / ("val" if split == "test" else "train") / city(name) / f"{name}_{ending}.png"


def for_training(labels: Path) -> Path:
    """The file beside a picture's label ids that holds its classes, as the official scripts write it for training."""
    return labels.with_name(labels.name.replace("_labelIds", "_labelTrainIds"))
