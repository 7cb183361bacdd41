"""Records of runs: what a run was, what came of it, and how that is written as JSON."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.spec import Frozen, RunSpec, first_error

SCHEMA_VERSION: Literal[1] = 1

Status = Literal["ok", "diverged", "out-of-memory", "failed"]

#: Values by task.
ByTask = dict[str, float | None]


class TaskInfo(Frozen):
    """A task of the run's data set."""

    name: str
    kind: str
    channels: int
    classes: tuple[str, ...] = ()


class GradientRecord(Frozen):
    """How the tasks' gradients over the shared parameters met in an epoch: means over its sampled steps.

    Attributes:
        steps: how many steps were sampled.
        norms: length of each task's gradient.
        cosines: of each pair of tasks, under both names with a bar between, in the tasks' order.
        conflicts: share of pairs whose cosine was negative.
    """

    steps: int
    norms: ByTask
    cosines: dict[str, float | None]
    conflicts: float | None


class EpochRecord(Frozen):
    """One epoch. A number that is not finite is stored as null.

    Attributes:
        epoch: counted from 1.
        learning_rate: of the epoch's first step.
        losses: mean loss by split and task; training losses are means over the epoch's steps, while parameters move,
            the others means over pictures of the mean over each evaluated batch's valid targets.
        weights: mean weight of each task's loss over the epoch's steps; empty without weighting.
        metrics: by split, task and metric; empty where the epoch was not evaluated.
        gradients: None where no step was sampled, and where no parameter is shared.
    """

    epoch: int
    learning_rate: float
    losses: dict[str, ByTask]
    weights: ByTask
    metrics: dict[str, dict[str, dict[str, float | None]]]
    gradients: GradientRecord | None = None


class Cost(Frozen):
    """What the run took; None where it is not known.

    Attributes:
        parameters: of the model, without what belongs to the weighting.
        shared_parameters: those that more than one task's loss reaches.
        forward_flops: floating-point operations of one picture's forward pass.
        seconds_per_step: mean of the fastest epoch, which other work on the machine disturbed least, without the steps
            in which gradients were sampled.
        train_seconds: all training steps.
        wall_seconds: the whole run, with loading and evaluation.
        evaluation_seconds: all evaluations; what of the whole is neither this nor steps is loading, bookkeeping and
            checkpoints. None in records from before it was kept.
        peak_bytes: most memory held, on the GPU if there is one, else by the whole process.
        spilled: whether activations waited for backward passes off the device, in the whole run or since a checkpoint:
            that changes times and no other number.
    """

    parameters: int | None = None
    shared_parameters: int | None = None
    forward_flops: int | None = None
    seconds_per_step: float | None = None
    train_seconds: float | None = None
    wall_seconds: float | None = None
    peak_bytes: int | None = None
    evaluation_seconds: float | None = None
    spilled: bool = False


class Provenance(Frozen):
    """Where a record comes from.

    Attributes:
        packages: versions of the packages that decide the numbers, and of installed plugins.
        plugins: SHA-256 of each plugin file.
        device_type: None in records from before it was kept.
        workers: runs at once on the machine, which slow each other.
        cuda_graphs: whether steps were to be replayed as CUDA graphs; None on the CPU.
    """

    suite_version: str
    git_commit: str | None
    git_dirty: bool | None
    packages: dict[str, str]
    plugins: dict[str, str]
    python: str
    platform: str
    device: str
    precision: str
    threads: int
    workers: int
    data_hash: str | None
    started: str
    device_type: Literal["cpu", "cuda"] | None = None
    cuda_graphs: bool | None = None


class RunRecord(Frozen):
    """A run and what came of it.

    Attributes:
        reference: whether the architecture trains every task alone, so that Δm is taken against it.
        error: what went wrong, where the status is not ``ok``.
        fallbacks: steps in which the weighting's solver failed and fell back; None for weightings that do not count.
        truth: name of the file with the pictured test samples' inputs and targets.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    spec: RunSpec
    reference: bool
    status: Status
    error: str | None = None
    tasks: tuple[TaskInfo, ...]
    curves: tuple[EpochRecord, ...]
    cost: Cost
    fallbacks: int | None = None
    provenance: Provenance
    truth: str | None = None


def read_record(path: Path) -> RunRecord:
    """Read and validate one record.

    Raises:
        UserError: the file is unreadable, truncated, of another schema, or its identity does not fit its spec.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    return parse_record(content, str(path))


def parse_record(content: str | bytes, name: str) -> RunRecord:
    """The record in ``content``, which came from ``name``.

    Raises:
        UserError: see ``read_record``.
    """
    try:
        record = RunRecord.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{name} {_flaw(content, error)}") from error
    if record.id != record.spec.id:
        raise UserError(f"{name} says it is run {record.id}, but its spec is run {record.spec.id}: it was edited")
    return record


def _flaw(content: str | bytes, error: ValidationError) -> str:
    """What is wrong with a file that is no valid record."""
    try:
        raw: Any = json.loads(content if isinstance(content, str) else content.decode())
    except UnicodeDecodeError as broken:
        return f"cannot be read ({broken})"
    except (ValueError, RecursionError) as broken:
        return f"is not whole JSON ({broken})"
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        return f"has record schema {version!r:.80}; this suite reads {SCHEMA_VERSION}"
    return f"is no valid record: {first_error(error)}"


def record_bytes(record: RunRecord) -> bytes:
    """A record's file."""
    return (record.model_dump_json(indent=1) + "\n").encode()
