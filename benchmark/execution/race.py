"""A race: runs are added, one seed at a time, where a verdict is open."""

from collections.abc import Collection, Sequence

from benchmark.analysis.contest import Contest, of_seed, row_of, settings
from benchmark.analysis.race import ranking
from benchmark.analysis.submitted import proven
from benchmark.analysis.verdicts import Baseline
from benchmark.execution.leases import Leases
from benchmark.runs.index import Index
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store


class Race:
    """Says which run comes next, from nothing but the records of a store and the runs that are under way.

    So a race goes on from wherever it was stopped, and several runners may race on one folder: each counts the runs of
    the others as if they were done already.

    Args:
        specs: of a grid; its cells get seeds, and no other rows of their boards. Which seeds they name does not matter.
        store: of the records.
        baselines: what every row is compared with.
        margin: in points of Δm.
        most: seeds of a row at most.
        max_concurrent: runs under way here at most; None for as many as the executor takes.

    Raises:
        UsageError: a data set of the grid has several references or none, or a baseline several options.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        store: Store,
        baselines: Sequence[Baseline],
        *,
        margin: float,
        most: int,
        max_concurrent: int | None = None,
    ) -> None:
        self.settings = settings(specs)
        self.store = store
        self.baselines = baselines
        self.margin = margin
        self.most = most
        self.max_concurrent = max_concurrent
        #: Every run that the race may ever do, by id, with the place of its setting.
        self._runs = {
            run.id: (place, run)
            for place, own in enumerate(self.settings)
            for spec in {row_of(spec): spec for spec in own}.values()
            for run in (of_seed(spec, seed) for seed in range(most))
        }
        self._known: dict[str, RunRecord] = {}
        self._contests: list[Contest] = []
        self.load_contests()

    @property
    def runs(self) -> list[RunSpec]:
        """Every run that the race may ever do."""
        return [run for _, run in self._runs.values()]

    def place_of(self, run: RunSpec) -> int:
        """The place among ``settings`` of one of the runs."""
        return self._runs[run.id][0]

    def load_contests(self) -> list[Contest]:
        """The boards with the records that are there now."""
        index = Index(self.store)
        names = list(dict.fromkeys(own[0].dataset.name for own in self.settings))
        found = index.runs(dataset=names)
        fresh = [
            run
            for run, status in zip(found["run"], found["status"], strict=True)
            if run not in self._known or self._known[run].status != status
        ]
        if fresh or not self._contests:
            # SQLite takes a limited number of values in one question.
            wanted = {"run": fresh} if len(fresh) <= 500 else {"dataset": names}
            self._known |= {record.id: record for record in index.records(**wanted)} if fresh else {}
            known = proven(self._known.values(), self.store)
            self._contests = [Contest.among(own, known) for own in self.settings]
        return self._contests

    def open_verdicts(self) -> int:
        """How many verdicts are undecided, over all boards and baselines."""
        return sum(
            int(family.judge(contest.race_state(self.most).values, self.margin)[1].sum())
            for contest in self.load_contests()
            for family in contest.families(self.baselines)
        )

    def next(self, here: Collection[str] = ()) -> RunSpec | None:
        """The run that brings open verdicts nearest to a decision; None where none is open, or no room.

        A verdict stays open whose rows have all the seeds that they may get, or do not end well.

        Args:
            here: ids of the runs that this process has under way.
        """
        if self.max_concurrent is not None and len(here) >= self.max_concurrent:
            return None
        owners = Leases(self.store.private / "claims").owners()
        busy = [self._runs[run] for run in {*here, *owners} if run in self._runs]
        best: tuple[float, RunSpec] | None = None
        for place, contest in enumerate(self.load_contests()):
            under_way = [(row_of(run), run.seed) for where, run in busy if where == place]
            race_state = contest.race_state(self.most, under_way)
            ranked = ranking(race_state, contest.families(self.baselines), margin=self.margin)
            if ranked and (best is None or ranked[0][0] > best[0]):
                row = ranked[0][1]
                seed = race_state.next_seed(row)
                if seed is not None:
                    best = ranked[0][0], of_seed(list(contest.specs.values())[row], seed)
        return None if best is None else best[1]
