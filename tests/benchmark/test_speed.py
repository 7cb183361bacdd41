"""What steps cost: that the real ones are taken, and that tables and records are whole. No test looks at a time."""

import json
from collections import Counter

import pytest
import torch
from click.testing import CliRunner

from benchmark import ARCHITECTURES, WEIGHTINGS, speed
from benchmark.cli import main
from benchmark.errors import UserError
from benchmark.execution.local import RUN_PROCESSES
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import Grid
from benchmark.runs.spec import Component, Protocol
from benchmark.runs.store import Store
from benchmark.speed import estimate as prediction
from benchmark.speed.estimate import _step_kind, estimate, run_flops
from benchmark.speed.workload import Stepper, Workload, cost_class, relative_cost_limit, step_forward_passes
from benchmark.tasks import KINDS, Task
from benchmark.training.engine import Trainer
from benchmark.training.hardware import Hardware

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)
TASKS = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))
LOAD = Workload(TASKS, (3, 32, 32), 3, CPU)
#: For a network of few layers: what a weighting's step consists of does not depend on how deep the network is.
SMALL = Workload(tuple(Task(name, "classification", 3) for name in "abc"), (3, 16, 16), 3, CPU)
#: One weighting for each kind of step, and one with a memory of past losses.
WEIGHED = ("equal", "uncertainty", "dwa", "famo", "gradnorm", "auto-lambda", "mgda", "graddrop", "modo", "mgda-ub")


def network(name="split", **options):
    return Component.from_registry(ARCHITECTURES, name, {"width": 4} | options)


def weighting(name, **options):
    return Component.from_registry(WEIGHTINGS, name, options)


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


@pytest.mark.parametrize("name", WEIGHED)
def test_a_measurement_takes_the_training_loops_steps(name, monkeypatch):
    taken = Counter()
    advance = Trainer.advance

    def counted(self, batch, diagnose=False):
        assert not diagnose
        taken[self] += 1
        return advance(self, batch, diagnose)

    monkeypatch.setattr(Trainer, "advance", counted)
    small = network(backbone="wrn-10")
    stepper = Stepper(small, weighting(name), SMALL)
    before = [p.clone() for p in stepper.model.parameters()]
    (found,) = speed.measure_weightings(small, [weighting(name)], weighting("equal"), SMALL, pairs=3)
    assert found.error is None
    steps = speed.WARM_UP + 3
    assert sorted(taken.values()) == [steps, steps + 1]  # equal takes one before all
    assert found.ratio.low <= found.ratio.median <= found.ratio.high
    assert found.kind == cost_class(stepper.weighting)
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
    assert relative_cost_limit("gradients", 3) == pytest.approx(1.05 * 7 / 3)
    assert relative_cost_limit("gradients", 2) == pytest.approx(1.05 * 5 / 3)
    assert relative_cost_limit("representation", 3) == 1.3
    assert relative_cost_limit("losses", 3) == 1.05
    assert relative_cost_limit("again", 3) is None
    assert relative_cost_limit("lookahead", 3) is None
    assert step_forward_passes("losses", 5) == 3
    assert step_forward_passes("gradients", 5) == 11


def test_a_method_that_does_not_fit_is_told_and_the_others_go_on(toy):
    chosen = [weighting("mgda-ub"), weighting("sdmgrad"), weighting("dice")]
    small = Workload(TASKS, (3, 32, 32), 2, CPU)
    mtan = Component.from_registry(ARCHITECTURES, "mtan", {"width": 4})
    first, second, third = speed.measure_weightings(mtan, chosen, weighting("equal"), small, pairs=1)
    assert "representation" in first.error
    assert "batch size is 2" in second.error
    assert third.error is None


@pytest.fixture
def small_operations(monkeypatch):
    """The machine's peak in no time."""
    monkeypatch.setattr("benchmark.speed.peak.MATRIX", {"cpu": 64})
    monkeypatch.setattr("benchmark.speed.peak.MAPS", {"cpu": (1, 8, 8, 8)})


def mtbench(*words):
    device = [] if "--device" in words else ["--device", "cpu"]  # whatever else this machine has
    return CliRunner().invoke(main, ["speed", *device, *words], catch_exceptions=False)


def test_the_command_shows_a_row_for_each_and_writes_a_record(tmp_path):
    file = tmp_path / "results" / "speed-here.json"
    words = ["--weightings", "--architecture", "split", "--architecture", "mtan", "--width", "4", "--size", "32x48"]
    names = ["equal", "mgda-ub", "dwa"]
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
    assert [speed.load(path) for path in speed.files(file.parent)] == [record]
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
        (["--weightings", "--growth"], "--weightings and --growth are two measurements"),
        (["--growth", "--weighting", "mgda"], "--weightings and --growth are two measurements"),
        (["--architecture", "mtam"], "Did you mean 'mtan'?"),
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


def test_networks_are_set_beside_their_plain_selves(tmp_path, small_operations):
    file = tmp_path / "speed.json"
    words = ["--architecture", "split", "--architecture", "single-task", "--width", "4", "--size", "32x32"]
    result = mtbench(*words, "--batch", "2", "--steps", "2", "--threads", "1", "--json", str(file))
    assert result.exit_code == 0, result.output + result.stderr
    record = speed.load(file)
    split, alone = record.architectures
    assert (split.architecture.name, alone.architecture.name) == ("split", "single-task")
    for row in (split, alone):
        assert row.error is None
        assert row.ratio.low <= row.ratio.median <= row.ratio.high
        assert row.peak_bytes > 0
        assert row.plain_peak_bytes > 0
        assert record.share(row) > 0
    assert alone.parameters > 2.9 * split.parameters
    assert record.times_plain == pytest.approx((split.ratio.median * alone.ratio.median) ** 0.5)
    assert {peak.operation for peak in record.peaks} == {"matmul", "convolution"}
    assert record.peak("fp32") == max(peak.rate.median for peak in record.peaks if peak.precision == "fp32")
    assert record.provenance.threads == 1
    assert f"{record.times_plain:.2f} times as fast as plain" in result.output


def test_a_steps_operations_by_hand():
    """Every convolution multiplies forward, and backward for its weights and its input."""
    with speed.Alone(RUN_PROCESSES) as alone:
        found = alone.run(speed.Job(network(width=4), None, LOAD, plain=True, count=True))
        own = alone.run(speed.Job(network(width=4), None, LOAD, count=True))
    sizes = {}
    model = Stepper(network(width=4), None, LOAD).model
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, i, o, name=name: sizes.update({name: 2 * o.numel() * m.weight[0].numel()})
            )
    model(torch.rand(3, 3, 32, 32))
    forward = sum(sizes.values())
    assert found.flops == own.flops == 3 * forward - sizes["trunk.0.first.0"]  # pictures need no gradient
    assert found.parameters == sum(p.numel() for p in model.parameters())


def test_memory_is_that_of_the_network_alone():
    """Twice the batch holds about twice as much, whatever the process holds besides.

    About: kernels have scratch memory of their own, by processor (one with AVX2 alone held 2.7 times as much).
    """
    held = []
    with speed.Alone(RUN_PROCESSES) as alone:
        for batch in (8, 16, 32):
            load = Workload(TASKS, (3, 64, 64), batch, CPU)
            held.append(alone.run(speed.Job(network(width=8), weighting("equal"), load)).peak_bytes)
    first, second = held[1] - held[0], held[2] - held[1]
    assert 1.5 * first < second < 3 * first


def test_a_process_that_is_killed_is_told_and_the_next_one_works(toy):
    with speed.Alone(RUN_PROCESSES, (toy,)) as alone:
        with pytest.raises(UserError, match="the process was killed, as the kernel does when memory runs out"):
            alone.run(speed.Job(Component.from_registry(ARCHITECTURES, "suicidal", {}), None, LOAD))
        assert alone.run(speed.Job(network(), None, LOAD, steps=2)).seconds


def test_a_network_under_which_no_weighting_can_be_measured_does_not_stop_the_others(tmp_path):
    words = ["--weighting", "mgda-ub", "--architecture", "mtan", "--architecture", "split", "--width", "4"]
    result = mtbench(*words, "--size", "32x32", "--batch", "2", "--steps", "1", "--json", str(tmp_path / "speed.json"))
    assert result.exit_code == 0, result.output + result.stderr
    assert [row.error is None for row in speed.load(tmp_path / "speed.json").weightings] == [False, True]


def test_growth_has_a_curve_for_each_network_and_axis(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.speed.growth.TASKS", (1, 4))
    file = tmp_path / "speed-growth.json"
    words = ["--growth", "--architecture", "split", "--width", "4", "--size", "48x48", "--batch", "2", "--steps", "1"]
    result = mtbench(*words, "--threads", "1", "--json", str(file))
    assert result.exit_code == 0, result.output + result.stderr
    curves = {curve.axis: curve for curve in speed.load(file).growth}
    assert [point.label for point in curves["batch"].points] == ["1", "2", "4", "8"]
    assert [point.label for point in curves["pixels"].points] == ["24 × 24", "48 × 48", "72 × 72", "96 × 96"]
    assert "too small for this backbone" in curves["pixels"].points[0].error
    assert [point.amount for point in curves["tasks"].points] == [1, 4]
    assert [point.amount for point in curves["width"].points] == [1, 2, 4, 8]
    assert curves["batch"].exponent("flops") == pytest.approx(1)
    assert 1.5 < curves["width"].exponent("flops") < 2
    crossing = {(c.axis, p.seconds, p.flops) for c in curves.values() for p in c.points if p.amount in (2, 48 * 48)}
    assert len({seconds for axis, seconds, _ in crossing if axis in ("batch", "pixels")}) == 1  # measured once
    assert "Not measured: split, 24 × 24" in result.output


def test_records_from_before_networks_and_growth_were_measured_are_read(tmp_path):
    file = tmp_path / "speed.json"
    words = ["--weighting", "dwa", "--architecture", "split", "--width", "4", "--size", "32x32", "--batch", "2"]
    assert mtbench(*words, "--steps", "1", "--json", str(file)).exit_code == 0
    record = speed.load(file)
    old = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("peaks", "architectures", "growth")}
    file.write_text(json.dumps(old))
    assert speed.load(file) == record


def test_exponents_of_powers():
    points = [
        speed.GrowthPoint(amount=n, label="", seconds=speed.Spread.from_values([3e-3 * n**1.5])) for n in (1, 2, 8)
    ]
    gone = speed.GrowthPoint(amount=64, label="", error="gone")
    curve = speed.GrowthCurve(architecture=network(), axis="tasks", points=(*points, gone))
    assert curve.exponent("seconds") == pytest.approx(1.5)
    assert curve.exponent("bytes") is None
    assert speed.GrowthCurve(architecture=network(), axis="tasks", points=points[:1]).exponent("seconds") is None


def test_where_nothing_can_be_measured_the_command_fails(toy, small_operations):
    result = mtbench("--plugin", str(toy), "--architecture", "greedy", "--threads", "1", "--steps", "1")
    assert result.exit_code == 1
    assert "Not measured: greedy: OutOfMemoryError: asked for too much" in result.output
    (line,) = result.stderr.strip().splitlines()
    assert "nothing could be measured: the lines above say why" in line


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
    assert len({_step_kind(spec, CPU) for spec in found}) == 2


@pytest.fixture
def no_memory():
    """Timings that this test takes are its own."""
    for cached in (prediction._seconds, prediction._timed_rule):
        cached.cache_clear()
    yield
    for cached in (prediction._seconds, prediction._timed_rule):
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
    monkeypatch.setattr(prediction, "SHORT_STEP", 0.0)
    monkeypatch.setattr(prediction, "LONG_STEP", 0.0)
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
    monkeypatch.setattr(prediction, "_seconds", lambda _: prediction._Seconds(9.0, 84.0, 20.0, 4.0, 0.5))
    # 2 epochs of 12 // 4 steps; 1 in 64 has 3 passes backwards more, each worth 2/3 of a step; 10 pictures evaluated
    # in each epoch, at 4 s for 4.
    expected = 0.5 + 6 * (20 + 64 + 2) + 2 * 10
    assert estimate(spec, CPU).seconds == pytest.approx(expected)


def test_an_expensive_network_is_timed_with_few_pictures_and_its_fixed_part_from_the_cheapest(toy, monkeypatch):
    cheap, dear = (s.model_copy(update={"protocol": Protocol(epochs=1, batch_size=12)}) for s in wide("equal")[1:3])
    small, cheapest = _step_kind(dear, CPU, 10**15), _step_kind(cheap, CPU, 10**15)
    assert (small.batch, cheapest.batch, _step_kind(dear, CPU, 10**6).batch) == (3, 3, 12)
    assert small.architecture != cheapest.architecture

    def seconds(kind):
        # A picture is 2 s in the cheapest network and 5 s in the other; 4 times the optimiser's second do not grow.
        growing, optimizer = (2, 1) if kind.architecture == cheapest.architecture else (5, 3)
        first = 4 * optimizer + growing * kind.batch
        return prediction._Seconds(first, first, optimizer, 0.0, 0.0)

    monkeypatch.setattr(prediction, "_seconds", seconds)
    assert prediction._full_batch_seconds(small, cheapest) == pytest.approx(4 * 3 + 5 * 12)
    modo = wide("modo")[-1].model_copy(update={"protocol": Protocol(epochs=1, batch_size=9)})
    assert (
        prediction._with_divisible_batch(_step_kind(modo, CPU, 10**15)).batch == 6
    )  # each third needs two pictures for batch norms


def test_a_grid_lasts_until_its_last_run_ends():
    assert prediction.makespan([], 4, 1.0) == 0
    assert prediction.makespan([3, 1, 1], 1, 0.5) == 5.5
    assert prediction.makespan([3, 1, 1], 2, 0.5) == 3.5
    assert prediction.makespan([1, 1, 3], 2) == 4  # the long one comes last
    assert prediction.makespan([2.0], 8) == 2


def test_the_gramian_rules_own_time_is_part_of_a_prediction(toy, no_memory):
    equal, mgda, _ = specs("equal", "mgda", "graddrop")
    assert prediction._rule_seconds(mgda) > 0
    assert prediction._rule_seconds(equal) == 0


def test_what_there_is_no_time_to_time_follows_from_its_operations(toy):
    found = specs("equal", "mgda")
    first, second = (prediction.estimates(found, CPU, 0.0)[spec.id] for spec in found)
    assert (first.timed, second.timed) == (True, False)
    assert second.seconds / second.flops == pytest.approx(first.seconds / first.flops)
    assert all(cost.timed for cost in prediction.estimates(found, CPU).values())


def test_run_flops_count_the_backward_passes(toy):
    equal, mgda = run_flops(specs("equal", "mgda")).values()
    # 12 pictures trained and 10 evaluated in each of 2 epochs; K = 3.
    assert mgda / equal == pytest.approx((12 * 7 + 10) / (12 * 3 + 10))


@pytest.mark.parametrize("name", ["single-task", "split", "dense", "cross-stitch", "mtan", "tiny"])
def test_operations_are_counted_without_memory_as_with_it(toy, name):
    (spec,) = expand(
        Grid(seeds=(0,), architectures=(name,), weightings=("equal",), datasets={"toy": {}}, architecture={"width": 4},
             protocol={"epochs": 1, "batch_size": 4}),
        Filters(architectures=[name]),
    )[-1:]  # fmt: skip
    which = prediction._network(spec)
    prediction._forward_flops.cache_clear()
    assert prediction._forward_flops(*which) == prediction._counted_flops(*which) > 0
