"""Where an architecture's tasks attend: its masks, a strip for each task and picture with a tile for each level."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib import colormaps
from PIL import Image

from benchmark.report.images import FOLDER, draw_input, keep_picture, sample_name
from benchmark.runs.artifacts import ArrayKey, OfMasks
from benchmark.runs.record import RunRecord, TaskInfo
from benchmark.runs.store import Store

#: What a file may hold at most: (L, h, w).
LARGEST = (16, 128, 128)
#: Pixels between two tiles of a strip.
GAP = 2
#: From the least value to the greatest: lightness rises evenly, and is told apart without colours.
PALETTE = (255 * colormaps["cividis"](np.linspace(0, 1, 255))[:, :3]).round().astype(np.uint8).tobytes() + bytes(3)
#: The palette's last place, of pixels where there is nothing.
CLEAR = 255


@dataclass(frozen=True)
class Strip:
    """One picture's masks of one task: paths within the report."""

    sample: str
    input: str
    file: str


@dataclass(frozen=True)
class TaskAttention:
    """A task's masks.

    Attributes:
        levels: each level's name, and the values of its darkest and brightest shade in words.
    """

    task: str
    levels: tuple[tuple[str, str], ...]
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Attention:
    """The masks of one run.

    Attributes:
        size: width and height of an input.
        tile: width and height of a strip's tile.
        files: content by path within the report.
    """

    tasks: tuple[TaskAttention, ...]
    size: tuple[int, int]
    tile: tuple[int, int]
    files: Mapping[str, bytes]


def draw_attention(
    tasks: Sequence[TaskInfo], arrays: Mapping[ArrayKey, np.ndarray], truth: Mapping[str, np.ndarray] | None, most: int
) -> Attention | None:
    """Draw what ``arrays`` hold of masks; None where that is nothing, or nothing that the store's form allows.

    Args:
        tasks: of the run.
        arrays: what the store keeps of the pictured samples.
        truth: those samples.
        most: pictures that are shown.
    """
    image = truth.get("image") if truth is not None else None
    pictures = [draw_input(one) for one in image[:most]] if image is not None and image.ndim else []
    if truth is None or image is None or not pictures or any(picture is None for picture in pictures):
        return None
    files: dict[str, bytes] = {}
    found: list[TaskAttention] = []
    tile = (0, 0)
    for task in tasks:
        masks = _masks(arrays, task.name, len(image))
        if masks is None:
            continue
        tile = (masks.shape[3], masks.shape[2])
        strips = [
            Strip(sample_name(truth, i), keep_picture(picture, files), _strip(masks[i], files))
            for i, picture in enumerate(pictures)
            if picture is not None
        ]
        found.append(TaskAttention(task.name, tuple(_levels(arrays, task.name)), tuple(strips)))
    first = pictures[0]
    if not found or first is None:
        return None
    return Attention(tuple(found), (first.shape[1], first.shape[0]), tile, files)


def attention_of(record: RunRecord, store: Store, most: int) -> Attention | None:
    """The masks of a run of ``store``; None where it kept none."""
    masks = store.masks(record)
    return draw_attention(record.tasks, masks, store.truth(record), most) if masks else None


def _masks(arrays: Mapping[ArrayKey, np.ndarray], task: str, count: int) -> np.ndarray | None:
    """A task's masks (P, L, h, w), if they and what belongs to them have the form that the store says."""
    masks, ends, levels = (arrays.get(OfMasks(task, part)) for part in ("masks", "ends", "levels"))
    if masks is None or ends is None or levels is None or masks.dtype != np.uint8 or masks.ndim != 4:
        return None
    fits = all(0 < size <= most for size, most in zip(masks.shape[1:], LARGEST, strict=True))
    known = ends.dtype.kind == "f" and levels.dtype.kind == "U" and len(masks) == count
    return masks if fits and known and ends.shape == (masks.shape[1], 2) and levels.shape == masks.shape[1:2] else None


def _levels(arrays: Mapping[ArrayKey, np.ndarray], task: str) -> list[tuple[str, str]]:
    ends = arrays[OfMasks(task, "ends")]
    return [
        (str(name), f"{low:.2f}–{high:.2f}" if np.isfinite([low, high]).all() else "")
        for name, (low, high) in zip(arrays[OfMasks(task, "levels")], ends, strict=True)
    ]


def _strip(masks: np.ndarray, files: dict[str, bytes]) -> str:
    """Levels side by side as one picture with a palette. (L, h, w) -> its path"""
    count, height, width = masks.shape
    places = np.full((height, count * (width + GAP) - GAP), CLEAR, np.uint8)
    for i, mask in enumerate(masks):
        left = i * (width + GAP)
        places[:, left : left + width] = np.minimum(mask, CLEAR - 1)
    digest = hashlib.sha256(b"strip" + str(masks.shape).encode() + masks.tobytes()).hexdigest()[:16]
    path = f"{FOLDER}/{digest}.png"
    if path not in files:
        picture, buffer = Image.fromarray(places), BytesIO()
        picture.putpalette(PALETTE)
        picture.save(buffer, "PNG", transparency=CLEAR, optimize=False)
        files[path] = buffer.getvalue()
    return path
