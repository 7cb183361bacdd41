"""What a run will cost, before it is run and before its data are there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import torch

from benchmark.data import DataSet, SeparateDataSet, build_dataset
from benchmark.errors import UserError
from benchmark.model import build_model
from benchmark.registry import WEIGHTINGS
from benchmark.spec import Component, RunSpec
from benchmark.training import augmentation, separate
from benchmark.training.hardware import Hardware
from benchmark.training.run import forward_flops
from benchmark.training.workload import Stepper, Workload, cost_class, units
from benchmark.weighting import SampledWeighting, Weighting, build_weighting

N = TypeVar("N")

#: Steps that are timed after one that warms up; fewer where they take longer than this many seconds.
TIMED_STEPS = 2
TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Estimate:
    """Operations and, on the hardware asked about, seconds of one run."""

    flops: float
    seconds: float


def work(specs: Sequence[RunSpec]) -> dict[str, float]:
    """By run id the floating-point operations of the whole run: what its share of a grid's progress is measured in.

    A network that cannot be built or run counts as the mean of the others: its failure is the run's to record.

    Raises:
        UserError: an option's value is refused by the method that it is given to, an augmentation by the data set,
            or a batch is too small for its weighting.
    """
    passes = {spec.id: _passes(spec) for spec in specs}
    for spec in specs:
        dataset = _dataset(spec)
        augmentation.check(spec.protocol, dataset)
        weighting = _try(partial(_weighting, spec)) if spec.weighting else None
        separate.check(spec, dataset, weighting)
        if isinstance(weighting, SampledWeighting):
            weighting.check_batch(spec.protocol.batch_size)
    known = {spec.id: _try(_forward_flops, *_network(spec)) for spec in specs}
    found = [flops for flops in known.values() if flops is not None]
    usual = sum(found) / len(found) if found else 1.0
    return {spec.id: (known[spec.id] or usual) * passes[spec.id] for spec in specs}


def estimate(spec: RunSpec, hardware: Hardware) -> Estimate | None:
    """Time a few of the run's own steps on random pictures and extrapolate; None for a run that cannot take one.

    Cells of the same network and batch share the timing where their weightings look at the same things: what these then
    compute of a K×K matrix is no part of the prediction.
    """
    flops = _try(_forward_flops, *_network(spec))
    times = _try(_times, _cell(spec, hardware))
    if flops is None or times is None:
        return None
    evaluation = _evaluated(spec) * times.evaluation / spec.protocol.batch_size
    return Estimate(flops * _passes(spec), _steps(spec) * times.step + evaluation)


def _try(measure: Callable[..., N], *arguments: Any) -> N | None:
    try:
        return measure(*arguments)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - a method is foreign code; its run will record what it raised
        return None


def _passes(spec: RunSpec) -> float:
    """Forward passes of a run, one picture each (or one of each task that has its own), or their equivalent."""
    weighting = _try(partial(_weighting, spec)) if spec.weighting else None
    dataset = _dataset(spec)
    # Where tasks have their own pictures, each loss has a graph of its own, and K passes backwards go through one each.
    tasks = len(dataset.tasks) if dataset.joint else 1
    trained = _steps(spec) * spec.protocol.batch_size
    return units(cost_class(weighting), tasks) * trained + _evaluated(spec)


def _steps(spec: RunSpec) -> int:
    """Training steps of a run."""
    protocol = spec.protocol
    longest = max(part.samples["train"] for part in _dataset(spec).pieces)
    return (protocol.steps_per_epoch or longest // protocol.batch_size) * protocol.epochs


def _evaluated(spec: RunSpec) -> float:
    """Pictures that a run evaluates; of each task, on average, where each has its own."""
    parts = _dataset(spec).pieces
    evaluations = -(-spec.protocol.epochs // spec.protocol.evaluate_every)
    return sum(part.samples["val"] + part.samples["test"] for part in parts) / len(parts) * evaluations


def _dataset(spec: RunSpec) -> DataSet:
    return build_dataset(spec.dataset.name, **spec.dataset.options)


def _weighting(spec: RunSpec) -> Weighting:
    assert spec.weighting is not None
    with torch.random.fork_rng(devices=[]):
        return build_weighting(spec.weighting.name, _dataset(spec).tasks, **spec.weighting.options)


def _network(spec: RunSpec) -> tuple[str, str]:
    """What decides a forward pass's cost, in hashable form."""
    return spec.dataset.model_dump_json(), spec.architecture.model_dump_json()


@cache
def _forward_flops(dataset: str, architecture: str) -> int:
    data, network = Component.model_validate_json(dataset), Component.model_validate_json(architecture)
    built = build_dataset(data.name, **data.options)
    with torch.random.fork_rng(devices=[]):
        model = build_model(network.name, built.tasks, **network.options)
        if not isinstance(built, SeparateDataSet):
            return forward_flops(model, torch.randint(256, (1, *built.image_shape), dtype=torch.uint8))
        one = {n: torch.randint(256, (1, *p.image_shape), dtype=torch.uint8) for n, p in built.parts.items()}
        return forward_flops(separate.SeparateModel(model, built.colours), one)


@dataclass(frozen=True)
class _Cell:
    """What decides the cost of a step, and one run that has it."""

    dataset: str
    architecture: str
    needs: str
    batch: int
    hardware: Hardware
    spec: RunSpec = field(compare=False)


def _cell(spec: RunSpec, hardware: Hardware) -> _Cell:
    needs = "nothing"
    if spec.weighting:
        entry = WEIGHTINGS[spec.weighting.name]
        needs = entry.factory.needs({**entry.preset, **spec.weighting.options})
    return _Cell(*_network(spec), needs, spec.protocol.batch_size, hardware, spec)


class _Times(NamedTuple):
    """Seconds of a training step, and of a forward pass of as many pictures in evaluation."""

    step: float
    evaluation: float


@cache
def _times(cell: _Cell) -> _Times:
    torch.set_num_threads(cell.hardware.threads)
    data = _dataset(cell.spec)
    load = Workload(tuple(data.tasks), data.image_shape, cell.batch, cell.hardware, joint=data.joint)
    stepper = Stepper(cell.spec.architecture, cell.spec.weighting, load)
    stepper.step()
    timed: list[float] = []
    while len(timed) < TIMED_STEPS and sum(timed) < TIMED_SECONDS:
        timed.append(stepper.step())
    stepper.evaluation()
    return _Times(sum(timed) / len(timed), stepper.evaluation())
