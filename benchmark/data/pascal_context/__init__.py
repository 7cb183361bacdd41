"""PASCAL-Context: photographs with classes, parts of people, saliency, surface normals and edges."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.camvid import boundaries
from benchmark.data.dataset import IMAGE, SPLITS, register_dataset
from benchmark.data.files import is_file, is_folder
from benchmark.data.lists import is_inside, lines, require_files
from benchmark.data.options import at_least_0, one_of
from benchmark.data.pascal_context.annotations import PARTS, labels_with_normals, read_labels, read_parts
from benchmark.data.pascal_context.card import CARD
from benchmark.data.pictures import area_resized, nearest, read_png, read_rgb
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UserError
from benchmark.tasks import Task

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
#: What the files hold where a pixel has no class.
VOID = 255
#: Pictures in the official lists.
OFFICIAL = {"train": 4998, "val": 5105}
#: Of every ten pictures of the official list ``train``, the one at this place is held out as val.
EVERY, PLACE = 10, 4
SAMPLES = {"train": 4498, "val": 500, "test": 5105}
SIZES = (256, 512, 128, 64, 32)
#: Values of a byte above this one are more than one half.
HALF = 127
LISTS = Path("ImageSets/Context")
HELP = "get PASCAL_MT.tgz and unpack it again"


@register_dataset
class PascalContext(StreamedDataSet):
    """10,103 photographs: 21 classes, 6 parts of people, saliency, surface normals and edges.

    Source: the archive PASCAL_MT of Maninis, Radosavovic & Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR
    2019, in the form of Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey", TPAMI 2021.

    Pictures have many sizes, and targets of one picture may differ in theirs: all become squares, as in the survey. It
    resamples pictures and normals by cubic splines, and thins edges to one pixel before; see the card for what else
    keeps published numbers apart.

    Test is the official val. Val is cut from the official train: every tenth picture of its list. An id is the
    picture's name, such as ``2008_000008``.

    Args:
        size: height and width of the pictures: 256, 512, 128, 64 or 32.
        limit: at most this many samples of each split, the first ones of the list; 0 for all of them. For trials: with
            a limit, shorter lists will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "pascal-context"
    version = 1
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"size": 32, "limit": 8}
    tasks = (
        Task("semantic", "segmentation", len(CLASSES), CLASSES),
        Task("human_parts", "segmentation", len(PARTS), PARTS),
        Task("saliency", "saliency", 1),
        Task("normals", "normals", 3),
        Task("edges", "boundaries", 1),
    )

    def __init__(self, *, size: int = 256, limit: int = 0) -> None:
        one_of("pascal-context: size", size, SIZES)
        at_least_0("pascal-context: limit", limit)
        self.size, self.limit = size, limit

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB squares."""
        return (3, self.size, self.size)

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, or the limit."""
        return {split: min(count, self.limit or count) for split, count in SAMPLES.items()}

    def plan(self, source: Path) -> Plan:
        """Read both lists, and see that every picture has its files. See ``StreamedDataSet.plan``."""
        root = next((folder for folder in (source, source / "PASCAL_MT") if is_folder(folder / LISTS)), None)
        if root is None:
            raise UserError(f"{source} holds neither a folder {LISTS} nor PASCAL_MT/{LISTS}; {CARD.obtain}")
        names = {half: self._names(root / LISTS / f"{half}.txt", half) for half in OFFICIAL}
        if twice := sorted(set(names["train"]) & set(names["val"])):
            raise UserError(f"{root / LISTS} names {twice[0]} in train.txt and in val.txt; {HELP}")
        held_out = [place % EVERY == PLACE for place in range(len(names["train"]))]
        train = [name for name, out in zip(names["train"], held_out, strict=True) if not out]
        val = [name for name, out in zip(names["train"], held_out, strict=True) if out]
        splits = {"train": train, "val": val, "test": names["val"]}
        ids = {split: np.array(splits[split][: self.limit or None], dtype=str) for split in SPLITS}
        pictures = [file for split in SPLITS for name in ids[split] for file in paths(root, str(name)).values()]
        require_files(pictures, HELP)
        return Plan(root, ids, [*(root / LISTS / f"{half}.txt" for half in OFFICIAL), *pictures])

    def _names(self, file: Path, half: str) -> list[str]:
        names, expected = list(lines(file, HELP)), OFFICIAL[half]
        for name in names:
            if not is_inside(name) or len(name.split()) > 1:
                raise UserError(f"{file} holds the line '{name[:80]}', expected the name of a picture; {HELP}")
        if len(set(names)) < len(names):
            raise UserError(f"{file} names a picture twice; {HELP}")
        if len(names) != expected and not (self.limit and len(names) < expected):
            raise UserError(f"{file} names {len(names)} pictures, expected {expected}; {HELP}")
        return names

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read and convert a few pictures. See ``StreamedDataSet.make``."""
        samples = [self._sample(paths(root, name)) for name in ids]
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _sample(self, files: Mapping[str, Path]) -> dict[str, np.ndarray]:
        size = self.image_shape[1:]
        labels = nearest(read_labels(files["labels"], HELP), size)
        colours = read_png(files["normals"], shape=(None, None, 3), dtype="uint8", advice=HELP)
        salient = read_png(files["saliency"], shape=(None, None), dtype="uint8", advice=HELP)
        return {
            IMAGE: area_resized(read_rgb(files["picture"], advice=HELP), size),
            "semantic": nearest(_classes(files["semantic"]), size),
            "human_parts": _parts(files["parts"], size),
            "saliency": np.where(nearest(salient, size) > HALF, 100, 0).astype(np.int8),
            "normals": _normals(nearest(colours.transpose(2, 0, 1), size), labels),
            "edges": boundaries(labels[None])[0],
        }


def paths(root: Path, name: str) -> dict[str, Path]:
    """Where a picture and its targets lie, by what they are."""
    voc, context = (root / "semseg" / folder / f"{name}.png" for folder in ("VOC12", "pascal-context"))
    return {
        "picture": root / "JPEGImages" / f"{name}.jpg",
        "semantic": voc if is_file(voc) else context,
        "parts": root / "human_parts" / f"{name}.mat",
        "saliency": root / "sal_distill" / f"{name}.png",
        "normals": root / "normals_distill" / f"{name}.png",
        "labels": root / "pascal-context" / "trainval" / f"{name}.mat",
    }


def _classes(file: Path) -> np.ndarray:
    labels = read_png(file, shape=(None, None), dtype="uint8", advice=HELP)
    if (beyond := labels[(labels >= len(CLASSES)) & (labels != VOID)]).size:
        raise UserError(f"{file} holds the class {beyond[0]}, expected 0 to {len(CLASSES) - 1} and {VOID}; {HELP}")
    return np.where(labels == VOID, -1, labels).astype(np.int8)


def _parts(file: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) int8 -> ``size``; −1 all over where no part is left, as the survey ignores such pictures."""
    found = read_parts(file, HELP)
    resampled = np.zeros(size, np.int8) if found is None else nearest(found, size)
    return resampled if resampled.any() else np.full(size, -1, np.int8)


def _normals(colours: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(3, H, W) bytes, −1 to 1 in 255 steps, and (H, W) labels -> (3, H, W) unit vectors; 0 where they do not count."""
    vectors = 2 * colours.astype(np.float64) / 255 - 1  # none is 0: no byte is
    x, y, z = vectors
    units = vectors / np.sqrt(x * x + y * y + z * z)
    return np.where(labels_with_normals()[labels], units, 0).astype(np.float16)
