"""What would decide a claim: seeds and runs, from the noise of its rows."""

import numpy as np

import baselines  # noqa: F401 - registers the methods
from benchmark.analysis.looks import critical
from benchmark.claims import judge
from benchmark.claims.judge import NOTHING
from benchmark.claims.outlook import Need, Outlook, Row, outlook, outlook_words, seeds_to_decide
from benchmark.claims.quantities import Interval, RowDifference
from tests.benchmark.claimfiles import DWA, STAN, runs


def test_seeds_are_those_at_which_an_interval_leaves_the_border(written):
    above, within = written(DWA, "above zero"), written(DWA, "within margin")
    difference = RowDifference(("a", ""), ("b", ""))

    def shrinking(middle):
        """± 5 / √n."""
        return lambda n: {difference: Interval(middle, middle - 5 / n**0.5, middle + 5 / n**0.5, n)}

    # 1 − 5 / √n is above 0 from n = 26 on, −2 + 5 / √n below it from 7 on; 0 ± 5 / √n lies within ± 2 from 7 on.
    assert seeds_to_decide(above, difference, 4, shrinking(1.0)) == ("supported", 26)
    assert seeds_to_decide(above, difference, 4, shrinking(-2.0)) == ("contradicted", 7)
    assert seeds_to_decide(within, difference, 0, shrinking(0.0)) == ("supported", 7)
    assert seeds_to_decide(within, difference, 9, shrinking(0.0)) == ("supported", 9)
    assert seeds_to_decide(above, difference, 4, shrinking(0.1)) is None  # 2,501 seeds
    assert seeds_to_decide(above, difference, 0, lambda n: {difference: NOTHING}) is None


def test_a_claim_is_decided_by_the_cheapest_contradiction_or_by_all_together():
    rows = {(0, (name,)): Row(name, runs, 10.0) for name, runs in (("a", 3), ("b", 4), ("c", 9))}
    a, b, c = rows
    near = Need("supported", 5, frozenset({a, b}))
    far = Need("supported", 8, frozenset({b, c}))
    # a lacks 2 of 5, b 4 of 8, c has enough.
    assert outlook([near, far], rows) == Outlook("supported", 8, {"a": 2, "b": 4}, 60.0)
    assert outlook([near, None], rows) is None
    against = Need("contradicted", 6, frozenset({a}))
    dearer = Need("contradicted", 20, frozenset({c}))
    assert outlook([near, dearer, None, against], rows) == Outlook("contradicted", 6, {"a": 3}, 30.0)


def test_what_would_decide_a_claim_is_known_from_its_noise(written):
    claim = written(STAN)
    found = judge(claim, runs(claim, {("stan", "none"): 0.8}, noise=0.5))
    assert found.verdict == "undecided"
    ahead = found.outlook
    # Two means of four runs of SD 0.5: the variance 2 · 0.5² / n and 6 degrees of freedom, two more with each seed; one
    # difference, at the level of a race. 0.8416 is the 80 % quantile of the normal distribution.
    told = {
        n: float(critical(np.asarray(float(n)), np.asarray(2.0 * n - 2), 1, alpha=0.02) + 0.8416) * (0.5 / n) ** 0.5
        for n in range(4, 60)
    }
    n = next(n for n, points in told.items() if points < 0.8)
    assert n > 5
    assert (ahead.verdict, ahead.seeds) == ("supported", n)
    assert ahead.runs == {"stan · none on scenes": n - 4, "single-task · none on scenes": n - 4}
    assert found.datasets[0].findings[0].needed == n
    assert f"supported with {n} seeds: {2 * n - 8} further runs, {n - 4} of single-task" in outlook_words(ahead)
    more = judge(claim, runs(claim, {("stan", "none"): 0.8}, noise=0.5, seeds=n))
    assert (more.verdict, more.outlook) == ("supported", None)
