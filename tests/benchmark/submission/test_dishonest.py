"""A dishonest bundle: each lie is a change of an honest bundle, and something that catches it.

What cannot be caught from predictions is said in ``docs/trust.md``. The runs are made up: nothing is trained.
"""

import hashlib
import io
import json

import numpy as np
import pytest
import torch

from benchmark.analysis.submitted import counted
from benchmark.data import Storage, build_dataset
from benchmark.registry import PLUGIN_FILES
from benchmark.runs.artifacts import OfSplit
from benchmark.runs.code import code_of
from benchmark.runs.record import Cost, EpochRecord, RunRecord, TaskInfo, record_bytes
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.submission import add, check, confirm, pack
from benchmark.submission.evaluating import _flops, blank
from benchmark.submission.recomputing import _judge
from tests.benchmark import records as made
from tests.benchmark.submission import bundles

SEEDS = (0, 1, 2)


def made_up(toy, seed, draw):
    """A record of ``tiny`` on the toy data, and the predictions that it is of: the truth with noise."""
    dataset, storage = build_dataset("toy"), Storage.default()
    split, spec = dataset.load("test", storage), bundles.spec_of("tiny", "equal", seed)
    predictions, metrics = {}, {}
    for task in dataset.tasks:
        truth = split.targets[task.name].numpy()
        values = (
            truth + draw.normal(0, 0.1, truth.shape) if truth.dtype.kind == "f" else draw.integers(0, 3, truth.shape)
        )
        predictions[OfSplit("test", task.name)] = values.astype(truth.dtype)
        predictions[OfSplit("test", task.name, ids=True)] = split.ids
        metrics[task.name] = _judge(task, values.astype(truth.dtype), split, "made up")
    tasks = tuple(TaskInfo(name=t.name, kind=t.kind, channels=t.channels, classes=t.classes) for t in dataset.tasks)
    base = made.record(tasks=tasks, place={"device": "a processor", "precision": "fp32"})
    epochs = [
        EpochRecord(epoch=n, learning_rate=1e-3, losses={}, weights={}, metrics={"val": metrics, "test": metrics})
        for n in (1, 2)
    ]
    origin = base.provenance.model_copy(
        update={"data_hash": dataset.content_hash(storage), "plugins": {toy.name: PLUGIN_FILES[toy.name]}}
    )
    changes = {
        "id": spec.id, "spec": spec, "curves": tuple(epochs), "provenance": origin, "truth": None,
        "code": code_of(spec, [task.kind for task in dataset.tasks]),
    }  # fmt: skip
    found = base.model_copy(update=changes)
    model = blank(found, dataset)
    cost = Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        shared_parameters=sum(p.numel() for p in model.shared_parameters()),
        forward_flops=_flops(model, split), seconds_per_step=0.1, train_seconds=1, wall_seconds=2,
    )  # fmt: skip
    return RunRecord.model_validate_json(record_bytes(found.model_copy(update={"cost": cost}))), predictions


@pytest.fixture(scope="module")
def theirs(toy, tmp_path_factory):
    """Three seeds of a method of a plugin, with predictions."""
    build_dataset("toy").prepare(Storage.default())
    store, draw = Store(tmp_path_factory.mktemp("theirs")), np.random.default_rng(0)
    for seed in SEEDS:
        store.put(*made_up(toy, seed, draw))
    return store


@pytest.fixture(scope="module")
def bundle(theirs, toy, tmp_path_factory):
    """An honest bundle of them."""
    path = tmp_path_factory.mktemp("bundle") / "b.zip"
    pack(theirs, theirs.scan()[0], path, submitter="A. Researcher", plugins=[toy])
    return path


def runs(contents):
    """Run ids in the order of seeds."""
    found = {name[8:24]: json.loads(contents[name]) for name in contents if name.startswith("records/")}
    return sorted(found, key=lambda run: found[run]["spec"]["seed"])


def edit(contents, run, change):
    """Change the JSON of a run's record, and all that names the run with it."""
    raw = json.loads(contents.pop(f"records/{run}.json"))
    change(raw)
    try:
        raw["id"] = RunSpec.model_validate(raw["spec"]).id
    except ValueError:
        raw["id"] = run  # a spec that is none
    contents[f"records/{raw['id']}.json"] = json.dumps(raw).encode()
    contents[f"predictions/{raw['id']}.npz"] = contents.pop(f"predictions/{run}.npz")
    manifest(contents, lambda m: m["runs"][[r["id"] for r in m["runs"]].index(run)].update(id=raw["id"]))
    return raw


def manifest(contents, change):
    raw = json.loads(contents["manifest.json"])
    change(raw)
    contents["manifest.json"] = json.dumps(raw).encode()


def setting(*path, value):
    """A change of one value of the first run's record; of a function what it makes of the value."""

    def lie(contents):
        def change(raw):
            *way, last = path
            for key in way:
                raw = raw[key]
            raw[last] = value(raw[last]) if callable(value) else value

        edit(contents, runs(contents)[0], change)

    return lie


def copied(contents, rename):
    """The first run, record and predictions, again as another."""
    one, other, *_ = runs(contents)
    raw = json.loads(contents[f"records/{one}.json"])

    def change(found):
        spec = rename(raw, found)
        found.clear()
        found.update(json.loads(json.dumps(raw)))
        found["spec"] = spec

    predictions = contents[f"predictions/{one}.npz"]
    new = edit(contents, other, change)
    contents[f"predictions/{new['id']}.npz"] = predictions


def as_seeds(contents):
    copied(contents, lambda raw, found: found["spec"])


def as_another_method(contents):
    copied(contents, lambda raw, found: raw["spec"] | {"weighting": {"name": "mine", "version": 1, "options": {}}})


def with_arrays(contents, change):
    run = runs(contents)[0]
    with np.load(io.BytesIO(contents[f"predictions/{run}.npz"])) as found:
        arrays = dict(found)
    change(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    contents[f"predictions/{run}.npz"] = buffer.getvalue()


def the_truth(contents):
    """One task is the truth, and the record says the metrics of that."""
    split = build_dataset("toy").load("test", Storage.default())
    truth = split.targets["semantic"].numpy()
    known = np.where(truth < 0, 0, truth)
    with_arrays(contents, lambda arrays: arrays.update({"test-semantic": known.astype(truth.dtype)}))
    metrics = _judge(build_dataset("toy").tasks[0], known, split, "truth")
    setting("curves", -1, "metrics", "test", "semantic", value=metrics)(contents)


def other_samples(contents):
    with_arrays(contents, lambda arrays: arrays.update({"test-depth-id": arrays["test-depth-id"][::-1]}))


def without_seed(contents, number, said=True):
    """Leave out a run; with ``said``, what the bundle says of seeds stays."""
    run = runs(contents)[number]
    seeds = [seed for place, seed in enumerate(SEEDS) if place != number]
    del contents[f"records/{run}.json"], contents[f"predictions/{run}.npz"]

    def change(raw):
        raw["runs"] = [one | ({} if said else {"seeds": seeds}) for one in raw["runs"] if one["id"] != run]

    manifest(contents, change)


def silent_about_seeds(contents):
    manifest(contents, lambda raw: raw.update(runs=[{**one, "seeds": None} for one in raw["runs"]]))


def other_source(contents):
    """Another version of the plugin in place of the one that ran."""
    name = next(name for name in contents if name.startswith("plugins/"))
    contents[name] += b"# better\n"


def unrelated_source(contents):
    """Some file, and records that say they ran with it."""
    name = next(name for name in contents if name.startswith("plugins/"))
    contents[name] = b"print('nothing of that')\n"
    digest = hashlib.sha256(contents[name]).hexdigest()
    for run in runs(contents):
        edit(
            contents, run,
            lambda raw: raw.update(
                code={"weighting": digest}, provenance=raw["provenance"] | {"plugins": {"x.py": digest}},
                spec=raw["spec"] | {"weighting": {"name": "mine", "version": 1, "options": {}}},
            ),
        )  # fmt: skip


def edited_in_place(contents):
    run = runs(contents)[0]
    contents[f"records/{run}.json"] = contents[f"records/{run}.json"].replace(b'"batch_size": 4', b'"batch_size": 8')


LAST = ("curves", -1, "metrics", "test")
#: What is said, the level at which it is told, and its words.
LIES = {
    "a better test metric": (setting(*LAST, "semantic", "miou", value=60.0), "error", "other metrics: semantic miou"),
    "a lower test error": (setting(*LAST, "depth", "abs_error", value=1e-3), "error", "other metrics: depth abs_error"),
    "a metric beyond its range": (setting(*LAST, "semantic", "miou", value=101.0), "error", "cannot be 101"),
    "a metric that is missing": (setting(*LAST, "depth", value={}), "error", "other metrics than its kind"),
    "one run as two seeds": (as_seeds, "error", "predictions are, one by one, those of toy tiny equal seed"),
    "one run as two methods": (as_another_method, "error", "predictions are, one by one, those of toy tiny equal seed"),
    "the truth as predictions": (the_truth, "error", "predictions of 'semantic' are the truth"),
    "predictions of other samples": (other_samples, "error", "are not those of the test split"),
    "few parameters": (setting("cost", "parameters", value=10), "error", "cannot be 112 of 10"),
    "a parameter less": (setting("cost", "parameters", value=lambda n: n - 1), "error", "its parameters are said to"),
    "nothing shared": (setting("cost", "shared_parameters", value=0), "error", "its shared_parameters are"),
    "negative parameters": (setting("cost", "parameters", value=-10), "error", "cost.parameters"),
    "half the operations": (setting("cost", "forward_flops", value=lambda n: n // 2), "error", "its forward_flops are"),
    "operations untold": (setting("cost", "forward_flops", value=None), "error", "does not say its forward_flops"),
    "steps in no time": (setting("cost", "seconds_per_step", value=0.0), "error", "seconds_per_step cannot be 0"),
    "a run shorter than its steps": (setting("cost", "wall_seconds", value=0.5), "error", "its steps took 1 s"),
    "a bad seed left out": (lambda c: without_seed(c, 2), "warning", "also run with the seed 2, which the bundle"),
    "a bad seed untold": (lambda c: without_seed(c, 1, False), "warning", "have a gap: the seed 1 between 0 and 2"),
    "no word of seeds": (silent_about_seeds, "warning", "does not say with which seeds its row was run"),
    "another source than ran": (other_source, "error", "the source of its plugin toy.py is not in the bundle"),
    "an unrelated source": (unrelated_source, "warning", "does not name the weighting 'mine'"),
    "code that was not loaded": (
        setting("code", value={"architecture": "f" * 64}), "error", "which is not among those that were loaded",
    ),
    "the suite's method as a plugin's": (
        setting("code", value=lambda code: code | {"weighting": code["architecture"]}), "error",
        "defines the weighting 'equal', which is the suite's own",
    ),
    "a reference that shares": (setting("reference", value=True), "error", "'tiny' is no single-task reference"),
    "a seed beyond all bounds": (setting("spec", "seed", value=2**64), "error", "spec.seed"),
    "another version of the suite": (setting("spec", "suite", value=99), "error", "suite version 99"),
    "another batch size": (edited_in_place, "error", "it was edited"),
    "an epoch less": (setting("curves", value=lambda curves: curves[:1]), "error", "has 1 of 2 epochs"),
    "data that nobody has": (setting("provenance", "data_hash", value="0" * 64), "warning", "is not prepared here"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_told(bundle, tmp_path, name):
    lie, level, words = LIES[name]
    forged = bundles.forge(bundle, tmp_path / "b.zip", lie)
    checked = check(forged, Storage.default())
    found = [finding for finding in checked.findings if words in finding.text]
    assert [finding.level for finding in found][:1] == [level], [finding.text for finding in checked.findings]
    assert (not checked.errors) == (level != "error")
    for finding in checked.findings:
        bundles.one_line(finding.text)


def test_the_honest_bundle_is_told_nothing_bad(bundle):
    checked = check(bundle, Storage.default())
    assert [finding.text for finding in checked.findings if finding.level != "good"] == []
    assert all(run.recomputed for run in checked.runs)


def test_predictions_are_compared_with_the_store(bundle, theirs, tmp_path):
    """With those that runs made here kept, and with those of earlier submissions."""
    forged = bundles.forge(bundle, tmp_path / "b.zip", lambda c: (as_another_method(c), without_seed(c, 0)))
    own = Store(tmp_path / "own")
    add(bundle, own, Storage.default())
    for store in (own, theirs):
        errors = check(forged, Storage.default(), store).errors
        assert ["those of toy tiny equal seed" in error.text for error in errors] == [True]


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_earlier_epoch_is_not_on_the_board(bundle, tmp_path, split):
    def lie(contents):
        setting("curves", 0, "metrics", split, "semantic", "miou", value=60.0)(contents)

    own = Store(tmp_path / "own")
    add(bundles.forge(bundle, tmp_path / "b.zip", lie), own, Storage.default())
    for record in counted(own.scan()[0], own).records:
        assert [bool(epoch.metrics) for epoch in record.curves] == [False, True]


def test_what_the_check_noted_is_kept_with_the_run(bundle, tmp_path):
    own = Store(tmp_path / "own")
    add(bundles.forge(bundle, tmp_path / "b.zip", lambda c: without_seed(c, 2)), own, Storage.default())
    notes = [json.loads(own.note(record)) for record in own.scan()[0]]
    assert [note["doubts"] for note in notes] == [["its row was also run with the seed 2, which the bundle lacks"], []]


def test_the_same_run_of_a_second_team_is_there_already(bundle, theirs, tmp_path):
    """Its times are others, and the bundle was refused whole for that."""
    own = Store(tmp_path / "own")
    (first, *_) = theirs.scan()[0]
    cost = first.cost.model_copy(update={"wall_seconds": 9.0, "seconds_per_step": 0.5, "train_seconds": 5.0})
    own.put(first.model_copy(update={"cost": cost}))
    assert len(add(bundle, own, Storage.default())[1]) == 2


@pytest.mark.parametrize(("cost", "words"), [("parameters", "differs in what is counted"), ("train_seconds", "took")])
def test_a_rerun_confirms_costs_too(bundle, theirs, tmp_path, cost, words):
    own, reruns = Store(tmp_path / "own"), Store(tmp_path / "reruns")
    (record, *_) = add(bundle, own, Storage.default())[1]
    note = json.loads(own.note(record))
    path = own.path(record.spec)
    changed = record.model_copy(update={"cost": record.cost.model_copy(update={cost: 10_000})})
    path.write_bytes(record_bytes(changed))
    note["record_sha256"] = hashlib.sha256(record_bytes(changed)).hexdigest()
    path.with_suffix(".trust.json").write_text(json.dumps(note))
    reruns.put(record)
    (verdict,) = [verdict for _, verdict in confirm(own, reruns) if verdict]
    assert not verdict.holds
    assert words in verdict.words


def test_a_plugin_that_was_merely_loaded_is_not_asked_for(theirs, toy, tmp_path):
    record = theirs.scan()[0][0]
    plugins = record.provenance.plugins | {"other.py": "e" * 64}
    store = Store(tmp_path / "more")
    store.put(record.model_copy(update={"provenance": record.provenance.model_copy(update={"plugins": plugins})}))
    pack(store, store.scan()[0], tmp_path / "b.zip", submitter="me", plugins=[toy])
    assert check(tmp_path / "b.zip", Storage.default()).errors == []


def test_a_failure_is_confirmed_like_any_run(theirs, toy, tmp_path):
    failed = made.failed(theirs.scan()[0][0], "diverged", "the loss is not finite")
    bad, own = Store(tmp_path / "bad"), Store(tmp_path / "own")
    bad.put(failed)
    pack(bad, [failed], tmp_path / "b.zip", submitter="me", plugins=[toy])
    add(tmp_path / "b.zip", own, Storage.default())
    assert [verdict.holds for _, verdict in confirm(own, bad)] == [True]


def test_torch_is_left_as_it_was(bundle):
    state = torch.random.get_rng_state()
    check(bundle, Storage.default())
    assert torch.equal(state, torch.random.get_rng_state())
