"""Rules compared on random gradients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, cycle, islice

import torch
from torch import Tensor

from benchmark.atlas.record import USUAL, AtlasRecord, MethodTraits, Pair, Relation, Settings
from benchmark.presence import Presence
from benchmark.registry import WEIGHTINGS
from benchmark.runs.spec import Component, derive_seed
from benchmark.tasks import Task
from benchmark.toyproblem.exact import ExactSteps
from benchmark.weighting import Weighting, build_weighting, direction

#: Directions that differ by less than this share of the longer one are the same; a solver is exact to some 1e-8.
SAME = 1e-6
#: Matrices on which what a rule depends on is measured, by the kind of rule: means over draws are dear.
MEASURED, MEASURED_DRAWN = 100, 8
#: By what one task's loss is multiplied.
SCALE = 10.0
#: Significant digits of stored numbers.
DIGITS = 3


#: Of the tasks, in turn: some rules look at them.
KINDS_OF_TASKS = ("segmentation", "depth", "normals")


@dataclass(frozen=True)
class Moment:
    """One step: (K, P) gradients and (K,) positive losses, in float64, and the kinds of the K tasks."""

    gradients: Tensor
    losses: Tensor
    kinds: tuple[str, ...]

    def at(self, order: Sequence[int]) -> "Moment":
        """The same tasks in another order, or some of them."""
        return Moment(self.gradients[list(order)], self.losses[list(order)], tuple(self.kinds[k] for k in order))

    def scaled(self, task: int, by: float) -> "Moment":
        """One task's loss multiplied, and with it its gradient."""
        factors = torch.ones_like(self.losses)
        factors[task] = by
        return replace(self, gradients=self.gradients * factors[:, None], losses=self.losses * factors)


def moments(count: int, settings: Settings, purpose: str) -> list[Moment]:
    """Random gradients: normal, with a common part that makes them agree or conflict, of lengths that differ."""
    draw = torch.Generator().manual_seed(derive_seed("atlas", purpose))
    found, kinds = [], tuple(islice(cycle(KINDS_OF_TASKS), settings.tasks))
    for _ in range(count):
        rows = torch.randn(settings.tasks, settings.columns, generator=draw, dtype=torch.float64)
        common = 2 * torch.rand(1, generator=draw, dtype=torch.float64) - 1  # −1: what the rows share is taken away
        rows = rows + common * rows.mean(0)
        lengths = torch.exp(torch.randn(settings.tasks, 1, generator=draw, dtype=torch.float64))
        losses = 0.3 + torch.rand(settings.tasks, generator=draw, dtype=torch.float64)
        found.append(Moment(rows * lengths, losses, kinds))
    return found


def survey(
    names: Sequence[str], settings: Settings = USUAL, tell: Callable[[str], None] = lambda name: None
) -> AtlasRecord:
    """Compare weightings by the directions that they give, each with its default options.

    Args:
        names: registered weightings that need no option.
        settings: of the comparison.
        tell: called with each name once it is done.

    Raises:
        UsageError: a name is unknown.
    """
    single = moments(settings.matrices, settings, "matrices")
    sequences = [moments(settings.steps, settings, f"sequence {k}") for k in range(settings.sequences)]
    traits: list[MethodTraits] = []
    directions: dict[str, tuple[Tensor, Tensor]] = {}
    for name in sorted(names):
        component = Component.from_registry(WEIGHTINGS, name)
        try:
            found = torch.stack([fresh(name, moment) for moment in single])
            ends = torch.stack([walked(name, sequence, settings) for sequence in sequences])
            traits.append(_traits(component, single, settings))
            directions[name] = found, ends
        except Exception as raised:  # noqa: BLE001 - a method is foreign code: its failure is a result
            traits.append(MethodTraits(weighting=component, error=f"{type(raised).__name__}: {raised}"))
        tell(name)
    pairs = tuple(_pair(one, other, directions) for one, other in combinations(sorted(directions), 2))
    return AtlasRecord(settings=settings, methods=tuple(traits), pairs=pairs)


def fresh(name: str, moment: Moment, seed: int = 0) -> Tensor:
    """(P,) the direction of a weighting's first step."""
    return direction(_built(name, moment.kinds, seed), moment.gradients, moment.losses).double()


def walked(name: str, sequence: Sequence[Moment], settings: Settings) -> Tensor:
    """(P,) the direction of the last of several steps, in which the weighting has learned and remembered.

    Each step's losses fall as its direction says, to first order; another batch has the same gradients.
    """
    weighting = _built(name, sequence[0].kinds, 0).double()
    steps = ExactSteps(weighting, settings.columns, settings.learning_rate)
    found, total = torch.zeros(settings.columns, dtype=torch.float64), torch.zeros(settings.tasks, dtype=torch.float64)
    for number, moment in enumerate(sequence, 1):
        found = _step(steps, moment, settings)
        total += moment.losses
        if number % settings.epoch == 0:
            weighting.epoch_end(total / settings.epoch)
            total = torch.zeros_like(total)
    return found


def _step(steps: ExactSteps, moment: Moment, settings: Settings) -> Tensor:
    rows = moment.gradients
    found = steps(moment.losses.clone(), rows.clone(), lambda ahead: rows @ rows.sum(0)).double()
    fallen = moment.losses - settings.learning_rate * (rows @ found)
    steps.after(lambda: fallen.clamp(min=0.01))
    return found


def _built(name: str, kinds: Sequence[str], seed: int) -> Weighting:
    """A weighting for tasks of these kinds, in the state in which training begins."""
    tasks = [Task(f"task {k}", kind, 3) for k, kind in enumerate(kinds)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("atlas weighting", seed))
        return build_weighting(name, tasks)


def _traits(component: Component, single: Sequence[Moment], settings: Settings) -> MethodTraits:
    """What a rule depends on; the last task is absent, the first is scaled, and the tasks change places."""
    name, count = component.name, settings.tasks
    draws = any(relation(fresh(name, m, 0)[None], fresh(name, m, 1)[None]) != "identical" for m in single[:MEASURED])
    measured = single[: MEASURED_DRAWN if draws else MEASURED]
    seeds = settings.draws if draws else 1

    def sample(moment: Moment, ask: Callable[[str, Moment, int], Tensor] = fresh) -> Tensor:
        return torch.stack([ask(name, moment, seed) for seed in range(seeds)])

    usual = [sample(moment) for moment in measured]
    turned = [[sample(moment.at(order)) for moment in measured] for order in orders(count)]
    scaled = [sample(moment.scaled(0, SCALE)) for moment in measured]
    part = [sample(moment.at(range(count - 1))) for moment in measured]
    without = [sample(moment, _without_the_last) for moment in measured]
    before, after = (torch.stack([s.mean(0) for s in found]) for found in (usual, scaled))
    stretch = (after.norm(dim=1) / before.norm(dim=1).clamp(min=1e-300)).median()
    return MethodTraits(
        weighting=component,
        draws=draws,
        order=max(_rounded(_change(usual, found)) for found in turned),
        turn=_rounded(angles(before, after).median()),
        stretch=_rounded(stretch),
        absent=_rounded(_change(part, without)),
    )


def orders(count: int) -> tuple[tuple[int, ...], ...]:
    """Two orders of tasks of which all others are made: a rule that neither changes depends on none.

    The order turned round would not do: a rule on neighbours is the same in it.
    """
    places = tuple(range(count))
    return (*places[1:], *places[:1]), (*places[1::-1], *places[2:])


def _without_the_last(name: str, moment: Moment, seed: int) -> Tensor:
    """The direction of a first step in which the last task has no label, as the training loop asks for it."""
    count = len(moment.losses)
    weighting = _built(name, moment.kinds, seed)
    known = torch.ones(count, dtype=torch.float64)
    known[-1] = 0
    present = Presence(count, tuple(range(count - 1)))
    with weighting.facing(present) as shown:
        return direction(
            weighting, shown.rows(moment.gradients * known[:, None]), shown.rows(moment.losses * known)
        ).double()


def _change(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """By how much directions differ.

    Of single ones (1, P) relative to their length, the median over matrices; of samples (draws, P) in standard errors
    of the difference of their means, the largest over matrices and columns: by chance above 5 in one rule of 25,000.
    """
    if len(one[0]) == 1:
        relative = [(a - b).norm() / a.norm().clamp(min=1e-300) for a, b in zip(one, other, strict=True)]
        return torch.stack(relative).median()
    found = []
    for a, b in zip(one, other, strict=True):
        error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
        apart = (a.mean(0) - b.mean(0)).abs()
        found.append(torch.where(apart > SAME * a.norm(dim=1).mean(), apart / error.clamp(min=1e-300), 0.0).max())
    return torch.stack(found).max()


def relation(one: Tensor, other: Tensor) -> Relation:
    """Of two rules' directions (N, P)."""
    size = torch.maximum(one.norm(dim=1), other.norm(dim=1))
    if bool(((one - other).norm(dim=1) <= SAME * size).all()):
        return "identical"
    unit, other_unit = _unit(one), _unit(other)
    return "same direction" if bool(((unit - other_unit).norm(dim=1) <= SAME).all()) else "distinct"


def angles(one: Tensor, other: Tensor) -> Tensor:
    """(N,) degrees between directions (N, P); exact for small ones, too."""
    unit, other_unit = _unit(one), _unit(other)
    return torch.rad2deg(2 * torch.atan2((unit - other_unit).norm(dim=1), (unit + other_unit).norm(dim=1)))


def _unit(directions: Tensor) -> Tensor:
    """(N, P) of length 1; what has no length stays 0."""
    return directions / directions.norm(dim=1, keepdim=True).clamp(min=1e-300)


def _pair(one: str, other: str, directions: Mapping[str, tuple[Tensor, Tensor]]) -> Pair:
    (first, later), (other_first, other_later) = directions[one], directions[other]
    between = angles(first, other_first)
    everywhere = relation(torch.cat([first, later]), torch.cat([other_first, other_later]))
    return Pair(
        one=one,
        other=other,
        relation=everywhere,
        first=relation(first, other_first),
        angle=_rounded(between.median()),
        widest=_rounded(between.max()),
        later=_rounded(angles(later, other_later).median()),
    )


def _rounded(value: Tensor) -> float:
    """With ``DIGITS`` significant digits; what is next to nothing is 0."""
    number = float(value)
    return 0.0 if abs(number) < SAME else float(f"{number:.{DIGITS}g}")
