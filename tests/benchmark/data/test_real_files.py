"""Files as users have them: hidden, unreadable, missing, elsewhere, unpacked in other ways, and of other sets."""

import gzip
import json
import os
import shutil
from pathlib import Path
from time import time

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.commands.sources import parse_sources
from benchmark.data import Storage, build_dataset
from benchmark.data.check import check
from benchmark.data.cityscapes.classes import class_table
from benchmark.data.dataset import silent
from benchmark.data.decathlon.annotations import read_annotations
from benchmark.data.decathlon.facts import facts
from benchmark.data.prepared import OLD, load_array, sweep_scratch
from benchmark.data.streaming import Plan, Preparation
from benchmark.errors import UserError
from tests.benchmark.data.archive import write_archive
from tests.benchmark.data.photographs import save
from tests.benchmark.data.test_multi_fashion import FILES, write_articles

TOO_LONG = Path("/") / ("x" * 300)
OPTIONS = {
    "cityscapes": {"limit": 9},
    "cityscapes-npy": {"limit": 9},
    "nyuv2": {"limit": 9},
    "nyuv2-npy": {"limit": 9},
    "decathlon": {"sets": "aircraft", "limit": 9},
    "multi-fashion": {"train": 5, "val": 5, "test": 5},
}
TOWNS = {"train": ("aachen", "ulm"), "val": ("munster",)}


def cityscapes(folder, place="{}"):
    """Empty files of the official names; ``place`` says where each of the three folders lies."""
    for where, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds"), ("disparity", "disparity")):
        for half, towns in TOWNS.items():
            for town in towns:
                there = folder / place.format(where) / half / town
                there.mkdir(parents=True)
                for i in range(2):
                    (there / f"{town}_00000{i}_000019_{ending}.png").touch()
    return folder


def arrays(folder, names=("image", "label", "depth", "normal")):
    for half in ("train", "val"):
        for name in names:
            (folder / half / name).mkdir(parents=True)
            for i in range(4):
                (folder / half / name / f"{i}.npy").touch()
    return folder


def planned(name, folder):
    return build_dataset(name, **OPTIONS[name]).plan(folder)


@pytest.fixture
def unreadable(monkeypatch):
    """Makes a folder one that may not be read: for root every folder may."""

    def hide(folder):
        listed = os.listdir

        def refuse(path="."):
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        monkeypatch.setattr("os.listdir", refuse)

    return hide


# Hidden files.


@pytest.mark.parametrize(("name", "make"), [("cityscapes", cityscapes), ("nyuv2-npy", arrays)])
def test_hidden_files_are_none_of_a_set(name, make, tmp_path):
    before = planned(name, make(tmp_path / "source"))
    folders = [path for path in (tmp_path / "source").rglob("*") if path.is_dir()]
    for folder in folders:
        (folder / ".DS_Store").touch()
        for file in list(folder.iterdir()):
            (folder / f"._{file.name}").touch()
            (folder / f".{file.name}").touch()
    after = planned(name, tmp_path / "source")
    assert {split: ids.tolist() for split, ids in after.ids.items()} == {k: v.tolist() for k, v in before.ids.items()}
    assert after.files == before.files


# What cannot be looked at.


@pytest.mark.parametrize("name", OPTIONS)
def test_a_path_that_cannot_be_looked_at_is_named(name, tmp_path):
    dataset = build_dataset(name, **OPTIONS[name])
    with pytest.raises(UserError, match=r"/xxx.*…x+[-/\w.]* cannot be looked at \(File name too long\)") as caught:
        dataset.prepare(Storage(tmp_path, {name: TOO_LONG}))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "make", "part"),
    [("cityscapes", cityscapes, "leftImg8bit/train/ulm"), ("nyuv2-npy", arrays, "train/depth")],
)
def test_an_unreadable_folder_is_no_smaller_set(name, make, part, unreadable, tmp_path):
    source = make(tmp_path / "source")
    unreadable(source / part)
    with pytest.raises(UserError, match=rf"{part} cannot be looked at \(Permission denied\)"):
        planned(name, source)


@pytest.mark.parametrize(
    "words",
    [
        ["data", "check"], ["data", "check", "toy"], ["data", "list"], ["data", "prepare", "toy"],
        ["data", "prepare", "nyuv2", "--source", str(TOO_LONG)], ["data", "list", "--plugin", str(TOO_LONG)],
    ],
)  # fmt: skip
def test_commands_name_a_path_that_cannot_be_looked_at(words, toy, monkeypatch, tmp_path):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path if str(TOO_LONG) in words else TOO_LONG))
    result = CliRunner().invoke(main, words)
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), result.exception
    assert len(result.stderr.splitlines()) == 1
    assert "xxxx" in result.stderr


# Missing files.


def test_a_source_that_is_gone_is_named_and_not_the_cache(tmp_path):
    dataset, storage = build_dataset("cityscapes", limit=9), Storage(tmp_path / "cache")
    storage.cache.mkdir()
    plan = planned("cityscapes", cityscapes(tmp_path / "source"))
    gone = plan.files[1]
    gone.unlink()
    gone.symlink_to(tmp_path / "nowhere")
    preparation = Preparation(dataset, Plan(plan.root, plan.ids, plan.files), storage, silent)
    preparation.partial.mkdir()
    with pytest.raises(UserError, match=r"\.png cannot be looked at \(No such file or directory\)") as caught:
        preparation.run()
    assert str(gone) in str(caught.value)
    assert "cache" not in str(caught.value).replace(str(tmp_path), "")


def test_numbers_with_leading_zeros_are_named(tmp_path):
    source = arrays(tmp_path)
    (source / "train/depth/3.npy").rename(source / "train/depth/0003.npy")
    with pytest.raises(UserError, match=r"train/depth holds 0003\.npy, expected it to be named 3\.npy"):
        planned("nyuv2-npy", source)


@pytest.mark.parametrize("count", range(2, 12))
def test_few_files_make_every_split(count, tmp_path):
    source = arrays(tmp_path)
    for name in ("image", "label", "depth", "normal"):
        for i in range(12):
            file = source / f"train/{name}/{i}.npy"
            file.touch() if i < count else file.unlink(missing_ok=True)
    ids = build_dataset("nyuv2-npy", limit=20).plan(source).ids
    assert all(len(ids[split]) for split in ("train", "val", "test"))
    assert len(ids["train"]) + len(ids["val"]) == count


# The same files, and others.


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    """A prepared set from tiny files."""
    write_articles(tmp_path / "source")
    monkeypatch.setattr("benchmark.data.multi_fashion.OFFICIAL", {})
    dataset = build_dataset("multi-fashion", train=600, val=5, test=5)
    storage = Storage(tmp_path / "cache", {"multi-fashion": tmp_path / "source"})
    dataset.prepare(storage)
    return dataset, storage


def test_ids_that_are_drawn_may_come_twice(fashion):
    dataset, storage = fashion
    assert len(set(dataset.load("train", storage).ids)) < 600
    assert check(dataset, storage) == []


def test_the_same_files_elsewhere_are_the_same(fashion, tmp_path):
    dataset, storage = fashion
    shutil.copytree(tmp_path / "source", tmp_path / "moved")
    elsewhere = Storage(storage.cache, {"multi-fashion": tmp_path / "moved"})
    dataset.prepare(elsewhere)
    write_articles(tmp_path / "moved", train=130)
    with pytest.raises(UserError, match=r"not from .*moved: 4 of 4 source files .* are not what was prepared: t10k-"):
        dataset.prepare(elsewhere)
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(UserError, match=r"not from .*moved: 4 of 4 source files"):
        dataset.prepare(elsewhere)


def test_other_sets_with_files_of_the_same_names_are_refused(tmp_path):
    write_articles(tmp_path)
    with pytest.raises(UserError, match=r"-ubyte\.gz holds 120 entries, and they are not Fashion-MNIST's: other sets"):
        build_dataset("multi-fashion", train=5, val=5, test=5).prepare(
            Storage(tmp_path / "cache", {"multi-fashion": tmp_path})
        )


@pytest.mark.parametrize("place", ["", "raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("rename", [None, lambda name: name, lambda name: name.replace("-idx", ".idx")])
def test_unpacked_files_and_torchvisions_root_will_do(fashion, place, rename, tmp_path):
    dataset, storage = fashion
    there = tmp_path / "other" / place
    there.mkdir(parents=True)
    for name in FILES:
        file = tmp_path / "source" / name
        if rename is None:
            shutil.copy(file, there)
        else:
            (there / rename(file.stem)).write_bytes(gzip.decompress(file.read_bytes()))
    found = dataset.build("val", tmp_path / "other", silent)
    assert (found["image"] == dataset.load("val", storage).images.numpy()).all()
    assert len(dataset.source_files(tmp_path / "other")) == 4


# Forms in which official files are unpacked.


def test_cityscapes_may_lie_in_folders_called_as_the_zip_files(tmp_path):
    plain = planned("cityscapes", cityscapes(tmp_path / "plain"))
    apart = planned("cityscapes", cityscapes(tmp_path / "apart", "{0}_trainvaltest/{0}"))
    assert {k: v.tolist() for k, v in apart.ids.items()} == {k: v.tolist() for k, v in plain.ids.items()}
    assert len(apart.files) == len(plain.files) == 18


def test_the_same_picture_twice_is_named(tmp_path):
    source = cityscapes(tmp_path)
    shutil.copytree(source / "leftImg8bit/train/ulm", source / "leftImg8bit/train/ulm copy")
    with pytest.raises(UserError, match=r"ulm copy/ulm_.*png is there twice, also as .*train/ulm/ulm_.*: remove one"):
        planned("cityscapes", source)


def test_the_decathlon_may_lie_as_mtans_authors_lay_it(tmp_path):
    write_archive(tmp_path, sets=("aircraft",))
    dataset = build_dataset("decathlon-set", set="aircraft", limit=2)
    ids = dataset.plan(tmp_path).ids["train"].tolist()
    before = dataset.make(tmp_path, "train", ids)
    (tmp_path / "data").rename(tmp_path / "decathlon-1.0-data")
    plan = dataset.plan(tmp_path)
    assert plan.ids["train"].tolist() == ids
    assert (dataset.make(tmp_path, "train", ids)["image"] == before["image"]).all()


LAID = {
    "labels with a channel": ("semantic", lambda made: made[..., None]),
    "labels with a channel in front": ("semantic", lambda made: made[None]),
    "255 for no label": ("semantic", lambda made: made.astype(np.uint8)),
    "channels in front": ("image", lambda made: made.transpose(2, 0, 1)),
    "depth without channel": ("disparity", lambda made: made[..., 0]),
    "depth with its channel in front": ("disparity", lambda made: made.transpose(2, 0, 1)),
}


@pytest.mark.parametrize("what", LAID)
def test_arrays_that_are_laid_out_in_other_ways_are_read(what, tmp_path):
    dataset, draw = build_dataset("cityscapes-npy", height=32, limit=9), np.random.default_rng(0)
    made = {
        "image": draw.random((128, 256, 3)),
        "semantic": draw.integers(-1, 7, (128, 256)),
        "disparity": draw.random((128, 256, 1)) / 2,
    }
    for name, array in made.items():
        folder = tmp_path / "train" / dataset.folders[name][0]
        folder.mkdir(parents=True)
        np.save(folder / "0.npy", array)
    expected = dataset.made(tmp_path, "train", ["train/0"])
    name, change = LAID[what]
    np.save(tmp_path / "train" / dataset.folders[name][0] / "0.npy", change(made[name]))
    found = dataset.made(tmp_path, "train", ["train/0"])
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    larger = build_dataset("cityscapes-npy", stored=256, limit=9)
    with pytest.raises(UserError, match="these files are 128 high: give the data set the option stored=128"):
        larger.made(tmp_path, "train", ["train/0"])


def test_labels_for_training_alone_will_do_for_nineteen_classes(tmp_path):
    source = cityscapes(tmp_path)
    for file in list(source.rglob("*_labelIds.png")):
        file.rename(file.with_name(file.name.replace("labelIds", "labelTrainIds")))
    with pytest.raises(UserError, match=r"no file .*_labelIds\.png, and .*_labelTrainIds\.png tells 19 classes alone"):
        planned("cityscapes", source)
    plan = build_dataset("cityscapes", classes=19, limit=9).plan(source)
    assert len(plan.files) == 18
    assert sum(file.name.endswith("_labelTrainIds.png") for file in plan.files) == 6


def test_labels_for_training_give_the_same_classes(cityscapes_writer, tmp_path):
    ids = np.arange(1024 * 2048, dtype=np.int64).reshape(1024, 2048) // 65536 % 34
    picture, disparity = np.zeros((1024, 2048, 3), np.uint8), np.zeros((1024, 2048), np.uint16)
    cityscapes_writer(tmp_path, {("val", "ulm_000000_000000_000019"): (picture, ids.astype(np.uint8), disparity)})
    dataset = build_dataset("cityscapes", classes=19, height=32, limit=9)
    expected = dataset.made(tmp_path, "test", ["ulm_000000_000000_000019"])
    (file,) = tmp_path.rglob("*_labelIds.png")
    file.unlink()
    trained = file.with_name(file.name.replace("labelIds", "labelTrainIds"))
    save(trained, np.where((classes := class_table(19)[ids]) < 0, 255, classes).astype(np.uint8))
    found = dataset.made(tmp_path, "test", ["ulm_000000_000000_000019"])
    assert np.array_equal(found["semantic"], expected["semantic"])
    assert len(np.unique(found["semantic"])) > 10
    save(trained, np.full((1024, 2048), 19, np.uint8))
    with pytest.raises(UserError, match=r"_labelTrainIds\.png holds the label 19, expected 0 to 18 and 255"):
        dataset.made(tmp_path, "test", ["ulm_000000_000000_000019"])


def test_cityscapes_as_auto_lambdas_authors_pass_it_on(tmp_path):
    """PNGs of 256×512, labels by their official ids, disparity in 16 bits."""
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (256, 512, 3)).astype(np.uint8)
    ids = draw.integers(0, 34, (256, 512)).astype(np.uint8)
    disparity = draw.integers(0, 32258, (256, 512)).astype(np.uint16)
    for half in ("train", "val"):
        for i in range(4):
            for name, array in (("image", image), ("seg", ids), ("depth", disparity)):
                save(tmp_path / half / name / f"{i}.png", array)
            (tmp_path / half / "part_seg").mkdir(exist_ok=True)
            (tmp_path / half / f"part_seg/{i}.tif").touch()
    dataset = build_dataset("cityscapes-npy", stored=256, limit=9)
    plan = dataset.plan(tmp_path)
    assert {split: len(ids) for split, ids in plan.ids.items()} == {"train": 3, "val": 1, "test": 4}
    assert len(plan.files) == 8 * 3
    found = dataset.made(tmp_path, "train", ["train/0"])
    assert np.array_equal(found["image"][0], image.transpose(2, 0, 1))
    assert np.array_equal(found["semantic"][0], class_table(7)[ids])
    known = np.maximum(disparity.astype(float) - 1, 0) / 65536
    assert np.array_equal(found["disparity"][0, 0], known.astype(np.float16))
    with pytest.raises(UserError, match="these files are 256 high: give the data set the option stored=256"):
        build_dataset("cityscapes-npy", limit=9).made(tmp_path, "train", ["train/0"])
    save(tmp_path / "train/seg/0.png", ids + 1)
    with pytest.raises(UserError, match=r"seg/0\.png holds the label 34, expected 0 to 33"):
        dataset.made(tmp_path, "train", ["train/0"])


def test_a_source_may_be_one_of_the_files_and_no_archive(tmp_path):
    file = tmp_path / "nyu_depth_v2_labeled.mat"
    file.touch()
    assert parse_sources([f"nyuv2={file}"], ["nyuv2"]) == {"nyuv2": tmp_path}
    assert parse_sources([str(file)], ["nyuv2"]) == {"nyuv2": tmp_path}
    for name in ("gtFine_trainvaltest.zip", "decathlon-1.0-data.tar.gz"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match="this is an archive; unpack it, and name the folder"):
            parse_sources([str(tmp_path / name)], ["nyuv2"])


# What a kill leaves, and messages.


def test_scratch_folders_of_before_a_restart_go_after_a_day(tmp_path):
    for name, age in (("new", 0), ("old", OLD + 60)):
        folder = tmp_path / f".toy-0123abcd-1-2-{name}"
        (folder / "toy-v1").mkdir(parents=True)
        for path in (folder / "toy-v1", folder):
            os.utime(path, (time() - age, time() - age))
    sweep_scratch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".toy-0123abcd-1-2-new"]


def test_messages_hold_words_and_no_objects(fashion, tmp_path):
    dataset, storage = fashion
    folder = dataset.folder(storage)
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = manifest | {"version": 7, "options": {"train": 3}}
    (folder / "manifest.json").write_text(json.dumps(changed))
    said = check(dataset, storage)[0]
    assert said.startswith(
        'the manifest is of multi-fashion, version 7, with the options {"train": 3}, expected multi-'
    )
    (folder / "manifest.json").write_text(json.dumps({"schema": 2}))
    with pytest.raises(UserError, match=r"manifest\.json cannot be used \(it lacks 'arrays'\); delete its folder"):
        dataset.manifest(storage)
    (tmp_path / "x.npy").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        load_array(tmp_path / "x.npy", "")
    assert "Error(" not in str(caught.value)
    (tmp_path / "a.json").write_text(json.dumps({"images": [{"id": None, "file_name": "x"}]}))
    with pytest.raises(UserError, match=r"an entry whose 'id' is null, expected a whole number; "):
        read_annotations(tmp_path / "a.json", facts()["aircraft"], labelled=False)
