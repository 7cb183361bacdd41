"""What steps cost: that the real ones are taken, and that tables and records are whole. No test looks at a time."""

import json
from collections import Counter

import pytest
import torch
from click.testing import CliRunner

from benchmark import ARCHITECTURES, WEIGHTINGS
from benchmark.cli import main
from benchmark.errors import UserError
from benchmark.grid import Filters, Grid, expand
from benchmark.spec import Component, Protocol
from benchmark.store import Store
from benchmark.tasks import KINDS, Task
from benchmark.training import estimate as prediction
from benchmark.training import speed
from benchmark.training.engine import Trainer
from benchmark.training.estimate import _cell, estimate, work
from benchmark.training.hardware import Hardware
from benchmark.training.workload import Stepper, Workload, limit, units

CPU = Hardware("cpu", "fp32", 1)
TASKS = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))
LOAD = Workload(TASKS, (3, 32, 32), 3, CPU)
EVERY = [name for name in WEIGHTINGS if not WEIGHTINGS[name].required]


def network(name="split", **options):
    return Component.of(ARCHITECTURES, name, {"width": 4} | options)


def weighting(name, **options):
    return Component.of(WEIGHTINGS, name, options)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_made_up_targets_are_valid_for_every_kind(kind):
    task = Task("it", kind, 3 if kind != "depth" else 1)
    split = Workload((task,), (3, 16, 16), 4, CPU).split()
    values = task.accumulator(torch.device("cpu"))
    prediction = torch.rand(4, task.channels, *((16, 16) if task.dense else ()))
    values.update(task.finish(prediction), split.targets["it"])
    assert all(value == value for value in values.compute().values())  # none is NaN
    assert task.loss(task.finish(prediction), split.targets["it"]) > 0
    assert torch.equal(split.images, Workload((task,), (3, 16, 16), 4, CPU).split().images)


@pytest.mark.parametrize("name", EVERY)
def test_a_measurement_takes_the_training_loops_steps(name, monkeypatch):
    taken = Counter()
    advance = Trainer.advance

    def counted(self, batch, diagnose=False):
        assert not diagnose
        taken[self] += 1
        return advance(self, batch, diagnose)

    monkeypatch.setattr(Trainer, "advance", counted)
    stepper = Stepper(network(), weighting(name), LOAD)
    before = [p.clone() for p in stepper.model.parameters()]
    (found,) = speed.measure_weightings(network(), [weighting(name)], weighting("equal"), LOAD, pairs=3)
    assert found.error is None
    steps = speed.WARM_UP + 3 + 1  # one step more shows the memory
    assert sorted(taken.values()) == [steps, steps + 1]  # equal takes one before all
    assert found.ratio.low <= found.ratio.median <= found.ratio.high
    assert found.kind == speed.cost_class(stepper.weighting)
    assert (found.met is None) == (found.limit is None)
    assert (found.kept_bytes > 0) == (
        found.kind in ("gradients", "representation") or bool(stepper.weighting.state_dict())
    )
    stepper.step()
    moved = [not torch.equal(p, q) for p, q in zip(before, stepper.model.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2


def test_rows_of_gradients_are_counted():
    stepper = Stepper(network(), weighting("mgda"), LOAD)
    shared = sum(p.numel() for p in stepper.model.shared_parameters())
    kept = stepper.kept_bytes()
    assert 4 * 4 * shared <= kept < 4 * 4 * (shared + 4096) + 100  # three rows and the direction, in whole blocks


def test_limits_by_hand():
    assert limit("gradients", 3) == pytest.approx(1.05 * 7 / 3)
    assert limit("gradients", 2) == pytest.approx(1.05 * 5 / 3)
    assert limit("representation", 3) == 1.3
    assert limit("losses", 3) == 1.05
    assert limit("again", 3) is None
    assert limit("lookahead", 3) is None
    assert units("losses", 5) == 3
    assert units("gradients", 5) == 11


def test_a_method_that_does_not_fit_is_told_and_the_others_go_on(toy):
    chosen = [weighting("mgda-ub"), weighting("sdmgrad"), weighting("dice")]
    small = Workload(TASKS, (3, 32, 32), 2, CPU)
    mtan = Component.of(ARCHITECTURES, "mtan", {"width": 4})
    first, second, third = speed.measure_weightings(mtan, chosen, weighting("equal"), small, pairs=1)
    assert "representation" in first.error
    assert "batch size is 2" in second.error
    assert third.error is None


def mtbench(*words):
    return CliRunner().invoke(main, ["speed", *words], catch_exceptions=False)


def test_the_command_shows_a_row_for_each_and_writes_a_record(tmp_path):
    file = tmp_path / "results" / "speed-here.json"
    words = ["--weightings", "--architecture", "split", "--architecture", "mtan", "--width", "4", "--size", "32x48"]
    names = ["equal", "cagrad", "mgda-ub", "dwa"]
    result = mtbench(
        *words, "--batch", "2", "--steps", "2", "--json", str(file), *(w for n in names for w in ("--weighting", n))
    )
    assert result.exit_code == 0, result.output + result.stderr
    assert "Not measured: mgda-ub" in result.output
    record = speed.load(file)
    assert [(r.architecture.name, r.weighting.name) for r in record.weightings] == [
        (a, n) for a in ("split", "mtan") for n in names
    ]
    assert [r.weighting.name for r in record.weightings if r.error] == ["mgda-ub"]
    assert (record.conditions.height, record.conditions.width, record.conditions.pairs) == (32, 48, 2)
    assert record.provenance.device == CPU.name
    assert speed.load_all(file.parent) == [record]
    assert Store(file.parent).scan() == ([], [])
    file.write_text(json.dumps(json.loads(file.read_text()) | {"weightings": 3}))
    with pytest.raises(UserError, match="no valid record"):
        speed.load(file)


def test_a_command_that_measured_nothing_exits_with_1(tmp_path):
    file = tmp_path / "speed.json"
    result = mtbench("--weighting", "mgda-ub", "--width", "4", "--size", "32x48", "--steps", "1", "--json", str(file))
    assert result.exit_code == 1
    assert "nothing could be measured" in result.stderr.strip().splitlines()[-1]
    assert "Not measured: mgda-ub" in result.output
    assert not file.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to measure: --weightings"),
        (["--weightings", "--weighting", "mgdaa"], "Did you mean 'mgda'?"),
        (["--weightings", "--architecture", "stan"], "'stan' shares nothing"),
        (["--weightings", "--size", "96"], "expected HEIGHTxWIDTH such as 96x128, found '96'"),
        (["--weightings", "--device", "cuda:77"], "no device 'cuda:77'"),
        (
            ["--weightings", "--size", "16x16", "--width", "4", "--architecture", "split"],
            "pictures of 16×16 pixels are too small",
        ),
    ],
)
def test_mistakes_end_in_one_line(words, message):
    result = mtbench(*words)
    assert result.exit_code == 2
    assert message in result.stderr.strip().splitlines()[-1]


def test_a_network_that_cannot_train_ends_in_one_line(toy):
    result = mtbench("--weightings", "--plugin", str(toy), "--architecture", "greedy")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert (
        "'greedy' cannot take a training step here (OutOfMemoryError: asked for too much); try another --size" in line
    )


def specs(*weightings):
    grid = Grid(
        seeds=(0,), architectures=("tiny",), weightings=weightings, datasets={"toy": {}},
        protocol={"epochs": 2, "batch_size": 4},
    )  # fmt: skip
    return expand(grid, Filters(architectures=["tiny"]))[1:]


def test_predictions_take_steps_with_the_runs_own_weighting(toy, monkeypatch):
    seen = []
    advance = Trainer.advance
    monkeypatch.setattr(
        Trainer, "advance", lambda self, b: seen.append(type(self.weighting).__name__) or advance(self, b)
    )
    found = specs("equal", "dwa", "mgda", "cagrad", "rlw")
    assert all(estimate(spec, Hardware("cpu", "fp32", 1, workers=7)).seconds > 0 for spec in found)
    assert set(seen) == {"NoneType", "MGDA"}  # those that look at the same things share a timing
    assert len({_cell(spec, CPU) for spec in found}) == 2


@pytest.fixture
def no_memory():
    """Timings that this test takes are its own."""
    for cached in (prediction._times, prediction._thought_of):
        cached.cache_clear()
    yield
    for cached in (prediction._times, prediction._thought_of):
        cached.cache_clear()


def wide(*weightings):
    grid = Grid(
        seeds=(0, 1), architectures=("split", "split-deep"), weightings=weightings, datasets={"toy": {}},
        architecture={"width": 4}, protocol={"epochs": 2, "batch_size": 4},
    )  # fmt: skip
    return expand(grid)


def test_dear_networks_take_plain_steps_and_the_cheapest_says_what_gradients_cost(toy, no_memory, monkeypatch):
    seen = Counter()
    advance = Trainer.advance

    def counted(self, batch):
        seen[sum(p.numel() for p in self.model.parameters()), type(self.weighting).__name__] += 1
        return advance(self, batch)

    monkeypatch.setattr(Trainer, "advance", counted)
    monkeypatch.setattr(prediction, "SHORT", 0.0)
    monkeypatch.setattr(prediction, "LONG", 0.0)
    found = wide("equal", "uncertainty", "mgda", "graddrop")
    assert all(cost.seconds > 0 for cost in prediction.estimates(found, CPU).values())
    plain = {size for size, name in seen if name == "NoneType"}
    assert len(plain) == 3  # single-task, split, split-deep
    assert set(seen.values()) == {1}
    dear = {(size, name) for size, name in seen if name != "NoneType"}
    assert {name for _, name in dear} == {"MGDA", "GradDrop"}
    assert len({size for size, _ in dear}) == 1


def test_a_prediction_is_steps_evaluations_and_a_beginning(toy, monkeypatch):
    spec = wide("equal")[-1]
    monkeypatch.setattr(prediction, "_times", lambda _: prediction._Times(9.0, 84.0, 20.0, 4.0, 0.5))
    # 2 epochs of 12 // 4 steps; 1 in 64 has 3 passes backwards more, each worth 2/3 of a step; 10 pictures evaluated
    # in each epoch, at 4 s for 4.
    expected = 0.5 + 6 * (20 + 64 + 2) + 2 * 10
    assert estimate(spec, CPU).seconds == pytest.approx(expected)


def test_of_a_dear_network_few_pictures_are_timed_and_what_does_not_grow_is_known_from_the_cheapest(toy, monkeypatch):
    cheap, dear = (s.model_copy(update={"protocol": Protocol(epochs=1, batch_size=12)}) for s in wide("equal")[1:3])
    small, gauge = _cell(dear, CPU, 10**15), _cell(cheap, CPU, 10**15)
    assert (small.batch, gauge.batch, _cell(dear, CPU, 10**6).batch) == (3, 3, 12)
    assert small.architecture != gauge.architecture

    def times(cell):
        # A picture is 2 s in the gauge's network and 5 s in the other; 4 times the optimiser's second do not grow.
        growing, optimizer = (2, 1) if cell.architecture == gauge.architecture else (5, 3)
        first = 4 * optimizer + growing * cell.batch
        return prediction._Times(first, first, optimizer, 0.0, 0.0)

    monkeypatch.setattr(prediction, "_times", times)
    assert prediction._grown(small, gauge) == pytest.approx(4 * 3 + 5 * 12)
    modo = wide("modo")[-1].model_copy(update={"protocol": Protocol(epochs=1, batch_size=9)})
    assert prediction._divisible(_cell(modo, CPU, 10**15)).batch == 6  # each third needs two pictures for batch norms


def test_a_grid_lasts_until_its_last_run_ends():
    assert prediction.makespan([], 4, 1.0) == 0
    assert prediction.makespan([3, 1, 1], 1, 0.5) == 5.5
    assert prediction.makespan([3, 1, 1], 2, 0.5) == 3.5
    assert prediction.makespan([1, 1, 3], 2) == 4  # the long one comes last
    assert prediction.makespan([2.0], 8) == 2


def test_the_gramian_rules_own_time_is_part_of_a_prediction(toy, no_memory):
    equal, mgda, _ = specs("equal", "mgda", "graddrop")
    assert prediction._thought(mgda) > 0
    assert prediction._thought(equal) == 0


def test_work_counts_the_backward_passes(toy):
    equal, mgda = work(specs("equal", "mgda")).values()
    # 12 pictures trained and 10 evaluated in each of 2 epochs; K = 3.
    assert mgda / equal == pytest.approx((12 * 7 + 10) / (12 * 3 + 10))
