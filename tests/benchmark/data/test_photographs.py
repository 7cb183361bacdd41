"""GroceryStore, CelebA, CamVid, Office and PASCAL-Context from small files in exactly their official forms."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmark.data import SPLITS, Storage, build_dataset
from benchmark.data.camvid import boundaries
from benchmark.data.celeba import ATTRIBUTES
from benchmark.data.celeba import SAMPLES as FACES
from benchmark.data.check import check
from benchmark.data.grocery_store import SAMPLES as GROCERIES
from benchmark.data.measured import data_card
from benchmark.data.office import LISTED, SETS
from benchmark.data.office.domains import hashed_numbers, hashed_split
from benchmark.data.pascal_context import OFFICIAL
from benchmark.data.pascal_context import SAMPLES as CONTEXT
from benchmark.data.pascal_context.annotations import PART_OF, TABLE
from benchmark.errors import UsageError, UserError
from tests.benchmark.data.photographs import (
    attributes_of,
    flat,
    parts_of,
    save,
    structs,
    write_camvid,
    write_celeba,
    write_grocery_store,
    write_office,
    write_pascal_context,
)

WRITERS = {
    "grocery-store": write_grocery_store,
    "celeba": write_celeba,
    "camvid": write_camvid,
    "office": write_office,
    "pascal-context": write_pascal_context,
}
OPTIONS = {
    "grocery-store": {"size": 32, "limit": 100},
    "celeba": {"size": 16, "limit": 100},
    "camvid": {"height": 36, "limit": 100},
    "office": {"size": 32, "limit": 100},
    "pascal-context": {"size": 32, "limit": 100},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """By data set, its files."""
    folder = tmp_path_factory.mktemp("photographs")
    return {name: write(folder / name) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def storage(sources, tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("cache"), sources)
    for name, options in OPTIONS.items():
        build_dataset(name, **options).prepare(storage)
    return storage


@pytest.fixture
def copy(sources, tmp_path):
    """A data set's files, which a test may break."""
    return lambda name: shutil.copytree(sources[name], tmp_path / name)


def loaded(name, storage):
    dataset = build_dataset(name, **OPTIONS[name])
    return {split: dataset.load(split, storage) for split in SPLITS}


def refused(name, folder, **options):
    """The one line with which files are refused, which names what to do."""
    dataset = build_dataset(name, **{**OPTIONS[name], **options})
    with pytest.raises(UserError) as caught:
        dataset.prepare(Storage(folder.parent / "cache", {name: folder}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_prepared_is_found_sound(name, storage):
    dataset = build_dataset(name, **OPTIONS[name])
    for part in dataset.pieces:
        assert check(part, Storage(storage.cache)) == []
        card = data_card(part, storage)
        assert card["stated"]["licence"]
        assert card["stated"]["citation"]
        assert set(card["floor"]["test"]) == {task.name for task in part.tasks}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_set_without_its_files_says_how_to_get_them(name, tmp_path):
    dataset = build_dataset(name, **OPTIONS[name])
    with pytest.raises(UserError, match=r"--source DIR.*(git clone|Get )"):
        dataset.prepare(Storage(tmp_path))
    (tmp_path / "empty").mkdir()
    assert "empty holds n" in refused(name, tmp_path / "empty")


@pytest.mark.parametrize("name", OPTIONS)
def test_without_a_limit_the_official_numbers_are_asked_for(name, sources, tmp_path):
    dataset = build_dataset(name)
    with pytest.raises(UserError, match=r"(names|gives|holds) .*\d+ pictures.*, expected \d+"):
        dataset.prepare(Storage(tmp_path, sources))


def test_the_official_numbers():
    """Of the papers and the official pages."""
    assert sum(GROCERIES.values()) == 5421
    assert sum(FACES.values()) == 202_599
    assert len(ATTRIBUTES) == 40
    assert sum(build_dataset("camvid").samples.values()) == 701
    assert sum(OFFICIAL.values()) == sum(CONTEXT.values()) == 10_103
    for name, total in (("office-31", 4110), ("office-home", 15_588)):
        assert sum(SETS[name].domains.values()) == total
        for split in ("hash", "libmtl"):
            assert sum(build_dataset("office", set=name, split=split).samples.values()) == total
    assert {len(office.classes) for office in SETS.values()} == {31, 65}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_path_that_cannot_be_looked_at_is_named(name, tmp_path):
    long = tmp_path / ("x" * 300)
    dataset = build_dataset(name, **OPTIONS[name])
    with pytest.raises(UserError, match="cannot be looked at"):
        dataset.prepare(Storage(tmp_path / "cache", {name: long}))


def test_hidden_files_are_none_of_a_set(copy, storage, tmp_path):
    """Those that macOS leaves beside every file on foreign disks."""
    for name in ("camvid", "office"):
        folder = copy(name)
        for file in [*folder.rglob("*.png"), *folder.rglob("*.jpg")]:
            file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7")
        dataset = build_dataset(name, **OPTIONS[name])
        dataset.prepare(other := Storage(tmp_path / f"cache of {name}", {name: folder}))
        assert dataset.content_hash(other) == dataset.content_hash(storage)


# GroceryStore.


def test_every_photograph_has_its_class_at_three_levels(storage):
    assert [task.channels for task in build_dataset("grocery-store").tasks] == [81, 43, 3]
    for split, part in loaded("grocery-store", storage).items():
        assert len(part) == 12
        for place, word in enumerate(part.ids.tolist()):
            fine, coarse, kind = (int(part.targets[name][place]) for name in ("fine", "coarse", "super"))
            assert word.startswith(f"{split}/{('Fruit', 'Packages', 'Vegetables')[kind]}/")
            assert f"/Class-{fine}_0" in word
            assert (coarse, kind) == (fine // 2, fine % 3)
            # Red tells the class; the form of the picture changes nothing.
            colour = part.images[place].flatten(1).float()
            assert (colour.amax(1) - colour.amin(1)).max() <= 2
            assert abs(colour[0].mean() - 3 * fine) <= 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train/Fruit/Lemon/Lemon_001.jpg, 8", "expected 'path, fine class, coarse class'"),
        ("../Fruit/Lemon.jpg, 8, 4", "expected 'path, fine class, coarse class'"),
        ("train/Fruit/Lemon/Lemon_001.jpg, 8, 43", "the classes 8, 43, of 81 and 43"),
        ("train/Fruit/Lemon/Lemon_001.jpg, 81, 4", "the classes 81, 4, of 81 and 43"),
        ("train/Meat/Lemon/Lemon_001.jpg, 8, 4", "expected it in one of the folders Fruit, Packages, Vegetables"),
        (
            "train/Packages/Class-7/Class-7_099.jpg, 7, 4",
            "the fine class 7 under the coarse class 3 in Packages",
        ),
        ("train/Fruit/Class-7/Class-7_099.jpg, 7, 3", "under 3 in Fruit"),
        ("train/Fruit/Lemon/Lemon_001.jpg, 8, 4", "there is no file"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(copy, line, words):
    folder = copy("grocery-store")
    with (folder / "dataset" / "train.txt").open("a") as stream:
        stream.write(f"{line}\n")
    assert words in refused("grocery-store", folder)


# CelebA.


def test_attributes_are_tasks_of_yes_and_no(storage):
    dataset = build_dataset("celeba", **OPTIONS["celeba"])
    assert [task.name for task in dataset.tasks] == list(ATTRIBUTES)
    assert {(task.kind, task.channels) for task in dataset.tasks} == {("binary", 1)}
    parts = loaded("celeba", storage)
    assert {split: len(part) for split, part in parts.items()} == {"train": 8, "val": 4, "test": 4}
    for part in parts.values():
        for place, name in enumerate(part.ids.tolist()):
            number = int(name[:6])
            found = [int(part.targets[attribute][place]) for attribute in ATTRIBUTES]
            assert found == attributes_of(number).astype(int).tolist()
            assert abs(part.images[place, 0].float().mean() - 10 * number % 250) <= 3


def test_some_attributes_in_an_order_of_ones_own(sources, tmp_path):
    dataset = build_dataset("celeba", attributes="Young, Male", **OPTIONS["celeba"])
    dataset.prepare(storage := Storage(tmp_path, sources))
    assert list(dataset.load("val", storage).targets) == ["Young", "Male"]
    for wrong, words in (("Smilling", "Did you mean 'Smiling'"), ("Male,Male", "names one twice")):
        with pytest.raises(UsageError, match=words):
            build_dataset("celeba", attributes=wrong)


def test_other_layouts_give_the_same_bytes(copy, storage, tmp_path):
    """The official archive's folders; a copy as tables, its pictures in a folder in a folder of the same name."""
    official = tmp_path / "official" / "celeba"
    source = copy("celeba")
    for folder, name in (("Anno", "list_attr_celeba.txt"), ("Eval", "list_eval_partition.txt")):
        (official / folder).mkdir(parents=True)
        shutil.copy(source / name, official / folder / name)
    shutil.copytree(source / "img_align_celeba", official / "Img" / "img_align_celeba")
    tables = tmp_path / "tables"
    shutil.copytree(source / "img_align_celeba", tables / "img_align_celeba" / "img_align_celeba")
    for name, head in (("list_attr_celeba", ""), ("list_eval_partition", "image_id,partition\n")):
        lines = (source / f"{name}.txt").read_text().splitlines()
        if not head:
            lines = ["image_id " + lines[1], *lines[2:]]
        (tables / f"{name}.csv").write_text(head + "".join(",".join(line.split()) + "\n" for line in lines))
    dataset = build_dataset("celeba", **OPTIONS["celeba"])
    for folder in (official.parent, tables):
        other = Storage(tmp_path / f"cache of {folder.name}", {"celeba": folder})
        dataset.prepare(other)
        assert dataset.content_hash(other) == dataset.content_hash(storage)


def rewritten(folder, name, old, new):
    file = folder / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("list_attr_celeba.txt", "Smiling", "Laughing", "does not name the 40 attributes of CelebA in line 2"),
        ("list_attr_celeba.txt", "16\n", "17\n", "announces 17 pictures and names 16"),
        ("list_attr_celeba.txt", "000003.jpg  1", "000003.jpg  2", "the entry of 000003.jpg is no name with 40"),
        ("list_attr_celeba.txt", "000003.jpg", "000002.jpg", "names 000002.jpg twice"),
        ("list_attr_celeba.txt", "000003.jpg", "900003.jpg", "lacks 000003.jpg"),
        ("list_eval_partition.txt", "000003.jpg 1", "000003.jpg 3", "holds the line '000003.jpg 3', expected a name"),
        ("list_eval_partition.txt", "000003.jpg 1", "000002.jpg 1", "names a picture twice"),
    ],
)
def test_a_list_that_is_not_whole_is_named(copy, name, old, new, words):
    folder = copy("celeba")
    rewritten(folder, name, old, new)
    message = refused("celeba", folder)
    assert name in message
    assert words in message


def test_pictures_that_are_not_the_aligned_ones_are_refused(copy):
    folder = copy("celeba")
    picture = next((folder / "img_align_celeba").iterdir())
    shutil.copy(write_office(folder / "other", each=1) / "dslr/images/mug/../bike/frame_0001.jpg", picture)
    assert "has 40×30 pixels, expected 178×218" in refused("celeba", folder)
    picture.write_bytes(b"\xff\xd8 no picture")
    assert "cannot be read as JPEG" in refused("celeba", folder)
    picture.unlink()
    assert "unpack img_align_celeba.zip again" in refused("celeba", folder)


# CamVid.


def test_boundaries_are_where_neighbours_differ():
    classes = np.array([[[0, 0, 1, 1], [0, 0, 1, -1], [2, 2, 2, 2]]], np.int8)
    assert boundaries(classes).tolist() == [[[0, 1, 1, -1], [1, 1, 1, -1], [1, 1, 1, -1]]]
    # Next to void it cannot be told, unless another neighbour tells.
    assert boundaries(np.array([[[3, 3, -1, 4, 5]]], np.int8)).tolist() == [[[0, -1, -1, 1, 1]]]


def test_frames_and_their_classes(storage):
    for part in loaded("camvid", storage).values():
        classes = part.targets["semantic"].numpy()
        assert np.unique(classes).tolist() == list(range(-1, 11))
        truth = np.where(classes < 0, 11, classes).astype(int)
        assert np.array_equal(part.images[:, 0].numpy(), 20 * truth)
        assert np.array_equal(part.targets["boundaries"].numpy(), boundaries(classes))


def test_a_frame_without_classes_or_with_others_is_named(copy):
    folder = copy("camvid")
    file = folder / "CamVid/valannot/0001TP_000001.png"
    shutil.copy(folder / "CamVid/val/0001TP_000001.png", file)
    assert "expected uint8 of (360, 480)" in refused("camvid", folder)
    file.unlink()
    assert f"there is no file {file}" in refused("camvid", folder)


# Office.


def test_every_domain_is_a_task_with_its_own_pictures(storage):
    for name, part in loaded("office", storage)["train"].parts.items():
        assert name in SETS["office-31"].domains
        assert len(part) == 9
        for place, word in enumerate(part.ids.tolist()):
            label = int(part.targets[name][place])
            assert word.startswith(SETS["office-31"].classes[label] + "/")
            assert abs(part.images[place, 0].float().mean() - 60 * label) <= 3


def test_every_class_is_split_three_to_one_to_one():
    names = [f"{word}/{i}.jpg" for word in ("mug", "pen") for i in range(50)]
    found = hashed_split(names, "dslr", ("pen", "mug"))
    assert {split: len(those) for split, those in found.items()} == hashed_numbers(100)
    assert sorted(name for those in found.values() for name in those) == sorted(names)
    for those in found.values():
        assert abs(sum(name.startswith("pen") for name in those) - len(those) / 2) <= 1
    assert hashed_split(names, "amazon", ("pen", "mug")) != found


def test_libmtls_lists_decide_where_they_are_asked_for(copy, tmp_path):
    options = {**OPTIONS["office"], "split": "libmtl"}
    dataset = build_dataset("office", **options)
    folder = copy("office")
    dataset.prepare(storage := Storage(tmp_path / "cache", {"office": folder}))
    for split, numbers in {"train": (1, 2, 3), "val": (4,), "test": (5,)}.items():
        for part in dataset.load(split, storage).parts.values():
            assert {int(word[-8:-4]) for word in part.ids.tolist()} == set(numbers)
    file = folder / "data_txt/office-31/dslr_val.txt"
    with file.open("a") as stream:
        stream.write("dslr/images/cup/frame_0001.jpg 3\n")
    assert "holds the line 'dslr/images/cup/frame_0001.jpg 3'" in refused("office", folder, split="libmtl", size=64)
    file.unlink()
    assert "or take split=hash" in refused("office", folder, split="libmtl", size=64)
    assert {sum(numbers) for name, numbers in LISTED.items() if name == "dslr"} == {498}


def test_office_home_lies_in_folders_with_blanks(tmp_path):
    write_office(tmp_path / "files", "office-home", classes=2)
    dataset = build_dataset("office", set="office-home", **OPTIONS["office"])
    dataset.prepare(storage := Storage(tmp_path / "cache", {"office": tmp_path / "files"}))
    assert [len(part) for part in dataset.load("train", storage).parts.values()] == [6] * 4
    assert json.loads(json.dumps(dataset.manifest(storage)["samples"])) == {"train": 24, "val": 8, "test": 8}


# PASCAL-Context.


def test_five_tasks_are_read_from_pictures_of_many_sizes(storage):
    parts = loaded("pascal-context", storage)
    assert {split: len(part) for split, part in parts.items()} == {"train": 18, "val": 2, "test": 6}
    assert parts["val"].ids.tolist() == ["2008_000004", "2008_000014"]
    # Quarters: upper left, upper right, lower left, lower right.
    corners = ([4, 4, 28, 28], [4, 28, 4, 28])
    for part in parts.values():
        for place, name in enumerate(part.ids.tolist()):
            number, found = int(name[5:]), {task: t[place][..., *corners] for task, t in part.targets.items()}
            assert abs(part.images[place, 0].float().mean() - 5 * number) <= 3
            assert found["semantic"].tolist() == [0, number % 21, -1, 20]
            assert found["saliency"].tolist() == [0, 0, 100, 100]
            rows = part.targets["human_parts"][place, ::8, 0].tolist()
            assert rows == ([1, 2, 0, 0] if number % 3 == 1 else [-1] * 4)
            # Wall and person have normals, sky and bird have none.
            assert found["normals"].any(0).tolist() == [True, False, True, False]
            expected = 2 * np.array([120, 120, 255]) / 255 - 1
            assert np.allclose(found["normals"][:, 2], expected / np.linalg.norm(expected), atol=1e-3)
            edges = np.zeros((32, 32), bool)
            edges[15:17] = edges[:, 15:17] = True
            assert np.array_equal(part.targets["edges"][place].numpy(), edges)


def test_the_tables_of_pascal_context():
    """24 parts in 6 groups; labels with normals have the name of a class of NYUv2, but for one."""
    assert len(PART_OF) == 24
    assert sorted(set(PART_OF.values())) == [1, 2, 3, 4, 5, 6]
    assert [PART_OF[name] for name in ("lebrow", "neck", "ruarm", "lhand", "ruleg", "lfoot")] == [1, 2, 3, 4, 5, 6]
    with TABLE.open() as table:
        names = {row["name"]: int(row["id"]) for row in csv.DictReader(table)}
    with (Path(str(TABLE)).parent / "nyuv2_classes.csv").open() as table:
        known = {row["name894"] for row in csv.DictReader(table)}
    assert len(names) == 170
    assert names.keys() - known == {"tvmonitor"}
    assert (names["wall"], names["person"], names["tvmonitor"]) == (440, 284, 427)


def _other_part(file):
    objects = parts_of(1, (48, 64))
    objects[0, 1]["parts"][0, 0]["part_name"] = "wing"
    savemat(file, {"anno": structs("imname", "objects", rows=[("x", objects)])})


BROKEN = {
    "a class beyond the table": (
        "semseg/VOC12/2008_000001.png",
        lambda f: save(f, np.full((9, 9), 21, np.uint8)),
        "holds the class 21, expected 0 to 20 and 255",
    ),
    "colours for saliency": (
        "sal_distill/2008_000001.png",
        lambda f: save(f, flat(9, 9, 1, 2, 3)),
        "is uint8 of shape (9, 9, 3), expected uint8 of (any, any)",
    ),
    "no labels": (
        "pascal-context/trainval/2008_000001.mat",
        lambda f: savemat(f, {"Labels": np.zeros((4, 4))}),
        "holds no 'LabelMap' of numbers",
    ),
    "a label beyond the table": (
        "pascal-context/trainval/2008_000001.mat",
        lambda f: savemat(f, {"LabelMap": np.full((4, 4), 460)}),
        "holds labels from 460 to 460, expected whole numbers from 0 to 459",
    ),
    "half a file": (
        "pascal-context/trainval/2008_000001.mat",
        lambda f: f.write_bytes(f.read_bytes()[:200]),
        "cannot be read as MATLAB 5",
    ),
    "a part that people lack": (
        "human_parts/2008_000001.mat",
        _other_part,
        "is no annotation of PASCAL-Part, objects with their parts and masks (it lacks 'wing')",
    ),
    "no parts": ("human_parts/2008_000001.mat", lambda f: savemat(f, {"parts": 1}), "(it lacks 'anno')"),
    "nothing": ("normals_distill/2008_000001.png", lambda f: f.unlink(), "there is no file"),
    "a picture twice": (
        "ImageSets/Context/val.txt",
        lambda f: f.write_text("2008_000001\n"),
        "names 2008_000001 in train.txt and in val.txt",
    ),
    "no name": (
        "ImageSets/Context/val.txt",
        lambda f: f.write_text("2008_000021 1\n"),
        "holds the line '2008_000021 1', expected the name of a picture",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_of_pascal_context_is_named(copy, what):
    name, damage, words = BROKEN[what]
    folder = copy("pascal-context")
    damage(folder / "PASCAL_MT" / name)
    message = refused("pascal-context", folder, limit=3)
    assert words in message
    assert name.rpartition("/")[0] in message


def test_the_archives_folder_itself_is_a_source(copy, storage, tmp_path):
    dataset = build_dataset("pascal-context", **OPTIONS["pascal-context"])
    dataset.prepare(other := Storage(tmp_path / "cache", {"pascal-context": copy("pascal-context") / "PASCAL_MT"}))
    assert dataset.content_hash(other) == dataset.content_hash(storage)
