"""Writes small files in exactly the official forms of GroceryStore, CelebA, CamVid, Office and PASCAL-Context."""

import numpy as np
from PIL import Image
from scipy.io import savemat

from benchmark.data.celeba import ATTRIBUTES
from benchmark.data.grocery_store import SUPER
from benchmark.data.office import SETS

#: CelebA's partitions in turn.
PARTITIONS = (0, 0, 1, 2)


def save(file, array, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file, **options)


def flat(height, width, *colour):
    """(H, W, 3) of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def write_grocery_store(folder, count=12):
    """The clone of the official repository, with every seventh class: a line's classes, and a colour by the class."""
    shapes = ((348, 348), (464, 348), (348, 464))
    for split in ("train", "val", "test"):
        lines = []
        for i in range(count):
            fine = 7 * i % 81
            coarse, kind = fine // 2, SUPER[fine % 3]
            part = f"Kind-{coarse}/Class-{fine}" if i % 2 else f"Class-{fine}"
            name = f"{split}/{kind}/{part}/Class-{fine}_{i:03}.jpg"
            save(folder / "dataset" / name, flat(*shapes[i % 3], 3 * fine, 128, 100), quality=95)
            lines.append(f"{name}, {fine}, {coarse}\n")
        (folder / "dataset" / f"{split}.txt").write_text("".join(lines))
    return folder


def attributes_of(number):
    """(40,) of 0 and 1 of a picture: those whose place is a multiple of its number hold."""
    return np.arange(len(ATTRIBUTES)) % (number % 5 + 2) == 0


def write_celeba(folder, count=16, first=1):
    """Pictures and both lists; red tells the picture's number."""
    names = [f"{number:06}.jpg" for number in range(first, first + count)]
    lines = [f"{count}\n", " ".join(ATTRIBUTES) + " \n"]
    for number, name in enumerate(names, first):
        save(folder / "img_align_celeba" / name, flat(218, 178, 10 * number % 250, 60, 200), quality=90)
        lines.append(f"{name} {' '.join(f'{1 if held else -1:2}' for held in attributes_of(number))}\n")
    (folder / "list_attr_celeba.txt").write_text("".join(lines))
    parts = [f"{name} {PARTITIONS[i % len(PARTITIONS)]}\n" for i, name in enumerate(names)]
    (folder / "list_eval_partition.txt").write_text("".join(parts))
    return folder


def write_camvid(folder, counts=(4, 2, 2)):
    """The folder CamVid: blocks of 20 pixels with classes 0 to 11."""
    rows, columns = np.mgrid[:18, :24]
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for i in range(count):
            name = f"0001TP_{i:06}.png"
            classes = ((rows * columns + 5 * rows + 3 * columns + 7 * i) % 12).astype(np.uint8)
            classes = classes.repeat(20, 0).repeat(20, 1)
            colours = np.stack([20 * classes, classes, 255 - 20 * classes], -1)
            save(folder / "CamVid" / split / name, colours, compress_level=1)
            save(folder / "CamVid" / f"{split}annot" / name, classes, compress_level=1)
    return folder


def write_office(folder, name="office-31", each=5, classes=None):
    """The domains' folders with their first few classes filled, and LibMTL's lists of them."""
    office = SETS[name]
    lists = folder / "data_txt" / name
    lists.mkdir(parents=True)
    for domain in office.domains:
        inner = "/images" if name == "office-31" else ""
        listed = {"train": [], "val": [], "test": []}
        for label, word in enumerate(office.classes):
            place = folder / (domain.replace("_", " ") + inner) / word
            place.mkdir(parents=True)
            for i in range(each if label < (classes or 3) else 0):
                save(place / f"frame_{i + 1:04}.jpg", flat(30 + i, 40, 60 * label, 99, 255), quality=95)
                split = ("train", "train", "train", "val", "test")[i % 5]
                listed[split].append(f"{domain}{inner}/{word}/frame_{i + 1:04}.jpg {label}\n")
        for split, lines in listed.items():
            (lists / f"{domain}_{split}.txt").write_text("".join(lines))
    return folder


#: PASCAL-Context's labels in turn: wall, which has normals; sky, which has none; person; bird, which has none.
LABELS = (440, 360, 284, 25)
#: Heights and widths of its pictures in turn.
SHAPES = ((48, 64), (64, 48), (50, 50))


def structs(*names, rows):
    """A MATLAB array (1, N) of structs, one of each row's values; (0, 0), as MATLAB has it, where there is no row."""
    array = np.empty((1, len(rows)) if rows else (0, 0), [(name, object) for name in names])
    for place, row in enumerate(rows):
        array[0, place] = row
    return array


def parts_of(number, shape):
    """The objects of a picture: a cat, and in every third one a person whose torso hides a part of the head."""
    height = shape[0]
    head, torso, whole = (np.zeros(shape, np.uint8) for _ in range(3))
    head[: height // 2], torso[height // 4 : height // 2] = 1, 1
    parts = structs("part_name", "mask", rows=[("reye", head), ("torso", torso)])
    tail = structs("part_name", "mask", rows=[("tail", whole + 1)])
    objects = [("cat", 8, whole + 1, tail)]
    if number % 3 == 1:
        objects += [("person", 15, head, parts), ("person", 15, whole, structs("part_name", "mask", rows=[]))]
    return structs("class", "class_ind", "mask", "parts", rows=objects)


def write_pascal_context(folder, counts=(20, 6)):
    """The unpacked archive: pictures in quarters, whose labels, classes and colours their numbers tell."""
    root, number = folder / "PASCAL_MT", 0
    for half, count in zip(("train", "val"), counts, strict=True):
        names = [f"2008_{n:06}" for n in range(number, number + count)]
        (root / "ImageSets/Context").mkdir(parents=True, exist_ok=True)
        (root / f"ImageSets/Context/{half}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            height, width = SHAPES[number % 3]
            quarter = 2 * (np.arange(height)[:, None] >= height // 2) + (np.arange(width) >= width // 2)
            save(root / f"JPEGImages/{name}.jpg", flat(height, width, 5 * number, 90, 200), quality=95)
            classes = Image.fromarray(np.array([0, number % 21, 255, 20], np.uint8)[quarter])
            if number % 3:  # VOC's files have colours, by a palette
                classes = classes.convert("P")
            file = root / "semseg" / ("VOC12" if number % 3 else "pascal-context") / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            classes.save(file)
            save(root / f"sal_distill/{name}.png", np.array([0, 127, 128, 255], np.uint8)[quarter])
            normals = np.stack([60 * quarter, 60 * quarter, np.full_like(quarter, 255)], -1)
            save(root / f"normals_distill/{name}.png", normals.astype(np.uint8))
            people = structs("imname", "objects", rows=[(name, parts_of(number, (height, width)))])
            for place, content in (
                ("pascal-context/trainval", {"LabelMap": np.array(LABELS, np.uint16)[quarter]}),
                ("human_parts", {"anno": people}),
            ):
                (root / place).mkdir(parents=True, exist_ok=True)
                savemat(root / place / f"{name}.mat", content, do_compression=True)
            number += 1
    return folder
