"""The file of a claim."""

import hashlib
import json
import tomllib
from dataclasses import replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from benchmark.analysis.looks import ALPHA
from benchmark.claims.quantities import Interval
from benchmark.errors import UsageError, unknown
from benchmark.runs.axes import Setting, varied
from benchmark.runs.expansion import expand_settings, runs_of
from benchmark.runs.filters import AS_IN_THE_GRID
from benchmark.runs.grid import Grid, load_grid
from benchmark.runs.spec import Frozen, RunSpec, first_error

BUILTIN = files("benchmark") / "claims"

#: Where the intervals must lie for a claim to hold; the bound is 0 or the criterion's margin.
Where = Literal["above zero", "above minus margin", "below margin", "within margin"]


class Selector(Frozen):
    """Rows of a grid, by registered names.

    Attributes:
        architecture, weighting: names; None selects all.
        but: names of architectures or weightings that are left out.
        at: of a grid with axes, by name of an axis the values that are meant; None for all.
    """

    architecture: tuple[str, ...] | None = None
    weighting: tuple[str, ...] | None = None
    but: tuple[str, ...] = ()
    at: dict[str, tuple[str, ...]] | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without ``at`` where it says nothing: the hashes of rules that were written before there were axes hold."""
        return {name: value for name, value in plain(self).items() if name != "at" or value is not None}

    def stands_at(self, setting: Setting) -> bool:
        """Whether rows of a grid's setting are meant."""
        chosen = dict(setting)
        return all(chosen.get(axis) in values for axis, values in (self.at or {}).items())

    def has(self, architecture: str, weighting: str) -> bool:
        """Whether a row with these methods is meant; ``none`` stands for no weighting."""
        return (
            (self.architecture is None or architecture in self.architecture)
            and (self.weighting is None or weighting in self.weighting)
            and architecture not in self.but
            and weighting not in self.but
        )


class Rule(Frozen):
    """How a criterion's quantities are made of differences between rows, in points of Δm.

    Attributes:
        quantity: ``difference``, of each of ``rows`` from each of ``others``; ``difference from mean``, of each of
            ``rows`` from the mean over ``others``; ``range``, the range over weightings of each architecture in
            ``rows`` less that of the one in ``others``; ``beyond front``, how far each of ``rows`` lies beyond every
            one of ``others`` in its best task.
        rows, others: of the claim's grid. Where it has axes and neither says ``at`` which of their values, each
            setting is looked at by itself. Differences between rows of two settings are in per cent of the single-task
            networks of the grid's first setting.
        same: what the two rows of a ``difference`` must have in common; ``row`` for both, where they stand at two
            settings.
    """

    quantity: Literal["difference", "difference from mean", "range", "beyond front"]
    rows: Selector
    others: Selector
    same: Literal["architecture", "weighting", "row"] | None = None

    @model_validator(mode="after")
    def _same_is_of_differences(self) -> "Rule":
        if self.same is not None and self.quantity != "difference":
            raise ValueError(f"'same' is of the quantity 'difference' alone, found '{self.quantity}'")
        return self

    @property
    def across(self) -> bool:
        """Whether rows of one setting are held against those of another."""
        return self.rows.at is not None or self.others.at is not None


class Criterion(Frozen):
    """What decides, written before the runs.

    Attributes:
        margin: in points of Δm.
        error_rate: the chance that any of the claim's intervals, on all data sets and at all looks, misses its truth.
        quantity, supported, contradicted: in words.
    """

    margin: Annotated[float, Field(ge=0)]
    error_rate: Annotated[float, Field(ge=ALPHA, le=ALPHA)]
    quantity: str
    supported: str
    contradicted: str


class Claim(Frozen):
    """A claim of the literature and how it is tried here.

    Attributes:
        name: of its file.
        title: the claim in a line.
        source: where it is made.
        claim: what its authors say.
        small_version: what is tried here.
        distance: how that differs from the original.
        grid: whose runs it is judged by; ``datasets`` names those of its data sets.
        holds: where all intervals must lie; it is contradicted by one that lies wholly on the other side.
        rules: how the criterion is computed.
    """

    name: str
    title: str
    source: str
    claim: str
    small_version: str
    distance: str
    grid: str
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    holds: Where
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    criterion: Criterion

    @cached_property
    def criterion_hash(self) -> str:
        """16 hex digits: a criterion that was changed after the runs has another."""
        text = json.dumps(self.criterion.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def bound(self) -> float:
        """Where the border lies that intervals are held against, in points."""
        return {"above zero": 0.0, "above minus margin": -self.criterion.margin}.get(self.holds, self.criterion.margin)

    def verdict(self, interval: Interval) -> str:
        """What one interval says of the claim: supported, contradicted or undecided."""
        low, high, bound = interval.low, interval.high, self.bound
        match self.holds:
            case "below margin":
                holds, fails = high < bound, low > bound
            case "within margin":
                holds, fails = -bound <= low and high <= bound, low > bound or high < -bound
            case _:
                holds, fails = low > bound, high < bound
        return "supported" if holds else "contradicted" if fails else "undecided"

    @cached_property
    def specs(self) -> list[RunSpec]:
        """The grid's runs on the claim's data sets."""
        return runs_of(self.settings)

    @cached_property
    def settings(self) -> dict[Setting, list[RunSpec]]:
        """The same for each choice of one value on every axis of the grid; of a grid without axes there is one.

        Raises:
            UsageError: the grid cannot be, includes others, or has not all of the data sets.
        """
        for name in self.datasets:
            if name not in self._grid.datasets:
                raise unfit(self, unknown("data set", name, self._grid.datasets))
        ordered = tuple(name for name in self._grid.datasets if name in self.datasets)
        return expand_settings(self._grid, replace(AS_IN_THE_GRID, datasets=ordered))

    @cached_property
    def varied_options(self) -> frozenset[str]:
        """The options of architectures that the grid's axes vary."""
        keys = (key.partition(".") for key in varied(self._grid.axes))
        return frozenset(option for table, _, option in keys if table == "architecture")

    @cached_property
    def _grid(self) -> Grid:
        grid = load_grid(self.grid)
        if not isinstance(grid, Grid):
            raise UsageError(f"the claim '{self.name}' must name a grid that includes no others; found '{self.grid}'")
        return grid

    def needed(self) -> list[RunSpec]:
        """The grid's runs that its rules speak of; references are always run with them."""
        selectors = [selector for rule in self.rules for selector in (rule.rows, rule.others)]
        meant = {
            spec.id
            for setting, specs in self.settings.items()
            for spec in specs
            if any(one.stands_at(setting) and one.has(spec.architecture.name, spec.weighting_name) for one in selectors)
        }
        return [spec for spec in self.specs if spec.id in meant]


def unfit(claim: Claim, why: object) -> UsageError:
    """The error for a claim that cannot be judged by its grid's runs."""
    return UsageError(f"the claim '{claim.name}' does not fit its grid '{claim.grid}': {why}")


def claim_names() -> list[str]:
    """Names of the claims that come with the suite."""
    return sorted(Path(str(item)).stem for item in BUILTIN.iterdir() if item.name.endswith(".toml"))


def claim_named(name: str) -> Claim:
    """A claim of the suite by name, or of a TOML file.

    Raises:
        UsageError: there is no such claim or file, or it is not valid.
    """
    try:
        if name.endswith(".toml"):
            text, stem = Path(name).read_text(encoding="utf-8-sig"), Path(name).stem
        elif name in claim_names():
            return _builtin(name)
        else:
            raise UsageError(f"{unknown('claim', name, claim_names())}, or a path that ends in .toml")
        return _parsed(stem, text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the claim {name} cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the claim {name} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise UsageError(f"the claim {name} is not valid: {first_error(error, Claim)}") from error


@cache
def _builtin(name: str) -> Claim:
    """A claim of the suite: one object, which expands its grid once."""
    return _parsed(name, (BUILTIN / f"{name}.toml").read_text())


def _parsed(name: str, text: str) -> Claim:
    return Claim.model_validate({"name": name, **tomllib.loads(text)})
