"""Boards: groups of runs that may be compared in one table."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import JsonValue

from benchmark.analysis.kinds import Kinds, is_own, kinds_of
from benchmark.runs.record import RunRecord, TaskInfo
from benchmark.runs.spec import Component, Protocol, RunSpec, plain
from benchmark.tasks import KINDS

#: Options that describe the backbone where no reference says which options count.
BACKBONE = ("width", "backbone")
#: Further ones of networks that have a backbone; absent where they have their default, which counts as a value.
BACKBONE_OPTIONS = ("pretrained", "output_stride", "decoder", "frozen_norms", "dropout")

#: What identifies a row: its architecture and its weighting with version and options, in JSON.
Row = tuple[str, str]


#: A component in JSON, and the hash of the plugin file that defines it.
_Method = tuple[str, str | None]


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
        unproven: ids of submitted runs that were not run again here (``analysis.submitted``).
    """

    key: str
    dataset: Component
    data_hash: str | None
    tasks: tuple[TaskInfo, ...]
    protocol: Protocol
    backbone: Mapping[str, JsonValue]
    records: tuple[RunRecord, ...]
    unproven: frozenset[str] = frozenset()

    @cached_property
    def unproven_rows(self) -> frozenset[tuple[str, str]]:
        """The names of rows with such a run: none of them is what others are held against."""
        return frozenset(pair for run, pair in self.labels.items() if run in self.unproven)

    @cached_property
    def kinds(self) -> Kinds:
        """The metrics of the kinds of task; without those that nobody describes."""
        return {name: metrics for record in self.records for name, metrics in kinds_of(record).items()}

    @cached_property
    def labels(self) -> dict[str, tuple[str, str]]:
        """By run id the names of architecture and weighting, with the options in which namesakes differ."""
        architectures = component_names([(r.spec.architecture, r.code.get("architecture")) for r in self.records])
        weightings = component_names([(r.spec.weighting, r.code.get("weighting")) for r in self.records])
        pairs = list(zip(architectures, weightings, strict=True))
        seeds = [record.spec.seed for record in self.records]
        # A name can be chosen so that it looks like another with its options; the run's id tells them apart.
        while len(cells := Counter(zip(pairs, seeds, strict=True))) < len(pairs):
            pairs = [
                pair if cells[pair, seed] == 1 else (f"{pair[0]} [{record.id}]", pair[1])
                for pair, seed, record in zip(pairs, seeds, self.records, strict=True)
            ]
        return {record.id: pair for record, pair in zip(self.records, pairs, strict=True)}


def boards(records: Iterable[RunRecord], unproven: Collection[str] = ()) -> list[Board]:
    """Sort records into boards, ordered by data set and key.

    Two runs share a board if their data set (name, version, options), its tasks and their kinds, the protocol, the
    suite's version and the content hash of the prepared data agree, and their architectures the backbone. A run that
    ended before it knew its data has no hash and no numbers: it stands where most runs of its setting stand.

    A reference's options are its backbone; another run belongs to the reference that agrees with it in every option
    that both have, and in those of ``BACKBONE_OPTIONS``; of several the one with the most such options. Where two agree
    in equally many, choosing would be a guess: such runs, and those that no reference fits, are grouped by the options
    of ``BACKBONE`` and ``BACKBONE_OPTIONS``.

    Args:
        unproven: ids of submitted runs that were not run again here.
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
            own = backbone_of(record.spec.architecture, known, reference=record.reference)
            groups[_dumps(own)].append(record)
        found += [_board(setting, data_hash, backbone, group) for backbone, group in groups.items()]
    named = (
        replace(board, unproven=theirs) if (theirs := frozenset(r.id for r in board.records) & set(unproven)) else board
        for board in found
    )
    return sorted(named, key=lambda board: (board.dataset.name, board.key))


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
    dataset, tasks, *others = what_is_measured(record)
    return [dataset, tasks, record.spec.protocol.identity(), *others]


def what_is_measured(record: RunRecord) -> list[Any]:
    """The data set, its tasks, the suite's version and kinds of plugins, in JSON's types."""
    spec = record.spec
    # Kinds of plugins count as recorded: where their metrics changed, the runs cannot be compared.
    foreign = {
        name: info.model_dump(mode="json")
        for name, info in sorted(record.kinds.items())
        if name not in KINDS or not is_own(KINDS[name])
    }
    return [
        spec.dataset.model_dump(mode="json"),
        [task.model_dump(mode="json") for task in record.tasks],
        spec.suite,
        *([foreign] if foreign else []),
    ]


def backbone_of(
    architecture: Component, references: Sequence[Mapping[str, JsonValue]], *, reference: bool
) -> Mapping[str, JsonValue]:
    """The options that a run shares with those of its backbone, see ``boards``.

    Args:
        architecture: the run's.
        references: options of the references with which it might stand.
        reference: whether it is one itself.
    """
    options = architecture.options
    if reference:
        return options
    fitting: dict[int, list[Mapping[str, JsonValue]]] = defaultdict(list)
    for other in references:
        common = other.keys() & options.keys()
        if "backbone" in common:
            common |= {name for name in BACKBONE_OPTIONS if name in options or name in other}
        if all(_dumps(options.get(key)) == _dumps(other.get(key)) for key in common):
            fitting[len(common)].append(other)
    if fitting and len(closest := fitting[max(fitting)]) == 1:
        return closest[0]
    return {name: options[name] for name in (*BACKBONE, *BACKBONE_OPTIONS) if name in options}


def component_names(components: Sequence[tuple[Component | None, str | None]]) -> list[str]:
    """A name per component, with version, options and code in brackets where namesakes differ in them.

    Args:
        components: each with the hash of the plugin file that defines it; None for what is installed.
    """
    kinds: dict[str, dict[_Method, Component]] = defaultdict(dict)
    for component, code in components:
        if component is not None:
            kinds[component.name][component.model_dump_json(), code] = component
    names = {key: name for namesakes in kinds.values() for key, name in _apart(namesakes).items()}
    return [names[component.model_dump_json(), code] if component else "none" for component, code in components]


def _apart(namesakes: Mapping[_Method, Component]) -> dict[_Method, str]:
    """By key a name that tells the component from its namesakes; values in full where short ones would not do."""
    names: dict[_Method, str] = {}
    for write in (plain, _dumps):
        details = {key: _details(component, write) for key, component in namesakes.items()}
        for key, own in details.items():
            own |= {"code": key[1][:8] if write is plain else key[1]} if key[1] else {}
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
