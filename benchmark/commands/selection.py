"""The options that say which runs of a grid are meant."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, cast

import click
import torch
from rich.console import Console
from rich.markup import escape

from benchmark.arithmetic import ComputeOptions, Precision
from benchmark.commands.cellwords import CellWords
from benchmark.commands.options import (
    DEFAULT_RESULTS,
    arithmetic_option,
    device_option,
    plugin_option,
    precision_option,
    results_option,
)
from benchmark.registry import load_plugin_files
from benchmark.runs import axes
from benchmark.runs.expansion import Undefined, expand_settings, runs_of, undefined, unpictured
from benchmark.runs.filters import Filters, parse_value, write_value
from benchmark.runs.grid import Grid, Grids, grid_names, load_grid
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.training.hardware import Hardware

console = Console(highlight=False)

#: Of one range: more are a slip of the keyboard.
MOST_SEEDS = 10_000


class Setting(click.ParamType):
    """A key and its value, ``protocol.epochs=2``."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Parse; click reports what is wrong."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            self.fail(f"expected KEY=VALUE such as protocol.epochs=2, found '{value}'", param, ctx)
        return key.strip(), parse_value(text)


class Seeds(click.ParamType):
    """Seeds such as ``0,2,5-7``."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Parse; click reports what is wrong."""
        if isinstance(value, tuple):
            return value
        seeds: dict[int, None] = {}
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            last = last if dash else first
            if not first.isdecimal() or not last.isdecimal() or int(last) < int(first):
                self.fail(f"expected seeds such as 0,1,2 or 0-4, found '{value}'", param, ctx)
            if int(last) >= 2**63:
                self.fail(f"a seed is less than 2^63, and '{part.strip()}' is not", param, ctx)
            if int(last) - int(first) >= MOST_SEEDS:
                self.fail(f"'{part.strip()}' are more than {MOST_SEEDS} seeds", param, ctx)
            seeds.update(dict.fromkeys(range(int(first), int(last) + 1)))
        return tuple(seeds)


@dataclass(frozen=True)
class Selection:
    """The runs that the grid options mean, and the words that said so.

    Attributes:
        device: where they are to be computed: ``auto`` or a device's name.
        words: of the command line, that say how.
        unpictured: ids of those whose pictures are not kept.
        changes: what is set in place of the grid's, as words.
        settings: the runs by setting of the grid, see ``expand_settings``.
    """

    specs: list[RunSpec]
    device: str
    store: Store
    plugins: tuple[Path, ...]
    grid: str
    loaded: Grid | Grids
    filters: Filters
    undefined: Sequence[Undefined] = ()

    def show_undefined(self) -> None:
        """Print one line for each cell that is left out."""
        for cell in self.undefined:
            console.print(f"[yellow]Left out:[/] {escape(str(cell))}", soft_wrap=True)

    smoke: bool = False
    words: Sequence[str] = ()
    unpictured: frozenset[str] = frozenset()
    changes: Sequence[str] = ()
    settings: Mapping[axes.Setting, Sequence[RunSpec]] = field(default_factory=dict)

    def command(self, specs: Sequence[RunSpec]) -> str:
        """The command that does these runs of one cell."""
        first = specs[0]
        words = ["mtbench", "run", "--grid", self.grid]
        words += [word for plugin in self.plugins for word in ("--plugin", str(plugin))]
        words += ["--smoke"] * self.smoke
        words += self.words
        words += [word for change in self.changes for word in ("--set", change)]
        if self.store.root != DEFAULT_RESULTS:
            words += ["--results", str(self.store.root)]
        words += ["--dataset", first.dataset.name]
        words += [part for kind, word in self._cell_words.find(first).items() for part in (f"--{kind}", word)]
        return shlex.join([*words, "--seeds", ",".join(dict.fromkeys(str(spec.seed) for spec in specs))])

    @cached_property
    def _cell_words(self) -> CellWords:
        return CellWords(self.loaded, self.filters)


def compute_options(device: str, arithmetic: str, precision: str) -> ComputeOptions:
    """What the command line says of how runs compute, and what the device suggests.

    Raises:
        UsageError: there is no such device.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        return ComputeOptions(arithmetic, precision, "cuda", "bf16")  # of a cluster's: all since Ampere compute in it
    hardware = Hardware.choose(device)
    return ComputeOptions(arithmetic, precision, hardware.kind, cast(Precision, hardware.precision))


def _device(device: str, others: Mapping[str, Any]) -> str:
    """Where runs are to be computed; the GPUs that are asked for on a cluster are a word, too."""
    words = [word.partition("=") for word in others.get("slurm") or ()]
    elsewhere = others.get("gpus") or any("gpu" in key and value not in ("", "0") for key, _, value in words)
    return "cuda" if device == "auto" and elsewhere else device


def _said(**options: str) -> list[str]:
    """The options that the user gave, as words of a command."""
    return [word for name, value in options.items() if value != "auto" for word in (f"--{name}", value)]


def grid_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which runs are meant; the command gets them as one ``Selection``."""

    @wraps(command)
    def selecting(
        grid: str,
        datasets: tuple[str, ...],
        architectures: tuple[str, ...],
        weightings: tuple[str, ...],
        seeds: tuple[int, ...] | None,
        results: Path,
        plugins: tuple[Path, ...],
        changes: tuple[tuple[str, Any], ...],
        smoke: bool,
        device: str,
        arithmetic: str,
        precision: str,
        **others: Any,
    ) -> None:
        load_plugin_files(plugins)
        device = _device(device, others)
        how = compute_options(device, arithmetic, precision)
        filters = Filters(datasets or None, architectures or None, weightings or None, seeds, smoke, how)
        loaded = load_grid(grid, dict(changes))
        settings = expand_settings(loaded, filters)
        specs = runs_of(settings)
        selection = Selection(
            specs,
            device,
            Store(results),
            plugins,
            grid,
            loaded,
            filters,
            undefined(loaded, filters),
            smoke=smoke,
            words=_said(device=device, arithmetic=arithmetic, precision=precision),
            unpictured=unpictured(loaded, specs),
            changes=[f"{key}={write_value(value)}" for key, value in changes],
            settings=settings,
        )
        command(selection, **others)

    selected: Callable[..., None] = selecting
    for option in (
        plugin_option,
        precision_option,
        arithmetic_option("auto"),
        device_option,
        results_option,
        click.option(
            "--smoke",
            is_flag=True,
            help="The same cells on few small pictures, narrow networks, two epochs, one seed: does everything run?",
        ),
        click.option(
            "--set",
            "changes",
            multiple=True,
            type=Setting(),
            metavar="KEY=VALUE",
            help="Value in place of the grid's, such as protocol.epochs=2 or datasets.scenes.options.train=400. May be "
            "given again.",
        ),
        click.option("--seeds", type=Seeds(), help="Seeds instead of the grid's, such as 0,1,2 or 0-4."),
        click.option(
            "--weighting",
            "weightings",
            multiple=True,
            help="Only this weighting, with options if any: dwa:temperature=1. May be given again.",
        ),
        click.option(
            "--architecture",
            "architectures",
            multiple=True,
            help="Only this architecture, with options if any: mtan:width=32. May be given again.",
        ),
        click.option("--dataset", "datasets", multiple=True, help="Only this data set. May be given again."),
        click.option("--grid", required=True, metavar="NAME|FILE.toml", help=f"{', '.join(grid_names())}, or a file."),
    ):
        selected = option(selected)
    return selected
