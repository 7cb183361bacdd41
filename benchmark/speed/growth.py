"""How time and memory of a step grow with batch, resolution, number of tasks and width."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import cast

from benchmark.registry import ARCHITECTURES
from benchmark.runs.spec import Component
from benchmark.speed.alone import Alone, Job
from benchmark.speed.architectures import weighting_of
from benchmark.speed.record import Axis, GrowthCurve, GrowthPoint, Spread
from benchmark.speed.timing import described
from benchmark.speed.workload import Workload
from benchmark.tasks import Task

#: Factors of the conditions' batch and width, and of height and width on the axis of pixels.
BATCHES = (0.25, 0.5, 1.0, 2.0, 4.0)
WIDTHS = (0.25, 0.5, 1.0, 2.0)
SIDES = (0.5, 1.0, 1.5, 2.0)
TASKS = (2, 3, 5, 10)


@dataclass(frozen=True)
class GrowthTarget:
    """One point to measure."""

    amount: int
    label: str
    architecture: Component
    load: Workload


def measure_growth(
    architectures: Sequence[Component],
    equal: Component,
    load: Workload,
    *,
    steps: int,
    alone: Alone,
    begun: Callable[[str], None] = lambda what: None,
) -> Iterator[GrowthCurve]:
    """Measure each network along every axis that it has, one after the other, the rest being as ``load`` says.

    A point that cannot be measured says why, whatever is raised; the others go on.

    Args:
        architectures: the networks; one without an option ``width`` has no axis of width.
        equal: how losses are weighted where parameters are shared; elsewhere they are summed.
        load: where the axes cross.
        steps: how many are timed at each point.
        alone: does every measurement.
        begun: told of each point before it is measured.
    """
    known: dict[tuple[str, Workload], GrowthPoint] = {}  # all axes share the point of the conditions
    for architecture in architectures:
        for axis, targets in axes(architecture, load).items():
            points = []
            for target in targets:
                key = target.architecture.model_dump_json(), target.load
                if key not in known:
                    begun(f"{architecture.name}: {axis} {target.label}")
                    known[key] = _measure(target, weighting_of(architecture, equal), steps, alone)
                points.append(known[key].model_copy(update={"amount": target.amount, "label": target.label}))
            yield GrowthCurve(architecture=architecture, axis=axis, points=tuple(points))


def axes(architecture: Component, load: Workload) -> dict[Axis, list[GrowthTarget]]:
    """The points along every axis that the network has, ascending."""
    channels, height, width = load.image_shape
    found: dict[Axis, list[GrowthTarget]] = {
        "batch": [
            GrowthTarget(size, str(size), architecture, replace(load, batch=size))
            for size in scaled(load.batch, BATCHES)
        ],
        "pixels": [
            GrowthTarget(h * w, f"{h} × {w}", architecture, replace(load, image_shape=(channels, h, w)))
            for h, w in ((max(1, round(height * side)), max(1, round(width * side))) for side in SIDES)
        ],
        "tasks": [GrowthTarget(k, str(k), architecture, replace(load, tasks=many(load.tasks, k))) for k in TASKS],
    }
    if "width" in ARCHITECTURES[architecture.name].defaults:
        base = cast(int, architecture.options["width"])
        found["width"] = [GrowthTarget(w, str(w), _resized(architecture, w), load) for w in scaled(base, WIDTHS)]
    return found


def scaled(amount: int, factors: Sequence[float]) -> list[int]:
    """The amount times each factor, at least 1, each once."""
    return list(dict.fromkeys(max(1, round(amount * factor)) for factor in factors))


def many(tasks: Sequence[Task], count: int) -> tuple[Task, ...]:
    """``count`` tasks with distinct names, whose kinds repeat those of the given tasks in turn."""
    return tuple(
        replace(task, name=task.name if i < len(tasks) else f"{task.name}-{i // len(tasks) + 1}")
        for i, task in enumerate(islice(cycle(tasks), count))
    )


def _resized(architecture: Component, width: int) -> Component:
    return architecture.model_copy(update={"options": architecture.options | {"width": width}})


def _measure(target: GrowthTarget, weighting: Component | None, steps: int, alone: Alone) -> GrowthPoint:
    try:
        found = alone.run(Job(target.architecture, weighting, target.load, steps, count=True))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a method is foreign code: what it raises is told at its point
        return GrowthPoint(amount=target.amount, label=target.label, error=described(error))
    return GrowthPoint(
        amount=target.amount,
        label=target.label,
        seconds=Spread.from_values(found.seconds),
        peak_bytes=found.peak_bytes,
        flops=found.flops,
    )
