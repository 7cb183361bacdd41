"""Kinds of task that a plugin defines: what records say of them is enough, whatever code is loaded."""

import pytest

from benchmark import analysis, report
from benchmark.analysis.kinds import kinds_of
from benchmark.runs.record import KindInfo, MetricInfo, TaskInfo
from benchmark.runs.store import Store
from benchmark.tasks import KINDS, Accumulator, Metric, TaskKind, register_kind
from tests.benchmark import records as made

TASKS = (TaskInfo(name="cars", kind="count", channels=1), TaskInfo(name="side", kind="classification", channels=2))
#: As CONTRIBUTING's example records it.
COUNT = KindInfo(
    dense=False,
    metrics=(MetricInfo(name="count_error", title="count error", unit="", higher_is_better=False, legacy=False),),
)


def counting(architecture, weighting, error, accuracy, info=COUNT, seed=0):
    """A record whose one epoch has these metrics."""
    record = made.record(architecture, weighting, tasks=TASKS, dataset="cars", epochs=1, seed=seed)
    values = {"cars": {"count_error": error}, "side": {"accuracy": accuracy}}
    epoch = record.curves[0].model_copy(update={"metrics": {"val": values, "test": values}})
    kinds = {"count": info} if info else {}
    return record.model_copy(update={"curves": (epoch,), "kinds": kinds})


def records(info=COUNT):
    """Errors of 2 become 3 (50 % worse), accuracies of 80 become 84 (5 % better)."""
    return [counting("single-task", None, 2.0, 80.0, info), counting("mtan", "equal", 3.0, 84.0, info)]


@pytest.fixture(autouse=True)
def _nobodys():
    """No kind of this name is loaded, whatever other tests of this process have loaded."""
    before = dict(KINDS)
    KINDS.pop("count", None)
    yield
    KINDS.clear()
    KINDS.update(before)


@pytest.fixture
def loaded():
    """The plugin of the kind, whose metric has become something else since: greater is better."""
    before = dict(KINDS)

    class Count(TaskKind):
        name = "count"
        dense = False
        metrics = (Metric("count_error", "hits", "", True, "How many were right."),)

        def loss(self, prediction, target):
            raise NotImplementedError

        def accumulator(self, channels, device) -> Accumulator:
            raise NotImplementedError

        def decide(self, prediction):
            raise NotImplementedError

        def draw(self, values):
            return None

    register_kind(Count)
    yield
    KINDS.clear()
    KINDS.update(before)


def gain(found):
    """Δm of MTAN on the only board."""
    (board,) = analysis.boards(found)
    rows = analysis.summarise(board.records, board.labels).rows
    return rows[(rows["architecture"] == "mtan") & (rows["metric"] == "delta_m")]["mean"].tolist()


def test_a_plugins_metrics_count_without_the_plugin():
    assert gain(records()) == pytest.approx([(-50 + 5) / 2])


def test_what_the_record_says_counts_whatever_is_loaded(loaded):
    assert gain(records()) == pytest.approx([(-50 + 5) / 2])
    assert kinds_of(records()[0])["count"][0].definition == "How many were right."


def test_records_of_the_first_schema_take_the_loaded_plugins_word(loaded):
    assert gain(records(info=None)) == pytest.approx([(50 + 5) / 2])


def test_without_anybodys_word_the_run_has_no_numbers_rather_than_others():
    assert gain(records(info=None)) == []
    assert analysis.frame(records(info=None)).empty


def test_no_record_redefines_what_the_suite_defines():
    lie = KindInfo(dense=False, metrics=(COUNT.metrics[0].model_copy(update={"name": "accuracy"}),))
    found = [record.model_copy(update={"kinds": {"count": COUNT, "classification": lie}}) for record in records()]
    assert gain(found) == pytest.approx([(-50 + 5) / 2])


def test_runs_of_other_metrics_stand_on_other_boards():
    other = COUNT.model_copy(update={"metrics": (COUNT.metrics[0].model_copy(update={"higher_is_better": True}),)})
    assert len(analysis.boards([*records(), counting("mtan", "dwa", 1.0, 80.0, other)])) == 2


def pages(folder):
    """The content of every file."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_pages_show_a_plugins_metrics_without_the_plugin(tmp_path):
    store = Store(tmp_path / "results")
    for record in records():
        store.put(record)
    report.build(store, tmp_path / "alone")
    found = pages(tmp_path / "alone")
    board = next(content for name, content in found.items() if name.match("cars-??????.html")).decode()
    assert "count error" in board
    assert "−22.5" in board
    assert "Metrics of count" in found[next(name for name in found if name.name == "method.html")].decode()
