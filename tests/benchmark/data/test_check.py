"""Checks and cards of prepared sets, and the commands that show them."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.commands.data import console, parse_options
from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.data.check import check
from benchmark.data.measured import CARD_FILE, data_card
from benchmark.data.prepared import array_hash, content_hash
from benchmark.errors import UsageError, UserError
from benchmark.registry import load_plugin_file
from tests.benchmark.data.archive import write_archive


@pytest.fixture(scope="module")
def prepared(toy, tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("prepared"))
    dataset = build_dataset("toy", size=20, train=4, val=3, test=2)
    dataset.prepare(storage)
    return dataset, storage


@pytest.fixture
def copy(prepared, tmp_path):
    dataset, storage = prepared
    shutil.copytree(storage.cache, tmp_path / "copy")
    return dataset, Storage(tmp_path / "copy")


def forge(dataset, storage, file, change):
    """Change an array and make its hashes fit, as a faulty preparation would."""
    folder = dataset.folder(storage)
    array = np.load(folder / f"{file}.npy")
    array = change(array)
    np.save(folder / f"{file}.npy", array)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["arrays"][file] = array_hash(array)
    manifest["content_hash"] = content_hash(manifest["arrays"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


def put(at, value):
    def change(array):
        array[at] = value
        return array

    return change


def test_a_sound_set_has_no_problems(prepared):
    assert check(*prepared) == []


FORGED = {
    "a class too many": ("val-semantic", put((0, 5, 5), 3), r"val-semantic holds values from 0 to 3, expected 0 to 2"),
    "a class below": ("val-semantic", put((0, 5, 5), -2), r"from -2 to"),
    "negative depth": ("test-depth", put((0, 0, 5, 5), -1), r"test-depth holds values from -1 to .* m$"),
    "no number": ("test-depth", put((0, 0, 5, 5), np.nan), r"test-depth holds values that are not finite: 1"),
    "a long normal": ("train-normals", put((0, slice(None), 5, 5), 0.9), r"not of unit length"),
    "a normal out of range": ("train-normals", put((0, 0, 5, 5), 2), r"expected -1 to 1"),
    "fewer samples": ("val-depth", lambda array: array[1:], r"val-depth holds 2 samples, expected 3"),
    "another type": ("val-depth", lambda array: array.astype(np.float32), r"'dtype' is float16 in the manifest"),
    "an id twice": ("test-id", lambda array: array[[0, 0]], r"names a sample twice"),
    "other ids": ("test-id", lambda array: array[::-1], r"not the list of ids in the manifest"),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_a_faulty_preparation_made_is_named(copy, what):
    file, change, message = FORGED[what]
    forge(*copy, file, change)
    problems = check(*copy)
    assert len(problems) >= 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problems[0])


def test_a_changed_value_is_found_by_its_hash(copy):
    dataset, storage = copy
    file = dataset.folder(storage) / "val-image.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    [problem] = check(dataset, storage)
    assert str(file) in problem


def test_a_changed_unit_is_found(copy):
    dataset, storage = copy
    file = dataset.folder(storage) / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["fields"]["depth"]["unit"] = "mm"
    file.write_text(json.dumps(manifest))
    assert "train-depth: 'unit' is mm in the manifest, expected m" in check(dataset, storage)


# Cards.


def test_a_card_counts_what_is_there(copy):
    dataset, storage = copy
    card = data_card(dataset, storage)
    assert card["stated"] is None
    for split in SPLITS:
        loaded, measured = dataset.load(split, storage), card["splits"][split]
        assert measured["samples"] == len(loaded)
        assert set(measured["pictured"]) <= set(loaded.ids.tolist())
        semantic = loaded.targets["semantic"].numpy()
        found = measured["fields"]["semantic"]
        assert [entry["count"] for entry in found["classes"]] == [(semantic == c).sum() for c in range(3)]
        assert found["unknown"] == (semantic == -1).sum()
        assert sum(entry["count"] for entry in found["classes"]) == found["known"]
        depth, measured_depth = loaded.targets["depth"].numpy().astype(float), measured["fields"]["depth"]
        assert measured_depth["unknown"] == (depth == 0).sum()
        assert measured_depth["minimum"] == depth[depth > 0].min()
        assert measured_depth["mean"] == pytest.approx(depth[depth > 0].mean())
        [histogram] = measured_depth["histograms"]
        edges = np.linspace(histogram["low"], histogram["high"], len(histogram["counts"]) + 1)
        assert histogram["counts"] == np.histogram(depth[depth > 0], edges)[0].tolist()
        normals = loaded.targets["normals"].numpy()
        assert [sum(h["counts"]) for h in measured["fields"]["normals"]["histograms"]] == [
            (normals != 0).any(1).sum()
        ] * 3


def test_a_cards_floor_is_what_pooling_by_hand_gives(copy):
    dataset, storage = copy
    floor = data_card(dataset, storage)["floor"]
    train, test = (dataset.load(split, storage) for split in ("train", "test"))
    guess = np.array([np.bincount(p[p >= 0], minlength=3).argmax() for p in _pixels(train.targets["semantic"])])
    truth = _pixels(test.targets["semantic"])
    known = truth >= 0
    assert floor["test"]["semantic"]["pixel_accuracy"] == pytest.approx(
        100 * (np.broadcast_to(guess[:, None], truth.shape)[known] == truth[known]).mean()
    )
    pixels = _pixels(train.targets["depth"]).astype(float)
    guess = np.array([_median(p if (p > 0).any() else pixels) for p in pixels])
    truth = _pixels(test.targets["depth"]).astype(float)
    error = np.abs(guess[:, None] - truth)[truth > 0]
    assert floor["test"]["depth"]["abs_error"] == pytest.approx(error.mean())
    assert floor["test"]["depth"]["rel_error"] == pytest.approx((error / truth[truth > 0]).mean())
    assert floor["test"]["normals"]["mean_angle"] > 0
    assert floor.keys() == {"val", "test"}


def _median(values):
    """The lower one of all known values."""
    known = np.sort(values[values > 0])
    return known[(len(known) - 1) // 2]


def _pixels(targets):
    """(N, …, H, W) -> (pixels, N)."""
    return targets.numpy().reshape(len(targets), -1).T


def test_a_card_is_kept_until_the_content_changes(copy):
    dataset, storage = copy
    card = data_card(dataset, storage)
    file = dataset.folder(storage) / CARD_FILE
    assert json.loads(file.read_text()) == card
    file.write_text(file.read_text().replace('"samples": 4', '"samples": 44'))
    assert data_card(dataset, storage)["splits"]["train"]["samples"] == 44  # kept, not made again
    forge(dataset, storage, "val-semantic", lambda array: array[::-1])
    assert data_card(dataset, storage)["splits"]["train"]["samples"] == 4
    file.write_text("{")
    assert data_card(dataset, storage)["splits"]["train"]["samples"] == 4


def test_classes_of_whole_pictures_are_counted(toy, tmp_path):
    dataset, storage = build_dataset("toy-words"), Storage(tmp_path)
    dataset.prepare(storage)
    brightness = data_card(dataset, storage)["splits"]["train"]["fields"]["brightness"]
    assert sum(entry["count"] for entry in brightness["classes"]) == 64
    assert check(dataset, storage) == []


def test_every_set_of_the_suite_has_a_card():
    for name in ("scenes", "multi-fashion", "nyuv2", "nyuv2-npy", "cityscapes", "cityscapes-npy"):
        dataset = build_dataset(name)
        assert set(dataset.card.targets) == {task.name for task in dataset.tasks}
        for text in (dataset.card.licence, dataset.card.citation, dataset.card.obtain, dataset.card.splits):
            assert text.endswith(".")
        assert dataset.card.caveats


# Commands.


@pytest.fixture
def mtbench(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "cache"))

    def run(*words):
        return CliRunner().invoke(main, ["data", *words], catch_exceptions=False)

    return run


def test_prepare_check_and_list(mtbench, tmp_path):
    result = mtbench("prepare", "toy", "--option", "size=20", "--option", "train=4")
    assert result.exit_code == 0, result.output
    assert "toy is ready: 4 train, 5 val, 5 test" in result.output
    assert list(tmp_path.glob("cache/toy-*/card.json"))
    result = mtbench("check")
    assert result.exit_code == 0, result.output
    assert "✓ toy: 4 train, 5 val, 5 test" in result.output
    result = mtbench("list")
    assert result.exit_code == 0, result.output
    assert "mtbench data prepare nyuv2 --source DIR" in result.output
    assert "official page: https://www.cityscapes-dataset.com" in result.output
    assert "ready" in result.output


def test_check_names_what_is_wrong_and_fails(mtbench, tmp_path):
    mtbench("prepare", "toy")
    [file] = tmp_path.glob("cache/toy-*/val-depth.npy")
    file.unlink()
    result = mtbench("check", "toy")
    assert result.exit_code == 1
    assert "✗ toy:" in result.output
    assert str(file) in result.output
    assert "1 of 1 prepared sets are not sound" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["check"], 1, "nothing is prepared"),
        (["check", "toy"], 1, "toy is not prepared"),
        (["check", "--option", "size=3"], 2, "--option needs the name of a data set"),
        (["check", "tyo"], 2, "Did you mean 'toy'"),
        (["prepare", "toy", "--option", "size"], 2, "--option needs NAME=VALUE"),
        (["prepare", "toy", "--option", "sise=3"], 2, "Did you mean 'size'"),
        (["prepare", "toy", "--source", "missing"], 2, "a folder that exists, found 'missing'"),
        (["prepare", "toy", "--source", "toy=missing"], 1, "there is no folder missing"),
        (["prepare", "toy", "--source", "scenes=/"], 2, "is of 'scenes', but this is about 'toy'"),
        (["prepare", "nyuv2"], 1, "mtbench data prepare nyuv2 --source DIR"),
    ],
)
def test_mistakes_are_one_line(mtbench, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    result = mtbench(*words)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_options_are_parsed():
    assert parse_options(["a=3", "b=raw", "c=true", "d=1.5", "e=x=y"]) == {
        "a": 3, "b": "raw", "c": True, "d": 1.5, "e": "x=y",
    }  # fmt: skip
    with pytest.raises(UsageError):
        parse_options(["=3"])


def test_a_set_that_is_not_prepared_has_no_card(toy, tmp_path):
    with pytest.raises(UserError, match="cannot be used"):
        data_card(build_dataset("toy"), Storage(tmp_path))


def test_list_shows_what_was_interrupted(mtbench, tmp_path, monkeypatch):
    plugin = Path(__file__).parent / "numbers_plugin.py"
    load_plugin_file(plugin)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(14):
        (source / f"{number:02}.txt").write_text(str(number))
    (source / "06.txt").write_text("six")
    words = ["prepare", "numbers", "--plugin", str(plugin), "--source", str(source), "--option", "size=6"]
    result = mtbench(*words)
    assert result.exit_code == 1
    assert "06.txt holds 'six'" in result.stderr
    monkeypatch.setattr(console, "_width", 200)
    listed = mtbench("list", "--plugin", str(plugin)).output
    assert re.search(r"numbers +│ size=6 +│ interrupted at 38%", listed)
    (source / "06.txt").write_text("6")
    assert mtbench(*words).exit_code == 0
    assert re.search(r"numbers +│ size=6 +│ ready", mtbench("list").output)


# Official files.


@pytest.fixture
def numbers(tmp_path, mtbench):
    """Prepares 'numbers' from files of its own; the words of its plugin, and the folder."""
    plugin = Path(__file__).parent / "numbers_plugin.py"
    load_plugin_file(plugin)
    folder = tmp_path / "official"
    folder.mkdir()
    for number in range(14):
        (folder / f"{number:02}.txt").write_text(str(number))
    return ["--plugin", str(plugin)], folder


@pytest.mark.parametrize("word", ["{}", "numbers={}"])
def test_a_source_is_a_folder_or_a_name_and_a_folder(mtbench, numbers, tmp_path, word):
    plugin, folder = numbers
    result = mtbench("prepare", "numbers", *plugin, "--source", word.format(folder))
    assert result.exit_code == 0, result.output
    assert "9 train, 2 val, 3 test" in result.output
    result = mtbench("check", "numbers", "--source", word.format(folder))
    assert result.exit_code == 0, result.output
    assert "official files unchanged" in result.output


def test_check_compares_the_official_files_where_they_are(mtbench, numbers, tmp_path):
    plugin, folder = numbers
    assert mtbench("prepare", "numbers", *plugin, "--source", str(folder)).exit_code == 0
    other = shutil.copytree(folder, tmp_path / "other")
    (folder / "03.txt").write_text("33")
    (folder / "05.txt").unlink()
    result = mtbench("check")
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if "✗" in line]
    assert f"2 of 14 source files in {folder} are not what was prepared: 03.txt has the SHA-256 c6f3ac57944a…" in line
    assert mtbench("check", "--source", str(other)).exit_code == 0
    (other / "07.txt").unlink()
    result = mtbench("check", "numbers", "--source", str(other))
    assert result.exit_code == 1
    assert f"1 of 14 source files in {other} is not what was prepared: 07.txt is missing" in result.output
    shutil.rmtree(folder)
    result = mtbench("check")
    assert result.exit_code == 0, result.output
    assert "official files not here, so not compared" in result.output
    (tmp_path / "empty").mkdir()
    result = mtbench("check", "--source", f"numbers={tmp_path / 'empty'}")
    assert result.exit_code == 1
    assert "14 of 14 source files" in result.output


def test_a_word_that_may_mean_two_things_is_refused(mtbench, numbers, tmp_path, monkeypatch):
    plugin, _ = numbers
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers=official").mkdir()
    result = mtbench("prepare", "numbers", *plugin, "--source", "numbers=official")
    assert result.exit_code == 2
    assert "write ./numbers=official for the first" in result.stderr
    assert (
        "numbers=official holds no .txt file" in mtbench("prepare", "numbers", "--source", "./numbers=official").stderr
    )


def test_files_in_a_folder_below_the_named_one_are_found_elsewhere_too(tmp_path):
    below = write_archive(tmp_path / "one" / "decathlon-1.0", ("dtd",))
    [dataset] = build_dataset("decathlon", sets="dtd", limit=4).pieces
    dataset.prepare(Storage(tmp_path / "cache", {dataset.name: tmp_path / "one"}))
    assert check(dataset, Storage(tmp_path / "cache")) == []
    (tmp_path / "one").rename(tmp_path / "two")
    assert check(dataset, Storage(tmp_path / "cache")) == []
    moved = Storage(tmp_path / "cache", {dataset.name: tmp_path / "two"})
    assert check(dataset, moved) == []
    picture = next((tmp_path / "two" / below.relative_to(tmp_path / "one") / "data").rglob("val/*/*.jpg"))
    picture.write_bytes(b"")
    [flaw] = check(dataset, moved)
    assert picture.name in flaw
