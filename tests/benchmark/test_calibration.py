"""What a step of each of a board's rows costs, relative to one of them."""

import json
from typing import ClassVar

import pytest
from click.testing import CliRunner

from benchmark.analysis import boards
from benchmark.analysis.boards import row_of
from benchmark.cli import main
from benchmark.commands.calibrate import baseline_of
from benchmark.errors import UserError
from benchmark.runs.index import Index
from benchmark.runs.packing import merge
from benchmark.runs.record import Numerics
from benchmark.runs.spec import Component, RunSpec
from benchmark.runs.store import Store
from benchmark.speed import Alone, calibration
from benchmark.speed.alone import JobResult
from benchmark.speed.calibration import CalibratedRow, Calibration, measure_rows
from benchmark.speed.record import Spread
from benchmark.speed.workload import Stepper, Workload
from benchmark.training.hardware import Hardware
from tests.benchmark.records import fill, record

pytestmark = pytest.mark.slow

CPU = {"device": "a processor", "precision": "fp32", "threads": 1}
TINY = {"data_options": {"height": 36, "width": 48, "train": 8, "val": 4, "test": 4}, "place": CPU}
TRAINED = {"options": {"width": 4, "backbone": "segnet"}, "protocol": {"batch_size": 2}}


def cell(architecture, weighting=None, **changes):
    return record(architecture, weighting, epochs=2, **TINY, **TRAINED, **changes)


ROWS = [cell("single-task"), cell("split", "equal"), cell("split", "dwa"), cell("dense", "equal")]


def board_of(store):
    (board,) = boards(Index(store).records())
    return board


def calibrate(store, *words):
    return CliRunner().invoke(main, ["calibrate", "--results", str(store.root), "--device", "cpu", *words])


class FakeStepper:
    """Steps that take as long as the plan says, by the names of the methods."""

    plans: ClassVar[dict] = {}
    periods: ClassVar[dict] = {}

    def __init__(self, architecture, weighting, load):
        self.name, self.load, self.taken = weighting.name if weighting else architecture.name, load, 0
        self.weighting = type("W", (), {"period": self.periods.get(self.name, 1)}) if weighting else None
        if self.name not in self.plans:
            raise RuntimeError("out of luck")

    def step(self):
        plan = self.plans[self.name]
        self.taken += 1
        return plan[(self.taken - 1) % len(plan)]


@pytest.fixture
def planned(monkeypatch):
    monkeypatch.setattr(calibration, "Stepper", FakeStepper)
    monkeypatch.setattr(FakeStepper, "plans", {"equal": [1.0], "dwa": [1.1], "single-task": [3.0]})
    monkeypatch.setattr(FakeStepper, "periods", {})
    monkeypatch.setattr(Hardware, "set_up", lambda self: None)
    monkeypatch.setattr(Alone, "run", lambda self, job: JobResult((), 1000, None, 0))

    def measure(*weightings, steps):
        specs = [cell("split", name).spec for name in weightings]
        load = Workload.from_run(ROWS[1].spec, Hardware("cpu", "fp32", 1))
        return list(measure_rows(specs, ROWS[1].spec, load, steps=steps))

    return measure


def test_a_ratio_is_that_of_neighbouring_steps(planned):
    equal, dwa = planned("equal", "dwa", steps=6)
    assert dwa.ratio == Spread(low=1.1, median=1.1, high=1.1)
    assert (dwa.seconds.median, dwa.baseline_seconds.median, dwa.steps, dwa.grouped) == (1.1, 1.0, 6, 2)
    assert (equal.ratio.low, equal.ratio.median, equal.ratio.high) == (1, 1, 1)


def test_steps_of_several_kinds_count_as_often_as_a_run_takes_them(planned):
    FakeStepper.plans["nash-mtl"] = [5.0, 1.0, 1.0, 1.0, 1.0]
    FakeStepper.periods["nash-mtl"] = 5
    (row,) = planned("nash-mtl", steps=12)
    assert row.ratio.median == pytest.approx(9 / 5)  # a median of single steps would say 1
    assert (row.steps, row.grouped) == (15, 5)


def test_what_repeats_is_declared_by_the_methods_options():
    load = Workload.from_run(ROWS[1].spec, Hardware("cpu", "fp32", 1))
    nash = Component(name="nash-mtl", version=1, options={"update_weights_every": 3})
    assert Stepper(ROWS[1].spec.architecture, nash, load).weighting.period == 3
    assert Stepper(ROWS[1].spec.architecture, ROWS[1].spec.weighting, load).weighting.period == 1


def test_steps_are_those_of_the_boards_own_training():
    spec = cell("split", "equal").spec
    protocol = spec.protocol.model_copy(update={"optimizer": "adamw", "weight_decay": 0.05})
    changed = RunSpec(**{name: getattr(spec, name) for name in RunSpec.model_fields} | {"protocol": protocol})
    stepper = Stepper(spec.architecture, spec.weighting, Workload.from_run(changed, Hardware("cpu", "fp32", 1)))
    assert [group["weight_decay"] for group in stepper.trainer.optimizer.param_groups] == [0.05, 0.0]
    assert len(stepper.batch.images) == 2


def test_a_row_that_cannot_take_a_step_is_told_and_the_others_go_on(planned):
    rows = planned("mgda", "dwa", steps=2)
    assert rows[0].error == "RuntimeError: out of luck"
    assert rows[0].ratio is None
    assert rows[1].ratio.median == 1.1


def test_a_baseline_that_cannot_take_a_step_ends_the_board(planned):
    del FakeStepper.plans["equal"]
    with pytest.raises(UserError, match=r"'split · equal', .* cannot take a step \(RuntimeError: out of luck\)"):
        planned("dwa", steps=2)


def test_a_board_is_calibrated_by_one_command(tmp_path):
    store = fill(tmp_path, ROWS, pictures=False)
    assert calibration.load(store, board_of(store)) is None
    result = calibrate(store, "--steps", "2")
    assert result.exit_code == 0, result.output + result.stderr
    found = calibration.load(store, board_of(store))
    assert {row.key for row in found.rows} == {row_of(r.spec) for r in ROWS}
    assert found.relative(row_of(ROWS[1].spec)) == (1, 1, 1)
    assert found.relative_memory(row_of(ROWS[1].spec)) == 1
    median, low, high = found.relative(row_of(ROWS[0].spec))
    assert 0 < low <= median <= high
    assert found.relative(("a", "b")) is None
    assert found.relative_memory(("a", "b")) is None
    assert found.baseline_words == "split · equal"
    assert "1 thread, native fp32, PyTorch" in found.words
    assert "split · equal" in result.output
    assert not Store(tmp_path).scan()[1]  # the file is no damaged record
    assert len(list(Index(store).records())) == len(ROWS)


def test_rows_that_are_known_stay_and_missing_ones_are_added(tmp_path, planned):
    store = fill(tmp_path, ROWS[:2], pictures=False)
    assert calibrate(store, "--steps", "2").exit_code == 0
    FakeStepper.plans |= {"single-task": [4.0], "dwa": [2.0]}
    fill(tmp_path, [ROWS[2]], pictures=False)
    assert calibrate(store, "--steps", "2").exit_code == 0
    found = calibration.load(store, board_of(store))
    assert [found.relative(row_of(r.spec))[0] for r in ROWS[:3]] == [3.0, 1.0, 2.0]
    assert calibrate(store, "--steps", "2", "--again").exit_code == 0
    assert calibration.load(store, board_of(store)).relative(row_of(ROWS[0].spec))[0] == 4.0


def test_rows_of_other_conditions_do_not_stay(tmp_path, planned):
    store = fill(tmp_path, ROWS[:3], pictures=False)
    FakeStepper.plans["dwa"] = []  # an IndexError at its step
    assert calibrate(store, "--steps", "2").exit_code == 0
    FakeStepper.plans |= {"single-task": [4.0], "dwa": [2.0]}
    assert calibrate(store, "--steps", "2", "--threads", "2").exit_code == 0
    found = calibration.load(store, board_of(store))
    assert [found.relative(row_of(r.spec))[0] for r in ROWS[:3]] == [4.0, 1.0, 2.0]
    assert "2 threads" in found.heading


def test_a_row_that_failed_is_tried_again(tmp_path, planned):
    store = fill(tmp_path, ROWS[:3], pictures=False)
    del FakeStepper.plans["dwa"]
    result = calibrate(store, "--steps", "2")
    assert "Not measured: split · dwa: RuntimeError: out of luck" in result.output
    assert calibration.load(store, board_of(store)).relative(row_of(ROWS[2].spec)) is None
    FakeStepper.plans["dwa"] = [2.0]
    assert calibrate(store, "--steps", "2").exit_code == 0
    assert calibration.load(store, board_of(store)).relative(row_of(ROWS[2].spec))[0] == 2.0


def test_the_reference_stands_in_where_no_split_is():
    (board,) = boards([ROWS[0], ROWS[3]])
    assert baseline_of(board).architecture.name == "single-task"
    (alone,) = boards([ROWS[3]])
    with pytest.raises(UserError, match="neither split · equal nor a single-task reference"):
        baseline_of(alone)


def test_of_several_rows_of_the_same_name_the_usual_one_is_the_baseline():
    scaled = cell("split", "equal", weighting_options={"scale": 2})
    (board,) = boards([ROWS[0], scaled, ROWS[1]])
    assert baseline_of(board) == ROWS[1].spec


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:40], "cannot be read"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 9'), "has schema 9; this suite reads 1"),
        (lambda text: json.dumps(json.loads(text) | {"board": "f" * 16}), "is of the board ffffffffffffffff"),
        (lambda text: json.dumps(json.loads(text) | {"rows": "none"}), "is no valid record"),
    ],
)
def test_an_unusable_file_is_one_line_that_says_how_to_mend_it(tmp_path, planned, edit, message):
    store = fill(tmp_path, ROWS[:3], pictures=False)
    board = board_of(store)
    calibrate(store, "--steps", "2")
    path = calibration.file_of(store, board)
    path.write_text(edit(path.read_text()))
    with pytest.raises(UserError, match=message) as error:
        calibration.load(store, board)
    assert "mtbench calibrate" in str(error.value)
    assert calibrate(store, "--steps", "2").exit_code == 0
    assert calibration.load(store, board).relative(row_of(ROWS[2].spec))[0] == 1.1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--board", "ffff"], "there is no board 'ffff' in"),
        (["--dataset", "nyuv2"], "there is no board of the data set 'nyuv2' in"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, words, message):
    store = fill(tmp_path, ROWS[:2], pictures=False)
    result = calibrate(store, *words)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert message in line


def test_a_board_without_a_baseline_does_not_stop_the_others(tmp_path, planned):
    store = fill(tmp_path, [*ROWS[:2], record("dense", "equal", epochs=3, **TINY)], pictures=False)
    result = calibrate(store, "--steps", "2")
    assert result.exit_code == 1
    assert "Not calibrated: the board" in result.output
    assert "1 of 2 boards not calibrated" in result.stderr
    assert len(list(tmp_path.glob("scenes/costs-*.json"))) == 1


def test_merging_takes_what_is_missing(tmp_path):
    source = fill(tmp_path / "a", ROWS[:2], pictures=False)
    board = board_of(source)
    numerics = Numerics(arithmetic="native", instruction_set="AVX2", variables={}, libraries={})
    origin = ROWS[0].provenance.model_copy(update={"numerics": numerics})
    architecture, weighting = ROWS[1].spec.architecture, ROWS[1].spec.weighting
    row = CalibratedRow(architecture=architecture, weighting=weighting, error="none")
    made = Calibration(board=board.key, baseline=(architecture, weighting), rows=(row,), provenance=origin)
    calibration.save(made, source, board)
    target = Store(tmp_path / "b")
    merge(target, [source])
    assert calibration.load(target, board) == made
