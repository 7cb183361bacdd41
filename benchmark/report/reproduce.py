"""A row's spec as a grid file that makes the same runs again, and the command for each."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.runs.record import Provenance
from benchmark.runs.spec import Component, RunSpec


def grid_file(spec: RunSpec, seeds: Sequence[int]) -> str:
    """TOML that ``mtbench run --grid FILE`` expands to this run with each of ``seeds``, and to their references."""
    weighting = [_choice(spec.weighting)] if spec.weighting else []
    options = spec.architecture.options
    lines = [
        f"seeds = {_value(seeds)}",
        f"architectures = [{_choice(spec.architecture)}]",
        f"weightings = [{', '.join(weighting)}]",
        "",
        "# Options that the reference shares, where it knows them.",
        "[architecture]",
        *(f"{_key(name)} = {_value(value)}" for name, value in options.items() if value is not None),
        "",
        "[protocol]",
        *(f"{_key(k)} = {_value(v)}" for k, v in spec.protocol.model_dump(mode="json").items() if v is not None),
        "",
        f"[datasets.{_key(spec.dataset.name)}]",
        f"options = {_value(spec.dataset.options)}",
    ]
    return "\n".join(lines) + "\n"


def command(origin: Provenance, seed: int) -> str:
    """The words that do one seed of that grid file where ``origin`` says."""
    words = ["mtbench", "run", "--grid", "run.toml", "--seeds", str(seed), "--device", origin.kind]
    if origin.threads != 1:
        words += ["--threads", str(origin.threads)]
    return shlex.join([*words, "--results", "again", *(w for file in origin.plugins for w in ("--plugin", file))])


def _choice(component: Component) -> str:
    return f"{{ name = {_value(component.name)}, options = {_value(component.options)} }}"


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if plain else _value(name)


def _value(value: Any) -> str:
    """A JSON value in TOML. TOML has no null: such entries are left out, which means the default."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value if item is not None)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
