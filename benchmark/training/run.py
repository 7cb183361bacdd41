"""One run, from its spec to its record: whatever happens inside becomes a record, never a crash of the grid."""

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor

from benchmark.arithmetic import variables
from benchmark.data import SPLITS, AnySplit, DataSet, Storage, build_dataset
from benchmark.errors import UserError
from benchmark.process_state import ProcessState
from benchmark.registry import ARCHITECTURES, PLUGIN_FILES, registering_packages
from benchmark.runs.code import code_of
from benchmark.runs.record import Cost, EpochRecord, KindInfo, MetricInfo, RunRecord, Status, TaskInfo
from benchmark.runs.spec import RunSpec, derive_seed
from benchmark.tasks import Task
from benchmark.training import provenance as source
from benchmark.training.artifacts import pictured, weights_of, whole_split
from benchmark.training.build import new_trainer
from benchmark.training.checkpoint import Checkpoints, Stopped, restore, snapshot
from benchmark.training.engine import Diverged, Trainer
from benchmark.training.forward import check_channels, forward_flops, some
from benchmark.training.graphs.proof import cuda_graphs, objection
from benchmark.training.hardware import Hardware
from benchmark.training.isolation import judging
from benchmark.training.optimizer import parameter_groups
from benchmark.training.probe import expected, probe
from benchmark.training.progress import Outcome, Progress, Watcher
from benchmark.training.unkept import Unkept

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
#: Characters of an exception that a record keeps.
LONGEST_ERROR = 100_000


def execute(
    spec: RunSpec,
    *,
    storage: Storage,
    hardware: Hardware,
    watcher: Watcher | None = None,
) -> Outcome:
    """Do one run on a prepared data set, or the rest of it where there is a checkpoint.

    A number that is not finite, exhausted memory and any exception of a method end in a record with that status. What
    the method changes of this process is put back, and told; the process should then do no other run all the same.

    Raises:
        UserError: the data set is unknown, not prepared or damaged, or its pictures have channels that no network
            takes: no run of it can succeed, and nothing is recorded.
        UsageError: the spec's arithmetic cannot be had in this process, see ``Hardware.computing``.
        Stopped: the watcher wanted it; a checkpoint is written where the policy has a folder.
    """
    hardware = hardware.computing(spec.protocol)
    hardware.set_up()
    watcher = watcher or Watcher()
    with undone() as changes:
        outcome = _executed(spec, storage, hardware, watcher)
    if not changes:
        return outcome
    watcher.note(f"the run changed {', '.join(changes)}; that is put back, and the next run gets a process of its own")
    return replace(outcome, sound=False)


@contextmanager
def undone() -> Iterator[list[str]]:
    """What foreign code inside changes of this process is put back afterwards, and is then in the list, in words."""
    import_module("torch._dynamo")  # torch does so when the first optimiser is made, and changes this process by it
    state, changes = ProcessState({"benchmark"} | registering_packages()), list[str]()
    try:
        yield changes
    finally:
        changes += state.undo()


def _executed(spec: RunSpec, storage: Storage, hardware: Hardware, watcher: Watcher) -> Outcome:
    # Before the method is: it may leave the process in another state.
    numerics = source.numerics(hardware, spec.protocol.arithmetic)
    progress = Progress(cost=Cost(spilled=hardware.spills), numerics=numerics)
    if spec.protocol.arithmetic == "portable" and expected() not in (None, probe()):
        watcher.note(
            f"portable arithmetic gives other bits on this processor ({probe()}) than where it was tried "
            f"({expected()}): its numbers will not be those of other machines"
        )
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    check_channels(dataset)
    data_hash = dataset.content_hash(storage)
    checkpoints = Checkpoints(
        watcher.checkpoints, spec.id, _identity(spec, hardware, data_hash), note=watcher.note, stop=watcher.stop
    )
    status, error = _attempt(
        spec, dataset, storage, hardware=hardware, progress=progress, watcher=watcher, checkpoints=checkpoints
    )
    progress.learn(wall_seconds=progress.seconds())
    record = _record(spec, dataset, status, error, hardware=hardware, progress=progress, data_hash=data_hash)
    return Outcome(record, progress.predictions, progress.truth, progress.sound, progress.traceback)


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
    with undone(), suppress(Stopped):
        _attempt(spec, dataset, storage, hardware=hardware, progress=progress, watcher=watcher, checkpoints=checkpoints)
    return {step: found for step, found in progress.trace.items() if step <= steps}


def _identity(spec: RunSpec, hardware: Hardware, data_hash: str) -> dict[str, Any]:
    """What must be the same for a run to go on from a checkpoint as if it had never stopped; all else is its spec."""
    return {
        "code": source.code_hash(),
        "packages": source.packages_of(spec),
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
        error=error[:LONGEST_ERROR] if error else error,
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
            further=source.needed_by(spec),
        ),
        truth=f"truth-{data_hash[:16]}.npz" if data_hash and progress.truth is not None else None,
        kinds={task.kind: _kind(task) for task in dataset.tasks},
        optimizer_groups=progress.optimizer_groups,
        trace=dict(progress.trace),
        code=code_of(spec, (task.kind for task in dataset.tasks)),
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
                unkept = Unkept(trainer, watcher.note)

                def pause() -> None:
                    unkept.check()
                    checkpoints.pause(lambda: snapshot(trainer) | progress.state(peak.now()))

                trainer.fit(remember, pause)
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
            shown = pictured(trainer.model, splits["test"], hardware, watcher.note)
        if shown:
            progress.predictions, progress.truth = shown
        if name := dataset.withheld:
            progress.keep(whole_split(trainer.model, _loaded(dataset, name, storage, hardware), hardware, name))
        if watcher.keep_predictions:
            progress.keep(whole_split(trainer.model, splits["test"], hardware, "test"))
        if watcher.keep_model:
            progress.keep(weights_of(trainer.model))
    except (Stopped, Unready):
        raise
    except Diverged as error:
        return "diverged", str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a method is foreign code: its failure is a result
        progress.traceback = "".join(traceback.format_exception(error))
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


def _is_out_of_memory(error: BaseException) -> bool:
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


def _describe(error: BaseException) -> str:
    """The exception and the innermost place of the method's own code, without paths of this machine.

    Where it was raised elsewhere, the three innermost places.
    """
    if isinstance(error, UserError):
        return str(error)  # says what is wrong by itself
    own = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_own(frame)]
    if own:
        code, line = own[-1]
        return f"{type(error).__name__}: {error} (in {Path(code.co_filename).name}:{line}, {code.co_name})"
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} (in {places})"


def _is_own(frame: FrameType) -> bool:
    """Whether code is a method's or a data set's: of a package or a plugin file that registers one, or beside it."""
    packages, own = registering_packages() - {"benchmark"}, str(frame.f_globals.get("__name__")).partition(".")[0]
    if own == "benchmark" or own in packages:
        return own != "benchmark"
    place = Path(frame.f_code.co_filename)
    folders = {Path(file).parent for name in packages if (file := getattr(sys.modules.get(name), "__file__", None))}
    return "site-packages" not in place.parts and any(place.is_relative_to(folder) for folder in folders)
