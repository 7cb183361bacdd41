"""The record of the toy problem: one file beside the runs' records."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from benchmark.runs.files import ELSEWHERE, write_model
from benchmark.runs.record import Provenance
from benchmark.runs.spec import Component, Frozen, read_file

SCHEMA_VERSION: Literal[1] = 1
#: In the folder of records, above the data sets' folders, so that no scan of runs meets it.
FILE = "toy.json"
#: Significant digits of stored numbers.
DIGITS = 4


class Settings(Frozen):
    """How paths are made.

    Attributes:
        learning_rate: of Adam, on the point and on what a weighting learns with the model; constant. Adam's averages
            reach back over the same length of path at any rate: β is torch's default to the power of rate / 0.001.
        steps: at most.
        epoch: steps between two stored points, and between two calls of ``Weighting.epoch_end``.
        rest: a path that has reached the front ends early when an epoch moves it by less than this, start to end.
        reach: a path has reached the front when no point of the front is better in both losses by more than this.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    steps: int = Field(default=100_000, ge=1)
    epoch: int = Field(default=1_000, ge=1)
    rest: float = Field(default=1e-2, ge=0)
    reach: float = Field(default=0.1, gt=0)

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's."""
        power = self.learning_rate / 1e-3
        return 0.9**power, 0.999**power


#: Adam at 0.001 for 100 000 steps is Liu et al.'s (CAGrad); Navon et al. take 35 000, Liu et al. (FAMO) 50 000.
USUAL = Settings()


class Path2D(Frozen):
    """One path.

    Attributes:
        start: x and y.
        points: x, y and both losses, at the start and after every epoch; the last is the end.
        steps: how many were taken: fewer than allowed where the path came to rest.
        gap: by how much some point of the front is better in both losses than the end.
        reached: whether that is nothing to speak of.
        fallbacks: steps in which the weighting's solver failed; None for weightings that do not count.
        error: why the path ended, where the method failed.
    """

    start: tuple[float, float]
    points: tuple[tuple[float, float, float, float], ...]
    steps: int
    gap: float
    reached: bool
    fallbacks: int | None = None
    error: str | None = None


class MethodPaths(Frozen):
    """One weighting's paths, in the order of the starts."""

    weighting: Component
    paths: tuple[Path2D, ...]
    provenance: Provenance | None = None


class ToyRecord(Frozen):
    """All paths.

    Attributes:
        front: x, y and both losses along the Pareto front.
        methods: ordered by name.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    settings: Settings
    front: tuple[tuple[float, float, float, float], ...]
    methods: tuple[MethodPaths, ...]


def load(results: Path) -> ToyRecord | None:
    """The record in a folder of records; None where there is none.

    Raises:
        UserError: there is a file, but it is no valid record.
    """
    path = results / FILE
    if not path.exists():
        return None
    return read_file(path, ToyRecord, version=SCHEMA_VERSION, command="mtbench toy")


def save(record: ToyRecord, results: Path) -> Path:
    """Write the record, whole or not at all; return its file.

    Raises:
        UserError: the folder cannot be written.
    """
    return write_model(record, results / FILE, advice=ELSEWHERE, indent=None)


def rounded(numbers: Iterable[float]) -> Any:
    """The numbers with ``DIGITS`` significant digits, as a tuple."""
    return tuple(float(f"{number:.{DIGITS}g}") for number in numbers)
