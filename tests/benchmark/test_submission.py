"""Bundles: what honest ones give, and that hostile ones give one line and nothing else."""

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.cli import main
from benchmark.data import Storage, build_dataset
from benchmark.errors import UsageError, UserError
from benchmark.registry import ARCHITECTURES, DATASETS, PLUGIN_FILES, WEIGHTINGS
from benchmark.spec import Component, Protocol, RunSpec
from benchmark.store import RunRecord, Store, record_bytes
from benchmark.submission import add, check, confirm, pack
from benchmark.submission import bundle as bundle_module
from benchmark.submission.text import shown
from benchmark.training.hardware import Hardware
from benchmark.training.run import Watcher, execute
from benchmark.trust import standing


def spec_of(architecture, weighting, seed=0, dataset="toy"):
    return RunSpec(
        dataset=Component.of(DATASETS, dataset),
        architecture=Component.of(ARCHITECTURES, architecture),
        weighting=Component.of(WEIGHTINGS, weighting) if weighting else None,
        seed=seed,
        protocol=Protocol(epochs=2, batch_size=4, learning_rate=1e-3),
    )


@pytest.fixture(scope="module", autouse=True)
def _only_the_toy(toy):
    """Records name every plugin file of the process, and other tests have loaded files of their own."""
    known = dict(PLUGIN_FILES)
    for name in known.keys() - {toy.name}:
        del PLUGIN_FILES[name]
    yield
    PLUGIN_FILES.update(known)


@pytest.fixture(scope="module")
def source(toy, tmp_path_factory):
    """A results folder with real runs on the toy data, whose predictions were kept, and where the data lie."""
    storage, store = Storage.default(), Store(tmp_path_factory.mktemp("theirs"))
    for name in ("toy", "toy-words"):
        build_dataset(name).prepare(storage)
    hardware = Hardware.choose("cpu", "fp32", 1)
    for spec in (spec_of("tiny", "equal"), spec_of("tiny", "equal", 1)):
        outcome = execute(spec, storage=storage, hardware=hardware, watcher=Watcher(keep_predictions=True))
        assert outcome.record.status == "ok", outcome.record.error
        store.put(outcome.record, outcome.predictions, outcome.truth)
    return store


@pytest.fixture(scope="module")
def honest(source, toy, tmp_path_factory):
    """A bundle of them."""
    path = tmp_path_factory.mktemp("bundle") / "honest.zip"
    pack(source, source.scan()[0], path, submitter="A. Researcher", plugins=[toy])
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write(path, contents):
    """A zip file of contents; predictions are stored, the rest compressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            stored = name.startswith("predictions/")
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def rehash(contents):
    """The same contents with a manifest that fits them."""
    manifest = json.loads(contents["manifest.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in contents.items()
        if name != "manifest.json"
    }
    return contents | {"manifest.json": json.dumps(manifest).encode()}


def forge(honest, path, edit):
    """The honest bundle after ``edit(contents)``, with hashes that fit."""
    contents = members(honest)
    edit(contents)
    return write(path, rehash(contents))


def first_run(contents):
    return min(name for name in contents if name.startswith("records/")).removeprefix("records/")[:16]


def edit_record(contents, change):
    """Change one record's JSON, and its spec's hash with it, so that only the change is wrong."""
    run = first_run(contents)
    raw = json.loads(contents.pop(f"records/{run}.json"))
    change(raw)
    raw["id"] = new = RunSpec.model_validate(raw["spec"]).id
    contents[f"records/{new}.json"] = json.dumps(raw).encode()
    contents[f"predictions/{new}.npz"] = contents.pop(f"predictions/{run}.npz")
    manifest = json.loads(contents["manifest.json"])
    manifest["runs"] = [r | {"id": new} if r["id"] == run else r for r in manifest["runs"]]
    contents["manifest.json"] = json.dumps(manifest).encode()


def one_line(error):
    text = str(error)
    assert text
    assert text.isprintable(), text
    return text


def errors_of(path):
    """All that is wrong with a bundle, whichever way it is told."""
    try:
        checked = check(path, Storage.default())
    except UserError as error:
        return [one_line(error)]
    return [one_line(finding.text) for finding in checked.errors]


# Honest bundles


def test_an_honest_bundle_is_recomputed(honest):
    checked = check(honest, Storage.default())
    assert checked.errors == []
    assert len(checked.runs) == 2
    for run in checked.runs:
        last = run.record.curves[-1].metrics["test"]
        assert run.recomputed.metrics["semantic"] == pytest.approx(last["semantic"], rel=1e-12)  # classes are exact
        assert run.recomputed.metrics["depth"] == pytest.approx(last["depth"], rel=1e-3)
        assert run.recomputed.deviation < 5e-3
    assert "recomputed" in " ".join(finding.text for finding in checked.findings)


def test_classes_of_whole_pictures_are_recomputed_too(toy, tmp_path):
    storage, store = Storage.default(), Store(tmp_path / "words")
    build_dataset("toy-words").prepare(storage)
    outcome = execute(
        spec_of("tiny", "equal", dataset="toy-words").model_copy(
            update={"architecture": Component.of(ARCHITECTURES, "split", {"width": 4, "backbone": "wrn"})}
        ),
        storage=storage, hardware=Hardware.choose("cpu", "fp32", 1), watcher=Watcher(keep_predictions=True),
    )  # fmt: skip
    assert outcome.record.status == "ok", outcome.record.error
    store.put(outcome.record, outcome.predictions, outcome.truth)
    pack(store, [outcome.record], tmp_path / "b.zip", submitter="me", plugins=[toy])
    (run,) = check(tmp_path / "b.zip", storage).runs
    assert run.recomputed.metrics == outcome.record.curves[-1].metrics["test"]


def test_the_same_runs_give_the_same_bundle(source, honest, toy, tmp_path):
    pack(source, source.scan()[0], tmp_path / "again.zip", submitter="A. Researcher", plugins=[toy])
    assert (tmp_path / "again.zip").read_bytes() == honest.read_bytes()


def test_packing_says_what_is_missing(source, toy, tmp_path):
    records = source.scan()[0]
    with pytest.raises(UsageError, match=r"used the plugin toy\.py .*--plugin"):
        pack(source, records, tmp_path / "b.zip", submitter="me")
    with pytest.raises(UsageError, match="no run to pack"):
        pack(source, [], tmp_path / "b.zip", submitter="me")
    (tmp_path / "b.zip").touch()
    with pytest.raises(UsageError, match="exists"):
        pack(source, records, tmp_path / "b.zip", submitter="me", plugins=[toy])
    with pytest.raises(UsageError, match="submitter"):
        pack(source, records, tmp_path / "c.zip", submitter="x" * 300, plugins=[toy])
    assert not (tmp_path / "c.zip").exists()


def test_added_runs_say_who_vouches_for_them(honest, source, tmp_path):
    own = Store(tmp_path / "own")
    checked, new = add(honest, own, Storage.default())
    assert {record.id for record in own.scan()[0]} == {record.id for record in new}
    assert own.scan()[1] == []
    for record in new:
        state = standing(own, record)
        assert (state.level, state.trust.epoch, state.trust.submitter) == ("recomputed", 2, "A. Researcher")
        assert state.covers(2)
        assert not state.covers(1)  # the predictions are those of the last epoch
        assert standing(source, record).level == "rerun"
    (text,) = (own.root / "submissions").iterdir()
    assert text.suffix == ".txt"
    assert checked.sources[text.stem] == text.read_text()
    assert add(honest, own, Storage.default())[1] == []


def test_a_run_made_here_takes_the_place_of_the_note(honest, source, tmp_path):
    own = Store(tmp_path / "own")
    (record, *_) = add(honest, own, Storage.default())[1]
    own.put(record)
    assert standing(own, record).level == "rerun"


def test_a_note_about_another_state_of_the_record_says_nothing(honest, tmp_path):
    own = Store(tmp_path / "own")
    (record, *_) = add(honest, own, Storage.default())[1]
    path = own.path(record.spec)
    path.write_bytes(path.read_bytes() + b"\n")
    assert standing(own, record).level == "self-reported"
    path.with_suffix(".trust.json").write_text("{")
    assert standing(own, record).level == "self-reported"


def test_reruns_confirm_what_comes_back(honest, source, tmp_path):
    own, reruns = Store(tmp_path / "own"), Store(tmp_path / "reruns")
    first, second = add(honest, own, Storage.default())[1]
    reruns.put(first)
    changed = second.curves[0].model_copy(update={"metrics": {}})
    reruns.put(second.model_copy(update={"curves": (changed, second.curves[1])}))
    assert {record.id: same for record, same in confirm(own, reruns)} == {first.id: True, second.id: False}
    assert standing(own, first).level == "rerun"
    assert standing(own, second).level == "recomputed"


def test_a_rerun_in_another_precision_is_told_which_one(honest, tmp_path):
    own, reruns = Store(tmp_path / "own"), Store(tmp_path / "reruns")
    first, _ = add(honest, own, Storage.default())[1]
    other = "fp32" if first.provenance.precision == "bf16" else "bf16"
    changed = first.curves[0].model_copy(update={"metrics": {}})
    reruns.put(
        first.model_copy(
            update={
                "curves": (changed, first.curves[1]),
                "provenance": first.provenance.model_copy(update={"precision": other}),
            }
        )
    )
    result = CliRunner().invoke(main, ["submit", "confirm", "--results", str(own.root), "--reruns", str(reruns.root)])
    assert f"run it again with --precision {first.provenance.precision}" in result.output


def test_without_predictions_or_data_a_run_is_self_reported(source, toy, honest, tmp_path):
    bare = Store(tmp_path / "bare")
    record = source.scan()[0][0]
    bare.put(record)
    pack(bare, [record], tmp_path / "b.zip", submitter="me", plugins=[toy])
    own = Store(tmp_path / "own")
    checked, _ = add(tmp_path / "b.zip", own, Storage.default())
    assert "nothing can be recomputed" in checked.findings[-1].text
    assert standing(own, record).level == "self-reported"
    elsewhere = check(honest, Storage(tmp_path / "empty cache"))
    assert elsewhere.errors == []
    assert all(run.recomputed is None for run in elsewhere.runs)
    assert "not prepared here" in " ".join(finding.text for finding in elsewhere.findings)


def test_the_commands(source, toy, tmp_path):
    def mtbench(*words):
        return CliRunner().invoke(main, ["submit", *map(str, words)])

    path = tmp_path / "b.zip"
    packed = mtbench("pack", path, "--results", source.root, "--submitter", "<b>me</b>", "--plugin", toy)
    assert packed.exit_code == 0, packed.output
    assert "2 runs, 2 with predictions, 0 with checkpoints" in packed.output
    checked = mtbench("check", path)
    assert checked.exit_code == 0
    assert "2 without error, 2 of them recomputed" in checked.output
    added = mtbench("add", path, "--results", tmp_path / "own")
    assert "2 runs added" in added.output
    assert "came back" in mtbench("confirm", "--results", tmp_path / "own", "--reruns", source.root).output
    path.write_bytes(path.read_bytes()[:-30])
    broken = mtbench("check", path)
    assert broken.exit_code == 1
    assert "Traceback" not in broken.output
    assert mtbench("pack", path, "--results", source.root).exit_code == 2


# Lies


@pytest.mark.parametrize(
    ("task", "metric", "factor"),
    [("semantic", "miou", 1.0001), ("depth", "abs_error", 0.99), ("normals", "within_30", 1.02)],
)
def test_a_metric_that_the_predictions_do_not_give_is_named(honest, tmp_path, task, metric, factor):
    def lie(raw):
        found = raw["curves"][-1]["metrics"]["test"][task]
        found[metric] = found[metric] * factor + (0.1 if task == "normals" else 0.0)

    path = forge(honest, tmp_path / "b.zip", lambda contents: edit_record(contents, lie))
    (error,) = errors_of(path)
    assert f"{task} {metric}" in error
    assert "recomputed" in error
    own = Store(tmp_path / "own")
    with pytest.raises(UserError, match="is not added"):
        add(path, own, Storage.default())
    assert not own.root.exists()


def test_a_changed_file_is_named(honest, tmp_path):
    contents = members(honest)
    run = first_run(contents)
    contents[f"records/{run}.json"] += b" "
    (size,) = errors_of(write(tmp_path / "a.zip", contents))
    assert f"records/{run}.json has not the size" in size
    contents = members(honest)
    plugin = next(name for name in contents if name.startswith("plugins/"))
    contents[plugin] = b"#" + contents[plugin][1:]
    (digest,) = errors_of(write(tmp_path / "b.zip", contents))
    assert f"{plugin} has not the SHA-256" in digest


def test_files_that_are_missing_or_too_many_are_named(honest, tmp_path):
    contents = members(honest)
    run = first_run(contents)
    del contents[f"predictions/{run}.npz"]
    assert "is listed and missing" in errors_of(write(tmp_path / "a.zip", contents))[0]
    more = members(honest) | {"plugins/more.py": b"1"}
    assert errors_of(write(tmp_path / "b.zip", more)) == ["plugins/more.py is there and not listed"]
    other = members(honest) | {"records/0000000000000000.json": b"{}"}
    assert "belongs to no run" in errors_of(write(tmp_path / "c.zip", rehash(other)))[0]
    none = {name: content for name, content in members(honest).items() if not name.startswith("plugins/")}
    assert (
        "the source of its plugin toy.py is not in the bundle" in errors_of(write(tmp_path / "d.zip", rehash(none)))[0]
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
        (("curves", 0, "epoch"), -1, "epochs are not"),
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
        (("schema_version",), 2, "record schema 2"),
        (("status",), "excellent", "status"),
        (("cost", "parameters"), "many", "cost.parameters"),
    ],
)
def test_a_record_that_cannot_be_true_is_refused_in_words(honest, tmp_path, path, value, message):
    found = errors_of(forge(honest, tmp_path / "b.zip", lambda c: edit_record(c, lambda raw: set_at(raw, path, value))))
    assert found
    assert message in found[0]


def test_a_record_under_another_runs_name_is_refused(honest, tmp_path):
    def swap(contents):
        one, two = sorted(name for name in contents if name.startswith("records/"))
        contents[one], contents[two] = contents[two], contents[one]

    assert "holds run" in errors_of(forge(honest, tmp_path / "a.zip", swap))[0]

    def edit(contents):
        name = f"records/{first_run(contents)}.json"
        contents[name] = contents[name].replace(b'"batch_size": 4', b'"batch_size": 5')

    assert "it was edited" in errors_of(forge(honest, tmp_path / "b.zip", edit))[0]


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
    path = forge(honest, tmp_path / "b.zip", lambda c: edit_record(c, lambda raw: raw.update(reference=True)))
    assert "'tiny' is no single-task reference" in errors_of(path)[0]


# Hostile archives


def hostile_name(name):
    def build(honest, path):
        return write(path, members(honest) | {name: b"x"})

    return build


def with_info(change):
    """The honest bundle with one more plugin, whose directory entry is changed."""

    def build(honest, path):
        info = zipfile.ZipInfo("plugins/more.py")
        change(info)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members(honest).items():
                archive.writestr(zipfile.ZipInfo(name), content)
            archive.writestr(info, b"x")
        return path

    return build


def link(info):
    info.external_attr = 0o120777 << 16


def device(info):
    info.external_attr = 0o060666 << 16


def packed_by_bzip2(info):
    info.compress_type = zipfile.ZIP_BZIP2


def encrypted(honest, path):
    content = bytearray(honest.read_bytes())
    place = content.rfind(b"PK\x01\x02")
    content[place + 8] |= 1
    path.write_bytes(content)
    return path


def twice(honest, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members(honest).items():
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("manifest.json", b"{}")
    return path


def twice_but_for_case(honest, path):
    return write(path, members(honest) | {"plugins/A.py": b"1", "plugins/a.py": b"2"})


def bomb(honest, path):
    return write(path, members(honest) | {"records/0000000000000000.json": b" " * (7 << 20)})


def too_large(honest, path):
    return write(path, members(honest) | {"plugins/large.py": os.urandom(2 << 20)})


def too_many(honest, path):
    return write(path, members(honest) | {f"plugins/p{i}.py": b"" for i in range(2001)})


def with_comment(honest, path):
    shutil.copy(honest, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"hello"
    return path


def zip64(honest, path):
    content = honest.read_bytes()
    path.write_bytes(content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:])
    return path


def huge_directory(honest, path):
    content = honest.read_bytes()
    end = bytearray(content[-22:])
    struct.pack_into("<I", end, 12, 1 << 30)
    path.write_bytes(content[:-22] + end)
    return path


def lying_size(honest, path):
    """The directory says that the manifest is one byte longer than it is."""
    content = bytearray(honest.read_bytes())
    place = struct.unpack_from("<I", content, len(content) - 6)[0]  # where the directory begins
    size = struct.unpack_from("<I", content, place + 24)[0]
    struct.pack_into("<I", content, place + 24, size + 1)
    path.write_bytes(content)
    return path


def no_manifest(honest, path):
    return write(path, {name: content for name, content in members(honest).items() if name != "manifest.json"})


def compressed_predictions(honest, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members(honest).items():
            archive.writestr(name, content)
    return path


def empty(honest, path):
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (hostile_name("../evil.json"), "'../evil.json' is none of"),
        (hostile_name("records/../../evil.json"), "is none of"),
        (hostile_name("/etc/cron.d/evil"), "is none of"),
        (hostile_name("C:\\evil.py"), "is none of"),
        (hostile_name("plugins\\evil.py"), "is none of"),
        (hostile_name("plugins/.hidden.py"), "is none of"),
        (hostile_name("plugins/\x1b[2Jevil.py"), r"\x1b[2Jevil.py' is none of"),
        (hostile_name("plugins/<script>.py"), "is none of"),
        (hostile_name("records/"), "is none of"),
        (with_info(link), "is no plain file but a link"),
        (with_info(device), "is no plain file"),
        (with_info(packed_by_bzip2), "compressed in another way"),
        (encrypted, "is encrypted"),
        (twice, "is there twice"),
        (twice_but_for_case, "some systems take for one"),
        (bomb, "a bomb"),
        (too_large, "at most 1048576 are allowed"),
        (too_many, "too many"),
        (with_comment, "no zip file without comment"),
        (zip64, "zip64"),
        (huge_directory, "too many"),
        (lying_size, ""),
        (no_manifest, "has no manifest.json"),
        (compressed_predictions, "only stored here"),
        (empty, "no zip file"),
    ],
)
def test_hostile_archives_are_refused_in_one_line(honest, tmp_path, build, message):
    (tmp_path / "in").mkdir()
    path = build(honest, tmp_path / "in" / "b.zip")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        check(path, Storage.default())
    assert message in one_line(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


# Hostile JSON


def nested(depth):
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace(b'"learning_rate": 0.001', b'"learning_rate": NaN'), "NaN is no number"),
        (lambda text: text.replace(b'"learning_rate": 0.001', b'"learning_rate": -Infinity'), "-Infinity is no number"),
        (lambda text: text.replace(b'"learning_rate": 0.001', b'"learning_rate": 1e999'), "too large"),
        (lambda text: text.replace(b'"parameters": ', b'"parameters": 1' + b"0" * 5000), "too many digits"),
        (lambda text: text.replace(b'"error": null', b'"error": ' + nested(100_000)), "nested too deeply"),
        (lambda text: text.replace(b'"error": null', b'"error": ' + nested(500)), "recursion limit"),
        (lambda text: text.replace(b'"error": null', b'"error": null, "error": null'), "a key twice"),
        (lambda text: text.replace(b'"error": null', b'"error": null, "extra": 1'), "extra"),
        (lambda text: text[:-20], "not sound JSON"),
        (lambda text: b"\xff\xfe" + text, "not sound JSON"),
        (lambda text: b"[]", "record schema None"),
        (lambda text: b"", "not sound JSON"),
        (lambda text: b'"' + b"a" * 1000 + b'"', "record schema None"),
        (lambda text: text.replace(b'"schema_version": 1', b'"schema_version": ' + nested(300)), "record schema"),
    ],
)
def test_hostile_records_are_refused_in_one_line(honest, tmp_path, spoil, message):
    def edit(contents):
        name = f"records/{first_run(contents)}.json"
        before, contents[name] = contents[name], spoil(contents[name])
        assert contents[name] != before

    (error,) = errors_of(forge(honest, tmp_path / "b.zip", edit))
    assert message in error


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw | {"bundle_schema": 2}, "bundle schema 2"),
        (lambda raw: raw | {"bundle_schema": True}, "bundle schema True"),
        (lambda raw: raw | {"runs": []}, "runs"),
        (lambda raw: raw | {"runs": [{"id": "../../../../etc", "predictions": True}]}, "runs.0.id"),
        (lambda raw: raw | {"runs": raw["runs"] * 2}, "names a run twice"),
        (lambda raw: raw | {"submitter": "x" * 10_000}, "submitter"),
        (lambda raw: raw | {"files": {"x": {"sha256": "zz", "size": -1}}}, "files"),
        (lambda raw: raw | {"unknown": 1}, "unknown"),
        (lambda raw: [raw], "bundle schema None"),
        (lambda raw: None, "bundle schema None"),
    ],
)
def test_hostile_manifests_are_refused_in_one_line(honest, tmp_path, spoil, message):
    contents = members(honest)
    contents["manifest.json"] = json.dumps(spoil(json.loads(contents["manifest.json"]))).encode()
    assert message in errors_of(write(tmp_path / "b.zip", contents))[0]


SCRIPT = "<script>alert('x')</script>\x1b[31m\u202e{{7*7}}[bold]red[/]"


def test_html_and_control_characters_stay_text(honest, tmp_path):
    def poison(raw):
        raw["provenance"] |= {"device": SCRIPT, "platform": SCRIPT, "started": SCRIPT, "suite_version": SCRIPT}
        raw["tasks"][0]["classes"] = [SCRIPT] * 3
        raw["status"], raw["error"] = "failed", SCRIPT

    def edit(contents):
        edit_record(contents, poison)
        manifest = json.loads(contents["manifest.json"])
        contents["manifest.json"] = json.dumps(manifest | {"submitter": SCRIPT, "note": SCRIPT}).encode()

    path = forge(honest, tmp_path / "b.zip", edit)
    own = Store(tmp_path / "own")
    _, new = add(path, own, Storage.default())
    (record,) = [record for record in new if record.status == "failed"]
    assert own.get(record.spec).provenance.device == SCRIPT  # kept as it is: pages escape it
    assert standing(own, record).trust.submitter == SCRIPT
    output = CliRunner().invoke(main, ["submit", "check", str(path)]).output
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "<script>" in output  # as text
    assert "[bold]red[/]" in output  # no markup of the terminal's either


def test_foreign_text_is_one_printable_line():
    assert shown("a\n\n b\tc\x00\x1b[2J") == r"a b c\x00\x1b[2J"
    assert len(shown("x" * 10_000)) == 200
    assert shown("\ud800").isprintable()


def test_plugins_are_never_run(honest, source, toy, tmp_path):
    (record, *_) = source.scan()[0]
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    theirs = Store(tmp_path / "theirs")
    digest = hashlib.sha256(trap.read_bytes()).hexdigest()
    trapped = record.model_copy(update={"provenance": record.provenance.model_copy(update={"plugins": {"t": digest}})})
    theirs.put(trapped)
    pack(theirs, [trapped], tmp_path / "b.zip", submitter="me", plugins=[trap])
    own = Store(tmp_path / "own")
    assert add(tmp_path / "b.zip", own, Storage.default())[1] == [trapped]
    assert not (tmp_path / "ran").exists()
    assert (own.root / "submissions" / f"{digest}.txt").read_bytes() == trap.read_bytes()


# Hostile predictions


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def arrays_of(contents):
    with np.load(io.BytesIO(contents[f"predictions/{first_run(contents)}.npz"])) as arrays:
        return dict(arrays)


def npz(arrays, pickle=False):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=pickle, **arrays)
    return buffer.getvalue()


def raw_npz(**members_):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members_.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def header(text):
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


def change(**changes):
    def build(arrays, folder):
        for key, edit in changes.items():
            name = f"test-{key.replace('_', '-')}"
            arrays[name] = edit(arrays[name])
        return npz(arrays)

    return build


def pickled(arrays, folder):
    arrays["test-depth"] = np.array([Trap(folder / "ran")] * len(arrays["test-depth"]), dtype=object)
    return npz(arrays, pickle=True)


def pickle_by_header(arrays, folder):
    return by_header("{'descr': '|O', 'fortran_order': False, 'shape': (5, 1, 32, 32), }")(arrays, folder)


def arrays_as_npy(arrays):
    found = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        found[name] = buffer.getvalue()
    return found


def by_header(text):
    def build(arrays, folder):
        return raw_npz(**arrays_as_npy(arrays) | {"test-depth": header(text)})

    return build


def truncated(arrays, folder):
    return npz(arrays)[:-100]


def no_archive(arrays, folder):
    return b"\x93NUMPY"


def longer(arrays, folder):
    parts = arrays_as_npy(arrays)
    parts["test-depth"] += b"more"
    return raw_npz(**parts)


def shorter(arrays, folder):
    parts = arrays_as_npy(arrays)
    parts["test-depth"] = parts["test-depth"][:-4]
    return raw_npz(**parts)


def another(arrays, folder):
    return npz(arrays | {"../../evil": np.zeros(1)})


def fewer(arrays, folder):
    del arrays["test-depth"]
    return npz(arrays)


def half(array):
    return array[: len(array) // 2]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (pickled, "holds objects"),
        (pickle_by_header, "holds objects"),
        (
            by_header("{'descr': '<f2', 'fortran_order': False, 'shape': (999999999, 999999, 32, 32), }"),
            "must have the shape",
        ),
        (by_header("{'descr': '<f2', 'fortran_order': True, 'shape': (5, 1, 32, 32), }"), "must have the shape"),
        (by_header("{'descr': '<f2', 'fortran_order': False, 'shape': (5, 1, 32, 32), }"), "0 bytes"),
        (by_header("{'descr': '>f2', 'fortran_order': False, 'shape': (5, 1, 32, 32), }"), "no plain number"),
        (by_header("{'descr': [('a', '<f2')], 'fortran_order': False, 'shape': (5, 1, 32, 32), }"), "holds objects"),
        (by_header("{'descr': '<c16', 'fortran_order': False, 'shape': (5, 1, 32, 32), }"), "no plain number"),
        (by_header("__import__('os').system('true')"), "damaged"),
        (by_header("{'descr': '<f2', 'shape': " + "(" * 60), "damaged"),
        (truncated, "no zip file"),
        (no_archive, "no zip file"),
        (longer, "bytes, not the"),
        (shorter, "bytes, not the"),
        (another, "must hold"),
        (fewer, "must hold"),
        (change(depth=half, depth_id=half), "must have the shape"),
        (change(depth_id=lambda ids: ids[::-1].copy()), "not those of the test split"),
        (change(semantic=lambda x: np.full_like(x, 3)), "whole numbers from 0 to 2"),
        (change(semantic=lambda x: np.full_like(x, -1)), "whole numbers from 0 to 2"),
        (change(semantic=lambda x: x.astype(np.float32)), "whole numbers from 0 to 2"),
        (change(semantic=lambda x: x[::-1].copy()), "give other metrics"),
        (change(depth=lambda x: np.full_like(x, np.nan)), "none recomputed"),
        (change(depth=lambda x: np.full_like(x, np.inf)), "none recomputed"),
        (change(normals=np.zeros_like), "give other metrics"),
    ],
)
def test_hostile_predictions_are_refused_in_one_line(honest, tmp_path, build, message):
    def edit(contents):
        contents[f"predictions/{first_run(contents)}.npz"] = build(arrays_of(contents), tmp_path)

    path = forge(honest, tmp_path / "b.zip", edit)
    (error,) = errors_of(path)
    assert message in error
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.zip"]


# Checkpoints


@pytest.fixture(scope="module")
def networks(toy, tmp_path_factory):
    """A bundle of a run of a registered architecture with its network, and without predictions."""
    storage, folder = Storage.default(), tmp_path_factory.mktemp("networks")
    build_dataset("toy-words").prepare(storage)
    spec = spec_of("tiny", "equal", dataset="toy-words").model_copy(
        update={"architecture": Component.of(ARCHITECTURES, "split", {"width": 4, "backbone": "wrn-10"})}
    )
    hardware = Hardware.choose("cpu", "fp32", 1)
    outcome = execute(spec, storage=storage, hardware=hardware, watcher=Watcher(keep_model=True))
    assert outcome.record.status == "ok", outcome.record.error
    store = Store(folder / "results")
    store.put(outcome.record, outcome.predictions, outcome.truth)
    assert store.model(outcome.record).suffix == ".safetensors"
    assert not any(name.startswith("model-") for name in store.predictions(outcome.record))
    pack(store, [outcome.record], folder / "b.zip", submitter="me", plugins=[toy])
    return folder / "b.zip"


def model_of(contents):
    return f"models/{first_run(contents)}.safetensors"


def store_models(path, contents):
    """As ``write``; checkpoints are stored, too."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            stored = name.startswith(("predictions/", "models/"))
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
    return path


def forge_model(networks, path, build):
    contents = members(networks)
    name = model_of(contents)
    contents[name] = build(contents[name])
    return store_models(path, rehash(contents))


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
    contents = members(networks)
    record = RunRecord.model_validate_json(contents[f"records/{first_run(contents)}.json"])

    def turn(content):
        tensors = safetensors.numpy.load(content)
        key = max((key for key in tensors if key.startswith("heads.0")), key=lambda key: tensors[key].ndim)
        return safetensors.numpy.save(tensors | {key: -tensors[key]})

    (error,) = errors_of(forge_model(networks, tmp_path / "b.zip", turn))
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

    contents = members(networks)
    run = first_run(contents)
    raw = json.loads(contents.pop(f"records/{run}.json"))
    rename(raw)
    raw["id"] = new = RunSpec.model_validate(raw["spec"]).id
    contents[f"records/{new}.json"] = json.dumps(raw).encode()
    contents[f"models/{new}.safetensors"] = contents.pop(f"models/{run}.safetensors")
    manifest = json.loads(contents["manifest.json"])
    manifest["runs"][0]["id"] = new
    contents["manifest.json"] = json.dumps(manifest).encode()
    unknown = check(store_models(tmp_path / "u.zip", rehash(contents)), Storage.default())
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
    (error,) = errors_of(forge_model(networks, tmp_path / "b.zip", build))
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
    contents = members(networks)
    run = first_run(contents)
    raw = json.loads(contents.pop(f"records/{run}.json"))
    raw["spec"]["architecture"]["options"] |= options
    raw["id"] = new = RunSpec.model_validate(raw["spec"]).id
    contents[f"records/{new}.json"] = json.dumps(raw).encode()
    contents[f"models/{new}.safetensors"] = contents.pop(f"models/{run}.safetensors")
    manifest = json.loads(contents["manifest.json"])
    manifest["runs"][0]["id"] = new
    contents["manifest.json"] = json.dumps(manifest).encode()
    (error,) = errors_of(store_models(tmp_path / "b.zip", rehash(contents)))
    assert message in error


def test_a_compressed_checkpoint_is_refused(networks, tmp_path):
    assert "only stored here" in errors_of(write(tmp_path / "b.zip", members(networks)))[0]


def test_a_checkpoint_is_checked_beside_predictions_too(source, toy, tmp_path):
    storage, store = Storage.default(), Store(tmp_path / "both")
    watcher = Watcher(keep_predictions=True, keep_model=True)
    outcome = execute(
        spec_of("tiny", "equal", 7), storage=storage, hardware=Hardware.choose("cpu", "fp32", 1), watcher=watcher
    )
    store.put(outcome.record, outcome.predictions, outcome.truth)
    manifest = pack(store, [outcome.record], tmp_path / "b.zip", submitter="me", plugins=[toy])
    assert (manifest.runs[0].predictions, manifest.runs[0].model) == (True, True)
    checked = check(tmp_path / "b.zip", storage)
    assert "recomputed from the predictions" in checked.findings[-1].text
    (error,) = errors_of(forge_model(tmp_path / "b.zip", tmp_path / "c.zip", lambda content: content[:-4]))
    assert "bytes for them" in error
    store.put(outcome.record)  # without it, the file goes
    assert store.model(outcome.record) is None


# Fuzzing


def listing(folder):
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    return tmp_path_factory.mktemp("arena")


def judge(path, folder):
    """An error in one line or a correct result; nothing written beside the bundle."""
    before = listing(folder)
    try:
        checked = check(path, Storage.default())
    except UserError as error:
        one_line(error)
    else:
        for finding in checked.findings:
            one_line(finding.text)
        for run in checked.runs:
            assert run.recomputed is None or run.recomputed.differences == ()
    assert listing(folder) == before


FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
def test_changed_bytes_give_an_error_or_a_result(honest, arena, changes, at_the_end):
    content = bytearray(honest.read_bytes())
    start = len(content) - 1500 if at_the_end else 0  # the directory is at the end, and small
    for place, value in changes:
        content[start + int(place * (len(content) - 1 - start))] = value
    path = arena / "b.zip"
    path.write_bytes(content)
    judge(path, arena)


@FUZZ
@given(st.floats(0, 1), st.floats(0, 1))
def test_missing_parts_give_an_error(honest, arena, start, stop):
    content = honest.read_bytes()
    first, last = sorted((int(start * len(content)), int(stop * len(content))))
    path = arena / "b.zip"
    path.write_bytes(content[:first] + content[last:])
    judge(path, arena)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@FUZZ
@given(st.data())
def test_changed_values_give_an_error_or_a_result(honest, arena, data):
    """Any value of a record or of the manifest replaced by any JSON, with hashes that fit."""
    contents = members(honest)
    name = data.draw(st.sampled_from(["manifest.json", f"records/{first_run(contents)}.json"]))
    raw = place = json.loads(contents[name])
    while True:
        keys = range(len(place)) if isinstance(place, list) else sorted(place)
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.integers(0, 5)) == 0:
            break
        place = place[key]
    place[key] = data.draw(JSON)
    contents[name] = json.dumps(raw).encode()
    with contextlib.suppress(TypeError, KeyError):
        contents = rehash(contents)
    judge(write(arena / "b.zip", contents), arena)


@FUZZ
@given(st.binary(max_size=300))
def test_rubbish_is_refused(arena, content):
    path = arena / "b.zip"
    path.write_bytes(content)
    with pytest.raises(UserError):
        check(path, Storage.default())


def test_records_are_bounded_all_together(honest, monkeypatch):
    """Each may be small, and all together, parsed, would still fill the memory."""
    monkeypatch.setattr(bundle_module, "LARGEST_TEXT", 5000)
    with pytest.raises(UserError, match=r"besides predictions and checkpoints; at most 5000 are allowed"):
        check(honest, Storage.default())


def test_limits_hold_while_reading(honest, monkeypatch, tmp_path):
    """A member that unpacks to more than it declares stops at its declared size."""
    with bundle_module.Bundle(honest) as bundle:
        bundle.members["manifest.json"].file_size = 10
        with pytest.raises(UserError):
            bundle.read("manifest.json")


def test_a_record_is_its_bytes(source):
    for record in source.scan()[0]:
        assert source.path(record.spec).read_bytes() == record_bytes(record)
        assert isinstance(source.root, Path)
