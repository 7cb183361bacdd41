"""Small runs for the proof, and the trainers that they begin with."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.record import TIMES
from benchmark.runs.spec import Component, Protocol, RunSpec, derive_seed
from benchmark.training.augmentation import augment
from benchmark.training.build import network
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware
from benchmark.training.layout import lay_out
from benchmark.training.probe import probe
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from benchmark.weighting import build_weighting

CPU = Hardware("cpu", "fp32", 1)
#: Of a record: what was asked for, where it was done, and what depends on the clock or the system.
LEFT_OUT = {**dict.fromkeys(("schema_version", "id", "spec", "provenance", "code"), True), "cost": set(TIMES)}


def spec_of(
    data: tuple[str, Mapping[str, Any]],
    architecture: str,
    weighting: str | None,
    *,
    options: Mapping[str, Any],
    weighted: Mapping[str, Any] | None = None,
    **protocol: Any,
) -> RunSpec:
    """A run with batches of three pictures.

    Args:
        data: name and options of the data set.
        architecture, options: the network.
        weighting, weighted: its name and options; None where nothing is shared.
        protocol: what differs from one epoch of Adam.
    """
    return RunSpec(
        dataset=Component.from_registry(DATASETS, data[0], data[1]),
        architecture=Component.from_registry(ARCHITECTURES, architecture, options),
        weighting=Component.from_registry(WEIGHTINGS, weighting, weighted) if weighting else None,
        seed=0,
        protocol=Protocol(
            **{"epochs": 1, "batch_size": 3, "learning_rate": 5e-3, "arithmetic": "portable", **protocol}
        ),
    )


def trainer_of(spec: RunSpec, storage: Storage) -> Trainer:
    """The trainer of a run at its start, on data that are prepared if they are not."""
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    dataset.prepare(storage)
    splits = {split: dataset.load(split, storage) for split in SPLITS}
    torch.manual_seed(derive_seed("proof", spec.seed))
    model = network(spec.architecture, dataset)
    lay_out(model, CPU, spec.protocol.arithmetic)
    chosen = spec.weighting
    weighting = build_weighting(chosen.name, dataset.tasks, **chosen.options) if chosen else None
    return Trainer(
        model,
        weighting,
        spec=spec,
        splits=splits,
        hardware=CPU,
        augmentation=augment(spec, dataset, splits["train"]),
    )


def record(spec: RunSpec, storage: Storage) -> dict[str, Any]:
    """What a run leaves: its record's numbers, epoch by epoch, its predictions and its network.

    Left out are times and memory, where it was computed, and the spec, which is what was asked for.
    """
    watcher = Watcher(keep_predictions=True, keep_model=True)
    outcome = execute(spec, storage=storage, hardware=CPU, watcher=watcher)
    whole = outcome.record.model_dump(mode="json", exclude=LEFT_OUT)
    if whole["status"] != "ok":
        raise RuntimeError(f"the run of {spec.label} ended with {whole['status']}: {whole['error']}")
    curves = whole.pop("curves")
    return {
        **{f"epoch {epoch['epoch']}": epoch for epoch in curves},
        "rest": whole,
        "data": outcome.record.provenance.data_hash,
        "probe": probe(),
        "pictures": [{str(key): array for key, array in (outcome.predictions or {}).items()}, outcome.truth],
    }
