"""How time and memory of a step grow with batch, resolution, number of tasks and width."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import cast

from benchmark.registry import ARCHITECTURES
from benchmark.spec import Component
from benchmark.speed.alone import Alone, Job
from benchmark.speed.architectures import weighting_of
from benchmark.speed.record import Axis, GrowthCurve, GrowthPoint, Spread
from benchmark.speed.timing import described
from benchmark.tasks import Task
from benchmark.training.workload import Workload

#: Factors of what the conditions say, on the axes of batch and width; of height and width on that of pixels.
BATCHES = (0.25, 0.5, 1.0, 2.0, 4.0)
WIDTHS = (0.25, 0.5, 1.0, 2.0)
SIDES = (0.5, 1.0, 1.5, 2.0)
TASKS = (2, 3, 5, 10)


@dataclass(frozen=True)
class Place:
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
    known: dict[tuple[str, Workload], GrowthPoint] = {}  # the axes cross in one point
    for architecture in architectures:
        for axis, places in axes(architecture, load).items():
            points = []
            for place in places:
                key = place.architecture.model_dump_json(), place.load
                if key not in known:
                    begun(f"{architecture.name}: {axis} {place.label}")
                    known[key] = _measure(place, weighting_of(architecture, equal), steps, alone)
                points.append(known[key].model_copy(update={"amount": place.amount, "label": place.label}))
            yield GrowthCurve(architecture=architecture, axis=axis, points=tuple(points))


def axes(architecture: Component, load: Workload) -> dict[Axis, list[Place]]:
    """The points along every axis that the network has, ascending."""
    channels, height, width = load.image_shape
    found: dict[Axis, list[Place]] = {
        "batch": [
            Place(size, str(size), architecture, replace(load, batch=size)) for size in scaled(load.batch, BATCHES)
        ],
        "pixels": [
            Place(h * w, f"{h} × {w}", architecture, replace(load, image_shape=(channels, h, w)))
            for h, w in ((max(1, round(height * side)), max(1, round(width * side))) for side in SIDES)
        ],
        "tasks": [Place(k, str(k), architecture, replace(load, tasks=many(load.tasks, k))) for k in TASKS],
    }
    if "width" in ARCHITECTURES[architecture.name].defaults:
        base = cast(int, architecture.options["width"])
        found["width"] = [Place(w, str(w), _resized(architecture, w), load) for w in scaled(base, WIDTHS)]
    return found


def scaled(amount: int, factors: Sequence[float]) -> list[int]:
    """The amount times each factor, at least 1, each once."""
    return list(dict.fromkeys(max(1, round(amount * factor)) for factor in factors))


def many(tasks: Sequence[Task], count: int) -> tuple[Task, ...]:
    """So many tasks, of the kinds of the given ones in turn, under names of their own."""
    return tuple(
        replace(task, name=task.name if i < len(tasks) else f"{task.name}-{i // len(tasks) + 1}")
        for i, task in enumerate(islice(cycle(tasks), count))
    )


def _resized(architecture: Component, width: int) -> Component:
    return architecture.model_copy(update={"options": architecture.options | {"width": width}})


def _measure(place: Place, weighting: Component | None, steps: int, alone: Alone) -> GrowthPoint:
    try:
        found = alone.run(Job(place.architecture, weighting, place.load, steps, count=True))
    except Exception as error:  # noqa: BLE001 - a method is foreign code: what it raises is told at its point
        return GrowthPoint(amount=place.amount, label=place.label, error=described(error))
    return GrowthPoint(
        amount=place.amount,
        label=place.label,
        seconds=Spread.of(found.seconds),
        peak_bytes=found.peak_bytes,
        flops=found.flops,
    )
