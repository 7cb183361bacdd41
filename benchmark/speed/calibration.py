"""What a training step of each of a board's rows costs, relative to one row of it: one file per board."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from benchmark.analysis.boards import Board, Row, row_by, row_of
from benchmark.errors import UserError
from benchmark.runs.files import ELSEWHERE, write_model
from benchmark.runs.record import Provenance
from benchmark.runs.spec import Component, Frozen, RunSpec, read_file
from benchmark.runs.store import Store
from benchmark.speed.alone import Alone, Job
from benchmark.speed.record import Spread
from benchmark.speed.timing import WARM_UP, alternate, described
from benchmark.speed.workload import Stepper, Workload

SCHEMA_VERSION: Literal[1] = 1
#: What makes a file.
COMMAND = "mtbench calibrate"
#: Steps that are timed as one, at least: one of them comes before the baseline's step and one after it.
GROUP = 2


class CalibratedRow(Frozen):
    """A row's step beside that of the baseline.

    Attributes:
        weighting: None without one.
        ratio: how many times as long as the neighbouring steps of the baseline its steps take; 1 of the baseline.
        seconds: of a step.
        baseline_seconds: of the neighbouring steps of the baseline.
        steps: that were timed.
        grouped: how many steps in turn were added up before ratios and quartiles were taken.
        peak_bytes: most memory in a step, in a process of its own (CPU) or of the device's allocator.
        error: why the row could not be measured.
    """

    architecture: Component
    weighting: Component | None
    ratio: Spread | None = None
    seconds: Spread | None = None
    baseline_seconds: Spread | None = None
    steps: int | None = None
    grouped: int | None = None
    peak_bytes: int | None = None
    error: str | None = None

    @property
    def key(self) -> Row:
        """As the board's records name the row."""
        return row_by(self.architecture, self.weighting)


class Calibration(Frozen):
    """The cost of steps on one board, measured on one machine under one set of conditions.

    Steps are those of the board's own training (network, picture size, batch, optimiser, arithmetic, precision), on
    random pictures and without augmentation.

    Attributes:
        board: the board's key.
        baseline: the row that the others are relative to, which is one of ``rows``.
        provenance: of the call that measured last; the others were made under the same ``conditions``.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    board: str
    baseline: tuple[Component, Component | None]
    rows: tuple[CalibratedRow, ...]
    provenance: Provenance

    @cached_property
    def by_row(self) -> dict[Row, CalibratedRow]:
        """The rows as the board's records name them."""
        return {row.key: row for row in self.rows}

    def relative(self, row: Row) -> tuple[float, float, float] | None:
        """How many times the baseline's step a row's step takes: median, lower and upper quartile.

        None where the row was not measured.
        """
        found = self.by_row.get(row)
        return (found.ratio.median, found.ratio.low, found.ratio.high) if found and found.ratio else None

    def relative_memory(self, row: Row) -> float | None:
        """A row's peak of memory over the baseline's; None where either is not known."""
        found, own = (self.by_row.get(name) for name in (row, row_by(*self.baseline)))
        return found.peak_bytes / own.peak_bytes if found and own and found.peak_bytes and own.peak_bytes else None

    @property
    def baseline_words(self) -> str:
        """The baseline's name, such as *split · equal*."""
        return named(*self.baseline)

    @property
    def words(self) -> str:
        """The conditions in words, such as *AMD EPYC, 1 thread, portable fp32, PyTorch 2.8.0*."""
        origin = self.provenance
        threads = f"{origin.threads} thread{'s' * (origin.threads != 1)}, " if origin.kind == "cpu" else ""
        arithmetic = f"{origin.numerics.arithmetic} " if origin.numerics else ""
        return f"{origin.device}, {threads}{arithmetic}{origin.precision}, PyTorch {origin.packages['torch']}"

    @property
    def heading(self) -> str:
        """What a column of these numbers is, in words."""
        return f"Time of a training step, relative to {self.baseline_words}, paired: {self.words}"

    def agrees(self, baseline: Row, provenance: Provenance) -> bool:
        """Whether rows that are measured so may stand beside those that are there."""
        return row_by(*self.baseline) == baseline and conditions(self.provenance) == conditions(provenance)


def named(architecture: Component, weighting: Component | None) -> str:
    """A row in words."""
    return f"{architecture.name} · {weighting.name}" if weighting else architecture.name


def conditions(origin: Provenance) -> dict[str, Any]:
    """What of a provenance decides how long steps take."""
    numerics = origin.numerics
    return {
        "device": (origin.kind, origin.device),
        "precision": origin.precision,
        "threads": origin.threads,
        "arithmetic": (numerics.arithmetic, numerics.instruction_set, numerics.libraries) if numerics else None,
        "torch": origin.packages.get("torch"),
        "graphs": origin.cuda_graphs,
    }


def measure_rows(
    specs: Sequence[RunSpec],
    baseline: RunSpec,
    load: Workload,
    *,
    steps: int,
    alone: Alone | None = None,
    begun: Callable[[RunSpec], None] = lambda spec: None,
) -> Iterator[CalibratedRow]:
    """Time each row's steps in turn with those of the baseline.

    Ratios are of groups of steps, not of single ones: of as many as it takes until the cost of a step repeats
    (``Weighting.period``), and of ``GROUP`` at least. A row that cannot take a step here gives one that says so,
    whatever it raises.

    Args:
        specs: a run of each row that is to be measured.
        baseline: a run of the row that the others are relative to.
        load: that of the board.
        steps: to time of each row; so many more that groups are whole.
        alone: measures memory; None leaves it out.
        begun: told of each row before it is timed.

    Raises:
        UserError: the baseline cannot take a step.
    """
    load.hardware.set_up()
    try:
        own = Stepper(baseline.architecture, baseline.weighting, load)
        own.step()
    except (Exception, SystemExit) as error:
        name = named(baseline.architecture, baseline.weighting)
        raise UserError(f"'{name}', which others are relative to, cannot take a step ({described(error)})") from error
    for spec in specs:
        begun(spec)
        load.hardware.set_up()
        try:
            found = _unit(own, spec, steps) if row_of(spec) == row_of(baseline) else _measured(own, spec, steps)
            peak = alone.run(Job(spec.architecture, spec.weighting, load)).peak_bytes if alone else None
            yield found.model_copy(update={"peak_bytes": peak})
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a method is foreign code: what it raises is told in its row
            yield CalibratedRow(architecture=spec.architecture, weighting=spec.weighting, error=described(error))


def _unit(own: Stepper, spec: RunSpec, steps: int) -> CalibratedRow:
    """The baseline's own row, whose ratio is 1."""
    for _ in range(WARM_UP):
        own.step()
    seconds = Spread.from_values([own.step() for _ in range(steps)])
    one = Spread(low=1.0, median=1.0, high=1.0)
    return CalibratedRow(
        architecture=spec.architecture,
        weighting=spec.weighting,
        ratio=one,
        seconds=seconds,
        baseline_seconds=seconds,
        steps=steps,
        grouped=1,
    )


def _measured(own: Stepper, spec: RunSpec, steps: int) -> CalibratedRow:
    tried = Stepper(spec.architecture, spec.weighting, own.load)
    period = tried.weighting.period if tried.weighting else 1
    size = period * ceil(GROUP / period)
    count = size * ceil(steps / size)
    mine, others = (_means(seconds, size) for seconds in alternate(tried, own, count))
    return CalibratedRow(
        architecture=spec.architecture,
        weighting=spec.weighting,
        ratio=Spread.from_values([a / b for a, b in zip(mine, others, strict=True)]),
        seconds=Spread.from_values(mine),
        baseline_seconds=Spread.from_values(others),
        steps=count,
        grouped=size,
    )


def _means(values: Sequence[float], size: int) -> list[float]:
    """The mean of every ``size`` values in turn."""
    return [mean(values[start : start + size]) for start in range(0, len(values), size)]


def load(store: Store, board: Board) -> Calibration | None:
    """What the store knows of a board's costs; None where nothing was measured.

    Raises:
        UserError: there is a file, but it is no valid calibration of this board.
    """
    path = file_of(store, board)
    if not path.exists():
        return None
    found = read_file(path, Calibration, version=SCHEMA_VERSION, command=COMMAND)
    if found.board != board.key:
        raise UserError(f"{path} is of the board {found.board}: it was renamed; make it again with '{COMMAND}'")
    return found


def save(calibration: Calibration, store: Store, board: Board) -> Path:
    """Write a board's costs, whole or not at all; return the file.

    Raises:
        UserError: the file cannot be written.
    """
    return write_model(calibration, file_of(store, board), advice=ELSEWHERE)


def file_of(store: Store, board: Board) -> Path:
    """Where a board's costs lie."""
    return store.costs_path(board.dataset.name, board.key)
