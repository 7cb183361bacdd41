"""The script that tells rounding, seeds and test pictures apart: its runs are the suite's, its tables are by hand."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.errors import UsageError
from benchmark.model import build_model
from benchmark.tasks import Task
from benchmark.training.hardware import Hardware
from benchmark.training.run import execute

SCRIPTS = Path(__file__).parents[1] / "scripts"
GRID = """
seeds = [0]
architectures = ["tiny"]
weightings = ["equal"]
[protocol]
epochs = 2
batch_size = 6
learning_rate = 1e-2
[datasets.toy]
"""


@pytest.fixture(scope="module")
def scripts():
    """The two files, as if they were run from their folder."""
    found = []
    for name in ("spread", "spread_tables"):
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        found.append(module)
    yield found
    for module in found:
        del sys.modules[module.__name__]


@pytest.fixture
def jobs(scripts, toy, tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    build_dataset("toy").prepare(Storage.default())

    def made(*rows):
        grid = str(tmp_path / "grid.toml")
        return scripts[0].jobs(grid, rows, dataset=None, seeds=range(2), roundings=2, pictures=3)

    return made


def test_every_seed_and_the_first_one_again_and_again(jobs):
    found = jobs("tiny:equal", "tiny:rlw")
    assert [(job.row, job.spec.weighting_name, job.spec.seed, job.rounding) for job in found] == [
        (f"tiny:{name}", name, seed, k) for seed, k in ((0, 0), (0, 1), (0, 2), (1, 0)) for name in ("equal", "rlw")
    ]
    assert len({job.file for job in found}) == len(found)
    with pytest.raises(UsageError, match="'tiny' must be one cell"):
        jobs("tiny", "tiny:equal")


@pytest.mark.slow
def test_a_run_without_a_changed_bit_is_that_of_the_suite(scripts, jobs):
    plain, changed = jobs("tiny:equal")[:2]
    record = execute(plain.spec, storage=Storage.default(), hardware=Hardware("cpu", "fp32", 1)).record
    found = scripts[0].train(plain, Storage.default())
    assert found["metrics"] == record.curves[-1].metrics
    assert {len(values) for task in found["resampled"].values() for values in task.values()} == {3}
    assert scripts[0].train(changed, Storage.default())["metrics"] != record.curves[-1].metrics


@pytest.mark.parametrize(("architecture", "changes"), [("mtan", 1), ("single-task", 3)])
def test_one_bit_changes_or_one_of_each_network(scripts, architecture, changes):
    tasks = (Task("a", "segmentation", 3), Task("b", "depth", 1), Task("c", "normals", 3))
    model = build_model(architecture, tasks, width=4).to(memory_format=torch.channels_last)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    scripts[0].change_a_bit(model, 0, 1)
    bits = [
        (before[name].view(torch.int32) ^ value.detach().view(torch.int32)) for name, value in model.named_parameters()
    ]
    assert sum(int((b != 0).sum()) for b in bits) == changes
    assert max(int(b.max()) for b in bits) == 1


def test_every_run_is_judged_on_the_same_pictures(scripts, toy):
    """A network that is right on some pictures only: its accuracy is the share of these among those drawn."""
    dataset = build_dataset("toy-words")
    dataset.prepare(Storage.default())
    test = dataset.load(SPLITS[-1], Storage.default(), "cpu")
    truth = {task.name: test.targets[task.name].numpy() for task in dataset.tasks}
    right = np.arange(len(test)) < 4
    decided = {
        "brightness": np.where(right, truth["brightness"], 1 - truth["brightness"]),
        "contrast": truth["contrast"],
    }
    found = scripts[0].resampled(dataset.tasks, decided, test, 400)
    accuracy = np.array(found["brightness"]["accuracy"])
    assert set(found["contrast"]["accuracy"]) == {100.0}
    # A mean of 16 draws, each right with probability 1/4.
    assert accuracy.mean() == pytest.approx(25, abs=2)
    assert accuracy.std() == pytest.approx(100 * (0.25 * 0.75 / 16) ** 0.5, rel=0.15)
    assert found == scripts[0].resampled(dataset.tasks, decided, test, 400)


def test_a_bit_that_changes_nothing_is_no_sample(scripts, jobs):
    """Of one row, with numbers that no training gave."""
    (job, *_) = jobs("tiny:equal")
    known = {task.name: [m.name for m in task.metrics] for task in build_dataset("toy").tasks}

    def run(rounding, value):
        metrics = {task: dict.fromkeys(names, value) for task, names in known.items()}
        again = {task: {name: [1.0, 2.0] for name in names} for task, names in known.items()}
        return {"row": "tiny:equal", "seed": 0, "rounding": rounding, "metrics": {"test": metrics}, "resampled": again}

    found = scripts[1].numbers_of([run(0, 1.0), run(1, 1.0), run(2, 3.0)], job.spec)
    one = found[found["metric"] == "miou"]
    assert one[one["source"] == "roundings"]["sample"].tolist() == [0, 2]
    assert one[one["source"] == "seeds"]["value"].tolist() == [1.0]
    assert one[one["source"] == "pictures"]["value"].tolist() == [1.0, 2.0]


def numbers(scripts, values):
    """Of one metric of one task, lower is better; by row and source."""
    lines = [
        (row, source, seed, sample, "depth", "abs_error", value, False)
        for (row, source), samples in values.items()
        for (seed, sample), value in samples.items()
    ]
    return pd.DataFrame(lines, columns=[*scripts[1].NUMBERS, "higher_is_better"])


def each(*values):
    return {(k, k): value for k, value in enumerate(values)}


def test_tables_by_hand(scripts):
    tables = scripts[1]
    given = numbers(scripts, {
        ("single", "seeds"): each(1.0, 2.0, 3.0),
        ("split", "seeds"): each(2.0, 4.0, 3.0),
        ("split", "roundings"): {(0, 0): 2.0, (0, 1): 2.5},
        ("single", "pictures"): {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 1.0, (1, 1): 5.0},
        ("split", "pictures"): {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 4.0, (1, 1): 2.0},
    })  # fmt: skip
    told = tables.with_delta(given, "single")
    rows = tables.spreads(told).set_index(["row", "metric"])
    split = rows.loc[("split", "abs_error")]
    assert (split["mean"], split["sd_seeds"], split["seeds"], split["roundings"]) == (3.0, 1.0, 3, 2)
    assert split["sd_roundings"] == pytest.approx(0.125**0.5)
    assert split["sd_pictures"] == pytest.approx(((0.5 + 2.0) / 2) ** 0.5)
    # Against the references' mean of 2: 0, −100 and −50 per cent; seed by seed −100, −100 and 0.
    assert rows.loc[("split", "Δm"), "mean"] == pytest.approx(-50)
    assert rows.loc[("split", "Δm"), "sd_seeds"] == pytest.approx(50)
    assert rows.loc[("split", tables.DELTA_OF_SEED), "mean"] == pytest.approx(-200 / 3)
    # On resampled pictures the references have means 1 and 4.
    delta = told[(told["metric"] == "Δm") & (told["source"] == "pictures") & (told["row"] == "split")]
    assert delta.sort_values(["seed", "sample"])["value"].tolist() == pytest.approx([0, 50, -300, 50])
    pairs = tables.in_common(told).set_index("metric")
    assert pairs.loc["abs_error", "correlation"] == pytest.approx(0.5)
    assert pairs.loc["abs_error", "sd_difference"] == pytest.approx(1.0)
    assert pairs.loc["abs_error", "sd_apart"] == pytest.approx(2**0.5)
    # 1 with the first seed's networks, −1 with the second's.
    assert pairs.loc["abs_error", "correlation_pictures"] == pytest.approx(0.0)
    assert tables.DELTA_OF_SEED not in pairs.index  # the reference against itself is 0
    # Two architectures: of the variance 1 + 1 the seed takes away 1.
    assert "| depth · abs_error |  | 0.50 | 0.00 |" in tables.by_pair(pairs.reset_index())
    assert "over 2 draws of test pictures" in tables.by_cause(rows.reset_index())
