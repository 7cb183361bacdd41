"""Pictured test samples: input, truth and each architecture's prediction."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.image import imsave

from benchmark.report.rows import Numbers, Row
from benchmark.store import RunRecord, Store, TaskInfo
from benchmark.tasks import KINDS

#: Folder of the report that holds the pictures.
FOLDER = "pictures"
MOST_SAMPLES = 6
LARGEST_SIDE = 2048


@dataclass(frozen=True)
class Tile:
    """One cell: a picture, or a word.

    Attributes:
        file: path within the report; None for a word.
        word: a class's name; a dash where there is nothing.
        right: whether a classification is right; None where that is no question.
    """

    file: str | None = None
    word: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Sample:
    """A test sample: its input and, per task, the truth and every architecture's prediction."""

    name: str
    input: Tile
    rows: tuple[tuple[str, tuple[Tile, ...]], ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class Gallery:
    """All pictured samples of a board.

    Attributes:
        shown: the rows whose runs are pictured, one per architecture, in the order of the tiles after the truth.
        legends: by task, classes and their colours.
        files: content by path within the report.
    """

    shown: tuple[tuple[Row, RunRecord], ...]
    samples: tuple[Sample, ...]
    legends: Mapping[str, tuple[tuple[str, str], ...]]
    files: Mapping[str, bytes]


def gallery(numbers: Numbers, store: Store) -> Gallery | None:
    """Draw what was kept; None where no run kept pictures.

    One run per architecture stands for it: its lowest seed under the weighting ``equal`` or, failing that, the first.
    All pictured runs share one set of samples, that of the first of them.
    """
    found = []
    for architecture in sorted({row.architecture for row in numbers.rows if row.finished}):
        rows = [row for row in numbers.rows if row.architecture == architecture and row.finished]
        row = min(rows, key=lambda row: (row.weighting != "equal", row.weighting))
        predictions = store.predictions(row.finished[0])
        if predictions is not None:
            found.append((row, row.finished[0], predictions))
    found.sort(key=lambda item: (not item[0].reference, item[0].architecture))
    truths = [record.truth for _, record, _ in found if record.truth is not None]
    truth = next((store.truth(record) for _, record, _ in found if record.truth is not None), None)
    found = [item for item in found if item[1].truth == truths[0]] if truths else []
    if truth is None or not found or "image" not in truth:
        return None
    files: dict[str, bytes] = {}
    predicted = [predictions for _, _, predictions in found]
    samples = [_sample(numbers, i, truth, predicted, files) for i in range(min(len(truth["image"]), MOST_SAMPLES))]
    return Gallery(
        tuple((row, record) for row, record, _ in found),
        tuple(sample for sample in samples if sample is not None),
        {task.name: legend for task in numbers.board.tasks if (legend := _legend(task))},
        files,
    )


def truths(tasks: Sequence[TaskInfo], arrays: Mapping[str, np.ndarray], files: dict[str, bytes]) -> tuple[Sample, ...]:
    """Samples with their truth alone; the files of their pictures go into ``files``."""
    found = []
    images = arrays.get("image", np.zeros(0))
    for index in range(len(images) if images.ndim == 4 else 0):
        picture = _input(images[index])
        name = _pick(arrays, "id", index)
        if picture is not None:
            rows = tuple((task.name, (_tile(task, _pick(arrays, task.name, index), None, files),)) for task in tasks)
            size = (picture.shape[1], picture.shape[0])
            found.append(Sample(str(index if name is None else name), Tile(_keep(picture, files)), rows, size))
    return tuple(found)


def class_colours(task: TaskInfo) -> Mapping[str, str]:
    """By class, the colour in which its kind draws it; empty where it is not drawn."""
    return dict(_legend(task))


def _sample(
    numbers: Numbers,
    index: int,
    truth: Mapping[str, np.ndarray],
    predicted: list[dict[str, np.ndarray]],
    files: dict[str, bytes],
) -> Sample | None:
    picture = _input(truth["image"][index])
    if picture is None:
        return None
    name = str(truth["id"][index]) if "id" in truth and index < len(truth["id"]) else str(index)
    rows = []
    for task in numbers.board.tasks:
        target = _pick(truth, task.name, index)
        tiles = [_tile(task, target, None, files)]
        tiles += [_tile(task, _pick(arrays, task.name, index), target, files) for arrays in predicted]
        rows.append((task.name, tuple(tiles)))
    return Sample(name, Tile(_keep(picture, files)), tuple(rows), (picture.shape[1], picture.shape[0]))


def _pick(arrays: Mapping[str, np.ndarray], task: str, index: int) -> np.ndarray | None:
    values = arrays.get(task)
    return np.asarray(values[index]) if values is not None and values.ndim and index < len(values) else None


def _input(image: np.ndarray) -> np.ndarray | None:
    """(C, H, W) uint8 with one or three channels -> (H, W, 3)."""
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[0] not in (1, 3):
        return None
    return _checked(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))


def _tile(task: TaskInfo, values: np.ndarray | None, target: np.ndarray | None, files: dict[str, bytes]) -> Tile:
    if values is None or task.kind not in KINDS:
        return Tile(word="–")
    if not KINDS[task.kind].dense:
        return _word(task, values, target)
    try:
        with np.errstate(all="ignore"):
            picture = _checked(KINDS[task.kind].draw(values))
    except (IndexError, TypeError, ValueError):  # the file holds something else than this kind of task
        picture = None
    return Tile(_keep(picture, files)) if picture is not None else Tile(word="–")


def _word(task: TaskInfo, values: np.ndarray, target: np.ndarray | None) -> Tile:
    if values.ndim or values.dtype.kind not in "iu":
        return Tile(word="–")
    known = target is not None and target.shape == () and target.dtype.kind in "iu" and int(target) >= 0
    right = bool(values == target) if known else None
    return Tile(word=class_name(task, int(values)), right=right)


def class_name(task: TaskInfo, index: int) -> str:
    """A class in words."""
    if index < 0:
        return "unknown"
    return task.classes[index] if index < len(task.classes) else f"class {index}"


def _legend(task: TaskInfo) -> tuple[tuple[str, str], ...]:
    """Classes and the colours in which their kind draws them."""
    if task.kind not in KINDS or not KINDS[task.kind].dense or not task.classes:
        return ()
    drawn = KINDS[task.kind].draw(np.arange(len(task.classes))[None])
    if drawn is None:
        return ()
    return tuple((name, "#" + bytes(drawn[0, i]).hex()) for i, name in enumerate(task.classes))


def _checked(picture: np.ndarray | None) -> np.ndarray | None:
    """The picture if it is one: (H, W, 3) uint8 of a sensible size."""
    if picture is None or picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        return None
    return picture if min(picture.shape[:2]) > 0 and max(picture.shape[:2]) <= LARGEST_SIDE else None


def _keep(picture: np.ndarray, files: dict[str, bytes]) -> str:
    """Encode a picture and name it by its content: equal pictures are kept once."""
    picture = np.ascontiguousarray(picture)
    digest = hashlib.sha256(str(picture.shape).encode() + picture.tobytes()).hexdigest()[:16]
    path = f"{FOLDER}/{digest}.png"
    if path not in files:
        buffer = BytesIO()
        # matplotlib's signature holds an address
        imsave(buffer, picture, format="png", metadata={"Software": None})  # type: ignore[dict-item]
        files[path] = buffer.getvalue()
    return path
