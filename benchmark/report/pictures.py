"""Pictured test samples: input, truth and each method's prediction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from benchmark.registry import WEIGHTINGS
from benchmark.report.attention import Attention, draw_attention
from benchmark.report.images import checked, draw_input, keep_picture, sample_name
from benchmark.report.rows import Numbers, Row
from benchmark.runs.artifacts import ArrayKey
from benchmark.runs.record import RunRecord, TaskInfo
from benchmark.runs.store import Store
from benchmark.tasks import KINDS

MOST_SAMPLES = 6
#: Methods in a gallery: each has a picture per sample and task.
MOST_METHODS = 60


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
    """A test sample: its input and, per task, the truth and every method's prediction."""

    name: str
    input: Tile
    rows: tuple[tuple[str, tuple[Tile, ...]], ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class PicturedMethod:
    """A row whose pictures are in the gallery.

    Attributes:
        record: the run that is pictured. Pictures are of its last epoch, whichever the board's numbers are of.
        first: whether it is shown at the start, before the reader chooses.
    """

    row: Row
    record: RunRecord
    first: bool

    @property
    def epoch(self) -> int:
        """The pictured epoch."""
        return self.record.curves[-1].epoch

    @property
    def elsewhere(self) -> str:
        """The epochs of the board's numbers in words; empty where they are the pictured one."""
        found = chosen(self.row, self.record)
        if found <= {self.epoch}:
            return ""
        return f"epoch {min(found)}" if len(found) == 1 else f"epochs {min(found)} to {max(found)}"


def chosen(row: Row, record: RunRecord) -> set[int]:
    """The epochs that the board's numbers of a run are of."""
    return set(row.epochs.get(record.spec.seed, {}).values())


@dataclass(frozen=True)
class Gallery:
    """All pictured samples of a board.

    Attributes:
        shown: the pictured methods in the order of the tiles after the truth: those of one architecture together.
        left: how many further methods kept pictures and are not in the gallery.
        legends: by task, classes and their colours.
        attended: masks of those that attend, each with its method's place in ``shown``.
        files: content by path within the report.
    """

    shown: tuple[PicturedMethod, ...]
    left: int
    samples: tuple[Sample, ...]
    legends: Mapping[str, tuple[tuple[str, str], ...]]
    attended: tuple[tuple[int, Attention], ...]
    files: Mapping[str, bytes]

    @property
    def groups(self) -> list[tuple[str, list[tuple[int, PicturedMethod]]]]:
        """By architecture its methods, each with its place in ``shown``."""
        return [(name, list(found)) for name, found in groupby(enumerate(self.shown), lambda i: i[1].row.architecture)]


def gallery(numbers: Numbers, store: Store) -> Gallery | None:
    """Draw what was kept; None where no run kept pictures.

    A method's first run by seed that kept pictures stands for it, of several one whose chosen epoch is pictured. The
    baseline weighting of each architecture or, failing that, the first one is shown at the start; of the others those
    with the best Δm are there to be chosen, so many that all together are ``MOST_METHODS``. All pictured runs share one
    set of samples, that of the first of them.
    """
    finished = [row for row in numbers.rows if row.finished]
    firsts: dict[str, Row] = {}
    for row in sorted(finished, key=lambda row: (row.architecture, *_place(row.weighting))):
        firsts.setdefault(row.architecture, row)
    order = sorted(firsts.values(), key=lambda row: (not row.reference, row.architecture))
    drawing, shown, left = Drawing(numbers.board.tasks), list[tuple[Row, RunRecord]](), 0
    for row in [*order, *(row for row in finished if firsts[row.architecture] is not row)]:
        if len(shown) >= MOST_METHODS:
            left += any(store.has_predictions(record) for record in row.finished)
        elif (record := next((r for r in _preferred(row) if drawing.add(r, store)), None)) is not None:
            shown.append((row, record))
    if not shown or drawing.truth is None:
        return None
    rank = {row.architecture: i for i, row in enumerate(order)}
    shown.sort(key=lambda kept: (rank[kept[0].architecture], *_place(kept[0].weighting)))
    ahead = [None, *(row.architecture for row, _ in shown)]
    methods = [
        PicturedMethod(row, record, row.architecture != before)
        for (row, record), before in zip(shown, ahead, strict=False)
    ]
    return Gallery(
        tuple(methods),
        left,
        tuple(drawing.samples([method.record.id for method in methods])),
        {task.name: legend for task in numbers.board.tasks if (legend := _legend(task))},
        tuple((i, found) for i, m in enumerate(methods) if (found := drawing.attended.get(m.record.id))),
        drawing.files,
    )


def _preferred(row: Row) -> list[RunRecord]:
    """A row's runs, those first whose last epoch was chosen."""
    return sorted(row.finished, key=lambda record: not chosen(row, record) <= {record.curves[-1].epoch})


class Drawing:
    """Pictures of one set of samples, run by run, so that no more than one run's predictions are in memory."""

    def __init__(self, tasks: Sequence[TaskInfo]) -> None:
        self.tasks = tasks
        self.name: str | None = None
        self.truth: dict[str, np.ndarray] | None = None
        self.files: dict[str, bytes] = {}
        self.tiles: dict[str, list[list[Tile]]] = {}
        self.attended: dict[str, Attention] = {}

    @property
    def places(self) -> range:
        """The samples that are drawn."""
        return range(min(len(self.truth["image"]), MOST_SAMPLES)) if self.truth else range(0)

    def add(self, record: RunRecord, store: Store) -> bool:
        """Draw a run's predictions; False where it kept none of these samples. The first run says which they are."""
        if record.truth is None or self.name not in (None, record.truth):
            return False
        predictions = store.predictions(record)
        if self.truth is None and predictions is not None:
            truth = store.truth(record)
            if truth is not None and "image" in truth and truth["image"].ndim:
                self.truth, self.name = truth, record.truth
        if predictions is None or self.truth is None:
            return False
        self.tiles[record.id] = [self._column(i, predictions) for i in self.places]
        if found := draw_attention(self.tasks, predictions, self.truth, MOST_SAMPLES):
            self.attended[record.id] = found
            self.files |= found.files
        return True

    def samples(self, runs: Sequence[str]) -> Iterator[Sample]:
        """The samples, with the pictures of ``runs`` in this order."""
        truth = self.truth or {}
        for i in self.places:
            picture = draw_input(truth["image"][i])
            if picture is None:
                continue
            columns = [self._column(i, None), *(self.tiles[run][i] for run in runs)]
            rows = [(task.name, tuple(column[k] for column in columns)) for k, task in enumerate(self.tasks)]
            size = (picture.shape[1], picture.shape[0])
            yield Sample(sample_name(truth, i), Tile(keep_picture(picture, self.files)), tuple(rows), size)

    def _column(self, index: int, predictions: Mapping[ArrayKey, np.ndarray] | None) -> list[Tile]:
        """A tile per task of one sample: what was predicted, or the truth."""
        found = []
        for task in self.tasks:
            target = _pick(self.truth or {}, task.name, index)
            values = _pick(predictions, task.name, index) if predictions is not None else target
            found.append(_tile(task, values, target if predictions is not None else None, self.files))
        return found


def truths(tasks: Sequence[TaskInfo], arrays: Mapping[str, np.ndarray], files: dict[str, bytes]) -> tuple[Sample, ...]:
    """Samples with their truth alone; the files of their pictures go into ``files``."""
    found = []
    images = arrays.get("image", np.zeros(0))
    for index in range(len(images) if images.ndim == 4 else 0):
        picture = draw_input(images[index])
        if picture is not None:
            rows = tuple((task.name, (_tile(task, _pick(arrays, task.name, index), None, files),)) for task in tasks)
            size = (picture.shape[1], picture.shape[0])
            found.append(Sample(sample_name(arrays, index), Tile(keep_picture(picture, files)), rows, size))
    return tuple(found)


def class_colours(task: TaskInfo) -> Mapping[str, str]:
    """By class, the colour in which its kind draws it; empty where it is not drawn."""
    return dict(_legend(task))


def _pick(arrays: Mapping[Any, np.ndarray], task: str, index: int) -> np.ndarray | None:
    values = arrays.get(task)
    return np.asarray(values[index]) if values is not None and values.ndim and index < len(values) else None


def _tile(task: TaskInfo, values: np.ndarray | None, target: np.ndarray | None, files: dict[str, bytes]) -> Tile:
    if values is None or task.kind not in KINDS:
        return Tile(word="–")
    if not KINDS[task.kind].dense:
        return _word(task, values, target)
    try:
        with np.errstate(all="ignore"):
            picture = checked(KINDS[task.kind].draw(values))
    except (IndexError, TypeError, ValueError):  # the file holds something else than this kind of task
        picture = None
    return Tile(keep_picture(picture, files)) if picture is not None else Tile(word="–")


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


def _place(weighting: str) -> tuple[bool, str]:
    """The baseline first, then by name."""
    return weighting != WEIGHTINGS.baseline, weighting
