"""Writers of small files in exactly the official formats."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

TABLES = Path(__file__).parents[3] / "benchmark" / "data" / "tables"


def strings(handle, name, values):
    """A MATLAB cell array of strings: (1, N) references into ``#refs#``, each an array (length, 1) of codes."""
    group = handle.require_group("#refs#")
    cell = handle.create_dataset(name, (1, len(values)), dtype=h5py.ref_dtype)
    for i, value in enumerate(values):
        codes = np.array([[ord(letter)] for letter in value], np.uint16)
        cell[0, i] = group.create_dataset(f"{name}{i}", data=codes).ref


def write_labeled(folder, images, labels, depths, raw_depths, scenes):
    """``nyu_depth_v2_labeled.mat`` from frames in rows and columns, with the axes reversed as h5py sees them.

    Args:
        folder: where to write it.
        images: (N, 480, 640, 3) uint8.
        labels: (N, 480, 640) uint16.
        depths, raw_depths: (N, 480, 640) float32.
        scenes: N names.
    """
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / "nyu_depth_v2_labeled.mat"
    with h5py.File(file, "w", userblock_size=512) as handle:
        arrays = {
            "images": images.transpose(0, 3, 2, 1),
            "labels": labels.transpose(0, 2, 1),
            "depths": depths.transpose(0, 2, 1),
            "rawDepths": raw_depths.transpose(0, 2, 1),
            "instances": (labels > 0).astype(np.uint8).transpose(0, 2, 1),
            "accelData": np.zeros((4, len(images)), np.float32),
        }
        for name, array in arrays.items():
            handle.create_dataset(
                name, data=array, chunks=(1, *array.shape[1:]), compression="gzip", compression_opts=1
            )
        with (TABLES / "nyuv2_classes.csv").open() as table:
            strings(handle, "names", [row["name894"] for row in csv.DictReader(table)])
        strings(handle, "scenes", scenes)
        handle.create_group("#subsystem#")
    with file.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return file


@pytest.fixture(scope="session")
def labeled_writer():
    return write_labeled


def write_cityscapes(folder, pictures):
    """The official folders.

    Args:
        folder: where to write them.
        pictures: by (``train`` or ``val``, name), (1024, 2048, 3) uint8, (1024, 2048) uint8 label ids and (1024, 2048)
            uint16 disparity.
    """
    for (half, name), arrays in pictures.items():
        for where, ending, array in zip(
            ("leftImg8bit", "gtFine", "disparity"),
            ("leftImg8bit", "gtFine_labelIds", "disparity"),
            arrays,
            strict=True,
        ):
            place = folder / where / half / name.partition("_")[0]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(place / f"{name}_{ending}.png", compress_level=1)


@pytest.fixture(scope="session")
def cityscapes_writer():
    return write_cityscapes


def write_arrays(folder, fields):
    """The literature's folders: by folder's name under ``train`` and ``val``, (N, …) arrays."""
    for half, arrays in fields.items():
        for name, array in arrays.items():
            place = folder / half / name
            place.mkdir(parents=True, exist_ok=True)
            for number, item in enumerate(array):
                np.save(place / f"{number}.npy", item)


@pytest.fixture(scope="session")
def arrays_writer():
    return write_arrays
