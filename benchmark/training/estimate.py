"""What a run will cost, before it is run and before its data are there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter
from typing import Any, TypeVar

import torch

from benchmark.data import DataSet, build_dataset
from benchmark.errors import UserError
from benchmark.model import MultiTaskModel, build_model
from benchmark.spec import Component, RunSpec
from benchmark.training.augmentation import check
from benchmark.training.evaluation import scaled
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
        check(spec.protocol, _dataset(spec))
        if spec.weighting:
            _try(partial(build_weighting, spec.weighting.name, _dataset(spec).tasks, **spec.weighting.options))
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
    """Forward passes of a run: a training step counts as three, an evaluated picture as one."""
    samples = _dataset(spec).samples
    evaluations = -(-spec.protocol.epochs // spec.protocol.evaluate_every)
    return STEP_FACTOR * samples["train"] * spec.protocol.epochs + (samples["val"] + samples["test"]) * evaluations


def _dataset(spec: RunSpec) -> DataSet:
    return build_dataset(spec.dataset.name, **spec.dataset.options)


def _network(spec: RunSpec) -> tuple[str, str]:
    """What decides a step's cost, in hashable form."""
    return spec.dataset.model_dump_json(), spec.architecture.model_dump_json()


def _build(dataset: str, architecture: str) -> tuple[MultiTaskModel, torch.Tensor]:
    """A network and one random picture for it."""
    data, network = Component.model_validate_json(dataset), Component.model_validate_json(architecture)
    built = build_dataset(data.name, **data.options)
    with torch.random.fork_rng(devices=[]):
        model = build_model(network.name, built.tasks, **network.options)
        return model, torch.randint(256, (1, *built.image_shape), dtype=torch.uint8)


@cache
def _forward_flops(dataset: str, architecture: str) -> int:
    return forward_flops(*_build(dataset, architecture))


@cache
def _seconds_per_picture(dataset: str, architecture: str, batch_size: int, hardware: Hardware) -> float:
    torch.set_num_threads(hardware.threads)
    model, image = _build(dataset, architecture)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.to(hardware.device).train()
    images = image.expand(batch_size, -1, -1, -1).to(hardware.device)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for step in range(1 + TIMED_STEPS):
        if step == 1:
            started = perf_counter()
        optimizer.zero_grad()
        with hardware.autocast():
            predictions = model(scaled(images))
        sum(prediction.float().mean() for prediction in predictions.values()).backward()
        optimizer.step()
        if hardware.device != "cpu":
            torch.cuda.synchronize(hardware.device)
    return (perf_counter() - started) / TIMED_STEPS / batch_size
