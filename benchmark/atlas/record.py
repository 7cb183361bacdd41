"""The record of the atlas: one file beside the runs' records."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmark.runs.files import ELSEWHERE, write_model
from benchmark.runs.spec import Component, Frozen, read_file

SCHEMA_VERSION: Literal[1] = 1
#: In the folder of records, above the data sets' folders, so that no scan of runs meets it.
FILE = "atlas.json"

#: Standard errors that the mean of a rule that draws may be apart without anybody wondering.
BY_CHANCE = 5.0

Relation = Literal["identical", "same direction", "distinct"]


class Settings(Frozen):
    """What rules are compared on.

    Attributes:
        matrices: how many random matrices of gradients.
        tasks, columns: of each.
        sequences, steps: rules with a memory are compared at the last step of so many sequences of so many matrices.
        epoch: steps of a sequence between two calls of ``Weighting.epoch_end``.
        learning_rate: of what a weighting learns in a sequence, and of the steps that it is told of.
        draws: of the means over draws that stand for a rule that draws.
    """

    matrices: int = Field(default=1000, ge=1)
    tasks: int = Field(default=3, ge=2)
    columns: int = Field(default=8, ge=2)
    sequences: int = Field(default=40, ge=1)
    steps: int = Field(default=30, ge=1)
    epoch: int = Field(default=5, ge=1)
    learning_rate: float = Field(default=0.02, gt=0)
    draws: int = Field(default=200, ge=2)


USUAL = Settings()


class MethodTraits(Frozen):
    """What a rule's direction depends on; a rule that draws is judged by its means over draws.

    Attributes:
        draws: whether two seeds give two directions of one step.
        order: by how much the direction changes when the tasks change places: the median over matrices of the change's
            length, relative to the direction's. Of a rule that draws: by how many standard errors its mean does.
        turn: by how many degrees the direction turns when one task's loss is multiplied by ten, the median; of a rule
            that draws, its mean direction.
        stretch: by what factor its length changes then, the median.
        absent: by how much a step without one task's labels differs from a step of the others alone, as ``order``.
        error: why the rule could not be asked; then nothing else is known.
    """

    weighting: Component
    draws: bool = False
    order: float | None = None
    turn: float | None = None
    stretch: float | None = None
    absent: float | None = None
    error: str | None = None

    def depends(self, trait: Literal["order", "absent"]) -> bool:
        """Whether a trait is more than rounding, or, of a rule that draws, than chance."""
        return (getattr(self, trait) or 0.0) > (BY_CHANCE if self.draws else 0.0)


class Pair(Frozen):
    """Two rules.

    Attributes:
        relation: on single matrices and at the ends of the sequences, all of them: ``identical`` to six digits, ``same
            direction`` up to the length, or ``distinct``.
        first: the same of single matrices alone, from which memory is left out.
        angle: between their directions on single matrices, in degrees, the median; ``widest`` the largest.
        later: the median at the ends of the sequences.
    """

    one: str
    other: str
    relation: Relation
    first: Relation
    angle: float
    widest: float
    later: float


class AtlasRecord(Frozen):
    """All rules and all pairs of them, by name."""

    schema_version: Literal[1] = SCHEMA_VERSION
    settings: Settings
    methods: tuple[MethodTraits, ...]
    pairs: tuple[Pair, ...]

    def pairs_of(self, name: str) -> list[tuple[str, Pair]]:
        """The pairs of one rule, by the other one's name, nearest first."""
        found = [
            (pair.other if pair.one == name else pair.one, pair)
            for pair in self.pairs
            if name in (pair.one, pair.other)
        ]
        return sorted(found, key=lambda one: (one[1].angle, one[1].later, one[0]))

    def alike(self, name: str, relation: Relation) -> list[str]:
        """The rules that stand in this relation to one."""
        return [other for other, pair in self.pairs_of(name) if pair.relation == relation]


def load(results: Path) -> AtlasRecord | None:
    """The record in a folder of records; None where there is none.

    Raises:
        UserError: there is a file, but it is no valid record.
    """
    path = results / FILE
    if not path.exists():
        return None
    return read_file(path, AtlasRecord, version=SCHEMA_VERSION, command="mtbench atlas")


def save(record: AtlasRecord, results: Path) -> Path:
    """Write the record, whole or not at all; return its file.

    Raises:
        UserError: the folder cannot be written.
    """
    return write_model(record, results / FILE, advice=ELSEWHERE)
