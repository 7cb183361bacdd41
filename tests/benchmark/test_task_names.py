"""Names of tasks: each is refused in one line when its set is registered or built, or it works from data to board."""

import html5lib
import numpy as np
import pytest

from benchmark import report
from benchmark.data import DataSet, Storage, build_dataset, register_dataset
from benchmark.data.check import check
from benchmark.data.measured import data_card
from benchmark.errors import UsageError
from benchmark.model import build_model
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.datacards import keep_card
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.runs.store import Store
from benchmark.tasks import Task
from benchmark.training.hardware import Hardware
from benchmark.training.run import Watcher, execute

#: Those that a file, a column, an array, a heading or a link could trip over.
GOOD = (
    "x",
    "x-id",
    "train-x",
    "test:x",
    "a.b",
    "type",
    "keys",
    "Größe in m²",
    "<b>&\"'",
    "%_$#{}~^\\",
    "-",
    "=1+1",
    "..",
)
BAD = {
    "nothing": "",
    "a space": " ",
    "spaces around": " depth",
    "a folder": "a/b",
    "two lines": "a\nb",
    "a null": "a\0b",
    "half a sign": "a\ud800",
    "a page": "ä" * 51,
    "a number": 3,
}


def named(tasks, on_class=False):
    """A set of three pictures whose tasks are these, registered as ``names``."""

    class Names(DataSet):
        name = "names"
        version = 1
        image_shape = (3, 8, 8)

        def __init__(self) -> None:
            if not on_class:
                self.tasks = tasks

        @property
        def samples(self):
            return {"train": 3, "val": 3, "test": 3}

        def build(self, split, source, progress):
            image = np.arange(3 * 3 * 64).reshape(3, 3, 8, 8).astype(np.uint8)
            return {"image": image, "id": np.arange(3), **{t.name: np.array([0, 1, 0], np.int16) for t in tasks}}

    if on_class:
        Names.tasks = tasks
    return register_dataset(Names)


@pytest.fixture
def registered(own_methods):
    return named


@pytest.mark.parametrize("what", BAD)
def test_what_could_be_no_part_of_a_files_name_is_refused(what):
    with pytest.raises(UsageError, match="task") as caught:
        Task(BAD[what], "depth", 1)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["id"], "the data set 'names' has a task named 'id', which is what data sets call their samples"),
        (["image", "x"], "a task named 'image', which is what data sets call their pictures"),
        (["x", "y", "x"], "the data set 'names' has 2 tasks named 'x': give each a name of its own"),
    ],
)
@pytest.mark.parametrize("on_class", [True, False])
def test_tasks_that_could_not_be_told_apart_are_refused(names, message, on_class, registered):
    tasks = tuple(Task(name, "classification", 2) for name in names)

    def build():
        registered(tasks, on_class)
        build_dataset("names")

    with pytest.raises(UsageError, match=message):
        build()
    if "2 tasks" in message:
        with pytest.raises(UsageError, match="'split' has 2 tasks named 'x'"):
            build_model("split", tasks)


@pytest.mark.slow
def test_any_other_name_works_from_data_to_board(registered, tmp_path):
    registered(tuple(Task(name, "classification", 2) for name in GOOD))
    storage, store = Storage(tmp_path / "cache"), Store(tmp_path / "results")
    dataset = build_dataset("names")
    dataset.prepare(storage)
    assert check(dataset, storage) == []
    assert list(data_card(dataset, storage)["splits"]["val"]["fields"]) == list(GOOD)
    keep_card(store, dataset, storage, pictures=True)
    options = {"width": 1, "backbone": "unet-1-1"}
    for architecture, weighting in (("split", "equal"), ("single-task", None)):
        spec = RunSpec(
            dataset=Component.from_registry(DATASETS, "names"),
            architecture=Component.from_registry(ARCHITECTURES, architecture, options),
            weighting=Component.from_registry(WEIGHTINGS, weighting) if weighting else None,
            seed=0,
            protocol=Protocol(epochs=1, batch_size=3),
        )
        watcher = Watcher(keep_predictions=True)
        outcome = execute(spec, storage=storage, hardware=Hardware("cpu", "fp32", 1), watcher=watcher)
        assert outcome.record.status == "ok", outcome.record.error
        store.put(outcome.record, outcome.predictions, outcome.truth)
        assert {name for name in store.predictions(outcome.record) if isinstance(name, str)} == set(GOOD)
    report.build(store, tmp_path / "reports")
    for page in (tmp_path / "reports").rglob("*.html"):
        html5lib.HTMLParser(strict=True).parse(page.read_text())
    (table,) = (tmp_path / "reports").glob("names-??????.tex")
    (runs,) = (tmp_path / "reports").glob("names-??????.csv")
    header = runs.read_text().partition("\n")[0]
    for name in GOOD:
        assert name.replace('"', '""') in header
    assert r"\multicolumn{1}{c}{\%\_\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}}" in table.read_text()
