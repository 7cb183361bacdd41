"""What a step of each network costs as runs take it, against the same network trained plainly."""

from collections.abc import Iterator, Sequence

from benchmark.errors import UserError
from benchmark.registry import ARCHITECTURES
from benchmark.runs.spec import Component
from benchmark.speed.alone import Alone, Job
from benchmark.speed.plain import PlainStepper
from benchmark.speed.record import ArchitectureSpeed, Spread
from benchmark.speed.timing import alternate, described
from benchmark.speed.workload import Stepper, Workload


def measure_architectures(
    architectures: Sequence[Component],
    equal: Component,
    load: Workload,
    *,
    pairs: int,
    alone: Alone,
) -> Iterator[ArchitectureSpeed]:
    """Time each network's step in turn with a plain one of the same network; memory and operations apart from that.

    A network that cannot train here gives an entry that says so, whatever it raises.

    Args:
        architectures: the networks.
        equal: how losses are weighted where parameters are shared; elsewhere they are summed.
        load: pictures, tasks and hardware.
        pairs: how many steps of each.
        alone: measures memory and counts operations.
    """
    for architecture in architectures:
        load.hardware.set_up()
        try:
            yield _measure(architecture, weighting_of(architecture, equal), load, pairs=pairs, alone=alone)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a method is foreign code: what it raises is told in its row
            yield ArchitectureSpeed(architecture=architecture, error=described(error))


def weighting_of(architecture: Component, equal: Component) -> Component | None:
    """Equal weights, or None where nothing is shared."""
    return equal if ARCHITECTURES[architecture.name].factory.shares else None


def _measure(
    architecture: Component, weighting: Component | None, load: Workload, *, pairs: int, alone: Alone
) -> ArchitectureSpeed:
    own = alone.run(Job(architecture, weighting, load))
    plain = alone.run(Job(architecture, None, load, plain=True, count=True))
    stepper = Stepper(architecture, weighting, load)
    if stepper.obstacle:
        raise UserError(f"its steps are not replayed as CUDA graphs ({stepper.obstacle}): leave out --cuda-graphs")
    mine, plains = alternate(stepper, PlainStepper(architecture, load), pairs)
    return ArchitectureSpeed(
        architecture=architecture,
        parameters=plain.parameters,
        flops=plain.flops,
        seconds=Spread.from_values(mine),
        plain_seconds=Spread.from_values(plains),
        ratio=Spread.from_values([b / a for a, b in zip(mine, plains, strict=True)]),
        peak_bytes=own.peak_bytes,
        plain_peak_bytes=plain.peak_bytes,
    )
