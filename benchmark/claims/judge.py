"""Is a claim supported, contradicted, or undecided by the records that there are?"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from benchmark.analysis.contest import Contest, settings
from benchmark.analysis.verdicts import diverged_rows, gains
from benchmark.claims.claim import Claim, Rule, Selector, unfit
from benchmark.claims.differences import Differences, differences
from benchmark.claims.outlook import Need, Outlook, Row, outlook, seeds_to_decide
from benchmark.claims.quantities import Combination, Interval, Less, Place, Quantity, RowDifference, beyond, spread
from benchmark.errors import unknown
from benchmark.runs.axes import Setting, words_of
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec

VERDICTS = {
    "supported": "every interval lies where the claim says",
    "contradicted": "at least one interval lies wholly on the other side of the border",
    "undecided": "neither: more seeds would tell",
}
#: What speaks most against a claim comes first.
AGAINST = ("contradicted", "undecided", "supported")
NOTHING = Interval(math.nan, -math.inf, math.inf, 0)


@dataclass(frozen=True)
class QuantityResult:
    """One of the quantities that a criterion speaks of.

    Attributes:
        name: of the rows that it compares.
        verdict: of this quantity alone.
        needed: seeds of each of its rows with which it would be decided, with a chance of 80 % if the rows differ by
            what they do now; None where that is decided, or no number of them does.
    """

    name: str
    interval: Interval
    verdict: str
    needed: int | None = None


@dataclass(frozen=True)
class DataSetResult:
    """What the records of one data set say.

    Attributes:
        findings: the quantities, that first which speaks most against the claim.
        missing: rows that have no run yet.
        diverged: rows of which a seed diverged, so that nothing is said of them.
    """

    dataset: str
    findings: tuple[QuantityResult, ...]
    missing: tuple[str, ...]
    diverged: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """A key of ``VERDICTS``."""
        return together([finding.verdict for finding in self.findings])

    @property
    def weakest(self) -> QuantityResult | None:
        """What speaks most against the claim of all that has an interval."""
        return next((finding for finding in self.findings if finding.interval.seeds), None)


@dataclass(frozen=True)
class ClaimResult:
    """What the records say of a claim; all intervals hold together at its criterion's error rate.

    Attributes:
        outlook: what would decide it; None where it is decided, a row has no interval yet or a seed that diverged, or
            it hangs on a difference that lies too near the border.
    """

    claim: Claim
    datasets: tuple[DataSetResult, ...]
    outlook: Outlook | None = None

    @property
    def verdict(self) -> str:
        """A key of ``VERDICTS``."""
        return together([result.verdict for result in self.datasets])

    @property
    def begun(self) -> bool:
        """Whether any of its quantities has a run."""
        return any(finding.interval.seeds for result in self.datasets for finding in result.findings)


def together(verdicts: Sequence[str]) -> str:
    """Of several, all of which must hold."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if verdicts and set(verdicts) == {"supported"} else "undecided"


@dataclass(frozen=True)
class Settings:
    """The contests of one data set, by setting of the grid; of a grid without axes there is one.

    Attributes:
        varied: options of architectures that the grid's axes vary.
    """

    contests: Mapping[Setting, Contest]
    varied: frozenset[str] = frozenset()

    @property
    def first(self) -> Contest:
        """That against whose single-task networks rows of two settings are compared."""
        return next(iter(self.contests.values()))

    @property
    def has_records(self) -> bool:
        """Whether there is any record beside the rows."""
        return any(contest.records for contest in self.contests.values())

    def spec(self, place: Place) -> RunSpec:
        """A run of a row."""
        return self._contest(place).cells[place[0], place[1]]

    def name(self, place: Place) -> str:
        """Of a row: of its methods, with the options that are not the default ones, and of its setting."""
        spec = self.spec(place)
        return f"{spec.architecture.name} · {spec.weighting_words}{at(place)}"

    def has(self, place: Place) -> Row:
        """What there is of a row."""
        contest, row = self._contest(place), (place[0], place[1])
        name = f"{self.name(place)} on {contest.name}"
        return Row(name, len(contest.by_row.get(row, ())), contest.seconds.get(row, math.nan))

    def method(self, place: Place) -> tuple[str, str]:
        """What rows of two settings have in common: architecture and weighting.

        Without the options of the backbone, and those that the grid varies.
        """
        spec, contest = self.spec(place), self._contest(place)
        backbone = contest.cells[contest.reference].architecture.options.keys() | self.varied
        options = {name: value for name, value in spec.architecture.options.items() if name not in backbone}
        return spec.architecture.model_copy(update={"options": options}).model_dump_json(), place[1]

    @cached_property
    def diverged(self) -> set[Place]:
        """Rows of which a seed diverged."""
        return {(*row, w) for w, c in self._by_words.items() for row in diverged_rows(c.records, c.labels)}

    @cached_property
    def _by_words(self) -> dict[str, Contest]:
        return {words_of(setting): contest for setting, contest in self.contests.items()}

    def _contest(self, place: Place) -> Contest:
        return self._by_words[place[2]]

    def differences(self, leaves: set[RowDifference], family: int) -> Iterator[Differences]:
        """Differences between rows; those without runs, or with a diverged seed, are left out."""
        within: dict[str | None, set[RowDifference]] = defaultdict(set)
        for leaf in leaves:
            within[leaf.row[2] if leaf.row[2] == leaf.other[2] else None].add(leaf)
        for words, own in within.items():
            contests = self._by_words if words is None else {words: self._by_words[words]}
            tables = {
                w: gains(c.test, against=self.first.test if words is None else None)
                for w, c in contests.items()
                if not c.test.empty and not (words is None and self.first.test.empty)
            }
            yield from differences(tables, self.diverged, own, family)


def at(place: Place) -> str:
    """Where a row stands, in words."""
    return f" at {place[2]}" if place[2] else ""


def check(claim: Claim) -> None:
    """Make sure that a claim can be judged by the runs of its grid, before there are any.

    Raises:
        UsageError: see ``judge_all``.
    """
    judge(claim, ())


def judge(claim: Claim, records: Iterable[RunRecord]) -> ClaimResult:
    """Hold a claim against records; see ``judge_all``."""
    return judge_all([claim], records)[0]


def judge_all(claims: Sequence[Claim], records: Iterable[RunRecord], *, begun: bool = False) -> list[ClaimResult]:
    """Hold claims against records.

    The differences that its quantities are made of are one family over all of its data sets: with the criterion's error
    rate, all of their intervals hold together, however often one looks (``contrasts``). A row of which a seed diverged
    has no interval: what the others give is the best that may be said of it.

    Args:
        begun: leave out claims of which no quantity has a run.

    Raises:
        UsageError: a claim does not fit its grid: see ``Claim.settings``; or, of one that is not left out, a rule names
            what is not there, its rows make no quantity, or a data set has single-task networks of several backbones.
    """
    own = list(records)
    known: dict[tuple[str, tuple[str, ...]], list[Settings]] = {}  # claims on the same runs share what is made of them
    for claim in claims:
        if (claim.grid, claim.datasets) not in known:
            known[claim.grid, claim.datasets] = _settings(claim, own)
    pairs = ((claim, known[claim.grid, claim.datasets]) for claim in claims)
    results = (_judged(claim, its) for claim, its in pairs if not begun or any(each.has_records for each in its))
    return [result for result in results if not begun or result.begun]


def _settings(claim: Claim, records: Sequence[RunRecord]) -> list[Settings]:
    """The claim's rows and their records on each of its data sets."""
    found: dict[str, dict[Setting, Contest]] = defaultdict(dict)
    for setting, specs in claim.settings.items():
        for contest in (Contest.among(own, records) for own in settings(specs)):
            if setting in found[contest.name]:
                raise unfit(
                    claim,
                    f"it has single-task networks of several backbones on '{contest.name}'; give it one of them, or an "
                    "axis over the options in which they differ",
                )
            found[contest.name][setting] = contest
    return [Settings(contests, claim.varied_options) for contests in found.values()]


def _check_names(claim: Claim, found_on: Sequence[Settings]) -> None:
    """Make sure that rules name nothing that the grid has not: what is misspelt would be no part of the verdict."""
    specs = [spec for own in found_on for contest in own.contests.values() for spec in contest.cells.values()]
    architectures, weightings = {s.architecture.name for s in specs}, {s.weighting_name for s in specs}
    values: dict[str, set[str]] = defaultdict(set)
    for axis, value in (chosen for own in found_on for setting in own.contests for chosen in setting):
        values[axis].add(value)
    for one in (selector for rule in claim.rules for selector in (rule.rows, rule.others)):
        asked: list[tuple[str, Iterable[str], Collection[str]]] = [
            ("architecture", one.architecture or (), architectures),
            ("weighting", one.weighting or (), weightings),
            ("architecture or weighting", one.but, architectures | weightings),
            ("axis", one.at or (), values.keys()),
            *((f"value of the axis '{axis}'", own, values.get(axis, ())) for axis, own in (one.at or {}).items()),
        ]
        for kind, names, known in asked:
            for name in names:
                if name not in known:
                    raise unfit(claim, unknown(kind, name, known))


def _judged(claim: Claim, found_on: Sequence[Settings]) -> ClaimResult:
    _check_names(claim, found_on)
    asked = [list(_quantities(claim, own)) for own in found_on]
    family = len({(k, leaf) for k, found in enumerate(asked) for _, q in found for leaf in q.leaves()})
    results: list[DataSetResult] = []
    needs: list[Need | None] = []
    for k, (own, found) in enumerate(zip(found_on, asked, strict=True)):
        result, own_needs = _on_data_set(claim, k, own, found, family)
        results.append(result)
        needs += own_needs
    if together([result.verdict for result in results]) != "undecided":
        return ClaimResult(claim, tuple(results))
    rows = {(k, place): found_on[k].has(place) for need in needs if need for k, place in need.rows}
    return ClaimResult(claim, tuple(results), outlook(needs, rows))


def _on_data_set(
    claim: Claim, k: int, own: Settings, asked: Sequence[tuple[str, Quantity]], family: int
) -> tuple[DataSetResult, list[Need | None]]:
    """What the records of the k-th data set say, and what each quantity needs to be decided."""
    leaves = {leaf for _, quantity in asked for leaf in quantity.leaves()}
    groups = list(own.differences(leaves, family))

    @cache
    def planned(seeds: int) -> Mapping[RowDifference, Interval]:
        return _merged(leaves, [group.planned(seeds) for group in groups])

    known = _merged(leaves, [group.now() for group in groups])
    findings: list[QuantityResult] = []
    needs: list[Need | None] = []
    for name, quantity in asked:
        interval = quantity.within(known)
        verdict = claim.verdict(interval)
        is_open = verdict == "undecided"
        would = seeds_to_decide(claim, quantity, interval.seeds, planned) if is_open else (verdict, interval.seeds)
        rows = frozenset((k, place) for leaf in quantity.leaves() for place in (leaf.row, leaf.other))
        needs.append(Need(*would, rows) if would else None)
        findings.append(QuantityResult(name, interval, verdict, would[1] if is_open and would else None))
    places = dict.fromkeys(r for _, q in asked for leaf in q.leaves() for r in (leaf.row, leaf.other))
    missing = [own.name(place) for place in places if not own.has(place).runs]
    diverged = [own.name(place) for place in places if place in own.diverged]
    order = sorted(findings, key=lambda f: (AGAINST.index(f.verdict), _distance(claim, f.interval)))
    return DataSetResult(own.first.name, tuple(order), tuple(missing), tuple(diverged)), needs


def _merged(
    leaves: set[RowDifference], groups: Iterable[Mapping[RowDifference, Interval]]
) -> dict[RowDifference, Interval]:
    """The intervals of all differences; of those that no group has nothing is known."""
    known = dict.fromkeys(leaves, NOTHING)
    for group in groups:
        known |= group
    return known


def _quantities(claim: Claim, own: Settings) -> Iterator[tuple[str, Quantity]]:
    """What the claim's criterion speaks of, by name."""
    for rule in claim.rules:
        for among in [list(own.contests)] if rule.across else [[setting] for setting in own.contests]:
            rows, others = (_selected(claim, own, among, selector) for selector in (rule.rows, rule.others))
            if not (found := list(_of_rule(claim, rule, own, rows, others))):
                alike = f" and has the same {rule.same}" if rule.same else ""
                raise unfit(claim, f"for no row of 'rows' there is a row of 'others' that is another{alike}")
            yield from found


def _of_rule(
    claim: Claim, rule: Rule, own: Settings, rows: Sequence[Place], others: Sequence[Place]
) -> Iterator[tuple[str, Quantity]]:
    match rule.quantity:
        case "difference":
            for row in rows:
                for other in others:
                    if row != other and _alike(rule, own, row, other):
                        yield f"{own.name(row)} against {own.name(other)}", RowDifference(row, other)
        case "difference from mean":
            for row in rows:
                if against := [RowDifference(row, other) for other in others if other != row]:
                    yield f"{own.name(row)} against the mean of {len(against)}", Combination("mean", against)
        case "range":
            (name, subtracted), *more = _groups(claim, own, others)
            if more:
                raise unfit(claim, f"the range of one architecture is subtracted, found {name} and {more[0][0]}")
            for label, group in _groups(claim, own, rows):
                if group != subtracted:
                    yield f"range of {label} less that of {name}", Less(spread(group), spread(subtracted))
        case "beyond front":
            records = own.first.records
            tasks = [task.name for task in records[0].tasks] if records else ["any"]
            for row in rows:
                if front := [other for other in others if other != row]:
                    yield f"{own.name(row)} beyond every fixed weight", beyond(row, front, tasks)


def _groups(claim: Claim, own: Settings, rows: Sequence[Place]) -> list[tuple[str, list[Place]]]:
    """The rows of each architecture at each setting, whose range is meant; before them what they are called."""
    groups: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for row in rows:
        groups[row[0], row[2]].append(row)
    if alone := [group[0] for group in groups.values() if len(group) < 2]:
        raise unfit(claim, f"a range is of two weightings or more, and there is {own.name(alone[0])} alone")
    return [(f"{own.spec(group[0]).architecture.name}{at(group[0])}", group) for group in groups.values()]


def _alike(rule: Rule, own: Settings, row: Place, other: Place) -> bool:
    """Whether two rows have in common what the rule asks for."""
    one, two = own.method(row), own.method(other)
    return {None: True, "row": one == two, "architecture": one[0] == two[0], "weighting": one[1] == two[1]}[rule.same]


def _selected(claim: Claim, own: Settings, among: Sequence[Setting], selector: Selector) -> list[Place]:
    found: list[Place] = [
        (*row, words_of(setting))
        for setting in among
        if selector.stands_at(setting)
        for row, spec in own.contests[setting].cells.items()
        if selector.has(spec.architecture.name, spec.weighting_name)
    ]
    if not found:
        raise unfit(claim, f"no row of it is meant by {selector.model_dump_json(exclude_defaults=True)}")
    return found


def _distance(claim: Claim, interval: Interval) -> float:
    """How far an interval's far end is on the side where the claim holds: small where it speaks against it."""
    if claim.holds == "below margin":
        return claim.bound - interval.high
    if claim.holds == "within margin":
        return claim.bound - max(interval.high, -interval.low)
    return interval.low - claim.bound
