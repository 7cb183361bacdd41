"""What a run will cost, before it is run and before its data are there."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from benchmark.data import DataSet, SeparateDataSet, build_dataset
from benchmark.errors import UserError
from benchmark.model import build_model
from benchmark.registry import WEIGHTINGS
from benchmark.spec import Component, RunSpec, derive_seed
from benchmark.training import augmentation, separate
from benchmark.training.diagnostics import INTERVAL
from benchmark.training.hardware import Hardware
from benchmark.training.run import forward_flops
from benchmark.training.workload import Stepper, Workload, cost_class, units
from benchmark.weighting import GramianWeighting, SampledWeighting, Weighting, build_weighting

N = TypeVar("N")

#: Steps that are timed after one that warms up; fewer where they take longer than this many seconds.
TIMED_STEPS = 5
TIMED_SECONDS = 0.6
#: Seconds of a first step that counts as it is, with no other: what it does for the first time is little beside it.
LONG = 0.25
#: Floating-point operations of a timed step at most: of a dear network, smaller batches are timed than the run's.
AFFORDABLE = 1.5e11
#: Pictures of a timed step at least, and where the weighting cuts the batch into thirds.
SMALLEST, SMALLEST_CUT = 3, 6
#: Seconds of a step up to which every kind of weighting is timed on every network.
SHORT = 0.15
#: Times that a weighting's rule for a K×K matrix is timed, the first for nothing.
THOUGHTS = 6
#: What a step looks at that sums the losses.
PLAIN = Weighting.needs({})


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
    """``estimates`` of one run."""
    return estimates([spec], hardware)[spec.id]


def estimates(specs: Sequence[RunSpec], hardware: Hardware) -> dict[str, Estimate | None]:
    """By run id: a few of the runs' own steps on random pictures, extrapolated; None for a run that cannot take one.

    Every network is timed under plain sums of losses. A weighting that looks at more is timed on it too where a step is
    short. Where it is not, the plain step is multiplied by what the same look costs on the network of the fewest
    operations among the data set's runs. Weightings that look at the same things differ by what they compute of a K×K
    matrix, which is timed by itself.
    """
    flops = {spec.id: _try(_forward_flops, *_network(spec)) for spec in specs}
    cells = {spec.id: _cell(spec, hardware, flops[spec.id]) for spec in specs}
    gauges: dict[tuple[str, str], _Cell] = {}
    for spec in sorted(specs, key=lambda spec: flops[spec.id] or float("inf")):
        cell = cells[spec.id]
        gauges.setdefault((cell.dataset, cell.needs), cell)
    found: dict[str, Estimate | None] = {}
    for spec in specs:
        cell, forward = cells[spec.id], flops[spec.id]
        gauge = gauges[cell.dataset, cell.needs]
        found[spec.id] = None if forward is None else _try(_extrapolated, cell, gauge, forward)
    return found


def _extrapolated(cell: "_Cell", gauge: "_Cell", forward: int) -> Estimate:
    spec, plain = cell.spec, _times(_plainly(cell))
    factor, thought = _dearer(cell, gauge)
    step = _grown(cell, gauge) * factor + thought
    trained = steps(spec) * (plain.optimizer + max(0.0, step - plain.optimizer) * _sampling(spec))
    evaluation = _evaluated(spec) * plain.evaluation / cell.batch
    return Estimate(forward * _passes(spec), plain.beginning + trained + evaluation)


def _grown(cell: "_Cell", gauge: "_Cell") -> float:
    """Seconds of a plain step with the run's own batch.

    Of a dear network, a step of few pictures is timed. Some of it does not grow with the batch: the optimiser, and
    what else is done to parameters and their gradients, such as rounding to bf16. How much that is, in the optimiser's
    time, two batches of the gauge's network tell.
    """
    plain, batch = _times(_plainly(cell)), cell.spec.protocol.batch_size
    if cell.batch == batch:
        return plain.step
    more = replace(_plainly(gauge), batch=min(batch, 2 * gauge.batch))
    few = _times(_plainly(gauge))
    slope = (_times(more).first - few.first) / (more.batch - gauge.batch) if more.batch > gauge.batch else 0.0
    fixed = max(1.0, (few.first - max(0.0, slope) * gauge.batch) / few.optimizer) * plain.optimizer
    fixed = min(fixed, plain.first)
    return fixed + (plain.first - fixed) * batch / cell.batch


def _sampling(spec: RunSpec) -> float:
    """What the steps sampled for diagnostics add to the mean step: K more passes backwards, where gradients are not at
    hand anyway.
    """
    kind = cost_class(_weighting(spec)) if spec.weighting else None
    return 1 + 2 * len(_dataset(spec).tasks) / units("losses", 1) / INTERVAL if kind in ("losses", "again") else 1.0


def makespan(seconds: Sequence[float], workers: int, beginning: float = 0.0) -> float:
    """When the last of these runs ends, given out in this order to whichever worker is free.

    Args:
        seconds: of each run.
        workers: how many there are.
        beginning: seconds that each takes to start up.
    """
    free = [beginning] * max(1, min(workers, len(seconds)))
    for run in seconds:
        heapq.heapreplace(free, free[0] + run)
    return max(free) if seconds else 0.0


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
    trained = steps(spec) * spec.protocol.batch_size
    return units(cost_class(weighting), tasks) * trained + _evaluated(spec)


def steps(spec: RunSpec) -> int:
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
    """Counted on tensors without memory; with it only where a network looks at values."""
    try:
        with torch.device("meta"):
            return _counted_flops(dataset, architecture)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - a method is foreign code: what it does on such tensors is not promised
        return _counted_flops(dataset, architecture)


def _counted_flops(dataset: str, architecture: str) -> int:
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
    """What decides the cost of a step, and one run that has it; ``batch`` is that of the steps to be timed."""

    dataset: str
    architecture: str
    needs: str
    batch: int
    hardware: Hardware
    spec: RunSpec = field(compare=False)


def _cell(spec: RunSpec, hardware: Hardware, flops: int | None = None) -> _Cell:
    needs = PLAIN
    if spec.weighting:
        entry = WEIGHTINGS[spec.weighting.name]
        needs = entry.factory.needs({**entry.preset, **spec.weighting.options})
    batch = spec.protocol.batch_size
    if flops:
        batch = min(batch, max(SMALLEST, int(AFFORDABLE / (units("losses", 1) * flops))))
    return _Cell(*_network(spec), needs, batch, hardware.precise(spec.protocol), spec)


class _Times(NamedTuple):
    """Seconds of a first training step, of a later one, of what the optimiser does in it, of the evaluation of
    as many pictures, and of what a run does before its first step.
    """

    first: float
    step: float
    optimizer: float
    evaluation: float
    beginning: float


def _dearer(cell: _Cell, gauge: _Cell) -> tuple[float, float]:
    """How many times a plain step a cell's step takes, measured or as on the gauge, and seconds of its own besides."""
    if cell.needs == PLAIN:
        return 1.0, 0.0
    plain = _times(_plainly(cell))
    timed = _divisible(cell if plain.step <= SHORT else gauge)
    extra = max(0.0, _thought(cell.spec) - _thought(_timed_as.setdefault(timed, timed.spec)))
    reference = _times(_plainly(timed))
    if plain.step <= SHORT:
        return _times(timed).step / reference.step, extra
    return _times(timed).first / reference.first, extra


def _plainly(cell: _Cell) -> _Cell:
    """The same network with nothing but the sum of its losses."""
    return replace(cell, needs=PLAIN, spec=cell.spec.model_copy(update={"weighting": None}))


def _divisible(cell: _Cell) -> _Cell:
    """The same with a batch that the weighting can cut, where it cuts batches."""
    if not isinstance(_weighting(cell.spec), SampledWeighting):
        return cell
    return replace(cell, batch=min(cell.spec.protocol.batch_size, max(cell.batch, SMALLEST_CUT)))


#: By cell the run whose weighting was timed for it.
_timed_as: dict[_Cell, RunSpec] = {}


@cache
def _times(cell: _Cell) -> _Times:
    _timed_as[cell] = cell.spec
    cell.hardware.set_up()  # the last network is freed before the next is built
    started = perf_counter()
    load = Workload.of(cell.spec, cell.hardware, cell.batch)
    stepper = Stepper(cell.spec.architecture, cell.spec.weighting, load)
    beginning = perf_counter() - started
    first = stepper.step()
    timed = [first]
    if first < LONG and cell.batch == cell.spec.protocol.batch_size:
        timed = [stepper.step()]
        while len(timed) < TIMED_STEPS and sum(timed) < TIMED_SECONDS:
            timed.append(stepper.step())
    evaluation = 0.0
    if cell.needs == PLAIN:  # what a network predicts in is no matter of its weighting
        evaluation = stepper.evaluation()
        if evaluation < SHORT:
            evaluation = stepper.evaluation()
    return _Times(first, float(np.median(timed)), stepper.move(), evaluation, beginning)


def _thought(spec: RunSpec) -> float:
    """Seconds in which a weighting turns a K×K matrix of inner products into weights; 0 where it sees none."""
    if not spec.weighting:
        return 0.0
    return _thought_of(spec.weighting.model_dump_json(), spec.dataset.model_dump_json())


@cache
def _thought_of(weighting: str, dataset: str) -> float:
    method, data = Component.model_validate_json(weighting), Component.model_validate_json(dataset)
    tasks = build_dataset(data.name, **data.options).tasks
    draw = torch.Generator().manual_seed(derive_seed("thought"))
    with torch.random.fork_rng(devices=[]):
        built = build_weighting(method.name, tasks, **method.options)
        if not isinstance(built, GramianWeighting):
            return 0.0
        timed: list[float] = []
        while len(timed) < THOUGHTS:
            rows = torch.randn(len(tasks), 8, generator=draw, dtype=torch.float64)
            losses = 0.1 + torch.rand(len(tasks), generator=draw, dtype=torch.float64)
            started = perf_counter()
            built.from_gramian(rows @ rows.T, losses)
            timed.append(perf_counter() - started)
    return sum(timed[1:]) / len(timed[1:])
