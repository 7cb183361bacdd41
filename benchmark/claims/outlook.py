"""What would decide a claim that its records leave open, if its rows differ by what they do now."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.analysis.looks import FIRST
from benchmark.claims.claim import Claim
from benchmark.claims.quantities import Interval, Place, Quantity, RowDifference
from benchmark.wording import counted, duration

#: Which of a claim's data sets, and a row there.
PlaceOn = tuple[int, Place]

#: Seeds of a row beyond which nobody is told to go.
MOST = 100
#: Rows that a sentence names.
MOST_NAMED = 4


@dataclass(frozen=True)
class Outlook:
    """What more seeds would make of a quantity or a claim, each quantity with a chance of 80 % if the means stay.

    Attributes:
        verdict: supported or contradicted.
        seeds: of each row that it hangs on; of a claim, of the row that needs most.
        runs: further ones, by row.
        seconds: that these take.
    """

    verdict: str
    seeds: int
    runs: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Row:
    """What a row has.

    Attributes:
        name: with its data set.
        runs: that are done.
        seconds: that one takes.
    """

    name: str
    runs: int
    seconds: float


@dataclass(frozen=True)
class Need:
    """With how many seeds of which rows a quantity is decided, and how."""

    verdict: str
    seeds: int
    rows: frozenset[PlaceOn]


def seeds_to_decide(
    claim: Claim, quantity: Quantity, seeds: int, planned: Callable[[int], Mapping[RowDifference, Interval]]
) -> tuple[str, int] | None:
    """How a quantity will be decided, and with how many seeds; None where it is not within ``MOST``.

    Args:
        seeds: that there are.
        planned: the differences' ends with a number of seeds.
    """

    def verdict(n: int) -> str:
        return claim.verdict(quantity.within(planned(n)))

    numbers = range(max(seeds, FIRST), MOST + 1)
    k = bisect_left(numbers, True, key=lambda n: verdict(n) != "undecided")
    return (verdict(numbers[k]), numbers[k]) if k < len(numbers) else None


def outlook(needs: Sequence[Need | None], rows: Mapping[PlaceOn, Row]) -> Outlook | None:
    """How a claim will be decided: by the cheapest of what contradicts it, else by all together.

    Args:
        needs: of all quantities; None where no number of seeds decides one.
        rows: what the rows have.
    """
    against = [_together([need], rows) for need in needs if need and need.verdict == "contradicted"]
    if against:
        return min(against, key=lambda found: (found.seconds, found.seeds))
    known = [need for need in needs if need]
    return _together(known, rows) if known and len(known) == len(needs) else None


def _together(needs: Sequence[Need], rows: Mapping[PlaceOn, Row]) -> Outlook:
    wanted: dict[PlaceOn, int] = {}
    for need in needs:
        for row in need.rows:
            wanted[row] = max(wanted.get(row, 0), need.seeds)
    lacking = {row: max(n - rows[row].runs, 0) for row, n in wanted.items()}
    return Outlook(
        needs[0].verdict,
        max(need.seeds for need in needs),
        {rows[row].name: n for row, n in lacking.items() if n},
        sum(n * rows[row].seconds for row, n in lacking.items()),
    )


def outlook_words(found: Outlook) -> str:
    """What would decide a claim, in a sentence."""
    names = sorted(found.runs, key=lambda name: (-found.runs[name], name))
    told = ", ".join(f"{found.runs[name]} of {name}" for name in names[:MOST_NAMED])
    rest = sum(found.runs[name] for name in names[MOST_NAMED:])
    return (
        f"If rows go on to differ by what they do now, it is {found.verdict} with {found.seeds} seeds: "
        f"{counted(sum(found.runs.values()), 'further run')}, {told}"
        f"{f' and {rest} of other rows' if rest else ''}; {duration(found.seconds)} of one worker, beside single-task "
        "networks of the same seeds."
    )
