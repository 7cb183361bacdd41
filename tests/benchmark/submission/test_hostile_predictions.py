"""Hostile predictions give one line and nothing else."""

import io
import struct
import zipfile

import numpy as np
import pytest

from tests.benchmark.submission import bundles

pytestmark = pytest.mark.slow


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def arrays_of(contents):
    with np.load(io.BytesIO(contents[f"predictions/{bundles.first_run(contents)}.npz"])) as arrays:
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
        contents[f"predictions/{bundles.first_run(contents)}.npz"] = build(arrays_of(contents), tmp_path)

    path = bundles.forge(honest, tmp_path / "b.zip", edit)
    (error,) = bundles.errors_of(path)
    assert message in error
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.zip"]
