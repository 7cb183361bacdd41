"""The cells of a grid together with the records of their board: the input of races and plans."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from benchmark.analysis.boards import Row, backbone_of, boards, row_of
from benchmark.analysis.frames import frame
from benchmark.analysis.race import Family, RaceState
from benchmark.analysis.selection import select
from benchmark.analysis.verdicts import (
    DELTA,
    REFERENCE,
    Baseline,
    diverged_rows,
    gain_verdicts,
    gains,
    reference_row,
    verdicts,
)
from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.runs.axes import Setting, words_of
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec

#: After this many consecutive runs that end without a number, a cell gets no more runs.
HOPELESS = 3


def of_seed(spec: RunSpec, seed: int) -> RunSpec:
    """The same cell's run with another seed; made anew, since a copy would keep the run's id."""
    return RunSpec(**{name: getattr(spec, name) for name in RunSpec.model_fields} | {"seed": seed})


def baseline_of(word: str) -> Baseline:
    """A baseline by the name of a method: the reference, another architecture, or a weighting.

    Raises:
        UsageError: there is no such method.
    """
    if word in ARCHITECTURES:
        return REFERENCE if ARCHITECTURES[word].factory.reference else Baseline(architecture=word)
    if word in WEIGHTINGS:
        return Baseline(weighting=word)
    raise UsageError(f"the baseline '{word}' is neither an architecture nor a weighting; see 'mtbench list'")


def settings(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """A grid's runs by data set, protocol and backbone, in order."""
    found: dict[str, list[RunSpec]] = {}
    for spec in specs:
        found.setdefault(_setting(spec), []).append(spec)
    return [own for together in found.values() for own in _by_backbone(together)]


def setting_words(groups: Sequence[Sequence[RunSpec]], grid: Mapping[Setting, Sequence[RunSpec]]) -> list[str]:
    """What each of several settings of a data set is called, in the words of the grid; empty where it has one alone.

    Args:
        groups: of the grid's runs, see ``settings``.
        grid: its runs, see ``expand_settings``.
    """
    stands_at: dict[str, dict[Setting, None]] = defaultdict(dict)
    for setting, specs in grid.items():
        for spec in specs:
            stands_at[spec.id][setting] = None
    counts = Counter(own[0].dataset.name for own in groups)
    return [
        words_of(_common([s for spec in own for s in stands_at[spec.id]])) if counts[own[0].dataset.name] > 1 else ""
        for own in groups
    ]


def _common(settings: Sequence[Setting]) -> Setting:
    """The axes on which all of these have the same value, with it."""
    return tuple(chosen for chosen in settings[0] if all(chosen in other for other in settings))


def _by_backbone(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Runs apart by the reference that each belongs to, where there are several."""
    known = {json.dumps(s.architecture.options, sort_keys=True): s.architecture.options for s in specs if _refers(s)}
    if len(known) < 2:
        return [list(specs)]
    found: dict[str, list[RunSpec]] = {}
    for spec in specs:
        backbone = backbone_of(spec.architecture, [known[key] for key in sorted(known)], reference=_refers(spec))
        found.setdefault(json.dumps(backbone, sort_keys=True), []).append(spec)
    return list(found.values())


def _refers(spec: RunSpec) -> bool:
    return ARCHITECTURES[spec.architecture.name].factory.reference


def _setting(spec: RunSpec) -> str:
    return json.dumps([spec.dataset.model_dump(mode="json"), spec.protocol.identity(), spec.suite], sort_keys=True)


@dataclass(frozen=True)
class Contest:
    """The cells of a grid on one data set, and all records of their board, those of other grids among them.

    Attributes:
        cells: by row a run of it, with whatever seed: those that a race may add seeds to.
        records: of the board, whatever their status.
    """

    cells: Mapping[Row, RunSpec]
    records: Sequence[RunRecord]

    @classmethod
    def among(cls, specs: Sequence[RunSpec], records: Collection[RunRecord]) -> "Contest":
        """The cells of ``specs``, which are of one setting, with those records that stand on a board with them.

        Raises:
            UsageError: the cells have no reference, or several.
        """
        cells = {row_of(spec): spec for spec in specs}
        if (references := sum(map(_refers, cells.values()))) != 1:
            names = ", ".join(dict.fromkeys(spec.architecture.name for spec in cells.values()))
            raise UsageError(
                f"'{specs[0].dataset.name}' must have one single-task reference in the grid for all rows of a protocol "
                f"and backbone, found {references or 'none'} for {names}"
            )
        setting = _setting(specs[0])
        own = [board.records for board in boards(r for r in records if _setting(r.spec) == setting)]
        shared = [found for found in own if any(row_of(record.spec) in cells for record in found)]
        return cls(cells, [record for found in shared for record in found])

    @property
    def name(self) -> str:
        """Of the data set."""
        return next(iter(self.cells.values())).dataset.name

    @cached_property
    def specs(self) -> dict[Row, RunSpec]:
        """A run of every row: first the grid's cells in its order, then what else stands on the board."""
        others = {row_of(record.spec): record.spec for record in self.records}
        return {**self.cells, **{row: others[row] for row in sorted(others) if row not in self.cells}}

    @cached_property
    def reference(self) -> Row:
        """The row of the reference."""
        return next(row for row, spec in self.cells.items() if _refers(spec))

    @cached_property
    def labels(self) -> dict[str, Row]:
        """By run id its row."""
        return {record.id: row_of(record.spec) for record in self.records}

    @cached_property
    def data(self) -> pd.DataFrame:
        """Every metric of every epoch; architectures and weightings are called by their ``Row``."""
        return frame(self.records, self.labels)

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """The epochs that validation chooses, against the mean of the references."""
        return select(self.data, against="mean")

    @cached_property
    def test(self) -> pd.DataFrame:
        """Test numbers of the chosen epochs."""
        return self.chosen[self.chosen["split"] == "test"]

    @cached_property
    def deltas(self) -> pd.DataFrame:
        """Δm of each run: that column of ``gains``."""
        return gains(self.test)[[DELTA]]

    def named(self, baseline: Baseline) -> Baseline | None:
        """A baseline with rows' names in place of methods'; None where no row has the method.

        Raises:
            UsageError: it stands on the board with several options.
        """
        found = baseline.named({row: (spec.architecture.name, spec.weighting_name) for row, spec in self.specs.items()})
        if len(found) > 1:
            wanted = baseline.architecture or baseline.weighting
            raise UsageError(f"the baseline '{wanted}' stands on the board of '{self.name}' with several options")
        return found[0] if found else None

    def pairs(self, baseline: Baseline) -> list[tuple[Row, Row]]:
        """The rows that are compared, with or without records, and what each is held against."""
        named = self.named(baseline)
        return list(named.pairs(self.specs, self.reference).items()) if named else []

    def verdicts(self, baseline: Baseline, margin: float) -> pd.DataFrame:
        """The verdicts on Δm; a row without any record has no line.

        The error is shared out to all rows that are compared, those without records included.
        """
        named, pairs = self.named(baseline), self.pairs(baseline)
        if named is None or self.test.empty:
            return verdicts(self.test.iloc[:0])
        diverged = diverged_rows(self.records, self.labels)
        reference = reference_row(self.test)
        return gain_verdicts(self.deltas, reference, named, margin=margin, rows=len(pairs), diverged=diverged)

    def families(self, baselines: Sequence[Baseline]) -> list[Family]:
        """The comparisons, as places among ``specs``."""
        place = {row: k for k, row in enumerate(self.specs)}
        found = []
        for baseline in baselines:
            pairs = self.pairs(baseline)
            if pairs:
                rows, others = ([place[row] for row in names] for names in zip(*pairs, strict=True))
                found.append(Family(np.array(rows), np.array(others), len(pairs)))
        return found

    def race_state(self, most: int, under_way: Collection[tuple[Row, int]] = ()) -> RaceState:
        """Who has which seeds; records with seeds from ``most`` on do not count.

        Args:
            most: seeds that a row may get.
            under_way: rows and seeds of runs that are being done.
        """
        place = {row: k for k, row in enumerate(self.specs)}
        shape = (len(place), most)
        values, tried, pending = np.full(shape, np.nan), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        if not self.test.empty:
            deltas = self.deltas[DELTA]
            for name, value in zip(deltas.index, deltas.to_numpy(dtype=float), strict=True):
                *row, seed = name
                if seed < most:
                    values[place[row[0], row[1]], seed] = value
        for row, records in self.by_row.items():
            tried[place[row], [record.spec.seed for record in records if record.spec.seed < most]] = True
        for row, seed in under_way:
            if not tried[place[row], seed]:
                pending[place[row], seed] = True
        able = np.array([row in self.cells and not self._is_hopeless(row) for row in place], dtype=bool)
        return RaceState(values, tried, pending, np.array([self.seconds[row] for row in place]), able)

    @cached_property
    def by_row(self) -> dict[Row, list[RunRecord]]:
        """The records of each row, by seed."""
        found: dict[Row, list[RunRecord]] = {row: [] for row in self.specs}
        for record in sorted(self.records, key=lambda record: record.spec.seed):
            found[row_of(record.spec)].append(record)
        return found

    @cached_property
    def seconds(self) -> dict[Row, float]:
        """What a run of each row takes: the median of its records, of a row without any that of all."""
        known: dict[Row, float] = {}
        for row, records in self.by_row.items():
            times = [r.cost.wall_seconds for r in records if r.status == "ok" and r.cost.wall_seconds]
            if times:
                known[row] = float(np.median(times))
        usual = float(np.median(list(known.values()))) if known else 1.0
        return {row: known.get(row, usual) for row in self.specs}

    def _is_hopeless(self, row: Row) -> bool:
        """Whether a row's last runs all ended without a number."""
        last = self.by_row[row][-HOPELESS:]
        return len(last) == HOPELESS and all(record.status != "ok" for record in last)
