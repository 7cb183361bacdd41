"""Curves of rows: a quantity by epoch, over seeds."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.report.charts.plot import drawable, roomy
from benchmark.report.rows import Row
from benchmark.runs.record import EpochRecord

#: What an epoch has of a quantity; None where it has none.
Getter = Callable[[EpochRecord], float | None]


@dataclass(frozen=True)
class Series:
    """By epoch the mean over seeds, and the least and greatest of them; without a range for one seed."""

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    several: bool

    @property
    def still(self) -> bool:
        """Whether all runs have one and the same value throughout, but for rounding."""
        low, high = min(self.low), max(self.high)
        return high - low <= 1e-6 * max(abs(low), abs(high))

    @property
    def middle(self) -> list[tuple[float, float]]:
        """Points of the mean."""
        return list(zip(self.epochs, self.mean, strict=True))

    @property
    def ends(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Points of the range's lower and upper edge."""
        return (list(zip(self.epochs, self.low, strict=True)), list(zip(self.epochs, self.high, strict=True)))


def series(row: Row, value: Getter, most: int = 60) -> Series | None:
    """``value`` by epoch over the row's finished runs, at about ``most`` epochs; None where there is none."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for record in row.finished:
        for epoch in record.curves:
            found = value(epoch)
            if found is not None and drawable(found):
                by_epoch[epoch.epoch].append(found)
    if not by_epoch:
        return None
    kept = thinned(sorted(by_epoch), most)
    values = [by_epoch[epoch] for epoch in kept]
    return Series(
        tuple(kept),
        tuple(float(np.mean(v)) for v in values),
        tuple(min(v) for v in values),
        tuple(max(v) for v in values),
        len(row.finished) > 1,
    )


def thinned(epochs: list[int], most: int) -> list[int]:
    """At most about ``most`` epochs, first and last among them."""
    if len(epochs) <= most:
        return epochs
    kept = epochs[:: -(-len(epochs) // most)]
    return kept if kept[-1] == epochs[-1] else [*kept, epochs[-1]]


def common_limits(
    lines: Iterable[Series], start: float = 0.0, fence: float = np.inf, room: float = 0.06
) -> tuple[float, float] | None:
    """Common limits of several panels: of the means, so that a wide range cannot flatten all lines.

    Nor can a single epoch gone wrong: means beyond ``fence`` interquartile ranges leave the panel, and so do those of
    the first ``start`` of training.
    """
    lines = list(lines)
    end = max((line.epochs[-1] for line in lines), default=0)
    values = np.array(
        [m for line in lines for e, m in zip(line.epochs, line.mean, strict=True) if e > start * end], dtype=float
    )
    if not len(values):
        return None
    first, third = np.quantile(values, [0.25, 0.75])
    spread = third - first
    near = values[np.abs(values - (first + third) / 2) <= fence * spread] if spread else values
    return roomy(float(near.min()), float(near.max()), room)


def metric(split: str, task: str, name: str) -> Getter:
    """A metric of an epoch."""
    return lambda epoch: epoch.metrics.get(split, {}).get(task, {}).get(name)


def loss(split: str, task: str) -> Getter:
    """A loss of an epoch."""
    return lambda epoch: epoch.losses.get(split, {}).get(task)


def weight(task: str) -> Getter:
    """The weight of a task's loss in an epoch."""
    return lambda epoch: epoch.weights.get(task)


def conflicts(epoch: EpochRecord) -> float | None:
    """Share of conflicting pairs of gradients in an epoch, in per cent."""
    found = epoch.gradients.conflicts if epoch.gradients else None
    return None if found is None else 100 * found


def norm(task: str) -> Getter:
    """Length of a task's gradient over the shared parameters in an epoch."""
    return lambda epoch: epoch.gradients.norms.get(task) if epoch.gradients else None


def cosine(pair: str) -> Getter:
    """Cosine between two tasks' gradients in an epoch."""
    return lambda epoch: epoch.gradients.cosines.get(pair) if epoch.gradients else None


def pairs(rows: Iterable[Row]) -> list[str]:
    """Names of the pairs of tasks whose gradients were compared, in the records' order."""
    found: Mapping[str, None] = {
        pair: None
        for row in rows
        for record in row.finished[:1]
        for epoch in record.curves
        if epoch.gradients
        for pair in epoch.gradients.cosines
    }
    return list(found)


def mean_over_training(row: Row, value: Getter) -> list[float]:
    """By run, the mean over epochs."""
    found = []
    for record in row.finished:
        known = [v for epoch in record.curves if (v := value(epoch)) is not None and drawable(v)]
        if known:
            found.append(float(np.mean(known)))
    return found
