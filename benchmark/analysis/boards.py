"""Which runs may stand in one table."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import JsonValue

from benchmark.record import RunRecord, TaskInfo
from benchmark.spec import Component, Protocol, RunSpec, plain

#: Options that describe the backbone where no reference says which options count.
BACKBONE = ("width", "backbone")

#: A row by what no other has: its architecture and its weighting with version and options, in JSON.
Row = tuple[str, str]


def row_of(spec: RunSpec) -> Row:
    """The row that a run belongs to; the weighting is ``none`` without one."""
    return row_by(spec.architecture, spec.weighting)


def row_by(architecture: Component, weighting: Component | None) -> Row:
    """The row of these methods."""
    return architecture.model_dump_json(), weighting.model_dump_json() if weighting else "none"


@dataclass(frozen=True)
class Board:
    """Runs that may be compared: the same data set, tasks, protocol and backbone, on the same bytes.

    Attributes:
        key: 16 hex digits, a hash of what the runs have in common.
        data_hash: content hash of the prepared data that all runs saw; None where no run says it.
        backbone: the architecture options that all runs share.
        records: ordered by architecture, weighting and seed.
    """

    key: str
    dataset: Component
    data_hash: str | None
    tasks: tuple[TaskInfo, ...]
    protocol: Protocol
    backbone: Mapping[str, JsonValue]
    records: tuple[RunRecord, ...]

    @cached_property
    def labels(self) -> dict[str, tuple[str, str]]:
        """By run id the names of architecture and weighting, with the options in which namesakes differ."""
        architectures = _names([record.spec.architecture for record in self.records])
        weightings = _names([record.spec.weighting for record in self.records])
        pairs = list(zip(architectures, weightings, strict=True))
        seeds = [record.spec.seed for record in self.records]
        # A name can be chosen so that it looks like another with its options; the run's id tells them apart.
        while len(cells := Counter(zip(pairs, seeds, strict=True))) < len(pairs):
            pairs = [
                pair if cells[pair, seed] == 1 else (f"{pair[0]} [{record.id}]", pair[1])
                for pair, seed, record in zip(pairs, seeds, self.records, strict=True)
            ]
        return {record.id: pair for record, pair in zip(self.records, pairs, strict=True)}


def boards(records: Iterable[RunRecord]) -> list[Board]:
    """Sort records into boards, ordered by data set and key.

    Two runs share a board if their data set (name, version, options), its tasks, the protocol, the suite's version and
    the content hash of the prepared data agree, and their architectures the backbone. A run that ended before it knew
    its data has no hash and no numbers: it stands where most runs of its setting stand.

    A reference's options are its backbone; another run belongs to the reference that agrees with it in every option
    that both have, of several the one with the most such options. Where two agree in equally many, choosing would be a
    guess: such runs, and those that no reference fits, are grouped by the options of ``BACKBONE``.
    """
    settings: dict[str, list[RunRecord]] = defaultdict(list)
    for record in sorted({record.id: record for record in records}.values(), key=_order):
        settings[_dumps(_setting(record))].append(record)
    found = []
    for setting, data_hash, members in _by_data(settings):
        options = {_dumps(r.spec.architecture.options): r.spec.architecture.options for r in members if r.reference}
        known = [options[key] for key in sorted(options)]
        groups: dict[str, list[RunRecord]] = defaultdict(list)
        for record in members:
            groups[_dumps(_backbone(record, known))].append(record)
        found += [_board(setting, data_hash, backbone, group) for backbone, group in groups.items()]
    return sorted(found, key=lambda board: (board.dataset.name, board.key))


def _by_data(settings: Mapping[str, Sequence[RunRecord]]) -> Iterator[tuple[str, str | None, list[RunRecord]]]:
    """Each setting's runs apart by the bytes of their data: what they have in common, the content hash, the runs."""
    for setting, members in settings.items():
        counts = Counter(record.provenance.data_hash for record in members if record.provenance.data_hash)
        most = min(counts, key=lambda data_hash: (-counts[data_hash], data_hash), default=None)
        groups: dict[str | None, list[RunRecord]] = defaultdict(list)
        for record in members:
            groups[record.provenance.data_hash or most].append(record)
        for data_hash, group in groups.items():
            # Alone, a hash is no part of the key: a page keeps its address whatever made its data.
            yield (f"{setting}{data_hash}" if len(groups) > 1 else setting), data_hash, group


def _board(setting: str, data_hash: str | None, backbone: str, records: Sequence[RunRecord]) -> Board:
    key = hashlib.sha256(f"{setting}{backbone}".encode()).hexdigest()[:16]
    spec = records[0].spec
    return Board(key, spec.dataset, data_hash, records[0].tasks, spec.protocol, json.loads(backbone), tuple(records))


def _setting(record: RunRecord) -> list[Any]:
    spec = record.spec
    return [
        spec.dataset.model_dump(mode="json"),
        [task.model_dump(mode="json") for task in record.tasks],
        spec.protocol.identity(),
        spec.suite,
    ]


def _backbone(record: RunRecord, references: Sequence[Mapping[str, JsonValue]]) -> Mapping[str, JsonValue]:
    options = record.spec.architecture.options
    if record.reference:
        return options
    fitting: dict[int, list[Mapping[str, JsonValue]]] = defaultdict(list)
    for reference in references:
        common = reference.keys() & options.keys()
        if all(_dumps(options[key]) == _dumps(reference[key]) for key in common):
            fitting[len(common)].append(reference)
    if fitting and len(closest := fitting[max(fitting)]) == 1:
        return closest[0]
    return {name: options[name] for name in BACKBONE if name in options}


def _names(components: Sequence[Component | None]) -> list[str]:
    """A name per component, with version and options in brackets where components of the same name differ in them."""
    kinds: dict[str, dict[str, Component]] = defaultdict(dict)
    for component in components:
        if component is not None:
            kinds[component.name][component.model_dump_json()] = component
    names = {key: name for namesakes in kinds.values() for key, name in _apart(namesakes).items()}
    return [names[component.model_dump_json()] if component else "none" for component in components]


def _apart(namesakes: Mapping[str, Component]) -> dict[str, str]:
    """By key a name that tells the component from its namesakes; values in full where short ones would not do."""
    names: dict[str, str] = {}
    for write in (plain, _dumps):
        details = {key: _details(component, write) for key, component in namesakes.items()}
        different = _different(list(details.values()))
        names = {key: _name(namesakes[key].name, own, different) for key, own in details.items()}
        if len(set(names.values())) == len(names):
            break
    return names


def _different(namesakes: Sequence[Mapping[str, str]]) -> list[str]:
    """The details in which namesakes differ, or that not all of them have."""
    keys = sorted({key for details in namesakes for key in details})
    return [key for key in keys if len({details.get(key) for details in namesakes}) > 1]


def _name(name: str, own: Mapping[str, str], different: Sequence[str]) -> str:
    words = ", ".join(f"{key} {own[key]}" for key in different if key in own)
    return f"{name} ({words})" if words else name


def _details(component: Component, write: Callable[[JsonValue], str]) -> dict[str, str]:
    return {"version": str(component.version)} | {key: write(value) for key, value in component.options.items()}


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _order(record: RunRecord) -> tuple[Any, ...]:
    spec = record.spec
    return spec.dataset.name, spec.architecture.name, spec.weighting_name, spec.seed, record.id
