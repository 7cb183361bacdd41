"""`mtbench verify` as a user meets it."""

import json
import math
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.commands import verify as command
from benchmark.data import Storage, build_dataset
from benchmark.execution.inline import InlineExecutor
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.runs.store import Store
from benchmark.training.hardware import Hardware
from benchmark.training.run import execute, first_steps

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)


def spec(arithmetic, seed=0, architecture="forgetful", epochs=2):
    """Three steps an epoch, with dropout: what is drawn must come back too."""
    return RunSpec(
        dataset=Component.from_registry(DATASETS, "toy"),
        architecture=Component.from_registry(ARCHITECTURES, architecture, {"width": 4}),
        weighting=Component.from_registry(WEIGHTINGS, "equal"),
        seed=seed,
        protocol=Protocol(epochs=epochs, batch_size=4, learning_rate=1e-2, arithmetic=arithmetic),
    )


@pytest.fixture(scope="module")
def made(toy, tmp_path_factory):
    """A folder of two portable records and a native one, computed in this process."""
    store = Store(tmp_path_factory.mktemp("made") / "results")
    build_dataset("toy").prepare(Storage.default())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchmark.training.hardware.started_for", lambda arithmetic: True)
        for run in (spec("portable"), spec("portable", 1), spec("native")):
            outcome = execute(run, storage=Storage.default(), hardware=CPU)
            store.put(outcome.record, outcome.predictions, outcome.truth)
    return store.root


@pytest.fixture
def results(made, tmp_path):
    """A copy to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "results"))


@pytest.fixture
def in_process(here, monkeypatch):
    """Runs are done again in this process, where the records of ``made`` were computed."""
    monkeypatch.setattr(command, "LocalExecutor", InlineExecutor)


def verify(results, *words):
    return CliRunner().invoke(main, ["verify", "--results", str(results), *map(str, words)])


def edit(results, run, change):
    """Change a record's JSON."""
    path = Store(results).path(run)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def files(results):
    """What is in a results folder, apart from what is derived."""
    return {p: p.read_bytes() for p in results.rglob("*") if p.is_file() and ".mtbench" not in p.parts}


def one_line(result, code, *parts):
    assert result.exit_code == code, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("Error:")
    for part in parts:
        assert part in line, line


def test_a_portable_record_comes_back_in_a_worker_of_its_own(toy, tmp_path):
    """Made by one worker, done again by another, and its first steps by a third; the store stays as it was."""
    (tmp_path / "grid.toml").write_text(
        'description = "toy"\nseeds = [0]\narchitectures = ["forgetful"]\nweightings = ["equal"]\n[architecture]\n'
        'width = 4\nbackbone = "unet-1-1-2"\n[protocol]\nepochs = 1\nbatch_size = 4\nlearning_rate = 1e-2\n'
        "[datasets.toy]\n"
    )
    results = tmp_path / "results"
    words = ["--grid", tmp_path / "grid.toml", "--results", results, "--plugin", toy, "--arithmetic", "portable"]
    ran = CliRunner().invoke(main, ["run", *map(str, words), "--device", "cpu", "--workers", "1"])
    assert ran.exit_code == 0, ran.output
    before = files(results)
    record = next(r for r in Store(results).scan()[0] if not r.reference)
    whole = verify(results, record.id[:6], "--plugin", toy)
    assert whole.exit_code == 0, whole.output
    assert f"toy forgetful equal seed 0 ({record.id}): came back bit for bit (" in whole.output
    assert "1 of 1 record held" in whole.output
    begun = verify(results, record.id, "--plugin", toy, "--steps", 2)
    assert begun.exit_code == 0, begun.output
    assert "bit for bit in the traced steps (1, 2)" in begun.output
    assert files(results) == before


def test_every_record_of_a_sample_is_told(results, in_process):
    result = verify(results, "--sample", 9)
    assert result.exit_code == 0, result.output
    assert result.output.count("came back bit for bit") == 3
    assert verify(results, "--sample", 1).output == verify(results, "--sample", 1).output
    drawn = {verify(results, "--sample", 1, "--seed", seed).output for seed in range(6)}
    assert len(drawn) > 1


def test_a_number_that_was_altered_is_found_and_weighed(results, in_process):
    run, other = spec("portable"), spec("portable", 1)
    before, elsewhere = {}, {}
    edit(results, run, lambda raw: before.update(raw["curves"][1]["metrics"]["test"]["depth"]))
    edit(results, other, lambda raw: elsewhere.update(raw["curves"][1]["metrics"]["test"]["depth"]))
    altered = before["abs_error"] + 0.25
    edit(results, run, lambda raw: raw["curves"][1]["metrics"]["test"]["depth"].update(abs_error=altered))
    result = verify(results, run.id, other.id)
    one_line(result, 1, "1 of 2 records did not hold")
    # Of two seeds a and b the standard deviation is |a - b| / √2; the altered number is one of them.
    share = abs(altered - before["abs_error"]) / (abs(altered - elsewhere["abs_error"]) / math.sqrt(2))
    line = next(line for line in result.output.splitlines() if run.id in line)
    assert f"epoch 2, metrics, test, depth, abs_error: {altered} → {before['abs_error']}, {share:.2g} of the" in line
    assert f"seed 1 ({other.id}): came back" in result.output


def test_altered_pictures_are_found(results, in_process):
    store = Store(results)
    record = store.get(spec("portable"))
    kept = store.predictions(record)
    kept["semantic"][0, 5, 5] = 2 - kept["semantic"][0, 5, 5]
    kept["semantic"][0, 6, 6] = 1 + kept["semantic"][0, 6, 6]
    store.put(record, kept)
    result = verify(results, record.id)
    one_line(result, 1)
    assert "pictures, semantic" in result.output


def test_a_native_record_with_other_bits_is_judged_by_noise(results, in_process):
    run = spec("native")
    edit(results, run, lambda raw: raw["curves"][1]["metrics"]["test"]["depth"].update(abs_error=9.0))
    one_line(verify(results, run.id), 1, "1 of 1 record did not hold, or could not be judged here")
    assert "cannot be judged: other bits, as native arithmetic allows" in verify(results, run.id).output


def test_first_steps_are_compared_by_their_hashes(results, in_process):
    run = spec("portable")
    result = verify(results, run.id, "--steps", 5)
    assert result.exit_code == 0, result.output
    assert "in the traced steps (1, 2, 5)" in result.output
    edit(results, run, lambda raw: raw["trace"].update({"5": "0" * 16}))
    assert verify(results, run.id, "--steps", 4).exit_code == 0
    result = verify(results, run.id, "--steps", 5)
    one_line(result, 1)
    assert "differs in step 5, the first that does of the traced ones (1, 2, 5)" in result.output


def test_first_steps_are_those_of_the_whole_run(made, in_process):
    """Beyond an epoch, whose evaluation is part of it; and to the end of a run that has no more steps."""
    whole = Store(made).get(spec("portable")).trace
    for steps, known in ((1, [1]), (4, [1, 2]), (5, [1, 2, 5]), (50, [1, 2, 5])):
        found = first_steps(spec("portable"), storage=Storage.default(), hardware=CPU, steps=steps)
        assert found == {step: whole[step] for step in known}
    failing = first_steps(spec("portable", architecture="explosive"), storage=Storage.default(), hardware=CPU, steps=5)
    assert sorted(failing) == [1, 2]  # it raises in its third step


def test_a_record_of_the_old_schema(results, in_process):
    run = spec("native")

    def older(raw):
        raw["schema_version"] = 1
        for name in ("kinds", "optimizer_groups", "trace"):
            del raw[name]
        for name in ("numerics", "determinism", "resumed"):
            del raw["provenance"][name]

    edit(results, run, older)
    assert "came back bit for bit" in verify(results, run.id).output
    result = verify(results, run.id, "--steps", 5)
    one_line(result, 1)
    assert "only the whole run can be compared" in result.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda raw: raw["spec"]["architecture"].update(version=7),
            "of version 7 of the architecture 'forgetful'",
        ),
        (lambda raw: raw["spec"]["weighting"].update(name="elsewhere"), "no weighting 'elsewhere' here: name the file"),
        (lambda raw: raw["spec"].update(suite=3), "of version 3 of the suite's numbers, and here is version 1"),
        (lambda raw: raw["provenance"].update(data_hash="e" * 64), "its run had eeeeeeeeeeee"),
    ],
)
def test_what_cannot_be_done_again_is_told_in_a_line(results, in_process, change, words):
    path = Store(results).path(spec("portable"))
    raw = json.loads(path.read_text())
    path.unlink()
    change(raw)
    raw["id"] = (changed := RunSpec.model_validate(raw["spec"])).id
    Store(results).path(changed).write_text(json.dumps(raw))
    result = verify(results, changed.id)
    one_line(result, 1, "1 of 1 record did not hold, or could not be judged here")
    assert "cannot be done again here: " in result.output
    assert words in result.output


def test_a_record_of_cuda_needs_cuda(results, in_process, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run = spec("native")
    edit(results, run, lambda raw: raw["provenance"].update(device_type="cuda"))
    result = verify(results, run.id)
    assert result.exit_code == 1
    assert "it was made on CUDA, and there is no such device here" in result.output


def test_other_versions_are_named(results, in_process):
    run = spec("portable")
    edit(results, run, lambda raw: raw["provenance"]["packages"].update(torch="1.0"))
    edit(results, run, lambda raw: raw["provenance"]["plugins"].update({"toy.py": "0"}))
    result = verify(results, run.id)
    assert result.exit_code == 0
    assert "came back bit for bit" in result.output
    assert "(made with torch 1.0, here " in result.output
    assert "another toy.py)" in result.output


def test_a_damaged_cache_is_told_in_a_line(results, in_process, tmp_path, monkeypatch):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "cache"))
    run = spec("portable")
    assert verify(results, run.id, "--steps", 1).exit_code == 0  # the data are prepared first
    for path in (tmp_path / "cache").rglob("train-image.npy"):
        path.write_bytes(path.read_bytes()[:50])
    result = verify(results, run.id, "--steps", 1)
    assert result.exit_code == 1
    assert "cannot be done again here: " in result.output


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["by ids or by --sample N", "mtbench verify -h"]),
        (["00", "--sample", "1"], ["and not by both"]),
        (["zz"], ["no record in", "begins with 'zz'"]),
        ([""], ["'' is the beginning of 3 ids", "write more of it"]),
        (["00", "--sample", "0"], ["--sample"]),
    ],
)
def test_wrong_words(made, words, parts):
    one_line(verify(made, *words), 2, *parts)


def test_folders_without_records(tmp_path):
    one_line(verify(tmp_path / "none", "--sample", 1), 1, "there is no results folder")
    assert list(tmp_path.iterdir()) == []
    one_line(verify(tmp_path, "--sample", 1), 1, "no run in")
