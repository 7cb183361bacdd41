"""The same rows on boards of other protocols or backbones, side by side."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from pydantic import JsonValue

from benchmark.analysis.boards import Board, component_names, row_by, what_is_measured
from benchmark.analysis.contrasts import Contrasts, contrasts
from benchmark.analysis.frames import frame
from benchmark.analysis.selection import select
from benchmark.analysis.verdicts import DELTA, MARGIN, diverged_rows, gains, verdict_words
from benchmark.registry import ARCHITECTURES
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import Component, plain

#: What identifies a row on boards of several backbones: architecture and weighting, without the backbone's options.
Method = tuple[str, str]


@dataclass(frozen=True)
class Standing:
    """A row on one of several boards.

    Attributes:
        delta: mean Δm against the board's own single-task networks; NaN without runs.
        n: runs with numbers.
        difference: of the means from the row on the first board, in per cent of the first board's single-task networks,
            mean over metrics and tasks, plus when better; NaN on the first board, and where one of both has no run.
        low, high: its interval; infinite where there are fewer than three seeds, or one diverged.
        verdict: of the difference, a key of ``verdicts.VERDICTS``; empty on the first board.
    """

    delta: float
    n: int
    difference: float = np.nan
    low: float = -np.inf
    high: float = np.inf
    verdict: str = ""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


@dataclass(frozen=True)
class SideBySide:
    """Boards on the same data whose protocol or backbone differs, and the rows that stand on several of them.

    Attributes:
        boards: the first is the one that others are held against.
        names: by board what differs, in words.
        rows: by name of architecture and weighting, the row on each board; None where it does not stand.
    """

    boards: tuple[Board, ...]
    names: tuple[str, ...]
    rows: Mapping[tuple[str, str], tuple[Standing | None, ...]]

    @cached_property
    def ranges(self) -> dict[str, tuple[float, ...]]:
        """By architecture, on each board: the largest less the smallest Δm of the weightings that all boards have."""
        found: dict[str, list[list[float]]] = defaultdict(list)
        for (architecture, _), own in self.rows.items():
            deltas = [np.nan if one is None else one.delta for one in own]
            if np.isfinite(deltas).all():
                found[architecture].append(deltas)
        return {name: tuple(np.ptp(np.array(own), axis=0).tolist()) for name, own in found.items() if len(own) > 1}


def side_by_side(boards: Sequence[Board], rule: str = "val-delta-m") -> list[SideBySide]:
    """Sets of boards that hold the same data, in the order of their names; each of two boards or more.

    Two boards belong together where their data set, its bytes and their tasks are the same, and a row with a weighting
    stands on both. On every board the rule chooses epochs against that board's own single-task networks. Differences
    are between runs of one seed where that pays (``contrasts``), and the intervals of a set hold together with 95 %.
    Runs that were submitted and not run again here do not count.

    Args:
        boards: of one store.
        rule: a name of ``selection.RULES``.
    """
    alike: dict[str, list[Board]] = defaultdict(list)
    for board in boards:
        alike[json.dumps([*what_is_measured(board.records[0]), board.data_hash], sort_keys=True)].append(board)
    found = []
    for own in alike.values():
        if len(own) < 2:
            continue
        read = [_Runs.read(board, rule) for board in sorted(own, key=_order)]
        shared = [one for one in read if any(one.weighted & other.rows for other in read if other is not one)]
        if shared:
            found.append(_compared(shared))
    return found


@dataclass(frozen=True)
class _Runs:
    """What counts of a board.

    Attributes:
        methods: by run id its row, without the options of the backbone.
        test: test numbers of the chosen epochs; architectures and weightings are called by their ``Method``.
    """

    board: Board
    methods: Mapping[str, Method]
    test: pd.DataFrame

    @classmethod
    def read(cls, board: Board, rule: str) -> "_Runs":
        """The runs of a board that count, at the epochs that the rule chooses."""
        own = [record for record in board.records if record.id not in board.unproven]
        methods = {record.id: _method(record, board) for record in own}
        chosen = select(frame(own, methods), rule, against="mean")
        return cls(board, methods, chosen[chosen["split"] == "test"])

    @cached_property
    def rows(self) -> frozenset[Method]:
        """All rows."""
        return frozenset(self.methods.values())

    @cached_property
    def weighted(self) -> frozenset[Method]:
        """The rows with a weighting."""
        return frozenset(row for row in self.rows if row[1] != "none")

    @cached_property
    def diverged(self) -> set[Method]:
        """The rows of which some seed diverged."""
        return diverged_rows((r for r in self.board.records if r.id in self.methods), self.methods)

    def gains(self, against: "_Runs", rows: Sequence[Method], seeds: Sequence[int]) -> np.ndarray:
        """(rows, seeds) mean gains in per cent of a board's single-task networks; NaN where there is no run."""
        if self.test.empty or against.test.empty:
            return np.full((len(rows), len(seeds)), np.nan)
        wide = gains(self.test, against=against.test)[DELTA].unstack("seed")
        return wide.reindex(index=pd.MultiIndex.from_tuples(rows), columns=list(seeds)).to_numpy(dtype=float)


def _method(record: RunRecord, board: Board) -> Method:
    architecture = record.spec.architecture
    options = {name: value for name, value in architecture.options.items() if name not in board.backbone}
    return row_by(architecture.model_copy(update={"options": options}), record.spec.weighting)


def _compared(read: Sequence[_Runs]) -> SideBySide:
    first, boards = read[0], tuple(one.board for one in read)
    counts = Counter(row for one in read for row in one.rows)
    rows = sorted(row for row, count in counts.items() if count > 1)
    seeds = sorted({record.spec.seed for board in boards for record in board.records})
    base = first.gains(first, rows, seeds)
    family = sum(row in one.rows and row in first.rows for one in read[1:] for row in rows)
    standings = [
        _standings(one.gains(one, rows, seeds), None if one is first else _held(one, first, base, rows, seeds, family))
        for one in read
    ]
    architectures = component_names([(Component.model_validate_json(row[0]), None) for row in rows])
    weightings = component_names(
        [(None if row[1] == "none" else Component.model_validate_json(row[1]), None) for row in rows]
    )
    found = {
        (architectures[k], weightings[k]): tuple(
            own[k] if row in one.rows else None for one, own in zip(read, standings, strict=True)
        )
        for k, row in enumerate(rows)
    }
    return SideBySide(boards, names_of(boards), found)


def _held(
    one: _Runs, first: _Runs, base: np.ndarray, rows: Sequence[Method], seeds: Sequence[int], family: int
) -> Contrasts:
    """A board's rows against those of the first board; no interval for a row of which a seed diverged on either."""
    values = one.gains(first, rows, seeds)
    found = contrasts(values, base, rows=max(family, 1))
    lost = np.array([row in one.diverged or row in first.diverged for row in rows], dtype=bool)
    return replace(found, low=np.where(lost, -np.inf, found.low), high=np.where(lost, np.inf, found.high))


def _standings(deltas: np.ndarray, held: Contrasts | None) -> list[Standing]:
    """The rows on a board, in their order."""
    counts = np.isfinite(deltas).sum(-1)
    means = [
        float(own[np.isfinite(own)].mean()) if count else np.nan for own, count in zip(deltas, counts, strict=True)
    ]
    plain_ones = [(mean, int(count)) for mean, count in zip(means, counts, strict=True)]
    if held is None:
        return [Standing(*own) for own in plain_ones]
    words = verdict_words(held.low, held.high, MARGIN)
    return [
        Standing(*own, float(held.difference[k]), float(held.low[k]), float(held.high[k]), str(words[k]))
        for k, own in enumerate(plain_ones)
    ]


def _order(board: Board) -> tuple[tuple[int, float, str], ...]:
    """By protocol, then by backbone; texts by alphabet, then numbers by size, then what is neither."""
    return tuple(_place(value) for _, value in sorted(_settings(board).items()))


def _place(value: JsonValue) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 1, value, ""
    return (0 if isinstance(value, str) else 2), 0.0, json.dumps(value)


def _settings(board: Board) -> dict[str, JsonValue]:
    """All fields of the protocol and options of the backbone, those at their default too."""
    reference = next((r.spec.architecture.name for r in board.records if r.reference), "")
    known = dict(ARCHITECTURES[reference].defaults) if reference in ARCHITECTURES else {}
    backbone = {**{name: known[name] for name in sorted(known)}, **board.backbone}
    return {**board.protocol.model_dump(mode="json"), **backbone}


def names_of(boards: Sequence[Board]) -> tuple[str, ...]:
    """Each board by what tells it from the others."""
    all_of = [_settings(board) for board in boards]
    keys = dict.fromkeys(key for own in all_of for key in own)
    different = [key for key in keys if len({json.dumps(own.get(key)) for own in all_of}) > 1]
    return tuple(
        ", ".join(f"{key.replace('_', ' ')} {plain(own[key])}" for key in different if key in own) for own in all_of
    )
