"""Claims of the literature held against records: quantities by hand, verdicts of known differences, the command."""

import json
from pathlib import Path

import numpy as np
import pytest

import baselines  # noqa: F401 - registers the methods
from benchmark.analysis import boards
from benchmark.analysis.contest import Contest, baseline_of, of_seed, row_of
from benchmark.analysis.looks import critical
from benchmark.analysis.submitted import Counted
from benchmark.claims import check, claim_named, judge
from benchmark.claims.judge import NOTHING
from benchmark.claims.outlook import Need, Outlook, Row, outlook, outlook_words, seeds_to_decide
from benchmark.claims.quantities import Combination, Interval, Less, RowDifference, beyond, spread
from benchmark.commands.claims import words
from benchmark.errors import UsageError
from benchmark.report.pages import render
from benchmark.runs.expansion import expand
from benchmark.runs.filters import AS_IN_THE_GRID, Filters
from benchmark.runs.grid import load_grid
from benchmark.runs.store import Store
from tests.benchmark.records import FINAL, LOWER, edited, record
from tests.benchmark.records import noise as random
from tests.benchmark.shell import one_line

GRID = """
seeds = [0, 1, 2, 3]
architectures = ["split", "mtan", "stan"]
weightings = ["equal", "dwa", "rlw", { name = "constant", simplex = 4 }]
[architecture]
width = 16
[protocol]
epochs = 1
batch_size = 8
[datasets.scenes]
"""
CLAIM = """
title = "A title"
source = "Somebody. A paper. 2026."
claim = "Something."
small_version = "Less of it."
distance = "Far."
datasets = ["scenes"]
grid = {grid}
holds = {holds}
{rules}
[criterion]
margin = 2.0
error_rate = 0.05
quantity = "A difference."
supported = "One side."
contradicted = "The other."
"""
DIFFERENCE = '[[rules]]\nquantity = "difference"\nrows = {rows}\nothers = {others}\n{same}'
DWA = DIFFERENCE.format(
    rows='{ weighting = ["dwa"] }', others='{ weighting = ["equal"] }', same='same = "architecture"'
)
#: A weighting of a user's file.
OWN = """
import torch
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Weighting

@WEIGHTINGS.register("of-ones-own")
class Own(Weighting):
    def weights(self, losses):
        return torch.ones_like(losses)
"""
STAN = DIFFERENCE.format(rows='{ architecture = ["stan"] }', others='{ architecture = ["single-task"] }', same="")


@pytest.fixture
def written(tmp_path):
    """Makes a claim of a small grid."""

    def make(rules, holds="above zero", axes=""):
        (tmp_path / "small.toml").write_text(GRID + axes)
        path = tmp_path / "a-claim.toml"
        path.write_text(
            CLAIM.format(grid=json.dumps(str(tmp_path / "small.toml")), holds=json.dumps(holds), rules=rules)
        )
        return claim_named(str(path))

    return make


def ran(spec, gain):
    """A run that is better than ``FINAL`` by ``gain`` per cent in every metric of every task, or in each by task."""
    made = record(spec.architecture.name, spec.weighting_name, seed=spec.seed, epochs=1, place={"precision": "fp32"})

    def edit(epoch, split, task, metric, value):
        own = gain[task] if isinstance(gain, dict) else gain
        final = next((metrics[metric] for metrics in FINAL.values() if metric in metrics), None)
        if final is None:
            return value  # a legacy metric
        return final * (1 - own / 100 if metric in LOWER else 1 + own / 100)

    return edited(made.model_copy(update={"spec": spec, "id": spec.id}), edit)


def runs(claim, gains, seeds=4, noise=0.1, lift=lambda spec: 0.0):
    """Runs of all rows: the mean gain by (architecture, weighting), with noise of this SD that sums up to nothing.

    ``lift`` is what a row's setting adds.
    """
    found = []
    for row, spec in {(row_of(spec), spec.protocol.optimizer): spec for spec in claim.specs}.items():
        own = random(row).normal(size=seeds)
        own = noise * (own - own.mean()) / own.std(ddof=1)
        gain = gains.get((spec.architecture.name, spec.weighting_name), 0.0) + lift(spec)
        found += [ran(of_seed(spec, seed), gain + own[seed]) for seed in range(seeds)]
    return found


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


OPTIMIZERS = '[axes]\n"protocol.optimizer" = ["adam", "sgd"]\n'
WIDTHS = '[axes]\n"architecture.width" = [8, 16]\n'
AT = DIFFERENCE.format(
    rows='{ architecture = ["split", "mtan"], at = { "protocol.optimizer" = ["adam"] } }',
    others='{ architecture = ["split", "mtan"], at = { "protocol.optimizer" = ["sgd"] } }',
    same='same = "row"',
)


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


def test_the_words_of_run_mean_the_claims_runs():
    claim = claim_named("fixed-weights-front")
    said: dict[str, list[str]] = {}
    for option, value in zip(*[iter(words(claim, {}))] * 2, strict=True):
        said.setdefault(option, []).append(value)
    filters = Filters(said["--dataset"], said["--architecture"], said["--weighting"], compute=AS_IN_THE_GRID.compute)
    meant = {spec.id: spec for spec in expand(load_grid(*said["--grid"]), filters)}
    needed = {spec.id for spec in claim.needed()}
    assert needed <= meant.keys()
    assert {meant[run].architecture.name for run in meant.keys() - needed} == {"single-task"}


def test_a_claims_runs_are_narrowed_by_the_options_of_run(mtbench):
    claim = claim_named("random-weights")
    narrowed = words(claim, {"datasets": ("multi-fashion",), "weightings": ("rlw",), "architectures": ()})
    assert narrowed == ["--grid", "study-weightings", "--arithmetic", "portable", "--architecture", "split"]
    told = mtbench("claims", "run", "random-weights", "--weighting", "famoo", "--budget", "2h")
    one_line(told, 2, "no run of random-weights has --weighting famoo; expected one of equal, ")
    with pytest.raises(UsageError, match="judged by runs of the grid study-weightings: leave --grid out"):
        words(claim, {"grid": "quick"})
    for given in ({"changes": (("protocol.epochs", 3),)}, {"arithmetic": "native"}, {"precision": "bf16"}):
        with pytest.raises(UsageError, match=r"judged by its grid's runs as they are, and --\w+ makes others"):
            words(claim, given)
    with pytest.raises(UsageError, match="no run of attention-single-task has a weighting: leave --weighting out"):
        words(claim_named("attention-single-task"), {"weightings": ("equal",)})
    told = mtbench("claims", "run", "dwa-equal", "--nope")
    assert told.exit_code == 2
    assert "claims run --help" in told.stderr


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


@pytest.mark.usefixtures("own_methods")
def test_a_claim_may_be_about_a_method_of_ones_own(written, tmp_path, mtbench):
    written(DWA, "within margin")
    plugin = tmp_path / "own.py"
    plugin.write_text(OWN)
    for path in (tmp_path / "a-claim.toml", tmp_path / "small.toml"):
        path.write_text(path.read_text().replace('"dwa"', '"of-ones-own"'))
    (tmp_path / "results").mkdir()
    told = mtbench("claims", "report", str(tmp_path / "a-claim.toml"), "--plugin", str(plugin))
    assert "4 rows without runs" in told.stdout, told.stderr


def test_a_claims_file_that_is_not_valid_is_told(tmp_path, written):
    with pytest.raises(UsageError, match=r"unknown claim 'mtan-beter'. Did you mean 'mtan-better'"):
        claim_named("mtan-beter")
    with pytest.raises(UsageError, match="cannot be read"):
        claim_named(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="is not valid: holds"):
        written(DWA, "somewhere")
    with pytest.raises(UsageError, match=r"is not valid: rules\[0\]: .*'same' is of the quantity 'difference' alone"):
        written(DWA.replace('"difference"', '"range"'))


@pytest.mark.parametrize(
    ("quantity", "rows", "others", "same", "message"),
    [
        ("range", '["stan"]', '["split"]', "", "of two weightings or more, and there is stan · none alone"),
        ("range", '["split"]', '["stan"]', "", "of two weightings or more, and there is stan · none alone"),
        ("range", '["split"]', '["split", "mtan"]', "", "of one architecture is subtracted, found split and mtan"),
        (
            "difference",
            '["split"]',
            '["split"]',
            'same = "row"',
            "a row of 'others' that is another and has the same row",
        ),
        ("difference", '["stan"]', '["stan"]', "", "for no row of 'rows' there is a row of 'others' that is another$"),
        ("difference from mean", '["stan"]', '["stan"]', "", "for no row of 'rows' there is a row of 'others'"),
        ("beyond front", '["stan"]', '["stan"]', "", "for no row of 'rows' there is a row of 'others'"),
        ("difference", '["splitt"]', '["mtan"]', "", r"unknown architecture 'splitt'\. Did you mean 'split'"),
        (
            "difference",
            '["split", "dense"]',
            '["mtan"]',
            "",
            r"unknown architecture 'dense'\. .*Known: mtan, single-task",
        ),
        ("difference", '["split"], weighting = ["famo"]', '["mtan"]', "", "unknown weighting 'famo'"),
        ("difference", '["split"], but = ["equall"]', '["mtan"]', "", "unknown architecture or weighting 'equall'"),
        ("difference", '["split"], but = ["split"]', '["mtan"]', "", "no row of it is meant by .*architecture.*split"),
        ("difference", '["split"], at = { optimiser = ["adam"] }', '["mtan"]', "", "unknown axis 'optimiser'"),
    ],
)
def test_a_rule_that_makes_no_quantity_is_told_before_there_are_runs(written, quantity, rows, others, same, message):
    rules = f'[[rules]]\nquantity = "{quantity}"\nrows = {{ architecture = {rows} }}\n'
    claim = written(f"{rules}others = {{ architecture = {others} }}\n{same}\n")
    with pytest.raises(UsageError, match=message) as caught:
        check(claim)
    assert str(caught.value).startswith("the claim 'a-claim' does not fit its grid")


def test_a_value_or_a_data_set_that_the_grid_has_not_is_told(written, tmp_path, mtbench):
    with pytest.raises(UsageError, match=r"unknown value of the axis 'protocol\.optimizer' 'sdg'\. Did you mean 'sgd'"):
        check(written(AT.replace('"sgd"', '"sgd", "sdg"'), axes=OPTIMIZERS))
    written(DWA)
    path = tmp_path / "a-claim.toml"
    path.write_text(path.read_text().replace('["scenes"]', '["scenes", "scens"]'))
    with pytest.raises(UsageError, match=r"unknown data set 'scens'\. Did you mean 'scenes'"):
        check(claim_named(str(path)))
    one_line(mtbench("claims", "run", str(path), "--dry-run"), 2, "unknown data set 'scens'")


def test_a_claim_names_data_sets_that_its_grid_runs_by_name_alone(written):
    claim = written(DWA)
    (grid := Path(claim.grid)).write_text(GRID.replace("[datasets.scenes]", "[datasets.scenes]\nby_default = false"))
    assert {spec.dataset.name for spec in claim_named(str(grid.parent / "a-claim.toml")).needed()} == {"scenes"}


def test_two_backbones_on_one_data_set_are_told(written):
    claim = written(DWA)
    second = 'architectures = [{ name = "single-task", options = { width = 32 } }, '
    Path(claim.grid).write_text(GRID.replace("architectures = [", second))
    with pytest.raises(UsageError, match="single-task networks of several backbones on 'scenes'; give it one of them"):
        check(claim)


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


def test_a_claims_settings_are_its_runs(written):
    claim = written(AT, axes=OPTIMIZERS)
    assert {spec.id for specs in claim.settings.values() for spec in specs} == {spec.id for spec in claim.specs}
    assert claim.specs == expand(load_grid(claim.grid), AS_IN_THE_GRID)


@pytest.mark.slow
def test_the_command_and_the_page_say_the_same(written, tmp_path, mtbench, monkeypatch):
    claim = written(DWA, "within margin")
    store = Store(tmp_path / "results")
    records = runs(claim, {("mtan", "dwa"): 9.0})
    for one in records:
        store.put(one)
    path = str(tmp_path / "a-claim.toml")
    told = json.loads(mtbench("claims", "report", path, "--results", str(store.root), "--json").stdout)
    assert (told[0]["verdict"], told[0]["criterion_hash"]) == ("contradicted", claim.criterion_hash)
    assert told[0]["outlook"] is None
    spoken = mtbench("claims", "report", path, "--results", str(store.root)).stdout
    assert spoken.startswith(
        "contradicted: A title (a-claim)\n  scenes: contradicted; mtan · dwa against mtan · equal: +9.0"
    )
    monkeypatch.setattr("benchmark.report.pages.claim_names", lambda: [path])
    pages = dict(render(boards(records), Counted(records), [], store, "val-delta-m"))
    page = pages["claims.html"].decode()
    assert "✗ contradicted" in page
    assert "mtan · dwa against mtan · equal" in page
    assert claim.criterion_hash in page
    assert 'href="claims.html"' in pages["index.html"].decode()
