"""Visual Decathlon from files in exactly the official format, to a board and to the challenge's list."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from benchmark import analysis
from benchmark.cli import main
from benchmark.data import Storage, build_dataset
from benchmark.data.check import check
from benchmark.data.decathlon import CHALLENGE, Annotation, carved, chosen, facts, spread
from benchmark.data.decathlon.canvas import on_canvas
from benchmark.data.mapped import VARIABLE, MappedImages
from benchmark.data.measured import data_card
from benchmark.data.split import squares
from benchmark.errors import UsageError, UserError
from benchmark.registry import PLUGIN_FILES
from benchmark.runs.store import Store
from tests.benchmark.data.archive import write_archive

HERE = Path(__file__).parent

SETS = ("aircraft", "gtsrb", "daimlerpedcls")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive"), SETS)


@pytest.fixture
def copy(source, tmp_path):
    """An archive that a test may break."""
    return shutil.copytree(source, tmp_path / "archive")


@pytest.fixture(scope="module")
def dataset():
    return build_dataset("decathlon", sets=",".join(SETS), limit=100)


@pytest.fixture(scope="module")
def storage(source, tmp_path_factory, dataset):
    storage = Storage(tmp_path_factory.mktemp("cache"), {"decathlon": source})
    dataset.prepare(storage)
    return storage


def annotation(folder, name="aircraft", split="train"):
    return folder / "annotations" / f"{name}_{split}.json"


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# What is prepared.


def test_every_set_becomes_a_task_with_its_own_pictures(dataset, storage):
    assert [(task.name, task.kind, task.channels) for task in dataset.tasks] == [
        ("aircraft", "classification", 100), ("gtsrb", "classification", 43), ("daimlerpedcls", "classification", 2),
    ]  # fmt: skip
    # Of 10 training pictures a class, the fifth is held out; the official val is the test split.
    assert dataset.manifest(storage)["samples"] == {"train": 54, "val": 6, "test": 24, CHALLENGE: 24}
    for split, count in {"train": 18, "val": 2, "test": 8, CHALLENGE: 8}.items():
        parts = dataset.load(split, storage).parts
        assert list(parts) == list(SETS)
        for name, part in parts.items():
            assert len(part) == count
            assert list(part.targets) == [name]
            expected = {-1: count} if split == CHALLENGE else {0: count / 2, 1: count / 2}
            assert Counter(part.targets[name].tolist()) == expected


def test_splits_share_no_picture_and_ids_say_where_each_comes_from(dataset, storage, source):
    for name in SETS:
        seen = [i for split in dataset.splits for i in dataset.load(split, storage).parts[name].ids.tolist()]
        assert len(set(seen)) == len(seen) == 36
        entries = [Annotation.from_id(word) for word in seen]
        assert all((source / entry.file).is_file() and entry.id in seen for entry in entries)
        assert len({entry.number for entry in entries}) == 36


def test_pictures_are_squares_from_the_middle(dataset, storage, source):
    part = dataset.load("train", storage).parts["aircraft"]
    pictures = part.pictures(torch.arange(len(part)))
    assert pictures.shape == (18, 3, 72, 72)
    for word, picture in zip(part.ids, pictures, strict=True):
        image = Image.open(source / Annotation.from_id(str(word)).file)
        factor = 72 / min(image.size)
        size = [max(72, round(side * factor)) for side in image.size]
        if image.size != tuple(size):
            image = image.resize(size, Image.Resampling.BILINEAR)
        # Longer ones than 108 lose their ends first, half a pixel more or less.
        left, upper = ((min(side, 108) - 72) // 2 + max(0, side - 108) // 2 for side in size)
        expected = np.asarray(image)[upper : upper + 72, left : left + 72].transpose(2, 0, 1)
        assert np.array_equal(picture.numpy(), expected)


def test_a_random_square_lies_anywhere_on_the_picture_and_never_beyond(dataset, storage):
    for name in ("aircraft", "daimlerpedcls"):
        part = dataset.load("train", storage).parts[name]
        every = torch.arange(len(part))
        for where in (0.0, 0.5, 1 - 1e-9):
            pictures = part.pictures(every, torch.full((len(part),), where, dtype=torch.float64))
            assert pictures[:, 2].min() > 40  # blue is nowhere black, as the canvas is beyond the picture
    canvas, extent = on_canvas(np.dstack([np.tile(np.arange(100), (72, 1))] * 3).astype(np.uint8), 108)
    starts = squares(
        torch.from_numpy(canvas).expand(3, -1, -1, -1), torch.tensor([extent] * 3), torch.tensor([0, 0.5, 0.999])
    )[:, 0, 0, 0]
    assert starts.tolist() == [0, 14, 28]


def test_upright_pictures_stay_upright():
    tall = np.dstack([np.tile(np.arange(100)[:, None], (1, 72))] * 3).astype(np.uint8)
    canvas, extent = on_canvas(tall, 108)
    assert extent == -100
    square = squares(torch.from_numpy(canvas)[None], torch.tensor([extent]), torch.tensor([0.0]))
    assert np.array_equal(square[0].numpy(), tall[:72].transpose(2, 0, 1))


def test_the_prepared_form_is_sound_and_has_its_cards(dataset, storage):
    for piece in dataset.pieces:
        assert check(piece, storage) == []
        assert data_card(piece, storage)["stated"]["licence"]


def test_another_choice_of_sets_prepares_nothing_twice(dataset, storage):
    fewer = build_dataset("decathlon", sets="gtsrb", limit=100)
    assert fewer.is_ready(storage)
    assert fewer.content_hash(storage) != dataset.content_hash(storage)
    assert not build_dataset("decathlon", sets="gtsrb", limit=10).is_ready(storage)


def test_val_is_carved_class_by_class():
    entries = [Annotation(number, number % 3, f"{number}.jpg") for number in range(60)]
    train, val = carved(entries)
    assert sorted(train + val, key=lambda entry: entry.number) == entries
    assert [entry.number for entry in val] == [12, 13, 14, 42, 43, 44]
    assert [e.number for e in spread(entries, 4)] == [0, 15, 30, 45]
    assert spread(entries, 0) == spread(entries, 99) == entries


def test_which_sets_there_are():
    assert len(chosen("ten")) == 10
    assert set(chosen("ten")) - set(chosen("nine")) == {"imagenet12"}
    assert chosen("dtd, svhn") == ["dtd", "svhn"]
    for wrong, message in (("dtt", "Did you mean 'dtd'"), ("dtd,dtd", "twice"), (3, "not 3"), ("", "unknown set")):
        with pytest.raises(UsageError, match=message):
            build_dataset("decathlon", sets=wrong)


def test_the_table_is_that_of_the_challenge():
    # Category ids count the sets in alphabetical order; ImageNet, which is named by its year, comes as 'imagenet12'.
    for k, name in enumerate(sorted(facts()), 1):
        assert facts()[name].first_category == k * 10**7 + 1
    assert sum(sum(each.official.values()) for each in facts().values()) == 1_405_943 + 113_439 + 139_760
    assert {name for name, each in facts().items() if not each.flips} == {"gtsrb", "omniglot", "svhn"}


# Pictures too many for the device.


def test_streamed_pictures_are_the_resident_ones(dataset, storage, monkeypatch):
    resident = dataset.load("train", storage).parts["aircraft"]
    monkeypatch.setenv(VARIABLE, "1000")
    streamed = dataset.load("train", storage).parts["aircraft"]
    assert isinstance(streamed.images, MappedImages)
    assert isinstance(resident.images, torch.Tensor)
    orders = torch.randperm(18, generator=torch.Generator().manual_seed(0)).split(5)
    for order, following in zip(orders, (*orders[1:], orders[0]), strict=True):
        found = streamed.pictures(order)
        streamed.images.expect(following)  # the last one is not asked for next
        assert torch.equal(found, resident.pictures(order))
    assert torch.equal(streamed.pictures(orders[1]), resident.pictures(orders[1]))


def test_a_limit_that_is_no_number_is_refused(dataset, storage, monkeypatch):
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(UserError, match="whole number of bytes, found 'much'"):
        dataset.load("train", storage)


# Broken archives.


def double(content):
    content["images"].append(content["images"][0])


def beyond(content):
    content["annotations"][3]["category_id"] += 100


def outside(content):
    content["images"][0]["file_name"] = "../secret.jpg"


def alone(content):
    content["annotations"].pop()


def typed(content):
    content["images"][0]["id"] = "one"


def emptied(content):
    del content["images"]


def twice(content):
    content["annotations"].append(content["annotations"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (double, "names the picture 10200001 twice"),
        (beyond, "holds the category 10000102, expected 10000001 to 10000100"),
        (outside, r"'\.\./secret\.jpg', expected a path inside the archive"),
        (alone, "the picture 10200020 has no annotation or no file name"),
        (typed, "an entry whose 'id' is \"one\", expected a whole number"),
        (emptied, "has no list 'images'"),
        (twice, "annotates the picture 10200001 twice"),
    ],
)
def test_wrong_annotations_are_one_clear_line(copy, tmp_path, change, message):
    edit(annotation(copy), change)
    refused(copy, tmp_path, message)


def refused(folder, tmp_path, message, **options):
    storage = Storage(tmp_path / "cache", {"decathlon": folder})
    dataset = build_dataset("decathlon", **{"sets": "aircraft", "limit": 100, **options})
    with pytest.raises(UserError, match=message) as caught:
        dataset.prepare(storage)
    assert "\n" not in str(caught.value)
    assert not dataset.is_ready(storage)


def test_broken_archives_are_one_clear_line(copy, tmp_path):
    refused(copy, tmp_path, "names 20 pictures, expected 3334", limit=0)
    refused(copy, tmp_path, "dtd_train.json is missing; unpack decathlon-1.0-devkit", sets="dtd")
    refused(copy / "data", tmp_path, "holds no folder 'annotations'; Download decathlon-1.0-devkit.tar.gz")
    picture = copy / "data/aircraft/val/0001/000001.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:700])
    refused(copy, tmp_path, "000001.jpg cannot be read as JPEG")
    picture.write_bytes(b"no picture")
    refused(copy, tmp_path, "000001.jpg cannot be read as JPEG")
    picture.unlink()
    refused(copy, tmp_path, "000001.jpg is missing; unpack aircraft.tar in")
    picture.write_bytes(whole)
    annotation(copy).write_text("{")
    refused(copy, tmp_path, "aircraft_train.json is not whole JSON")
    annotation(copy).write_text("[]")
    refused(copy, tmp_path, "holds a list, expected an object")


def test_a_class_too_small_for_a_val_picture_is_told(tmp_path):
    folder = write_archive(tmp_path / "small", ("dtd",), counts={"train": 3, "val": 2, "test": 2})
    refused(folder, tmp_path, "no sample for the split 'val'", sets="dtd")


def test_without_a_source_it_is_said_how_to_get_the_files(tmp_path):
    with pytest.raises(UserError, match=r"--source decathlon=DIR.*robots\.ox\.ac\.uk"):
        build_dataset("decathlon").prepare(Storage(tmp_path))


# The score.


def published():
    with (HERE / "mtan2019_table4.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    found = {}
    for row in rows:
        found.setdefault((row["architecture"], row["weighting"]), {})[row["metric"]] = float(row["value"])
    return found


def test_the_papers_scores_come_out_of_its_accuracies():
    table = published()
    assert len(table) == 8
    for row in table.values():
        accuracies = {key.removeprefix("acc:"): value for key, value in row.items() if key.startswith("acc:")}
        assert len(accuracies) == 10
        assert analysis.decathlon_score(accuracies) == pytest.approx(row["decathlon_score"], abs=2.5)


def test_the_score_by_hand():
    assert analysis.decathlon_score(dict.fromkeys(facts(), 100.0)) == 10_000
    assert analysis.decathlon_score({"svhn": 96.55}) == pytest.approx(250)
    assert analysis.decathlon_score({"svhn": 96.55, "dtd": 3.0}) == pytest.approx(250)
    frame = pd.DataFrame(
        [("mtan", "equal", seed, task, "accuracy", value)
         for seed, values in enumerate([(100.0, 96.55), (100.0, np.nan)])
         for task, value in zip(("dtd", "svhn"), values, strict=True)],
        columns=["architecture", "weighting", "seed", "task", "metric", "value"],
    )  # fmt: skip
    scores = analysis.decathlon_scores(frame)["score"].tolist()
    assert scores[0] == pytest.approx(1250)
    assert np.isnan(scores[1])


# From the archive to the board and to the challenge.

GRID = """
seeds = [0]
architectures = ["mtan", "cross-stitch"]
weightings = ["equal"]
[architecture]
backbone = "wrn-10"
width = 4
[protocol]
epochs = 1
batch_size = 6
optimizer = "sgd"
weight_decay = 5e-5
flip = true
random_crop = true
[datasets.decathlon]
options = { sets = "aircraft,gtsrb,daimlerpedcls", limit = 16 }
"""


@pytest.mark.slow
def test_from_the_archive_to_a_board_and_the_challenges_list(here, source, tmp_path, monkeypatch):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(PLUGIN_FILES, "toy.py", raising=False)  # another test's, in this process
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(GRID)

    def mtbench(*words):
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    mtbench("run", "--grid", "grid.toml", "--source", f"decathlon={source}", "--workers", "1", "--keep-predictions")
    mtbench("submit", "pack", "runs.zip", "--submitter", "A. Tester")
    assert "3 of them recomputed" in mtbench("submit", "check", "runs.zip")
    mtbench("report")
    page = min((tmp_path / "reports").glob("decathlon-*.html"), key=lambda path: len(path.name)).read_text()
    assert all(name in page for name in SETS)
    assert "score S" in page
    records, _ = Store(tmp_path / "results").scan()
    assert [record.status for record in records] == ["ok"] * 3
    run = next(record for record in records if record.spec.architecture.name == "mtan")
    said = mtbench("submit", "decathlon", run.id[:8], "--out", "list.json")
    assert "24 pictures are listed" in said
    assert "imagenet12, cifar100" in said.replace("\n", " ")
    listed = json.loads((tmp_path / "list.json").read_text())
    official = []
    for name in SETS:
        content = json.loads((source / "annotations" / f"{name}_test_stripped.json").read_text())
        official += [image["id"] for image in content["images"]]
        categories = {category["id"] for category in content["categories"]}
        mine = [entry for entry in listed if entry["image_id"] in {image["id"] for image in content["images"]}]
        assert {entry["category_id"] for entry in mine} <= categories
    assert [entry["image_id"] for entry in listed] == official
    assert all(set(entry) == {"image_id", "category_id"} for entry in listed)
    for words, message in (
        (("zzz",), "no run in results"),
        (("",), "3 runs in results"),
    ):
        result = CliRunner().invoke(main, ["submit", "decathlon", *words, "--out", "x.json"])
        assert result.exit_code == 1
        assert message in result.output
    Store(tmp_path / "results").path(run.spec).with_suffix(".npz").unlink()
    result = CliRunner().invoke(main, ["submit", "decathlon", run.id, "--out", "x.json"])
    assert result.exit_code == 1
    assert "is not beside its record" in result.output.replace("\n", " ")
