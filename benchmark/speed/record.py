"""What ``mtbench speed`` leaves: one record per call, and its file."""

from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Literal

import numpy as np

from benchmark.runs.files import write_model
from benchmark.runs.record import Provenance, TaskInfo
from benchmark.runs.spec import Component, Frozen, read_file

SCHEMA_VERSION: Literal[1] = 1
#: Of records in the folder of records, above the data sets' folders, so that no scan of runs meets them.
PATTERN = "speed*.json"

Axis = Literal["batch", "pixels", "tasks", "width"]
#: What a curve of growth may be fitted to.
Quantity = Literal["seconds", "bytes", "flops"]


class Spread(Frozen):
    """Quartiles of a sample."""

    low: float
    median: float
    high: float

    @classmethod
    def from_values(cls, values: Sequence[float]) -> "Spread":
        """Of one or more numbers."""
        low, median, high = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75)).tolist()
        return cls(low=low, median=median, high=high)


class Conditions(Frozen):
    """What the steps were made of; a point of growth differs from it along its own axis.

    Attributes:
        pairs: timed steps of each network.
        memory: what peaks are of: the ``device``'s allocator, or the ``process`` that trains the network alone, beyond
            what was resident in it before the network was built.
    """

    tasks: tuple[TaskInfo, ...]
    channels: int
    height: int
    width: int
    batch: int
    pairs: int
    memory: Literal["device", "process"]


class Peak(Frozen):
    """The machine's peak: floating-point operations per second of one large operation.

    Attributes:
        operation: ``matmul``, of square matrices, or ``convolution``, 3×3 and channels last.
        shape: of the operation, in words.
        rate: per second.
    """

    precision: str
    operation: Literal["matmul", "convolution"]
    shape: str
    rate: Spread


class ArchitectureSpeed(Frozen):
    """A network's step as runs take it, beside that of the same network trained plainly.

    Attributes:
        parameters: of the network.
        flops: floating-point operations of the plain step, forward and backward.
        seconds: of a step as runs take it.
        plain_seconds: of a plain step, see ``benchmark.speed.plain``.
        ratio: how many times as long the neighbouring plain step takes.
        peak_bytes: most memory in a step, in a process of its own.
        plain_peak_bytes: the same of the plain network.
        error: why it could not be measured.
    """

    architecture: Component
    parameters: int | None = None
    flops: int | None = None
    seconds: Spread | None = None
    plain_seconds: Spread | None = None
    ratio: Spread | None = None
    peak_bytes: int | None = None
    plain_peak_bytes: int | None = None
    error: str | None = None

    @property
    def rate(self) -> float | None:
        """The plain step's floating-point operations per second of a step as runs take it."""
        return self.flops / self.seconds.median if self.flops and self.seconds else None


class WeightingSpeed(Frozen):
    """A weighting's step against that of equal weights on the same network, one beside the other.

    Attributes:
        kind: what decides the cost, see ``cost_class``.
        needs: what the weighting looks at, in words.
        seconds: of a step.
        equal_seconds: of a step with equal weights.
        ratio: of neighbouring steps.
        limit: what the median ratio may be at most; None where nothing is promised.
        met: whether it is.
        peak_bytes: most memory in a step, in a process of its own.
        equal_peak_bytes: the same with equal weights.
        kept_bytes: what the weighting keeps between steps, rows of gradients above all.
        error: why it cannot be measured: the weighting does not go with this network.
    """

    architecture: Component
    weighting: Component
    kind: str | None = None
    needs: str | None = None
    seconds: Spread | None = None
    equal_seconds: Spread | None = None
    ratio: Spread | None = None
    limit: float | None = None
    met: bool | None = None
    peak_bytes: int | None = None
    equal_peak_bytes: int | None = None
    kept_bytes: int | None = None
    error: str | None = None


class GrowthPoint(Frozen):
    """One size along an axis, measured in a process of its own.

    Attributes:
        amount: how much of the axis: pictures, pixels of one picture, tasks, or channels of the first level.
        label: the same in words.
        flops: floating-point operations of the step, forward and backward.
        error: why it could not be measured, as where memory does not suffice.
    """

    amount: int
    label: str
    seconds: Spread | None = None
    peak_bytes: int | None = None
    flops: int | None = None
    error: str | None = None


class GrowthCurve(Frozen):
    """How a network's step grows along one axis while the rest stays as the conditions say."""

    architecture: Component
    axis: Axis
    points: tuple[GrowthPoint, ...]

    def values(self, of: Quantity) -> list[tuple[int, float]]:
        """Amounts and what is known of the quantity there, in the points' order."""
        read = {
            "seconds": lambda p: p.seconds and p.seconds.median,
            "bytes": lambda p: p.peak_bytes,
            "flops": lambda p: p.flops,
        }[of]
        return [(point.amount, float(found)) for point in self.points if (found := read(point))]

    def exponent(self, of: Quantity) -> float | None:
        """The power e of quantity ~ amountᵉ: the least-squares slope in logarithms; None of fewer than two amounts."""
        found = self.values(of)
        if len({amount for amount, _ in found}) < 2:
            return None
        x, y = np.log(np.array(found, dtype=float)).T
        return float(np.polyfit(x, y, 1)[0])


class SpeedRecord(Frozen):
    """One call of ``mtbench speed``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    conditions: Conditions
    peaks: tuple[Peak, ...] = ()
    architectures: tuple[ArchitectureSpeed, ...] = ()
    weightings: tuple[WeightingSpeed, ...] = ()
    growth: tuple[GrowthCurve, ...] = ()
    provenance: Provenance

    @property
    def networks(self) -> list[Component]:
        """The networks that were measured in any way, as often as they were."""
        return [row.architecture for rows in (self.architectures, self.weightings, self.growth) for row in rows]

    def peak(self, precision: str) -> float | None:
        """The faster operation's rate in a precision; None where none was measured."""
        return max((peak.rate.median for peak in self.peaks if peak.precision == precision), default=None)

    def share(self, row: ArchitectureSpeed) -> float | None:
        """A network's rate over the peak in the precision of its steps."""
        peak = self.peak(self.provenance.precision)
        return row.rate / peak if row.rate and peak else None

    @property
    def times_plain(self) -> float | None:
        """Geometric mean of the networks' median ratios; None without any."""
        found = [row.ratio.median for row in self.architectures if row.ratio]
        return geometric_mean(found) if found else None


def save(record: SpeedRecord, path: Path) -> None:
    """Write a record, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    write_model(record, path, advice="name another file with --json")


def files(results: Path) -> list[Path]:
    """The files of records in a folder of records, ordered by name."""
    return sorted(results.glob(PATTERN))


def load(path: Path) -> SpeedRecord:
    """Read one record.

    Raises:
        UserError: the file is unreadable or no valid record.
    """
    return read_file(path, SpeedRecord, version=SCHEMA_VERSION, command="mtbench speed")
