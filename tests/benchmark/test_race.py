"""Races: which run comes next, that they go on where they were stopped, and that they save runs."""

import re
from functools import partial
from threading import Thread

import numpy as np
import pytest

import baselines  # noqa: F401 - registers the methods
from benchmark.analysis.contest import baseline_of, of_seed, row_of
from benchmark.analysis.contrasts import contrasts
from benchmark.analysis.race import Family, RaceState, ranking
from benchmark.analysis.verdicts import REFERENCE, Baseline, verdict_words
from benchmark.errors import UsageError
from benchmark.execution.executor import Ended
from benchmark.execution.leases import Leases
from benchmark.execution.race import Race
from benchmark.execution.scheduler import run_all
from benchmark.runs.store import Store
from benchmark.training.progress import Outcome
from tests import harness
from tests.benchmark.records import failed, record
from tests.benchmark.shell import one_line

pytestmark = pytest.mark.slow

CELLS = (("single-task", None), ("split-wide", "equal"), ("split-wide", "dwa"), ("mtan", "equal"), ("mtan", "dwa"))
ran = partial(record, epochs=1)  # a race looks at the last epoch alone
SPECS = [ran(*cell).spec for cell in CELLS]
HELD = [REFERENCE, Baseline(weighting="equal")]
#: Seeds of a row at most: with five, rows become better, worse, and stay undecided.
MOST = 5


# Which row comes next


def race_state(values, cost=None, seeds=20, pending=()):
    """Rows with so many values each, and room for more."""
    table = np.full((len(values), seeds), np.nan)
    for row, own in zip(table, values, strict=True):
        row[: len(own)] = own
    busy = np.zeros(table.shape, dtype=bool)
    for row in pending:
        busy[row, len(values[row])] = True
    costs = np.ones(len(values)) if cost is None else np.array(cost, dtype=float)
    return RaceState(table, np.isfinite(table), busy, costs, np.ones(len(values), dtype=bool))


def around(mean, count, seed=0):
    """Numbers with exactly this mean, and an SD of 1."""
    noise = np.random.default_rng(seed).normal(size=count)
    return mean + (noise - noise.mean()) / noise.std(ddof=1)


def against_last(rows):
    return [Family(np.arange(rows - 1), np.full(rows - 1, rows - 1), rows - 1)]


def order(found):
    return [row for _, row in found]


def test_every_compared_row_gets_three_seeds_first_and_the_baseline_before_its_rows():
    found = ranking(race_state([[], [1.0], [], []]), [Family(np.array([0, 1]), np.array([2, 2]), 2)])
    assert order(found) == [2, 0, 1]  # the last row is in no comparison
    assert found[0][0] == np.inf


def test_what_is_decided_gets_nothing_and_what_is_near_comes_before_what_is_far():
    rows = [around(30, 6, 1), around(1.6, 6, 2), around(1.1, 6, 3), around(0, 12, 4)]
    found, words = against_last(4)[0].judge(race_state(rows).values, 2.0)
    assert words.tolist() == [False, True, True]
    asked = order(ranking(race_state(rows), against_last(4)))
    assert asked[0] == 1
    assert set(asked) == {1, 2, 3}
    assert found.difference[0] == pytest.approx(30)


def test_nothing_is_asked_for_once_all_is_decided():
    assert ranking(race_state([around(30, 6, 1), around(-20, 6, 2), around(0, 6, 3)]), against_last(3)) == []


def test_a_dear_run_comes_after_a_cheap_one():
    rows = [around(1.5, 6, 1), around(1.5, 6, 1), around(0, 20, 4)]
    assert order(ranking(race_state(rows, cost=[3, 1, 1]), against_last(3))) == [1, 0]


def test_runs_under_way_count_as_if_they_were_done():
    rows = [around(2.1, 6, 1), around(1.5, 6, 1), around(0, 20, 4)]
    assert order(ranking(race_state(rows), against_last(3))) == [0, 1]
    # One more run is expected to decide the first row; it stays the second choice until that is known.
    assert order(ranking(race_state(rows, pending=[0]), against_last(3))) == [1, 0]
    assert race_state(rows, pending=[0]).next_seed(0) == 7


def test_a_row_with_all_its_seeds_gets_no_more():
    rows = [around(1.0, 20, 1), around(1.0, 6, 2), around(0, 20, 4)]
    assert order(ranking(race_state(rows), against_last(3))) == [1]


def test_a_baseline_that_is_ahead_of_its_rows_waits_for_them_where_seeds_are_compared_with_each_other():
    shared = around(0, 12, 4)
    rows = [3 * shared[:5] + around(1.5, 5, k) for k in range(6)]
    family = against_last(7)[0]
    found, _ = family.judge(race_state([*rows, 3 * shared]).values, 2.0)
    assert np.all(found.paired)
    assert set(order(ranking(race_state([*rows, 3 * shared]), [family]))) == set(range(6))
    assert 6 in order(ranking(race_state([*rows, 3 * shared[:5]]), [family]))  # level with them, it goes on with them


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    rows = [around(rng.normal(0, 3), rng.integers(4, 9), k) for k in range(8)]
    mixed = rng.permutation(7).tolist()
    found = order(ranking(race_state(rows), against_last(8)))
    other = order(ranking(race_state([*(rows[k] for k in mixed), rows[7]]), against_last(8)))
    assert [(*mixed, 7)[row] for row in other] == found


def test_a_race_takes_two_fifths_fewer_runs_than_equal_seeds_for_the_same_number_of_verdicts():
    """Rows with SDs as in the study's pilot; scripts/simulate_verdicts.py does it in full."""
    saved = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        deviation = np.exp(rng.uniform(np.log(0.6), np.log(1.8), (13, 1)))
        truth = np.append(rng.normal(0, 4, 12), 0)[:, None] + deviation * rng.normal(size=(13, 40))
        family, now, runs = against_last(13), race_state([[]] * 13, seeds=40), 0
        while (found := ranking(now, family)) and runs < 400:
            row = found[0][1]
            place = row, now.next_seed(row)
            now.values[place], now.tried[place], runs = truth[place], True, runs + 1
        decided = 12 - family[0].judge(now.values, 2.0)[1].sum()
        equal = next((n for n in range(3, 41) if 12 - family[0].judge(truth[:, :n], 2.0)[1].sum() >= decided), 40)
        saved.append(1 - runs / (13 * equal))
    assert np.mean(saved) >= 0.4


# Races on a store


class Quick:
    """Gives made-up records, a run at a time; ``last`` is how many it gives until it is killed."""

    stores = False

    def __init__(self, last=None):
        self.last, self.waiting, self.done = last, [], []

    def free(self):
        return 1 - len(self.waiting)

    def submit(self, spec):
        if self.last is not None and len(self.done) >= self.last:
            raise KeyboardInterrupt
        self.waiting.append(spec)

    def events(self, timeout):
        (spec,) = self.waiting
        self.waiting = []
        self.done.append(spec.id)
        weighting = spec.weighting.name if spec.weighting else None
        return [Ended(spec.id, Outcome(ran(spec.architecture.name, weighting, seed=spec.seed), None, None))]

    def cancel(self, run):
        pass

    def close(self):
        return []


def racing(root, most=MOST):
    return Race(SPECS, Store(root), HELD, margin=1.0, most=most)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a race that nobody disturbed, and the race."""
    root = tmp_path_factory.mktemp("whole")
    return root, go(root, Quick())


def go(root, executor, most=MOST):
    race = racing(root, most)
    store = Store(root)
    run_all(
        [], store=store, executor=executor, observer=harness.Silent(), hardware=harness.CPU,
        leases=Leases(store.private / "claims"), supply=race.next,
    )  # fmt: skip
    return race


def kept(root):
    return sorted(found.id for found in Store(root).scan()[0])


def verdicts_of(race):
    (contest,) = race.load_contests()
    return [contest.verdicts(baseline, 1.0)["verdict"].tolist() for baseline in HELD]


def test_a_race_ends_when_all_is_decided_or_every_open_row_has_its_seeds(whole):
    _, race = whole
    assert race.next() is None
    (contest,) = race.load_contests()
    seeds = {row: sum(row_of(found.spec) == row for found in contest.records) for row in contest.cells}
    assert set(seeds.values()) <= set(range(3, MOST + 1))
    for baseline in HELD:
        for line in contest.verdicts(baseline, 1.0).itertuples():
            if line.verdict == "undecided":
                assert seeds[line.architecture, line.weighting] == MOST
    assert race.open_verdicts() == sum(words.count("undecided") for words in verdicts_of(race))


def test_a_race_that_is_killed_and_given_again_ends_in_the_same_records(whole, tmp_path):
    root, race = whole
    for last in (1, 4, 9):
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "killed", Quick(last))
    resumed = go(tmp_path / "killed", Quick())
    assert kept(tmp_path / "killed") == kept(root)
    assert verdicts_of(resumed) == verdicts_of(race)


def test_the_same_records_give_the_same_next_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, Quick(12))
    assert {racing(tmp_path).next().id for _ in range(3)} == {racing(tmp_path).next().id}


def test_two_runners_do_no_run_twice_and_come_to_the_same_verdicts(whole, tmp_path):
    _, alone = whole
    executors = [Quick(), Quick()]
    threads = [Thread(target=go, args=(tmp_path / "two", executor)) for executor in executors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [run for executor in executors for run in executor.done]
    assert sorted(done) == kept(tmp_path / "two")
    assert verdicts_of(racing(tmp_path / "two")) == verdicts_of(alone)


def test_what_another_runner_has_claimed_is_not_chosen(tmp_path):
    first = racing(tmp_path).next()
    with Leases(Store(tmp_path).private / "claims") as other:
        assert other.take(first.id)
        second = racing(tmp_path).next()
    assert second.id != first.id
    assert racing(tmp_path).next([first.id]).id == second.id
    assert Race(SPECS, Store(tmp_path), HELD, margin=1.0, most=MOST, max_concurrent=1).next([first.id]) is None


def test_a_cell_that_never_ends_well_is_given_up(tmp_path):
    store = Store(tmp_path)
    for seed in range(3):
        for cell in CELLS:
            found = ran(*cell, seed=seed)
            store.put(failed(found, "diverged") if cell == ("mtan", "dwa") else found)
    race = go(tmp_path, Quick())
    (contest,) = race.load_contests()
    assert sum(row_of(found.spec) == row_of(SPECS[4]) for found in contest.records) == 3
    assert race.open_verdicts() >= 2  # the row's, against the reference and against equal


def test_rows_of_other_grids_share_the_error_and_get_no_seeds(tmp_path):
    store = Store(tmp_path)
    for seed in range(3):
        for cell in (*CELLS, ("dense", "equal"), ("dense", "dwa")):
            store.put(ran(*cell, seed=seed))
    race = go(tmp_path, Quick())
    (contest,) = race.load_contests()
    assert len(contest.pairs(REFERENCE)) == 6
    assert sum(found.spec.architecture.name == "dense" for found in contest.records) == 6
    assert contest.families(HELD)[0].size == 6


def test_a_run_of_another_seed_has_an_id_of_its_own():
    spec = SPECS[1]
    assert of_seed(spec, 5).id == ran("split-wide", "equal", seed=5).spec.id != spec.id
    assert of_seed(spec, spec.seed) == spec


def test_baselines_are_named_by_methods():
    assert baseline_of("single-task") == REFERENCE
    assert baseline_of("split") == Baseline(architecture="split")
    assert baseline_of("dwa") == Baseline(weighting="dwa")
    with pytest.raises(UsageError, match="neither an architecture nor a weighting"):
        baseline_of("splitt")


def test_a_grid_without_a_reference_cannot_race(tmp_path):
    with pytest.raises(UsageError, match=r"one single-task reference .* found none for split-wide, mtan"):
        Race(SPECS[1:], Store(tmp_path), HELD, margin=1.0, most=6)


# The commands


def test_race_and_plan_from_the_command_line(here, mtbench):
    words = ["--grid", "grid.toml", "--plugin", str(mtbench.plugin), "--baseline", "equal", "--baseline", "single-task"]
    empty = mtbench("plan", *words)
    assert empty.exit_code == 0, empty.output
    assert "not known" in empty.output
    dry = mtbench("race", *words, "--max-seeds", "3", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "The next run is" in dry.output
    assert mtbench.records == {}
    raced = mtbench("race", *words, "--max-seeds", "3")
    assert raced.exit_code == 0, raced.output
    assert len(mtbench.records) == 9
    assert "open still" in raced.output or "All is decided" in raced.output
    before = mtbench.records
    assert mtbench("race", *words, "--max-seeds", "3").exit_code == 0
    assert mtbench.records == before
    planned = mtbench("plan", *words)
    assert planned.exit_code == 0, planned.output
    assert "SD of a row's Δm" in planned.output
    assert "further runs" in planned.output


def test_settings_of_one_data_set_have_their_names(here, mtbench):
    path = mtbench.folder / "axes.toml"
    path.write_text((mtbench.folder / "grid.toml").read_text() + '\n[axes]\n"protocol.weight_decay" = [0.0, 0.5]\n')
    words = ["--grid", str(path), "--plugin", str(mtbench.plugin), "--baseline", "equal"]
    for found in (mtbench("plan", *words), mtbench("race", *words, "--dry-run")):
        assert found.exit_code == 0, found.output
        for value in ("0.0", "0.5"):
            assert f" at protocol.weight_decay {value}: Δm" in found.output
    assert re.search(r"The next run is .* seed 0 at protocol\.weight_decay 0\.[05]\.", found.output)
    assert " at " not in mtbench("race", "--grid", "grid.toml", *words[2:], "--dry-run").output


def test_a_race_whose_time_is_up_says_how_to_go_on(here, mtbench):
    words = ["--grid", "grid.toml", "--plugin", str(mtbench.plugin), "--baseline", "equal", "--budget", "0s"]
    found = mtbench("race", *words)
    assert found.exit_code == 0, found.output
    assert "To go on: mtbench race" in found.output


def test_an_unknown_baseline_is_one_line(mtbench):
    words = ["--grid", "grid.toml", "--plugin", str(mtbench.plugin)]
    one_line(mtbench("race", *words, "--baseline", "equals"), 2, "equals")
    one_line(mtbench("plan", *words, "--baseline", "equals"), 2, "equals")


def test_verdict_words_follow_the_interval():
    low, high = np.array([0.1, -3, -1, -3]), np.array([3, -0.1, 1, 3])
    assert verdict_words(low, high, 2.0).tolist() == ["better", "worse", "equivalent", "undecided"]
    found = contrasts(np.ones((1, 2)), np.zeros((1, 2)), rows=1)
    assert np.isinf(found.half).all()
