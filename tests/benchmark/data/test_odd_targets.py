"""Targets that nobody expected: a set is described and checked whatever it holds, and the checks say what is odd."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import pytest

from benchmark.commands.datacard import keep_missing_card
from benchmark.data import DataSet, Storage, register_dataset
from benchmark.data.check import check, examine
from benchmark.data.measured import data_card
from benchmark.runs.datacards import read_card
from benchmark.runs.store import Store
from benchmark.tasks import Task

SIZE = 4
CLASSES = 3


def labels(count, value=1, dtype=np.int8, where=(0, 0, 0)):
    array = np.full((count, SIZE, SIZE), 1, dtype)
    array[where] = value
    return array


def answers(count, value=1, dtype=np.int16):
    array = np.full(count, 1, dtype)
    array[0] = value
    return array


def metres(count, value=2.0, dtype=np.float16, where=(0, 0, 0, 0)):
    array = np.full((count, 1, SIZE, SIZE), 2, dtype)
    array[where] = value
    return array


def vectors(count, value=(0, 0, 1), dtype=np.float16, where=...):
    array = np.zeros((count, 3, SIZE, SIZE), dtype)
    array[:, 2] = 1
    array.transpose(0, 2, 3, 1)[where] = value
    return array


ALL = slice(None)
#: By what is odd: the kind of task, the target of N samples, and what ``data check`` says; None where nothing is wrong.
ODD = {
    "label −100": ("segmentation", lambda n: labels(n, -100), "holds values from -100 to 1, expected 0 to 2 class"),
    "label −2": ("segmentation", lambda n: labels(n, -2), "holds values from -2 to 1"),
    "label 255": ("segmentation", lambda n: labels(n, 255, np.uint8), "holds values from 1 to 255"),
    "a class too many": ("segmentation", lambda n: labels(n, CLASSES), "holds values from 1 to 3"),
    "a label beyond memory": ("segmentation", lambda n: labels(n, 2**62, np.int64), "holds values from 1 to 4.6"),
    "fractional labels": ("segmentation", lambda n: labels(n, 0.5, np.float32), "holds float32, expected whole"),
    "labels yes and no": ("segmentation", lambda n: labels(n, True, bool), "holds bool, expected whole numbers"),
    "labels in words": ("segmentation", lambda n: labels(n, "sky", "U3"), "holds str96, expected whole numbers"),
    "only unknown labels": ("segmentation", lambda n: labels(n, -1, where=ALL), None),
    "answer −100": ("classification", lambda n: answers(n, -100), "holds values from -100 to 1"),
    "an answer beyond memory": ("classification", lambda n: answers(n, 2**62, np.int64), "holds values from 1 to 4.6"),
    "only unknown depth": ("depth", lambda n: metres(n, 0, where=ALL), None),
    "depth that is no number": ("depth", lambda n: metres(n, np.nan), "holds values that are not finite: 1"),
    "only depth that is no number": ("depth", lambda n: metres(n, np.nan, where=ALL), "that are not finite"),
    "infinite depth": ("depth", lambda n: metres(n, np.inf), "holds values that are not finite: 1"),
    "depth below zero": ("depth", lambda n: metres(n, -3), "holds values from -3 to 2, expected at least 0 m"),
    "only depth below zero": ("depth", lambda n: metres(n, -3, where=ALL), "holds values from -3 to -3"),
    "depth beyond half precision": ("depth", lambda n: metres(n, 1e300, np.float64), None),
    "depth without channel": ("depth", lambda n: metres(n)[:, 0], "holds samples of shape (4, 4), expected (1, 4, 4)"),
    "complex depth": ("depth", lambda n: metres(n, 1j, np.complex64), "holds complex64, expected numbers"),
    "normals that are no numbers": ("normals", lambda n: vectors(n, np.nan, where=0), "that are not finite"),
    "only unknown normals": ("normals", lambda n: vectors(n, 0), None),
    "normals in bytes": ("normals", lambda n: vectors(n, (127, 127, 0), np.uint8), "holds values from 0 to 127"),
    "normals of two components": ("normals", lambda n: vectors(n)[:, :2], "holds samples of shape (2, 4, 4)"),
}  # fmt: skip
CHANNELS = {"segmentation": CLASSES, "classification": CLASSES, "depth": 1, "normals": 3}


@pytest.fixture
def registered(own_methods):
    """Registers the odd set, for as long as a test takes."""

    def register(kind, target):
        @register_dataset
        class Odd(DataSet):
            name = "odd"
            version = 1
            image_shape = (3, SIZE, SIZE)
            samples: ClassVar = {"train": 3, "val": 2, "test": 2}
            tasks = (Task("target", kind, CHANNELS[kind]),)

            def build(self, split, source, progress):
                count = self.samples[split]
                image = np.zeros((count, *self.image_shape), np.uint8)
                return {"image": image, "id": np.arange(count), "target": target(count)}

        return Odd()

    return register


@pytest.mark.parametrize("what", ODD)
def test_odd_targets_are_described_and_found(what, registered, tmp_path, capsys):
    kind, target, message = ODD[what]
    dataset, storage, store = registered(kind, target), Storage(tmp_path / "cache"), Store(tmp_path / "results")
    dataset.prepare(storage)
    keep_missing_card(store, dataset, storage)
    said = capsys.readouterr().out
    assert "No data card" not in said
    card = read_card(store, "odd", dataset.content_hash(storage))
    for line in card.pieces[0].unmeasured:
        assert f"Not measured: odd: {line}" in said
    for split in card.pieces[0].splits.values():
        field = split.fields["target"]
        assert sum(field.classes or ()) in (0, field.known)
        assert all(sum(histogram.counts) == field.known for histogram in field.histograms)
        assert field.mean is None or math.isfinite(field.mean)
    problems = check(dataset, storage)
    if message is None:
        assert problems == []
    else:
        assert [message in problem for problem in problems] == [True] * 3, problems


@pytest.mark.parametrize(
    ("kind", "target", "line"),
    [
        ("segmentation", lambda n: labels(n, -1, where=ALL), "holds no known value"),
        ("segmentation", labels, "holds no other known value than 1"),
        ("depth", lambda n: metres(n, 0, where=ALL), "holds no known value"),
        ("normals", vectors, "holds no value below 0, though values go from -1 to 1: normals that were stored as"),
        ("normals", lambda n: vectors(n, (0.6, -0.8, 0), where=(0, 0, 0)), None),
    ],
)
def test_what_is_implausible_is_told_and_is_no_fault(kind, target, line, registered, tmp_path):
    dataset, storage = registered(kind, target), Storage(tmp_path)
    dataset.prepare(storage)
    found = examine(dataset, storage)
    assert found.problems == []
    assert "train-image holds no other known value than 0" in found.implausible
    said = [told for told in found.implausible if "-target" in told]
    assert len(said) == (0 if line is None else 3)
    assert all(told.partition(" ")[2].startswith(line) for told in said)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("label −100", "train-target: 1 known value no class, left out"),
        ("only depth that is no number", "train-target: 48 known values not finite, left out"),
        ("labels in words", "target: its values cannot be measured"),
    ],
)
def test_a_card_says_what_it_leaves_out(what, line, registered, tmp_path):
    kind, target, _ = ODD[what]
    dataset, storage = registered(kind, target), Storage(tmp_path)
    dataset.prepare(storage)
    assert data_card(dataset, storage)["unmeasured"][0].startswith(line)


def test_values_that_stand_for_unknown_may_be_no_numbers(registered, tmp_path):
    dataset, storage = registered("depth", lambda n: metres(n, np.nan)), Storage(tmp_path)
    type(dataset).fields = property(
        lambda self: {
            name: dataclasses.replace(stored, invalid=math.nan) if name == "target" else stored
            for name, stored in DataSet.fields.fget(self).items()
        }
    )
    dataset.prepare(storage)
    assert check(dataset, storage) == []
    card = data_card(dataset, storage)
    assert "unmeasured" not in card or "no floor" in card["unmeasured"][0]
    assert card["splits"]["val"]["fields"]["target"]["unknown"] == 1


def test_an_empty_split_is_described(registered, tmp_path):
    dataset, storage, store = registered("depth", metres), Storage(tmp_path / "cache"), Store(tmp_path / "results")
    type(dataset).samples = {"train": 3, "val": 0, "test": 2}
    type(dataset).tasks = (Task("target", "depth", 1),)
    dataset.build = lambda split, source, progress: {
        "image": np.zeros((dataset.samples[split], *dataset.image_shape), np.uint8),
        "id": np.arange(dataset.samples[split]),
        "target": np.full((dataset.samples[split], 1, SIZE, SIZE), 2, np.float16),
    }
    dataset.prepare(storage)
    keep_missing_card(store, dataset, storage)
    assert read_card(store, "odd", dataset.content_hash(storage)).pieces[0].splits["val"].samples == 0
