"""The classes and the official split of NYUv2, from the suite's tables."""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

TABLES = files("benchmark") / "data" / "tables"
#: Frames of the labelled file, and raw classes.
FRAMES, RAW_CLASSES = 1449, 894


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((TABLES / name).read_text().splitlines()))


@cache
def class_names(classes: int) -> tuple[str, ...]:
    """Names of the 13 or 40 classes in the order of their ids."""
    names = {int(row[f"id{classes}"]): row[f"name{classes}"] for row in _rows("nyuv2_40_to_13.csv")}
    return tuple(names[i] for i in range(1, classes + 1))


@cache
def class_table(classes: int) -> np.ndarray:
    """(895,) int8: by raw class, 0 for unlabelled, the index among 13, 40 classes from 0; −1 for unlabelled."""
    table = np.full(RAW_CLASSES + 1, -1, np.int8)
    for row in _rows("nyuv2_classes.csv"):
        table[int(row["id894"])] = int(row[f"id{classes}"]) - 1
    return table


@cache
def official_split() -> dict[str, tuple[int, ...]]:
    """Frames of the official ``train`` and ``test``, numbered from 1 as in ``splits.mat``."""
    rows = _rows("nyuv2_split.csv")
    return {split: tuple(int(r["index"]) for r in rows if r["split"] == split) for split in ("train", "test")}
