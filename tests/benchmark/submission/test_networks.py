"""Checkpoints: what honest ones give, and that hostile ones give one line and nothing else."""

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from benchmark.data import Storage, build_dataset
from benchmark.registry import ARCHITECTURES
from benchmark.runs.artifacts import OfNetwork
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import Component, RunSpec
from benchmark.runs.store import Store
from benchmark.runs.trust import standing
from benchmark.submission import add, check, pack
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from tests.benchmark.submission import bundles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def networks(toy, tmp_path_factory):
    """A bundle of a run of a registered architecture with its network, and without predictions."""
    storage, folder = Storage.default(), tmp_path_factory.mktemp("networks")
    build_dataset("toy-words").prepare(storage)
    spec = bundles.spec_of("tiny", "equal", dataset="toy-words").model_copy(
        update={"architecture": Component.from_registry(ARCHITECTURES, "split", {"width": 4, "backbone": "wrn-10"})}
    )
    hardware = Hardware.choose("cpu", "fp32", 1)
    outcome = execute(spec, storage=storage, hardware=hardware, watcher=Watcher(keep_model=True))
    assert outcome.record.status == "ok", outcome.record.error
    store = Store(folder / "results")
    store.put(outcome.record, outcome.predictions, outcome.truth)
    assert store.model(outcome.record).suffix == ".safetensors"
    assert not any(isinstance(key, OfNetwork) for key in store.predictions(outcome.record))
    pack(store, [outcome.record], folder / "b.zip", submitter="me", plugins=[toy])
    return folder / "b.zip"


def model_of(contents):
    return f"models/{bundles.first_run(contents)}.safetensors"


def store_models(path, contents):
    """As ``write``; checkpoints are stored, too."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            stored = name.startswith(("predictions/", "models/"))
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
    return path


def forge_model(networks, path, build):
    contents = bundles.members(networks)
    name = model_of(contents)
    contents[name] = build(contents[name])
    return store_models(path, bundles.rehash(contents))


def test_a_checkpoint_of_a_known_architecture_is_judged(networks, tmp_path):
    checked = check(networks, Storage.default())
    assert checked.errors == []
    (run,) = checked.runs
    last = run.record.curves[-1].metrics["test"]
    for task, metrics in run.recomputed.metrics.items():
        assert metrics == pytest.approx(last[task], rel=1e-3)
    assert "recomputed from the checkpoint" in checked.findings[-1].text
    own = Store(tmp_path / "own")
    (record,) = add(networks, own, Storage.default())[1]
    assert standing(own, record).level == "recomputed"


def test_a_checkpoint_that_gives_other_metrics_is_an_error(networks, tmp_path):
    contents = bundles.members(networks)
    record = RunRecord.model_validate_json(contents[f"records/{bundles.first_run(contents)}.json"])

    def turn(content):
        tensors = safetensors.numpy.load(content)
        key = max((key for key in tensors if key.startswith("heads.0")), key=lambda key: tensors[key].ndim)
        return safetensors.numpy.save(tensors | {key: -tensors[key]})

    (error,) = bundles.errors_of(forge_model(networks, tmp_path / "b.zip", turn))
    assert "the checkpoint gives other metrics: brightness accuracy" in error
    assert f"{record.curves[-1].metrics['test']['brightness']['accuracy']:.6g} submitted" in error


def test_a_checkpoint_without_its_architecture_or_data_is_self_reported(networks, tmp_path, monkeypatch):
    elsewhere = check(networks, Storage(tmp_path / "empty"))
    assert elsewhere.errors == []
    assert elsewhere.runs[0].recomputed is None
    monkeypatch.setattr("benchmark.submission.evaluating.MOST_FLOPS", 10)
    costly = check(networks, Storage.default())
    assert costly.errors == []
    assert costly.runs[0].recomputed is None
    assert "would take too long; submit predictions" in costly.findings[-1].text

    def rename(raw):
        raw["spec"]["architecture"]["name"] = "never-heard-of"

    contents = bundles.members(networks)
    run = bundles.first_run(contents)
    raw = json.loads(contents.pop(f"records/{run}.json"))
    rename(raw)
    raw["id"] = new = RunSpec.model_validate(raw["spec"]).id
    contents[f"records/{new}.json"] = json.dumps(raw).encode()
    contents[f"models/{new}.safetensors"] = contents.pop(f"models/{run}.safetensors")
    manifest = json.loads(contents["manifest.json"])
    manifest["runs"][0]["id"] = new
    contents["manifest.json"] = json.dumps(manifest).encode()
    unknown = check(store_models(tmp_path / "u.zip", bundles.rehash(contents)), Storage.default())
    assert unknown.errors == []
    assert unknown.runs[0].recomputed is None
    assert "not registered here" in unknown.findings[-1].text


def in_parts(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def whole(head, body):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + body


def by_entry(edit, key=None):
    """The checkpoint after ``edit(description)`` of one tensor, or of the one called ``key``."""

    def build(content):
        head, body = in_parts(content)
        name = key or max(head, key=lambda key: head[key]["data_offsets"][1] - head[key]["data_offsets"][0])
        edit(head[name])
        return whole(head, body)

    return build


def by_head(edit):
    def build(content):
        head, body = in_parts(content)
        return whole(edit(head), body)

    return build


def by_tensors(edit):
    def build(content):
        return safetensors.numpy.save(edit(safetensors.numpy.load(content)))

    return build


def overlapping(head):
    names = sorted(head, key=lambda key: head[key]["data_offsets"])
    head[names[1]]["data_offsets"] = [o - 4 for o in head[names[1]]["data_offsets"]]
    return head


def first_of(tensors):
    return next(key for key in tensors if tensors[key].dtype == np.float32 and tensors[key].ndim > 1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda content: b"", "no safetensors file"),
        (lambda content: content[:7], "no safetensors file"),
        (lambda content: struct.pack("<Q", 2**63) + content[8:], "no safetensors file"),
        (lambda content: struct.pack("<Q", 5 << 20) + b" " * (6 << 20), "no safetensors file"),
        (lambda content: struct.pack("<Q", len(content)) + content[8:], "no safetensors file"),
        (lambda content: pickle.dumps({"weight": np.zeros(3)}), "no safetensors file"),
        (lambda content: b"PK\x03\x04" + content, "no safetensors file"),
        (by_head(lambda head: b"[]"), "no JSON object"),
        (by_head(lambda head: b" {}"), "no JSON object"),
        (by_head(lambda head: b'{"a":' * 5000), "nested too deeply"),
        (by_head(lambda head: b'{"a": NaN}'), "no number of JSON"),
        (by_head(lambda head: b'{"a": 1, "a": 1}'), "a key twice"),
        (by_head(lambda head: {}), "bytes for them"),
        (by_head(lambda head: {"__metadata__": 5, **head}), "metadata"),
        (by_head(lambda head: {**head, "x": 5}), "must be described by"),
        (by_head(lambda head: {f"t{i}": 0 for i in range(20_001)}), "at most 20000 tensors"),
        (by_head(overlapping), "begin at"),
        (by_head(lambda head: {"\u202e<b>": head.pop(next(iter(head))), **head}), "is no name of a tensor"),
        (by_head(lambda head: {"x" * 400: head.pop(next(iter(head))), **head}), "is no name of a tensor"),
        (by_entry(lambda one: one.update(dtype="O")), "has the type O"),
        (by_entry(lambda one: one.update(dtype=["F32"])), "has the type"),
        (by_entry(lambda one: one.update(shape=[2**40, 2**40])), "as the place of its"),
        (by_entry(lambda one: one.update(shape=[-1])), "which is none"),
        (by_entry(lambda one: one.update(shape=[True])), "which is none"),
        (by_entry(lambda one: one.update(shape=[1] * 9)), "which is none"),
        (by_entry(lambda one: one.update(shape=[1.5])), "which is none"),
        (by_entry(lambda one: one.update(data_offsets=[0, 10**12])), "as the place of its"),
        (by_entry(lambda one: one.update(data_offsets=[-4, 0])), "as the place of its"),
        (by_entry(lambda one: one.update(more=1)), "must be described by"),
        (by_entry(lambda one: one["shape"].insert(0, 1)), "and this architecture's has"),
        (lambda content: content[:-4], "bytes for them"),
        (lambda content: content + b"more", "bytes for them"),
        (by_tensors(lambda t: t | {first_of(t): np.full_like(t[first_of(t)], np.nan)}), "not finite"),
        (by_tensors(lambda t: t | {first_of(t): np.full_like(t[first_of(t)], np.inf)}), "not finite"),
        (by_tensors(lambda t: {k: v for k, v in t.items() if k.endswith("bias")}), "numbers, and the record says"),
        (by_tensors(lambda t: {k.replace("trunk.0", "trunk.9"): v for k, v in t.items()}), "lacks"),
        (by_tensors(lambda t: t | {"../evil": np.zeros(3)}), "holds '../evil', which this architecture has not"),
        (by_tensors(lambda t: t | {first_of(t): t[first_of(t)][None]}), "and this architecture's has"),
    ],
)
def test_hostile_checkpoints_are_refused_in_one_line(networks, tmp_path, build, message):
    (error,) = bundles.errors_of(forge_model(networks, tmp_path / "b.zip", build))
    assert message in error
    assert [file.name for file in tmp_path.iterdir()] == ["b.zip"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10**9}, "larger than 4096"),
        ({"backbone": "wrn-99999994"}, "larger than 4096"),
        ({"width": -3}, "cannot be built"),
        ({"depth": 3}, "cannot be built"),
    ],
)
def test_options_that_no_honest_network_has_build_none(networks, tmp_path, options, message):
    contents = bundles.members(networks)
    run = bundles.first_run(contents)
    raw = json.loads(contents.pop(f"records/{run}.json"))
    raw["spec"]["architecture"]["options"] |= options
    raw["id"] = new = RunSpec.model_validate(raw["spec"]).id
    contents[f"records/{new}.json"] = json.dumps(raw).encode()
    contents[f"models/{new}.safetensors"] = contents.pop(f"models/{run}.safetensors")
    manifest = json.loads(contents["manifest.json"])
    manifest["runs"][0]["id"] = new
    contents["manifest.json"] = json.dumps(manifest).encode()
    (error,) = bundles.errors_of(store_models(tmp_path / "b.zip", bundles.rehash(contents)))
    assert message in error


def test_a_compressed_checkpoint_is_refused(networks, tmp_path):
    assert "only stored here" in bundles.errors_of(bundles.write(tmp_path / "b.zip", bundles.members(networks)))[0]


def test_a_checkpoint_is_checked_beside_predictions_too(source, toy, tmp_path):
    storage, store = Storage.default(), Store(tmp_path / "both")
    watcher = Watcher(keep_predictions=True, keep_model=True)
    outcome = execute(
        bundles.spec_of("tiny", "equal", 7),
        storage=storage,
        hardware=Hardware.choose("cpu", "fp32", 1),
        watcher=watcher,
    )
    store.put(outcome.record, outcome.predictions, outcome.truth)
    manifest = pack(store, [outcome.record], tmp_path / "b.zip", submitter="me", plugins=[toy])
    assert (manifest.runs[0].predictions, manifest.runs[0].model) == (True, True)
    checked = check(tmp_path / "b.zip", storage)
    assert "recomputed from the predictions" in checked.findings[-1].text
    (error,) = bundles.errors_of(forge_model(tmp_path / "b.zip", tmp_path / "c.zip", lambda content: content[:-4]))
    assert "bytes for them" in error
    store.put(outcome.record)  # without it, the file goes
    assert store.model(outcome.record) is None
