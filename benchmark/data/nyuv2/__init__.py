"""NYUv2: indoor scenes with classes, depth and surface normals, from the official file."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.dataset import IMAGE, SPLITS, register_dataset
from benchmark.data.nyuv2.card import CARD
from benchmark.data.nyuv2.classes import FRAMES, RAW_CLASSES, class_names, class_table, official_split
from benchmark.data.nyuv2.labeled import FILE, HELP, Frame, Labeled, open_labeled
from benchmark.data.options import at_least_0, one_of
from benchmark.data.pictures import area_resized, nearest
from benchmark.data.plane_normals import Camera, plane_normals
from benchmark.data.streaming import Plan, StreamedDataSet, bounded
from benchmark.errors import UserError
from benchmark.tasks import Intrinsics, Stored, Task

#: What is left of a frame's 480 rows and 640 columns: the border that the projection of depth onto the colour camera
#: leaves empty is cut off. The usual box of depth evaluation (Eigen et al., NeurIPS 2014).
ROWS, COLUMNS = slice(45, 471), slice(41, 601)
#: The colour camera, onto which depth is projected. From the official toolbox's ``camera_params.m``, which counts
#: pixels from 1.
CAMERA = Camera(fx=518.85790117450188, fy=519.46961112127485, cx=325.58244941119034 - 1, cy=253.73616633400465 - 1)
#: Depth's range in metres.
FARTHEST = 10.0
#: One in this many of the official training frames makes the validation split, about.
VAL_SHARE = 10


@register_dataset
class NYUv2(StreamedDataSet):
    """1449 indoor frames: 13 or 40 classes, depth in metres, surface normals; from the official .mat file.

    Source: Silberman, Hoiem, Kohli & Fergus, "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012,
    in the form of Liu et al., CVPR 2019: 13 classes, 288×384. The authors' crop, resampling and normals were never
    published, so these are ours, and numbers compare with tables made from their files only roughly:

    * The frame is cut to rows 45 to 470 and columns 41 to 600 (from 0), 426×560 pixels. Pictures are resampled by area,
      classes, depth and normals by the nearest pixel. The scales of the two axes differ by 1.4 %.
    * ``depth="filled"`` takes the file's in-painted map, ``"raw"`` the measured one, with 0 where nothing was measured.
    * Normals are fitted to the measured map at full size (see ``plane_normals``) for either option: what was
      never measured has no normal. Axes are x right, y down, z forward; normals point to the camera.
    * Raw classes become 40 (Gupta et al., CVPR 2013) and then 13 (Couprie et al., ICLR 2013); unlabelled stays −1.
    * Test is the official one. Of the official training frames about a tenth is held out as val, by whole scenes: in
      the order of the SHA-256 of ``mtbench nyuv2 val <scene>``, every scene that still fits into the tenth, or the
      first one where none fits. The rule depends on nothing but the file. The resulting ids stand in the manifest; they
      cannot be listed here, since the scenes' names are in the official file alone. With 795 frames the tenth is 79,
      which is reached exactly if some scene of one frame comes late enough in the order.

    An id is the frame's number in the file, from 1, as in the official ``splits.mat``.

    Args:
        classes: 13 or 40.
        depth: ``filled`` or ``raw``.
        height: 288, or 36, 72, 144 for trials; the width is 4 / 3 of it.
        limit: at most this many samples of each split, the first ones; 0 for all of them. For trials: with a limit,
            a file of fewer frames will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "nyuv2"
    version = 1
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"height": 36, "limit": 8}

    def __init__(self, *, classes: int = 13, depth: str = "filled", height: int = 288, limit: int = 0) -> None:
        one_of("nyuv2: classes", classes, (13, 40))
        one_of("nyuv2: depth", depth, ("filled", "raw"))
        one_of("nyuv2: height", height, (288, 144, 72, 36))
        at_least_0("nyuv2: limit", limit)
        self.classes, self.depth, self.height, self.limit = classes, depth, height, limit
        self.tasks = (
            Task("semantic", "segmentation", classes, classes=class_names(classes)),
            Task("depth", "depth", 1),
            Task("normals", "normals", 3),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB, three quarters as high as wide."""
        return (3, self.height, self.height * 4 // 3)

    @property
    def intrinsics(self) -> Intrinsics:
        """The colour camera, for the frame as it is cut and resampled; here the first pixel's middle is (½, ½)."""
        x, y = self.image_shape[2] / (COLUMNS.stop - COLUMNS.start), self.image_shape[1] / (ROWS.stop - ROWS.start)
        column, row = CAMERA.cx + 0.5 - COLUMNS.start, CAMERA.cy + 0.5 - ROWS.start
        return Intrinsics(CAMERA.fx * x, CAMERA.fy * y, column * x, row * y)

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, a tenth of train held out; see the class for how exact that is."""
        official = {"train": 716, "val": 79, "test": 654}
        return {split: min(count, self.limit or count) for split, count in official.items()}

    @property
    def fields(self) -> dict[str, Stored]:
        """Depth ends at 10 metres."""
        return bounded(super().fields, depth=FARTHEST)

    def plan(self, source: Path) -> Plan:
        """Read the scenes' names. See ``StreamedDataSet.plan``."""
        with open_labeled(source) as labeled:
            if labeled.frames != FRAMES and not (self.limit and labeled.frames < FRAMES):
                raise UserError(f"{labeled.file} holds {labeled.frames} frames, expected {FRAMES}; {HELP}")
            scenes = labeled.scenes()
        numbers = {split: [n for n in ns if n <= len(scenes)] for split, ns in official_split().items()}
        val = held_out(numbers["train"], scenes)
        numbers |= {"train": [n for n in numbers["train"] if n not in val], "val": sorted(val)}
        ids = {split: np.array(numbers[split][: self.limit or None], np.int64) for split in SPLITS}
        return Plan(source, ids, (source / FILE,))

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read and convert a few frames. See ``StreamedDataSet.make``."""
        with open_labeled(root) as labeled:
            samples = [self._sample(labeled, number) for number in ids]
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _sample(self, labeled: Labeled, number: int) -> dict[str, np.ndarray]:
        frame = labeled.frame(number)
        if frame.labels.max() > RAW_CLASSES:
            raise UserError(
                f"{labeled.file} holds the label {frame.labels.max()} in frame {number}, "
                f"expected 0 to {RAW_CLASSES}; {HELP}"
            )
        size = self.image_shape[1:]

        def resampled(values: np.ndarray) -> np.ndarray:
            return nearest(values[..., ROWS, COLUMNS], size)

        return {
            IMAGE: area_resized(frame.image[ROWS, COLUMNS], size),
            "semantic": class_table(self.classes)[resampled(frame.labels)],
            "depth": resampled(self._depth(frame)).clip(0, FARTHEST).astype(np.float16)[None],
            "normals": resampled(plane_normals(frame.measured, CAMERA)).astype(np.float16),
        }

    def _depth(self, frame: Frame) -> np.ndarray:
        return frame.filled if self.depth == "filled" else frame.measured


def held_out(train: Sequence[int], scenes: Sequence[str]) -> set[int]:
    """The training frames, numbered from 1, that are validated on: whole scenes, by the rule that ``NYUv2`` states."""
    members: dict[str, list[int]] = {}
    for number in train:
        members.setdefault(scenes[number - 1], []).append(number)
    order = sorted(members, key=lambda scene: hashlib.sha256(f"mtbench nyuv2 val {scene}".encode()).digest())
    room = len(train) // VAL_SHARE
    val: set[int] = set()
    for scene in order:
        if len(val) + len(members[scene]) <= room:
            val.update(members[scene])
    return val or set(members[order[0]] if order else ())
