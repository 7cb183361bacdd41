"""The words of the command line that choose one cell of a grid."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, Registry
from benchmark.runs.axes import Options, varied
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters, write_options
from benchmark.runs.grid import Grid, Grids
from benchmark.runs.spec import Component, RunSpec

Kind = Literal["architecture", "weighting"]
REGISTRIES: Mapping[Kind, Registry[Any]] = {"architecture": ARCHITECTURES, "weighting": WEIGHTINGS}


class CellWords:
    """Finds a cell's words: the user's where they choose it alone, else the bare name, else the name with options.

    Where an axis varies an option of architectures, the words choose the cell at all values of the axis.

    Args:
        loaded: the grid.
        filters: what the command line narrowed it to.
    """

    def __init__(self, loaded: Grid | Grids, filters: Filters) -> None:
        self._loaded, self._filters = loaded, filters
        grids = loaded.grids.values() if isinstance(loaded, Grids) else [loaded]
        self._varied = {key for grid in grids for key in varied(grid.axes)}
        self._known: dict[Filters, list[RunSpec]] = {}

    def find(self, spec: RunSpec) -> dict[Kind, str]:
        """By kind of method the word that chooses the run's; no weighting where the run has none."""
        given = (self._filters.architectures, spec.architecture), (self._filters.weightings, spec.weighting)
        architectures, weightings = (_of_name(words, method) for words, method in given)
        found: dict[Kind, str] = {}
        near = replace(
            self._filters,
            datasets=(spec.dataset.name,),
            architectures=architectures,
            weightings=weightings,
            seeds=(spec.seed,),
        )
        found["architecture"] = self._find("architecture", spec.architecture, near, architectures)
        if spec.weighting:
            near = replace(near, architectures=(found["architecture"],))
            found["weighting"] = self._find("weighting", spec.weighting, near, weightings)
        return found

    def _find(self, kind: Kind, wanted: Component, near: Filters, given: tuple[str, ...]) -> str:
        """The first word that chooses the method alone; else the one that chooses the fewest others with it."""
        own, others = self._options(kind, wanted), self._chosen(kind, wanted.name, near, given)
        telling = {k: v for k, v in own.items() if any(json.loads(other)[k] != _plain(v) for other in others)}
        usual = REGISTRIES[kind][wanted.name].defaults
        unusual = {k: v for k, v in own.items() if _plain(v) != _plain(usual[k])}
        texts = [write_options(options) for options in (telling, unusual, {**unusual, **telling}, own)]
        words = dict.fromkeys([*given, wanted.name, *(f"{wanted.name}:{text}" for text in texts if text)])
        best, fewest = wanted.name, float("inf")
        for word in words:
            chosen = self._chosen(kind, wanted.name, near, (word,))
            if json.dumps(own, sort_keys=True) in chosen and len(chosen) < fewest:
                best, fewest = word, len(chosen)
            if fewest == 1:
                break
        return best

    def _chosen(self, kind: Kind, name: str, near: Filters, words: tuple[str, ...]) -> set[str]:
        """The options, in JSON, of the methods of a name that words choose; none where the grid refuses the words."""
        filters = replace(near, architectures=words) if kind == "architecture" else replace(near, weightings=words)
        if filters not in self._known:
            try:
                self._known[filters] = expand(self._loaded, filters)
            except UsageError:
                self._known[filters] = []
        methods: list[Component | None] = [getattr(spec, kind) for spec in self._known[filters]]
        return {
            json.dumps(self._options(kind, method), sort_keys=True)
            for method in methods
            if method and method.name == name
        }

    def _options(self, kind: Kind, method: Component) -> Options:
        """All options of a method but those that an axis varies."""
        whole = REGISTRIES[kind][method.name].resolve(method.options)
        return {key: value for key, value in whole.items() if f"{kind}.{key}" not in self._varied}


def _of_name(words: Any, method: Component | None) -> tuple[str, ...]:
    """The user's words for the methods of a name; the name where there is none."""
    if method is None:
        return ()
    return tuple(word for word in words or () if word.partition(":")[0] == method.name) or (method.name,)


def _plain(value: Any) -> Any:
    """A value as JSON has it, which knows no tuples; the mark of an option without default as a text."""
    return json.loads(json.dumps(value, default=str))
