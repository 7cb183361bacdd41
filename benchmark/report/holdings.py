"""What the data of a report measurably are: class frequencies, histograms, samples with their truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from benchmark.datacards import Histogram, KeptCard, MeasuredField, Piece, read_card, read_samples
from benchmark.errors import UserError
from benchmark.report.board import BoardPage
from benchmark.report.pictures import Sample, class_colours, truths
from benchmark.report.plot import DASHES, Chart, Frame, labels
from benchmark.store import Problem, Store, TaskInfo

#: Classes up to this many get a bar each; more get one curve over their ranks.
MOST_BARS = 60
#: Classes of a long table.
MOST_LISTED = 200
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
class Bars:
    """A histogram as a picture and as a table of bins: their ends, and shares by split in per cent."""

    title: str
    svg: Markup
    unit: str
    bins: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Values:
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
    histograms: tuple[Bars, ...] = ()


@dataclass(frozen=True)
class Part:
    """A piece of a set.

    Attributes:
        shape: of a picture in words, width first as in the boards' titles.
        samples: number by split.
    """

    shape: str
    samples: tuple[int, ...]
    values: tuple[Values, ...]
    pictures: tuple[Sample, ...]


@dataclass(frozen=True)
class Holding:
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
class Holdings:
    """All data of a report by data set, the files of their pictures, and cards that cannot be used."""

    by_dataset: Mapping[str, tuple[Holding, ...]]
    files: Mapping[str, bytes]
    problems: tuple[Problem, ...]


def holdings(pages: Sequence[BoardPage], store: Store) -> Holdings:
    """What is kept in ``store`` of the data of some boards."""
    users: dict[tuple[str, str], list[BoardPage]] = {}
    for page in pages:
        hashes = {r.provenance.data_hash: None for r in page.board.records if r.provenance.data_hash}
        for data_hash in hashes:
            users.setdefault((page.board.dataset.name, data_hash), []).append(page)
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    found: dict[str, tuple[Holding, ...]] = {}
    for (name, data_hash), using in users.items():
        try:
            card = read_card(store, name, data_hash)
        except UserError as error:
            card = None
            problems.append(Problem(store.root / name, str(error)))
        holding = _holding(card, data_hash, using, store, files)
        found[name] = (*found.get(name, ()), holding)
    return Holdings(found, files, tuple(problems))


def _holding(
    card: KeptCard | None, data_hash: str, pages: Sequence[BoardPage], store: Store, files: dict[str, bytes]
) -> Holding:
    if card is None:
        return Holding(data_hash, tuple(pages))
    splits = tuple(card.pieces[0].splits) if card.pieces else ()
    kept = read_samples(store, card) if card.without_samples is None else [{}] * len(card.pieces)
    parts = [_part(piece, splits, arrays, files) for piece, arrays in zip(card.pieces, kept, strict=True)]
    return Holding(data_hash, tuple(pages), card, splits, tuple(parts))


def _part(piece: Piece, splits: Sequence[str], arrays: Mapping[str, np.ndarray], files: dict[str, bytes]) -> Part:
    channels, *size = piece.image_shape or (0,)
    shape = f"{' × '.join(map(str, reversed(size)))} px, {'grey' if channels == 1 else f'{channels} channels'}"
    if channels == 3:
        shape = shape.replace("3 channels", "RGB")
    values = []
    for task in piece.tasks:
        fields = [
            piece.splits[s].fields[task.name] if _has(piece, s, task) else MeasuredField(known=0, unknown=0)
            for s in splits
        ]
        values.append(_values(task, piece.units.get(task.name, ""), splits, fields))
    samples = tuple(piece.splits[s].samples if s in piece.splits else 0 for s in splits)
    return Part(shape, samples, tuple(values), truths(piece.tasks, arrays, files))


def _has(piece: Piece, split: str, task: TaskInfo) -> bool:
    return split in piece.splits and task.name in piece.splits[split].fields


def _values(task: TaskInfo, unit: str, splits: Sequence[str], fields: Sequence[MeasuredField]) -> Values:
    unknown = tuple(percent(f.unknown, f.known + f.unknown) for f in fields)
    if fields and fields[0].classes is not None:
        lines, ranked = _classes(task, splits, fields)
        return Values(task, "", unknown, classes=lines, ranked=ranked)
    names = AXES if fields and len(fields[0].histograms) == len(AXES) else None
    several = max((len(f.histograms) for f in fields), default=0)
    figures = []
    for place in range(several):
        of = [f.histograms[place] if place < len(f.histograms) else None for f in fields]
        title = f"component {names[place]}" if names else task.name if several == 1 else f"channel {place + 1}"
        figures.append(_histogram(title, unit, splits, of))
    ranges = tuple((_number(f.minimum), _number(f.mean), _number(f.maximum)) for f in fields)
    return Values(task, unit, unknown, ranges, histograms=tuple(figures))


def percent(part: int, whole: int) -> str:
    """A share in per cent, to three digits."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return "0" if not part else f"{share:.1f}" if share >= 0.95 else f"{share:.2g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def _classes(
    task: TaskInfo, splits: Sequence[str], fields: Sequence[MeasuredField]
) -> tuple[tuple[ClassLine, ...], Markup | None]:
    counts = [{c.name: c.count for c in field.classes or ()} for field in fields]
    first = counts[0]
    order = sorted(first, key=lambda name: -first[name])
    most = max(first.values(), default=0) or 1
    colours = class_colours(task)
    lines = tuple(
        ClassLine(
            name,
            colours.get(name, ""),
            tuple(percent(count.get(name, 0), f.known) for count, f in zip(counts, fields, strict=True)),
            round(100 * first[name] / most, 1),
        )
        for name in order
    )
    if len(order) <= MOST_BARS:
        return lines, None
    shares = [
        [100 * count.get(name, 0) / (f.known or 1) for name in order] for count, f in zip(counts, fields, strict=True)
    ]
    chart = Chart(
        Frame(
            (1, len(order)), (0, max(map(max, shares)) * 1.05 or 1), "class by frequency", "%", 560, 200, whole_x=True
        )
    )
    for place, row in enumerate(shares):
        chart.line([(i, share) for i, share in enumerate(row, 1)], dashes=DASHES[place % len(DASHES)])
    return lines, chart.render(
        f"{task.name}: shares of {len(order)} classes, in the order of their frequency in {splits[0]}"
    )


def _histogram(title: str, unit: str, splits: Sequence[str], found: Sequence[Histogram | None]) -> Bars:
    known = [h for h in found if h is not None]
    alike = [h for h in known if (h.low, h.high, len(h.counts)) == (known[0].low, known[0].high, len(known[0].counts))]
    edges = np.linspace(known[0].low, known[0].high, len(known[0].counts) + 1).tolist()
    shares = [
        [100 * count / (sum(h.counts) or 1) for count in h.counts]
        if h in alike and h is not None
        else [0.0] * (len(edges) - 1)
        for h in found
    ]
    filled = [i for i in range(len(edges) - 1) if any(row[i] for row in shares)] or [0, len(edges) - 2]
    first, last = max(0, filled[0] - 1), min(len(edges) - 2, filled[-1] + 1)
    frame = Frame(
        (edges[first], edges[last + 1]),
        (0, max(max(row) for row in shares) * 1.05 or 1),
        unit, "% of the known values", 320, 200,
    )  # fmt: skip
    chart = Chart(frame)
    for place, row in enumerate(shares):
        steps = [(edge, row[i]) for i in range(first, last + 1) for edge in (edges[i], edges[i + 1])]
        base = [(edge, 0.0) for edge, _ in steps]
        if place == 0:
            chart.band(base, steps, "ch")
        chart.line(steps, "ch", dashes=DASHES[place % len(DASHES)])
    words = labels(edges)
    bins = tuple(
        (low, high, tuple(f"{row[i]:.1f}" for row in shares))
        for i, (low, high) in enumerate(pairwise(words))
        if first <= i <= last
    )
    return Bars(title, chart.render(f"{title}: histogram of the known values, {', '.join(splits)}"), unit, bins)
