"""Grid files: architectures × weightings × data sets × seeds under one protocol, in TOML."""

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, JsonValue, ValidationError

from benchmark.errors import UsageError, unknown
from benchmark.renamed import attribute
from benchmark.runs.axes import (
    NO_OPTIONS,
    VARIED,
    Axis,
    Options,
    Setting,
    check_form,
    choices_of,
    refuse_varied,
    words_of,
)
from benchmark.runs.spec import Count, Frozen, first_error

BUILTIN = files("benchmark") / "grids"

__getattr__ = partial(attribute, __name__)


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
            0.01 }, sgd = { "protocol.optimizer" = "sgd", "protocol.learning_rate" = 0.1 } }``. They win over what the
            grid, a data set or an architecture's entry says.
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
        """The same by what was chosen, in the order of the file.

        Raises:
            UsageError: an axis cannot be, see ``choices_of``, or makes two entries of an architecture the same.
        """
        return {setting: self._at(setting, changes) for setting, changes in choices_of(self.axes).items()}

    def _at(self, setting: Setting, changes: Options) -> "Grid":
        """The grid with these values on all data sets and in all entries of architectures, without axes."""
        own: dict[str, Options] = {table: {} for table in VARIED}
        for key, value in changes.items():
            table, _, field = key.partition(".")
            own[table][field] = value
        datasets = {
            name: choice.model_copy(update={t: {**getattr(choice, t), **own[t]} for t in VARIED})
            for name, choice in self.datasets.items()
        }
        whole = {table: {**getattr(self, table), **own[table]} for table in VARIED}
        listed = _entries_at(setting, self.architectures, own["architecture"])
        return self.model_copy(update={**whole, "architectures": listed, "datasets": datasets, "axes": {}})


def _entries_at(setting: Setting, listed: Listed[Choice], own: Options) -> Listed[Choice]:
    """Entries of architectures with an axis's values in place of theirs."""
    if listed == "all":
        return listed
    found = [
        choice.model_copy(update={"options": {k: own.get(k, v) for k, v in choice.options.items()}})
        for choice in listed
    ]
    for place, (before, now) in enumerate(zip(listed, found, strict=True)):
        for other, same in zip(listed[:place], found[:place], strict=True):
            if now == same and before != other:
                raise UsageError(
                    f"at {words_of(setting)} two entries of the architecture '{now.name}' are the same, for they "
                    "differ in nothing but what the axis varies: leave one of them out"
                )
    return tuple(found)


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

    @property
    def parts(self) -> list[Grid]:
        """The grids, without axes."""
        return [part for grid in self.grids.values() for part in grid.parts]

    @cached_property
    def grids(self) -> dict[str, Grid]:
        """By name the grids that are put together.

        Raises:
            UsageError: a name is none of a grid's, or that of a file or of a grid that includes others.
        """
        found = {name: load_grid(name, self.changes) for name in self.include if name in grid_names()}
        own = {name: grid for name, grid in found.items() if isinstance(grid, Grid)}
        if own.keys() != set(self.include):
            raise UsageError(
                f"'include' must name grids of the suite that include no others; found {', '.join(self.include)}"
            )
        return own


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
        UsageError: there is no such grid or file, it is no TOML, a key or value is not valid, or a change is of what an
            axis varies.
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
        check_form(raw.get("axes", {}))
        grid = Grid.model_validate(raw)
        refuse_varied(grid.axes, changes)
        return grid
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
