"""The bytes of a small variant of every data set, which no processor, no thread and no change of code may alter.

Official files are made from whole numbers of a generator whose raw words NumPy promises to keep, and from operations
that IEEE 754 defines to the last bit. JPEG pictures (Visual Decathlon, GroceryStore, CelebA, Office, PASCAL-Context)
are the one part that hangs on a library: they are written and read by Pillow's.
"""

from pathlib import Path

import numpy as np
import pytest

from benchmark.data import Storage, build_dataset
from benchmark.data.multi_fashion import DEBIAN_FOLDER
from benchmark.registry import DATASETS
from tests.benchmark.data.archive import write_archive
from tests.benchmark.data.photographs import (
    write_camvid,
    write_celeba,
    write_grocery_store,
    write_office,
    write_pascal_context,
)

HERE = Path(__file__).parent

#: Data sets, options, and how the content hash of the prepared form begins.
GOLDEN = (
    ("scenes", {"height": 36, "width": 48, "train": 32, "val": 8, "test": 8}, "1199be45818d8b8a97b6a12ee70ab459"),
    ("scenes", {"height": 50, "width": 61, "train": 4, "val": 2, "test": 2}, "12f3d10815017d60763cc1738c9204bb"),
    ("multi-fashion", {"train": 64, "val": 32, "test": 32}, "35b749351762347dafd5f00270dd4844"),
    ("nyuv2", {"height": 72, "limit": 2}, "f8c7278c82ba5938cc9f38e4e2050b14"),
    ("nyuv2", {"height": 36, "limit": 2, "classes": 40, "depth": "raw"}, "77ac01214054df3d2f0c53b3b82d6b88"),
    ("nyuv2-npy", {"height": 72, "limit": 4}, "eb0f9e759845ebfca928c1c9c4af60e4"),
    ("cityscapes", {"height": 64, "limit": 2}, "6f9d809c5edb6a7715505587b86b6851"),
    ("cityscapes", {"height": 32, "limit": 2, "classes": 19}, "6402f360c6b3250062e1b516dea26f44"),
    ("cityscapes-npy", {"height": 32, "limit": 4}, "197d1d6d45540b954542878de5dcb0cf"),
    ("decathlon", {"sets": "aircraft,gtsrb,daimlerpedcls", "limit": 20}, "4dd2f38065a9dfef62b1c4d386b86801"),
    ("grocery-store", {"size": 32, "limit": 20}, "5e50135cae4947012c7c8ca22b9bcc2e"),
    ("celeba", {"size": 16, "limit": 20}, "b326cd9b292464da727a246de6cf4bd0"),
    ("camvid", {"height": 72, "limit": 20}, "57d68f1e020d28ec470e09340f431314"),
    ("office", {"size": 32, "limit": 20}, "f3f41a2db2b72fd9c182cc351366dd7f"),
    ("pascal-context", {"size": 32, "limit": 20}, "0628ef8a1c600f77f41c7f328d2a141e"),
)


def whole(shape, high, stream, dtype):
    """Whole numbers from 0 up to and without ``high``."""
    bits = np.random.PCG64(stream).random_raw(int(np.prod(shape)))
    return (bits % np.uint64(high)).astype(dtype).reshape(shape)


def planes(shape, stream):
    """Depth of tilted planes in patches of 40 pixels, with holes: metres from 1 to 5."""
    count, height, width = shape
    slopes = [whole((count, height // 40, width // 40), 1 << 20, stream + i, np.float64) / (1 << 20) for i in range(3)]
    a, b, c = (part.repeat(40, 1).repeat(40, 2) for part in slopes)
    rows, columns = np.arange(height)[:, None] / height, np.arange(width) / width
    inverse = 0.25 + 0.25 * c + 0.2 * a * columns + 0.2 * b * rows
    hole = whole(shape, 20, stream + 9, np.uint8) == 0
    return np.where(hole, 0, 1 / inverse).astype(np.float32)


def nyuv2(folder, writers):
    frames = (14, 480, 640)
    small = (14, 120, 160)
    images, labels = (
        whole(shape, high, stream, dtype).repeat(4, 1).repeat(4, 2)
        for shape, high, stream, dtype in (((*small, 3), 256, 1, np.uint8), (small, 895, 2, np.uint16))
    )
    depth = planes(frames, 10)
    scenes = [f"kitchen_{number // 2:04}" for number in range(14)]
    writers["labeled"](folder, images, labels, np.maximum(depth, 0.5), depth, scenes)


def cityscapes(folder, writers):
    names = [("train", "aachen"), ("train", "ulm"), ("val", "munster")]
    pictures = {}
    for stream, (half, town) in enumerate(names):
        image, labels, disparity = (
            whole((128, 256, *more), high, 3 * stream + i, dtype).repeat(8, 0).repeat(8, 1)
            for i, (more, high, dtype) in enumerate([((3,), 256, np.uint8), ((), 34, np.uint8), ((), 32258, np.uint16)])
        )
        image[::3, ::5] //= 2  # so that resampled areas are not of one colour
        pictures[half, f"{town}_000000_000001_000019"] = image, labels, disparity
    writers["cityscapes"](folder, pictures)


def npy(size, classes, deep, labels, normals):
    """A writer of the literature's folders: pictures, classes, depth, and normals where there are any."""

    def write(folder, writers):
        fields = {}
        for half, count in (("train", 13), ("val", 3)):
            shape, stream = (count, *size), 100 * count
            image = whole((*shape, 3), 256, stream, np.float32) / np.float32(255)
            known = {
                "image": image,
                labels: whole(shape, classes + 1, stream + 1, np.float32) - 1,
                "depth": whole((*shape, 1), 1 << 20, stream + 2, np.float32) * np.float32(deep * 2.0**-20),
            }
            if normals:
                known["normal"] = whole((*shape, 3), 513, stream + 3, np.float32) / np.float32(256) - 1
            fields[half] = known
        writers["arrays"](folder, fields)

    return write


def decathlon(folder, writers):
    write_archive(folder)


#: By data set, what writes its official files.
FILES = {
    "nyuv2": nyuv2,
    "cityscapes": cityscapes,
    "nyuv2-npy": npy((288, 384), 13, 8, "label", True),
    "cityscapes-npy": npy((128, 256), 7, 1, "label_7", False),
    "decathlon": decathlon,
    "grocery-store": lambda folder, _: write_grocery_store(folder),
    "celeba": lambda folder, _: write_celeba(folder),
    "camvid": lambda folder, _: write_camvid(folder),
    "office": lambda folder, _: write_office(folder),
    "pascal-context": lambda folder, _: write_pascal_context(folder),
}


@pytest.fixture(scope="module")
def sources(labeled_writer, cityscapes_writer, arrays_writer, tmp_path_factory):
    """By data set, the folder of its official files, written when it is first asked for."""
    writers = {"labeled": labeled_writer, "cityscapes": cityscapes_writer, "arrays": arrays_writer}
    written = {}

    def folder_of(name):
        if name in FILES and name not in written:
            written[name] = tmp_path_factory.mktemp(name)
            FILES[name](written[name], writers)
        return {name: written[name]} if name in written else {}

    return folder_of


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "expected"), GOLDEN, ids=[f"{name} {o}" for name, o, _ in GOLDEN])
def test_prepared_bytes_are_those_of_every_other_machine(name, options, expected, sources, tmp_path):
    if name == "multi-fashion" and not DEBIAN_FOLDER.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    dataset, storage = build_dataset(name, **options), Storage(tmp_path, sources(name))
    dataset.prepare(storage)
    assert dataset.content_hash(storage)[:32] == expected


def test_every_data_set_has_its_golden_hash():
    own = {name for name in DATASETS if DATASETS[name].factory.__module__.startswith("benchmark.")}
    parts = {"decathlon-set", "office-domain"}  # of ``decathlon`` and ``office``
    assert own - parts == {name for name, _, _ in GOLDEN}
