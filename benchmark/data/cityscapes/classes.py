"""The label sets of Cityscapes, from the suite's table."""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

TABLE = files("benchmark") / "data" / "tables" / "cityscapes_labels.csv"
CLASSES = (19, 7, 2)
#: Stands in ``class_table`` for ids that no label has.
NO_LABEL = -2


def _rows() -> list[dict[str, str]]:
    return list(csv.DictReader(TABLE.read_text().splitlines()))


@cache
def class_names(classes: int) -> tuple[str, ...]:
    """Names of the 19, 7 or 2 classes in the order of their indices."""
    if classes == 2:
        return ("background", "foreground")
    column = "name" if classes == 19 else "category"
    names = {int(row[f"index{classes}"]): row[column] for row in _rows()}
    return tuple(names[i] for i in range(classes))


@cache
def class_table(classes: int) -> np.ndarray:
    """(256,) int8: by label id, the index among 19, 7 or 2 classes; −1 ignored, ``NO_LABEL`` where there is no such id.

    Void, and with 19 classes everything that the official evaluation ignores, is −1. With 7 classes such labels keep
    their category, as "defined in the original dataset" (Liu et al., CVPR 2019, whose table 1 lists caravan and trailer
    under vehicle). With 2 classes void is background, as in that table.
    """
    table = np.full(256, NO_LABEL, np.int8)
    for row in _rows():
        if (label := int(row["id"])) >= 0:  # the licence plate's −1 is never drawn
            table[label] = int(row[f"index{classes}"])
    return table


@cache
def trained_table() -> np.ndarray:
    """(256,) int8: by what ``labelTrainIds`` holds, the index among 19 classes; −1 ignored, ``NO_LABEL`` for no such.

    The numbers are those indices, and 255 is ignored.
    """
    table = np.full(256, NO_LABEL, np.int8)
    table[:19], table[255] = np.arange(19), -1
    return table
