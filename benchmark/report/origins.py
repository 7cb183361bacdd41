"""Where a row's runs come from: what all have in common once, and by run what differs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.report.charts.plot import drawable
from benchmark.report.reproduce import command
from benchmark.report.rows import commit, machine, number
from benchmark.report.table import DASH, SAID
from benchmark.runs.record import RunRecord
from benchmark.runs.trust import Standing

#: What a run's provenance says, in words.
Aspect = Callable[[RunRecord], str]


@dataclass(frozen=True)
class Origin:
    """One run: the values of ``Origins.columns``, and the words that make the run again."""

    record: RunRecord
    values: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Origins:
    """Runs of a row.

    Attributes:
        common: what holds for every run: (what, value).
        columns: what differs, or is a run's own: what it is, and whether it is a number.
    """

    common: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, bool], ...]
    lines: tuple[Origin, ...]


def origins(records: Sequence[RunRecord], foreign: Mapping[str, Standing]) -> Origins:
    """Lay out where ``records`` come from; ``foreign`` says by run id who vouches for submitted ones."""
    aspects = _aspects(records, foreign)
    said = {what: [aspect(record) for record in records] for what, aspect in aspects.items()}
    common = {what: found[0] for what, found in said.items() if len(set(found)) == 1}
    own = {what: found for what, found in said.items() if what not in common}
    shared, packages = _packages(records)
    if shared:
        common["packages"] = shared
    if any(packages):
        own["further packages" if shared else "packages"] = packages
    measured = {what: found for what, found in _measured(records).items() if any(text != DASH for text in found)}
    columns = {"started": [record.provenance.started for record in records], **own, **measured}
    commands = [command(record.provenance, record.spec.seed) for record in records]
    return Origins(
        tuple((what, text) for what, text in common.items() if text),
        tuple((what, what in measured) for what in columns),
        tuple(map(Origin, records, zip(*columns.values(), strict=True), commands)),
    )


def _aspects(records: Sequence[RunRecord], foreign: Mapping[str, Standing]) -> dict[str, Aspect]:
    found: dict[str, Aspect] = {
        "suite version": lambda record: record.provenance.suite_version,
        "commit": commit,
        "machine": machine,
        "platform": lambda record: f"{record.provenance.platform}, Python {record.provenance.python}",
        "data": lambda record: record.provenance.data_hash or "unknown",
    }
    for file in dict.fromkeys(file for record in records for file in record.provenance.plugins):
        found[f"plugin {file}"] = lambda record, file=file: record.provenance.plugins.get(file, "none")  # type: ignore[misc]
    if any(record.id in foreign for record in records):
        found["trust"] = lambda record: _trust(foreign.get(record.id))
        found["submitted by"] = lambda record: _word(foreign.get(record.id), "submitter")
        found["what the check noted"] = lambda record: _doubts(foreign.get(record.id))
        found["the submitter’s note"] = lambda record: _word(foreign.get(record.id), "note")
    return found


def _trust(found: Standing | None) -> str:
    if found is None:
        return SAID["rerun"]
    epoch = f", epoch {found.trust.epoch}" if found.trust and found.level == "recomputed" else ""
    return f"{SAID[found.level]}{epoch}"


def _doubts(found: Standing | None) -> str:
    return "; ".join(found.trust.doubts) if found and found.trust else ""


def _word(found: Standing | None, name: str) -> str:
    return str(getattr(found.trust, name)) if found and found.trust else ""


def _packages(records: Sequence[RunRecord]) -> tuple[str, list[str]]:
    """Versions that all runs have, and those of each run that not all have."""
    several = [record.provenance.packages for record in records]
    shared = {name: v for name, v in several[0].items() if all(other.get(name) == v for other in several)}
    further = [{name: v for name, v in own.items() if name not in shared} for own in several]
    return _versions(shared), [_versions(own) for own in further]


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _measured(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """What a run took and how often it fell back; times are no part of a comparison, but say how it went."""
    costs = [record.cost for record in records]
    found = {
        "time per step (ms)": [_written(cost.seconds_per_step, 1e3) for cost in costs],
        "peak memory (MiB)": [_written(cost.peak_bytes, 2.0**-20, 0) for cost in costs],
        "whole run (min)": [_written(cost.wall_seconds, 1 / 60) for cost in costs],
        "of it steps (%)": [_share(cost.train_seconds, cost.wall_seconds) for cost in costs],
        "evaluation (%)": [_share(cost.evaluation_seconds, cost.wall_seconds) for cost in costs],
        "fallbacks of the solver": [DASH if r.fallbacks is None else str(r.fallbacks) for r in records],
    }
    if any(cost.spilled for cost in costs):
        found["activations"] = ["off the device" if cost.spilled else "on the device" for cost in costs]
    return found


def _written(value: float | None, scale: float, decimals: int = 1) -> str:
    known = number(value) * scale
    return f"{known:z.{decimals}f}" if drawable(known) else DASH


def _share(part: float | None, whole: float | None) -> str:
    return _written(100 * number(part) / whole, 1, 0) if whole else DASH
