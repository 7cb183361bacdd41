"""Names of arrays in files: each is read as what it was written for, whatever tasks are called."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.runs.artifacts import OfMasks, OfSplit, key_of, name_of, named
from benchmark.runs.files import pack, unpacked

PIECES = (
    "a",
    "b",
    "id",
    "test",
    "model",
    "masks",
    "maskends",
    "masklevels",
    "pictured",
    "decisions",
    "ids",
    "-",
    ":",
    "%",
)
NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)


def keys_of(tasks, splits):
    for task in tasks:
        yield task
        yield from (OfMasks(task, part) for part in ("masks", "ends", "levels"))
        yield from (OfSplit(split, task, ids=ids) for split in splits for ids in (False, True))


@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.lists(NAMES, max_size=2, unique=True))
def test_every_array_is_read_as_what_it_is(tasks, withheld):
    keys = list(keys_of(tasks, dict.fromkeys(["test", *withheld])))
    names = [name_of(key, tasks) for key in keys]
    assert len(set(names)) == len(keys)
    assert [key_of(name, tasks) for name in names] == keys


def test_names_of_old_files_hold():
    """Names in records, packs and bundles that are there already."""
    tasks = ["semantic", "top-left"]
    old = {
        "top-left": "top-left",
        OfMasks("top-left"): "masks-top-left",
        OfMasks("semantic", "ends"): "maskends-semantic",
        OfMasks("semantic", "levels"): "masklevels-semantic",
        OfSplit("test", "top-left"): "test-top-left",
        OfSplit("challenge", "semantic", ids=True): "challenge-semantic-id",
    }
    assert [name_of(key, tasks) for key in old] == list(old.values())
    assert [key_of(name, tasks) for name in old.values()] == list(old)


@pytest.mark.parametrize(
    ("tasks", "key", "name"),
    [
        (["a", "a-id"], OfSplit("test", "a-id"), "decisions:test:a-id"),
        (["a", "a-id"], OfSplit("test", "a"), "test-a"),
        (["a", "test-a"], "test-a", "pictured:test-a"),
        (["view", "masks-view"], OfMasks("view"), "masks:view"),
        (["model-year"], "model-year", "model-year"),
    ],
)
def test_a_name_that_could_be_mistaken_is_written_in_full(tasks, key, name):
    assert name_of(key, tasks) == name


def test_what_is_no_array_of_a_task_keeps_its_name():
    assert key_of("something", ["semantic"]) == "something"


def test_files_are_those_that_numpy_writes():
    arrays = {"a": np.arange(60.0).reshape(3, 20), "masks-a": np.zeros((2, 2), np.uint8), "id": np.array(["x", "yy"])}
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    assert pack(arrays) == buffer.getvalue()


def test_every_name_can_be_kept():
    arrays = {name: np.arange(3) for name in ("file", "allow_pickle", "a/b", "kwds")}
    assert unpacked(pack(named(arrays, list(arrays)))).keys() == arrays.keys()
