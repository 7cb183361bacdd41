"""Bundles of runs on a plugin's data set with a plugin's kind of task, before and after the plugin is loaded."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.data import Storage, build_dataset
from benchmark.registry import PLUGIN_FILES, TABLES, WEIGHTINGS, load_plugin_file
from benchmark.runs.artifacts import OfSplit
from benchmark.runs.record import EpochRecord, KindInfo, MetricInfo, RunRecord, TaskInfo, record_bytes
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.runs.store import Store
from benchmark.runs.trust import standing
from benchmark.submission import pack
from benchmark.submission.recomputing import _judge
from tests.benchmark import records as made

PLUGIN = """
import numpy as np
import torch
from benchmark.data import DataSet, register_dataset
from benchmark.tasks import Accumulator, Metric, Task, TaskKind, register_kind


class Errors(Accumulator):
    def __init__(self, device):
        self.error, self.count = 0.0, 0

    def update(self, prediction, target):
        self.error += float((prediction[:, 0].double() - target).sum())
        self.count += len(target)

    def compute(self):
        return {"tally_bias": self.error / self.count}


@register_kind
class Tally(TaskKind):
    name = "tally"
    dense = False
    metrics = (Metric("tally_bias", "bias", "", False, "Mean of predicted - true over the split."),)

    def loss(self, prediction, target):
        return (prediction[:, 0].float() - target).square().mean()

    def accumulator(self, channels, device):
        return Errors(device)

    def decide(self, prediction):
        return prediction[:, 0].half()

    def undecide(self, decided, channels):
        return decided[:, None]

    def draw(self, values):
        return None


@register_dataset
class Tallies(DataSet):
    name = "tallies"
    version = 1
    tasks = (Task("many", "tally", 1),)
    image_shape = (3, 8, 8)
    samples = {"train": 4, "val": 4, "test": 4}

    def build(self, split, source, progress):
        return {"id": np.arange(4), "image": np.zeros((4, 3, 8, 8), np.uint8), "many": np.arange(4, dtype=np.float32)}
"""


@pytest.fixture
def plugin(tmp_path):
    """The file; what it registers is forgotten after the test."""
    assert len(WEIGHTINGS)  # installed plugins first: they must stay
    tables = [*TABLES, PLUGIN_FILES]
    before = [dict(table) for table in tables]
    (file := tmp_path / "tally.py").write_text(PLUGIN)

    def forget():
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)
        for name in [name for name in sys.modules if name.startswith("mtbench_plugin_tally_")]:
            del sys.modules[name]

    yield file, forget
    forget()


def made_up(storage):
    """A record of an unknown network on the plugin's data, whose bias is below zero, and its predictions."""
    (dataset := build_dataset("tallies")).prepare(storage)
    split, (task,) = dataset.load("test", storage), dataset.tasks
    decided = (split.targets["many"].numpy() - [0.25, 1, 0.5, 0.25]).astype(np.float16)
    metrics = {"many": _judge(task, decided, split, "made up")}
    assert metrics["many"]["tally_bias"] == -0.5
    spec = RunSpec(
        dataset=Component(name="tallies", version=1, options={}), weighting=None, seed=0,
        architecture=Component(name="mine", version=1, options={}), protocol=Protocol(epochs=1, batch_size=2),
    )  # fmt: skip
    base = made.record(place={"precision": "fp32"})
    info = KindInfo(dense=False, metrics=(MetricInfo(name="tally_bias", title="b", unit="", higher_is_better=False),))
    epoch = EpochRecord(epoch=1, learning_rate=1e-3, losses={}, weights={}, metrics={"val": metrics, "test": metrics})
    digest = PLUGIN_FILES["tally.py"]
    origin = base.provenance.model_copy(
        update={"data_hash": dataset.content_hash(storage), "plugins": {"tally.py": digest}}
    )
    changes = {
        "id": spec.id, "spec": spec, "tasks": (TaskInfo(name="many", kind="tally", channels=1),), "curves": (epoch,),
        "provenance": origin, "truth": None, "kinds": {"tally": info},
        "code": {"data set": digest, "kind tally": digest},
    }  # fmt: skip
    arrays = {OfSplit("test", "many"): decided, OfSplit("test", "many", ids=True): split.ids}
    return RunRecord.model_validate_json(record_bytes(base.model_copy(update=changes))), arrays


@pytest.mark.slow
def test_a_plugins_data_and_kinds_are_checked_with_the_plugin(plugin, tmp_path):
    file, forget = plugin
    load_plugin_file(file)
    store = Store(tmp_path / "theirs")
    store.put(*made_up(Storage.default()))
    path, own = tmp_path / "b.zip", Store(tmp_path / "own")
    pack(store, store.scan()[0], path, submitter="me", plugins=[file])
    forget()

    def mtbench(*words):
        return CliRunner().invoke(main, [*map(str, words)])

    before = mtbench("submit", "check", path)
    assert before.exit_code == 0, before.output
    assert "the data set 'tallies' is not registered here" in before.output
    after = mtbench("submit", "check", path, "--plugin", file)
    assert after.exit_code == 0, after.output
    assert "1 without error, 1 of them recomputed" in after.output
    forget()
    assert "1 run added" in mtbench("submit", "add", path, "--results", own.root, "--plugin", file).output
    assert standing(own, own.scan()[0][0]).level == "recomputed"
    forget()
    file.write_text(PLUGIN + "# another\n")
    other = mtbench("submit", "check", path, "--plugin", file)
    assert other.exit_code == 1
    assert "ran with other code than the plugin that is loaded here" in other.output
    file.write_text("1 / 0")
    forget()
    for words in (("report", "--results", own.root, "--out", tmp_path / "out"), ("submit", "check", path)):
        broken = mtbench(*words, "--plugin", file)
        assert broken.exit_code == 1
        assert "cannot be imported" in broken.stderr
