"""What the index keeps of a record: a row of columns, its metrics, and what these are."""

import json

import numpy as np

from benchmark.record import RunRecord

#: What the numbers of a record are: of each evaluated epoch, split and task the names of its metrics, in order.
Keys = tuple[tuple[int, str, str, str | None, tuple[str, ...]], ...]
#: What the index says of one file; see ``COLUMNS``.
Row = tuple[object, ...]

COLUMNS = (
    "problem",
    "run", "dataset", "architecture", "weighting", "seed", "reference", "status", "error", "spec", "epochs",
    "data_hash", "started", "parameters", "seconds_per_step", "train_seconds", "wall_seconds", "peak_bytes",
)  # fmt: skip


def row_of(record: RunRecord) -> Row:
    """What the index says of a usable record."""
    spec, cost = record.spec, record.cost
    return (
        None,
        record.id, spec.dataset.name, spec.architecture.name, spec.weighting_name, spec.seed,
        record.reference, record.status, record.error, spec.model_dump_json(), len(record.curves),
        record.provenance.data_hash, record.provenance.started,
        _small(cost.parameters), cost.seconds_per_step, cost.train_seconds, cost.wall_seconds,
        _small(cost.peak_bytes),
    )  # fmt: skip


def _small(number: int | None) -> float | int | None:
    """What SQLite can hold: an integer of 64 bits, else the nearest float."""
    if number is None or abs(number) < 2**63:
        return number
    try:
        return float(number)
    except OverflowError:
        return None


def numbers_of(record: RunRecord) -> tuple[Keys, np.ndarray]:
    """Every metric of the curves: what each number is, which runs of a kind share, and the (N,) numbers."""
    kinds = {task.name: task.kind for task in record.tasks}
    keys, numbers = [], list[float | None]()
    for epoch in record.curves:
        for split, tasks in epoch.metrics.items():
            for task, values in tasks.items():
                keys.append((epoch.epoch, split, task, kinds.get(task), tuple(values)))
                numbers.extend(values.values())
    return tuple(keys), np.array(numbers, dtype=np.float64)  # None becomes NaN


def write_keys(keys: Keys) -> str:
    """As the index keeps them."""
    return json.dumps(keys)


def parse_keys(text: str) -> Keys:
    """What ``write_keys`` wrote."""
    return tuple((epoch, split, task, kind, tuple(names)) for epoch, split, task, kind, names in json.loads(text))
