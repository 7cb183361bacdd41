"""Honest bundles: what is recomputed, who vouches for it, and the commands."""

import hashlib
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.data import Storage, build_dataset
from benchmark.errors import UsageError, UserError
from benchmark.registry import ARCHITECTURES
from benchmark.runs.record import RunRecord, record_bytes
from benchmark.runs.spec import Component, RunSpec
from benchmark.runs.store import Store
from benchmark.runs.trust import Trust, standing, trust_bytes
from benchmark.submission import add, check, confirm, pack
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from tests.benchmark.submission import bundles

pytestmark = pytest.mark.slow


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
        bundles.spec_of("tiny", "equal", dataset="toy-words").model_copy(
            update={"architecture": Component.from_registry(ARCHITECTURES, "split", {"width": 4, "backbone": "wrn"})}
        ),
        storage=storage, hardware=Hardware.choose("cpu", "fp32", 1), watcher=Watcher(keep_predictions=True),
    )  # fmt: skip
    assert outcome.record.status == "ok", outcome.record.error
    store.put(outcome.record, outcome.predictions, outcome.truth)
    pack(store, [outcome.record], tmp_path / "b.zip", submitter="me", plugins=[toy])
    (run,) = check(tmp_path / "b.zip", storage).runs
    assert run.recomputed.metrics == outcome.record.curves[-1].metrics["test"]


def test_no_name_of_a_task_is_taken_for_something_else(toy, tmp_path):
    """Neither in a store nor in a bundle, of which one with such names was refused."""
    storage, store = Storage.default(), Store(tmp_path / "names")
    (dataset := build_dataset("toy-names")).prepare(storage)
    outcome = execute(
        bundles.spec_of("tiny", "equal", dataset="toy-names").model_copy(
            update={"architecture": Component.from_registry(ARCHITECTURES, "split", {"width": 4, "backbone": "wrn"})}
        ),
        storage=storage, hardware=Hardware.choose("cpu", "fp32", 1),
        watcher=Watcher(keep_predictions=True, keep_model=True),
    )  # fmt: skip
    assert outcome.record.status == "ok", outcome.record.error
    store.put(outcome.record, outcome.predictions, outcome.truth)
    shown = store.predictions(outcome.record)
    assert set(shown) == {task.name for task in dataset.tasks}
    assert all(np.array_equal(shown[name], outcome.predictions[name]) for name in shown)
    assert set(store.truth(outcome.record)) == {"image", "id", *shown}
    pack(store, [outcome.record], tmp_path / "b.zip", submitter="me", plugins=[toy])
    checked = check(tmp_path / "b.zip", storage)
    assert checked.errors == []
    (run,) = checked.runs
    assert run.recomputed.metrics == outcome.record.curves[-1].metrics["test"]


def test_the_same_runs_give_the_same_bundle(source, honest, toy, tmp_path):
    pack(source, source.scan()[0], tmp_path / "again.zip", submitter="A. Researcher", plugins=[toy])
    assert (tmp_path / "again.zip").read_bytes() == honest.read_bytes()


@pytest.mark.parametrize(("name", "most"), [("MOST_MEMBERS", 3), ("LARGEST_TEXT", 1000), ("LARGEST_DIRECTORY", 100)])
def test_what_nobody_could_take_is_not_packed(source, toy, tmp_path, monkeypatch, name, most):
    monkeypatch.setattr(f"benchmark.submission.bundle.{name}", most)
    with pytest.raises(UserError, match=r"nobody could take this bundle: .*b\.zip .*; pack fewer runs at a time"):
        pack(source, source.scan()[0], tmp_path / "b.zip", submitter="me", plugins=[toy])
    assert list(tmp_path.glob("*b.zip*")) == []


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
    held = {record.id: verdict for record, verdict in confirm(own, reruns)}
    assert held[first.id].holds
    assert not held[second.id].holds  # natively others than these two seeds must say how large the noise is
    assert "cannot be judged" in held[second.id].words
    assert standing(own, first).level == "rerun"
    assert standing(own, second).level == "recomputed"


def portable(record):
    """The same numbers as a run of portable arithmetic, which nobody promises of them."""
    protocol = record.spec.protocol.model_copy(update={"arithmetic": "portable"})
    spec = RunSpec.model_validate(record.spec.model_copy(update={"protocol": protocol}).model_dump())
    return record.model_copy(update={"spec": spec, "id": spec.id})


def submitted(store, record):
    """Put a record into a store as a submission's."""
    digest = hashlib.sha256(record_bytes(record)).hexdigest()
    store.put(record, note=trust_bytes(Trust(run=record.id, level="self-reported", record_sha256=digest)))


def with_accuracy(record, change):
    """The same record with another pixel accuracy of the last epoch on test."""
    raw = json.loads(record.model_dump_json())
    values = raw["curves"][-1]["metrics"]["test"]["semantic"]
    values["pixel_accuracy"] = change(values["pixel_accuracy"])
    return RunRecord.model_validate(raw)


def test_a_portable_run_is_confirmed_by_its_bits_alone(source, tmp_path):
    own, reruns = Store(tmp_path / "own"), Store(tmp_path / "reruns")
    record = portable(source.scan()[0][0])
    submitted(own, with_accuracy(record, lambda value: math.nextafter(value, 0)))
    words = ["submit", "confirm", "--results", str(own.root), "--reruns", str(reruns.root)]
    reruns.root.mkdir()
    nothing = CliRunner().invoke(main, words)
    assert nothing.exit_code == 1
    assert "none of the 1 submitted runs" in nothing.stderr
    packages = record.provenance.packages | {"torch": "1.0"}
    reruns.put(record.model_copy(update={"provenance": record.provenance.model_copy(update={"packages": packages})}))
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert f"(made with torch {record.provenance.packages['torch']}, here 1.0)" in result.output
    assert "differs first at epoch 2, metrics, test, semantic, pixel_accuracy: " in result.output
    assert "1 of 1 compared runs are not confirmed" in result.stderr
    assert standing(own, own.scan()[0][0]).level == "self-reported"
    submitted(own, record)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0
    assert "came back bit for bit" in result.output
    assert standing(own, record).level == "rerun"


def test_submitted_seeds_say_nothing_of_the_noise(source, tmp_path):
    """However far submitted seeds scatter: the spread is that of what was run here, and there is none."""
    own, reruns = Store(tmp_path / "own"), Store(tmp_path / "reruns")
    record = source.scan()[0][0]
    for seed in range(6):
        spec = record.spec.model_copy(update={"seed": seed})
        spec = RunSpec.model_validate(spec.model_dump())
        found = record.model_copy(update={"spec": spec, "id": spec.id})
        submitted(own, with_accuracy(found, lambda _, seed=seed: 10.0 * seed))
    reruns.put(with_accuracy(record, lambda _: 5.0))
    held = [verdict for _, verdict in confirm(own, reruns) if verdict is not None]
    assert [verdict.holds for verdict in held] == [False]
    assert "cannot be judged" in held[0].words


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
