"""Measured contents of a report's data: class frequencies, histograms, samples with their ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from benchmark.errors import UserError
from benchmark.report.board import BoardPage
from benchmark.report.charts.plot import DASHES, Chart, Frame, labels
from benchmark.report.pictures import Sample, class_colours, class_name, truths
from benchmark.runs.datacards import Histogram, KeptCard, MeasuredField, Piece, read_card, read_samples
from benchmark.runs.record import TaskInfo
from benchmark.runs.store import Problem, Store

#: Classes up to this many get a bar each; more get one curve over their ranks.
MOST_BARS = 40
#: The style sheet's class of what is drawn, and the room above it.
COLOUR, HEADROOM = "ch", 1.05
#: Names of the components of unit vectors.
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class ClassLine:
    """A class: its colour where it is drawn, its shares by split in per cent, and its bar's length in per cent."""

    name: str
    colour: str
    shares: tuple[str, ...]
    bar: float


@dataclass(frozen=True)
class HistogramFigure:
    """A histogram as a picture and as a table of bins: their ends, and shares by split in per cent."""

    title: str
    svg: Markup
    unit: str
    bins: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class TaskValues:
    """What a task's values are.

    Attributes:
        unknown: share of places without truth by split, in per cent.
        ranges: least, mean and greatest value by split; empty for classes.
        classes: by frequency, in training the commonest first.
        ranked: the curve of many classes.
    """

    task: TaskInfo
    unit: str
    unknown: tuple[str, ...]
    ranges: tuple[tuple[str, str, str], ...] = ()
    classes: tuple[ClassLine, ...] = ()
    ranked: Markup | None = None
    histograms: tuple[HistogramFigure, ...] = ()


@dataclass(frozen=True)
class Part:
    """A piece of a set.

    Attributes:
        shape: of a picture in words, width first as in the boards' titles.
        samples: number by split.
    """

    shape: str
    samples: tuple[int, ...]
    values: tuple[TaskValues, ...]
    pictures: tuple[Sample, ...]


@dataclass(frozen=True)
class DataContents:
    """The data of one content hash.

    Attributes:
        pages: the boards whose runs use them.
        card: None where they were not measured.
    """

    data_hash: str
    pages: tuple[BoardPage, ...]
    card: KeptCard | None = None
    splits: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class ContentsByDataset:
    """All data of a report by data set, the files of their pictures, and cards that cannot be used."""

    by_dataset: Mapping[str, tuple[DataContents, ...]]
    files: Mapping[str, bytes]
    problems: tuple[Problem, ...]


def data_contents(pages: Sequence[BoardPage], store: Store) -> ContentsByDataset:
    """What is kept in ``store`` of the data of some boards."""
    users: dict[tuple[str, str], list[BoardPage]] = {}
    for page in pages:
        hashes = {r.provenance.data_hash: None for r in page.board.records if r.provenance.data_hash}
        for data_hash in hashes:
            users.setdefault((page.board.dataset.name, data_hash), []).append(page)
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    found: dict[str, tuple[DataContents, ...]] = {}
    for (name, data_hash), using in users.items():
        try:
            card = read_card(store, name, data_hash)
        except UserError as error:
            card = None
            problems.append(Problem(store.root / name, str(error)))
        contents = _data_contents(card, data_hash, using, store, files)
        found[name] = (*found.get(name, ()), contents)
    return ContentsByDataset(found, files, tuple(problems))


def _data_contents(
    card: KeptCard | None, data_hash: str, pages: Sequence[BoardPage], store: Store, files: dict[str, bytes]
) -> DataContents:
    if card is None:
        return DataContents(data_hash, tuple(pages))
    splits = tuple(card.pieces[0].splits) if card.pieces else ()
    kept = read_samples(store, card) if card.without_samples is None else [{}] * len(card.pieces)
    parts = [_part(piece, splits, arrays, files) for piece, arrays in zip(card.pieces, kept, strict=True)]
    return DataContents(data_hash, tuple(pages), card, splits, tuple(parts))


def _part(piece: Piece, splits: Sequence[str], arrays: Mapping[str, np.ndarray], files: dict[str, bytes]) -> Part:
    channels, *size = piece.image_shape or (0,)
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    shape = f"{' × '.join(map(str, reversed(size)))} px, {colours}"
    values = []
    for task in piece.tasks:
        fields = [
            piece.splits[s].fields[task.name] if _has(piece, s, task) else MeasuredField(known=0, unknown=0)
            for s in splits
        ]
        values.append(_task_values(task, piece.units.get(task.name, ""), splits, fields))
    samples = tuple(piece.splits[s].samples if s in piece.splits else 0 for s in splits)
    return Part(shape, samples, tuple(values), truths(piece.tasks, arrays, files))


def _has(piece: Piece, split: str, task: TaskInfo) -> bool:
    return split in piece.splits and task.name in piece.splits[split].fields


def _task_values(task: TaskInfo, unit: str, splits: Sequence[str], fields: Sequence[MeasuredField]) -> TaskValues:
    unknown = tuple(percent(f.unknown, f.known + f.unknown) for f in fields)
    if fields and fields[0].classes is not None:
        lines, ranked = _classes(task, splits, fields)
        return TaskValues(task, "", unknown, classes=lines, ranked=ranked)
    names = AXES if fields and len(fields[0].histograms) == len(AXES) else None
    several = max((len(f.histograms) for f in fields), default=0)
    figures = []
    for place in range(several):
        of = [f.histograms[place] if place < len(f.histograms) else None for f in fields]
        title = f"component {names[place]}" if names else task.name if several == 1 else f"channel {place + 1}"
        figures.append(_histogram(title, unit, splits, of))
    ranges = tuple((_number(f.minimum), _number(f.mean), _number(f.maximum)) for f in fields)
    return TaskValues(task, unit, unknown, ranges, histograms=tuple(figures))


def percent(part: int, whole: int) -> str:
    """A share in per cent, to three digits."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return "0" if not part else f"{share:.1f}" if share >= 0.95 else f"{share:.2g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3g}".replace("-", "−")


def _classes(
    task: TaskInfo, splits: Sequence[str], fields: Sequence[MeasuredField]
) -> tuple[tuple[ClassLine, ...], Markup | None]:
    """The classes, commonest first, and, where they are many, the curve of their shares."""
    first = fields[0].classes or ()
    order = sorted(range(len(first)), key=lambda place: -first[place])
    counts = [[_at(field.classes, place) for place in order] for field in fields]
    colours = class_colours(task)
    most = max(first, default=0) or 1
    lines = []
    for rank, place in enumerate(order):
        name = class_name(task, place)
        shares = tuple(percent(row[rank], field.known) for row, field in zip(counts, fields, strict=True))
        lines.append(ClassLine(name, colours.get(name, ""), shares, round(100 * first[place] / most, 1)))
    if len(order) <= MOST_BARS:
        return tuple(lines), None
    curves = [[100 * n / (field.known or 1) for n in row] for row, field in zip(counts, fields, strict=True)]
    label = f"{task.name}: shares of {len(order)} classes, in the order of their frequency in {splits[0]}"
    return tuple(lines), _ranked(curves, label)


def _at(counts: Sequence[int] | None, place: int) -> int:
    return counts[place] if counts is not None and place < len(counts) else 0


def _ranked(curves: Sequence[Sequence[float]], label: str) -> Markup:
    """Shares in per cent by rank; a line per split."""
    top = max(map(max, curves)) * HEADROOM or 1
    chart = Chart(Frame((1, len(curves[0])), (0, top), "class by frequency", "%", 440, 200, whole_x=True))
    for split, row in reversed(list(enumerate(curves))):
        points = [(float(rank), share) for rank, share in enumerate(row, 1)]
        chart.line(points, COLOUR, dashes=DASHES[split % len(DASHES)], kind="ln thin" if split else "ln")
    return chart.render(label)


def _histogram(title: str, unit: str, splits: Sequence[str], found: Sequence[Histogram | None]) -> HistogramFigure:
    """Shares of the values by bin, without the empty ones at both ends but one; 0 where a split's bins are others."""
    model = next(h for h in found if h is not None)
    bins = len(model.counts)
    edges = np.linspace(model.low, model.high, bins + 1).tolist()
    alike = [h if h and (h.low, h.high, len(h.counts)) == (model.low, model.high, bins) else None for h in found]
    shares = [[100 * n / (sum(h.counts) or 1) for n in h.counts] if h else [0.0] * bins for h in alike]
    filled = [i for i in range(bins) if any(row[i] for row in shares)] or [0, bins - 1]
    shown = range(max(0, filled[0] - 1), min(bins - 1, filled[-1] + 1) + 1)
    top = max(map(max, shares)) * HEADROOM or 1
    chart = Chart(Frame((edges[shown[0]], edges[shown[-1] + 1]), (0, top), unit, "% of the known values"))
    for split, row in enumerate(shares):
        outline = [(edge, row[i]) for i in shown for edge in edges[i : i + 2]]
        if split == 0:
            chart.band([(edge, 0.0) for edge, _ in outline], outline, COLOUR)
        chart.line(outline, COLOUR, dashes=DASHES[split % len(DASHES)])
    words = labels(edges)
    table = tuple((words[i], words[i + 1], tuple(f"{row[i]:.1f}" for row in shares)) for i in shown)
    return HistogramFigure(
        title, chart.render(f"{title}: histogram of the known values, {', '.join(splits)}"), unit, table
    )
