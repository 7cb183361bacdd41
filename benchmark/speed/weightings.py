"""What a step costs under each weighting, against equal weights, paired in one process."""

from collections.abc import Callable, Iterator, Sequence

from benchmark.errors import UserError
from benchmark.runs.spec import Component
from benchmark.speed.alone import Alone, Job
from benchmark.speed.record import Spread, WeightingSpeed
from benchmark.speed.timing import alternate, described
from benchmark.speed.workload import Stepper, Workload, cost_class, relative_cost_limit


def measure_weightings(
    architecture: Component,
    weightings: Sequence[Component],
    equal: Component,
    load: Workload,
    *,
    pairs: int,
    alone: Alone | None = None,
    begun: Callable[[Component], None] = lambda weighting: None,
) -> Iterator[WeightingSpeed]:
    """Time each weighting on its own copy of a network, in turn with ``equal`` on another.

    A weighting that cannot train this network gives an entry that says so, whatever it raises.

    Args:
        architecture: the network.
        weightings: what to time.
        equal: what to compare with.
        load: pictures, tasks and hardware.
        pairs: how many steps of each.
        alone: measures memory; None leaves it out.
        begun: told of each weighting before it is timed.

    Raises:
        UserError: the network cannot take a step with equal weights.
    """
    load.hardware.set_up()
    baseline = _baseline(architecture, equal, load)
    least = _memory(alone, architecture, equal, load)
    for weighting in weightings:
        begun(weighting)
        load.hardware.set_up()
        try:
            found = _measure(baseline, architecture, weighting, pairs)
            peak = _memory(alone, architecture, weighting, load)
            yield found.model_copy(update={"peak_bytes": peak, "equal_peak_bytes": least})
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a method is foreign code: what it raises is told in its row
            yield WeightingSpeed(architecture=architecture, weighting=weighting, error=described(error))


def _memory(alone: Alone | None, architecture: Component, weighting: Component, load: Workload) -> int | None:
    return alone.run(Job(architecture, weighting, load)).peak_bytes if alone else None


def _baseline(architecture: Component, equal: Component, load: Workload) -> Stepper:
    try:
        stepper = Stepper(architecture, equal, load)
        stepper.step()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(
            f"'{architecture.name}' cannot take a training step here ({type(error).__name__}: {error}); try another "
            "--size, --width or --batch"
        ) from error
    return stepper


def _measure(baseline: Stepper, architecture: Component, weighting: Component, pairs: int) -> WeightingSpeed:
    load = baseline.load
    tried = Stepper(architecture, weighting, load)
    assert tried.weighting is not None  # built from a component
    mine, equals = alternate(tried, baseline, pairs)
    ratio = Spread.from_values([a / b for a, b in zip(mine, equals, strict=True)])
    kind = cost_class(tried.weighting)
    promised = relative_cost_limit(kind, len(load.tasks))
    return WeightingSpeed(
        architecture=architecture,
        weighting=weighting,
        kind=kind,
        needs=tried.weighting.needs(weighting.options | {"on": getattr(tried.weighting, "on", None)}),
        seconds=Spread.from_values(mine),
        equal_seconds=Spread.from_values(equals),
        ratio=ratio,
        limit=promised,
        met=None if promised is None else ratio.median <= promised,
        kept_bytes=tried.kept_bytes(),
    )
