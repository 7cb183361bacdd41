"""What a run will cost, before it is run and before its data are there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter
from typing import Any, TypeVar

import torch

from benchmark.data import DataSet, SeparateDataSet, build_dataset
from benchmark.errors import UserError
from benchmark.model import MultiTaskModel, build_model
from benchmark.spec import Component, RunSpec
from benchmark.training import augmentation, separate
from benchmark.training.evaluation import Pictures, predict
from benchmark.training.hardware import Hardware
from benchmark.training.run import forward_flops
from benchmark.weighting import build_weighting

N = TypeVar("N")

#: Steps that are timed after one that warms up.
TIMED_STEPS = 2
#: A step's forward and backward passes against a forward pass alone, in operations.
STEP_FACTOR = 3


@dataclass(frozen=True)
class Estimate:
    """Operations and, on the hardware asked about, seconds of one run."""

    flops: float
    seconds: float


def work(specs: Sequence[RunSpec]) -> dict[str, float]:
    """By run id the floating-point operations of the whole run: what its share of a grid's progress is measured in.

    A network that cannot be built or run counts as the mean of the others: its failure is the run's to record.

    Raises:
        UserError: an option's value is refused by the method that it is given to, or an augmentation by the data set.
    """
    for spec in specs:
        dataset = _dataset(spec)
        augmentation.check(spec.protocol, dataset)
        weighting = None
        if spec.weighting:
            weighting = _try(partial(build_weighting, spec.weighting.name, dataset.tasks, **spec.weighting.options))
        separate.check(spec, dataset, weighting)
    known = {spec.id: _try(_forward_flops, *_network(spec)) for spec in specs}
    found = [flops for flops in known.values() if flops is not None]
    usual = sum(found) / len(found) if found else 1.0
    return {spec.id: (known[spec.id] or usual) * _pictures(spec) for spec in specs}


def estimate(spec: RunSpec, hardware: Hardware) -> Estimate | None:
    """Time a few steps on random pictures and extrapolate to the run; None for a network that cannot be run."""
    flops = _try(_forward_flops, *_network(spec))
    step = _try(_seconds_per_picture, *_network(spec), spec.protocol.batch_size, hardware)
    if flops is None or step is None:
        return None
    return Estimate(flops * _pictures(spec), step * _pictures(spec) / STEP_FACTOR)


def _try(measure: Callable[..., N], *arguments: Any) -> N | None:
    try:
        return measure(*arguments)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - a method is foreign code; its run will record what it raised
        return None


def _pictures(spec: RunSpec) -> float:
    """Forward passes of a run: a training step counts as three, an evaluated picture as one.

    Where every task has its own pictures, a pass is one of a picture of each.
    """
    protocol, parts = spec.protocol, _dataset(spec).pieces
    evaluations = -(-protocol.epochs // protocol.evaluate_every)
    longest = max(part.samples["train"] for part in parts)
    trained = protocol.steps_per_epoch * protocol.batch_size if protocol.steps_per_epoch else longest
    judged = sum(part.samples["val"] + part.samples["test"] for part in parts) / len(parts)
    return STEP_FACTOR * trained * protocol.epochs + judged * evaluations


def _dataset(spec: RunSpec) -> DataSet:
    return build_dataset(spec.dataset.name, **spec.dataset.options)


def _network(spec: RunSpec) -> tuple[str, str]:
    """What decides a step's cost, in hashable form."""
    return spec.dataset.model_dump_json(), spec.architecture.model_dump_json()


def _build(dataset: str, architecture: str, count: int) -> tuple[MultiTaskModel, Pictures]:
    """A network and random pictures for it, ``count`` of every task that has its own."""
    data, network = Component.model_validate_json(dataset), Component.model_validate_json(architecture)
    built = build_dataset(data.name, **data.options)
    with torch.random.fork_rng(devices=[]):
        model = build_model(network.name, built.tasks, **network.options)
        if not isinstance(built, SeparateDataSet):
            return model, torch.randint(256, (count, *built.image_shape), dtype=torch.uint8)
        pictures = {
            name: torch.randint(256, (count, *part.image_shape), dtype=torch.uint8)
            for name, part in built.parts.items()
        }
        return separate.SeparateModel(model, built.colours), pictures


@cache
def _forward_flops(dataset: str, architecture: str) -> int:
    return forward_flops(*_build(dataset, architecture, 1))


@cache
def _seconds_per_picture(dataset: str, architecture: str, batch_size: int, hardware: Hardware) -> float:
    torch.set_num_threads(hardware.threads)
    model, pictures = _build(dataset, architecture, batch_size)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.to(hardware.device).train()
    if isinstance(pictures, torch.Tensor):
        pictures = pictures.to(hardware.device)
    else:
        pictures = {name: own.to(hardware.device) for name, own in pictures.items()}
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for step in range(1 + TIMED_STEPS):
        if step == 1:
            started = perf_counter()
        optimizer.zero_grad()
        with hardware.autocast():
            predictions = predict(model, pictures)
        torch.stack([prediction.float().mean() for prediction in predictions.values()]).sum().backward()
        optimizer.step()
        if hardware.device != "cpu":
            torch.cuda.synchronize(hardware.device)
    return (perf_counter() - started) / TIMED_STEPS / batch_size
