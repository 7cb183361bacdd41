"""Grids: architectures × weightings × data sets × seeds under one protocol, as TOML files -> lists of ``RunSpec``."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import chain, combinations, pairwise, product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, JsonValue, ValidationError

from benchmark.arithmetic import NATIVE, ComputeOptions
from benchmark.errors import UsageError, unknown
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS, Registry
from benchmark.runs.spec import Component, Count, Frozen, Protocol, RunSpec, first_error, plain
from benchmark.tasks import Task

BUILTIN = files("benchmark") / "grids"

Options = dict[str, JsonValue]
NO_OPTIONS: Options = {}

#: Options with which any cell takes seconds.
SMOKE_ARCHITECTURE: Options = {"width": 4}
SMOKE_PROTOCOL: Options = {
    "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "lr_step": 1, "evaluate_every": 1, "steps_per_epoch": None,
}  # fmt: skip
#: The option that a sweep over the simplex fills.
SWEPT = "weights"
#: Tables of a grid in which an axis puts its values.
VARIED = ("protocol", "architecture")


class Choice(Frozen):
    """A registered method with options of its own; in a file, its bare name will do.

    Attributes:
        name: as ``mtbench list`` shows it.
        options: those that differ from the defaults.
    """

    name: str
    options: Options = NO_OPTIONS


class WeightingChoice(Choice):
    """A weighting, or one with an option ``weights`` at many points: a sweep over fixed weights.

    Attributes:
        simplex: N fills ``weights`` with every point of the simplex of K tasks whose coordinates are positive multiples
            of 1/N, in turn. Faces are left out: a task of weight 0 is not trained, and its head stays as it began. The
            centre is left out too: it is equal weighting, which a grid lists by its own name.
    """

    simplex: Annotated[int, Field(ge=2, le=100, strict=True)] | None = None


def _as_choice(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


C = TypeVar("C", bound=Choice)
#: An axis: values of one key, or named values, each with what it puts at several keys.
Axis = tuple[JsonValue, ...] | dict[str, Options]
#: The axes' names, each with the name of the value that was chosen.
Setting = tuple[tuple[str, str], ...]
Listed = tuple[Annotated[C, BeforeValidator(_as_choice)], ...] | Literal["all"]


class DataSetChoice(Frozen):
    """What a grid says of one data set.

    Attributes:
        by_default: False where the set is run only when ``--dataset`` names it.
        options: of the data set.
        architecture: options of every architecture on this set.
        protocol: what differs from the grid's protocol on this set.
    """

    by_default: bool = True
    options: Options = NO_OPTIONS
    architecture: Options = NO_OPTIONS
    protocol: Options = NO_OPTIONS


class Grid(Frozen):
    """A grid file.

    Attributes:
        description: one line for readers.
        seeds: every cell runs once with each.
        architectures: what to run; ``"all"`` for everything registered that needs no option. The references for Δm are
            always run too.
        weightings: likewise; an architecture that shares nothing runs once, without weighting.
        reference_seeds: N runs the references with the seeds 0 to N − 1 besides those of the other cells, which need
            fewer runs for the same interval; None for no more.
        pictures: ``first-seed`` keeps pictures only of each cell's runs with the lowest of its seeds. It is no part of
            any run's identity, and changes no number.
        architecture: options of every architecture that knows them.
        protocol: common to all runs. Where it says nothing of ``arithmetic`` and ``precision``, or ``auto``, these
            are the command's and the device's to say.
        axes: further axes, over fields of the protocol and options of the architectures: every cell runs, references
            too, once at each value of each axis. An axis is a key with a dot and its values, such as
            ``"protocol.weight_decay" = [0.0, 0.05]`` or ``"architecture.width" = [8, 16]``; or a name of its own with
            named values, tables of such keys that change together: ``optimizer = { adam = { "protocol.learning_rate" =
            0.01 }, sgd = { "protocol.optimizer" = "sgd", "protocol.learning_rate" = 0.1 } }``. They count before what
            the grid or a data set says.
        datasets: by name what differs on each.
    """

    description: str = ""
    seeds: tuple[Count, ...] = Field(min_length=1)
    reference_seeds: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = None
    pictures: Literal["all", "first-seed"] = "all"
    architectures: Listed[Choice]
    weightings: Listed[WeightingChoice]
    architecture: Options = NO_OPTIONS
    protocol: Options = NO_OPTIONS
    axes: dict[str, Axis] = Field(default_factory=dict)
    datasets: dict[str, DataSetChoice] = Field(min_length=1)

    @property
    def parts(self) -> list["Grid"]:
        """A grid without axes for each choice of one value on every axis; this grid alone where it has none."""
        return list(self.settings.values())

    @cached_property
    def settings(self) -> "dict[Setting, Grid]":
        """The same by what was chosen, in the order of the file."""
        axes = [[(name, value) for value in values_of(name, axis)] for name, axis in self.axes.items()]
        return {
            tuple((name, value) for name, (value, _) in chosen): self._at(
                chain(*(changes for _, (_, changes) in chosen))
            )
            for chosen in product(*axes)
        }

    def _at(self, changes: Iterable[tuple[str, JsonValue]]) -> "Grid":
        """The grid with these values on all data sets, without axes."""
        own: dict[str, Options] = {table: {} for table in VARIED}
        for key, value in changes:
            table, _, field = key.partition(".")
            own[table][field] = value
        datasets = {
            name: choice.model_copy(update={t: {**getattr(choice, t), **own[t]} for t in VARIED})
            for name, choice in self.datasets.items()
        }
        whole = {table: {**getattr(self, table), **own[table]} for table in VARIED}
        return self.model_copy(update={**whole, "datasets": datasets, "axes": {}})


def values_of(name: str, axis: Axis) -> list[tuple[str, list[tuple[str, JsonValue]]]]:
    """The values of an axis: what each is called, and what it puts where.

    Raises:
        UsageError: a key names no field of the protocol and no option of the architectures, or the axis has no value.
    """
    found = (
        [(plain(value), [(name, value)]) for value in axis]
        if isinstance(axis, tuple)
        else [(value, list(changes.items())) for value, changes in axis.items()]
    )
    if not found:
        raise UsageError(f"the axis '{name}' has no value: give a list of them, or leave it out")
    for key in dict.fromkeys(key for _, changes in found for key, _ in changes):
        table, _, field = key.partition(".")
        if table not in VARIED or not field:
            raise UsageError(
                f"the axis '{name}' changes '{key}', expected a field of the protocol or an option of the "
                "architectures, such as 'protocol.optimizer' or 'architecture.width'"
            )
        if table == "protocol" and field not in Protocol.model_fields:
            raise unknown("field of the protocol", field, Protocol.model_fields)
    return found


class Grids(Frozen):
    """A grid file that puts others together.

    Attributes:
        description: one line for readers.
        include: names of the suite's grids.
        changes: values in place of theirs, by keys with dots.
    """

    description: str = ""
    include: tuple[str, ...] = Field(min_length=1)
    changes: Options = NO_OPTIONS

    @cached_property
    def parts(self) -> list[Grid]:
        """The grids, without axes.

        Raises:
            UsageError: a name is none of a grid's, or that of a file or of a grid that includes others.
        """
        found = [load_grid(name, self.changes) for name in self.include if name in grid_names()]
        if len(found) < len(self.include) or not all(isinstance(grid, Grid) for grid in found):
            raise UsageError(
                f"'include' must name grids of the suite that include no others; found {', '.join(self.include)}"
            )
        return [part for grid in found if isinstance(grid, Grid) for part in grid.parts]


@dataclass(frozen=True)
class Filters:
    """What the command line narrows a grid to; None keeps what the grid says. Any registered name may be given.

    Attributes:
        datasets, architectures, weightings: names; of methods, options may follow: ``dwa:temperature=1,window=2``.
        seeds: instead of the grid's, and of its further seeds of references.
        compute: how runs compute where the grid leaves it open.
        smoke: whether all cells shrink to minutes on a CPU, to see that everything runs: see ``shrunk``.
    """

    datasets: Sequence[str] | None = None
    architectures: Sequence[str] | None = None
    weightings: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    smoke: bool = False
    compute: ComputeOptions = NATIVE


NO_FILTERS = Filters()


def grid_names() -> list[str]:
    """Names of the grids that come with the suite."""
    return sorted(Path(str(item)).stem for item in BUILTIN.iterdir() if item.name.endswith(".toml"))


def grid_text(name: str) -> str:
    """The text of a grid of the suite, by name, or of a TOML file.

    Raises:
        UsageError: there is no such grid or file.
    """
    if name.endswith(".toml"):
        try:
            return Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the grid file {name} cannot be read ({error})") from error
    if name in grid_names():
        return (BUILTIN / f"{name}.toml").read_text()
    raise UsageError(f"{unknown('grid', name, grid_names())}, or a path that ends in .toml")


def load_grid(name: str | Path, changes: Mapping[str, JsonValue] = NO_OPTIONS) -> Grid | Grids:
    """Load a grid of the suite by name, or a TOML file.

    Args:
        changes: values in place of the file's, by keys with dots, such as ``protocol.epochs``; of a grid that puts
            others together, in each of these.

    Raises:
        UsageError: there is no such grid or file, it is no TOML, or a key or value is not valid.
    """
    name = str(name)
    text = grid_text(name)
    try:
        raw = tomllib.loads(text)
        if "include" in raw:
            return Grids.model_validate(raw | ({"changes": dict(changes)} if changes else {}))
        for key, value in changes.items():
            _put(raw, key, value)
        _check_lists(name, raw)
        return Grid.model_validate(raw)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the grid {name} is not valid TOML: {error}{_line(text, str(error))}") from error
    except ValidationError as error:
        model = Grids if "include" in raw else Grid
        raise UsageError(f"the grid {name} is not valid: {first_error(error, model)}") from error


def _put(raw: dict[str, Any], key: str, value: JsonValue) -> None:
    *tables, last = key.split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise UsageError(f"'{key}' cannot be set: '{table}' is no table")
    raw[last] = value


def _line(text: str, error: str) -> str:
    """The line that an error of TOML means, and what is usually wrong with it."""
    found = re.search(r"at line (\d+)", error)
    if not found:
        return ""
    why = "; a key or a table may be there only once" if "overwrite" in error or "twice" in error else ""
    return f": {text.splitlines()[int(found[1]) - 1].strip()[:80]!r}{why}"


def _check_lists(name: str, raw: Mapping[str, Any]) -> None:
    """Say in plain words what is no list of methods; all else is the model's to check."""
    for key in ("architectures", "weightings"):
        listed = raw.get(key, "all")
        if listed == "all":
            continue
        wrong = (
            [value for value in listed if not isinstance(value, str) and not isinstance(value, dict)]
            if isinstance(listed, list)
            else [listed]
        )
        if wrong:
            raise UsageError(
                f"the grid {name} is not valid: '{key}' must be \"all\" or a list of names, or of tables such as "
                f'{{ name = "mtan", options = {{ }} }}; found {str(wrong[0])[:80]!r}'
            )


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
        UsageError: an unknown name or option, a value that the protocol does not allow, no data set is named where none
            is run by default, an axis changes nothing, or nothing but references is left without the undefined cells.
    """
    parts = grid.parts
    if not any(_datasets(part, filters) for part in parts):
        names = ", ".join(dict.fromkeys(name for part in parts for name in part.datasets))
        raise UsageError(f"the grid runs no data set unless --dataset names it: {names}")
    if isinstance(grid, Grids) or grid.axes:
        found = [expand(part, filters) for part in parts if _datasets(part, filters)]
        if isinstance(grid, Grid) and not filters.smoke:
            _check_axes(grid, found)
        both = {spec.id: spec for specs in found for spec in specs}
        return sorted(both.values(), key=lambda spec: spec.seed)
    return _expanded(shrunk(grid) if filters.smoke else grid, filters)


def words_of(setting: Setting) -> str:
    """A setting in words; none where the grid has no axes."""
    return ", ".join(f"{axis} {value}" for axis, value in setting)


def _check_axes(grid: Grid, parts: Sequence[Sequence[RunSpec]]) -> None:
    """Make sure that no two settings of a grid are the same runs."""
    known: dict[frozenset[str], Setting] = {}
    for setting, specs in zip(grid.settings, parts, strict=True):
        other = known.setdefault(frozenset(spec.id for spec in specs), setting)
        if other != setting:
            raise UsageError(
                f"the axes give the same runs twice, at {words_of(other)} and at {words_of(setting)}: leave one of the "
                "values out"
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
    chosen = _choices(ARCHITECTURES, grid.architectures, filters.architectures, Choice)
    weightings = _choices(WEIGHTINGS, grid.weightings, filters.weightings, WeightingChoice)
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
    choices = [*references, *_choices(ARCHITECTURES, grid.architectures, filters.architectures, Choice)]
    known = {option for choice in choices for option in ARCHITECTURES[choice.name].defaults}
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
    choices = _choices(WEIGHTINGS, grid.weightings, filters.weightings, WeightingChoice)
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


def _choices(registry: Registry[Any], listed: Listed[C], names: Sequence[str] | None, kind: type[C]) -> list[C]:
    everything = [kind(name=name) for name in registry if not registry[name].required]
    choices = everything if listed == "all" else list(listed)
    if names is None:
        return choices
    found: list[C] = []
    for word in names:
        name, colon, options = word.partition(":")
        if colon:
            found.append(kind(name=name, options=parse_options(options, name)))
        else:
            found += [choice for choice in choices if choice.name == name] or [kind(name=name)]
    return found


def parse_options(text: str, what: str) -> Options:
    """``key=value,key=value`` with values as in TOML; what is no such value is a text.

    Raises:
        UsageError: a part has no equals sign.
    """
    # A comma within brackets belongs to a list.
    parts = re.findall(r"(?:\[[^\]]*\]|[^,\[])+", text)
    options: Options = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"options of '{what}' are given as key=value, and commas between them; found {part!r}")
        options[key.strip()] = parse_value(value)
    return options


def parse_value(text: str) -> JsonValue:
    """A value as TOML writes it; a text where it is none."""
    try:
        value: JsonValue = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    return value
