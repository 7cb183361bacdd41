"""Which architecture? Which weighting? One line per method, over all rows that it is a part of."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.analysis.verdicts import VERDICTS
from benchmark.report.judged import SIGNS, BaselineComparison, RowComparison
from benchmark.report.rows import Numbers, Row


@dataclass(frozen=True)
class MethodAnswer:
    """An architecture or a weighting.

    Attributes:
        name: as rows are named; ``kind`` is its registered name.
        mean: of Δm over the partners that all methods have; None where there is none.
        best, worst: its rows of greatest and least Δm.
        own: its rows against the question's baseline; empty for the baseline itself.
        sharing: its rows against single-task networks.
        parameters: of its first row, and ``cost`` relative to the board's yardstick, where they are known; an
            architecture's with equal weights, where it was trained with them.
    """

    name: str
    kind: str
    mean: float | None
    best: Row
    worst: Row
    own: tuple[RowComparison, ...]
    sharing: tuple[RowComparison, ...]
    parameters: float | None
    cost: float | None


@dataclass(frozen=True)
class Answer:
    """A question's table.

    Attributes:
        which: 0 for architectures, 1 for weightings.
        partners: the weightings, or architectures, that every method was trained with: means are over these.
        versus: the comparison that answers it; None where the board lacks the baseline.
        methods: the best mean first.
    """

    question: str
    which: int
    partners: tuple[str, ...]
    versus: BaselineComparison | None
    methods: tuple[MethodAnswer, ...]


def answers(numbers: Numbers) -> list[Answer]:
    """The two questions, as far as the board has two and more methods to choose from."""
    found = {versus.key: versus for versus in numbers.versus}
    asked = (("Which architecture?", 0, "architecture"), ("Which weighting?", 1, "weighting"))
    made = (_answer(numbers, question, which, found.get(key), found.get("reference")) for question, which, key in asked)
    return [answer for answer in made if answer is not None and len(answer.methods) > 1]


def counted(compared: Sequence[RowComparison]) -> list[tuple[str, str, int]]:
    """How often each verdict was found: the word, its sign, and how many rows."""
    words = [found.verdict for found in compared]
    return [(word, SIGNS[word], words.count(word)) for word in VERDICTS if word in words]


def _answer(
    numbers: Numbers, question: str, which: int, versus: BaselineComparison | None, reference: BaselineComparison | None
) -> Answer | None:
    rows = [row for row in numbers.rows if row.weighting != "none" and row.pair not in numbers.folded and row.gain.n]
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.pair[which], []).append(row)
    if not by_name:
        return None
    everyone = [{row.pair[1 - which] for row in own} for own in by_name.values()]
    partners = tuple(sorted(set.intersection(*everyone)))
    methods = [_method(name, own, which, partners, versus, reference) for name, own in by_name.items()]
    ordered = sorted(methods, key=lambda m: (m.mean is None, -(m.mean or 0.0), -m.best.gain.mean, m.name))
    return Answer(question, which, partners, versus, tuple(ordered))


def _method(
    name: str,
    rows: Sequence[Row],
    which: int,
    partners: Sequence[str],
    versus: BaselineComparison | None,
    reference: BaselineComparison | None,
) -> MethodAnswer:
    ordered = sorted(rows, key=lambda row: -row.gain.mean)
    common = [row.gain.mean for row in rows if row.pair[1 - which] in partners]
    typical = next((row for row in rows if row.kind[1 - which] == "equal"), rows[0])

    def among(found: BaselineComparison | None) -> tuple[RowComparison, ...]:
        return tuple(found.by_row[row.pair] for row in rows if row.pair in found.by_row) if found else ()

    def cost(key: str) -> float | None:
        known = typical.estimate(key) if which == 0 else None
        return known.mean if known and known.n else None

    return MethodAnswer(
        name=name,
        kind=rows[0].kind[which],
        mean=fmean(common) if common and len(common) == len(partners) else None,
        best=ordered[0],
        worst=ordered[-1],
        own=among(versus),
        sharing=among(reference),
        parameters=cost("parameters"),
        cost=cost("relative_cost"),
    )
