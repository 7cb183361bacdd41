"""What the command line narrows a grid to, and the words that say so."""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from benchmark.arithmetic import NATIVE, ComputeOptions
from benchmark.errors import UsageError
from benchmark.registry import Registry
from benchmark.runs.axes import Options
from benchmark.runs.grid import C, Listed


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
#: Arithmetic and precision are the grid's to say, whatever the device.
AS_IN_THE_GRID = Filters(compute=ComputeOptions("auto", "auto"))


def chosen_methods(registry: Registry[Any], listed: Listed[C], names: Sequence[str] | None, kind: type[C]) -> list[C]:
    """The methods that a grid lists, or those that the command line names, with the grid's options."""
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


def write_options(options: Options) -> str | None:
    """Options as ``parse_options`` reads them; None where it could not read one of them as it is."""
    parts = [_written(key, value) for key, value in options.items()]
    found = [part for part in parts if part is not None]
    return ",".join(found) if len(found) == len(parts) else None


def _written(key: str, value: JsonValue) -> str | None:
    """One of the options, without quotes where they are not needed."""
    whole = write_value(value)
    for text in [value, whole] if isinstance(value, str) else [whole]:
        try:
            if json.dumps(parse_options(f"{key}={text}", key)) == json.dumps({key: value}):
                return f"{key}={text}"
        except UsageError:
            continue
    return None


def write_value(value: JsonValue) -> str:
    """A value as TOML writes it in one line, see ``parse_value``."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{write_value(key)} = {write_value(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(write_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def parse_value(text: str) -> JsonValue:
    """A value as TOML writes it; a text where it is none."""
    try:
        value: JsonValue = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    return value
