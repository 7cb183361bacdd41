"""Which plugin files' code a run is of: the same names and options with other code are another method."""

from collections.abc import Iterable, Mapping

from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.tasks import KINDS

#: Before the name of a kind of task, in the keys of ``code_of``.
KIND = "kind "
REGISTRIES = {"data set": DATASETS, "architecture": ARCHITECTURES, "weighting": WEIGHTINGS}


def code_of(spec: RunSpec, kinds: Iterable[str]) -> dict[str, str]:
    """By part of a run that a plugin file defines the SHA-256 of that file: what it is called makes no difference.

    Args:
        kinds: of the data set's tasks.

    Returns:
        Keys ``data set``, ``architecture``, ``weighting`` and ``kind NAME``; none for what is installed.
    """
    parts = ["data set", "architecture", "weighting", *(f"{KIND}{kind}" for kind in sorted(set(kinds)))]
    return {part: code for part in parts if (code := _code(spec, part))}


def other_code(spec: RunSpec, recorded: Mapping[str, str]) -> dict[str, str]:
    """The parts of a recorded run whose plugin file holds other code here, and what that part is called.

    Args:
        recorded: of the record. What it does not say, as those of earlier suites, is taken to be the same.
    """
    here = {part: _code(spec, part) for part in recorded}
    return {part: _name(spec, part) for part, code in recorded.items() if here[part] not in (None, code)}


def built_in(spec: RunSpec, recorded: Mapping[str, str]) -> dict[str, str]:
    """The parts that a record says are of a plugin file and that are registered here by none, and their names."""
    return {part: _name(spec, part) for part in recorded if _is_known(spec, part) and _code(spec, part) is None}


def is_done(record: RunRecord | None, spec: RunSpec) -> bool:
    """Whether there is nothing left to do: the run went well, and with the code that is loaded."""
    return record is not None and record.status == "ok" and not other_code(spec, record.code)


def _name(spec: RunSpec, part: str) -> str:
    if part.startswith(KIND):
        return part.removeprefix(KIND)
    component = {"data set": spec.dataset, "architecture": spec.architecture, "weighting": spec.weighting}.get(part)
    return component.name if component else part


def _is_known(spec: RunSpec, part: str) -> bool:
    if part.startswith(KIND):
        return part.removeprefix(KIND) in KINDS
    registry, wrapped = REGISTRIES.get(part), _wrapped(spec, part)
    return registry is not None and _name(spec, part) in registry and (wrapped is None or wrapped in registry)


def _code(spec: RunSpec, part: str) -> str | None:
    if part.startswith(KIND):
        kind = KINDS.get(part.removeprefix(KIND))
        return kind.code if kind else None
    registry = REGISTRIES.get(part)
    names = [_name(spec, part), _wrapped(spec, part)]
    codes = [registry[name].code for name in names if registry is not None and name is not None and name in registry]
    return next((code for code in codes if code is not None), None)


def _wrapped(spec: RunSpec, part: str) -> str | None:
    """The registered method that is part of this one, by its options."""
    name, registry = _name(spec, part), REGISTRIES.get(part)
    if part != "weighting" or spec.weighting is None or registry is None or name not in registry:
        return None
    wraps = getattr(registry[name].factory, "wraps", None)
    return wraps({**registry[name].preset, **spec.weighting.options}) if wraps else None
