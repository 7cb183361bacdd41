"""How long steps take: weightings against equal weights, paired in one process. The record of it, and its file."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.spec import Component, Frozen, first_error
from benchmark.store import Provenance, TaskInfo, write_atomically
from benchmark.training.workload import Stepper, Workload, cost_class, limit

SCHEMA_VERSION: Literal[1] = 1
#: Of records in the folder of records, above the data sets' folders, so that no scan of runs meets them.
PATTERN = "speed*.json"
#: Steps of either network before the first that is timed.
WARM_UP = 2


class Spread(Frozen):
    """Quartiles of a sample."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one or more numbers."""
        low, median, high = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75)).tolist()
        return cls(low=low, median=median, high=high)


class Conditions(Frozen):
    """What the steps were made of.

    Attributes:
        pairs: timed steps of each network.
        memory: what peaks are of: the ``device``'s allocator, or the resident ``process`` (both with two networks).
    """

    tasks: tuple[TaskInfo, ...]
    channels: int
    height: int
    width: int
    batch: int
    pairs: int
    memory: Literal["device", "process"]


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
        peak_bytes: most memory in a step.
        equal_peak_bytes: the same in a step of equal weights, with both networks there too.
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


class SpeedRecord(Frozen):
    """One call of ``mtbench speed``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    conditions: Conditions
    weightings: tuple[WeightingSpeed, ...] = ()
    provenance: Provenance


def conditions(load: Workload, pairs: int) -> Conditions:
    """The conditions of a measurement."""
    channels, height, width = load.image_shape
    return Conditions(
        tasks=tuple(TaskInfo(name=t.name, kind=t.kind, channels=t.channels) for t in load.tasks),
        channels=channels,
        height=height,
        width=width,
        batch=load.batch,
        pairs=pairs,
        memory="process" if load.hardware.device == "cpu" else "device",
    )


def measure_weightings(
    architecture: Component,
    weightings: Sequence[Component],
    equal: Component,
    load: Workload,
    *,
    pairs: int,
    begun: Callable[[Component], None] = lambda weighting: None,
) -> Iterator[WeightingSpeed]:
    """Time each weighting on its own copy of a network, in turn with ``equal`` on another.

    A weighting that cannot train this network gives an entry that says so, whatever it raises.

    Args:
        architecture: the network.
        weightings: what to time.
        equal: what to compare with.
        load: pictures, tasks and hardware.
        pairs: how many steps of each.
        begun: told of each weighting before it is timed.

    Raises:
        UserError: the network cannot take a step with equal weights.
    """
    load.hardware.set_up()
    baseline = _baseline(architecture, equal, load)
    for weighting in weightings:
        begun(weighting)
        load.hardware.set_up()  # the last one's network is freed before this one's memory is measured
        try:
            yield _measure(baseline, architecture, weighting, pairs)
        except Exception as error:  # noqa: BLE001 - a method is foreign code: what it raises is told in its row
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            yield WeightingSpeed(architecture=architecture, weighting=weighting, error=reason)


def _baseline(architecture: Component, equal: Component, load: Workload) -> Stepper:
    try:
        stepper = Stepper(architecture, equal, load)
        stepper.step()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"'{architecture.name}' cannot take a training step here ({type(error).__name__}: {error}); try another "
            "--size, --width or --batch"
        ) from error
    return stepper


def _measure(baseline: Stepper, architecture: Component, weighting: Component, pairs: int) -> WeightingSpeed:
    load = baseline.load
    tried = Stepper(architecture, weighting, load)
    assert tried.weighting is not None  # built from a component
    mine, equals = alternate(tried, baseline, pairs)
    ratio = Spread.of([a / b for a, b in zip(mine, equals, strict=True)])
    kind = cost_class(tried.weighting)
    promised = limit(kind, len(load.tasks))
    return WeightingSpeed(
        architecture=architecture,
        weighting=weighting,
        kind=kind,
        needs=tried.weighting.needs(weighting.options | {"on": getattr(tried.weighting, "on", None)}),
        seconds=Spread.of(mine),
        equal_seconds=Spread.of(equals),
        ratio=ratio,
        limit=promised,
        met=None if promised is None else ratio.median <= promised,
        peak_bytes=tried.peak(),
        equal_peak_bytes=baseline.peak(),
        kept_bytes=tried.kept_bytes(),
    )


def alternate(first: Stepper, second: Stepper, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of ``pairs`` steps of both, side by side, each of them first every other time."""
    for _ in range(WARM_UP):
        first.step()
        second.step()
    firsts, seconds = [], []
    for pair in range(pairs):
        if pair % 2:
            seconds.append(second.step())
        firsts.append(first.step())
        if not pair % 2:
            seconds.append(second.step())
    return firsts, seconds


def save(record: SpeedRecord, path: Path) -> None:
    """Write a record, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); name another file with --json") from error


def load_all(results: Path) -> list[SpeedRecord]:
    """The records in a folder of records, ordered by name.

    Raises:
        UserError: a file is no valid record.
    """
    return [load(path) for path in sorted(results.glob(PATTERN))]


def load(path: Path) -> SpeedRecord:
    """Read one record.

    Raises:
        UserError: the file is unreadable or no valid record.
    """
    try:
        text = path.read_text()
        raw: Any = json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); make it again with 'mtbench speed'") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(f"{path} has schema {version!r}; this suite reads {SCHEMA_VERSION}: make it again")
    try:
        return SpeedRecord.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path} is no valid record: {first_error(error)}; make it again") from error
