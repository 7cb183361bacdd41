"""Operations and seconds of a run, estimated before it is run and before its data are prepared."""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from benchmark.data import DataSet, PerTaskInputDataSet, build_dataset
from benchmark.errors import UserError
from benchmark.registry import WEIGHTINGS
from benchmark.runs.spec import Component, RunSpec, derive_seed
from benchmark.speed.workload import Stepper, Workload, cost_class, step_forward_passes
from benchmark.training.build import network
from benchmark.training.checks import check_runs
from benchmark.training.diagnostics import INTERVAL
from benchmark.training.forward import forward_flops
from benchmark.training.hardware import Hardware
from benchmark.weighting import GramianWeighting, SampledWeighting, Weighting, build_weighting

N = TypeVar("N")

#: Steps that are timed after one that warms up; fewer where they take longer than this many seconds.
TIMED_STEPS = 5
TIMED_SECONDS = 0.6
#: Seconds from which the first step alone is timed: one-time costs, such as allocation, are small beside it.
LONG_STEP = 0.25
#: Floating-point operations of a timed step at most: expensive networks are timed with a smaller batch than the run's.
MAX_TIMED_FLOPS = 1.5e11
#: Pictures of a timed step at least; the second where the weighting divides the batch into thirds.
MIN_BATCH, MIN_SAMPLED_BATCH = 3, 6
#: Seconds of a step up to which every kind of weighting is timed on every network.
SHORT_STEP = 0.15
#: Times that a weighting's rule for a K×K matrix is run; the first run is not counted.
RULE_TIMINGS = 6
#: The needs (``Weighting.needs``) of a step that only sums the losses.
PLAIN_NEEDS = Weighting.needs({})


@dataclass(frozen=True)
class CostEstimate:
    """Operations and, on the hardware asked about, seconds of one run.

    Attributes:
        timed: whether steps were timed; else the seconds follow from the operations.
    """

    flops: float
    seconds: float
    timed: bool = True


def run_flops(specs: Sequence[RunSpec]) -> dict[str, float]:
    """By run id the floating-point operations of the whole run, in which a grid's progress is measured.

    A network that cannot be built or run counts as the mean of the others: its run will record the failure.

    Raises:
        UserError: see ``checks.check_runs``.
    """
    check_runs(specs)
    passes = {spec.id: _forward_passes(spec) for spec in specs}
    by_run = {spec.id: _none_on_error(_forward_flops, *_network(spec)) for spec in specs}
    counted = [flops for flops in by_run.values() if flops is not None]
    mean = sum(counted) / len(counted) if counted else 1.0
    return {spec.id: (by_run[spec.id] or mean) * passes[spec.id] for spec in specs}


def estimate(spec: RunSpec, hardware: Hardware) -> CostEstimate | None:
    """``estimates`` of one run."""
    return estimates([spec], hardware)[spec.id]


def estimates(specs: Sequence[RunSpec], hardware: Hardware, within: float = math.inf) -> dict[str, CostEstimate | None]:
    """By run id the estimate of a run; None for a run whose step raises an error.

    A few steps of the run are timed on random pictures and extrapolated. Every network is timed with a plain step,
    which sums the losses. A weighting that needs more than the losses, such as gradients of each task, is timed on the
    same network too if a plain step takes at most ``SHORT_STEP`` seconds. Otherwise the plain step is multiplied by
    what the same needs cost, relative to a plain step, on the cheapest network (fewest operations) among the data
    set's runs. Two weightings with the same needs differ only in their rule for a K×K matrix, which is timed by itself.

    Args:
        within: seconds that steps are timed for, those of the cheapest networks and of plain steps first. A run whose
            step is not timed by then takes its operations at the pace of the runs that are: of its network, else of its
            data set, else of any.
    """
    flops = {spec.id: _none_on_error(_forward_flops, *_network(spec)) for spec in specs}
    kinds = {spec.id: _step_kind(spec, hardware, flops[spec.id]) for spec in specs}
    cheapest_kinds: dict[tuple[str, str], _StepKind] = {}
    for spec in sorted(specs, key=lambda spec: flops[spec.id] or float("inf")):
        kind = kinds[spec.id]
        cheapest_kinds.setdefault((kind.dataset, kind.needs), kind)
    found: dict[str, CostEstimate | None] = {}
    clock, paces = _Clock(within), _Paces()
    for spec in sorted(specs, key=lambda s: (kinds[s.id].needs != PLAIN_NEEDS, flops[s.id] or math.inf)):
        kind, forward = kinds[spec.id], flops[spec.id]
        cheapest = cheapest_kinds[kind.dataset, kind.needs]
        if forward is None:
            found[spec.id] = None
        elif clock.allows(kind, forward):
            found[spec.id] = cost = _none_on_error(_extrapolate, kind, cheapest, forward)
            clock.took(kind, forward)
            if cost:
                paces.add(kind, cost)
        else:
            found[spec.id] = paces.estimate(kind, forward * _forward_passes(spec))
    return {spec.id: found[spec.id] for spec in specs}


class _Clock:
    """Says whether there is time to time the steps of another kind.

    Args:
        within: seconds in all.
    """

    def __init__(self, within: float) -> None:
        self.begun = perf_counter()
        self.within = within
        self.known: set[_StepKind] = set()
        self.pace = 0.0

    def allows(self, kind: "_StepKind", forward: int) -> bool:
        """Whether steps of this kind are timed already, none are, or it would take no longer than there is time."""
        self.started = perf_counter()
        return kind in self.known or not self.known or self.started - self.begun + self.pace * forward < self.within

    def took(self, kind: "_StepKind", forward: int) -> None:
        """Steps of this kind are timed."""
        if kind not in self.known:
            self.known.add(kind)
            self.pace = max(self.pace, (perf_counter() - self.started) / forward)


class _Paces:
    """Seconds for an operation of what was timed, by network, by data set, and of all."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, ...], tuple[float, float]] = {}

    def _keys(self, kind: "_StepKind") -> tuple[tuple[str, ...], ...]:
        return (kind.dataset, kind.architecture), (kind.dataset,), ()

    def add(self, kind: "_StepKind", cost: CostEstimate) -> None:
        """What a run of this kind costs is known."""
        for key in self._keys(kind):
            seconds, flops = self.totals.get(key, (0.0, 0.0))
            self.totals[key] = seconds + cost.seconds, flops + cost.flops

    def estimate(self, kind: "_StepKind", flops: float) -> CostEstimate | None:
        """What so many operations take; None where nothing is known."""
        for key in self._keys(kind):
            if key in self.totals:
                seconds, done = self.totals[key]
                return CostEstimate(flops, flops * seconds / done, timed=False)
        return None


def _extrapolate(kind: "_StepKind", cheapest: "_StepKind", forward: int) -> CostEstimate:
    spec, plain = kind.spec, _seconds(_without_weighting(kind))
    factor, extra = _relative_cost(kind, cheapest)
    step = _full_batch_seconds(kind, cheapest) * factor + extra
    trained = training_steps(spec) * (plain.optimizer + max(0.0, step - plain.optimizer) * _diagnostics_factor(spec))
    evaluation = _evaluated_pictures(spec) * plain.evaluation / kind.batch
    return CostEstimate(forward * _forward_passes(spec), plain.startup + trained + evaluation)


def _full_batch_seconds(kind: "_StepKind", cheapest: "_StepKind") -> float:
    """Seconds of a plain step with the run's own batch.

    An expensive network is timed with a smaller batch. A part of the step does not grow with the batch: the optimiser,
    and other work on parameters and their gradients, such as rounding to bf16. Timing two batch sizes of the cheapest
    network gives this fixed part as a multiple of the optimiser's time.
    """
    plain, batch = _seconds(_without_weighting(kind)), kind.spec.protocol.batch_size
    if kind.batch == batch:
        return plain.step
    more = replace(_without_weighting(cheapest), batch=min(batch, 2 * cheapest.batch))
    few = _seconds(_without_weighting(cheapest))
    slope = (_seconds(more).first - few.first) / (more.batch - cheapest.batch) if more.batch > cheapest.batch else 0.0
    fixed = max(1.0, (few.first - max(0.0, slope) * cheapest.batch) / few.optimizer) * plain.optimizer
    fixed = min(fixed, plain.first)
    return fixed + (plain.first - fixed) * batch / kind.batch


def _diagnostics_factor(spec: RunSpec) -> float:
    """How many times a step the mean step takes, with the steps that are sampled for diagnostics.

    A sampled step has K more backward passes, unless the weighting computes the tasks' gradients anyway.
    """
    if not spec.weighting or cost_class(_weighting(spec)) not in ("losses", "again"):
        return 1.0
    return 1 + 2 * len(_dataset(spec).tasks) / step_forward_passes("losses", 1) / INTERVAL


def makespan(seconds: Sequence[float], workers: int, startup: float = 0.0) -> float:
    """Seconds until the last of these runs ends, when they start in this order on the next free worker.

    Args:
        seconds: of each run.
        workers: how many there are.
        startup: seconds until a worker can take its first run.
    """
    free = [startup] * max(1, min(workers, len(seconds)))
    for run in seconds:
        heapq.heapreplace(free, free[0] + run)
    return max(free) if seconds else 0.0


def _none_on_error(measure: Callable[..., N], *arguments: Any) -> N | None:
    try:
        return measure(*arguments)
    except UserError:
        raise
    except (Exception, SystemExit):  # noqa: BLE001 - a method is foreign code; its run will record what it raised
        return None


def _forward_passes(spec: RunSpec) -> float:
    """The run's cost in forward passes of one picture; where tasks have their own pictures, of one picture of each."""
    weighting = _none_on_error(partial(_weighting, spec)) if spec.weighting else None
    dataset = _dataset(spec)
    # Where tasks have their own pictures, each loss has its own graph, and each of K backward passes goes through one.
    tasks = len(dataset.tasks) if dataset.joint else 1
    trained = training_steps(spec) * spec.protocol.batch_size
    return step_forward_passes(cost_class(weighting), tasks) * trained + _evaluated_pictures(spec)


def training_steps(spec: RunSpec) -> int:
    """Training steps of a run."""
    protocol = spec.protocol
    longest = max(part.samples["train"] for part in _dataset(spec).pieces)
    return (protocol.steps_per_epoch or longest // protocol.batch_size) * protocol.epochs


def _evaluated_pictures(spec: RunSpec) -> float:
    """Pictures that a run evaluates; where tasks have their own pictures, the mean over tasks."""
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
    """Counted on meta tensors, and on real ones where a network reads values of tensors."""
    try:
        with torch.device("meta"):
            return _counted_flops(dataset, architecture)
    except UserError:
        raise
    except (Exception, SystemExit):  # noqa: BLE001 - a method is foreign code: what it does so is not promised
        return _counted_flops(dataset, architecture)


def _counted_flops(dataset: str, architecture: str) -> int:
    data = Component.model_validate_json(dataset)
    built = build_dataset(data.name, **data.options)
    with torch.random.fork_rng(devices=[]):
        model = network(Component.model_validate_json(architecture), built)
        parts = built.parts if isinstance(built, PerTaskInputDataSet) else {"": built}
        one = {n: torch.randint(256, (1, *p.image_shape), dtype=torch.uint8) for n, p in parts.items()}
        return forward_flops(model, one if isinstance(built, PerTaskInputDataSet) else one[""])


@dataclass(frozen=True)
class _StepKind:
    """What decides the cost of a step: runs of one kind are timed once.

    Attributes:
        dataset, architecture: their components in JSON.
        needs: of the weighting (``Weighting.needs``).
        batch: pictures of a timed step.
        spec: one run of this kind.
    """

    dataset: str
    architecture: str
    needs: str
    batch: int
    hardware: Hardware
    spec: RunSpec = field(compare=False)


def _step_kind(spec: RunSpec, hardware: Hardware, flops: int | None = None) -> _StepKind:
    needs = PLAIN_NEEDS
    if spec.weighting:
        entry = WEIGHTINGS[spec.weighting.name]
        needs = entry.factory.needs({**entry.preset, **spec.weighting.options})
    batch = spec.protocol.batch_size
    if flops:
        batch = min(batch, max(MIN_BATCH, int(MAX_TIMED_FLOPS / (step_forward_passes("losses", 1) * flops))))
    return _StepKind(*_network(spec), needs, batch, hardware.precise(spec.protocol), spec)


class _Seconds(NamedTuple):
    """Times in seconds.

    Attributes:
        first: the first training step.
        step: a later training step.
        optimizer: the optimiser's part of a step.
        evaluation: evaluating as many pictures as a step has.
        startup: building the network and all that precedes the first step.
    """

    first: float
    step: float
    optimizer: float
    evaluation: float
    startup: float


def _relative_cost(kind: _StepKind, cheapest: _StepKind) -> tuple[float, float]:
    """A step's time relative to a plain step, and seconds to add for the weighting's own rule.

    The relative time is measured on this network if its steps are short, else on the cheapest one.
    """
    if kind.needs == PLAIN_NEEDS:
        return 1.0, 0.0
    plain = _seconds(_without_weighting(kind))
    timed = _with_divisible_batch(kind if plain.step <= SHORT_STEP else cheapest)
    extra = max(0.0, _rule_seconds(kind.spec) - _rule_seconds(_timed_run.setdefault(timed, timed.spec)))
    reference = _seconds(_without_weighting(timed))
    if plain.step <= SHORT_STEP:
        return _seconds(timed).step / reference.step, extra
    return _seconds(timed).first / reference.first, extra


def _without_weighting(kind: _StepKind) -> _StepKind:
    """The plain step of the same network: the losses are summed."""
    return replace(kind, needs=PLAIN_NEEDS, spec=kind.spec.model_copy(update={"weighting": None}))


def _with_divisible_batch(kind: _StepKind) -> _StepKind:
    """The same with a batch large enough for a weighting that divides batches into thirds."""
    if not isinstance(_weighting(kind.spec), SampledWeighting):
        return kind
    return replace(kind, batch=min(kind.spec.protocol.batch_size, max(kind.batch, MIN_SAMPLED_BATCH)))


#: By kind of step the run whose weighting was timed.
_timed_run: dict[_StepKind, RunSpec] = {}


@cache
def _seconds(kind: _StepKind) -> _Seconds:
    _timed_run[kind] = kind.spec
    kind.hardware.set_up()  # the last network is freed before the next is built
    started = perf_counter()
    load = Workload.from_run(kind.spec, kind.hardware, kind.batch)
    stepper = Stepper(kind.spec.architecture, kind.spec.weighting, load)
    startup = perf_counter() - started
    first = stepper.step()
    timed = [first]
    if first < LONG_STEP and kind.batch == kind.spec.protocol.batch_size:
        timed = [stepper.step()]
        while len(timed) < TIMED_STEPS and sum(timed) < TIMED_SECONDS:
            timed.append(stepper.step())
    evaluation = 0.0
    if kind.needs == PLAIN_NEEDS:  # evaluation does not depend on the weighting
        evaluation = stepper.evaluation()
        if evaluation < SHORT_STEP:
            evaluation = stepper.evaluation()
    return _Seconds(first, float(np.median(timed)), stepper.optimizer_step(), evaluation, startup)


def _rule_seconds(spec: RunSpec) -> float:
    """Seconds in which a weighting computes weights from a K×K matrix of inner products; 0 if it uses none."""
    if not spec.weighting:
        return 0.0
    return _timed_rule(spec.weighting.model_dump_json(), spec.dataset.model_dump_json())


@cache
def _timed_rule(weighting: str, dataset: str) -> float:
    method, data = Component.model_validate_json(weighting), Component.model_validate_json(dataset)
    tasks = build_dataset(data.name, **data.options).tasks
    draw = torch.Generator().manual_seed(derive_seed("rule timing"))
    with torch.random.fork_rng(devices=[]):
        built = build_weighting(method.name, tasks, **method.options)
        if not isinstance(built, GramianWeighting):
            return 0.0
        timed: list[float] = []
        while len(timed) < RULE_TIMINGS:
            rows = torch.randn(len(tasks), 8, generator=draw, dtype=torch.float64)
            losses = 0.1 + torch.rand(len(tasks), generator=draw, dtype=torch.float64)
            started = perf_counter()
            built.from_gramian(rows @ rows.T, losses)
            timed.append(perf_counter() - started)
    return sum(timed[1:]) / len(timed[1:])
