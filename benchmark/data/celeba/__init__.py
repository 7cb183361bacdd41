"""CelebA: photographs of faces, and forty attributes of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.card import DataCard
from benchmark.data.celeba.card import CARD
from benchmark.data.celeba.lists import (
    ATTRIBUTE_LIST,
    ATTRIBUTES,
    FOLDERS,
    HELP,
    PARTITION_LIST,
    find_list,
    read_labels,
    read_partition,
)
from benchmark.data.dataset import IMAGE, SPLITS, register_dataset
from benchmark.data.files import is_folder
from benchmark.data.lists import require_files
from benchmark.data.options import at_least_0, one_of
from benchmark.data.pictures import area_resized, read_rgb
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UsageError, UserError, unknown
from benchmark.tasks import Task

SAMPLES = {"train": 162_770, "val": 19_867, "test": 19_962}
#: Height and width of the official files.
SHAPE = (218, 178, 3)
SIZES = (64, 128, 96, 32, 16)
PICTURES = "img_align_celeba"


@register_dataset
class CelebA(StreamedDataSet):
    """202,599 faces and 40 binary attributes, each a task: the case of many tasks.

    Source: Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015, as a multi-task problem by Sener &
    Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018: 64×64 pixels, official splits. (They
    resample by SciPy's bilinear ``imresize``.) An id is the file's name, such as ``000001.jpg``.

    Args:
        attributes: ``all``, or official names with commas between, such as ``Smiling,Male``: the tasks, in this order.
        size: height and width of the pictures: 64, 128, 96, 32 or 16.
        limit: at most this many samples of each split, the first ones of the list; 0 for all of them. For trials: with
            a limit, shorter lists will do.

    Raises:
        UsageError: there is no such attribute, one is named twice, or an option has another value.
    """

    name = "celeba"
    version = 1
    card: ClassVar[DataCard | None] = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"size": 16, "limit": 32}
    #: Every chunk of every array, of which there are 42, is waited for until it is down on the disk.
    chunk = 1024

    def __init__(self, *, attributes: str = "all", size: int = 64, limit: int = 0) -> None:
        one_of("celeba: size", size, SIZES)
        at_least_0("celeba: limit", limit)
        self.attributes, self.size, self.limit = attributes, size, limit
        self.names = chosen(attributes)
        self.tasks = tuple(Task(name, "binary", 1, ("no", "yes")) for name in self.names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB squares."""
        return (3, self.size, self.size)

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, or the limit."""
        return {split: min(count, self.limit or count) for split, count in SAMPLES.items()}

    def plan(self, source: Path) -> Plan:
        """Read both lists. See ``StreamedDataSet.plan``."""
        root = archive(source)
        lists = [find_list(root, name) for name in (PARTITION_LIST, ATTRIBUTE_LIST)]
        names = read_partition(lists[0])
        for split, expected in SAMPLES.items():
            if (found := len(names[split])) != expected and not (self.limit and found < expected):
                raise UserError(f"{lists[0]} gives '{split}' {found} pictures, expected {expected}; {HELP}")
        labelled = read_labels(lists[1]).names
        if len(unlabelled := np.setdiff1d(np.concatenate(list(names.values())), labelled)):
            raise UserError(f"{lists[1]} lacks {unlabelled[0]}, which {lists[0].name} names; {HELP}")
        ids = {split: names[split][: self.limit or None] for split in SPLITS}
        pictures = folder(root)
        files = [pictures / str(name) for split in SPLITS for name in ids[split]]
        require_files(files, f"unpack {PICTURES}.zip again")
        return Plan(root, ids, [*lists, *files])

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read a few pictures. See ``StreamedDataSet.make``."""
        pictures, size = folder(root), (self.size, self.size)
        values = read_labels(find_list(root, ATTRIBUTE_LIST)).rows(ids)
        return {
            IMAGE: np.stack([area_resized(_picture(pictures / name), size) for name in ids]),
            **{name: np.ascontiguousarray(values[:, ATTRIBUTES.index(name)]) for name in self.names},
        }


def _picture(file: Path) -> np.ndarray:
    image = read_rgb(file, advice=f"unpack {PICTURES}.zip again")
    if image.shape != SHAPE:
        height, width, _ = image.shape
        raise UserError(
            f"{file} has {width}×{height} pixels, expected {SHAPE[1]}×{SHAPE[0]}: take the aligned and cropped "
            f"pictures of {PICTURES}.zip"
        )
    return image


def chosen(attributes: str) -> list[str]:
    """The names that the option ``attributes`` stands for.

    Raises:
        UsageError: an attribute is unknown or named twice.
    """
    if not isinstance(attributes, str):
        raise UsageError(f"celeba: attributes must be names with commas between, not {attributes!r}")
    names = list(ATTRIBUTES) if attributes == "all" else [word.strip() for word in attributes.split(",")]
    for name in names:
        if name not in ATTRIBUTES:
            raise unknown("attribute of CelebA", name, ["all", *ATTRIBUTES])
    if len(set(names)) < len(names):
        raise UsageError(f"celeba: attributes names one twice: {attributes}")
    return names


def archive(source: Path) -> Path:
    """The folder below which lists and pictures lie: the one that is named, or one in it that others call so."""
    roots = [source, source / "celeba", source / "CelebA"]
    return next((root for root in roots if any(is_folder(root / f / PICTURES) for f in FOLDERS)), source)


def folder(root: Path) -> Path:
    """The folder of the pictures; some copies have another of the same name in it.

    Raises:
        UserError: there is none.
    """
    for name in FOLDERS:
        for place in (root / name / PICTURES / PICTURES, root / name / PICTURES):
            if is_folder(place):
                return place
    raise UserError(f"{root} holds no folder {PICTURES}; {CARD.obtain}")


__all__ = ["ATTRIBUTES", "SAMPLES", "CelebA", "chosen"]
