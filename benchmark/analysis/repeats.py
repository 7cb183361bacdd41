"""Whether a rerun gave the numbers of its record, bit for bit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.runs.artifacts import ArrayKey
from benchmark.runs.record import RunRecord, without_times

#: Where a number stands in a record: names of fields, of splits, tasks and metrics, and numbers of epochs.
Key = tuple[str | int, ...]
Value = str | int | float | bool | None
Arrays = Mapping[ArrayKey, np.ndarray]

#: What a run finds, in the record's order; ``trace`` is compared apart, since a hash says nothing of a size.
FIELDS = ("status", "tasks", "optimizer_groups", "curves", "cost", "fallbacks")
#: What stands for a number that one of two records does not have.
ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """The first place at which two records differ.

    Attributes:
        place: in words.
        before, after: what the record says there, and what came of the run when it was done again.
        share: how far apart they are, in standard deviations of that number over the seeds of its cell; None where
            they are no numbers, and where fewer than two seeds, or seeds without spread, tell of none.
        step: the first of the traced steps that differs; None where none does or none was traced.
    """

    place: str
    before: Value
    after: Value
    share: float | None = None
    step: int | None = None

    def __str__(self) -> str:
        """In one line."""
        far = f", {self.share:.2g} of the spread over seeds" if self.share is not None else ""
        since = f"; of the traced steps, step {self.step} is the first that differs" if self.step is not None else ""
        return f"{self.place}: {self.before} → {self.after}{far}{since}"


@dataclass(frozen=True)
class RerunResult:
    """Whether a record holds, and why, in words."""

    holds: bool
    words: str


def contents(record: RunRecord) -> dict[Key, Value]:
    """A record's results without its trace and its times, by place, in the record's order."""
    found = without_times(record).model_dump(mode="json", include=set(FIELDS), exclude={"cost": {"spilled"}})
    return {key: value for name in FIELDS for key, value in _leaves(found[name], (name,))}


def _leaves(value: Any, place: Key) -> Iterator[tuple[Key, Value]]:
    """The single values inside; elements of lists by the epoch or the name that they have, else by their number."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            named = inner if isinstance(inner, Mapping) else {}
            yield from _leaves(inner, (*place, named.get("epoch", named.get("name", number))))
    else:
        yield place, value


def first_difference(
    record: RunRecord,
    again: RunRecord,
    *,
    cell: Callable[[], Iterable[RunRecord]] = tuple,
    pictures: tuple[Arrays, Arrays] | None = None,
) -> Difference | None:
    """The first place at which a run's record and that of the same run done again differ in a bit.

    Times, memory and the machine do not count. Of records of two schemas, what the older one does not know does not
    count either.

    Args:
        record, again: of the same run.
        cell: gives records, those of the same cell among them; called where there is a difference, to say how large.
        pictures: the two runs' predictions for the pictured test samples.
    """
    step = first_other_step(record.trace, again.trace)
    before, after = contents(record), contents(again)
    for key in _compared(record, again, before, after):
        one, other = before.get(key, ABSENT), after.get(key, ABSENT)
        if not _same(one, other):
            return Difference(words_of(key), one, other, _share(key, one, other, _seeds(record, cell())), step)
    for name, one_array, other_array in _array_pairs(pictures):
        if found := _other_values(one_array, other_array):
            return Difference(f"pictures, {name}", *found, step=step)
    if step is not None:
        return Difference(f"step {step}, losses and parameters", record.trace[step], again.trace[step], step=step)
    return None


def compared_numbers(record: RunRecord, pictures: tuple[Arrays, Arrays] | None = None) -> int:
    """How many numbers of a record ``first_difference`` looks at, with those of its pictures and its hashes."""
    numbers = [value for value in contents(record).values() if isinstance(value, int | float)]
    return len(numbers) + len(record.trace) + sum(one.size for _, one, _ in _array_pairs(pictures) if one is not None)


def first_other_step(trace: Mapping[int, str], again: Mapping[int, str]) -> int | None:
    """The first step whose hash differs, of those that both runs traced; None where none does."""
    return next((step for step in sorted(trace.keys() & again.keys()) if trace[step] != again[step]), None)


def cell_of(record: RunRecord) -> str:
    """What the runs of all seeds of a cell share: their spec but for the seed, in JSON."""
    return record.spec.model_dump_json(exclude={"seed"})


def judge_steps(record: RunRecord, trace: Mapping[int, str], steps: int) -> RerunResult:
    """Whether the first steps of a run came back, by their hashes.

    Args:
        trace: of the run's first steps, done again.
        steps: how many of them.
    """
    known = {step: found for step, found in record.trace.items() if step <= steps}
    if not known:
        return RerunResult(
            False, "its record keeps no hashes of first steps, so that only the whole run can be compared"
        )
    listed = ", ".join(str(step) for step in sorted(known))
    if missing := known.keys() - trace.keys():
        return RerunResult(False, f"did not come as far as step {min(missing)}, whose hash its record has")
    if (step := first_other_step(known, trace)) is not None:
        native = " (native arithmetic does not promise it: compare the whole run)"
        promise = "" if record.spec.protocol.arithmetic == "portable" else native
        return RerunResult(False, f"differs in step {step}, the first that does of the traced ones ({listed}){promise}")
    return RerunResult(True, f"losses and parameters came back bit for bit in the traced steps ({listed})")


def other_packages(known: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Packages of a record whose versions are others here, in words."""
    return [
        f"{name} {number}, here {here.get(name, 'none')}" for name, number in known.items() if number != here.get(name)
    ]


def words_of(key: Key) -> str:
    """A place in a record in words, such as ``epoch 3, metrics, test, semantic, miou``."""
    parts = [f"epoch {key[1]}", *key[2:]] if key[0] == "curves" else list(key)
    return ", ".join(str(part) for part in parts)


def _compared(
    record: RunRecord, again: RunRecord, before: Mapping[Key, Value], after: Mapping[Key, Value]
) -> Iterable[Key]:
    """The places that are looked at: all of both, or all that the record of the older schema has."""
    if record.schema_version == again.schema_version:
        return {**before, **after}
    return before if record.schema_version < again.schema_version else after


def _same(one: Value, other: Value) -> bool:
    """Whether two values have the same bits: 0.0 and -0.0 do not."""
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    return one == other


def _seeds(record: RunRecord, records: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs of the record's cell that went well."""
    return [one for one in records if one.status == "ok" and cell_of(one) == cell_of(record)]


def _share(key: Key, one: Value, other: Value, cell: Sequence[RunRecord]) -> float | None:
    """|difference| over the standard deviation of that number over the seeds of a cell."""
    values = [value for record in cell if isinstance(value := contents(record).get(key), int | float)]
    if not (isinstance(one, int | float) and isinstance(other, int | float)) or len(values) < 2:
        return None
    deviation = float(np.std(values, ddof=1))
    return abs(other - one) / deviation if deviation > 0 else None


def _array_pairs(
    pictures: tuple[Arrays, Arrays] | None,
) -> Iterator[tuple[ArrayKey, np.ndarray | None, np.ndarray | None]]:
    one, other = pictures or ({}, {})
    return ((name, one.get(name), other.get(name)) for name in sorted({**one, **other}, key=str))


def _other_values(one: np.ndarray | None, other: np.ndarray | None) -> tuple[str, str] | None:
    """How two arrays differ, in words; None where they have the same bytes."""
    if one is None or other is None:
        return tuple("there" if array is not None else ABSENT for array in (one, other))  # type: ignore[return-value]
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return f"{one.dtype} {one.shape}", f"{other.dtype} {other.shape}"
    if one.tobytes() == other.tobytes():
        return None
    size = one.dtype.itemsize
    bits = [np.frombuffer(array.tobytes(), np.uint8).reshape(-1, size) for array in (one, other)]
    return f"{one.size} values", f"{int((bits[0] != bits[1]).any(axis=1).sum())} of them others"
