"""What the index keeps of a record: a row of columns."""

import json

from benchmark.runs.record import RunRecord

#: What the index says of one record; see ``COLUMNS``.
Row = tuple[object, ...]

COLUMNS = (
    "run", "dataset", "architecture", "weighting", "seed", "reference", "status", "error", "spec", "epochs",
    "data_hash", "started", "parameters", "seconds_per_step", "train_seconds", "wall_seconds", "peak_bytes",
    "code",
)  # fmt: skip


def row_of(record: RunRecord) -> Row:
    """What the index says of a usable record."""
    spec, cost = record.spec, record.cost
    return (
        record.id, spec.dataset.name, spec.architecture.name, spec.weighting_name, spec.seed,
        record.reference, record.status, record.error, spec.model_dump_json(), len(record.curves),
        record.provenance.data_hash, record.provenance.started,
        cost.parameters, cost.seconds_per_step, cost.train_seconds, cost.wall_seconds,
        cost.peak_bytes,
        json.dumps(record.code, sort_keys=True) if record.code else None,
    )  # fmt: skip
