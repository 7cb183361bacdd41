"""One run, from its spec to its record: whatever happens inside becomes a record, never a crash of the grid."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data import SPLITS, AnySplit, DataSet, SeparateDataSet, SeparateSplit, Storage, build_dataset
from benchmark.model import MultiTaskModel, build_model
from benchmark.registry import ARCHITECTURES
from benchmark.spec import RunSpec, derive_seed
from benchmark.store import Cost, EpochRecord, RunRecord, Status, TaskInfo
from benchmark.training import provenance as source
from benchmark.training.augmentation import augment
from benchmark.training.engine import Diverged, Trainer
from benchmark.training.evaluation import EVALUATION_BATCH, Pictures, decide, predict
from benchmark.training.hardware import Hardware
from benchmark.training.separate import SeparateModel
from benchmark.weighting import Weighting, build_weighting

#: Test samples whose pictures are kept, spread evenly over the split.
PICTURED = 4

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """A record; and, of a run that went well, predictions for the pictured test samples and the samples themselves."""

    record: RunRecord
    predictions: Arrays | None = None
    truth: Arrays | None = None


@dataclass
class Progress:
    """What is known of a run so far: all that its record will say, however it ends."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Asked at the start: what is committed while a run is on did not make its numbers.
    git: tuple[str | None, bool | None] = field(default_factory=lambda: source.git_state())
    clock: float = field(default_factory=perf_counter)
    curves: list[EpochRecord] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    fallbacks: int | None = None
    predictions: Arrays | None = None
    truth: Arrays | None = None

    def learn(self, **cost: int | float | None) -> None:
        """Fill in parts of the cost."""
        self.cost = self.cost.model_copy(update=cost)


def execute(
    spec: RunSpec, *, storage: Storage, hardware: Hardware, on_epoch: Callable[[EpochRecord], None] = lambda _: None
) -> Outcome:
    """Do one run on a prepared data set.

    A loss that is not finite, exhausted memory and any exception of a method end in a record with that status.

    Raises:
        UserError: the data set is unknown or not prepared: no run of it can succeed, and nothing is recorded.
    """
    hardware.set_up()
    progress = Progress()
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    data_hash = dataset.content_hash(storage)
    status, error = _attempt(spec, dataset, storage, hardware=hardware, progress=progress, on_epoch=on_epoch)
    progress.learn(wall_seconds=perf_counter() - progress.clock)
    record = _record(spec, dataset, status, error, hardware=hardware, progress=progress, data_hash=data_hash)
    return Outcome(record, progress.predictions, progress.truth)


def lost(spec: RunSpec, reason: str, *, hardware: Hardware) -> Outcome:
    """The outcome of a run whose process is gone with all that it knew."""
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    return Outcome(_record(spec, dataset, "failed", reason, hardware=hardware, progress=Progress(), data_hash=None))


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
        provenance=source.provenance(hardware, data_hash, progress.started, progress.git),
        truth=f"truth-{data_hash[:16]}.npz" if data_hash and progress.truth is not None else None,
    )


def _attempt(
    spec: RunSpec,
    dataset: DataSet,
    storage: Storage,
    *,
    hardware: Hardware,
    progress: Progress,
    on_epoch: Callable[[EpochRecord], None],
) -> tuple[Status, str | None]:
    def remember(epoch: EpochRecord) -> None:
        progress.curves.append(epoch)
        on_epoch(epoch)

    try:
        splits = {split: dataset.load(split, storage, hardware.device) for split in SPLITS}
        model = _model(spec, dataset, hardware)
        weighting = _weighting(spec, dataset, hardware)
        augmentation = augment(spec, dataset, splits["train"])
        trainer = Trainer(model, weighting, spec=spec, splits=splits, hardware=hardware, augmentation=augmentation)
        progress.learn(
            parameters=sum(p.numel() for p in model.parameters()),
            shared_parameters=sum(p.numel() for p in model.shared_parameters()),
            forward_flops=forward_flops(model, some(splits["train"], torch.zeros(1, dtype=torch.int64))),
        )
        with hardware.memory_peak() as peak, hardware.seeded(derive_seed("training", spec.seed)):
            trainer.fit(remember)
        progress.learn(
            seconds_per_step=min(trainer.step_seconds),
            train_seconds=sum(trainer.epoch_seconds),
            peak_bytes=peak.bytes,
        )
        if weighting is not None and hasattr(weighting, "fallbacks"):
            progress.fallbacks = int(cast(Tensor, weighting.fallbacks))
        _keep_pictures(model, splits["test"], hardware=hardware, progress=progress)
        if dataset.withheld:
            withheld = dataset.load(dataset.withheld, storage, hardware.device)
            _keep_decisions(model, withheld, dataset.withheld, hardware=hardware, progress=progress)
    except Diverged as error:
        return "diverged", str(error)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return "out-of-memory", _describe(error)
    except Exception as error:  # noqa: BLE001 - a method is foreign code: its failure is a result, kept with its place
        return "failed", _describe(error)
    return "ok", None


def _model(spec: RunSpec, dataset: DataSet, hardware: Hardware) -> MultiTaskModel:
    name, options = spec.architecture.name, spec.architecture.options
    with hardware.seeded(derive_seed("init", name, spec.seed)):
        model = build_model(name, dataset.tasks, **options)
    if isinstance(dataset, SeparateDataSet):
        model = SeparateModel(model, dataset.colours)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(hardware.device)


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


def _keep_pictures(model: MultiTaskModel, test: AnySplit, *, hardware: Hardware, progress: Progress) -> None:
    """Keep the last epoch's predictions for a few test samples, and the samples.

    Where every task has its own pictures, that is one of each task; what the others would say of it is unknown.
    """
    if isinstance(test, SeparateSplit):
        _keep_one_of_each(model, test, hardware=hardware, progress=progress)
        return
    chosen = torch.linspace(0, len(test) - 1, min(PICTURED, len(test))).long()
    images = test.pictures(chosen.to(test.device))
    decisions = decide(model, images, hardware)
    progress.predictions = {name: values.numpy() for name, values in decisions.items()}
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


def _keep_decisions(
    model: MultiTaskModel, split: AnySplit, name: str, *, hardware: Hardware, progress: Progress
) -> None:
    """Keep what the network of the last epoch makes of pictures whose targets are withheld, and their ids."""
    parts = split.parts if isinstance(split, SeparateSplit) else {None: split}
    for task, part in parts.items():
        found: dict[str, list[Tensor]] = {}
        for indices in torch.arange(len(part), device=part.device).split(EVALUATION_BATCH):
            images = part.pictures(indices)
            for own, values in decide(model, images if task is None else {task: images}, hardware).items():
                found.setdefault(own, []).append(values)
        for own, batches in found.items():
            kept = {f"{name}-{own}": torch.cat(batches).numpy(), f"{name}-{own}-id": part.ids}
            progress.predictions = {**(progress.predictions or {}), **kept}


def _describe(error: BaseException) -> str:
    """The exception and the innermost places where it was raised, without paths of this machine."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} (in {places})"
