"""Grids -> lists of ``RunSpec``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from pydantic import ValidationError

from benchmark.arithmetic import ComputeOptions
from benchmark.errors import UsageError, unknown
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.axes import Options, Setting, check_that_all_change, check_that_axes_change, refuse_varied, varied
from benchmark.runs.filters import NO_FILTERS, Filters, chosen_methods, parse_options
from benchmark.runs.grid import Choice, DataSetChoice, Grid, Grids, WeightingChoice
from benchmark.runs.spec import Component, Protocol, RunSpec, first_error
from benchmark.tasks import Task

#: Options with which any cell takes seconds.
SMOKE_ARCHITECTURE: Options = {"width": 4}
SMOKE_PROTOCOL: Options = {
    "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "lr_step": 1, "evaluate_every": 1, "steps_per_epoch": None,
}  # fmt: skip
#: The option that a sweep over the simplex fills.
SWEPT = "weights"


@dataclass(frozen=True)
class Undefined:
    """An architecture and a weighting that cannot go together, and why."""

    architecture: str
    weighting: str
    reason: str

    def __str__(self) -> str:
        return f"{self.architecture} × {self.weighting} is undefined: {self.reason}"


def expand(grid: Grid | Grids, filters: Filters = NO_FILTERS) -> list[RunSpec]:
    """Every run of a grid, references first, without repetition and without undefined cells.

    Of grids that are put together, and of a grid with axes, seed by seed.

    Raises:
        UsageError: see ``expand_settings``.
    """
    return runs_of(expand_settings(grid, filters))


def runs_of(settings: Mapping[Setting, Sequence[RunSpec]]) -> list[RunSpec]:
    """The runs of all settings, each once; of several settings seed by seed."""
    runs = {spec.id: spec for specs in settings.values() for spec in specs}
    return list(runs.values()) if len(settings) == 1 else sorted(runs.values(), key=lambda spec: spec.seed)


def expand_settings(grid: Grid | Grids, filters: Filters = NO_FILTERS) -> dict[Setting, list[RunSpec]]:
    """The runs of each setting; of a grid without axes there is one. Of grids put together, settings begin with theirs.

    Raises:
        UsageError: an unknown name or option, a value that the protocol does not allow, no data set is named where none
            is run by default, nothing but references is left without the undefined cells; an axis changes nothing, or
            the networks of some architectures and not of others, or the filters say what an axis varies.
    """
    if not any(_datasets(part, filters) for part in grid.parts):
        names = ", ".join(dict.fromkeys(name for part in grid.parts for name in part.datasets))
        raise UsageError(f"the grid runs no data set unless --dataset names it: {names}")
    if isinstance(grid, Grids):
        return {
            (("grid", name), *setting): specs
            for name, own in grid.grids.items()
            if any(_datasets(part, filters) for part in own.parts)
            for setting, specs in expand_settings(own, filters).items()
        }
    _refuse_words(grid, filters)
    found = {
        setting: _expanded(shrunk(part) if filters.smoke else part, filters) for setting, part in grid.settings.items()
    }
    # A smoke test makes all networks alike, and a part of the grid may lack what an axis varies of the others.
    if not filters.smoke and filters.architectures is None:
        check_that_axes_change(found)
    check_that_all_change(grid.axes, found)
    return found


def _refuse_words(grid: Grid, filters: Filters) -> None:
    """Make sure that the filters say nothing for all runs that an axis varies."""
    for word in filters.architectures or ():
        name, _, options = word.partition(":")
        refuse_varied(grid.axes, {"architecture": parse_options(options, name)} if options else {})
    for field in ("arithmetic", "precision"):
        said, axis = getattr(filters.compute, field), varied(grid.axes).get(f"protocol.{field}")
        if axis and said != "auto":
            raise UsageError(
                f"the grid's axis '{axis}' varies the {field}, and '{said}' is asked for all runs: leave --{field} out "
                "(in Python: Filters(compute=ComputeOptions('auto', 'auto')))"
            )


def _expanded(grid: Grid, filters: Filters) -> list[RunSpec]:
    """See ``expand``, of a grid without axes."""
    seeds, further = grid.seeds if filters.seeds is None else filters.seeds, _further_seeds(grid, filters)
    specs = {
        spec.id: spec
        for seed in (*seeds, *further)
        for dataset, choice in _datasets(grid, filters).items()
        for spec in _cells(grid, filters, dataset, choice, seed)
        if seed not in further or ARCHITECTURES[spec.architecture.name].factory.reference
    }
    if all(ARCHITECTURES[spec.architecture.name].factory.reference for spec in specs.values()):
        missing = undefined(grid, filters)
        if missing:
            raise UsageError(
                f"nothing but references would be run: {'; '.join(str(cell) for cell in missing)}; choose another "
                "architecture or weighting"
            )
    return list(specs.values())


def _further_seeds(grid: Grid, filters: Filters) -> list[int]:
    """Seeds with which only the references are run."""
    return [] if filters.seeds is not None else [n for n in range(grid.reference_seeds or 0) if n not in grid.seeds]


def unpictured(grid: Grid | Grids, specs: Sequence[RunSpec]) -> frozenset[str]:
    """Ids of the runs that keep no pictures; whatever part of the grid ``specs`` are, the same runs do.

    Args:
        specs: what the grid, or a part of it, expands to.
    """
    if isinstance(grid, Grids):
        return frozenset.intersection(*(unpictured(part, specs) for part in grid.parts))
    # What an axis changes is no matter here: the seeds alone count.
    if grid.pictures == "all":
        return frozenset()
    first, first_reference = min(grid.seeds), min(*grid.seeds, 0 if grid.reference_seeds else min(grid.seeds))
    return frozenset(
        spec.id
        for spec in specs
        if spec.seed != (first_reference if ARCHITECTURES[spec.architecture.name].factory.reference else first)
    )


def undefined(grid: Grid | Grids, filters: Filters = NO_FILTERS) -> list[Undefined]:
    """The cells that ``expand`` leaves out, each once whatever the data sets and seeds.

    Raises:
        UsageError: an unknown name or option.
    """
    if isinstance(grid, Grids) or grid.axes:
        return list(dict.fromkeys(cell for part in grid.parts for cell in undefined(part, filters)))
    chosen = chosen_methods(ARCHITECTURES, grid.architectures, filters.architectures, Choice)
    weightings = chosen_methods(WEIGHTINGS, grid.weightings, filters.weightings, WeightingChoice)
    cells = {
        (architecture.name, weighting.name, reason): Undefined(architecture.name, weighting.name, reason)
        for dataset in _datasets(grid, filters)
        for architecture in chosen
        if ARCHITECTURES[architecture.name].factory.shares
        for weighting in weightings
        if (reason := _why_undefined(architecture.name, weighting, dataset))
    }
    return list(cells.values())


def _why_undefined(architecture: str, weighting: Component | Choice, dataset: str) -> str | None:
    """Why a weighting, with its options, cannot train an architecture on a data set; None where it can."""
    network = ARCHITECTURES[architecture].factory
    apart = f"every task of '{dataset}' has its own pictures" if not DATASETS[dataset].factory.joint else ""
    if apart and not network.separable:
        return f"{apart}, and the architecture needs all tasks' features of the same picture"
    entry = WEIGHTINGS[weighting.name]
    asks = getattr(entry.factory, "needs_representation", None)  # a plain function tells nothing
    if asks is None or not asks({**entry.preset, **entry.defaults, **weighting.options}):
        return None
    needs = "the weighting takes gradients at one feature that feeds all heads"
    if apart:
        return f"{needs}, and {apart}"
    return None if network.has_representation else f"{needs}, which this architecture does not have"


def _datasets(grid: Grid, filters: Filters) -> dict[str, DataSetChoice]:
    if filters.datasets is None:
        return {name: choice for name, choice in grid.datasets.items() if choice.by_default}
    return {
        name: grid.datasets.get(name, _small(name) if filters.smoke else DataSetChoice()) for name in filters.datasets
    }


def shrunk(grid: Grid) -> Grid:
    """The same cells on few small pictures with narrow networks, for the first seed; see also ``_small_protocol``.

    A data set says by its ``smoke`` options how it is made small.
    """
    listed = grid.architectures
    if listed != "all":
        listed = tuple(
            choice.model_copy(update={"options": {**choice.options, **SMOKE_ARCHITECTURE}})
            if "width" in choice.options
            else choice
            for choice in listed
        )
    return grid.model_copy(
        update={
            "seeds": grid.seeds[:1],
            "reference_seeds": None,
            "architectures": listed,
            "architecture": {**grid.architecture, **SMOKE_ARCHITECTURE},
            "datasets": {name: _small(name, choice) for name, choice in grid.datasets.items()},
        }
    )


def _small(name: str, choice: DataSetChoice | None = None) -> DataSetChoice:
    choice = choice or DataSetChoice()
    return choice.model_copy(
        update={
            "options": {**choice.options, **getattr(DATASETS[name].factory, "smoke", {})},
            "architecture": {**choice.architecture, **SMOKE_ARCHITECTURE},
        }
    )


def _small_protocol(protocol: Options) -> Options:
    """Two epochs; everything else of the protocol stays as it is.

    A second phase begins after the first epoch; a cosine has no decays.
    """
    decays = protocol.get("schedule") != "cosine"
    small = {name: value for name, value in SMOKE_PROTOCOL.items() if name != "lr_step" or decays}
    phase = {"restart_after": 1, "restart_learning_rate": 1e-4} if protocol.get("restart_after") else {}
    return {**protocol, **small, **phase}


def _cells(grid: Grid, filters: Filters, dataset: str, choice: DataSetChoice, seed: int) -> Iterator[RunSpec]:
    options = {**grid.protocol, **choice.protocol}
    protocol = _protocol(_small_protocol(options) if filters.smoke else options, filters.compute, dataset)
    data = Component.from_registry(DATASETS, dataset, choice.options)
    weightings = _weightings(grid, filters, data)
    for architecture in _architectures(grid, filters, {**grid.architecture, **choice.architecture}):
        shares = ARCHITECTURES[architecture.name].factory.shares
        for weighting in weightings if shares else [None]:
            if weighting and _why_undefined(architecture.name, weighting, dataset):
                continue
            yield RunSpec(dataset=data, architecture=architecture, weighting=weighting, seed=seed, protocol=protocol)


def _protocol(options: Options, compute: ComputeOptions, dataset: str) -> Protocol:
    """A data set's protocol, with what the grid leaves open of arithmetic and precision."""
    said = {name: str(options.get(name, "auto")) for name in ("arithmetic", "precision")}
    arithmetic, precision = compute.settle(**said)
    try:
        return Protocol.model_validate({**options, "arithmetic": arithmetic, "precision": precision})
    except ValidationError as error:
        raise UsageError(f"the protocol for '{dataset}' is not valid: {first_error(error, Protocol)}") from error


def _architectures(grid: Grid, filters: Filters, common: Mapping[str, Any]) -> list[Component]:
    """References first, then what was chosen; each with those of the common options that it knows."""
    references = [Choice(name=name) for name in ARCHITECTURES if ARCHITECTURES[name].factory.reference]
    choices = [*references, *chosen_methods(ARCHITECTURES, grid.architectures, filters.architectures, Choice)]
    # What the filters leave out counts too: a part of a grid has no other mistakes than the whole.
    listed = chosen_methods(ARCHITECTURES, grid.architectures, None, Choice)
    known = {option for choice in [*choices, *listed] for option in ARCHITECTURES[choice.name].defaults}
    for option in common:
        if option not in known:
            raise unknown("architecture option", option, known)
    return [
        Component.from_registry(
            ARCHITECTURES,
            choice.name,
            {k: v for k, v in common.items() if k in ARCHITECTURES[choice.name].defaults} | choice.options,
        )
        for choice in choices
    ]


def _weightings(grid: Grid, filters: Filters, dataset: Component) -> list[Component]:
    """What was chosen, with a component for each point of a sweep."""
    choices = chosen_methods(WEIGHTINGS, grid.weightings, filters.weightings, WeightingChoice)
    tasks: Sequence[Task] = ()
    if any(choice.simplex for choice in choices):
        tasks = DATASETS[dataset.name].build(**dataset.options).tasks
    return [
        Component.from_registry(WEIGHTINGS, choice.name, options)
        for choice in choices
        for options in (_sweep(choice, choice.simplex, len(tasks)) if choice.simplex else [choice.options])
    ]


def _sweep(choice: Choice, parts: int, count: int) -> list[Options]:
    """The options of a choice at every point of the simplex of ``count`` tasks, see ``WeightingChoice``."""
    if SWEPT not in WEIGHTINGS[choice.name].defaults:
        raise UsageError(f"'simplex' fills the option '{SWEPT}', which '{choice.name}' has not; try 'constant'")
    if SWEPT in choice.options:
        raise UsageError(f"'{choice.name}' is given both '{SWEPT}' and 'simplex', which fills it; leave one out")
    points = simplex_points(parts, count)
    if not points:
        raise UsageError(
            f"'simplex = {parts}' has no point besides equal weights for {count} tasks; "
            f"give 'simplex' {count + 1} or more"
        )
    return [{**choice.options, SWEPT: list(point)} for point in points]


def simplex_points(parts: int, count: int) -> list[tuple[float, ...]]:
    """Points of the simplex whose ``count`` coordinates are positive multiples of 1/``parts``, without the centre.

    In descending order of the first coordinate, then of the next: (parts − 1 choose count − 1) points, less the centre.
    """
    cuts = combinations(range(1, parts), count - 1)
    steps = [tuple(b - a for a, b in pairwise((0, *cut, parts))) for cut in cuts]
    return [tuple(n / parts for n in point) for point in sorted(steps, reverse=True) if len(set(point)) > 1]
