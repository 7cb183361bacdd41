"""Claims of the literature held against records: quantities by hand, verdicts of known differences."""

import pytest

import baselines  # noqa: F401 - registers the methods
from benchmark.analysis.contest import Contest, baseline_of
from benchmark.claims import check, judge, judge_all
from benchmark.claims.quantities import Combination, Interval, Less, RowDifference, beyond, spread
from benchmark.errors import UsageError
from benchmark.runs.store import Store
from tests.benchmark.claimfiles import AT, DIFFERENCE, DWA, OPTIMIZERS, STAN, WIDTHS, ran, runs

pytestmark = pytest.mark.slow


def test_quantities_by_hand():
    # Rows a, b, c at 0, 3 and 5; each difference is known to ± 1.
    at = {"a": 0.0, "b": 3.0, "c": 5.0}
    rows = {name: (name, "") for name in at}
    known = {
        RowDifference(rows[x], rows[y], task): Interval(at[x] - at[y], at[x] - at[y] - 1, at[x] - at[y] + 1, 4)
        for x in at
        for y in at
        if x < y
        for task in (None, "t", "u")
    }

    def ends(quantity):
        assert all(leaf in known for leaf in quantity.leaves())
        found = quantity.within(known)
        return found.estimate, found.low, found.high

    assert ends(RowDifference(rows["b"], rows["a"])) == (3, 2, 4)
    assert ends(spread([rows["a"], rows["b"], rows["c"]])) == (5, 4, 6)
    # Range of a and c less range of b and c: 5 ± 1 less 2 ± 1.
    assert ends(Less(spread([rows["a"], rows["c"]]), spread([rows["b"], rows["c"]]))) == (3, 1, 5)
    assert ends(Combination("mean", [RowDifference(rows["c"], rows[x]) for x in "ab"])) == (3.5, 2.5, 4.5)
    # c is beyond a by 5 and beyond b by 2, in every task: by the lesser.
    assert ends(beyond(rows["c"], [rows["a"], rows["b"]], ["t", "u"])) == (2, 1, 3)


@pytest.mark.slow
def test_a_claim_is_supported_contradicted_or_undecided_as_the_intervals_lie(written):
    within = written(DWA, "within margin")
    assert judge(within, runs(within, {})).verdict == "supported"
    assert judge(within, runs(within, {("mtan", "dwa"): 9.0})).verdict == "contradicted"
    assert judge(within, runs(within, {("mtan", "dwa"): 2.0})).verdict == "undecided"
    below = written(DWA, "below margin")
    assert judge(below, runs(below, {("split", "dwa"): -9.0})).verdict == "supported"
    assert judge(below, runs(below, {("split", "dwa"): 9.0})).verdict == "contradicted"
    above = written(DWA, "above zero")
    assert judge(above, runs(above, {("split", "dwa"): 1.0, ("mtan", "dwa"): 1.0})).verdict == "supported"
    assert judge(above, runs(above, {("split", "dwa"): 1.0, ("mtan", "dwa"): -1.0})).verdict == "contradicted"
    lenient = written(DWA, "above minus margin")
    assert judge(lenient, runs(lenient, {("mtan", "dwa"): -1.0})).verdict == "supported"
    assert judge(lenient, runs(lenient, {("mtan", "dwa"): -9.0})).verdict == "contradicted"


def test_what_speaks_most_against_a_claim_comes_first(written):
    claim = written(DWA, "within margin")
    found = judge(claim, runs(claim, {("mtan", "dwa"): 1.0})).datasets[0]
    assert found.findings[0].name == "mtan · dwa against mtan · equal"
    assert found.findings[0].interval.estimate == pytest.approx(1.0)


def test_one_difference_is_that_of_the_board(written):
    claim = written(STAN)
    records = [r for r in runs(claim, {("stan", "none"): 1.5}, noise=1.0) if r.spec.architecture.name != "mtan"]
    found = judge(claim, records).datasets[0].findings[0].interval
    own = [r for r in records if r.spec.architecture.name in ("stan", "single-task")]
    specs = [spec for spec in claim.specs if spec.architecture.name in ("stan", "single-task")]
    board = Contest.among(specs, own).verdicts(baseline_of("single-task"), 2.0).iloc[0]
    assert (found.estimate, found.low, found.high) == pytest.approx((board["difference"], board["low"], board["high"]))


def test_rows_without_runs_or_with_a_diverged_seed_leave_a_claim_undecided(written):
    claim = written(DWA, "within margin")
    records = runs(claim, {})
    without = judge(claim, [r for r in records if (r.spec.architecture.name, r.spec.weighting_name) != ("mtan", "dwa")])
    assert (without.verdict, without.datasets[0].missing) == ("undecided", ("mtan · dwa",))
    last = next(r for r in records if r.spec.weighting_name == "dwa" and r.spec.seed == 3)
    diverged = [r.model_copy(update={"status": "diverged", "curves": ()}) if r is last else r for r in records]
    assert judge(claim, diverged).verdict == "undecided"
    assert not judge(claim, []).begun


def test_claims_without_runs_can_be_left_out(written):
    claim = written(DWA)
    records = runs(claim, {})
    assert judge_all([claim], records, begun=True) == judge_all([claim], records)
    assert judge_all([claim], [], begun=True) == []
    alone = [record for record in records if record.reference]
    assert alone
    assert judge_all([claim], alone, begun=True) == []


def test_fixed_weights_and_means_are_told_apart(written):
    front = written(
        '[[rules]]\nquantity = "beyond front"\nrows = { architecture = ["split"], weighting = ["dwa", "rlw"] }\n'
        'others = { architecture = ["split"], weighting = ["equal", "constant"] }\n',
        "below margin",
    )
    found = judge(front, runs(front, {("split", "dwa"): 5.0})).datasets[0]
    by_name = {finding.name: finding for finding in found.findings}
    assert by_name["split · dwa beyond every fixed weight"].interval.estimate == pytest.approx(5.0, abs=0.3)
    assert by_name["split · dwa beyond every fixed weight"].verdict == "contradicted"
    mean = written(
        '[[rules]]\nquantity = "difference from mean"\nrows = { architecture = ["split"], weighting = ["rlw"] }\n'
        'others = { architecture = ["split"], weighting = ["equal", "dwa"] }\n'
    )
    found = judge(mean, runs(mean, {("split", "dwa"): 4.0, ("split", "rlw"): 3.0})).datasets[0].findings[0]
    assert found.interval.estimate == pytest.approx(1.0)  # 3 less the mean of 0 and 4


def test_a_row_is_held_against_itself_under_another_protocol_in_units_of_the_first_settings_networks(written):
    claim = written(AT, axes=OPTIMIZERS)
    # All of Adam's rows, its single-task networks too, are 5 % better: no Δm changes. SGD's are behind by 5 points of
    # what Adam's networks have 105 % of, or 95 % where lower is better (see below for how many metrics are).
    lifted = runs(claim, {("mtan", "dwa"): 2.0}, lift=lambda spec: 5.0 * (spec.protocol.optimizer == "adam"))
    found = judge(claim, lifted)
    (data,) = found.datasets
    assert found.verdict == "supported"
    assert len(data.findings) == 2 * 6  # two architectures, six weightings, of which three are fixed
    higher, lower = 5 / 1.05, 5 / 0.95
    for finding in data.findings:
        assert finding.interval.estimate == pytest.approx((higher + lower + (3 * higher + 2 * lower) / 5) / 3, abs=0.02)
        assert finding.name.endswith("at protocol.optimizer sgd")
    one = data.findings[0].name.partition(" against ")
    assert one[0].replace("adam", "sgd") == one[2]
    assert judge(claim, runs(claim, {}, lift=lambda s: 5.0 * (s.protocol.optimizer == "sgd"))).verdict == "contradicted"
    alone = [r for r in lifted if r.spec.protocol.optimizer == "adam"]
    assert judge(claim, alone).verdict == "undecided"
    assert len(judge(claim, alone).datasets[0].missing) == 12


def test_ranges_are_compared_between_widths_each_in_its_own_points(written):
    claim = written(
        '[[rules]]\nquantity = "range"\n'
        'rows = { architecture = ["split"], weighting = ["equal", "dwa"], at = { "architecture.width" = ["8"] } }\n'
        'others = { architecture = ["split"], weighting = ["equal", "dwa"], at = { "architecture.width" = ["16"] } }\n',
        axes=WIDTHS,
    )
    narrow = lambda spec: spec.architecture.options["width"] == 8  # noqa: E731 - said once
    lift = lambda spec: 3.0 * (narrow(spec) and spec.weighting_name == "dwa") - 20.0 * narrow(spec)  # noqa: E731
    (finding,) = judge(claim, runs(claim, {("split", "dwa"): 1.0}, noise=0.01, lift=lift)).datasets[0].findings
    # The narrow row is ahead by 4 points of what narrow networks have 80 % of, or 120 % where lower is better: of the
    # metrics of segmentation 2 are of the first kind, of those of depth 0 of 2, of those of normals 3 of 5.
    higher, lower = 4 / 0.8, 4 / 1.2
    delta = (higher + lower + (3 * higher + 2 * lower) / 5) / 3
    assert finding.interval.estimate == pytest.approx(delta - 1, abs=0.05)
    assert finding.verdict == "supported"
    assert {s.architecture.options["width"] for s in claim.needed()} == {8, 16}


def test_without_at_each_setting_is_looked_at_by_itself(written):
    claim = written(DWA, "within margin", axes=OPTIMIZERS)
    found = judge(claim, runs(claim, {}, lift=lambda spec: 5.0 * (spec.protocol.optimizer == "adam")))
    assert found.verdict == "supported"
    assert sorted(f.name for f in found.datasets[0].findings)[0] == (
        "mtan · dwa at protocol.optimizer adam against mtan · equal at protocol.optimizer adam"
    )
    assert len(found.datasets[0].findings) == 4


def test_what_contradicts_a_claim_comes_first(written):
    claim = written(DWA, "below margin")
    made = [
        ran(run.spec, 6.0 if run.spec.architecture.name == "split" else 40.0 * (run.spec.seed - 1.5))
        if run.spec.weighting_name == "dwa"
        else run
        for run in runs(claim, {})
    ]
    found = judge(claim, made).datasets[0]
    assert [finding.verdict for finding in found.findings] == ["contradicted", "undecided"]
    assert found.findings[1].interval.high > found.findings[0].interval.high  # by the far end alone it would be first


def test_rows_without_runs_or_with_a_diverged_seed_hide_nothing(written, tmp_path, mtbench):
    claim = written(DWA, "within margin")
    made = [
        run
        for run in runs(claim, {("split", "dwa"): -20.0})
        if (run.spec.architecture.name, run.spec.weighting_name) != ("mtan", "dwa")
    ]
    lost = next(run for run in made if run.spec.weighting_name == "dwa")
    found = []
    for folder, one in (("whole", lost), ("lost", lost.model_copy(update={"status": "diverged"}))):
        store = Store(tmp_path / folder)
        for run in (*(run for run in made if run is not lost), one):
            store.put(run)
        asked = ("claims", "report", str(tmp_path / "a-claim.toml"), "--results", str(store.root))
        found.append(mtbench(*asked).stdout)
    whole, without = found
    assert "scenes: contradicted; split · dwa against split · equal: -20.0" in whole
    assert "scenes: 1 row without runs" in whole
    assert "nothing is said of rows with a seed that diverged: split · dwa" in without
    assert "contradicted" not in without


def test_a_range_is_not_held_against_itself(written):
    ranges = '[[rules]]\nquantity = "range"\nrows = {{ architecture = {} }}\nothers = {{ architecture = ["split"] }}'
    claim = written(ranges.format('["split", "mtan"]'))
    found = judge(claim, runs(claim, {("mtan", "dwa"): 30.0}))
    assert [finding.name for finding in found.datasets[0].findings] == ["range of mtan less that of split"]
    assert found.verdict == "supported"
    with pytest.raises(UsageError, match="does not fit its grid"):
        check(written(ranges.format('["split"]')))


def test_a_row_is_itself_at_every_value_of_an_option_that_the_single_task_networks_have_not(written):
    claim = written(
        DIFFERENCE.format(
            rows='{ architecture = ["split"], weighting = ["equal"], at = { "architecture.variant" = ["deep"] } }',
            others='{ architecture = ["split"], at = { "architecture.variant" = ["wide"] } }',
            same='same = "row"',
        ),
        axes='[axes]\n"architecture.variant" = ["deep", "wide"]\n',
    )
    found = judge(claim, runs(claim, {}, lift=lambda s: 3.0 * (s.architecture.options.get("variant") == "deep")))
    (finding,) = found.datasets[0].findings
    assert finding.interval.estimate == pytest.approx(3.0, abs=0.01)
    assert finding.verdict == "supported"
