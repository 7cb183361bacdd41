"""Records of runs: what a run was, what came of it, and how that is written as JSON."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.arithmetic import Arithmetic
from benchmark.errors import UserError
from benchmark.runs.spec import LARGEST, Count, Positive, RunSpec, first_error

#: Of the records that are written now. Schema 1 had nothing of kinds, numerics, determinism, resumption, optimiser
#: groups and auxiliary losses, and no precision in the spec: it is read, and never written.
SCHEMA_VERSION: Literal[2] = 2
READABLE_SCHEMAS = (1, 2)

Status = Literal["ok", "diverged", "out-of-memory", "failed"]

#: A number that was measured; one that is not finite, or larger, is stored as null.
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
#: A short text, such as a name or a version; and one that may quote an exception.
Text = Annotated[str, Field(max_length=1000)]
LongText = Annotated[str, Field(max_length=1_000_000)]
#: Values by task.
ByTask = dict[str, Number | None]


class RecordModel(BaseModel):
    """A part of a record: immutable; a field that a later suite has added is kept as it came."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class MetricInfo(RecordModel):
    """What a report must know of a metric; see ``tasks.Metric``."""

    name: Text
    title: Text
    unit: Text
    higher_is_better: bool
    legacy: bool = False


class KindInfo(RecordModel):
    """What a report must know of a kind of task, so that it depends on no code but its own.

    Attributes:
        dense: whether every pixel is predicted.
        metrics: the first is the kind's own choice where one must stand for all.
    """

    dense: bool
    metrics: tuple[MetricInfo, ...]


class TaskInfo(RecordModel):
    """A task of the run's data set."""

    name: Text
    kind: Text
    channels: Positive
    classes: tuple[Text, ...] = ()


class GradientRecord(RecordModel):
    """How the tasks' gradients over the shared parameters met in an epoch: means over its sampled steps with labels.

    Attributes:
        steps: how many steps were sampled.
        norms: length of each task's gradient.
        cosines: of each pair of tasks, under both names with a bar between, in the tasks' order.
        conflicts: share of pairs whose cosine was negative.
    """

    steps: Count
    norms: ByTask
    cosines: ByTask
    conflicts: Number | None


class EpochRecord(RecordModel):
    """One epoch. A number that is not finite is stored as null, as is one that no batch of the epoch had a label for.

    Attributes:
        epoch: counted from 1.
        learning_rate: of the epoch's first step.
        losses: mean loss by split and task, over batches with a label of the task; training losses are means over the
            epoch's steps, while parameters move, the others means over pictures of the mean over each evaluated batch's
            valid targets.
        weights: mean weight of each task's loss over the epoch's steps with a label of it; empty without weighting.
        metrics: by split, task and metric; empty where the epoch was not evaluated.
        gradients: None where no step was sampled, and where no parameter is shared.
        auxiliary: mean training loss of each auxiliary prediction over the epoch's steps, by its name and task; empty
            for architectures that have none. They are part of their task's loss.
    """

    epoch: Positive
    learning_rate: Number
    losses: dict[str, ByTask]
    weights: ByTask
    metrics: dict[str, dict[str, ByTask]]
    gradients: GradientRecord | None = None
    auxiliary: dict[str, ByTask] = Field(default_factory=dict)


class Cost(RecordModel):
    """What the run took; None where it is not known.

    Attributes:
        parameters: of the model, frozen ones among them, without what belongs to the weighting; ``optimizer_groups``
            says how many are trained.
        shared_parameters: those that are no task's own, frozen ones among them.
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

    parameters: Count | None = None
    shared_parameters: Count | None = None
    forward_flops: Count | None = None
    seconds_per_step: Number | None = None
    train_seconds: Number | None = None
    wall_seconds: Number | None = None
    peak_bytes: Count | None = None
    evaluation_seconds: Number | None = None
    spilled: bool = False


class Numerics(RecordModel):
    """What decides the last bits of a run's numbers, besides its spec.

    Attributes:
        arithmetic: that the run asked for.
        instruction_set: whose kernels PyTorch took, such as ``AVX2`` or ``AVX512``.
        variables: of ``benchmark.arithmetic``, with which the process was started.
        libraries: versions of what computes: of MKL, oneDNN, CUDA and cuDNN, as far as there are any.
        probe: a hash of what a small network's steps gave in this process: two runs with the same probe computed alike.
    """

    arithmetic: Arithmetic
    instruction_set: Text
    variables: dict[str, Text]
    libraries: dict[str, Text]
    probe: Text | None = None


class OptimizerGroup(RecordModel):
    """Parameters that the optimiser treats alike.

    Attributes:
        name: what they are.
        parameters: how many numbers.
        learning_rate: at the start.
        weight_decay: of the optimiser's kind.
    """

    name: Text
    parameters: Count
    learning_rate: Number
    weight_decay: Number


class Provenance(RecordModel):
    """Where a record comes from.

    Attributes:
        packages: versions of the packages that decide the numbers, and of installed plugins.
        plugins: SHA-256 of each plugin file.
        device_type: None in records from before it was kept.
        workers: runs at once on the machine, which slow each other.
        cuda_graphs: whether steps were to be replayed as CUDA graphs; None on the CPU.
        numerics: None in records of schema 1.
        determinism: PyTorch's switches that decide whether a device computes the same twice, by name.
        resumed: how often the run went on from a checkpoint.
    """

    suite_version: Text
    git_commit: Text | None
    git_dirty: bool | None
    packages: dict[str, Text]
    plugins: dict[str, Text]
    python: Text
    platform: Text
    device: Text
    precision: Text
    threads: Count
    workers: Count
    data_hash: Text | None
    started: Text
    device_type: Literal["cpu", "cuda"] | None = None
    cuda_graphs: bool | None = None
    numerics: Numerics | None = None
    determinism: dict[str, bool | Text] = Field(default_factory=dict)
    resumed: Count = 0

    @property
    def kind(self) -> Literal["cpu", "cuda"]:
        """The kind of device; records from before it was kept are of fp32 on processors or of bf16 on CUDA."""
        known = self.device_type
        return known or ("cpu" if self.precision == "fp32" and "NVIDIA" not in self.device else "cuda")


class RunRecord(RecordModel):
    """A run and what came of it.

    Attributes:
        id: the run's identity, ``spec.id``.
        reference: whether the architecture trains every task alone, so that Δm is taken against it.
        status: how it ended.
        error: what went wrong, where the status is not ``ok``.
        fallbacks: steps in which the weighting's solver failed and fell back; None for weightings that do not count.
        truth: name of the file with the pictured test samples' inputs and targets.
        kinds: of the tasks, by name; empty in records of schema 1.
        trace: by number of a step, counted from 1, a hash of its losses and of the parameters after it
            (``training.trace``); of a few first steps of runs on the CPU.
        optimizer_groups: at the start; empty in records of schema 1, and where the run did not come so far.
        code: by part of the spec that a plugin file defines, the SHA-256 of that file (``runs.code``).
    """

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    id: str
    spec: RunSpec
    reference: bool
    status: Status
    error: LongText | None = None
    tasks: tuple[TaskInfo, ...]
    curves: tuple[EpochRecord, ...]
    cost: Cost
    fallbacks: Count | None = None
    provenance: Provenance
    truth: Text | None = None
    kinds: dict[str, KindInfo] = Field(default_factory=dict)
    optimizer_groups: tuple[OptimizerGroup, ...] = ()
    trace: dict[Positive, Text] = Field(default_factory=dict)
    code: dict[str, Text] = Field(default_factory=dict)


#: Parts of the cost that a clock and the machine's memory decide.
TIMES = ("seconds_per_step", "train_seconds", "wall_seconds", "peak_bytes", "evaluation_seconds")


def without_times(record: RunRecord) -> RunRecord:
    """All of a record that a run of the same code on the same machine gives again."""
    cost = record.cost.model_copy(update=dict.fromkeys(TIMES))
    origin = record.provenance.model_copy(update={"started": "", "resumed": 0})
    return record.model_copy(update={"cost": cost, "provenance": origin})


def parse_record(content: str | bytes, name: str) -> RunRecord:
    """The record in ``content``, which came from ``name``.

    Raises:
        UserError: it is truncated, of another schema, or its identity does not fit its spec.
    """
    try:
        record = RunRecord.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{name} {_flaw(content, error)}") from error
    if record.id != record.spec.id:
        raise UserError(f"{name} says it is run {record.id}, but its spec is run {record.spec.id}: it was edited")
    if record.provenance.precision != record.spec.protocol.precision:
        raise UserError(
            f"{name} was computed in {record.provenance.precision}, but its identity is that of a run in "
            f"{record.spec.protocol.precision}: it was edited, or is older than the precision in identities. Do it "
            f"again with --precision {record.provenance.precision}"
        )
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
    if version not in READABLE_SCHEMAS:
        return f"has record schema {version!r:.80}; this suite reads {' and '.join(map(str, READABLE_SCHEMAS))}"
    return f"is no valid record: {first_error(error)}"


def record_bytes(record: RunRecord) -> bytes:
    """A record's file. It stays byte for byte what it was: it gains no field that was added since."""
    added = None if record.code else {"code"}
    return (record.model_dump_json(indent=1, exclude_unset=record.schema_version == 1, exclude=added) + "\n").encode()
