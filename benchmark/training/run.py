"""One run, from its spec to its record: whatever happens inside becomes a record, never a crash of the grid."""

import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from time import perf_counter
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark.arithmetic import variables
from benchmark.data import SPLITS, AnySplit, DataSet, SeparateDataSet, SeparateSplit, Storage, build_dataset
from benchmark.errors import UserError
from benchmark.model import MultiTaskModel, build_model
from benchmark.record import (
    Cost,
    EpochRecord,
    KindInfo,
    MetricInfo,
    Numerics,
    OptimizerGroup,
    RunRecord,
    Status,
    TaskInfo,
)
from benchmark.registry import ARCHITECTURES, PLUGIN_FILES
from benchmark.spec import RunSpec, derive_seed
from benchmark.store import WHOLE_TEST
from benchmark.tasks import Task
from benchmark.training import provenance as source
from benchmark.training.attention import masks
from benchmark.training.augmentation import augment
from benchmark.training.checkpoint import Checkpoints, Policy, Stopped, restore, snapshot
from benchmark.training.engine import Diverged, Trainer
from benchmark.training.evaluation import Pictures, decide, predict
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import judging
from benchmark.training.layout import lay_out
from benchmark.training.optimizer import parameter_groups
from benchmark.training.predictions import weights_of, whole_split
from benchmark.training.probe import expected, probe
from benchmark.training.proof import cuda_graphs, objection
from benchmark.training.separate import SeparateModel
from benchmark.weighting import Weighting, build_weighting

#: Test samples whose pictures are kept, spread evenly over the split.
PICTURED = 4

#: What a RuntimeError says where memory ran out: torch's allocator for the CPU; a call of CUDA's, as those for pinned
#: memory and for a context are (cudaErrorMemoryAllocation); cuBLAS, cuSPARSE and cuSOLVER; cuDNN, whose name is newer
#: from version 9 on.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """A record; and, of a run that went well, predictions for the pictured test samples and the samples themselves."""

    record: RunRecord
    predictions: Arrays | None = None
    truth: Arrays | None = None
    #: False where the process should do no other run.
    sound: bool = True


@dataclass
class Progress:
    """What is known of a run so far: all that its record will say, however it ends."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Asked at the start: what is committed while a run is on did not make its numbers.
    git: tuple[str | None, bool | None] = field(default_factory=lambda: source.git_state())
    clock: float = field(default_factory=perf_counter)
    #: Seconds of the run before it was resumed here.
    earlier: float = 0.0
    curves: list[EpochRecord] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    fallbacks: int | None = None
    predictions: Arrays | None = None
    truth: Arrays | None = None
    sound: bool = True
    #: Of the process that did the run; None where that is gone.
    numerics: Numerics | None = None
    #: Times that the run went on from a checkpoint.
    resumed: int = 0
    optimizer_groups: tuple[OptimizerGroup, ...] = ()
    trace: Mapping[int, str] = field(default_factory=dict)

    def learn(self, **cost: int | float | None) -> None:
        """Fill in parts of the cost; the peak is the highest that was ever learnt."""
        if (peak := cost.get("peak_bytes")) is not None and self.cost.peak_bytes is not None:
            cost["peak_bytes"] = max(int(peak), self.cost.peak_bytes)
        self.cost = self.cost.model_copy(update=cost)

    def seconds(self) -> float:
        """Wall time, without that between an interruption and its resumption."""
        return self.earlier + perf_counter() - self.clock

    def state(self, peak_bytes: int | None) -> dict[str, Any]:
        """What a checkpoint must know, in plain containers."""
        self.learn(peak_bytes=peak_bytes)
        return {
            "started": self.started.isoformat(),
            "git": list(self.git),
            "seconds": self.seconds(),
            "curves": [epoch.model_dump_json() for epoch in self.curves],
            "peak_bytes": self.cost.peak_bytes,
            "spilled": self.cost.spilled,
            "resumed": self.resumed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        curves = [EpochRecord.model_validate_json(text) for text in state["curves"]]
        if [epoch.epoch for epoch in curves] != list(range(1, int(state["epoch"]) + 1)):
            raise ValueError("its curves are not those of its epochs")
        if state["peak_bytes"] is not None and not isinstance(state["peak_bytes"], int):
            raise ValueError("its peak is no number of bytes")
        if not isinstance(state["git"][0], str | None) or not isinstance(state["git"][1], bool | None):
            raise ValueError("its commit is none")
        if not isinstance(state["spilled"], bool):
            raise ValueError("whether activations were spilled is no truth value")
        if not isinstance(state["resumed"], int):
            raise ValueError("how often it was resumed is no number")
        started, (commit, dirty), seconds = (
            datetime.fromisoformat(state["started"]),
            state["git"],
            float(state["seconds"]),
        )
        self.learn(peak_bytes=state["peak_bytes"], spilled=self.cost.spilled or state["spilled"])
        self.curves, self.started, self.git, self.earlier = curves, started, (commit, dirty), seconds
        self.resumed = state["resumed"] + 1


def nothing(_: object) -> None:
    """Whoever asked is not told."""


@dataclass(frozen=True)
class Watcher:
    """Who follows a run, and may stop it.

    Attributes:
        epoch: told of each epoch that is done here.
        note: told in one line of what is unusual and stops nothing.
        stop: asked between two steps whether the run is to stop.
        checkpoints: None keeps none.
        keep_predictions: whether the outcome also holds the last epoch's decisions for the whole test split.
        keep_model: whether it also holds the network after the last epoch.
    """

    epoch: Callable[[EpochRecord], None] = nothing
    note: Callable[[str], None] = nothing
    stop: Callable[[], bool] = lambda: False
    checkpoints: Policy | None = None
    keep_predictions: bool = False
    keep_model: bool = False


def execute(
    spec: RunSpec,
    *,
    storage: Storage,
    hardware: Hardware,
    on_epoch: Callable[[EpochRecord], None] = nothing,
    watcher: Watcher | None = None,
) -> Outcome:
    """Do one run on a prepared data set, or the rest of it where there is a checkpoint.

    A number that is not finite, exhausted memory and any exception of a method end in a record with that status.

    Args:
        on_epoch: a watcher that wants epochs only.

    Raises:
        UserError: the data set is unknown, not prepared or damaged: no run of it can succeed, and nothing is recorded.
        UsageError: the spec's arithmetic cannot be had in this process, see ``Hardware.computing``.
        Stopped: the watcher wanted it; a checkpoint is written where the policy has a folder.
    """
    hardware = hardware.computing(spec.protocol)
    hardware.set_up()
    watcher = watcher or Watcher(on_epoch)
    # Before the method is: it may leave the process in another state.
    numerics = source.numerics(hardware, spec.protocol.arithmetic)
    progress = Progress(cost=Cost(spilled=hardware.spills), numerics=numerics)
    if spec.protocol.arithmetic == "portable" and expected() not in (None, probe()):
        watcher.note(
            f"portable arithmetic gives other bits on this processor ({probe()}) than where it was tried "
            f"({expected()}): its numbers will not be those of other machines"
        )
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    data_hash = dataset.content_hash(storage)
    checkpoints = Checkpoints(
        watcher.checkpoints, spec.id, _identity(hardware, data_hash), note=watcher.note, stop=watcher.stop
    )
    status, error = _attempt(
        spec, dataset, storage, hardware=hardware, progress=progress, watcher=watcher, checkpoints=checkpoints
    )
    progress.learn(wall_seconds=progress.seconds())
    record = _record(spec, dataset, status, error, hardware=hardware, progress=progress, data_hash=data_hash)
    return Outcome(record, progress.predictions, progress.truth, progress.sound)


def first_steps(spec: RunSpec, *, storage: Storage, hardware: Hardware, steps: int) -> dict[int, str]:
    """The trace of a run's first steps, which are done as ``execute`` does them; no process is started for that.

    A run that ends before, whatever the reason, gives the trace as far as it came.

    Raises:
        UserError: see ``execute``.
        UsageError: likewise.
    """
    hardware = hardware.computing(spec.protocol)
    hardware.set_up()
    progress, asked = Progress(git=(None, None)), count(1)
    watcher = Watcher(stop=lambda: next(asked) >= steps)
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    checkpoints = Checkpoints(None, spec.id, {}, stop=watcher.stop)
    with suppress(Stopped):
        _attempt(spec, dataset, storage, hardware=hardware, progress=progress, watcher=watcher, checkpoints=checkpoints)
    return {step: found for step, found in progress.trace.items() if step <= steps}


def _identity(hardware: Hardware, data_hash: str) -> dict[str, Any]:
    """What must be the same for a run to go on from a checkpoint as if it had never stopped; all else is its spec."""
    return {
        "code": source.code_hash(),
        "packages": source.packages(),
        "plugins": dict(PLUGIN_FILES),
        "data": data_hash,
        "device": hardware.name,
        "precision": hardware.precision,
        "number of threads": hardware.threads,
        "variables": variables(),
    } | ({"kernels": "deterministic"} if hardware.deterministic else {})


def lost(spec: RunSpec, reason: str, *, hardware: Hardware) -> Outcome:
    """The outcome of a run whose process is gone with all that it knew."""
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    record = _record(
        spec,
        dataset,
        "failed",
        reason,
        hardware=hardware.precise(spec.protocol),
        progress=Progress(),
        data_hash=None,
    )
    return Outcome(record)


def _record(
    spec: RunSpec,
    dataset: DataSet,
    status: Status,
    error: str | None,
    *,
    hardware: Hardware,
    progress: Progress,
    data_hash: str | None,
) -> RunRecord:
    return RunRecord(
        id=spec.id,
        spec=spec,
        reference=ARCHITECTURES[spec.architecture.name].factory.reference,
        status=status,
        error=error,
        tasks=tuple(TaskInfo(name=t.name, kind=t.kind, channels=t.channels, classes=t.classes) for t in dataset.tasks),
        curves=tuple(progress.curves),
        cost=progress.cost,
        fallbacks=progress.fallbacks,
        provenance=source.provenance(
            hardware,
            data_hash,
            progress.started,
            progress.git,
            numerics=progress.numerics,
            resumed=progress.resumed,
        ),
        truth=f"truth-{data_hash[:16]}.npz" if data_hash and progress.truth is not None else None,
        kinds={task.kind: _kind(task) for task in dataset.tasks},
        optimizer_groups=progress.optimizer_groups,
        trace=dict(progress.trace),
    )


def _kind(task: Task) -> KindInfo:
    shown = ("name", "title", "unit", "higher_is_better", "legacy")
    metrics = (MetricInfo(**{name: getattr(metric, name) for name in shown}) for metric in task.metrics)
    return KindInfo(dense=task.dense, metrics=tuple(metrics))


def _attempt(
    spec: RunSpec,
    dataset: DataSet,
    storage: Storage,
    *,
    hardware: Hardware,
    progress: Progress,
    watcher: Watcher,
    checkpoints: Checkpoints,
) -> tuple[Status, str | None]:
    def remember(epoch: EpochRecord) -> None:
        progress.curves.append(epoch)
        watcher.epoch(epoch)

    try:
        splits = {split: _loaded(dataset, split, storage, hardware) for split in SPLITS}
        with hardware.memory_peak() as peak, hardware.seeded(derive_seed("training", spec.seed)):
            try:
                trainer = _trainer(spec, dataset, splits, hardware=hardware, progress=progress, checkpoints=checkpoints)
                progress.trace = trainer.trace
                progress.optimizer_groups = parameter_groups(trainer.optimizer, spec.protocol)
                trainer.fit(remember, lambda: checkpoints.pause(lambda: snapshot(trainer) | progress.state(peak.now())))
            finally:
                progress.learn(peak_bytes=peak.now())
        progress.learn(
            seconds_per_step=min(trainer.step_seconds),
            train_seconds=sum(trainer.epoch_seconds),
            evaluation_seconds=trainer.evaluation_seconds,
        )
        if trainer.weighting is not None and hasattr(trainer.weighting, "fallbacks"):
            progress.fallbacks = int(cast(Tensor, trainer.weighting.fallbacks))
        with judging(trainer.model, hardware):
            _keep_pictures(trainer.model, splits["test"], hardware=hardware, progress=progress, note=watcher.note)
        if dataset.withheld:
            withheld = _loaded(dataset, dataset.withheld, storage, hardware)
            decisions = whole_split(trainer.model, withheld, hardware, f"{dataset.withheld}-")
            progress.predictions = (progress.predictions or {}) | decisions
        if watcher.keep_predictions:
            decisions = whole_split(trainer.model, splits["test"], hardware, WHOLE_TEST)
            progress.predictions = (progress.predictions or {}) | decisions
        if watcher.keep_model:
            progress.predictions = (progress.predictions or {}) | weights_of(trainer.model)
    except (Stopped, Unready):
        raise
    except Diverged as error:
        return "diverged", str(error)
    except Exception as error:  # noqa: BLE001 - a method is foreign code: its failure is a result, kept with its place
        if not _is_out_of_memory(error):
            return "failed", _describe(error)
        peak_bytes = progress.cost.peak_bytes
        held = f"a peak of {peak_bytes / 2**20:.0f} MiB" if peak_bytes else "an unknown peak"
        return "out-of-memory", f"{_describe(error)}; batches of {spec.protocol.batch_size}, {held}"
    return "ok", None


class Unready(UserError):
    """The prepared data cannot be used: no run can succeed, and it says nothing about any method."""


def _loaded(dataset: DataSet, split: str, storage: Storage, hardware: Hardware) -> AnySplit:
    try:
        return dataset.load(split, storage, hardware.device)
    except UserError as error:
        raise Unready(str(error)) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Torch's allocators for the CPU and for pinned memory, and CUDA's libraries, have no error of their own for it."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    )


def _trainer(
    spec: RunSpec,
    dataset: DataSet,
    splits: Mapping[str, AnySplit],
    *,
    hardware: Hardware,
    progress: Progress,
    checkpoints: Checkpoints,
) -> Trainer:
    """A trainer at the start of the run, or where its checkpoint was written."""

    def fresh() -> Trainer:
        trainer = new_trainer(spec, dataset, splits, hardware)
        progress.learn(
            parameters=sum(p.numel() for p in trainer.model.parameters()),
            shared_parameters=sum(p.numel() for p in trainer.model.shared_parameters()),
        )
        return trainer

    graphs = hardware.graphs
    if graphs and (reason := objection(fresh, cuda_graphs)):
        checkpoints.note(f"its steps are not replayed as CUDA graphs ({reason})")
        # Some versions of torch never get over a recording that failed: their caches cannot be emptied any more.
        graphs = progress.sound = False

    def begun() -> Trainer:
        trainer = fresh()
        trainer.replays = cuda_graphs(trainer) if graphs else None
        return trainer

    trainer = begun()
    one = some(splits["train"], torch.zeros(1, dtype=torch.int64))
    with judging(trainer.model, hardware):
        progress.learn(forward_flops=forward_flops(trainer.model, one))
    for state in checkpoints.usable():
        try:
            restore(trainer, state)
            progress.restore(state)
            return trainer
        except Exception as error:  # noqa: BLE001 - a file that says it is of this run and is not: anything is raised
            checkpoints.misfit = f"it does not fit ({_describe(error)})"
            trainer = begun()
    return trainer


def new_trainer(spec: RunSpec, dataset: DataSet, splits: Mapping[str, AnySplit], hardware: Hardware) -> Trainer:
    """A trainer at the start of the run, which leaves torch's generators as training finds them."""
    torch.manual_seed(derive_seed("training", spec.seed))
    return Trainer(
        _model(spec, dataset, hardware),
        _weighting(spec, dataset, hardware),
        spec=spec,
        splits=splits,
        hardware=hardware,
        augmentation=augment(spec, dataset, splits["train"]),
    )


def _model(spec: RunSpec, dataset: DataSet, hardware: Hardware) -> MultiTaskModel:
    with hardware.seeded(derive_seed("init", spec.architecture.name, spec.seed)):
        model = network(spec, dataset)
    lay_out(model, hardware, spec.protocol.arithmetic)
    return model.to(hardware.device)


def network(spec: RunSpec, dataset: DataSet) -> MultiTaskModel:
    """The spec's architecture for the data set's tasks, freshly initialised from torch's current generator."""
    model = build_model(spec.architecture.name, dataset.tasks, **spec.architecture.options)
    return SeparateModel(model, dataset.colours) if isinstance(dataset, SeparateDataSet) else model


def _weighting(spec: RunSpec, dataset: DataSet, hardware: Hardware) -> Weighting | None:
    if spec.weighting is None:
        return None
    name, options = spec.weighting.name, spec.weighting.options
    with hardware.seeded(derive_seed("weighting", name, spec.seed)):
        return build_weighting(name, dataset.tasks, **options).to(hardware.device)


@torch.no_grad()
def forward_flops(model: MultiTaskModel, pictures: Pictures) -> int:
    """Floating-point operations of the forward pass of one picture through all tasks; of one of each task's own."""
    model.eval()
    with FlopCounterMode(display=False) as counter:
        predict(model, pictures)
    return counter.get_total_flops()


def some(split: AnySplit, indices: Tensor) -> Pictures:
    """The pictures at these places, of every task where every task has its own."""
    if isinstance(split, SeparateSplit):
        return {name: part.pictures(indices) for name, part in split.parts.items()}
    return split.pictures(indices.to(split.device))


def _keep_pictures(
    model: MultiTaskModel, test: AnySplit, *, hardware: Hardware, progress: Progress, note: Callable[[str], None]
) -> None:
    """Keep the last epoch's predictions for a few test samples, where the model attended, and the samples.

    Where every task has its own pictures, that is one of each task; what the others would say of it is unknown.
    """
    if isinstance(test, SeparateSplit):
        _keep_one_of_each(model, test, hardware=hardware, progress=progress)
        return
    chosen = torch.linspace(0, len(test) - 1, min(PICTURED, len(test))).long()
    images = test.pictures(chosen.to(test.device))
    decisions = decide(model, images, hardware)
    progress.predictions = {name: values.numpy() for name, values in decisions.items()}
    progress.predictions |= masks(model, images, hardware, note)
    truth = {name: values[chosen.to(values.device)].cpu().numpy() for name, values in test.targets.items()}
    progress.truth = {"image": images.cpu().numpy(), "id": test.ids[chosen.numpy()], **truth}


def _keep_one_of_each(model: MultiTaskModel, test: SeparateSplit, *, hardware: Hardware, progress: Progress) -> None:
    first = torch.zeros(1, dtype=torch.int64)
    images = {name: part.pictures(first) for name, part in test.parts.items()}
    stored = {task.name: task.stored((0, 0)) for task in model.tasks}
    unknown = {name: s.invalid for name, s in stored.items() if s and not s.shape and s.invalid is not None}
    if len({image.shape for image in images.values()}) > 1 or len(unknown) < len(stored):
        return  # only pictures of one size and targets of whole pictures can stand side by side
    decisions = decide(model, images, hardware)
    names = list(test.parts)

    def column(name: str, value: Tensor) -> np.ndarray:
        values = np.full(len(names), unknown[name], value.cpu().numpy().dtype)
        values[names.index(name)] = value.item()
        return values

    progress.predictions = {name: column(name, decisions[name]) for name in names}
    progress.truth = {
        "image": torch.cat([images[name] for name in names]).cpu().numpy(),
        "id": np.array([str(part.ids[0]) for part in test.parts.values()]),
        **{name: column(name, part.targets[name][first]) for name, part in test.parts.items()},
    }


def _describe(error: BaseException) -> str:
    """The exception and the innermost places where it was raised, without paths of this machine."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} (in {places})"
