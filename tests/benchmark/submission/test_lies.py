"""Bundles that claim what is not so are refused, and say why."""

import pytest

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import Component, RunSpec
from benchmark.runs.store import Store
from benchmark.submission import add, pack
from tests.benchmark.submission import bundles

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("task", "metric", "factor"),
    [("semantic", "miou", 1.0001), ("depth", "abs_error", 0.99), ("normals", "within_30", 1.02)],
)
def test_a_metric_that_the_predictions_do_not_give_is_named(honest, tmp_path, task, metric, factor):
    def lie(raw):
        found = raw["curves"][-1]["metrics"]["test"][task]
        found[metric] = found[metric] * factor + (0.1 if task == "normals" else 0.0)

    path = bundles.forge(honest, tmp_path / "b.zip", lambda contents: bundles.edit_record(contents, lie))
    (error,) = bundles.errors_of(path)
    assert f"{task} {metric}" in error
    assert "recomputed" in error
    own = Store(tmp_path / "own")
    with pytest.raises(UserError, match="is not added"):
        add(path, own, Storage.default())
    assert not own.root.exists()


def test_a_changed_file_is_named(honest, tmp_path):
    contents = bundles.members(honest)
    run = bundles.first_run(contents)
    contents[f"records/{run}.json"] += b" "
    (size,) = bundles.errors_of(bundles.write(tmp_path / "a.zip", contents))
    assert f"records/{run}.json has not the size" in size
    contents = bundles.members(honest)
    plugin = next(name for name in contents if name.startswith("plugins/"))
    contents[plugin] = b"#" + contents[plugin][1:]
    (digest,) = bundles.errors_of(bundles.write(tmp_path / "b.zip", contents))
    assert f"{plugin} has not the SHA-256" in digest


def test_files_that_are_missing_or_too_many_are_named(honest, tmp_path):
    contents = bundles.members(honest)
    run = bundles.first_run(contents)
    del contents[f"predictions/{run}.npz"]
    assert "is listed and missing" in bundles.errors_of(bundles.write(tmp_path / "a.zip", contents))[0]
    more = bundles.members(honest) | {"plugins/more.py": b"1"}
    assert bundles.errors_of(bundles.write(tmp_path / "b.zip", more)) == ["plugins/more.py is there and not listed"]
    other = bundles.members(honest) | {"records/0000000000000000.json": b"{}"}
    assert "belongs to no run" in bundles.errors_of(bundles.write(tmp_path / "c.zip", bundles.rehash(other)))[0]
    none = {name: content for name, content in bundles.members(honest).items() if not name.startswith("plugins/")}
    assert (
        "the source of its plugin toy.py is not in the bundle"
        in bundles.errors_of(bundles.write(tmp_path / "d.zip", bundles.rehash(none)))[0]
    )


def set_at(raw, path, value):
    *way, last = path
    for step in way:
        raw = raw[step]
    raw[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "suite"), 99, "suite version 99"),
        (("spec", "dataset", "name"), "../../evil", "the data set cannot be called '../../evil'"),
        (("spec", "architecture", "name"), "a/b", "the architecture cannot be called 'a/b'"),
        (("spec", "weighting", "name"), "<script>alert(1)</script>", "the weighting cannot be called"),
        (("spec", "weighting", "name"), "none", "the weighting cannot be called 'none'"),
        (("spec", "architecture", "name"), "x" * 200, "the architecture cannot be called"),
        (("spec", "protocol", "epochs"), 3, "has 2 of 3 epochs"),
        (("spec", "protocol", "epochs"), 1, "epochs are not 1 to 1"),
        (("spec", "protocol", "epochs"), 10**9, "epochs are not 1 to"),
        (("curves", 0, "epoch"), -1, "curves[0].epoch"),
        (("curves", 0, "metrics"), {}, "epoch 1 lacks metrics"),
        (("curves", 1, "metrics", "test", "semantic", "miou"), 101.0, "miou cannot be 101"),
        (("curves", 0, "metrics", "val", "depth", "abs_error"), -0.1, "abs_error cannot be -0.1"),
        (("curves", 0, "metrics", "train"), {}, "metrics of test, train, val"),
        (("curves", 0, "metrics", "val", "depth"), {"mine": 1.0}, "other metrics than its kind"),
        (("curves", 0, "losses", "mine"), {}, "losses of other splits"),
        (("curves", 0, "losses", "val", "<b>"), 1.0, "losses of other splits or tasks"),
        (("curves", 0, "weights", "<b>"), 1.0, "weights of other tasks"),
        (("truth",), "../../x.npz", "pictures cannot be called '../../x.npz'"),
        (("tasks", 0, "kind"), "telepathy", "'telepathy' is not known here"),
        (("tasks", 1, "name"), "semantic", "two of the same name"),
        (("schema_version",), 3, "record schema 3"),
        (("status",), "excellent", "status"),
        (("cost", "parameters"), "many", "cost.parameters"),
    ],
)
def test_a_record_that_cannot_be_true_is_refused_in_words(honest, tmp_path, path, value, message):
    found = bundles.errors_of(
        bundles.forge(
            honest, tmp_path / "b.zip", lambda c: bundles.edit_record(c, lambda raw: set_at(raw, path, value))
        )
    )
    assert found
    assert message in found[0]


def test_a_record_under_another_runs_name_is_refused(honest, tmp_path):
    def swap(contents):
        one, two = sorted(name for name in contents if name.startswith("records/"))
        contents[one], contents[two] = contents[two], contents[one]

    assert "holds run" in bundles.errors_of(bundles.forge(honest, tmp_path / "a.zip", swap))[0]

    def edit(contents):
        name = f"records/{bundles.first_run(contents)}.json"
        contents[name] = contents[name].replace(b'"batch_size": 4', b'"batch_size": 5')

    assert "it was edited" in bundles.errors_of(bundles.forge(honest, tmp_path / "b.zip", edit))[0]


def test_a_run_that_is_there_with_other_numbers_is_not_replaced(honest, source, tmp_path):
    own = Store(tmp_path / "own")
    record = source.scan()[0][0]
    own.put(record.model_copy(update={"fallbacks": 7}))
    with pytest.raises(UserError, match="is there already, with other numbers"):
        add(honest, own, Storage.default())
    assert len(own.scan()[0]) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        # The same options under another name: two references of one seed have none.
        ("alone", {"width": 4, "depth": 1}, "second single-task reference of seed 0"),
        # The row of 'tiny' agrees with both references in its width: it would belong to neither.
        ("alone", {"width": 4, "style": "new"}, "tear the present boards apart"),
    ],
)
def test_foreign_references_change_no_board(source, toy, tmp_path, name, options, message):
    record = source.scan()[0][0]

    def single(name, options):
        architecture = Component(name=name, version=1, options=options)
        spec = RunSpec(**record.spec.model_dump() | {"architecture": architecture, "weighting": None})
        return RunRecord(**{**dict(record), "id": spec.id, "spec": spec, "reference": True})

    own, theirs = Store(tmp_path / "own"), Store(tmp_path / "theirs")
    own.put(record)
    own.put(single("single-task", {"width": 4, "depth": 1}))
    theirs.put(foreign := single(name, options))
    pack(theirs, [foreign], tmp_path / "b.zip", submitter="me", plugins=[toy])
    with pytest.raises(UserError, match=message):
        add(tmp_path / "b.zip", own, Storage.default())
    assert len(own.scan()[0]) == 2


def test_a_method_that_shares_cannot_call_itself_a_reference(honest, tmp_path):
    path = bundles.forge(
        honest, tmp_path / "b.zip", lambda c: bundles.edit_record(c, lambda raw: raw.update(reference=True))
    )
    assert "'tiny' is no single-task reference" in bundles.errors_of(path)[0]
